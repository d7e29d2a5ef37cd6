r"""The planar flow: every layer pushes points along u, by tanh(w.z + b)."""

import math
from collections.abc import Callable

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp, primitive

from nflib_min._arrays import Array, check_dim, untraced
from nflib_min.bijections import Bijection
from nflib_min.pullback import where
from nflib_min.radial import softplus

GAIN = math.e - 1  # of the constraint: m(0) = ln(1 + GAIN) - 1 = 0. The paper prints a gain of 1
NEWTON_STEPS = 100
STEEP = 8.0  # up to this c the inverse loses less than a digit as the difference z_K - u h


def planar_layer(
    u: Array, w: Array, b: Array, z: Array, c: tuple[Array, Array] | None = None
) -> tuple[Array, Array]:
    r"""One planar map and its log-determinant, straight from the paper.

    $f(z) = z + u\, h(w^\top z + b)$ (10), $\psi(z) = h'(w^\top z + b)\, w$ (11),
    $|\det| = |1 + u^\top \psi(z)|$ (12), with $h = \tanh$ and $u^\top \psi = c h'$, $c = w^\top u$.

    Parameters
    ----------
    u, w : (d,); b : scalar; z : (n, d); or one set per row, (n, d) and (n,). The map is invertible
    if $c > -1$. c : (c, 1 + c), where both are known better than by a sum, as `constrain` does.

    Returns
    -------
    f(z), shape (n, d), and ln|det|, shape (n,).

    >>> z, log_det = planar_layer(
    ...     np.array([1.0, 0.0]), np.array([1.0, 0.0]), 0.0, np.zeros((1, 2)))
    >>> log_det.round(4)  # ln 2: the map doubles lengths along u at the origin
    array([0.6931])

    Source: Rezende & Mohamed (2015), eqs. (10)-(12).
    """
    h = anp.tanh(anp.sum(w * z, axis=1) + b)  # (n,)
    c, one_plus_c = (wu := anp.sum(w * u, axis=-1), 1 + wu) if c is None else c
    det = determinant(c, h, one_plus_c)
    return z + u * h[:, None], anp.log(anp.abs(det))


def determinant(c: Array, h: Array, one_plus_c: Array) -> Array:
    r"""det = 1 + c h' of one layer, $h' = 1 - h^2$, as a sum of terms that are not negative.

    For c > 0 that is $1 + c (1 - h^2)$; for c <= 0 it is $(1 + c) + |c| h^2$, with 1 + c exact.

    >>> float(determinant(np.array(-1.0), np.array(0.0), np.array(1e-30)))
    1e-30

    Source: Rezende & Mohamed (2015), eq. (12) with u^T psi = c h'.
    """
    square = h * h
    return where(c > 0, 1 + c * (1 - square), one_plus_c - c * square)


def m(a: Array, gain: float = GAIN) -> Array:
    r"""The constrained value of $w^\top u$: $m(a) = -1 + \ln(1 + g e^a) > -1$, shapes kept.

    The gain g = e - 1 makes m(0) = 0, so that a layer with small u stays near the identity. The
    paper prints g = 1, which maps 0 to -0.307. Since $1 + g e^a = e + g (e^a - 1) + (1 + g - e)$,
    it is computed as $\ln(1 + [g (e^a - 1) + (1 + g - e)] / e)$, which does not cancel near 0.

    >>> float(m(np.array(0.0))), round(float(m(np.array(0.0), gain=1.0)), 4)
    (0.0, -0.3069)

    Source: Rezende & Mohamed (2015), appendix A, with a gain that fixes 0.
    """
    low = where(a < 80, a, 0 * a + 80)  # e^80 fits in float32; beyond, ln(1 + g e^a) is linear in a
    return anp.log1p((gain * anp.expm1(low) + (1 + gain - math.e)) / math.e) + (a - low)


def constrain(u: Array, w: Array, gain: float = GAIN) -> tuple[Array, Array, Array]:
    r"""Move u along w until the layer is invertible: $\hat u$, $c = w^\top \hat u > -1$ and 1 + c.

    $\hat u = u + [m(w^\top u) - w^\top u]\, w / |w|^2$, and $\hat u = u$ where w = 0. 1 + c is a
    softplus, kept apart because c = -1 to rounding for strongly negative $w^\top u$, and 1 + c is
    the smallest determinant of the layer.

    Parameters
    ----------
    u, w : (..., d). gain : see `m`. Returns shapes (..., d), (...) and (...).

    >>> u_hat, c, one_plus_c = constrain(np.array([-3.0, 0.0]), np.array([1.0, 0.0]))
    >>> u_hat.round(3), float(c.round(3)), float(one_plus_c.round(3))
    (array([-0.918,  0.   ]), -0.918, 0.082)

    Source: Rezende & Mohamed (2015), appendix A.
    """
    a = anp.sum(w * u, axis=-1)
    c = m(a, gain)
    return u + w * ((c - a) * inverse_square(w))[..., None], c, softplus(a + math.log(gain))


