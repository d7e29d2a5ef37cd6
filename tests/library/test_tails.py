"""Heavy tails: measured by their degrees of freedom, covered by a Student base, or refused."""

import pickle

import autograd.numpy as anp
import numpy as np
import pytest
from scipy import stats

from nflib_min import Affine, Flow, checks
from nflib_min.distributions import score
from nflib_min.posterior.given import FiniteTarget
from nflib_min.posterior.tails import StudentT, degrees_of_freedom
from nflib_min.posterior.verdict import GOOD, REFUSED, USABLE
from nflib_min.targets import Gaussian, Target
from tests.library.test_posterior import quick, rng


def student(dim, dof, correlation=0.5):
    """A multivariate t around 0, whose covariance is dof / (dof - 2) times the correlations."""
    shape = correlation + (1 - correlation) * np.eye(dim)
    precision = np.linalg.inv(shape)

    def log_density(z):
        square = anp.sum(anp.dot(z, precision) * z, axis=1)
        return -0.5 * (dof + dim) * anp.log1p(square / dof)

    return log_density


# --------------------------------------------------------------------------------- the base density
@pytest.mark.parametrize("joint", [True, False])
def test_the_base_is_scipys_t(joint):
    base, z = StudentT(3, 4.0, joint), rng().standard_normal((20, 3)) * 3
    one = stats.multivariate_t(np.zeros(3), np.eye(3), df=4.0).logpdf(z)
    expected = one if joint else stats.t(4.0).logpdf(z).sum(axis=1)
    np.testing.assert_allclose(base.log_prob(z), expected, rtol=1e-12)
    step = 1e-6 * np.eye(3)[:1]
    slope = (base.log_prob(z + step) - base.log_prob(z - step)) / 2e-6
    np.testing.assert_allclose(score(base, z)[:, 0], slope, atol=1e-7)


@pytest.mark.parametrize("joint", [True, False])
def test_draws_follow_the_density(joint):
    base = StudentT(2, 5.0, joint)
    z = base.sample(20_000, rng())
    for column in z.T:
        assert stats.kstest(column, stats.t(5.0).cdf).pvalue > 1e-3
    together = np.corrcoef(np.abs(z.T))[0, 1]  # one chi-square for both coordinates, or two
    assert together > 0.1 if joint else abs(together) < 0.05
    assert base.sample(3, rng(), np.float32).dtype == np.float32


def test_it_is_a_base_like_any_other():
    flow = Flow(StudentT(1, 3.0), Affine(1))
    params = {"mean": np.array([1.0]), "log_scale": np.array([0.3])}
    mass = checks.total_mass(lambda z: flow.log_prob(params, z), (-400.0, 400.0), 80_000, dim=1)
    assert mass == pytest.approx(1, abs=1e-5)
    twin = pickle.loads(pickle.dumps(flow))
    np.testing.assert_array_equal(twin.sample(params, 5, rng()), flow.sample(params, 5, rng()))
    assert repr(flow.base) == "StudentT(1, dof=3, joint=True)"


@pytest.mark.parametrize("arguments", [(0, 3.0), (2, 0.0), (2, np.nan), (2, -1.0)])
def test_wrong_sizes_are_refused(arguments):
    with pytest.raises(ValueError, match=r"^(dim|dof): expected a (whole )?number"):
        StudentT(*arguments)


# ------------------------------------------------------------------------------ how heavy a tail is
@pytest.mark.parametrize("dof", [1.0, 3.0, 6.0])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_degrees_of_freedom_are_found(dof, dim):
    target = FiniteTarget(Target(student(dim, dof), dim))
    along, together = degrees_of_freedom(target, np.zeros(dim), np.eye(dim), rng())
    assert along == pytest.approx(np.full(dim, dof + dim - 1), rel=0.25)
    assert together == pytest.approx(dof, rel=0.25)


def test_independent_tails_add_up():
    target = Target(lambda z: -2 * anp.sum(anp.log1p(z**2 / 3), axis=1), 4)
    along, together = degrees_of_freedom(FiniteTarget(target), np.zeros(4), np.eye(4), rng())
    assert along == pytest.approx(np.full(4, 3), rel=0.3) and together > 2.5 * along.min()


@pytest.mark.parametrize(
    "log_density",
    [
        lambda z: -0.5 * anp.sum(z**2, axis=1),
        lambda z: -anp.sum(anp.sqrt(1 + z**2), axis=1),  # exponential
        lambda z: anp.where(anp.all(anp.abs(z) < 3, axis=1), 0.0, -anp.inf),  # an end
    ],
)
def test_other_tails_are_light(log_density):
    target = FiniteTarget(Target(log_density, 2))
    along, together = degrees_of_freedom(target, np.zeros(2), np.eye(2), rng())
    assert min(along.min(), together) > 15


# ----------------------------------------------------------------------------------- what is fitted
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_a_student_posterior_is_covered_and_the_reason_named(dim):
    q = quick(student(dim, 3.0), dim)
    assert "Student" in [stage.name for stage in q.stages]
    assert max(stage.ess for stage in q.stages) > 0.95 and q.k_hat < 0.5
    assert q.verdict in (GOOD, USABLE)
    assert any("heavy tail, of about" in r and "Student base" in r for r in q.reasons)
    quartiles = np.quantile(q.z, (0.25, 0.75), axis=0)
    exact = np.outer([-1, 1], np.full(dim, stats.t(3).ppf(0.75)))
    np.testing.assert_allclose(quartiles, exact, atol=0.12)


def test_a_posterior_without_an_sd_is_refused_with_the_reason():
    q = quick(student(1, 1.0), 1, steps=100)
    assert q.verdict == REFUSED and any("no sd, or mean, exists" in r for r in q.reasons)


def test_a_light_tail_keeps_the_normal_base():
    q = quick(Gaussian(np.zeros(2), np.eye(2)))
    assert [stage.name for stage in q.stages] == ["Laplace", "mean-field", "full rank"]
