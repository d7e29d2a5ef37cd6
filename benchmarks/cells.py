r"""What is measured: the cells, the problem each poses, and when two answers to it agree.

A planar problem is given by what a layer does, the effective $\hat u_k, w_k, b_k$, because each
library keeps $w^\top \hat u > -1$ in a way of its own, $\hat u = u + [m(a) - a]\, w / |w|^2$ with
$a = w^\top u$ and m one of

- ours: $-1 + \mathrm{softplus}(a + \ln(e - 1))$;
- normflows, Pyro: $-1 + \mathrm{softplus}(a)$;
- flowjax: $-1 + \ln(1 + \mathrm{softplus}(a))$.

`raw` turns the effective parameters into a library's own, and `effective_gradient` turns a gradient
in those back, so that losses and gradients can be compared whatever m is.
"""

import math
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np

Array = np.ndarray
SHIFT = math.log(math.e - 1)
LEARNING_RATE = 1e-3
TOLERANCE = {"float64": 1e-8, "float32": 1e-3}  # relative
COUPLINGS, HIDDEN = 8, (32, 32)
POINTS = 100_000
PIXELS, UNITS, LATENT, LENGTH = 784, 400, 40, 10  # the amortized step

CONTENDERS = {
    "planar": (
        *("ours", "readable", "autograd", "floor"),
        *("normflows", "pyro", "flowjax", "torch", "torch-compile", "jax", "jax-scan"),
    ),
    "coupling": ("ours", "normflows", "nflows", "zuko", "flowjax"),
    "density": ("ours", "textbook", "normflows", "pyro", "flowjax", "jax"),
    "sampling": ("ours", "textbook", "normflows", "pyro", "flowjax", "jax"),
    "amortized": ("ours", "torch", "torch-compile", "jax"),
}
NUMPY = ("ours", "readable", "autograd", "floor", "textbook")  # need nothing but this library
JAX = ("flowjax", "jax", "jax-layers", "jax-scan")


@dataclass(frozen=True)
class Cell:
    """One row of a table: a computation, its sizes and its dtype."""

    kind: str
    length: int
    batch: int
    dtype: str

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.length}-{self.batch}-{self.dtype}"

    def record(self) -> dict:
        return asdict(self)

    def contenders(self, without_peers: bool = False) -> tuple[str, ...]:
        """Who takes part, ours first; without peers, those that need this library alone."""
        names = CONTENDERS[self.kind]
        if without_peers:
            names = (name for name in names if name in NUMPY)
        if self.kind == "planar" and (self.length, self.dtype) != (8, "float64"):
            # compiling takes PyTorch half a minute at K = 8, and more at K = 32: there alone
            names = (name for name in names if name != "torch-compile")
        return tuple(names)


CELLS = [
    *(
        Cell("planar", K, n, dtype)
        for dtype in ("float64", "float32")
        for K in (2, 8, 32)
        for n in (100, 1000)
    ),
    *(
        Cell("coupling", COUPLINGS, n, dtype)
        for dtype in ("float64", "float32")
        for n in (100, 1000)
    ),
    Cell("density", 32, POINTS, "float64"),
    Cell("sampling", 32, POINTS, "float64"),
    Cell("amortized", LENGTH, 100, "float32"),
]
QUICK = [
    Cell("planar", 8, 100, "float64"),
    Cell("planar", 8, 100, "float32"),
    Cell("coupling", COUPLINGS, 100, "float64"),
    Cell("density", 32, 2_000, "float64"),
    Cell("sampling", 32, 2_000, "float64"),
    Cell("amortized", LENGTH, 20, "float32"),
]


def cell_named(name: str) -> Cell:
    """The cell of a name; the inverse of `Cell.name`."""
    kind, length, batch, dtype = name.split("-")
    return Cell(kind, int(length), int(batch), dtype)


