r"""The contract of an invertible map with a log-determinant, and the small maps.

Letters are the paper's: forward takes z_0 (from the base) to z_K (from the flow), inverse takes
z_K back to z_0. Parameters are explicit and come first, because `autograd.grad` differentiates
argument 0. Points are (n, d); every log_det is (n,) and belongs to the call that returns it.
"""

from collections.abc import Mapping
from types import MappingProxyType

import autograd.numpy as anp
import numpy as np

from nflib_min._arrays import (
    Array,
    Params,
    check_dim,
    check_orthogonal,
    check_params,
    check_points,
    is_traced,
    untraced,
)
from nflib_min.pullback import (
    DTYPES,
    Kernel,
    Pullback,
    call_with_custom_pullback,
    kernel_of,
    pullback_by_autograd,
)


class Bijection:
    r"""An invertible map f with parameters: write two methods, inherit the others.

    - forward: $z_K = f(z_0)$, log_det $= \ln|\det \partial f / \partial z_0|$, eq. (5);
    - inverse: $z_0 = f^{-1}(z_K)$, log_det $= \ln|\det \partial f^{-1} / \partial z_K|$,
      minus the forward one at z_0.

    A subclass sets `dim` and writes `forward_and_log_det` and `inverse_and_log_det`. The maps of
    this library write `forward_formula` and `inverse_formula` instead, and `shapes`, the shape of
    each parameter: then their arguments are checked here, and a registered kernel may do the work.

    >>> f = Affine(2)
    >>> params = f.init(np.random.default_rng(0))
    >>> f.forward(params, np.ones((1, 2))).shape
    (1, 2)

    Source: Rezende & Mohamed (2015), section 3.1.
    """

    dim: int
    shapes: Mapping[str, tuple] = MappingProxyType({})

    def init(self, rng: np.random.Generator) -> Params:
        """Parameters of the identity map, or near them: zeros, unless a map says otherwise."""
        return {name: np.zeros(shape) for name, shape in self.shapes.items()}

    def forward_formula(self, params: Params, z0: Array) -> tuple[Array, Array]:
        """z_K and ln|det df/dz_0| by the plain equations, which autograd can trace."""
        raise NotImplementedError

    def inverse_formula(self, params: Params, zK: Array) -> tuple[Array, Array]:
        """z_0 and ln|det df^-1/dz_K| by the plain equations, which autograd can trace."""
        raise NotImplementedError

    def forward_and_log_det(self, params: Params, z0: Array) -> tuple[Array, Array]:
        """z_K = f(z_0), shape (n, d), and ln|det df/dz_0|, shape (n,)."""
        params, z0, kernel = self._ready(params, z0, "z0")
        if kernel is None:
            return self.forward_formula(params, z0)
        if is_traced((params, z0)):
            return call_with_custom_pullback(
                self.forward_with_pullback, self.forward_formula, params, z0
            )
        return kernel.forward(self, params, z0, True)

    def inverse_and_log_det(self, params: Params, zK: Array) -> tuple[Array, Array]:
        """z_0 = f^-1(z_K), shape (n, d), and ln|det df^-1/dz_K|, shape (n,)."""
        params, zK, kernel = self._ready(params, zK, "zK")
        if kernel is not None and is_traced((params, zK)):
            return call_with_custom_pullback(
                self.inverse_with_pullback, self.inverse_formula, params, zK
            )
        return self.inverse_formula(params, zK)

    def forward(self, params: Params, z0: Array) -> Array:
        """z_K = f(z_0), shape (n, d)."""
        if not is_traced((params, z0)):
            params, z0, kernel = self._with_kernel(params, z0, "z0")
            if kernel is not None:
                return kernel.forward(self, params, z0, False)[0]
        return self.forward_and_log_det(params, z0)[0]

    def inverse(self, params: Params, zK: Array) -> Array:
        """z_0 = f^-1(z_K), shape (n, d)."""
        return self.inverse_and_log_det(params, zK)[0]

    def forward_with_pullback(self, params: Params, z0: Array) -> tuple[Array, Array, Pullback]:
        r"""Forward, plus the map that carries gradients back through it.

        pullback(g_zK, g_log_det) -> (g_params, g_z0), where g_y means dF/dy for a scalar F:
        $g_{z_0} = J^\top g_{z_K} + (\partial \ln|\det J| / \partial z_0)^\top g_{\log\det}$.
        """
        params, z0, kernel = self._with_kernel(params, z0, "z0")
        if kernel is not None:
            return kernel.sweep(self, params, z0)[:3]
        return pullback_by_autograd(self.forward_and_log_det, params, z0)

    def forward_with_score(
        self, params: Params, z0: Array, s0: Array, weight: float | Array = 1.0
    ) -> tuple[Array, Array, Pullback, Array]:
        r"""`forward_with_pullback`, and the score at z_K from the score s_0 at z_0, shape (n, d).

        Differentiate $\ln q_K(f(z_0)) = \ln q_0(z_0) - \ln|\det J(z_0)|$ by $z_0$:
        $s_K = J^{-\top} \left(s_0 - \nabla_{z_0} \ln|\det J|\right)$, without an inverse of f. The
        pullback gives the gradient of the log-determinant in one call and the rows of J in d more.
        `weight`, a number or (n,), multiplies that gradient. LinAlgError where J is singular.

        Source: Vaitl, Nicoli, Nakajima & Kessel, Gradients should stay on path (2022), section 4.
        """
        params, z0, kernel = self._with_kernel(params, z0, "z0")
        sK = None
        if kernel is not None:
            zK, log_det, pullback, sK = kernel.sweep(self, params, z0, s0, weight)
        else:
            zK, log_det, pullback = self.forward_with_pullback(params, z0)
        if sK is not None:
            return zK, log_det, pullback, sK
        right = s0 - pullback(np.zeros_like(zK), np.zeros_like(log_det) + weight)[1]
        rows = [
            pullback(np.broadcast_to(e, zK.shape).copy(), np.zeros_like(log_det))[1].copy()
            for e in np.eye(self.dim, dtype=zK.dtype)
        ]
        transposed = np.stack(rows, axis=2)  # J^T: row j of J, the gradient of z_K,j, as column j
        return zK, log_det, pullback, np.linalg.solve(transposed, right[:, :, None])[:, :, 0]

    def inverse_with_pullback(self, params: Params, zK: Array) -> tuple[Array, Array, Pullback]:
        r"""Inverse, plus its pullback (g_z0, g_log_det) -> (g_params, g_zK), by implicit functions.

        z_0 solves $f(z_0; \theta) = z_K$, so $dz_0 = J^{-1} (dz_K - f_\theta\, d\theta)$. With L
        the forward log-determinant at z_0 and $a = J^{-\top} (g_{z_0} - g_{\log\det} \nabla L)$,
        which is a score carried forward, $g_{z_K} = a$ and $g_\theta = -a^\top f_\theta -
        g_{\log\det} L_\theta$: one forward sweep with its pullback, and the inverse is not traced.
        """
        params, zK, kernel = self._with_kernel(params, zK, "zK")
        if kernel is None:
            return pullback_by_autograd(self.inverse_and_log_det, params, zK)
        if kernel.inverse is not None:
            return kernel.inverse(self, params, zK)
        sweep, (z0, log_det) = kernel.sweep, self.inverse_formula(params, zK)
        kept = z0.copy()  # the caller may write into z0

        def pullback(g_z0: Array, g_log_det: Array) -> tuple[dict, Array]:
            _, _, forward_pullback, a = sweep(self, params, kept, g_z0, g_log_det)
            g_params, _ = forward_pullback(a, g_log_det)
            return {name: -g for name, g in g_params.items()}, a

        return z0, log_det, pullback

    def _check(self, params: Params, z: Array, name: str) -> bool:
        """True for one set of parameters per row; ValueError on what the map does not take."""
        check_points(z, self.dim, name)
        return check_params(self, params, self.shapes, len(untraced(z)))

    def _with_kernel(
        self, params: Params, z: Array, name: str
    ) -> tuple[Params, Array, Kernel | None]:
        """`_ready` where the class has a kernel; else a map may check its arguments its own way."""
        if kernel_of(type(self)) is None:
            return params, z, None
        return self._ready(params, z, name)

    def _ready(self, params: Params, z: Array, name: str) -> tuple[Params, Array, Kernel | None]:
        """The arguments, checked and of one dtype if a kernel takes them, and that kernel."""
        per_row = self._check(params, z, name)
        kernel = kernel_of(type(self))
        if kernel is None or (per_row and not kernel.per_row):
            return params, z, None
        dtype, leaves = untraced(z).dtype, params.values()
        mixed = any(untraced(leaf).dtype != dtype for leaf in leaves)
        if mixed:
            dtype = np.result_type(dtype, *(untraced(leaf).dtype for leaf in leaves))
        if dtype not in DTYPES:
            return params, z, None
        if mixed and not is_traced((params, z)):
            params, z = {key: p.astype(dtype) for key, p in params.items()}, z.astype(dtype)
        return params, z, kernel


