"""The fixed densities: normalized, sampled as they say, in either precision."""

import numpy as np
import pytest
from scipy import stats

from nflib_min import StandardNormal, Uniform, checks

BASES = {
    "StandardNormal": lambda dim: StandardNormal(dim),
    "Uniform": lambda dim: Uniform(dim, -1.5, 2.5),
}
every = pytest.mark.parametrize("name", BASES)


def cdf(base, x):
    if isinstance(base, StandardNormal):
        return stats.norm.cdf(x)
    return np.clip((x - base.low) / (base.high - base.low), 0, 1)


@pytest.mark.parametrize("dim", [1, 3, 7])
def test_standard_normal_against_scipy(dim):
    z = np.random.default_rng(0).standard_normal((20, dim)) * 5
    expected = stats.norm.logpdf(z).sum(axis=1)
    assert StandardNormal(dim).log_prob(z) == pytest.approx(expected, rel=1e-14)


def test_uniform_inside_and_outside():
    base = Uniform(3, -1.0, 4.0)
    z = np.array([[0.0, 0.0, 0.0], [-1.0, 4.0, 0.0], [4.1, 0.0, 0.0], [0.0, -1.1, 0.0]])
    log_q = base.log_prob(z)
    assert log_q[:2] == pytest.approx(-3 * np.log(5.0)) and np.all(log_q[2:] == -np.inf)


@every
@pytest.mark.parametrize("dim", [1, 2])
def test_mass_is_one(name, dim):
    mass = checks.total_mass(BASES[name](dim).log_prob, (-10.0, 10.0), points=800, dim=dim)
    assert mass == pytest.approx(1, abs=1e-12)


@every
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_draws_follow_the_density(name, dtype):
    """Kolmogorov-Smirnov at a p-value of 1e-6, which a fixed seed either meets or not."""
    base = BASES[name](3)
    z = base.sample(20_000, np.random.default_rng(0), dtype)
    assert z.shape == (20_000, 3) and z.dtype == dtype and base.log_prob(z).dtype == dtype
    for column in z.T.astype(float):
        assert stats.kstest(column, lambda x: cdf(base, x)).pvalue > 1e-6
    correlation = np.corrcoef(z.T) - np.eye(3)
    assert np.abs(correlation).max() < 5 / np.sqrt(len(z))


@every
def test_the_same_seed_gives_the_same_draws(name):
    base = BASES[name](2)
    one, two = (base.sample(5, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(one, two)


@every
@pytest.mark.parametrize("dim", [0, -2, 1.0, None])
def test_dim_is_a_positive_whole_number(name, dim):
    with pytest.raises(
        ValueError, match=rf"^dim: expected a whole number of at least 1, got {dim}"
    ):
        BASES[name](dim)


@every
def test_points_are_checked(name):
    base = BASES[name](2)
    with pytest.raises(
        ValueError, match=r"^z: expected an array of shape \(n, 2\), got shape \(4, 3\)"
    ):
        base.log_prob(np.zeros((4, 3)))
    with pytest.raises(
        ValueError, match=r"^z: expected finite values, got 2 NaN or inf \(the first"
    ):
        base.log_prob(np.array([[np.nan, np.inf]]))


@pytest.mark.parametrize("low, high", [(1.0, 1.0), (2.0, 1.0), (np.nan, 1.0)])
def test_uniform_needs_two_sides_in_order(low, high):
    with pytest.raises(
        ValueError, match=rf"expected low < high, got low = {low} and high = {high}"
    ):
        Uniform(2, low, high)


def test_repr_tells_how_to_make_it():
    assert repr(StandardNormal(2)) == "StandardNormal(2)"
    assert repr(Uniform(2)) == "Uniform(2, low=-2.0, high=2.0)"
