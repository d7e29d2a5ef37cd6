"""Short chains stay where a fit is right, wander where it is wrong, and say what stops them."""

import autograd.numpy as anp
import numpy as np
import pytest

from nflib_min.posterior.hmc import Chains, short_chains, split_r_hat
from nflib_min.targets import Gaussian, Target


def rng(seed=0):
    return np.random.default_rng(seed)


def correlated(d=5):
    """A Gaussian with sds from 1e-2 to 1e2, far from the origin, correlations of 0.9."""
    sd = np.logspace(-2, 2, d)
    return Gaussian(10 * sd, (0.9 + 0.1 * np.eye(d)) * np.outer(sd, sd))


def two_modes(z):
    return anp.logaddexp(-0.5 * (z[:, 0] - 6) ** 2, -0.5 * (z[:, 0] + 6) ** 2)


# --------------------------------------------------------------------------- known Gaussians
@pytest.mark.parametrize("seed", range(3))
def test_chains_keep_a_gaussian_that_they_start_from(seed):
    target = correlated()
    chains = short_chains(target, target.sample(128, rng(seed)), rng(seed + 10))
    assert chains.z.shape == (128, 160, 5) and chains.draws.shape == (128 * 160, 5)
    assert (np.abs(chains.draws.mean(axis=0) - target.mean) < 0.05 * target.sd).all()
    assert chains.draws.std(axis=0) == pytest.approx(target.sd, rel=0.05)
    got = np.corrcoef(chains.draws.T)
    assert got == pytest.approx(np.full((5, 5), 0.9) + 0.1 * np.eye(5), abs=0.02)
    assert chains.r_hat.max() < 1.05
    assert 0.6 < chains.accepted < 0.97 and chains.gradients < 128 * 240 * 12


def test_a_metropolis_step_corrects_for_the_length_of_the_leaps():
    """A density that is not Gaussian, by its exact moments: an exponential variable's logarithm."""
    target = Target(lambda z: anp.sum(z - anp.exp(z), axis=1), 2)
    starts = np.log(rng().exponential(size=(256, 2)))
    chains = short_chains(target, starts, rng(1))
    assert chains.draws.mean(axis=0) == pytest.approx([-0.5772, -0.5772], abs=0.05)
    assert chains.draws.std(axis=0) == pytest.approx(np.full(2, np.pi / np.sqrt(6)), rel=0.05)


# -------------------------------------------------------------------------------- bad starts
def test_chains_from_a_wrong_place_go_to_the_right_one():
    target = correlated()
    starts = target.sample(128, rng()) + 10 * target.sd
    chains = short_chains(target, starts, rng(1))
    assert (np.abs(chains.draws.mean(axis=0) - target.mean) < 0.1 * target.sd).all()


@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_starts_of_the_wrong_width_are_left_behind(factor):
    target = Gaussian(np.zeros(3), np.eye(3))
    chains = short_chains(target, factor * rng().standard_normal((128, 3)), rng(1))
    assert chains.draws.std(axis=0) == pytest.approx(np.ones(3), rel=0.1)


@pytest.mark.slow
def test_a_neck_that_the_starts_leave_out_raises_r_hat():
    """Ten effects with a common spread, centred; the starts leave out where it is small."""

    def log_density(z):
        return (
            -0.5 * z[:, 0] ** 2 / 4
            - 0.5 * anp.sum(z[:, 1:] ** 2, axis=1) * anp.exp(-2 * z[:, 0])
            - 10 * z[:, 0]
        )

    s = 2 * rng().standard_normal(2000)
    s = s[s > -1][:128, None]
    starts = np.hstack([s, np.exp(s) * rng(1).standard_normal((128, 10))])
    assert short_chains(Target(log_density, 11), starts, rng(2)).r_hat.max() > 1.1


# --------------------------------------------------------------------------------- two modes
def test_two_modes_that_no_chain_crosses_raise_r_hat():
    starts = np.where(np.arange(128) % 2, 6.0, -6.0)[:, None] + rng().standard_normal((128, 1))
    assert short_chains(Target(two_modes, 1), starts, rng(1), covariance=np.eye(1)).r_hat > 2


def test_a_mode_where_no_chain_starts_stays_unseen():
    """The limit of this check: chains judge the region where the draws are."""
    starts = 6 + rng().standard_normal((128, 1))
    assert short_chains(Target(two_modes, 1), starts, rng(1)).r_hat < 1.05


# -------------------------------------------------------------------------------- split R-hat
def test_r_hat_is_one_for_independent_draws_and_sees_what_differs():
    z = rng().standard_normal((128, 160, 3))
    z[:64, :, 1] += 1  # half of the chains are elsewhere
    z[:, 80:, 2] += 1  # all chains drift
    r_hat = split_r_hat(z)
    assert abs(r_hat[0] - 1) < 0.01 and r_hat[1:] == pytest.approx([1.118, 1.118], abs=0.02)


@pytest.mark.parametrize("shape", [(4, 10), (1, 10, 2), (4, 3, 2)])
def test_r_hat_needs_chains_with_halves(shape):
    with pytest.raises(ValueError, match=r"^z: expected \(chains >= 2, draws >= 4, d\), got shape"):
        split_r_hat(np.zeros(shape))


# -------------------------------------------------------------------------------- clear errors
def normal(z):
    return -0.5 * anp.sum(z**2, axis=1)


@pytest.mark.parametrize(
    "target, message",
    [
        (Target(lambda z: anp.nan * z[:, 0], 2), r"^log_density: expected a finite value at two"),
        (
            Target(normal, 2, gradient=lambda z: (normal(z), np.nan * z)),
            r"^gradient: expected finite numbers where log_density is finite, got \[nan nan\] at",
        ),
        (
            Target(normal, 2, gradient=lambda z: (normal(z), 1e9 + 0 * z)),
            r"^gradient: expected one along which moves of the chains are accepted, got",
        ),
    ],
)
def test_what_stops_the_chains_is_said_in_one_sentence(target, message):
    with pytest.raises(ValueError, match=message):
        short_chains(target, rng().standard_normal((16, 2)), rng(1))


@pytest.mark.parametrize(
    "starts, options, message",
    [
        (np.zeros((4, 3)), {}, r"^starts: expected an array of shape \(n, 2\)"),
        (np.eye(2), {"warmup": 0}, r"^warmup: expected a whole number of at least 1"),
        (np.eye(2), {"iterations": 3}, r"^iterations: expected a whole number of at least 4"),
    ],
)
def test_wrong_arguments_are_refused(starts, options, message):
    with pytest.raises(ValueError, match=message):
        short_chains(Target(normal, 2), starts, rng(), **options)


def test_a_place_without_density_rejects_the_move():
    """Half of the normal: NaN on the other side, where moves are turned back."""
    target = Target(lambda z: -0.5 * z[:, 0] ** 2 + 0 * anp.log(z[:, 0]), 1)
    starts = np.abs(rng().standard_normal((128, 1)))
    starts[0] = -1.0  # a chain that cannot begin is left out
    with np.errstate(invalid="ignore"):
        chains = short_chains(target, starts, rng(1))
    assert len(chains.z) == 127 and chains.z.min() > 0
    assert chains.draws.mean() == pytest.approx(np.sqrt(2 / np.pi), abs=0.03)


def test_the_seed_is_the_chains():
    target = correlated(2)
    a, b, c = (short_chains(target, target.sample(16, rng()), rng(s)) for s in (1, 1, 2))
    assert isinstance(a, Chains)
    np.testing.assert_array_equal(a.z, b.z)
    assert not np.array_equal(a.z, c.z)
