"""Adam on nested parameters, in place and in flat vectors, with a running mean."""

import math
from typing import NoReturn

import numpy as np

from nflib_min._arrays import Array, Params
from nflib_min._trees import leaves_in_order_of, tree_leaves, tree_unflatten

CHUNK = 30_000  # parameters that are moved at a time: what a chunk reads and writes stays in cache
STRIDE = 10  # steps between two updates of the running mean: it moves slowly, and costs a pass
FLUSH = 100  # steps between two looks for first moments that have become too small to matter


def _aligned(size: int, dtype: np.dtype) -> Array:
    """An empty vector that starts at a cache line of 64 bytes: long ufuncs run a fifth faster."""
    spare = 64 // dtype.itemsize
    room = np.empty(size + spare, dtype)
    start = -room.ctypes.data % 64 // dtype.itemsize
    return room[start : start + size]


class Adam:
    """Parameters and Adam's moments as flat vectors, updated in place, with the running mean.

    `params` and `g_params` are the caller's nesting, made of views into the flat vectors.

    >>> adam = Adam({"x": np.ones(2)})
    >>> adam.update(0.0, {"x": np.ones(2)}, rate=0.1, clip=10.0)
    >>> adam.params["x"].round(6)  # the first step is as long as the rate
    array([0.9, 0.9])

    Source: Kingma & Ba, Adam (2014), algorithm 1.
    """

    def __init__(self, params: Params, average: float | None = None) -> None:
        named = tree_leaves(params)
        kinds = {
            str(value.dtype) if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
            for _, value in named
        }
        if len(kinds) != 1 or not next(iter(kinds)).startswith("float"):
            raise ValueError(f"params: expected floating arrays of one dtype, got {sorted(kinds)}")
        self.names = [[name, list(value.shape)] for name, value in named]
        self.template, dtype = params, named[0][1].dtype
        size = sum(value.size for _, value in named)
        self.flat, self.g, *self.moments = (_aligned(size, dtype) for _ in range(4))
        self.params, self.g_params = self.tree(self.flat), self.tree(self.g)
        for (_, view), (_, value) in zip(tree_leaves(self.params), named, strict=True):
            view[...] = value
        for moment in self.moments:
            moment[:] = 0
        self.g_leaves = [part for _, part in tree_leaves(self.g_params)]
        work = np.empty_like(self.flat[:CHUNK])
        arrays = (self.flat, self.g, *self.moments)
        self.chunks = [
            (*(x[at : at + CHUNK] for x in arrays), work[: size - at])
            for at in range(0, size, CHUNK)
        ]
        self.step = 0
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.whole = True  # False while an update is half done
        self.average, self.mean = average, None if average is None else self.flat.copy()

    def tree(self, flat: Array) -> Params:
        """The nesting of the parameters, its arrays views into a flat vector."""
        sizes = [math.prod(shape) for _, shape in self.names]
        parts = np.split(flat, np.cumsum(sizes)[:-1])
        return tree_unflatten(
            self.template,
            (p.reshape(s) for p, (_, s) in zip(parts, self.names, strict=True)),
        )

    def update(self, value: float, g: Params, rate: float, clip: float) -> None:
        """One step of Adam with beta_1 = 0.9, beta_2 = 0.999, epsilon = 1e-8."""
        for part, written in zip(self.g_leaves, leaves_in_order_of(self.template, g), strict=True):
            if written is not part:  # a loss may have written its gradient where it belongs
                part[...] = written
        g = self.g
        norm = math.sqrt(float(np.dot(g, g)))
        if not (math.isfinite(norm) and math.isfinite(value)):
            self._refuse(value)
        if norm > clip:
            g *= clip / norm
        # m / 0.1 and v / 0.001 are kept, which saves two multiplications a step; then
        # eta m_hat / (sqrt(v_hat) + 1e-8) = eta 0.1 c / (1 - 0.9^t) (m / 0.1) / (sqrt(v / 0.001) +
        # 1e-8 c) with c = sqrt((1 - 0.999^t) / 0.001)
        t, self.whole = self.step + 1, False
        c = math.sqrt((1 - 0.999**t) / 0.001)
        epsilon, eta = 1e-8 * c, rate * 0.1 * c / (1 - 0.9**t)
        for flat, g_part, m, v, work in self.chunks:
            np.multiply(g_part, g_part, out=work)
            m *= 0.9
            m += g_part
            v *= 0.999
            v += work
            np.sqrt(v, out=work)
            work += epsilon
            np.divide(m, work, out=work)
            work *= eta
            flat -= work
        if t % FLUSH == 0:
            self.flush()
        if self.mean is not None and self.average is not None and t % STRIDE == 0:
            away = np.subtract(self.flat, self.mean, out=g)
            away *= min(1, STRIDE / (self.average * t))
            self.mean += away
        self.losses.append(value)
        self.norms.append(norm)
        self.step, self.whole = t, True

    def flush(self) -> None:
        """Set first moments to 0 before they become subnormal, which processors compute slowly.

        Where a gradient has become exactly 0, m falls as 0.9^t; in FLUSH steps it cannot fall from
        this bound to a subnormal, and no step of Adam feels a moment of this size.
        """
        m = self.moments[0]
        m[np.abs(m) < 1e6 * np.finfo(m.dtype).tiny] = 0

    def _refuse(self, value: float) -> NoReturn:
        if not math.isfinite(value):
            raise FloatingPointError(f"step {self.step}: expected a finite loss, got {value}")
        bad = [name for name, part in tree_leaves(self.g_params) if not np.isfinite(part).all()]
        raise FloatingPointError(
            f"step {self.step}: expected finite gradients, got NaN or inf in those of "
            f"{', '.join(bad) or 'a norm too large for its dtype'}"
        )
