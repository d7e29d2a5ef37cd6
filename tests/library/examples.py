"""Examples of every map, and what its laws compare: for test_laws.py and test_bijections.py."""

import numpy as np
import pytest

from tests.library.laws import (
    BIJECTIONS,
    arrays_of,
    params_for,
    points,
    weights_for,
)

SLOW = ("ODEFlow",)
every = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in BIJECTIONS]
)
both_shapes = pytest.mark.parametrize("per_row", [False, True], ids=["global", "per row"])
both_dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["f64", "f32"])
N = 5  # rows of points in a test


def example(name, dim=3, length=4, per_row=False, scale=0.5, seed=0, n=N, dtype=np.float64):
    """A map, parameters away from its start, points, and incoming gradients."""
    rng = np.random.default_rng(seed)
    f = BIJECTIONS[name](dim, length)
    params = params_for(f, rng, scale, n if per_row else None, dtype)
    return f, params, points(f, rng, n, dtype=dtype), weights_for(f, rng, n, dtype)


def everything(f, params, z, g):
    """All arrays that the map gives: forward, inverse, and gradients by the pullback."""
    zK, log_det, pullback = f.forward_with_pullback(params, z)
    results = [*f.forward_and_log_det(params, z), *f.inverse_and_log_det(params, z), zK, log_det]
    return results + arrays_of(*pullback(*g))


def close(got, expected, tolerance=1e-10):
    """Relative to 1 + the expected size; shapes and dtypes must be the same."""
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape
        assert np.max(np.abs(a - b) / (1 + np.abs(b)), initial=0.0) <= tolerance
