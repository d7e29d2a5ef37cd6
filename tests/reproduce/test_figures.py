"""What figures 1 and 3 measure is right where the answer is known, and fair between the flows."""

import io
import json
import math
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from nflib_min.targets import table_1, w1, w2, w3
from reproduce import fig1, fig3, posteriors, results, runs
from reproduce.__main__ import RESULTS, Output, main, parser
from reproduce.posteriordb import study


# ------------------------------------------------------------------------------------- figure 1
@pytest.mark.slow
def test_every_panel_of_figure_1_has_mass_one_and_a_way_back():
    for task in fig1.tasks(quick=True):
        found = task.function(**task.settings, seed=task.seed)
        assert abs(found["mass"] - 1) < 0.01 and found["round_trip"] < 1e-9, task.settings


def test_figure_1_has_the_papers_panels():
    panels = {(t.settings["kind"], t.settings["base"], t.settings["K"]) for t in fig1.tasks()}
    assert len(panels) == 12 and {K for _, _, K in panels} == {1, 2, 10}


# ------------------------------------------------------------------------------------- the modes
def test_exact_draws_have_every_mode_and_a_lost_branch_is_missed():
    for name in ("U1", "U3", "U4"):
        p, rng = table_1(name), np.random.default_rng(0)
        z, exact = p.sample(40_000, rng), p.sample(40_000, rng)
        for k in range(2):
            assert 0.95 < fig3.mode_shares(name, z, exact)[k] < 1.05
            kept = z[~fig3.modes(name, z)[k]]
            shares = fig3.mode_shares(name, kept, exact)
            assert shares[k] == 0 and shares[1 - k] > 1
            assert fig3.missed({"modes": shares}) == 1
        assert fig3.missed({"modes": fig3.mode_shares(name, z, exact)}) == 0
    assert fig3.mode_shares("U2", z, exact) == [] and fig3.missed({"modes": []}) == 0


@pytest.mark.parametrize(("name", "gap"), [("U3", w2), ("U4", w3)])
def test_a_ridges_points_are_its_own_where_the_ridges_are_apart(name, gap):
    z1 = np.linspace(-4, 4, 801)
    apart = gap(z1) > 1.2
    assert 0.1 < apart.mean() < 0.9
    upper = fig3.modes(name, np.stack([z1, w1(z1)], axis=1))
    lower = fig3.modes(name, np.stack([z1, w1(z1) - gap(z1)], axis=1))
    np.testing.assert_array_equal(upper[0], apart)
    np.testing.assert_array_equal(lower[1], apart)
    assert not (upper[1] | lower[0]).any()


# ------------------------------------------------------------------------------------- fairness
@pytest.mark.parametrize("tasks", [fig3.tasks(), fig3.tasks(quick=True)])
def test_flows_of_one_length_are_trained_alike(tasks):
    recipes = {}
    for task in tasks:
        rest = {k: v for k, v in task.settings.items() if k not in ("target", "flow", "K")}
        key = task.settings["K"], task.settings["target"]
        recipes.setdefault(key, set()).add(json.dumps(rest, sort_keys=True))
    assert all(len(found) == 1 for found in recipes.values())


def test_the_tasks_have_the_papers_cells_once_and_ten_seeds_of_planar():
    seeds = {}
    for task in fig3.tasks():
        key = tuple(task.settings[name] for name in ("target", "flow", "K"))
        seeds.setdefault(key, []).append(task.seed)
    for target in fig3.TARGETS:
        for flow in fig3.FLOWS:
            for K in (2, 8, 32):
                assert len(set(seeds[target, flow, K])) >= (10 if flow == "planar" else 5)
    for target in fig3.TARGETS[:3]:
        assert {K for t, f, K in seeds if (t, f) == (target, "radial")} == set(fig3.CURVE)
    assert all(len(set(found)) == len(found) for found in seeds.values())


def test_an_ablation_changes_one_choice_and_shares_its_baseline_with_the_figure():
    in_figure = {task.name for task in fig3.tasks()}
    for task, name in zip(
        fig3.ablations(), np.repeat([*fig3.ABLATIONS], 2).tolist() * 5, strict=True
    ):
        baseline = fig3.baseline(task.settings["target"], "planar", 32)
        changed = {k: v for k, v in task.settings.items() if v != baseline[k]}
        assert changed.keys() == fig3.ABLATIONS[name].keys()
        assert (task.name in in_figure) == (changed == {})


def test_the_starts_are_what_they_say():
    rng, z = np.random.default_rng(0), np.random.default_rng(1)
    for flow in fig3.FLOWS:
        q, params = fig3.build(flow, 8, "shifted", "spread", 2.2, rng)
        spread = q.sample(params, 20_000, z).std(axis=0)
        np.testing.assert_allclose(spread, 2.2, rtol=0.1)
    q, params = fig3.build("planar", 32, "printed", "small", 1.0, rng)
    assert q.sample(params, 5000, z).std() < 0.02  # E4: the printed constraint collapses
    q, params = fig3.build("planar", 32, "shifted", "small", 1.0, rng)
    assert abs(q.sample(params, 5000, z).std() - 1) < 0.05
    for arguments in (("spline", 2, "shifted", "spread"), ("radial", 2, "printed", "spread")):
        with pytest.raises(ValueError, match="expected"):
            fig3.build(*arguments, 1.0, rng)


