"""The chains in `fit_posterior`: what they certify, what they hand out, and how they may fail."""

from dataclasses import replace
from types import SimpleNamespace

import autograd.numpy as anp
import numpy as np
import pytest

from nflib_min.posterior.check import Word
from nflib_min.posterior.verdict import CHAINS, GOOD, REFUSED, USABLE, judged_by_chains
from nflib_min.targets import Target
from tests.library.test_posterior import Interrupting, banana, calls_until, quick, rng


def centred(groups=5):
    """A pure centred hierarchy: log tau ~ N(0, 1), effects N(mu, tau^2), mu ~ N(0, 1)."""

    def log_density(z):
        log_tau, mu, theta = z[:, :1], z[:, 1:2], z[:, 2:]
        prior = -0.5 * anp.sum(((theta - mu) * anp.exp(-log_tau)) ** 2, axis=1)
        return prior - groups * log_tau[:, 0] - 0.5 * anp.sum(z[:, :2] ** 2, axis=1)

    return log_density


@pytest.mark.slow
def test_a_centred_hierarchy_is_fitted_without_its_neck_and_handed_out_with_it():
    names = ["log_tau", "mu", *(f"theta_{j}" for j in range(5))]
    q = quick(centred(), 7, names=names)
    assert q.necks == [("log_tau", names[2:])] or set(q.necks[0][1]) == set(names[2:])
    assert q.verdict in (GOOD, USABLE) and "fitted as theta = mu + tau eta" in q.summary()
    assert q.stages[-1].ess > 0.9 > 0.5 > q.stages[2].ess
    assert np.abs(q.mean()[:2]).max() < 0.06 and q.sd()[:2] == pytest.approx(np.ones(2), rel=0.07)
    exact = np.log(2 * np.pi) * 3.5  # ln Z: the density lacks its seven constants
    assert max(stage.elbo for stage in q.stages) == pytest.approx(exact, abs=0.05)
    z = q.sample(1000, rng(1))  # in the user's coordinates: effects are narrow where tau is small
    low, high = z[z[:, 0] < -1], z[z[:, 0] > 1]
    assert (low[:, 2:] - low[:, 1:2]).std() < 0.4 < 2 < (high[:, 2:] - high[:, 1:2]).std()
    assert q.log_prob(z).shape == (1000,)


@pytest.mark.slow
def test_the_check_is_in_the_result_and_can_be_left_out():
    q, without = quick(banana, 2), quick(banana, 2, check=False)
    assert q.chains.z.shape == (128, 160, 2) and q.verdict in (GOOD, USABLE)
    assert "128 chains: R-hat at most" in q.summary()
    assert without.chains is None and "chains" not in without.summary()
    np.testing.assert_array_equal(q.z, without.z)


@pytest.mark.slow
def test_the_chains_draws_are_handed_out_where_the_verdict_says_so():
    q = replace(quick(banana, 2), verdict=CHAINS)
    assert q.mean() == pytest.approx(q.chains.draws.mean(axis=0))
    assert q.sd() == pytest.approx(q.chains.draws.std(axis=0))
    assert not np.allclose(q.sd(weighted=False), q.sd(), rtol=1e-9)
    assert q.resample(5, rng()).shape == (5, 2) and "chains:" in q.summary()
    assert dict(q.to_inference_data().posterior.sizes) == {"chain": 128, "draw": 160}


def test_weights_of_no_use_are_not_handed_out_where_the_chains_find_the_draws_good():
    q = replace(quick(banana, 2), verdict=GOOD, k_hat=2.0)
    np.testing.assert_array_equal(q.mean(), q.mean(weighted=False))
    assert "plain:" in q.summary() and not np.array_equal(q.mean(), q.mean(weighted=True))
    assert "weighted:" in replace(q, k_hat=0.3).summary()


@pytest.mark.parametrize(
    "r_hat, plain, weighted, by_weights, ess, verdict",
    [
        (1.01, 0.02, 0.02, REFUSED, 0.99, GOOD),  # k-hat alone refuses nothing that is right
        (1.01, 0.30, 0.05, USABLE, 0.90, USABLE),
        (1.01, 0.30, 0.30, USABLE, 0.99, CHAINS),  # a neck that the weights do not see
        (1.01, 0.30, 0.05, REFUSED, 0.10, CHAINS),
        (1.40, 0.02, 0.02, GOOD, 0.99, GOOD),  # slow chains alone refuse nothing either
        (1.40, 0.02, 0.02, USABLE, 0.91, REFUSED),
        (1.40, 0.02, 0.30, GOOD, 0.99, REFUSED),
    ],
)
def test_the_chains_and_the_weights_judge_together(
    r_hat, plain, weighted, by_weights, ess, verdict
):
    word = Word(None, r_hat, 0, (plain, weighted), (0.0, 0.0))
    best = SimpleNamespace(ess=ess)
    found, reasons = judged_by_chains(word, best, by_weights, [], ["log_tau"])
    assert found == verdict and (reasons != [] or verdict == GOOD)
    assert r_hat < 1.1 or "R-hat of log_tau is 1.40" in reasons[0]


def test_a_failed_check_is_a_reason_and_no_crash():
    class Once(Target):
        """Its gradient is NaN once training is over."""

        def __init__(self):
            self.calls = 0

            def gradient(z):
                self.calls += 1
                value = -0.5 * np.sum(z**2, axis=1) - 0.1 * np.sum(z**4, axis=1)
                g = -z - 0.4 * z**3
                return value, np.nan * g if len(z) == 128 and self.calls > self.last else g

            self.last = 10**9
            super().__init__(lambda z: gradient(z)[0], 2, gradient=gradient)

    counting = Once()
    assert quick(counting, check=False, steps=50).chains is None
    target = Once()
    target.last = counting.calls - 5
    q = quick(target, steps=50)
    assert q.chains is None and any("the chains' check failed: gradient" in r for r in q.reasons)


@pytest.mark.slow
def test_an_interrupt_in_the_check_leaves_the_fit():
    total = calls_until(50)
    q = quick(Interrupting(total + 20), steps=50, learning_rate=None)
    assert q.interrupted and q.chains is None and q.verdict != GOOD
