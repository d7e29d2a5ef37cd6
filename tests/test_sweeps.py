"""The fast sweeps: products of determinants at the edge of floating point, and shared buffers."""

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nflib_min import Coupling, Planar, Radial, sweeps
from nflib_min.bijections import pullback_by_autograd
from tests.laws import arrays_of, cast, params_for


def spread(low, high, K, dtype=np.float64):
    """K determinants between e^low and e^high, for three points, and the 1 + c that bounds them."""
    exponents = np.linspace(low, high, 3 * K).reshape(K, 3)
    det = np.exp(exponents).astype(dtype)
    # a determinant lies between 1 and 1 + c, so the farthest from 1 is a layer's 1 + c
    bounds = np.where(exponents.max(axis=1) > 0, det.max(axis=1), det.min(axis=1))
    return det, bounds[:, None], det.astype(float)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("K", [1, 2, 7, 8, 9, 16, 33])
@pytest.mark.parametrize("low, high", [(-80, -60), (-80, 80), (60, 80), (-1, 1), (-9, 0), (0, 9)])
def test_log_of_product_never_leaves_the_range(low, high, K, dtype):
    """In float32 eight factors of e^-60 are 0 and eight of e^60 are inf: they must not meet."""
    det, c_plus_1, exact = spread(low, high, K, dtype)
    got = sweeps.log_of_product(det.copy(), c_plus_1)
    assert got.dtype == dtype
    expected = np.log(exact).sum(axis=0)
    size = np.abs(np.log(exact)).sum(axis=0) + 1
    assert np.abs(got - expected).max() <= 4 * K * np.finfo(dtype).eps * size.max()


@pytest.mark.parametrize("size", [700.0, -700.0])
def test_log_of_product_of_the_largest_and_the_smallest_numbers(size):
    det, c_plus_1, exact = spread(size - 5, size, 16)
    assert sweeps.log_of_product(det.copy(), c_plus_1) == pytest.approx(np.log(exact).sum(axis=0))


def test_log_of_product_of_no_rows():
    assert sweeps.log_of_product(np.ones((3, 0)), np.ones((3, 0))).shape == (0,)


@given(a=st.floats(-700, 700), h=st.floats(-1, 1))
def test_determinant_lies_between_1_and_1_plus_c(a, h):
    c, c_plus_1 = sweeps.m_shifted(np.array([a]))
    det = sweeps.determinant(np.array([h]), c, c_plus_1)[0]
    low, high = sorted((1.0, c_plus_1[0]))
    assert low * (1 - 1e-12) <= det <= high * (1 + 1e-12)


def test_determinant_can_write_where_its_argument_was():
    rng = np.random.default_rng(0)
    h, (c, c_plus_1) = (
        np.tanh(rng.standard_normal((3, 5))),
        sweeps.m_shifted(rng.standard_normal((3, 1))),
    )
    expected = sweeps.determinant(h, c, c_plus_1)
    assert np.array_equal(sweeps.determinant(h, c, c_plus_1, out=h), expected)


@given(a=st.lists(st.floats(-1e5, 1e5), min_size=1, max_size=6))
def test_m_takes_float32_and_gives_it_back(a):
    for form in (sweeps.m_shifted, sweeps.m_printed):
        for got in form(np.array(a, np.float32)):
            assert got.dtype == np.float32 and np.isfinite(got).all()


@pytest.mark.parametrize("K", [1, 15, 16, 17, 32, 40])
@pytest.mark.parametrize("d", [1, 2, 5])
def test_blocks_of_layers_join_to_the_plain_stack(K, d):
    f, rng = Planar(d, K), np.random.default_rng(K)
    call = params_for(f, rng), rng.standard_normal((6, d))
    g = rng.standard_normal((6, d)), rng.standard_normal(6)
    *got, pullback = f.forward_with_pullback(*call)
    *expected, by_autograd = pullback_by_autograd(f.formula, *call)
    for x, y in zip(
        arrays_of(got, pullback(*g)), arrays_of(expected, by_autograd(*g)), strict=True
    ):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("f", [Planar(2, 20), Coupling(3, 3), Coupling(2, 2, affine=False)])
@pytest.mark.parametrize("single", ["params", "points"])
def test_float32_may_meet_float64(f, single):
    rng = np.random.default_rng(0)
    params, z = cast(params_for(f, rng), np.float32), rng.standard_normal((5, f.dim), np.float32)
    both = cast(params, np.float64), z.astype(float)
    *expected, exact = f.forward_with_pullback(*both)
    call = (params, both[1]) if single == "params" else (both[0], z)
    *got, pullback = f.forward_with_pullback(*call)
    g = np.ones((5, f.dim)), np.ones(5)
    for x, y in zip(arrays_of(got, pullback(*g)), arrays_of(expected, exact(*g)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4)


STACKS = [Planar, Radial, Coupling]


@pytest.mark.parametrize("kind", STACKS)
def test_a_pullback_answers_the_same_when_asked_again(kind):
    f, rng = kind(2, 3), np.random.default_rng(0)
    pullback = f.forward_with_pullback(params_for(f, rng), rng.standard_normal((6, 2)))[2]
    g = rng.standard_normal((6, 2)), rng.standard_normal(6)
    first = [x.copy() for x in arrays_of(pullback(*g))]
    pullback(2 * g[0], -g[1])
    for x, y in zip(first, arrays_of(pullback(*g)), strict=True):
        assert np.array_equal(x, y)


@pytest.mark.parametrize("kind", STACKS)
def test_two_pullbacks_alive_at_once_do_not_share_a_buffer(kind):
    f, rng = kind(2, 4), np.random.default_rng(0)
    calls = [(params_for(f, rng), rng.standard_normal((6, 2))) for _ in range(3)]
    g = rng.standard_normal((6, 2)), rng.standard_normal(6)
    alone = [f.forward_with_pullback(*call)[2](*g)[1] for call in calls]
    together = [f.forward_with_pullback(*call)[2] for call in calls]
    for pullback, expected in zip(together[::-1], alone[::-1], strict=True):
        assert np.array_equal(pullback(*g)[1], expected)
    for pullback, expected in zip(together, alone, strict=True):
        assert np.array_equal(pullback(*g)[1], expected)


@pytest.mark.parametrize("kind", STACKS)
def test_buffers_are_made_once_a_shape_and_only_a_few_shapes_are_kept(kind):
    sweeps.SHELVES.clear()
    f = kind(2, 3)
    params = params_for(f, np.random.default_rng(0))
    for _ in range(5):
        f.forward_with_pullback(params, np.ones((10, 2)))
    gc.collect()
    assert [len(shelf) for shelf in sweeps.SHELVES.values()] == [1]
    for n in range(1, 40):
        f.forward_with_pullback(params, np.ones((n, 2)))
    assert len(sweeps.SHELVES) <= sweeps.SHAPES_KEPT
    assert all(len(shelf) <= 1 for shelf in sweeps.SHELVES.values())