class Affine(Bijection):
    r"""Shift and scale each coordinate: a mean-field Gaussian when the base is a standard normal.

    $z_K = \mu + e^{s} \odot z_0, \qquad \ln|\det| = \sum_i s_i$

    params: mean $\mu$ (d,) and log_scale $s$ (d,), or (n, d) each for one set per row.
    Errors: ValueError on dim < 1, wrong shapes, NaN or inf.

    >>> f = Affine(2)
    >>> params = {"mean": np.array([1.0, 0.0]), "log_scale": np.array([0.0, 1.0])}
    >>> zK, log_det = f.forward_and_log_det(params, np.ones((1, 2)))
    >>> zK.round(4), log_det
    (array([[2.    , 2.7183]]), array([1.]))

    Source: Rezende & Mohamed (2015), section 4.2, q_0 = N(mu(x), diag(sigma^2(x))).
    """

    def __init__(self, dim: int) -> None:
        self.dim = check_dim(dim)
        self.shapes = {"mean": (dim,), "log_scale": (dim,)}

    def forward_formula(self, params: dict, z0: Array) -> tuple[Array, Array]:
        mean, s = params["mean"], params["log_scale"]
        return mean + anp.exp(s) * z0, anp.sum(s + 0 * z0, axis=1)

    def inverse_formula(self, params: dict, zK: Array) -> tuple[Array, Array]:
        mean, s = params["mean"], params["log_scale"]
        return (zK - mean) * anp.exp(-s), -anp.sum(s + 0 * zK, axis=1)

    def __repr__(self) -> str:
        return f"Affine({self.dim})"