# ----------------------------------------------------------------------------------- the numbers
def test_the_divergences_are_those_of_a_known_case(monkeypatch):
    """A flow that is not trained: q is a normal, and KL(q || p) of U2's ridge has closed parts."""
    settings = fig3.COMMON | fig3.recipe(2, "U2") | {"steps": 1, "rate": 1e-12, "width": 1.0}
    found = fig3.train(**settings, target="U2", flow="radial", K=1, seed=0)
    p = table_1("U2")
    # E_q[U2] = (1 + E[sin^2(pi z1 / 2)]) / 0.32, E[sin^2] = (1 - e^{-pi^2 / 2}) / 2; the wall adds
    # next to nothing; E_q[ln q] = -(1 + ln 2 pi)
    sine = (1 - math.exp(-(math.pi**2) / 2)) / 2
    exact = -(1 + math.log(2 * math.pi)) + (1 + sine) / 0.32 + p.log_normalizer
    kl, error = found["kl"]
    assert abs(kl - exact) < 4 * error < 0.2
    # KL(p || N(0, I)) = ln 2 pi + E_p|z|^2 / 2 - H(p), all by one large draw of p
    z = p.sample(400_000, np.random.default_rng(5))
    forward = np.mean(p.log_prob(z) + math.log(2 * math.pi) + 0.5 * (z**2).sum(axis=1))
    assert abs(found["forward_kl"][0] - forward) < 5 * found["forward_kl"][1]
    assert abs(found["mass"] - 1) < 1e-4
    assert fig3.unpack(found["density"]).shape == (fig3.GRID, fig3.GRID)


def test_a_packed_density_is_the_density_to_half_a_level():
    q = np.exp(-np.linspace(0, 9, fig3.GRID**2))
    assert np.abs(fig3.unpack(fig3.pack(np.log(q))).ravel() - q).max() <= 0.5 / 255 + 1e-12


def test_the_median_seed_is_one_of_the_seeds():
    rows = [{"values": {"kl": [kl, 0.0]}} for kl in (0.3, 0.1, 0.4, 0.2)]
    assert fig3.median_row(rows)["values"]["kl"][0] == 0.2
    assert fig3.median_row(rows[:3])["values"]["kl"][0] == 0.3


# -------------------------------------------------------------------------------------- end to end
@pytest.mark.slow
def test_a_small_figure_3_runs_from_the_command_to_its_pictures(tmp_path):
    out = tmp_path / "out"
    assert main(["fig3", "--quick", "--jobs", "1", "--out", str(out)]) == 0
    results, figures = out / "quick" / "results", out / "quick" / "figures"
    assert sorted(path.name for path in results.iterdir()) == [
        *("ablations.json", "fig3.json", "fig3_panels.json", "trials.json")
    ]
    for name in ("fig3.png", "fig3_curve.png"):
        picture = PIL.Image.open(io.BytesIO((figures / name).read_bytes())).convert("L")
        assert np.asarray(picture).std() > 10 and min(picture.size) > 150  # something is drawn
    before = {path: path.read_bytes() for path in sorted(results.iterdir())}
    assert main(["fig3", "--quick", "--jobs", "1", "--out", str(out)]) == 0
    assert before == {path: path.read_bytes() for path in sorted(results.iterdir())}


@pytest.mark.slow
def test_the_posteriors_of_notebook_06_are_an_entry_too(tmp_path, monkeypatch):
    for name in ("tasks", "comparisons"):
        quick = getattr(posteriors, name)(True)
        monkeypatch.setattr(posteriors, name, lambda _, first=quick[:1]: first)
    (one,) = study.tasks(True)
    monkeypatch.setattr(study, "tasks", lambda _: [one])
    tracked = {path: path.read_bytes() for path in RESULTS.parent.glob("**/*.[jpm][snd]*")}
    for quick, out in (["--quick"], tmp_path / "quick"), ([], tmp_path):
        assert main(["posteriors", *quick, "--jobs", "1", "--out", str(tmp_path)]) == 0
        for name in ("posteriors", "gradients", "posteriordb"):
            (row,) = results.load(name, out / "results")
            assert row["cpu_seconds"] > 0 and row["commit"] == runs.commit()  # None without git
    assert {path: path.read_bytes() for path in RESULTS.parent.glob("**/*.[jpm][snd]*")} == tracked


def test_committed_results_are_written_over_only_on_demand():
    assert Output(parser().parse_args(["fig1", "--save"])).results == RESULTS
    assert Output(parser().parse_args(["fig1"])).results == Path("build/reproduce/results")
    with pytest.raises(SystemExit, match="2"):
        main(["fig1", "--quick", "--save"])


def test_errors_are_a_message_and_exit_2(tmp_path, capsys):
    arguments = ["fig3", "--quick", "--partial", "--out", str(tmp_path)]
    assert main(arguments) == 2
    assert "collect: expected 16 results" in capsys.readouterr().err
    assert main(["subset", "--mnist", str(tmp_path)]) == 2
    assert "train-images-idx3-ubyte" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["mnist", "--quick"])
    assert "expected fig1, fig3 or posteriors" in capsys.readouterr().err
    assert main(["table3"]) == 0
    assert "CIFAR-10" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(["fig9"])
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "table3" in capsys.readouterr().out
