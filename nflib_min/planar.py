r"""The planar flow: every layer pushes points along u, by an amount that depends on w.z + b alone.

The equations, one function each, are in this file; `sweeps.py` runs the same layers, forward and
in reverse, over a whole stack at once.
"""

import math
from collections.abc import Callable

import autograd.numpy as np
import numpy as onp
from autograd.extend import defvjp, primitive

from nflib_min import sweeps
from nflib_min._arrays import Array, check_dim, check_params, check_points, is_traced, untraced
from nflib_min.bijections import Bijection, Pullback, call_written

NEWTON_STEPS = 100


def planar_layer(u: Array, w: Array, b: Array, z: Array) -> tuple[Array, Array]:
    r"""One planar map and its log-determinant, straight from the paper.

    $f(z) = z + u\, h(w^\top z + b)$ (10), $\psi(z) = h'(w^\top z + b)\, w$ (11),
    $|\det| = |1 + u^\top \psi(z)|$ (12), with $h = \tanh$.

    Parameters
    ----------
    u, w : (d,); b : scalar; z : (n, d). The map is invertible if $w^\top u > -1$.

    Returns
    -------
    f(z), shape (n, d), and ln|det|, shape (n,).

    >>> z, log_det = planar_layer(
    ...     onp.array([1.0, 0.0]), onp.array([1.0, 0.0]), 0.0, onp.zeros((1, 2)))
    >>> log_det.round(4)  # ln 2: the map doubles lengths along u at the origin
    array([0.6931])

    Source: Rezende & Mohamed (2015), eqs. (10)-(12).
    """
    h = np.tanh(np.dot(z, w) + b)  # (n,)
    psi = (1 - h**2)[:, None] * w  # (n, d)
    return z + u * h[:, None], np.log(np.abs(1 + np.dot(psi, u)))


def m(a: Array) -> Array:
    r"""The constrained value of $w^\top u$: $m(a) = -1 + \mathrm{softplus}(a + \ln(e-1)) > -1$.

    m(0) = 0, so that a layer with small u stays near the identity. The paper prints
    $-1 + \ln(1 + e^a)$, which maps 0 to -0.307: see `m_printed`. Shapes are kept.

    Written without cancellation. With $p = 1 - 1/e$, m(a) = ln(1 + p (e^a - 1)), since
    $e^{m + 1} = 1 + (e - 1) e^a$; for a > 0 the factor e^a is taken out: a + ln(1 + (e^-a - 1)/e).

    >>> float(m(onp.array(0.0))), bool(m(onp.array(-500.0)) >= -1)
    (0.0, True)

    Source: Rezende & Mohamed (2015), appendix A, shifted to fix 0.
    """
    small, large = np.minimum(a, 0), np.maximum(a, 0)  # one of them is 0, and so is its term
    return np.log1p((1 - 1 / math.e) * np.expm1(small)) + (
        large + np.log1p(np.expm1(-large) / math.e)
    )


def m_printed(a: Array) -> Array:
    r"""The paper's $m(a) = -1 + \ln(1 + e^a)$: not the identity at a = 0, where it is ln 2 - 1.

    Every layer then starts with |det| = ln 2, whatever the size of w, and a long flow collapses.

    >>> round(float(m_printed(onp.array(0.0))), 4)
    -0.3069

    Source: Rezende & Mohamed (2015), appendix A, as printed.
    """
    return -1 + np.logaddexp(0.0 * a, a)


def constrain(u: Array, w: Array, m: Callable = m) -> tuple[Array, Array, Array]:
    r"""Move u along w until the layer is invertible: $\hat u$, $c = w^\top \hat u > -1$ and 1 + c.

    $\hat u = u + [m(w^\top u) - w^\top u]\, w / |w|^2$, and $\hat u = u$ where w = 0. 1 + c is a
    softplus, kept apart because c = -1 to rounding for strongly negative $w^\top u$, and 1 + c is
    the smallest determinant of the layer.

    Parameters
    ----------
    u, w : (..., d). Returns shapes (..., d), (...) and (...).

    >>> u_hat, c, c_plus_1 = constrain(onp.array([-3.0, 0.0]), onp.array([1.0, 0.0]))
    >>> u_hat.round(3), float(c.round(3)), float(c_plus_1.round(3))
    (array([-0.918,  0.   ]), -0.918, 0.082)

    Source: Rezende & Mohamed (2015), appendix A.
    """
    a = np.sum(w * u, axis=-1)  # (...)
    square = np.sum(w * w, axis=-1)
    # |w|^2 below sqrt(tiny) cannot be divided by safely; any u_hat will do there, as det = 1
    divisible = square > float(onp.sqrt(onp.finfo(untraced(square).dtype).tiny))
    step = np.where(divisible, (m(a) - a) / np.where(divisible, square, 1), 0 * a)
    softplus = np.logaddexp(0.0 * a, a + (0.0 if m is m_printed else sweeps.SHIFT))
    return u + step[..., None] * w, m(a), softplus


