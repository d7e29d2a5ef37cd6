"""Necks are found where they are, with the exact slopes of the prior; the map is a bijection."""

import autograd.numpy as anp
import numpy as np
import pytest

from nflib_min import Chain, checks
from nflib_min.posterior.given import pulled_back
from nflib_min.posterior.necks import Uncentred, find_necks
from nflib_min.targets import Target, eight_schools, logistic_regression, neals_funnel


def rng(seed=0):
    return np.random.default_rng(seed)


def walk(z):
    """A random walk of five steps whose log variance is unknown, from a free start, with data."""
    log_var, x = z[:, :1], z[:, 1:]
    steps = x[:, 1:] - x[:, :-1]
    prior = (
        -0.5 * anp.sum(steps**2 * anp.exp(-log_var) + log_var, axis=1) - 0.5 * log_var[:, 0] ** 2
    )
    return prior - 0.5 * anp.sum((x - anp.array([0.0, 1, 1, 2, 2])) ** 2, axis=1)


def by_precision(z):
    """Six effects around a mean whose log precision is the coordinate: the neck is above."""
    log_precision, mean, x = z[:, :1], z[:, 1:2], z[:, 2:]
    effects = -0.5 * anp.sum((x - 10 * mean) ** 2 * anp.exp(log_precision) - log_precision, axis=1)
    return effects - 0.5 * anp.sum(z[:, :2] ** 2, axis=1) - 0.5 * anp.sum((x - 3) ** 2, axis=1)


def schools():
    return eight_schools(centred=True)


# ------------------------------------------------------------------------------ what is found
def test_eight_schools_have_one_neck_with_slope_one_and_the_data_beside_it():
    target = schools()
    (neck,) = find_necks(target, target.sample(60, rng()), target.sd)
    assert target.names[neck.scale] == "log_tau" and neck.power == 2
    assert sorted(neck.members) == list(range(2, 10))
    mu = np.zeros((8, 10))
    mu[:, 0] = 1.0
    assert neck.prior == pytest.approx(mu, abs=0.01) and np.abs(neck.prior_at).max() < 0.1
    y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])[neck.members - 2]
    assert neck.data_at == pytest.approx(y, abs=0.5) and not neck.data.any()


@pytest.mark.parametrize(
    "target, scale, power, members",
    [
        (neals_funnel(6), 0, 1, {1, 2, 3, 4, 5}),
        (Target(walk, 6), 0, 1, {1, 2, 3, 4, 5}),
        (Target(by_precision, 8), 0, -1, {2, 3, 4, 5, 6, 7}),
    ],
    ids=["funnel", "random walk", "log precision"],
)
def test_other_necks_are_found_by_scale_power_and_members(target, scale, power, members):
    z = rng().standard_normal((60, target.dim))
    (neck,) = find_necks(target, z, np.ones(target.dim))
    assert (neck.scale, neck.power) == (scale, power)
    found = set(neck.members.tolist())  # one step of the walk is free: it may be any
    assert found <= members and len(members - found) == (
        members == {1, 2, 3, 4, 5} and target.name == "target"
    )


def test_a_mean_in_other_units_has_its_slope():
    (neck,) = find_necks(Target(by_precision, 8), rng().standard_normal((60, 8)), np.ones(8))
    assert neck.prior[:, 1] == pytest.approx(np.full(6, 10.0), rel=0.01)


@pytest.mark.parametrize(
    "target",
    [
        eight_schools(centred=False),
        logistic_regression(
            np.column_stack([np.ones(40), np.linspace(-2, 2, 40)]), np.arange(40) > 18, 2.0
        ),
        Target(lambda z: -0.5 * z[:, 0] ** 2 - 2 * (z[:, 1] - 0.5 * z[:, 0] ** 2) ** 2, 2),
        Target(lambda z: -anp.sum(anp.log(1 + z**2), axis=1), 3),
    ],
    ids=["non-centred", "logistic", "banana", "Cauchy"],
)
def test_where_there_is_no_neck_none_is_found(target):
    assert find_necks(target, rng().standard_normal((60, target.dim)), np.ones(target.dim)) == []


def test_a_density_that_is_nowhere_finite_has_none():
    target = Target(lambda z: anp.log(-1.0 - z[:, 0] ** 2), 2)
    with np.errstate(invalid="ignore"):
        assert find_necks(target, rng().standard_normal((60, 2)), np.ones(2)) == []


# ------------------------------------------------------------------------------------ the map
def maps():
    target = schools()
    (neck,) = find_necks(target, target.sample(60, rng()), target.sd)
    (chained,) = find_necks(Target(walk, 6), rng().standard_normal((60, 6)), np.ones(6))
    return {"schools": neck, "walk": chained}


@pytest.mark.parametrize("f", maps().values(), ids=maps())
def test_the_map_is_a_bijection_with_its_log_determinant(f):
    v = rng(1).standard_normal((20, f.dim))
    assert checks.round_trip_error(f, {}, v) < 1e-9
    assert checks.log_det_cancellation(f, {}, v) < 1e-9
    _, log_det = f.forward_and_log_det({}, v)
    assert log_det == pytest.approx(checks.log_det_by_autodiff(f, {}, v), abs=1e-9)
    assert "by" in repr(f)


def test_the_pulled_back_density_has_its_own_gradient_and_no_neck():
    target = schools()
    (neck,) = find_necks(target, target.sample(60, rng()), target.sd)
    f = Chain([neck])
    inner = pulled_back(target, f)
    v = f.inverse([{}], target.sample(20_000, rng(1)))
    value, g = inner.log_density_and_grad(v[:5])
    assert value == pytest.approx(inner.log_density(v[:5]))
    differences = Target(inner.log_density, 10, gradient="differences")
    assert g == pytest.approx(differences.log_density_and_grad(v[:5])[1], abs=1e-5)
    # the effects no longer know the scale: at each quarter of log tau they are as wide
    order = np.array_split(np.argsort(v[:, 1]), 4)
    widths = np.array([v[part, 2:].std(axis=0) for part in order])
    assert 0.8 < widths.min() and widths.max() < 1.2


def test_a_map_by_hand_is_the_non_centred_form():
    one, none = np.ones(1), np.zeros(1)
    hand = [np.array([[1.0, 0, 0]]), none, np.zeros((1, 3)), none]
    f = Uncentred(3, 1, 2, 0.0, np.array([2]), one, none, *hand)
    v = rng().standard_normal((10, 3))
    assert f.forward({}, v)[:, 2] == pytest.approx(v[:, 0] + np.exp(v[:, 1]) * v[:, 2])
