"""Models of posteriordb: each density is that of its reference draws, and verdicts are counted."""

import re

import numpy as np
import pytest

from nflib_min.posterior.given import FiniteTarget, check_gradient
from nflib_min.targets import Target
from reproduce import posteriordb, results
from reproduce.posteriordb import study
from reproduce.posteriordb.regressions import regression
from reproduce.posteriordb.stein import stein
from tests import ROOT

ALL = pytest.mark.parametrize("name", posteriordb.MODELS)


@ALL
def test_a_gradient_is_that_of_the_density(name):
    check_gradient(FiniteTarget(posteriordb.load(name).target), sample(name)[:5])


@ALL
def test_a_density_is_that_of_its_reference_draws(name):
    target, z = posteriordb.load(name).target, sample(name)
    assert z.shape == (200, target.dim)
    found = stein(target, z)
    assert max(found["gradient"], found["products"]) < (12 if target.dim > 80 else 7)


@ALL
def test_half_a_density_is_not(name):
    target, z = posteriordb.load(name).target, sample(name)

    def half(z):
        value, g = target.log_density_and_grad(z)
        return 0.5 * value, 0.5 * g

    wrong = Target(target._log_density, gradient=half, names=target.names)
    assert stein(wrong, z)["products"] > 2 * stein(target, z)["products"]


@ALL
def test_all_reference_draws_were_asked_when_the_files_were_made(name):
    found = posteriordb.references()[name]
    assert (
        found["source"] in ("posteriordb's draws", "exact, by quadrature") or found["r_hat"] < 1.01
    )
    # of thousands of numbers, of heavy-tailed products, the largest is larger
    assert found["stein"]["gradient"] < 4 and found["stein"]["products"] < 6


@ALL
def test_moments_of_the_sample_are_those_of_the_reference(name):
    case, z = posteriordb.load(name), sample(name)
    for x, where in ((z, "real"), (case.natural(z), "natural")):
        mean, sd = (np.array(posteriordb.references()[name][where][key]) for key in ("mean", "sd"))
        assert x.shape == z.shape == (200, len(mean))
        assert np.abs((x.mean(axis=0) - mean) / sd).max() < 0.45  # of 200 draws


@pytest.mark.parametrize(
    "name", [name for name in posteriordb.MODELS if name.partition("-")[0] not in ("radon_mn",)]
)
def test_draws_come_back_from_the_models_own_parameters(name):
    case, z = posteriordb.load(name), sample(name)[:20]
    if case.natural_of is None:
        own = [word.rpartition(" ")[2] for word in case.names]
        back = case.back(dict(zip(own, case.natural(z).T, strict=True)))
        assert np.allclose(back, z, rtol=1e-6, atol=1e-6)


def test_sufficient_statistics_change_nothing():
    rng = np.random.default_rng(0)
    X, y, z = rng.normal(size=(30, 3)), rng.normal(size=30), rng.normal(size=(7, 4))
    short, long = (regression(X, y, short=how).target.log_density(z) for how in (True, False))
    assert np.allclose(short, long)


@pytest.mark.parametrize(
    ("verdict", "errors", "outcome"),
    [
        ("good", [0.05, 0.05], "right pass"),
        ("use the chains' draws", [0.2, 0.05], "false pass"),
        ("do not trust", [0.05, 0.2], "right refusal"),
        ("do not trust", [0.05, 0.05], "false refusal"),
    ],
)
def test_outcomes(verdict, errors, outcome):
    weights = {"verdict": "good", "real": [0.0, 0.0]}
    row = {"values": {"verdict": verdict, "real": errors, "weights": weights}}
    assert results.outcomes([row]) == [outcome]
    assert results.outcomes([row], weights=True) == ["right pass"]


def test_the_plan_is_every_model_with_three_seeds():
    plan = [task for task in study.tasks() if "gaussian" not in task.settings]
    models = len(posteriordb.MODELS) - len(study.LEFT_OUT)
    assert models >= 20 and len(plan) == 3 * models
    assert [task.seed for task in plan[:models]] == [0] * models


def test_rows_are_counted():
    case, rows = posteriordb.load("dogs-dogs"), {"gradients": 0, "density": 0}
    target = study.counted(case.target, rows)
    z = sample("dogs-dogs")
    assert np.allclose(target.log_density_and_grad(z)[1], case.target.log_density_and_grad(z)[1])
    assert np.allclose(target.log_density(z[:3]), case.target.log_density(z[:3]))
    assert rows == {"gradients": 200, "density": 3} and target.names == case.names


def sample(name):
    return np.array(posteriordb.samples()[name])


def test_the_readmes_count_what_the_study_found():
    found = results.outcomes(results.study())
    right, wrong = found.count("right pass"), found.count("false refusal")
    assert right + wrong == len(found)
    models = len({row["settings"]["model"] for row in results.study()})
    for name in ("README.md", "README.ko.md"):
        paragraphs = (ROOT / name).read_text(encoding="utf-8").split("\n\n")
        (said,) = [text for text in paragraphs if "posteriordb" in text]
        assert {int(n) for n in re.findall(r"\d+", said)} == {models, right, len(found), wrong}
