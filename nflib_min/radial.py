"""The radial flow: every layer pulls points towards a centre or pushes them away from it."""

import autograd.numpy as anp
import numpy as np

from nflib_min._arrays import Array, check_dim
from nflib_min.bijections import Bijection
from nflib_min.pullback import where


def radial_layer(
    z_ref: Array, alpha: Array, beta: Array, z: Array, s: Array | None = None
) -> tuple[Array, Array]:
    r"""One radial map and its log-determinant, from the paper.

    $f(z) = z + \beta h(\alpha, r)(z - z_\text{ref})$, $r = |z - z_\text{ref}|$,
    $h = 1 / (\alpha + r)$ and $\det = [1 + \beta h]^{d-1} [1 + \beta h + \beta h' r]$ (14).

    With $\rho = r h$, $A = \alpha h$, which sum to 1, and $\sigma = s h$, $s = \alpha + \beta$, the
    two brackets are $\rho + \sigma$ and $\rho (1 + A) + A \sigma$: sums of terms that are not
    negative, which neither cancel nor overflow.

    Parameters
    ----------
    z_ref : (d,); alpha > 0 and beta >= -alpha : scalars; z : (n, d); or one set per row, (n, d) and
    (n,). s : alpha + beta, where it is known better than beta.

    Returns
    -------
    f(z), shape (n, d), and ln|det|, shape (n,).

    >>> z, log_det = radial_layer(np.zeros(2), 1.0, 1.0, np.array([[1.0, 0.0]]))
    >>> z, log_det.round(4)  # ln(1.5 * 1.25)
    (array([[1.5, 0. ]]), array([0.6286]))

    Source: Rezende & Mohamed (2015), eq. (14).
    """
    x = z - z_ref
    r = norm(x)
    h = 1 / (alpha + r)
    rho, A, sigma = r * h, alpha * h, (alpha + beta if s is None else s) * h
    stretch = rho + sigma
    log_det = (z.shape[1] - 1) * anp.log(stretch) + anp.log(rho * (1 + A) + A * sigma)
    return z_ref + x * stretch[:, None], log_det


class Radial(Bijection):
    r"""A radial flow of length K with $\alpha_k = e^{a_k}$ and
    $\hat\beta_k = -\alpha_k + \mathrm{softplus}(\beta_k)$.

    With $s = \alpha + \hat\beta > 0$ a layer multiplies the radius by $(r + s) / (r + \alpha)$. The
    inverse is the positive root of $r^2 + (s - R) r - \alpha R = 0$ with $R = |y - z_\text{ref}|$.

    Parameters
    ----------
    dim : d, at least 1.
    length : K, at least 1.

    params: z_ref (K, d), log_alpha $a$ and beta (K,); or one set per row, each with n before.
    Errors: ValueError on dim or length < 1, wrong shapes, NaN or inf.

    >>> f = Radial(3, length=4)
    >>> params = f.init(np.random.default_rng(0))
    >>> z0 = np.random.default_rng(1).standard_normal((5, 3))
    >>> bool(abs(f.inverse(params, f.forward(params, z0)) - z0).max() < 1e-12)
    True

    Source: Rezende & Mohamed (2015), eq. (14) and appendix A.
    """

    def __init__(self, dim: int, length: int) -> None:
        self.dim, self.length = check_dim(dim), check_dim(length, "length")
        self.shapes = {"z_ref": (length, dim), "log_alpha": (length,), "beta": (length,)}

    def init(self, rng: np.random.Generator) -> dict:
        """The identity, with centres drawn from N(0, 1): alpha = 1 and softplus(beta) = 1."""
        return {
            "z_ref": rng.standard_normal(self.shapes["z_ref"]),
            "log_alpha": np.zeros(self.length),
            "beta": np.full(self.length, np.log(np.expm1(1.0))),
        }

    def layers(self, params: dict) -> list[tuple]:
        """(z_ref, alpha, s) of every layer, s = alpha + beta_hat, in the forward order."""
        alpha, s = anp.exp(params["log_alpha"]), softplus(params["beta"])
        return [(params["z_ref"][..., k, :], alpha[..., k], s[..., k]) for k in range(self.length)]

    def forward_formula(self, params: dict, z0: Array) -> tuple[Array, Array]:
        z, log_det = z0, 0.0
        for z_ref, alpha, s in self.layers(params):
            z, term = radial_layer(z_ref, alpha, s - alpha, z, s)
            log_det = log_det + term
        return z, log_det

    def inverse_formula(self, params: dict, zK: Array) -> tuple[Array, Array]:
        z, log_det = zK, 0.0
        for z_ref, alpha, s in reversed(self.layers(params)):
            R = norm(z - z_ref)
            # of the two forms of the root, the one in which nothing cancels
            B = s - R
            root = anp.sqrt(B**2 + 4 * alpha * R)
            r = where(B > 0, 2 * alpha * R / (anp.abs(B) + root), 0.5 * (anp.abs(B) + root))
            z = z_ref + (z - z_ref) * ((r + alpha) / (r + s))[:, None]
            log_det = log_det - radial_layer(z_ref, alpha, s - alpha, z, s)[1]
        return z, log_det

    def __repr__(self) -> str:
        return f"Radial({self.dim}, length={self.length})"


def softplus(x: Array) -> Array:
    """ln(1 + e^x), without overflow.

    >>> softplus(np.array([0.0, 1000.0])).round(1).tolist()
    [0.7, 1000.0]

    Source: Rezende & Mohamed (2015), appendix A, whose constraints are made of it.
    """
    return anp.logaddexp(0.0 * x, x)


def norm(x: Array) -> Array:
    """|x| of each row, shape (n,), with gradient 0 at 0, where the norm has a kink.

    >>> norm(np.array([[3.0, 4.0]]))
    array([5.])

    Source: r of Rezende & Mohamed (2015), eq. (14).
    """
    square = anp.sum(x**2, axis=1)
    at_centre = square == 0
    return where(at_centre, 0 * square, anp.sqrt(where(at_centre, 0 * square + 1, square)))
