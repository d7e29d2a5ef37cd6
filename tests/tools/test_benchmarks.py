"""The benchmark by itself: it runs, it refuses what disagrees, and its report is its data."""

import json
import re

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import cells, driver, footprint, plot, report, scaling, with_numpy
from benchmarks.cells import Cell
from tools.markdown import between

PLANAR = Cell("planar", 8, 100, "float64")


def answers(cell):
    given = cells.problem(cell)
    return {
        name: with_numpy.build(cell, name, given).check(given["z0"])
        for name in cell.contenders(without_peers=True)
    }


@pytest.mark.slow
def test_quick_runs_every_kind_of_cell(capsys):
    assert command.main(["--quick"]) == 0
    printed = capsys.readouterr().out
    for cell in cells.QUICK:
        assert printed.count(cell.name) == len(cell.contenders(without_peers=True))


def test_every_kind_of_cell_is_quick_too():
    assert {c.kind for c in cells.QUICK} == {c.kind for c in cells.CELLS} == set(cells.CONTENDERS)


@pytest.mark.parametrize("cell", cells.QUICK, ids=lambda c: c.name)
def test_contenders_without_peers_agree(cell):
    found = answers(cell)
    want = found["ours"]
    for name, got in found.items():
        assert cells.require_agreement(cell, name, got, want) <= cells.TOLERANCE[cell.dtype]


@pytest.mark.parametrize("dtype, change", [("float64", 1e-6), ("float32", 1e-2)])
def test_a_changed_loss_is_caught(dtype, change):
    cell = Cell("planar", 8, 100, dtype)
    want = answers(cell)["ours"]
    with pytest.raises(AssertionError, match="expected wrong to agree"):
        cells.require_agreement(cell, "wrong", {**want, "loss": want["loss"] + 4 * change}, want)


def test_a_lost_log_det_is_caught():
    """A contender that forgets the log-determinants has another loss and other gradients."""
    given = cells.problem(PLANAR)
    want = with_numpy.build(PLANAR, "ours", given).check(given["z0"])
    contender = with_numpy.build(PLANAR, "ours", given)
    bijection = contender.loss.flow.bijection
    honest = bijection.forward_with_pullback

    def forgetful(params, z0):
        zK, log_det, pullback = honest(params, z0)
        return zK, 0 * log_det, lambda g_zK, g_log_det: pullback(g_zK, 0 * g_log_det)

    bijection.forward_with_pullback = forgetful
    assert cells.disagreement(contender.check(given["z0"]), want) > 1e-2


@pytest.mark.parametrize(
    "got, message",
    [
        ({"w": np.zeros(2)}, "expected the loss and gradients"),
        ({"loss": np.array(0.0)}, "expected the loss and gradients"),
        ({"loss": np.array(0.0), "w": np.zeros(3)}, "expected shape"),
    ],
)
def test_an_incomplete_answer_is_refused(got, message):
    with pytest.raises(ValueError, match=message):
        cells.disagreement(got, {"loss": np.array(0.0), "w": np.zeros(2)})


def test_nan_never_agrees():
    want = {"loss": np.array(0.0), "w": np.zeros(2)}
    got = {"loss": np.array(np.nan), "w": np.zeros(2)}
    assert cells.disagreement(got, want) == np.inf


@pytest.mark.parametrize("constraint", cells.CONSTRAINTS)
def test_constraints_map_there_and_back(constraint):
    """raw undoes the constraint, and effective_gradient is the chain rule through it."""
    rng = np.random.default_rng(0)
    given = cells.problem(PLANAR)
    u_hat, w = given["u_hat"], given["w"]
    u = cells.raw(constraint, u_hat, w)
    np.testing.assert_allclose(cells.effective(constraint, u, w), u_hat, rtol=0, atol=1e-12)

    g = rng.standard_normal((2, *u.shape))  # of F = sum g[0] u_hat + g[1] w

    def F(u, w):
        return np.sum(g[0] * cells.effective(constraint, u, w) + g[1] * w)

    def differences(f, x, step=1e-6):
        e = np.eye(x.size).reshape(-1, *x.shape) * step
        return np.array([(f(x + d) - f(x - d)) / (2 * step) for d in e]).reshape(x.shape)

    g_u, g_w = differences(lambda x: F(x, w), u), differences(lambda x: F(u, x), w)
    got = cells.effective_gradient(constraint, u, w, g_u, g_w)
    np.testing.assert_allclose(got, g, rtol=0, atol=1e-7)


def test_a_cell_is_found_by_its_name():
    for cell in cells.CELLS + cells.QUICK:
        assert cells.cell_named(cell.name) == cell


def test_a_worker_says_what_went_wrong():
    with (
        driver.Workers() as workers,
        pytest.raises(RuntimeError, match="length: expected a whole number"),
    ):
        workers.of("ours", "float64").ask("prepare", cell="planar-0-1-float64", answer="")


def test_slopes_and_memory_are_measured():
    assert scaling.slope([1, 2, 4], [3.0, 6.0, 12.0]) == pytest.approx(1.0)
    states = 8 * 8 * 2 * 500
    assert states < scaling.peak_bytes(8, 2, 500) < 20 * states
    assert all(value > 0 for value in scaling.parts(2, 10).values())


def test_installed_sizes_follow_the_requirements():
    own = footprint.own_requirements()
    assert {"numpy", "autograd"} <= set(own)
    assert {"numpy", "autograd"} <= footprint.closure(["autograd"])
    assert footprint.size("numpy") > footprint.size("autograd") > 0