class TriangularAffine(Bijection):
    r"""A shift and a lower triangular matrix: a full-rank Gaussian on a standard normal base.

    $z_K = \mu + L z_0, \quad L = \operatorname{diag}(e^{s}) + \text{strict lower part of } A,
    \quad \ln|\det| = \sum_i s_i$

    params: mean (d,), log_diag $s$ (d,), lower $A$ (d, d), of which only the part below the
    diagonal is used; or one set per row, (n, d), (n, d), (n, d, d).
    Errors: ValueError on dim < 1, wrong shapes, NaN or inf.

    >>> f = TriangularAffine(3)
    >>> zK, log_det = f.forward_and_log_det(f.init(np.random.default_rng(0)), np.ones((4, 3)))
    >>> zK.shape, log_det
    ((4, 3), array([0., 0., 0., 0.]))

    Source: the reparameterized Gaussian of Rezende & Mohamed (2015), section 2, full covariance.
    """

    def __init__(self, dim: int) -> None:
        self.dim = check_dim(dim)
        self.shapes = {"mean": (dim,), "log_diag": (dim,), "lower": (dim, dim)}

    def matrix(self, params: dict) -> Array:
        """L, shape (d, d) or (n, d, d)."""
        s = params["log_diag"]
        eye = np.eye(self.dim, dtype=untraced(s).dtype)
        below = np.tril(np.ones_like(eye), -1)
        return params["lower"] * below + anp.exp(s)[..., None] * eye

    def forward_formula(self, params: dict, z0: Array) -> tuple[Array, Array]:
        L_z0 = anp.matmul(self.matrix(params), z0[..., None])[..., 0]
        return params["mean"] + L_z0, anp.sum(params["log_diag"] + 0 * z0, axis=1)

    def inverse_formula(self, params: dict, zK: Array) -> tuple[Array, Array]:
        s, A = params["log_diag"], params["lower"]
        z0 = 0 * zK[:, :0]
        for i in range(self.dim):  # forward substitution: row i of L z_0 = z_K - mean
            moved = anp.sum(A[..., i, :i] * z0, axis=1)
            z_i = (zK[:, i] - params["mean"][..., i] - moved) * anp.exp(-s[..., i])
            z0 = anp.concatenate([z0, z_i[:, None]], axis=1)
        return z0, -anp.sum(s + 0 * zK, axis=1)

    def __repr__(self) -> str:
        return f"TriangularAffine({self.dim})"


