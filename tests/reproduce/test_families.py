"""What notebook 06 stands on: true truths, measurements that see errors, what is stored."""

import numpy as np
import pytest

from nflib_min import Flow, StandardNormal, TriangularAffine
from nflib_min.targets import Gaussian, eight_schools
from notebooks.figures import real_posteriors as figures
from reproduce import posteriors, results
from reproduce.posteriors import FAMILIES, TRUTHS, Truth, exact, examine
from reproduce.runs import Task


@pytest.fixture(scope="module")
def gaussian():
    """A known Gaussian, as a truth, and the flow that is exactly it."""
    covariance = np.array([[2.0, 1.2], [1.2, 1.0]])
    model, L = Gaussian(np.array([1.0, -2.0]), covariance), np.linalg.cholesky(covariance)
    params = {"mean": model.mean, "log_diag": np.log(np.diag(L)), "lower": np.tril(L, -1)}
    return exact(model, (0, 1)), Flow(StandardNormal(2), TriangularAffine(2)), params


@pytest.mark.parametrize("name", [name for name in TRUTHS if "logistic" not in name])
def test_a_truth_has_the_moments_of_its_own_exact_draws(name):
    truth = TRUTHS[name]()
    x = truth.natural(truth.model.sample(20_000, np.random.default_rng(0)))
    assert np.abs((x.mean(axis=0) - truth.mean) / truth.sd).max() < 0.05
    if "funnel" not in name:  # its fourth moment is e^18 times the squared second
        assert np.abs(x.std(axis=0) / truth.sd - 1).max() < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TRUTHS if "logistic" in name])
def test_a_truth_without_a_sampler_agrees_with_importance_sampling(name):
    truth = TRUTHS[name]()
    stored = truth.model.covariance
    if stored is None:
        stored = results.reference("logistic")["covariance"]
    rng = np.random.default_rng(0)
    z = figures.resampled(truth.model, truth.mean, stored, 10_000, rng)
    assert np.abs((z.mean(axis=0) - truth.mean) / truth.sd).max() < 0.06
    assert np.abs(z.std(axis=0) / truth.sd - 1).max() < 0.06


def test_resampled_refuses_a_proposal_that_misses():
    model = eight_schools(centred=True)  # a funnel, which no Gaussian covers
    with pytest.raises(ValueError, match=r"expected k-hat below 0.5, got"):
        figures.resampled(model, model.mean, model.covariance, 5000, np.random.default_rng(0))


def test_the_exact_flow_is_measured_as_exact(gaussian):
    truth, flow, params = gaussian
    found = examine(flow, params, truth, 5000, seed=0)
    assert np.abs(found["kl"]).max() < 1e-6 and np.abs(found["forward_kl"]).max() < 1e-6
    assert found["ess"] == 1 and found["k_hat"] < 0.5 and abs(found["log_z"]) < 1e-6
    assert max(found["mean"], found["sd"]) < 0.05
    assert np.shape(found["draws"]) == (200, 2)


def test_each_error_of_a_wrong_flow_is_seen_where_it_is(gaussian):
    truth, flow, params = gaussian
    moved = params | {"mean": params["mean"] + np.array([0.5, 0.0]) * truth.sd}
    found = examine(flow, moved, truth, 20_000, seed=1)
    assert abs(found["mean"] - 0.5) < 0.03 and found["sd"] < 0.03
    # KL of two Gaussians with one covariance S, their means d apart: d S^-1 d / 2
    d = np.array([0.5 * truth.sd[0], 0.0])
    kl = 0.5 * d @ np.linalg.solve(truth.model.covariance, d)
    assert abs(found["kl"][0] - kl) < 5 * found["kl"][1] > 0
    assert abs(found["forward_kl"][0] - kl) < 5 * found["forward_kl"][1] > 0
    assert found["weighted_mean"] < 0.1 and "draws" not in found
    wide = params | {"log_diag": params["log_diag"] + np.log(1.5), "lower": 1.5 * params["lower"]}
    found = examine(flow, wide, truth, 20_000, seed=1)
    assert abs(found["sd"] - 0.5) < 0.03 and found["weighted_sd"] < 0.05


