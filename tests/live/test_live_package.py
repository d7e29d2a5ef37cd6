"""What Python makes of the live figures: outputs, HTML, data, and the budgets they keep."""

import gzip
import json
import re
import subprocess

import matplotlib.pyplot as plt
import numpy as np
import pytest

import live
from live import data
from live import library as nf
from tests.live.chromium import need

PNG = b"\x89PNG\r\n\x1a\n"
MODULES = sorted(live.FOLDER.glob("*.js"))


@pytest.fixture
def shown(monkeypatch):
    """What `display` was given."""
    calls = []
    monkeypatch.setattr(
        "IPython.display.display", lambda *args, **kwargs: calls.append((args, kwargs))
    )
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    return calls


def test_show_gives_a_picture_and_a_small_description(shown):
    fig = plt.figure(figsize=(1, 1))
    live.show("planar", fig, alt="A figure.", caption="A caption.", layers=2, heights=[0.12345678])
    plt.close(fig)
    ((bundle,), options) = shown[0]
    assert set(bundle) == {"image/png", live.MIME, "text/plain"}
    assert bundle[live.MIME] == {
        "figure": "planar",
        "options": {"layers": 2, "heights": [0.123457]},
    }
    assert options["metadata"]["image/png"] == {"alt": "A figure.", "caption": "A caption."}
    assert options["raw"] and len(json.dumps(bundle[live.MIME])) < 200


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: live.describe("plane"), "expected one of planar, .*, got 'plane'"),
        (
            lambda: live.describe("planar", layers={1, 2}),
            "expected data and options that JSON can hold",
        ),
        (
            lambda: live.describe("planar", b=float("nan")),
            "expected data and options that JSON can hold",
        ),
        (lambda: live.show("planar", PNG, alt=" ", caption="c"), "alt: expected a sentence"),
        (lambda: live.show("planar", PNG, alt="a", caption=""), "caption: expected a sentence"),
    ],
)
def test_what_cannot_be_shown_is_refused(call, message, shown):
    with pytest.raises(ValueError, match=message):
        call()
    assert not shown


def test_html_holds_picture_place_and_one_module():
    description = live.describe("bound", target="U1")
    text = live.html(description, PNG, "ko", alt='A "figure" & more', caption="<em>Why</em>")
    assert text.startswith('<figure><img src="data:image/png;base64,') and text.endswith(
        "</figure>"
    )
    assert (
        'alt="A &quot;figure&quot; &amp; more"' in text
        and "<figcaption><em>Why</em></figcaption>" in text
    )
    assert text.count("<script") == text.count("</script>") == 1
    assert '"lang":"ko"' in text and '"target":"U1"' in text and '"commit"' in text
    assert live.html(description, "a.png").startswith('<figure><img src="a.png"')


def test_no_data_can_end_the_script():
    text = live.render(live.describe("planar", {"note": "</script><b>"}))
    assert text.count("</script>") == 1 and "\\u003c/script>" in text


def test_the_six_weigh_less_than_40_kB_and_are_short():
    need("node")
    together = live.bundle(*live.FIGURES)
    assert len(gzip.compress(together.encode())) < 40_000
    lines = {file.name: len(file.read_text(encoding="utf-8").splitlines()) for file in MODULES}
    assert sum(lines.values()) <= 1200
    assert max(lines[f"{name}.js"] for name in live.FIGURES) <= 200
    for text in (together, *map(live.bundle, live.FIGURES)):
        run = subprocess.run(["node", "--check", "--input-type=module", "-"], input=text, text=True, capture_output=True)  # fmt: skip
        assert run.returncode == 0, run.stderr
        assert not re.search(r"^\s*(import|export)\b", text, re.M)


def test_the_modules_ask_nothing_of_the_network_and_evaluate_no_text():
    for file in MODULES:
        text = file.read_text(encoding="utf-8")
        found = re.findall(
            r"\b(?:eval|Function|fetch|XMLHttpRequest|WebSocket|Worker|Blob|innerHTML)\b|https?:|import\(",
            text,
        )
        assert not found, file.name


def test_both_languages_say_the_same_things():
    need("node")
    script = "".join(f"import {{WORDS as {n}}} from './{n}.js';" for n in live.FIGURES)
    script += f"console.log(JSON.stringify([{','.join(live.FIGURES)}].map(w => [Object.entries(w.en), Object.entries(w.ko)].map(e => e.map(([k, v]) => [k, String(v)])))));"
    run = subprocess.run(["node", "--input-type=module", "-e", script], cwd=live.FOLDER, capture_output=True, text=True, check=True)  # fmt: skip
    for english, korean in json.loads(run.stdout):
        assert dict(english).keys() == dict(korean).keys()
        for key, text in korean:
            assert not re.search(r"(요|니다)\.", text), (
                key,
                text,
            )  # the plain style, as in the seed
        assert re.search("[가-힣]", dict(korean)["how"])


@pytest.mark.parametrize("name", data.FILES)
def test_a_data_file_is_small_and_says_where_it_comes_from(name):
    file = live.FOLDER / "data" / f"{name}.json"
    assert file.stat().st_size <= data.LIMIT
    found = live.shipped(name)
    assert re.fullmatch(r"[0-9a-f]{12}", found["commit"]) and found["licence"] == "CC BY 4.0"
    assert found["made_by"] == f"python -m live data {name}"


def test_the_files_are_what_the_script_makes_and_the_flows_are_as_good_as_they_say():
    assert live.shipped("start")["kl"] == pytest.approx(np.array(data.start()["kl"]), abs=1e-5)
    target = nf.table_1(data.TARGET)
    for kind, f in (("planar", nf.Planar(2, 32)), ("ode", nf.ODEFlow(2, 32, 8))):
        found = live.shipped("depth")[kind]
        params = {n: np.array(found[n]) for n in f.shapes}
        flow = nf.Flow(nf.StandardNormal(2), f)
        kl, error = nf.kl_to_target(params, flow, target, 20_000, np.random.default_rng(1))
        assert abs(kl - found["kl"]) < 5 * error and found["kl"] < 0.05 and "seed" in found


def test_the_best_gaussians_are_best():
    for name, target in (("clock", nf.clock()), ("U1", nf.table_1("U1"))):
        for kind, best in live.shipped("bound")[name]["reverse"].items():

            def kl(log_sd, tilt, mean=best["mean"]):
                q = nf.Gaussian(np.array(mean), data.covariance(np.asarray(log_sd), tilt))
                return nf.kl_by_quadrature(q.log_prob, target.log_prob, (-8.0, 8.0), 160)

            sd = np.log(best["sd"])
            least = kl(sd, best["tilt"])
            for step in ([0.05, 0], [-0.05, 0], [0, 0.05], [0, -0.05]):
                assert kl(sd + step, best["tilt"]) > least - 1e-6, (name, kind)


def test_a_draft_too_large_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "start.json").write_text("{}", encoding="utf-8")
    monkeypatch.setitem(data.FILES, "start", lambda: {"x": [0.123] * 40_000})
    with pytest.raises(ValueError, match="expected at most 150000 bytes"):
        data.write(tmp_path, ["start"])
    assert (tmp_path / "start.json").read_text(encoding="utf-8") == "{}" and len(
        list(tmp_path.iterdir())
    ) == 1
