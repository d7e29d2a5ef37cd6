"""A pool of buffers, so that a training step allocates nothing large."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from nflib_min._arrays import Array

POOL: dict[tuple, list] = {}
POOL_SIZE = 8  # training uses one shape, or one for each of a few flows


class Lease:
    """Buffers in use. They return to the pool when the last pullback that reads them is gone.

    Two threads that call one pullback take turns by `lock`, since they write to the same buffers.
    """

    def __init__(self, buffers: Any, free: list) -> None:
        self.buffers, self.free, self.lock = buffers, free, threading.Lock()

    def __del__(self) -> None:
        self.free.append(self.buffers)


def acquire(make: Callable, *shape: object) -> Lease:
    """Return free buffers that make(*shape) allocated earlier, or allocate them."""
    free = POOL.setdefault((make, *shape), [])
    while len(POOL) > POOL_SIZE:
        POOL.pop(next(iter(POOL)), None)
    try:
        return Lease(free.pop(), free)
    except IndexError:
        return Lease(make(*shape), free)


def layers_first(x: Array, per_row: bool) -> Array:
    """(K, ...) to (K, ..., 1), or (n, K, ...) to (K, ..., n): ready to meet columns of points."""
    return np.ascontiguousarray(np.moveaxis(x, 0, -1)) if per_row else x[..., None]


def rows_first(g: Array, per_row: bool) -> Array:
    """Inverse of `layers_first` for gradients; those of global parameters are summed over rows."""
    return np.moveaxis(g, -1, 0) if per_row else g


def dot_rows(v: Array, z: Array, out: Array | None = None) -> Array:
    """v.z of each column, (n,): v is (d, 1), the same for all, or (d, n), one for each."""
    if v.shape[1] == 1:
        return np.dot(v[:, 0], z, out=out)
    return np.einsum("dn,dn->n", v, z, out=out)
