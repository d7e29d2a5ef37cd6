"""Posteriors of islands: refused with a way on, and fitted as a mixture where it is asked for."""

import autograd.numpy as anp
import numpy as np
import pytest

from nflib_min import Flow, TriangularAffine, checks
from nflib_min.distributions import score
from nflib_min.posterior.islands import Mixture, distinct
from nflib_min.posterior.verdict import GOOD, REFUSED
from tests.library.test_posterior import quick, rng, two_modes

BASE = Mixture(
    np.array([3.0, 1.0]),
    np.array([[-3.0, 0.0], [2.0, 1.0]]),
    np.array([[[1.0, 0.0], [0.5, 0.8]], [[0.6, 0.0], [0.0, 1.2]]]),
)


def test_a_mixture_is_a_density_and_its_draws_are_its_own():
    assert checks.total_mass(BASE.log_prob, (-10.0, 10.0)) == pytest.approx(1, abs=1e-9)
    z = BASE.sample(40_000, rng())
    assert np.mean(z[:, 0] > 0.3) == pytest.approx(0.25, abs=0.02)
    grid, cell = checks.grid((-10.0, 10.0), 400)
    p = np.exp(BASE.log_prob(grid)) * cell
    np.testing.assert_allclose(z.mean(axis=0), p @ grid, atol=0.05)
    np.testing.assert_allclose((z**2).mean(axis=0), p @ grid**2, rtol=0.05)


def test_it_is_a_base_like_any_other():
    z = rng().standard_normal((5, 2))
    step = 1e-6 * np.eye(2)[1:]
    slope = (BASE.log_prob(z + step) - BASE.log_prob(z - step)) / 2e-6
    np.testing.assert_allclose(score(BASE, z)[:, 1], slope, atol=1e-7)
    flow = Flow(BASE, TriangularAffine(2))
    drawn, log_q = flow.sample_and_log_prob(flow.init(None), 5, rng())
    np.testing.assert_allclose(flow.log_prob(flow.init(None), drawn), log_q)
    assert BASE.sample(3, rng(), np.float32).dtype == np.float32
    assert BASE.log_prob(z.astype(np.float32)).dtype == np.float32
    assert repr(BASE) == "Mixture(2 of 2 coordinates)"


@pytest.mark.parametrize(
    "weights, means, roots",
    [
        ([1.0], np.zeros((2, 1)), np.ones((2, 1, 1))),
        ([1.0, -1.0], np.zeros((2, 1)), np.ones((2, 1, 1))),
        ([1.0, 1.0], np.zeros((2, 1)), np.ones((2, 1))),
        ([1.0, 1.0], np.zeros(2), np.ones((2, 1, 1))),
    ],
)
def test_wrong_shapes_are_refused(weights, means, roots):
    with pytest.raises(ValueError, match="expected"):
        Mixture(weights, means, roots)


def test_starts_that_met_are_one_island():
    near = [(np.zeros(2), np.eye(2)), (np.full(2, 2.0), np.eye(2))]
    assert len(distinct(near)) == 1
    assert len(distinct([*near, (np.full(2, 9.0), np.eye(2)), (np.full(2, 9.5), np.eye(2))])) == 2
    # seen from a wide one a narrow one far out may be near
    assert len(distinct([(np.zeros(1), 9 * np.eye(1)), (np.full(1, 9.0), 0.1 * np.eye(1))])) == 1


@pytest.mark.parametrize("dim, log_odds", [(1, 0.0), (2, 2.0), (3, 0.0)])
def test_islands_are_mixed_by_their_evidence(dim, log_odds):
    q = quick(two_modes(6.0, log_odds), dim, mix=True)
    assert q.verdict == GOOD and q.missed < 0.01
    share = 1 / (1 + np.exp(-log_odds))
    assert np.mean(q.z[:, 0] > 0) == pytest.approx(share, abs=0.03)
    assert q.mean() == pytest.approx(np.full(dim, 6 * (2 * share - 1)), abs=0.4)
    log_Z = np.logaddexp(log_odds, 0.0) + 0.5 * dim * np.log(2 * np.pi)
    assert max(stage.elbo for stage in q.stages) == pytest.approx(log_Z, abs=0.02)
    assert any(f"2 islands, of {share:.0%}" in reason for reason in q.reasons)


def test_without_mixing_the_reason_says_how_to():
    q = quick(two_modes(6.0), 2)
    assert q.verdict == REFUSED and "mix=True fits islands" in q.reasons[0]


def test_one_mode_is_fitted_the_same_with_mixing():
    def bowl(z):
        return -0.1 * anp.sum(z**4, axis=1) - 0.5 * anp.sum(z**2, axis=1)

    q, mixed = quick(bowl, 2, check=False), quick(bowl, 2, check=False, mix=True)
    np.testing.assert_array_equal(q.z, mixed.z)
