"""Importance weights: the bound, the effective sample size, and the shape of their tail."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nflib_min import Affine, Flow, StandardNormal, TriangularAffine
from nflib_min.objectives import (
    kl_to_target,
    log_weights,
)
from nflib_min.targets import Target
from nflib_min.weights import effective_sample_size, importance_weighted_bound, k_limit, pareto_k
from tests.library.test_objectives import model, posterior_params, rng


def test_the_weights_of_the_exact_posterior_are_all_the_evidence():
    flow = Flow(StandardNormal(2), TriangularAffine(2))
    log_w = log_weights(posterior_params(), flow, model(), 100, rng())
    assert log_w == pytest.approx(np.full(100, model().log_normalizer), abs=1e-11)
    assert effective_sample_size(log_w) == pytest.approx(100)


def test_the_bound_climbs_to_the_evidence():
    """L_k grows with k in expectation, stays below ln Z, and comes within .01 nats of it."""
    flow = Flow(StandardNormal(2), TriangularAffine(2))
    log_w = log_weights(posterior_params(1.5), flow, model(), 200_000, rng())
    ks = [1, 2, 5, 20, 100, 1000]
    bounds = [importance_weighted_bound(log_w, k) for k in ks]
    assert bounds == sorted(bounds)
    log_Z = model().log_normalizer
    assert bounds[0] < log_Z - 0.2 and log_Z - 0.01 < bounds[-1] < log_Z + 0.005
    assert importance_weighted_bound(log_w) == pytest.approx(log_Z, abs=0.01)


@given(st.lists(st.floats(-800, 800), min_size=1, max_size=30), st.data())
def test_the_bound_is_its_formula(log_w, data):
    k = data.draw(st.integers(1, len(log_w)))
    groups = [log_w[i : i + k] for i in range(0, len(log_w) - k + 1, k)]
    expected = []
    for group in groups:
        top = max(group)
        expected.append(top + math.log(sum(math.exp(x - top) for x in group) / k))
    assert importance_weighted_bound(np.array(log_w), k) == pytest.approx(
        np.mean(expected), abs=1e-9
    )


@given(st.lists(st.floats(-800, 800), min_size=1, max_size=30), st.floats(-500, 500))
def test_effective_sample_size_is_between_1_and_n_and_ignores_a_constant(log_w, shift):
    log_w = np.array(log_w)
    ess = effective_sample_size(log_w)
    assert 1 - 1e-12 <= ess <= len(log_w) + 1e-9
    assert effective_sample_size(log_w + shift) == pytest.approx(ess, rel=1e-6)


def test_effective_sample_size_of_known_weights():
    assert effective_sample_size(np.log([1.0, 2.0, 3.0])) == pytest.approx(36 / 14)
    assert effective_sample_size(np.array([0.0, -1000.0, -1000.0])) == 1.0


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9])
def test_pareto_k_finds_the_shape_of_a_pareto_tail(k):
    estimates = [pareto_k(k * rng(seed).exponential(size=4000))[0] for seed in range(20)]
    assert np.mean(estimates) == pytest.approx(k, abs=0.1)


def test_pareto_k_of_many_draws_is_quiet():
    u = rng(0).standard_normal(200_000)  # a q with a tenth of the variance
    with np.errstate(all="raise", under="ignore"):
        assert pareto_k(0.45 * u**2)[0] == pytest.approx(0.9, abs=0.15)


def test_smoothed_weights_are_normalised_and_change_the_tail_alone():
    log_w = 0.9 * rng().exponential(size=4000)
    _, smoothed = pareto_k(log_w)
    assert np.exp(smoothed).sum() == pytest.approx(1)
    order = np.argsort(log_w)
    below = order[: 4000 - 3 * int(np.sqrt(4000)) - 5]
    change = (smoothed - log_w)[below]
    assert np.ptp(change) < 1e-9 and np.ptp((smoothed - log_w)[order[-100:]]) > 1e-3


def test_equal_weights_have_no_tail():
    k, smoothed = pareto_k(np.full(100, 7.0))
    assert k == 0.0 and np.exp(smoothed) == pytest.approx(np.full(100, 0.01))


def test_the_limit_of_k_falls_with_few_draws():
    assert k_limit(10**6) == 0.7 and k_limit(2200) == pytest.approx(0.7, abs=1e-3)
    assert k_limit(1000) == pytest.approx(2 / 3)


@pytest.mark.slow
@pytest.mark.parametrize("k", [0.1, 0.4, 0.7, 1.1])
@pytest.mark.parametrize("n", [100, 5000])
def test_pareto_smoothing_is_arvizs(k, n):
    log_w = k * rng(n).exponential(size=n)
    got, smoothed = pareto_k(log_w)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz

        expected, expected_k = arviz.psislw(log_w.copy())
    assert got == pytest.approx(float(expected_k), abs=1e-10)
    assert smoothed == pytest.approx(np.asarray(expected), abs=1e-10)


def test_draws_where_the_target_is_0_have_weight_0():
    log_w = np.where(np.arange(4000) % 2, -np.inf, 0.4 * rng().exponential(size=4000))
    half = log_w[::2]
    assert importance_weighted_bound(log_w) == pytest.approx(
        importance_weighted_bound(half) - np.log(2)
    )
    assert effective_sample_size(log_w) == pytest.approx(effective_sample_size(half))
    k, smoothed = pareto_k(log_w)
    assert k < 0.7 and np.isneginf(smoothed[1::2]).all()
    assert np.exp(smoothed).sum() == pytest.approx(1)
    one_draw = np.where(np.arange(100) == 3, 0.0, -np.inf)
    assert pareto_k(one_draw)[0] == np.inf


def test_a_target_with_edges_has_its_divergence_and_its_weights():
    """A half-plane: log weights of -inf, an infinite KL(q || p), and ln Z all the same."""
    half = Target(
        lambda z: np.where(z[:, 0] > 0, -0.5 * np.sum(z**2, axis=1), -np.inf),
        2,
        log_normalizer=float(np.log(np.pi)),
    )
    flow = Flow(StandardNormal(2), Affine(2))
    log_w = log_weights(flow.init(None), flow, half, 20_000, rng())
    assert 0.45 < np.isneginf(log_w).mean() < 0.55
    assert importance_weighted_bound(log_w) == pytest.approx(half.log_normalizer, abs=0.05)
    kl, error = kl_to_target(flow.init(None), flow, half, 100, rng())
    assert kl == np.inf and np.isnan(error)
    with pytest.raises(ValueError, match="n: expected a whole number of at least 2, got 1"):
        kl_to_target(flow.init(None), flow, half, 1, rng())


@pytest.mark.parametrize(
    "log_w, message",
    [
        (np.zeros(24), r"^log_w: expected at least 25 weights, got 24"),
        (np.full(30, np.nan), r"^log_w: expected finite values or -inf, not all -inf, got 30 NaN"),
    ],
)
def test_pareto_k_refuses_weights_without_a_tail_to_fit(log_w, message):
    with pytest.raises(ValueError, match=message):
        pareto_k(log_w)