# ------------------------------------------------------------------------------ the problems
def problem(cell: Cell) -> dict[str, Array]:
    """Parameters and draws z0 that every contender of the cell is given, in the cell's dtype."""
    rng = np.random.default_rng([cell.length, cell.batch])
    make = {"coupling": _coupling, "amortized": _amortized}.get(cell.kind, _planar)
    return {name: value.astype(cell.dtype) for name, value in make(cell, rng).items()}


def _planar(cell: Cell, rng: np.random.Generator) -> dict[str, Array]:
    K = cell.length
    u, w = 0.1 * rng.standard_normal((K, 2)), rng.standard_normal((K, 2))
    u_hat = u + ((m_ours(dot(w, u)) - dot(w, u)) / dot(w, w))[:, None] * w
    z0 = rng.standard_normal((cell.batch, 2))
    return {"u_hat": u_hat, "w": w, "b": 0.3 * rng.standard_normal(K), "z0": z0}


def _coupling(cell: Cell, rng: np.random.Generator) -> dict[str, Array]:
    """Per layer k: Wk_i (in, out), bk_i of an MLP 1-32-32-2 whose outputs are t and s.

    Each library bounds s with a function of its own, so the row of s gets weight 0: s is then a
    constant, which every one of these functions can produce, and all gradients can be compared.
    """
    out, sizes = {"z0": rng.standard_normal((cell.batch, 2))}, (1, *HIDDEN, 2)
    for k in range(cell.length):
        for i, (rows, columns) in enumerate(pairwise(sizes)):
            out[f"W{k}_{i}"] = rng.standard_normal((rows, columns)) / np.sqrt(rows)
            out[f"b{k}_{i}"] = 0.1 * rng.standard_normal(columns)
        out[f"W{k}_{len(HIDDEN)}"] *= [0.3, 0.0]
        out[f"b{k}_{len(HIDDEN)}"][1] = -0.3 * rng.random()  # nflows cannot stretch: s < 0.001
    return out


def _amortized(cell: Cell, rng: np.random.Generator) -> dict[str, Array]:
    """Images x, noise, and the weights of both networks, rectified inside and linear at the end.

    The library divides what a network says about K layers by K, and so does everybody here: these
    outputs get weights K times as large.
    """
    sizes = {
        "encoder": (PIXELS, UNITS, 2 * LATENT + (2 * LATENT + 1) * cell.length),
        "decoder": (LATENT, UNITS, PIXELS),
    }
    out = {
        "x": rng.random((cell.batch, PIXELS)) < 0.2,
        "z0": rng.standard_normal((cell.batch, LATENT)),
    }
    for network, widths in sizes.items():
        for i, (rows, columns) in enumerate(pairwise(widths)):
            out[f"{network}_W{i}"] = 0.3 * rng.standard_normal((rows, columns)) / np.sqrt(rows)
            out[f"{network}_b{i}"] = 0.1 * rng.standard_normal(columns)
    for name in ("encoder_W1", "encoder_b1"):
        out[name][..., 2 * LATENT :] *= cell.length
    return out


# ---------------------------------------------------------------------- the planar constraint
def dot(x: Array, y: Array) -> Array:
    """Row by row."""
    return np.einsum("kd,kd->k", x, y)


def softplus(a: Array) -> Array:
    return np.logaddexp(0, a)


def softplus_inverse(y: Array) -> Array:
    """ln(e^y - 1)."""
    return np.log(np.expm1(y))


def sigmoid(a: Array) -> Array:
    return np.exp(-softplus(-a))


def m_ours(a: Array) -> Array:
    return softplus(a + SHIFT) - 1


# m, its slope and its inverse
CONSTRAINTS = {
    "ours": (m_ours, lambda a: sigmoid(a + SHIFT), lambda c: softplus_inverse(1 + c) - SHIFT),
    "printed": (lambda a: softplus(a) - 1, sigmoid, lambda c: softplus_inverse(1 + c)),
    "flowjax": (
        lambda a: np.log1p(softplus(a)) - 1,
        lambda a: sigmoid(a) / (1 + softplus(a)),
        lambda c: softplus_inverse(np.expm1(1 + c)),
    ),
}