def test_errors_are_those_of_the_natural_parameters(gaussian):
    truth, _, _ = gaussian
    z = truth.model.sample(50_000, np.random.default_rng(0))
    scaled = Truth(truth.model, 0.0, np.zeros(1), np.ones(1), lambda z: 3 * z[:, :1], (0, 1))
    mean, sd = posteriors.errors(scaled, z, np.ones(len(z)))
    assert abs(mean - 3) < 0.1 and abs(sd - (3 * np.sqrt(2) - 1)) < 0.1


@pytest.mark.parametrize("family", ["mean-field", "planar, K = 8"])
def test_one_small_task_of_either_kind(family):
    settings = posteriors.COMMON | {"steps": 20, "batch": 16, "draws": 500}
    found = posteriors.measure(
        target="eight schools, non-centred", family=family, **settings, seed=0
    )
    assert found["gradients"] > 20 * 16 and found["kl"][0] > 0
    assert ("verdict" in found) == (family != "mean-field")


@pytest.mark.slow
def test_path_gradients_end_with_less_noise():
    settings = {"gradients": 3000, "batch": 30, "rate": 5e-3, "draws": 500, "version": 1}
    noise = [
        posteriors.compare(
            target="logistic regression, iris", path_gradient=path, **settings, seed=0
        )["noise"]
        for path in (False, True)
    ]
    assert noise[1] < noise[0]


# -------------------------------------------------------------------------------- what is stored
@pytest.fixture(scope="module")
def stored():
    return results.medians(results.load("posteriors"))


def test_every_family_is_there_for_every_target(stored):
    wanted = {(t.settings["target"], t.settings["family"]) for t in posteriors.tasks()}
    assert stored.keys() == wanted and {family for _, family in wanted} == {*FAMILIES}


def test_stored_results_are_of_these_tasks():
    for name, tasks in {
        "posteriors": posteriors.tasks,
        "gradients": posteriors.comparisons,
    }.items():
        names = {
            Task(tasks()[0].function, row["settings"], row["seed"]).name
            for row in results.load(name)
        }
        assert names == {task.name for task in tasks()}


def test_the_gaps_that_must_be_reached(stored):
    most = {"eight schools, centred": 0.15, "eight schools, non-centred": 0.05}
    most |= {"logistic regression, iris": 0.02, "logistic regression, cancer": 0.02}
    for target, gap in most.items():
        assert stored[target, "RealNVP"]["kl"][0] < gap
    assert abs(stored["linear regression, diabetes", "full rank"]["kl"][0]) < 1e-8
    assert stored["linear regression, diabetes", "mean-field"]["kl"][0] > 15


def test_the_table_has_a_line_for_every_row(stored):
    lines = figures.table(stored).splitlines()
    assert len(lines) == 1 + len(TRUTHS) + len(stored)
    assert len({len(line) for line in lines if line.startswith("  ")}) == 1


def test_what_notebook_06_says_of_the_two_gradients():
    ends = {}
    for run in results.load("gradients"):
        s = run["settings"]
        key = s["target"], s["batch"], s["path_gradient"]
        ends.setdefault(key, []).append(run["values"]["kl"][0])
    kl = {key: np.median(values) for key, values in ends.items()}
    gains = [kl[t, n, False] / kl[t, n, True] for t, n, path in ends if path]
    assert 1.4 < min(gains) < 1.5 and 7 < max(gains) < 8
    tumors, funnels = dict.fromkeys(target for target, _, _ in ends)
    small_batch = [kl[funnels, 512, p] / kl[funnels, 32, p] for p in (True, False)]
    assert np.allclose(small_batch, [3.7, 2.1], atol=0.05)
    assert max(ends[funnels, 32, False]) < min(ends[funnels, 512, True])
    stalled = [kl[tumors, n, False] for n in (32, 128, 512)]
    assert max(stalled) < 1.05 * min(stalled)