def determinant(c: Array, c_plus_1: Array, h: Array) -> Array:
    r"""det = 1 + c h' of one layer, h' = 1 - h^2, as a sum of terms that are never negative.

    For c > 0 that is 1 + c (1 - h^2); for c <= 0 it is (1 + c) + |c| h^2, with 1 + c exact.

    >>> float(determinant(onp.array(-1.0), onp.array(1e-30), onp.array(0.0)))
    1e-30

    Source: Rezende & Mohamed (2015), eq. (12) with u^T psi = c h'.
    """
    return np.where(c > 0, 1 + c * (1 - h**2), c_plus_1 - c * h**2)


@primitive
def planar_root(c: Array, b: Array, t: Array) -> Array:
    r"""The one root a of $a + c \tanh(a + b) = t$, which inverts a planar layer along w.

    The left side increases strictly because c > -1. With x = a + b it is the odd equation
    x + c tanh(x) = t + b, solved for a right side s >= 0, where it is concave (c >= 0) or convex
    (c < 0): Newton's steps from a start below (above) the root run to it and never pass it.

    Parameters
    ----------
    c, b : scalars or (n,), c > -1; t : (n,), the value of w.y. Returns a = w.z, shape (n,).

    Errors
    ------
    ArithmeticError if a row's residual is not down to rounding after NEWTON_STEPS steps.

    >>> a = planar_root(0.5, 0.0, onp.array([1.0]))
    >>> bool(abs(a + 0.5 * onp.tanh(a) - 1.0)[0] < 1e-15)
    True

    Source: the inverse that Rezende & Mohamed (2015), appendix A, prove to exist.
    """
    sign, s = onp.where(t + b < 0, -1, 1).astype(t.dtype), onp.abs(t + b)
    # c >= 0: tanh x <= x, so s / (1 + c) <= x.  c < 0: |c| tanh x <= 1, so x <= s + 1, and where
    # s < 0.2, which is where x < 1, s >= x - tanh x >= x^3 / 5, so x <= (5 s)^(1/3)
    above = onp.where(s < 0.2, onp.cbrt(5 * s), s + 1)
    x = onp.where(c < 0, above, s / (1 + onp.maximum(c, 0)))
    eps = onp.finfo(x.dtype).eps
    for _ in range(NEWTON_STEPS):
        h = onp.tanh(x)
        residual = x + c * h - s
        # one rounding of x moves the residual by no more than this, since x tanh'(x) <= tanh(x)
        left = onp.abs(residual) > 2 * eps * (x + onp.abs(c) * h + s)
        if not left.any():
            return sign * x - b
        # the slope as `determinant` has it: (1 + c) - c h^2 would round to 0 where c is large
        slope = onp.where(c > 0, 1 + c * (1 - h * h), (1 + c) - c * h * h)
        x = x - onp.where(left, residual, 0) / onp.where(left, slope, 1)
    raise ArithmeticError(
        f"planar inverse: expected a residual within rounding after {NEWTON_STEPS} steps, got "
        f"{int(left.sum())} of {x.size} rows left, the largest {onp.abs(residual).max():.3g}"
    )


def _root_vjps() -> None:
    # a + c h(a + b) = t, differentiated: (1 + c h') da = dt - h dc - c h' db
    def slope(a: Array, c: Array, b: Array) -> tuple[Array, Array]:
        h = np.tanh(a + b)
        return h, 1 - h**2

    def fit(g: Array, x: Array) -> Array:  # a global c or b gathers the rows' gradients
        return np.sum(g) if np.ndim(x) == 0 else g

    def vjp_c(a: Array, c: Array, b: Array, t: Array) -> Callable:
        h, dh = slope(a, c, b)
        return lambda g: fit(-g * h / (1 + c * dh), c)

    def vjp_b(a: Array, c: Array, b: Array, t: Array) -> Callable:
        _, dh = slope(a, c, b)
        return lambda g: fit(-g * c * dh / (1 + c * dh), b)

    def vjp_t(a: Array, c: Array, b: Array, t: Array) -> Callable:
        _, dh = slope(a, c, b)
        return lambda g: g / (1 + c * dh)

    defvjp(planar_root, vjp_c, vjp_b, vjp_t)


_root_vjps()


