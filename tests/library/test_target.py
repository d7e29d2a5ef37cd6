"""What a density must be before anything believes its gradient."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.tracer import getval

from nflib_min import Affine, Flow, StandardNormal
from nflib_min.objectives import FreeEnergy
from nflib_min.targets import Gaussian, Target, linear_regression

Z = np.random.default_rng(0).standard_normal((6, 2))


@pytest.mark.parametrize(
    "detached",
    [
        lambda z: np.sum(-(getval(z) ** 2), axis=1),
        lambda z: np.zeros(len(z)),
        lambda z: [0.0] * len(z),
    ],
)
def test_a_density_that_drops_its_trace_is_not_trained(detached):
    """Autograd takes it for a constant, whose gradient is 0 everywhere: the fit would be wrong."""
    target = Target(detached, 2)
    assert target.log_density(Z).shape == (6,)
    with pytest.raises(ValueError, match=r"function that autograd can trace.*follow to z"):
        target.log_density_and_grad(Z)
    flow = Flow(StandardNormal(2), Affine(2))
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="follow to z"):
        FreeEnergy(flow, target).value_and_grad(flow.init(rng), rng, 0)


def test_an_error_of_the_users_own_stays_the_users():
    def log_density(z):
        raise ValueError("no row of the table has this key")

    with pytest.raises(ValueError, match=r"^no row of the table has this key"):
        Target(log_density, 2).log_density_and_grad(Z)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_differences_have_the_digits_of_their_points(dtype):
    target = Target(lambda z: -np.sum(z**4, axis=1), 2, gradient="differences")
    value, g = target.log_density_and_grad(Z.astype(dtype))
    assert value.dtype == g.dtype == dtype
    tolerance = 1e-8 if dtype == np.float64 else 1e-6
    assert g == pytest.approx(-4 * Z**3, rel=tolerance, abs=tolerance)


def test_differences_at_an_edge_of_the_support_are_one_sided():
    """Exp(1) in each coordinate, at points next to 0 and in a sliver too thin for any step."""

    def log_density(z):
        inside = np.all((z > 0) & (z < 1e300), axis=1)
        return np.where(inside, -z.sum(axis=1), -np.inf)

    target = Target(log_density, 2, gradient="differences")
    value, g = target.log_density_and_grad(np.array([[1e-9, 1.0], [2.0, 1e-12], [-1.0, 1.0]]))
    assert g[:2] == pytest.approx(-np.ones((2, 2)), abs=1e-8)
    assert value[2] == -np.inf and np.isfinite(g).all()


@pytest.mark.parametrize(
    "make", [Gaussian, lambda m, c: Target(lambda z: z[:, 0], 2, mean=m, covariance=c)]
)
def test_covariances_are_symmetric_up_to_rounding(make):
    mean = np.zeros(2)
    make(mean, np.array([[1.0, 1e-17], [0.0, 1.0]]))  # what an inverse leaves where 0 was meant
    make(mean, np.array([[1e8, 0.5], [0.5 + 1e-9, 1e-4]]))
    for bad in ([[1.0, 0.3], [0.2, 1.0]], [[1.0, 1e-9], [0.0, 1.0]], [[1e-8, 1e-9], [0.0, 1e-8]]):
        with pytest.raises(ValueError, match=r"^covariance: expected a symmetric matrix"):
            make(mean, np.array(bad))


def test_a_covariance_from_an_inverse_makes_a_gaussian():
    X = np.random.default_rng(0).standard_normal((20, 4))
    model = linear_regression(X, X[:, 0], 0.5, 1.0)
    precision = np.linalg.inv(model.covariance)
    assert Gaussian(model.mean, np.linalg.inv(precision)).mean_field_gap() > 0


def test_where_the_density_is_0_no_gradient_is_asked_of_it():
    target = Target(lambda z: anp.where(z[:, 0] > 0, -anp.sum(z**2, axis=1), -np.inf), 2)
    value, g = target.log_density_and_grad(Z)
    outside = Z[:, 0] <= 0
    assert outside.any() and np.all(value[outside] == -np.inf)
    assert g[~outside] == pytest.approx(-2 * Z[~outside])
