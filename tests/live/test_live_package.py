"""What Python makes of the live figures: outputs, HTML, data, and the budgets they keep."""

import gzip
import json
import re
import subprocess
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest

import live
from live import data, demo
from live import library as nf
from tests.live.chromium import need

MODULES = sorted(live.FOLDER.glob("*.js"))


def node(*arguments: str, text: str = "") -> str:
    """What Node prints for a module given as text."""
    command = ["node", "--input-type=module", *arguments]
    run = subprocess.run(command, input=text, cwd=live.FOLDER, text=True, capture_output=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture
def shown(monkeypatch):
    """What `display` was given."""
    calls = []
    monkeypatch.setattr(
        "nflib_min.plotting.display", lambda *args, **kwargs: calls.append((args, kwargs))
    )
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    return calls


def figure():
    return plt.figure(figsize=(2, 1))


def test_show_gives_the_house_picture_and_a_small_description(shown):
    fig = figure()
    live.show("planar", fig, layers=2, heights=[0.12345678])
    assert not plt.fignum_exists(fig.number)
    ((bundle,), options) = shown[0]
    assert set(bundle) == {"image/png", live.MIME, "text/plain"}
    assert bundle[live.MIME] == {
        "figure": "planar",
        "options": {"layers": 2, "heights": [0.123457]},
    }
    assert options["metadata"]["image/png"] == {"ink": 1, "width": 200}
    assert options["raw"] and len(json.dumps(bundle[live.MIME])) < 200


def test_a_figure_beside_its_picture_says_so_on_the_page(shown):
    live.show("mass", figure(), beside=True)
    description = shown[0][0][0][live.MIME]
    assert description == {"figure": "mass", "beside": True}
    assert " data-beside>" in live.place(description, "en")
    assert "data-beside" not in live.place(live.describe("mass"), "en")


def test_a_person_in_jupyterlab_gets_a_widget_where_anywidget_is(shown, monkeypatch, tmp_path):
    module = """class AnyWidget:
    def __init__(self, **traits): self.traits = traits
    def _repr_mimebundle_(self): return {"widget": [self._esm, self.traits]}, {}"""
    (tmp_path / "anywidget.py").write_text(module, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("JPY_SESSION_NAME", "notebook.ipynb")
    live.show("bound", figure())
    ((bundle,), _) = shown[0]
    program, traits = bundle["widget"]
    assert {"image/png", live.MIME} <= set(bundle)
    assert (
        program.endswith("export default {render: live_bound};") and traits["config"]["data"]["U1"]
    )
    live.show("bound", figure(), beside=True)  # the picture stays, and the widget stands below it
    assert [set(call[0][0]) for call in shown[1:]] == [
        {"image/png", live.MIME, "text/plain"},
        {"widget"},
    ]
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "ko" / "notebook.ipynb"))
    live.show("bound", figure())
    assert shown[3][0][0]["widget"][1]["config"]["lang"] == "ko"
    monkeypatch.delenv("JPY_SESSION_NAME")  # a notebook that is executed keeps the picture alone
    live.show("bound", figure())
    assert set(shown[4][0][0]) == {"image/png", live.MIME, "text/plain"}


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
        (lambda: live.show("plane", figure()), "expected one of planar, .*, got 'plane'"),
    ],
)
def test_what_cannot_be_shown_is_refused(call, message, shown):
    with pytest.raises(ValueError, match=message):
        call()
    assert not shown


def test_a_page_holds_a_place_for_each_figure_and_one_module():
    text = demo.page("ko", "bound", "bound", target="U1")
    assert text.count('<script type="module">') == 1 and text.count('data-live="bound"') == 2
    assert '"lang":"ko"' in text and '"target":"U1"' in text and '"commit"' in text


def test_the_figures_of_a_post_share_one_program_and_ask_for_its_language():
    view = SimpleNamespace(lang="ko", footer={})
    for name in ("mass", "bound", "mass"):
        assert live.post(live.describe(name), view) == live.place(live.describe(name), "ko")
    assert view.footer == {"live": live.program("mass", "bound")}
    assert '"lang":"ko"' in live.place(live.describe("mass"), "ko")


def test_no_data_can_end_the_script():
    text = live.place(live.describe("planar", {"note": "</script><b>"}), "en")
    assert text.count("</script>") == 1 and "\\u003c/script>" in text


def test_liquid_and_kramdown_find_nothing_of_theirs():
    texts = [live.program(*live.FIGURES)]
    texts += [live.place(live.describe(n), lang) for n in live.FIGURES for lang in ("en", "ko")]
    for text in texts:
        assert not [sign for sign in ("{{", "{%", "{:/") if sign in text]