class Planar(Bijection):
    r"""A planar flow of length K: $z_k = z_{k-1} + \hat u_k \tanh(w_k^\top z_{k-1} + b_k)$.

    $\ln|\det| = \sum_{k=1}^K \ln(1 + c_k h'_k)$ with $c_k = w_k^\top \hat u_k > -1$ (13).

    Parameters
    ----------
    dim : d, at least 1.
    length : K, the number of layers, at least 1.
    printed_constraint : use the paper's m(a) as printed (`m_printed`), to see it collapse.

    params: u and w (K, d), b (K,); or one set per row, (n, K, d), (n, K, d), (n, K).
    Errors: ValueError on dim or length < 1, wrong shapes, NaN or inf; ArithmeticError if an
    inverse does not converge.

    >>> f = Planar(2, length=8)
    >>> params = f.init(onp.random.default_rng(0))
    >>> z0 = onp.random.default_rng(1).standard_normal((5, 2))
    >>> zK, log_det = f.forward_and_log_det(params, z0)
    >>> z_back, log_det_back = f.inverse_and_log_det(params, zK)
    >>> bool(abs(z_back - z0).max() < 1e-12), bool(abs(log_det + log_det_back).max() < 1e-12)
    (True, True)

    Source: Rezende & Mohamed (2015), eqs. (10)-(13) and appendix A.
    """

    def __init__(self, dim: int, length: int, printed_constraint: bool = False) -> None:
        self.dim, self.length = check_dim(dim), check_dim(length, "length")
        self.m, self.fast_m = (
            (m_printed, sweeps.m_printed) if printed_constraint else (m, sweeps.m_shifted)
        )
        self.shapes = {"u": (length, dim), "w": (length, dim), "b": (length,)}

    def init(self, rng: onp.random.Generator) -> dict:
        """Near the identity: u ~ N(0, 0.01^2) hardly moves a point.

        w ~ N(0, 1) sees every direction, and b ~ N(0, 1) spreads the layers' bends over the base.
        """
        return {
            "u": 0.01 * rng.standard_normal(self.shapes["u"]),
            "w": rng.standard_normal(self.shapes["w"]),
            "b": rng.standard_normal(self.length),
        }

    def forward_and_log_det(self, params: dict, z0: Array) -> tuple[Array, Array]:
        if is_traced((params, z0)):
            return call_written(self, self.formula, params, z0)
        per_row = self.check(params, z0)
        return sweeps.planar_forward(self.fast_m, params, z0, per_row)

    def forward(self, params: dict, z0: Array) -> Array:
        if is_traced((params, z0)):
            return self.forward_and_log_det(params, z0)[0]
        per_row = self.check(params, z0)
        return sweeps.planar_forward(self.fast_m, params, z0, per_row, log_det=False)[0]

    def forward_with_pullback(self, params: dict, z0: Array) -> tuple[Array, Array, Pullback]:
        per_row = self.check(params, z0)
        sweep = sweeps.planar_per_row if per_row else sweeps.planar
        return sweep(self.fast_m, params, z0)[:3]

    def check(self, params: dict, z: Array, name: str = "z0") -> bool:
        """True for one set of parameters per row; ValueError on what the map does not take."""
        check_points(z, self.dim, name)
        return check_params(self, params, self.shapes, len(z))

    def formula(self, params: dict, z0: Array) -> tuple[Array, Array]:
        """The plain layers, one after the other: what the fast sweep must agree with."""
        self.check(params, z0)
        u_hat, c, c_plus_1 = constrain(params["u"], params["w"], self.m)
        z, log_det = z0, 0.0
        for k in range(self.length):
            u, w, b = u_hat[..., k, :], params["w"][..., k, :], params["b"][..., k]
            h = np.tanh(np.sum(w * z, axis=1) + b)  # (n,)
            log_det = log_det + np.log(determinant(c[..., k], c_plus_1[..., k], h))
            z = z + u * h[:, None]
        return z, log_det

    def inverse_and_log_det(self, params: dict, zK: Array) -> tuple[Array, Array]:
        self.check(params, zK, "zK")
        u_hat, c, c_plus_1 = constrain(params["u"], params["w"], self.m)
        z, log_det = zK, 0.0
        for k in reversed(range(self.length)):
            u, w, b = u_hat[..., k, :], params["w"][..., k, :], params["b"][..., k]
            a = planar_root(c[..., k], b, np.sum(w * z, axis=1))  # w.z_{k-1}
            h = np.tanh(a + b)
            log_det = log_det - np.log(determinant(c[..., k], c_plus_1[..., k], h))
            z = z - u * h[:, None]
        return z, log_det

    def __repr__(self) -> str:
        return f"Planar({self.dim}, length={self.length})"