class Permute(Bijection):
    r"""Reorder the coordinates: $z_{K,i} = z_{0,\pi(i)}$, log-det 0, nothing learned.

    Parameters
    ----------
    order : pi, a permutation of 0..d-1; ValueError otherwise.

    >>> Permute([2, 0, 1]).forward({}, np.array([[10.0, 20.0, 30.0]]))
    array([[30., 10., 20.]])

    Source: Rezende & Mohamed (2015), section 5.1 (NICE-perm); Dinh et al. (2014).
    """

    def __init__(self, order: list[int] | Array) -> None:
        self.order = np.asarray(order)
        self.dim = check_dim(self.order.size)
        if not np.array_equal(np.sort(self.order), np.arange(self.dim)):
            raise ValueError(f"order: expected a permutation of 0..{self.dim - 1}, got {order}")

    def forward_formula(self, params: dict, z0: Array) -> tuple[Array, Array]:
        return z0[:, self.order], 0 * z0[:, 0]

    def inverse_formula(self, params: dict, zK: Array) -> tuple[Array, Array]:
        return zK[:, np.argsort(self.order)], 0 * zK[:, 0]

    def __repr__(self) -> str:
        return f"Permute({self.order.tolist()})"


class Orthogonal(Bijection):
    r"""Rotate (or reflect) by a fixed orthogonal matrix: $z_K = Q z_0$, log-det 0, not learned.

    Parameters
    ----------
    matrix : Q, shape (d, d), with Q Q^T = I; ValueError otherwise. `Orthogonal.random(dim, rng)`
        takes it from the QR decomposition of a Gaussian matrix.

    >>> f = Orthogonal.random(3, np.random.default_rng(0))
    >>> z = np.ones((1, 3))
    >>> bool(np.allclose(np.linalg.norm(f.forward({}, z)), np.linalg.norm(z)))
    True

    Source: Rezende & Mohamed (2015), section 5.1 (NICE-orth).
    """

    def __init__(self, matrix: Array) -> None:
        if np.ndim(matrix) != 2:
            raise ValueError(f"matrix: expected shape (d, d), got {np.shape(matrix)}")
        self.matrix = check_orthogonal(matrix, "matrix")
        self.dim = check_dim(len(self.matrix))

    @classmethod
    def random(cls, dim: int, rng: np.random.Generator) -> "Orthogonal":
        """Q uniform over the orthogonal group: QR of a Gaussian, signs fixed by R's diagonal."""
        Q, R = np.linalg.qr(rng.standard_normal((check_dim(dim), dim)))
        return cls(Q * np.sign(np.diag(R)))

    def forward_formula(self, params: dict, z0: Array) -> tuple[Array, Array]:
        return anp.dot(z0, self.matrix.T.astype(untraced(z0).dtype)), 0 * z0[:, 0]

    def inverse_formula(self, params: dict, zK: Array) -> tuple[Array, Array]:
        return anp.dot(zK, self.matrix.astype(untraced(zK).dtype)), 0 * zK[:, 0]

    def __repr__(self) -> str:
        return f"Orthogonal(dim={self.dim})"
