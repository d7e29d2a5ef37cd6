"""The radial flow: the paper's layer, its constraint, its closed inverse, and its centre."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nflib_min import Radial
from nflib_min.radial import radial_layer, softplus
from tests.library.laws import params_for, seeds


def layer_of(params):
    """z_ref, alpha and beta_hat of a flow of length 1, as appendix A gives them."""
    alpha = np.exp(params["log_alpha"][0])
    return params["z_ref"][0], alpha, -alpha + np.log(1 + np.exp(params["beta"][0]))


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_one_layer_is_the_papers(dim):
    rng = np.random.default_rng(0)
    f = Radial(dim, 1)
    params, z = params_for(f, rng, 1.0), rng.standard_normal((20, dim))
    zK, log_det = radial_layer(*layer_of(params), z)
    got = f.forward_and_log_det(params, z)
    assert got[0] == pytest.approx(zK, abs=1e-13) and got[1] == pytest.approx(log_det, abs=1e-12)


def test_the_papers_log_det_is_that_of_the_jacobian():
    rng = np.random.default_rng(0)
    z_ref, alpha, beta = rng.standard_normal(3), 0.7, 1.9
    for z in rng.standard_normal((6, 1, 3)):
        step = 1e-5 * np.eye(3)
        ahead, behind = (radial_layer(z_ref, alpha, beta, z + sign * step)[0] for sign in (1, -1))
        expected = np.linalg.slogdet((ahead - behind) / 2e-5)[1]
        assert radial_layer(z_ref, alpha, beta, z)[1][0] == pytest.approx(expected, abs=1e-8)


@given(log_alpha=st.floats(-20, 20), beta=st.floats(-30, 30))
def test_the_constraint_keeps_the_map_increasing_along_a_ray(log_alpha, beta):
    """beta_hat = softplus(beta) - alpha >= -alpha, so that r -> R grows."""
    f = Radial(1, 1)
    params = {
        "z_ref": np.zeros((1, 1)),
        "log_alpha": np.array([log_alpha]),
        "beta": np.array([beta]),
    }
    assert softplus(params["beta"])[0] > 0
    r = np.geomspace(1e-6, 1e6, 200)[:, None]
    zK, log_det = f.forward_and_log_det(params, r)
    assert (np.diff(zK[:, 0]) > 0).all() and np.isfinite(log_det).all()
    assert f.inverse(params, zK) == pytest.approx(r, rel=1e-12)


@given(seed=seeds, scale=st.sampled_from([0.1, 1.0, 4.0]))
def test_the_inverse_solves_the_papers_quadratic(seed, scale):
    """r^2 + (alpha + beta - R) r - alpha R = 0, the positive root, along the same ray."""
    rng = np.random.default_rng(seed)
    f = Radial(3, 1)
    params, y = params_for(f, rng, scale), rng.standard_normal((10, 3))
    z_ref, alpha, beta = layer_of(params)
    z = f.inverse(params, y)
    r, R = np.linalg.norm(z - z_ref, axis=1), np.linalg.norm(y - z_ref, axis=1)
    terms = r**2 + (alpha + np.abs(beta) + R) * r + alpha * R
    assert np.all(np.abs(r**2 + (alpha + beta - R) * r - alpha * R) <= 1e-13 * terms)
    cosine = np.sum((z - z_ref) * (y - z_ref), axis=1) / (r * R)
    assert cosine == pytest.approx(np.ones(10), abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("log_alpha, beta", [(0.0, 0.5), (-3.0, -5.0), (4.0, -20.0), (-8.0, 20.0)])
def test_the_centre_stays_where_it_is(log_alpha, beta, dtype):
    """At r = 0 the map scales by s / alpha in every direction, and nothing divides by 0."""
    f = Radial(3, 1)
    params = {
        "z_ref": np.array([[1.0, -2.0, 0.5]], dtype),
        "log_alpha": np.array([log_alpha], dtype),
        "beta": np.array([beta], dtype),
    }
    z = params["z_ref"].copy()
    zK, log_det, pullback = f.forward_with_pullback(params, z)
    assert np.array_equal(zK, z) and np.array_equal(f.inverse(params, z), z)
    expected = 3 * (np.log(softplus(params["beta"])[0]) - log_alpha)
    assert log_det[0] == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert f.inverse_and_log_det(params, z)[1][0] == pytest.approx(-expected, rel=1e-5, abs=1e-5)
    g_params, g_z = pullback(np.ones((1, 3), dtype), np.ones(1, dtype))
    assert all(np.isfinite(g).all() for g in (*g_params.values(), g_z))
    # z_K - z_ref = (s / alpha)(z_0 - z_ref), to first order
    scale = softplus(params["beta"])[0] / np.exp(log_alpha)
    assert g_z[0] == pytest.approx(np.full(3, scale), rel=1e-4)
    assert g_params["z_ref"][0] == pytest.approx(np.full(3, 1 - scale), rel=1e-4, abs=1e-6)


def test_points_next_to_the_centre_agree_with_it():
    f = Radial(2, 1)
    params = {"z_ref": np.zeros((1, 2)), "log_alpha": np.array([0.2]), "beta": np.array([1.3])}
    z = np.array([[0.0, 0.0], [1e-170, 0.0], [1e-12, 1e-12]])
    zK, log_det, pullback = f.forward_with_pullback(params, z)
    assert np.ptp(log_det) < 1e-10
    g_z = pullback(np.ones((3, 2)), np.zeros(3))[1]
    assert np.isfinite(zK).all() and np.ptp(g_z, axis=0).max() < 1e-10


def test_softplus_in_both_tails():
    x = np.array([-700.0, -40.0, 0.0, 40.0, 1e6])
    expected = np.array([np.exp(-700.0), np.exp(-40.0), np.log(2), 40.0, 1e6])
    assert softplus(x) == pytest.approx(expected, rel=1e-14, abs=0.0)


@pytest.mark.parametrize(
    "dim, length, message",
    [
        (0, 1, r"^dim: expected a whole number of at least 1, got 0"),
        (2, 0, r"^length: expected a whole number of at least 1, got 0"),
        (2, 1.0, r"^length: expected a whole number of at least 1, got 1.0"),
    ],
)
def test_sizes_are_positive_whole_numbers(dim, length, message):
    with pytest.raises(ValueError, match=message):
        Radial(dim, length)


@pytest.mark.parametrize("dtype, log_alpha", [(np.float32, 85.0), (np.float64, 700.0)])
def test_an_extreme_alpha_leaves_finite_numbers(dtype, log_alpha):
    """Products with alpha would overflow; fractions of r + alpha do not. The layer is then flat."""
    f = Radial(2, 1)
    params = {"z_ref": np.zeros((1, 2)), "log_alpha": np.array([log_alpha]), "beta": np.ones(1)}
    params = {name: value.astype(dtype) for name, value in params.items()}
    z = np.random.default_rng(0).standard_normal((5, 2)).astype(dtype)
    for way in (f.forward_and_log_det, f.forward_formula):
        zK, log_det = way(params, z)
        assert np.isfinite(zK).all()
        # q = (r + s) / alpha and D = (2 r alpha + alpha s) / alpha^2, to rounding
        r, s = np.linalg.norm(z, axis=1), float(softplus(1.0))
        expected = np.log(r + s) + np.log(2 * r + s) - 2 * log_alpha
        assert log_det == pytest.approx(expected, rel=1e-5)