# ------------------------------------------------------------------------------------- report
def record_of(cell, seconds):
    contenders = {
        name: {"wall": [t, 2 * t, t], "cpu": [t, 2 * t, t], "first_step": 0.5, "disagreement": 0.0}
        for name, t in seconds.items()
    }
    return {
        "machine": driver.machine(),
        "rounds": 3,
        "cell": cell.record(),
        "contenders": contenders,
    }


@pytest.fixture
def folder(tmp_path):
    """A small run: two planar cells, a coupling cell and a cold start."""
    times = {
        "ours": 1e-4,
        "normflows": 2e-3,
        "pyro": 4e-3,
        "flowjax": 1e-4,
        "jax": 5e-5,
        "jax-scan": 2e-5,
    }
    results = tmp_path / "benchmarks" / "results"
    for cell in (PLANAR, Cell("planar", 32, 1000, "float64")):
        driver.write(record_of(cell, times), results / f"{cell.name}.json")
    coupling = Cell("coupling", 8, 100, "float64")
    driver.write(
        record_of(coupling, {"ours": 1e-3, "nflows": 9e-3}), results / f"{coupling.name}.json"
    )
    cold = {
        name: {"wall": [t] * 3, "cpu": [t] * 3, "kl": [kl, 0.001]}
        for name, t, kl in (("ours", 1.0, 0.01), ("jax", 9.0, 0.01), ("flowjax", 7.0, 0.03))
    }
    setting = {"kind": "cold", "length": 8, "batch": 10, "steps": 5, "samples": 100}
    machine = driver.machine()
    driver.write(
        {"machine": machine, "rounds": 3, "cell": setting, "goal": 0.02, "contenders": cold},
        results / "cold.json",
    )
    for path in (tmp_path / "README.md", tmp_path / "benchmarks" / "README.md"):
        path.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_the_report_is_made_of_the_results(folder, capsys):
    assert report.main(folder, folder / "benchmarks" / "results") == 0
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "\nold\n" not in text
    assert driver.processor() in text
    full = (folder / "benchmarks" / "README.md").read_text(encoding="utf-8")
    normflows = next(line for line in full.splitlines() if line.startswith("| normflows"))
    assert re.findall(r"[\d.]+ ×", normflows) == ["20 ×", "20 ×"]
    assert "**100 µs**" in full and "**1.00 s**" in full
    assert "0.0300 ± 0.0010" in full and "9.0 ×" in full
    for mode in ("light", "dark"):
        png = (folder / "benchmarks" / "results" / f"speed-{mode}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
    assert not list(folder.rglob("*.part"))
    verdicts = capsys.readouterr().out
    assert re.search(
        r"^reached +planar, every cell: 1/10 of normflows, Pyro: 0.05 ", verdicts, re.M
    )
    assert re.search(r"^NOT REACHED +planar, every cell: 2/3 of flowjax: 1 ", verdicts, re.M)
    assert re.search(r"^reached +cold start .* or not: 0.143 \(flowjax\)$", verdicts, re.M)


@pytest.mark.slow
def test_the_report_is_written_again_from_other_results(folder):
    results = folder / "benchmarks" / "results"
    report.main(folder, results)
    first = (folder / "README.md").read_text(encoding="utf-8")
    report.main(folder, results)
    assert (folder / "README.md").read_text(encoding="utf-8") == first
    path = results / f"{PLANAR.name}.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["contenders"]["normflows"]["cpu"] = [7e-3] * 3
    driver.write(record, path)
    report.main(folder, results)
    assert "70 ×" in (folder / "benchmarks" / "README.md").read_text(encoding="utf-8")


def test_a_readme_without_markers_is_refused(folder):
    (folder / "README.md").write_text("no markers", encoding="utf-8")
    with pytest.raises(ValueError, match=r"README.md: expected one"):
        report.main(folder, folder / "benchmarks" / "results")


def test_results_of_other_sources_or_fewer_rounds_are_measured_again(folder, monkeypatch):
    path = folder / "benchmarks" / "results" / f"{PLANAR.name}.json"
    assert driver.is_done(path, 3)
    assert not driver.is_done(path, 4)
    assert not driver.is_done(path.with_name("missing.json"), 1)
    monkeypatch.setattr(driver, "source_digest", lambda: "other")
    assert not driver.is_done(path, 3)


def test_a_changed_kernel_makes_results_old(tmp_path, monkeypatch):
    """The digest is of the whole library, its wings included."""
    monkeypatch.setattr(driver, "ROOT", tmp_path)
    kernel = tmp_path / "nflib_min" / "fast" / "planar.py"
    kernel.parent.mkdir(parents=True)
    digests = set()
    for text in ("1", "2"):
        kernel.write_text(text, encoding="utf-8")
        digests.add(driver.source_digest())
    assert len(digests) == 2


def test_a_tie_is_called_neither_slower_nor_faster(folder):
    text = plot.alt(report.load(folder / "benchmarks" / "results"))
    slower, faster = text.split("Always slower: ")[1].split("; always faster: ")
    assert "normflows" in slower and "jax" in faster.lower()
    assert "flowjax" not in text  # as fast as ours in this run


def test_the_report_says_on_which_processor(folder):
    results = report.load(folder / "benchmarks" / "results")
    for record in results.values():
        record["machine"] |= {"processor": "A Chip", "instructions": "AVX2"}
    assert report.conditions(results).startswith("A Chip with AVX2, ")
    del results["cold"]["machine"]["instructions"]  # as older results have it
    assert report.conditions(results).startswith("A Chip with AVX2, ")


def test_the_committed_report_is_that_of_the_committed_results():
    results = report.load()
    assert results, "no results: run make bench"
    text = (report.ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert between(text, report.BEGIN, report.END, report.full_report(results), "README.md") == text
