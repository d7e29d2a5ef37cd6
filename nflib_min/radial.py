"""The radial flow: every layer pulls points towards a centre or pushes them away from it."""

import autograd.numpy as np
import numpy as onp

from nflib_min import sweeps
from nflib_min._arrays import Array, check_dim, check_params, check_points, is_traced
from nflib_min.bijections import Bijection, Pullback, call_written


def radiallayer(z_ref: Array, alpha: Array, beta: Array, z: Array) -> tuple[Array, Array]:
    r"""One radial map and its log-determinant, straight from the paper.

    $f(z) = z + \beta h(\alpha, r)(z - z_\text{ref})$, $r = |z - z_\text{ref}|$,
    $h = 1 / (\alpha + r)$ and
    $\det = [1 + \beta h]^{d-1} [1 + \beta h + \beta h' r]$ (14).

    Parameters
    ----------
    z_ref : (d,); alpha > 0 and beta >= -alpha : scalars; z : (n, d).

    Returns
    -------
    f(z), shape (n, d), and ln|det|, shape (n,).

    >>> z, log_det = radiallayer(onp.zeros(2), 1.0, 1.0, onp.array([[1.0, 0.0]]))
    >>> z, log_det.round(4)  # ln(1.5 * 1.25)
    (array([[1.5, 0. ]]), array([0.6286]))

    Source: Rezende & Mohamed (2015), eq. (14).
    """
    d = z.shape[1]
    r = np.sqrt(np.sum((z - z_ref) ** 2, axis=1))  # (n,)
    h = 1 / (alpha + r)
    dh = -1 / (alpha + r) ** 2
    log_det = (d - 1) * np.log(1 + beta * h) + np.log(1 + beta * h + beta * dh * r)
    return z + (beta * h)[:, None] * (z - z_ref), log_det


class Radial(Bijection):
    r"""A radial flow of length K with $\alpha_k = e^{a_k}$ and
    $\hat\beta_k = -\alpha_k + \mathrm{softplus}(\beta_k)$.

    With $s = \alpha + \hat\beta > 0$ a layer multiplies the radius by (r + s) / (r + alpha), and
    $\det = \left(\frac{r+s}{r+\alpha}\right)^{d-1}
    \frac{r^2 + 2\alpha r + \alpha s}{(r+\alpha)^2}$: sums of positive terms,
    so nothing cancels. The inverse is the positive root of $r^2 + (s - R) r - \alpha R = 0$ with
    $R = |y - z_\text{ref}|$.

    Parameters
    ----------
    dim : d, at least 1.
    length : K, at least 1.

    params: z_ref (K, d), log_alpha $a$ and beta (K,); or one set per row, each with n before.
    Errors: ValueError on dim or length < 1, wrong shapes, NaN or inf.

    >>> f = Radial(3, length=4)
    >>> params = f.init(onp.random.default_rng(0))
    >>> z0 = onp.random.default_rng(1).standard_normal((5, 3))
    >>> bool(abs(f.inverse(params, f.forward(params, z0)) - z0).max() < 1e-12)
    True

    Source: Rezende & Mohamed (2015), eq. (14) and appendix A.
    """

    def __init__(self, dim: int, length: int) -> None:
        self.dim, self.length = check_dim(dim), check_dim(length, "length")
        self.shapes = {"z_ref": (length, dim), "log_alpha": (length,), "beta": (length,)}

    def init(self, rng: onp.random.Generator) -> dict:
        """The identity, with centres drawn from N(0, 1): alpha = 1 and softplus(beta) = 1."""
        return {
            "z_ref": rng.standard_normal(self.shapes["z_ref"]),
            "log_alpha": onp.zeros(self.length),
            "beta": onp.full(self.length, onp.log(onp.expm1(1.0))),
        }

    def forward_and_log_det(self, params: dict, z0: Array) -> tuple[Array, Array]:
        if is_traced((params, z0)):
            return call_written(self, self.formula, params, z0)
        zK, log_det, _ = self.forward_with_pullback(params, z0)
        return zK, log_det

    def forward_with_pullback(self, params: dict, z0: Array) -> tuple[Array, Array, Pullback]:
        check_points(z0, self.dim, "z0")
        per_row = check_params(self, params, self.shapes, len(z0))
        return sweeps.radial(params, z0, per_row)

    def formula(self, params: dict, z0: Array) -> tuple[Array, Array]:
        """The plain layers, one after the other: what the fast sweep must agree with."""
        check_points(z0, self.dim, "z0")
        check_params(self, params, self.shapes, len(z0))
        z, log_det = z0, 0.0
        for k in range(self.length):
            z_ref, alpha, s = self.layer(params, k)
            delta = z - z_ref  # (n, d)
            r = _norm(delta)
            grow = (r + s) / (r + alpha)
            z = z_ref + delta * grow[:, None]
            log_det = log_det + self._log_det(r, alpha, s)
        return z, log_det

    def inverse_and_log_det(self, params: dict, zK: Array) -> tuple[Array, Array]:
        check_points(zK, self.dim, "zK")
        check_params(self, params, self.shapes, len(zK))
        z, log_det = zK, 0.0
        for k in reversed(range(self.length)):
            z_ref, alpha, s = self.layer(params, k)
            delta = z - z_ref
            R = _norm(delta)
            # r^2 + B r - alpha R = 0 with B = s - R, by the form of the root that cannot cancel
            B = s - R
            root = np.sqrt(B**2 + 4 * alpha * R)
            r = np.where(B > 0, 2 * alpha * R / (np.abs(B) + root), 0.5 * (np.abs(B) + root))
            z = z_ref + delta * ((r + alpha) / (r + s))[:, None]
            log_det = log_det - self._log_det(r, alpha, s)
        return z, log_det

    def layer(self, params: dict, k: int) -> tuple[Array, Array, Array]:
        """z_ref, alpha and s = alpha + beta_hat of layer k."""
        alpha = np.exp(params["log_alpha"][..., k])
        return params["z_ref"][..., k, :], alpha, softplus(params["beta"][..., k])

    def _log_det(self, r: Array, alpha: Array, s: Array) -> Array:
        tangential = np.log(r + s) - np.log(r + alpha)
        radial = np.log(r**2 + 2 * alpha * r + alpha * s) - 2 * np.log(r + alpha)
        return (self.dim - 1) * tangential + radial

    def __repr__(self) -> str:
        return f"Radial({self.dim}, length={self.length})"


def softplus(x: Array) -> Array:
    """ln(1 + e^x), without overflow.

    >>> softplus(onp.array([0.0, 1000.0])).round(1).tolist()
    [0.7, 1000.0]
    """
    return np.logaddexp(0.0 * x, x)


def _norm(delta: Array) -> Array:
    """|delta|, shape (n,), with gradient 0 at the centre, where the norm has a kink."""
    square = np.sum(delta**2, axis=1)
    at_centre = square == 0
    return np.where(at_centre, 0 * square, np.sqrt(np.where(at_centre, 1, square)))