def raw(constraint: str, u_hat: Array, w: Array) -> Array:
    """The u that this constraint turns into u_hat: a = m^-1(w.u_hat), and u moves along w."""
    u_hat, w, dtype = u_hat.astype(float), w.astype(float), u_hat.dtype
    c = dot(w, u_hat)
    u = u_hat + ((CONSTRAINTS[constraint][2](c) - c) / dot(w, w))[:, None] * w
    return u.astype(dtype)


def effective(constraint: str, u: Array, w: Array) -> Array:
    """u_hat of a library's u: the way back of `raw`."""
    u, w = u.astype(float), w.astype(float)
    a = dot(w, u)
    return u + ((CONSTRAINTS[constraint][0](a) - a) / dot(w, w))[:, None] * w


def effective_gradient(
    constraint: str, u: Array, w: Array, g_u: Array, g_w: Array
) -> tuple[Array, Array]:
    r"""dF/du_hat and dF/dw at fixed u_hat, from the gradient in a library's own u and w.

    u_hat = u + D w / q with D = m(a) - a, q = |w|^2, so with s = g_u_hat . w / q
        g_u = g_u_hat + s (m' - 1) w, hence w.g_u = m' q s, which gives s and then g_u_hat;
        g_w = g_w at fixed u_hat + s (m' - 1) u + (D / q) g_u_hat - 2 s (D / q) w.
    """
    u, w, g_u, g_w = (x.astype(float) for x in (u, w, g_u, g_w))
    m, slope, _ = CONSTRAINTS[constraint]
    a, q = dot(w, u), dot(w, w)
    s = (dot(w, g_u) / (slope(a) * q))[:, None]
    push, shrink = ((m(a) - a) / q)[:, None], (slope(a) - 1)[:, None]
    g_u_hat = g_u - s * shrink * w
    return g_u_hat, g_w - s * shrink * u - push * g_u_hat + 2 * s * push * w


def planar_answer(
    constraint: str, loss: float, u: Array, w: Array, g_u: Array, g_w: Array, g_b: Array
) -> dict[str, Array]:
    """What a contender answers to a planar step: the loss and three gradients."""
    g_u_hat, g_w = effective_gradient(constraint, u, w, g_u, g_w)
    return {"loss": np.array(loss), "u_hat": g_u_hat, "w": g_w, "b": g_b}


# --------------------------------------------------------------------------------- agreement
def disagreement(got: dict[str, Array], want: dict[str, Array]) -> float:
    """The largest difference relative to the largest entry, over all that was answered.

    A contender may answer fewer gradients than asked for, never fewer than the loss and one more.
    """
    if "loss" not in got or len(got) < 2 or not set(got) <= set(want):
        raise ValueError(f"expected the loss and gradients among {sorted(want)}, got {sorted(got)}")
    worst = 0.0
    for name, value in got.items():
        value, right = np.asarray(value, dtype=float), np.asarray(want[name], dtype=float)
        if value.shape != right.shape:
            raise ValueError(f"{name}: expected shape {right.shape}, got {value.shape}")
        size = max(float(np.abs(right).max()), 1.0 if name == "loss" else 1e-12)
        error = float(np.abs(value - right).max()) / size
        worst = max(worst, error if math.isfinite(error) else math.inf)
    return worst


def require_agreement(
    cell: Cell, contender: str, got: dict[str, Array], want: dict[str, Array]
) -> float:
    """The disagreement, if it is within the dtype's tolerance; AssertionError otherwise."""
    error = disagreement(got, want)
    assert error <= TOLERANCE[cell.dtype], (
        f"{cell.name}: expected {contender} to agree with ours to {TOLERANCE[cell.dtype]:g}, "
        f"got a relative difference of {error:.3g}; nothing is timed that computes something else"
    )
    return error