@pytest.mark.slow
def test_the_six_weigh_less_than_40_kB_and_are_short():
    need("node")
    together = live.program(*live.FIGURES)
    assert len(gzip.compress(together.encode())) < 40_000
    lines = {file.name: len(file.read_text(encoding="utf-8").splitlines()) for file in MODULES}
    assert sum(lines.values()) <= 1200
    assert max(lines[f"{name}.js"] for name in live.FIGURES) <= 200
    for text in (live.bundle(*live.FIGURES), *map(live.bundle, live.FIGURES)):
        node("--check", "-", text=text)
        assert not re.search(r"^\s*(import|export)\b", text, re.M)


def test_the_modules_ask_nothing_of_the_network_and_evaluate_no_text():
    for file in MODULES:
        text = file.read_text(encoding="utf-8")
        found = re.findall(
            r"\b(?:eval|Function|fetch|XMLHttpRequest|WebSocket|Worker|Blob|innerHTML)\b|https?:|import\(",
            text,
        )
        assert not found, file.name


def test_both_languages_say_the_same_things_and_the_figures_say_no_others():
    for name, words in json.loads((live.FOLDER / "words.json").read_text(encoding="utf-8")).items():
        assert words["en"].keys() == words["ko"].keys()
        program = (live.FOLDER / f"{name}.js").read_text(encoding="utf-8") + (
            live.FOLDER / "stage.js"
        ).read_text(encoding="utf-8")
        used = set(re.findall(r"say\.(\w+)|'(\w+)'", program))
        used = {a or b for a, b in used}
        asked = set(re.findall(r"say\.(\w+)", program)) - {"play", "pause", "step"}  # the player's
        assert asked <= words["en"].keys() <= used, name
        for key, text in words["ko"].items():
            assert text.count("{}") == words["en"][key].count("{}")
            assert not re.search(r"(요|니다)\.", text), (key, text)  # the plain style
        assert re.search("[가-힣]", words["ko"]["how"])


@pytest.mark.parametrize("name", data.FILES)
def test_a_data_file_is_small_and_says_where_it_comes_from(name):
    file = live.FOLDER / "data" / f"{name}.json"
    assert file.stat().st_size <= data.LIMIT
    found = live.shipped(name)
    assert re.fullmatch(r"[0-9a-f]{12}", found["commit"]) and found["licence"] == "CC BY 4.0"
    assert found["made_by"] == f"python -m live data {name}"


@pytest.mark.slow
def test_the_files_are_what_the_script_makes_and_the_flows_are_as_good_as_they_say():
    assert live.shipped("start")["kl"] == pytest.approx(np.array(data.start()["kl"]), abs=1e-5)
    target = nf.table_1(data.TARGET)
    for kind, f in (("planar", nf.Planar(2, 32)), ("ode", nf.ODEFlow(2, 32, 8))):
        found = live.shipped("depth")[kind]
        params = {n: np.array(found[n]) for n in f.shapes}
        flow = nf.Flow(nf.StandardNormal(2), f)
        kl, error = nf.kl_to_target(params, flow, target, 20_000, np.random.default_rng(1))
        assert abs(kl - found["kl"]) < 5 * error and found["kl"] < 0.05 and "seed" in found


def kl(target, mean, log_sd, tilt):
    q = nf.Gaussian(np.array(mean), data.covariance(log_sd, tilt))
    return nf.kl_by_quadrature(q.log_prob, target.log_prob, (-8.0, 8.0), 160)


@pytest.mark.parametrize("name", ["clock", "U1"])
def test_the_best_gaussians_are_best(name):
    target = nf.clock() if name == "clock" else nf.table_1(name)
    for best in live.shipped("bound")[name]["reverse"].values():
        mean, log_sd, tilt = best["mean"], np.log(best["sd"]), best["tilt"]
        least = kl(target, mean, log_sd, tilt)
        for step in ([0.05, 0], [-0.05, 0], [0, 0.05], [0, -0.05]):
            assert kl(target, mean, log_sd + step, tilt) > least - 1e-6
            assert kl(target, mean + np.array(step), log_sd, tilt) > least - 1e-6


def test_only_files_that_a_figure_has_are_written(tmp_path):
    with pytest.raises(ValueError, match="expected one of depth, bound, start, got 'planar'"):
        data.write(tmp_path, ["planar"])


def test_a_draft_too_large_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "start.json").write_text("{}", encoding="utf-8")
    monkeypatch.setitem(data.FILES, "start", lambda: {"x": [0.123] * 40_000})
    with pytest.raises(ValueError, match="expected at most 150000 bytes"):
        data.write(tmp_path, ["start"])
    assert (tmp_path / "start.json").read_text(encoding="utf-8") == "{}" and len(
        list(tmp_path.iterdir())
    ) == 1