def inverse_square(w: Array) -> Array:
    r"""$1 / |w|^2$ over the last axis; 0 where |w|^2 cannot be divided by, as then det = 1.

    >>> inverse_square(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([0.04, 0.  ])

    Source: the factor of Rezende & Mohamed (2015), appendix A.
    """
    square = anp.sum(w * w, axis=-1)
    divisible = square > float(np.sqrt(np.finfo(untraced(square).dtype).tiny))
    return where(divisible, 1 / where(divisible, square, 0 * square + 1), 0 * square)


def planar_root(c: Array, b: Array, t: Array, one_plus_c: Array | None = None) -> Array:
    r"""The one root a of $a + c \tanh(a + b) = t$, which inverts a planar layer along w.

    The left side increases strictly because c > -1. With x = a + b it is the odd equation
    x + c tanh(x) = t + b, solved for a right side s >= 0, where it is concave (c >= 0) or convex
    (c < 0): Newton's steps from a start below (above) the root run to it and never pass it.

    Parameters
    ----------
    c, b : scalars or (n,), c > -1; t : (n,), the value of w.z_K. one_plus_c : 1 + c, where it is
    known better than c. Returns a = w.z_0, shape (n,). ArithmeticError if a row's residual is not
    down to rounding after NEWTON_STEPS.

    >>> a = planar_root(0.5, 0.0, np.array([1.0]))
    >>> bool(abs(a + 0.5 * np.tanh(a) - 1.0)[0] < 1e-15)
    True

    Source: the inverse that Rezende & Mohamed (2015), appendix A, prove to exist.
    """
    return _root(c, b, t, 1 + c if one_plus_c is None else one_plus_c)


@primitive
def _root(c: Array, b: Array, t: Array, one_plus_c: Array) -> Array:
    """`planar_root` of plain arrays."""
    sign, s = np.where(t + b < 0, -1, 1).astype(t.dtype), np.abs(t + b)
    # c >= 0: tanh x <= x, so s / (1 + c) <= x.  c < 0: |c| tanh x <= 1, so x <= s + 1, and where
    # s < 0.2, which is where x < 1, s >= x - tanh x >= x^3 / 5, so x <= (5 s)^(1/3)
    above = np.where(s < 0.2, np.cbrt(5 * s), s + 1)
    x = np.where(c < 0, above, s / (1 + np.maximum(c, 0)))
    eps = np.finfo(x.dtype).eps
    for _ in range(NEWTON_STEPS):
        h = np.tanh(x)
        residual = x + c * h - s
        # one rounding of x moves the residual by no more than this, since x tanh'(x) <= tanh(x)
        left = np.abs(residual) > 2 * eps * (x + np.abs(c) * h + s)
        if not left.any():
            return sign * x - b
        x = x - np.where(left, residual, 0) / np.where(left, determinant(c, h, one_plus_c), 1)
    raise ArithmeticError(
        f"planar inverse: expected a residual within rounding after {NEWTON_STEPS} steps, got "
        f"{int(left.sum())} of {x.size} rows left, the largest {np.abs(residual).max():.3g}"
    )


def _root_vjp(argument: int, by: Callable) -> Callable:
    """a + c h(a + b) = t, differentiated: (1 + c h') da = dt - h dc - c h' db."""

    def vjp(a: Array, c: Array, b: Array, t: Array, one_plus_c: Array) -> Callable:
        h = anp.tanh(a + b)
        factor = by(h, c) / determinant(c, h, one_plus_c)
        is_global = anp.ndim((c, b, t)[argument]) == 0  # it gathers the rows' gradients
        return lambda g: anp.sum(g * factor) if is_global else g * factor

    return vjp


defvjp(
    _root,
    _root_vjp(0, lambda h, c: -h),
    _root_vjp(1, lambda h, c: -c * (1 - h**2)),
    _root_vjp(2, lambda h, c: 1),
    None,
)


