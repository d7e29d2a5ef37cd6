"""The score pushed forward through every map, against differences of the flow's own ln q."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nflib_min import Flow, StandardNormal, Uniform
from nflib_min._trees import tree_leaves
from nflib_min.distributions import score
from nflib_min.pullback import without_kernels
from tests.library.laws import (
    APPROXIMATE,
    BIJECTIONS,
    cast,
    dims,
    params_for,
    points,
    repeat_rows,
    seeds,
)


def push_score(f, params, z0, s0):
    zK, _, _, sK = f.forward_with_score(params, z0, s0)
    return zK, sK


def score_by_differences(flow, params, z, step=1e-5):
    moves = step * np.eye(flow.dim)
    ahead, behind = (
        np.stack([flow.log_prob(params, z + sign * move) for move in moves], axis=1)
        for sign in (1, -1)
    )
    return (ahead - behind) / (2 * step)


@pytest.mark.slow
@pytest.mark.parametrize("name", BIJECTIONS)
@given(dim=dims, seed=seeds)
def test_the_score_is_the_gradient_of_ln_q(name, dim, seed):
    rng = np.random.default_rng(seed)
    f = BIJECTIONS[name](dim, 3)
    params, z0 = params_for(f, rng, 0.4), points(f, rng, 5)
    flow = Flow(StandardNormal(f.dim), f)
    zK, sK = push_score(f, params, z0, score(flow.base, z0))
    np.testing.assert_allclose(zK, f.forward(params, z0), rtol=1e-12, atol=1e-12)
    expected = score_by_differences(flow, params, zK)
    scale = 1 + np.abs(expected).max()
    assert np.abs(sK - expected).max() < scale * max(1e-4, APPROXIMATE.get(name, 0))


@pytest.mark.parametrize("name", BIJECTIONS)
def test_a_written_recursion_is_the_general_one(name):
    """d pullbacks and a solve, which hold for any map, to rounding."""
    rng = np.random.default_rng(1)
    f = BIJECTIONS[name](3, 4)
    params, z0 = params_for(f, rng, 0.4), points(f, rng, 6)
    s0 = rng.standard_normal(z0.shape)
    with without_kernels():
        general = push_score(f, params, z0, s0)
    for own, by_solve in zip(push_score(f, params, z0, s0), general, strict=True):
        np.testing.assert_allclose(own, by_solve, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("name", BIJECTIONS)
def test_one_sweep_gives_the_pullback_and_the_score(name, per_row):
    """`forward_with_score` gives what `forward_with_pullback` gives, and the score besides."""
    rng = np.random.default_rng(3)
    f = BIJECTIONS[name](3, 4)
    params, z0 = params_for(f, rng, 0.4), points(f, rng, 5)
    if per_row:
        if name not in PER_ROW:
            return
        params = repeat_rows(params, 5)
    s0, g, g_log_det = rng.standard_normal(z0.shape), rng.standard_normal(z0.shape), z0[:, 0].copy()
    zK, log_det, pullback, _ = f.forward_with_score(params, z0, s0)
    expected = f.forward_with_pullback(params, z0)
    np.testing.assert_allclose(zK, expected[0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(log_det, expected[1], rtol=1e-12, atol=1e-12)
    for got, want in zip(
        tree_leaves(pullback(g.copy(), g_log_det)),
        tree_leaves(expected[2](g.copy(), g_log_det)),
        strict=True,
    ):
        np.testing.assert_allclose(got[1], want[1], rtol=1e-9, atol=1e-9)


PER_ROW = [
    "Affine",
    "TriangularAffine",
    "Planar",
    "Radial",
    "Coupling, additive",
    "Coupling, affine",
]


@pytest.mark.parametrize("name", PER_ROW)
def test_one_set_of_parameters_per_row(name):
    rng = np.random.default_rng(2)
    f = BIJECTIONS[name](3, 2)
    params, z0 = params_for(f, rng, 0.4), points(f, rng, 4)
    expected = push_score(f, params, z0, -z0)
    for got, want in zip(push_score(f, repeat_rows(params, 4), z0, -z0), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", BIJECTIONS)
def test_float32_stays_float32(name):
    rng = np.random.default_rng(3)
    f = BIJECTIONS[name](2, 2)
    params, z0 = cast(params_for(f, rng, 0.2), np.float32), points(f, rng, 4, dtype=np.float32)
    for array in push_score(f, params, z0, -z0):
        assert array.dtype == np.float32


@given(seed=seeds, strength=st.floats(1.0, 30.0))
def test_a_planar_layer_that_folds_keeps_a_finite_score(seed, strength):
    """1 + c down to e^-30: the determinant is a sum of terms that do not cancel."""
    rng = np.random.default_rng(seed)
    f = BIJECTIONS["Planar"](2, 1)
    w = rng.standard_normal((1, 2))
    params = {"u": -strength * w / np.sum(w * w), "w": w, "b": np.zeros(1)}
    _, s = push_score(f, params, points(f, rng, 20), np.zeros((20, 2)))
    assert np.isfinite(s).all()


def test_the_score_of_a_cube_is_zero_inside():
    z0 = np.random.default_rng(4).uniform(-2, 2, (5, 2))
    np.testing.assert_array_equal(score(Uniform(2), z0), np.zeros((5, 2)))