def invert_layer(
    u: Array, w: Array, b: Array, c: Array, one_plus_c: Array, zK: Array
) -> tuple[Array, Array]:
    r"""z_0 of one layer, and $h = \tanh(w^\top z_0 + b)$: $z_0 = z_K - u h$, with w.z_0 the root.

    >>> u, w, z = np.array([2.0, 0.0]), np.array([1.0, 0.0]), np.array([[0.3, -1.0]])
    >>> zK, _ = planar_layer(u, w, 0.5, z)
    >>> invert_layer(u, w, 0.5, 2.0, 3.0, zK)[0].round(12)
    array([[ 0.3, -1. ]])

    Source: Rezende & Mohamed (2015), appendix A.
    """
    a = planar_root(c, b, anp.sum(w * zK, axis=1), one_plus_c)
    h = anp.tanh(a + b)
    z = zK - u * h[:, None]
    if np.max(untraced(c), initial=0.0) < STEEP:
        return z, h
    # where c h is large, the root knows w.z better than that difference does
    steep = anp.abs(c * h) > anp.abs(a) + anp.abs(b)
    off = where(steep, a - anp.sum(w * z, axis=1), 0 * a)
    return z + (off * inverse_square(w))[:, None] * w, h


class Planar(Bijection):
    r"""A planar flow of length K: $z_k = z_{k-1} + \hat u_k \tanh(w_k^\top z_{k-1} + b_k)$.

    $\ln|\det| = \sum_{k=1}^K \ln(1 + c_k h'_k)$ with $c_k = w_k^\top \hat u_k > -1$ (13).

    Parameters
    ----------
    dim : d, at least 1.
    length : K, the number of layers, at least 1.
    gain : of the constraint, see `m`; 1.0 is the paper's as printed, to see it collapse.

    params: u and w (K, d), b (K,); or one set per row, (n, K, d), (n, K, d), (n, K).
    Errors: ValueError on dim or length < 1, wrong shapes, NaN or inf; ArithmeticError if an
    inverse does not converge.

    >>> f = Planar(2, length=8)
    >>> params = f.init(np.random.default_rng(0))
    >>> z0 = np.random.default_rng(1).standard_normal((5, 2))
    >>> zK, log_det = f.forward_and_log_det(params, z0)
    >>> z_back, log_det_back = f.inverse_and_log_det(params, zK)
    >>> bool(abs(z_back - z0).max() < 1e-12), bool(abs(log_det + log_det_back).max() < 1e-12)
    (True, True)

    Source: Rezende & Mohamed (2015), eqs. (10)-(13) and appendix A.
    """

    def __init__(self, dim: int, length: int, gain: float = GAIN) -> None:
        self.dim, self.length = check_dim(dim), check_dim(length, "length")
        if not gain > 0:
            raise ValueError(f"gain: expected a number > 0, got {gain}")
        self.gain = float(gain)
        self.shapes = {"u": (length, dim), "w": (length, dim), "b": (length,)}

    def init(self, rng: np.random.Generator) -> dict:
        """Near the identity: u ~ N(0, 0.01^2) hardly moves a point.

        w ~ N(0, 1) sees every direction, and b ~ N(0, 1) spreads the layers' bends over the base.
        """
        return {
            "u": 0.01 * rng.standard_normal(self.shapes["u"]),
            "w": rng.standard_normal(self.shapes["w"]),
            "b": rng.standard_normal(self.length),
        }

    def layers(self, params: dict) -> list[tuple]:
        """(u_hat, w, b, c, 1 + c) of every layer, in the order of the forward map."""
        u_hat, c, one_plus_c = constrain(params["u"], params["w"], self.gain)
        w, b = params["w"], params["b"]
        return [
            (u_hat[..., k, :], w[..., k, :], b[..., k], c[..., k], one_plus_c[..., k])
            for k in range(self.length)
        ]

    def forward_formula(self, params: dict, z0: Array) -> tuple[Array, Array]:
        z, log_det = z0, 0.0
        for u, w, b, c, one_plus_c in self.layers(params):
            z, term = planar_layer(u, w, b, z, (c, one_plus_c))
            log_det = log_det + term
        return z, log_det

    def inverse_formula(self, params: dict, zK: Array) -> tuple[Array, Array]:
        z, log_det = zK, 0.0
        for u, w, b, c, one_plus_c in reversed(self.layers(params)):
            z, h = invert_layer(u, w, b, c, one_plus_c, z)
            log_det = log_det - anp.log(determinant(c, h, one_plus_c))
        return z, log_det

    def __repr__(self) -> str:
        return f"Planar({self.dim}, length={self.length})"
