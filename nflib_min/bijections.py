"""The contract of an invertible map with a log-determinant, and the small maps.

Letters are the paper's: forward takes z_0 (from the base) to z_K (from the flow), inverse takes
z_K back to z_0. Parameters are explicit and come first, because `autograd.grad` differentiates
argument 0. Points are (n, d); every log_det is (n,) and belongs to the call that returns it.
"""

from collections.abc import Callable

import autograd.numpy as np
import numpy as onp
from autograd.builtins import tuple as traced_tuple
from autograd.core import make_vjp
from autograd.extend import defvjp_argnums, primitive

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

Pullback = Callable[[Array, Array], tuple[Params, Array]]


class Bijection:
    r"""An invertible map f with parameters: write two methods, inherit three.

    A subclass sets `dim` and writes `forward_and_log_det` and `inverse_and_log_det`:

    - forward: $z_K = f(z_0)$, log_det $= \ln|\det \partial f / \partial z_0|$, eq. (5);
    - inverse: $z_0 = f^{-1}(z_K)$, log_det $= \ln|\det \partial f^{-1} / \partial z_K|$,
      minus the forward one at z_0.

    >>> f = Affine(2)
    >>> params = f.init(onp.random.default_rng(0))
    >>> f.forward(params, onp.ones((1, 2))).shape
    (1, 2)

    Source: Rezende & Mohamed (2015), section 3.1.
    """

    dim: int

    def init(self, rng: onp.random.Generator) -> Params:
        """Parameters near the identity map."""
        raise NotImplementedError

    def forward_and_log_det(self, params: Params, z0: Array) -> tuple[Array, Array]:
        """z_K = f(z_0), shape (n, d), and ln|det df/dz_0|, shape (n,)."""
        raise NotImplementedError

    def inverse_and_log_det(self, params: Params, zK: Array) -> tuple[Array, Array]:
        """z_0 = f^-1(z_K), shape (n, d), and ln|det df^-1/dz_K|, shape (n,)."""
        raise NotImplementedError

    def forward(self, params: Params, z0: Array) -> Array:
        """z_K = f(z_0), shape (n, d)."""
        return self.forward_and_log_det(params, z0)[0]

    def inverse(self, params: Params, zK: Array) -> Array:
        """z_0 = f^-1(z_K), shape (n, d)."""
        return self.inverse_and_log_det(params, zK)[0]

    def forward_with_pullback(self, params: Params, z0: Array) -> tuple[Array, Array, Pullback]:
        r"""Forward, plus the map that carries gradients back through it.

        pullback(g_zK, g_log_det) -> (g_params, g_z0), where g_y means dF/dy for a scalar F:
        $g_{z_0} = J^\top g_{z_K} + (\partial \ln|\det J| / \partial z_0)^\top g_{\log\det}$.
        Inherited, it is autograd's; a stack of layers writes its own, which is many times faster.
        """
        return pullback_by_autograd(self.forward_and_log_det, params, z0)


def pullback_by_autograd(
    forward_and_log_det: Callable, params: Params, z0: Array
) -> tuple[Array, Array, Pullback]:
    """Value and pullback of any traceable (params, z0) -> (zK, log_det)."""
    vjp, (zK, log_det) = make_vjp(lambda at: traced_tuple(forward_and_log_det(*at)), (params, z0))
    return zK, log_det, lambda g_zK, g_log_det: vjp((g_zK, g_log_det))


# ------------------------------------------------------- a written pullback, known to autograd
@primitive
def _written(z0, *leaves, bijection, plain, names, tape):
    zK, log_det, pullback = bijection.forward_with_pullback(
        dict(zip(names, leaves, strict=True)), z0
    )
    tape.append(pullback)
    return zK, log_det


def _written_vjp(argnums, answer, args, kwargs):
    plain, names, tape = kwargs["plain"], kwargs["names"], kwargs["tape"]

    def plain_vjp(g: tuple) -> list:
        def formula(at: tuple) -> tuple:
            return traced_tuple(plain(dict(zip(names, at[1:], strict=True)), at[0]))

        g_args = make_vjp(formula, args)[0](g)
        return [g_args[i] for i in argnums]

    if is_traced(args):  # an outer derivative is being taken: only the plain formula knows it
        return plain_vjp
    pullback = tape[-1]

    def vjp(g: tuple) -> list:
        if is_traced(g):
            return plain_vjp(g)
        g_params, g_z0 = pullback(*g)
        g_args = (g_z0, *(g_params[name] for name in names))
        return [g_args[i] for i in argnums]

    return vjp


defvjp_argnums(_written, _written_vjp)


def call_written(
    bijection: Bijection, plain: Callable, params: dict, z0: Array
) -> tuple[Array, Array]:
    """Forward inside autograd: first derivatives by the written pullback, higher by `plain`.

    `plain(params, z0) -> (zK, log_det)` is the same map as a formula that autograd can trace.
    """
    names = list(params)
    zK_log_det = _written(
        z0,
        *(params[name] for name in names),
        bijection=bijection,
        plain=plain,
        names=names,
        tape=[],
    )
    return zK_log_det[0], zK_log_det[1]


def sum_rows_unless(per_row: bool, g: Array) -> Array:
    """The gradient of a global parameter is the sum over rows; of a per-row one, each row's own."""
    return g.copy() if per_row else g.sum(axis=0)  # a copy: g may be the caller's own


# ------------------------------------------------------------------------------- the small maps
class Affine(Bijection):
    r"""Shift and scale each coordinate: a mean-field Gaussian when the base is a standard normal.

    $z_K = \mu + e^{s} \odot z_0, \qquad \ln|\det| = \sum_i s_i$

    params: mean $\mu$ (d,) and log_scale $s$ (d,), or (n, d) each for one set per row.
    Errors: ValueError on dim < 1, wrong shapes, NaN or inf.

    >>> f = Affine(2)
    >>> params = {"mean": onp.array([1.0, 0.0]), "log_scale": onp.array([0.0, 1.0])}
    >>> zK, log_det = f.forward_and_log_det(params, onp.ones((1, 2)))
    >>> zK.round(4), log_det
    (array([[2.    , 2.7183]]), array([1.]))

    Source: Rezende & Mohamed (2015), section 4.2, q_0 = N(mu(x), diag(sigma^2(x))).
    """

    def __init__(self, dim: int) -> None:
        self.dim = check_dim(dim)
        self.shapes = {"mean": (dim,), "log_scale": (dim,)}

    def init(self, rng: onp.random.Generator) -> dict:
        """The identity: mean 0 and scale 1."""
        return {"mean": onp.zeros(self.dim), "log_scale": onp.zeros(self.dim)}

    def forward_and_log_det(self, params: dict, z0: Array) -> tuple[Array, Array]:
        check_points(z0, self.dim, "z0")
        check_params(self, params, self.shapes, len(z0))
        mean, s = params["mean"], params["log_scale"]
        return mean + np.exp(s) * z0, np.sum(s + 0 * z0, axis=1)

    def inverse_and_log_det(self, params: dict, zK: Array) -> tuple[Array, Array]:
        check_points(zK, self.dim, "zK")
        check_params(self, params, self.shapes, len(zK))
        mean, s = params["mean"], params["log_scale"]
        return (zK - mean) * np.exp(-s), -np.sum(s + 0 * zK, axis=1)

    def forward_with_pullback(self, params: dict, z0: Array) -> tuple[Array, Array, Pullback]:
        zK, log_det = self.forward_and_log_det(params, z0)
        scale, per_row = onp.exp(params["log_scale"]), params["mean"].ndim == 2

        def pullback(g_zK: Array, g_log_det: Array) -> tuple[dict, Array]:
            g_z0 = g_zK * scale
            g_s = g_z0 * z0 + g_log_det[:, None]  # ds moves z_K by e^s z_0 and log_det by 1
            return {
                "mean": sum_rows_unless(per_row, g_zK),
                "log_scale": sum_rows_unless(per_row, g_s),
            }, g_z0

        return zK, log_det, pullback

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
    >>> zK, log_det = f.forward_and_log_det(f.init(onp.random.default_rng(0)), onp.ones((4, 3)))
    >>> zK.shape, log_det
    ((4, 3), array([0., 0., 0., 0.]))

    Source: the reparameterized Gaussian of Rezende & Mohamed (2015), section 2, full covariance.
    """

    def __init__(self, dim: int) -> None:
        self.dim = check_dim(dim)
        self.shapes = {"mean": (dim,), "log_diag": (dim,), "lower": (dim, dim)}

    def init(self, rng: onp.random.Generator) -> dict:
        """The identity."""
        return {name: onp.zeros(shape) for name, shape in self.shapes.items()}

    def matrix(self, params: dict) -> Array:
        """L, shape (d, d) or (n, d, d)."""
        s = params["log_diag"]
        eye = onp.eye(self.dim, dtype=s.dtype)
        below = onp.tril(onp.ones_like(eye), -1)
        return params["lower"] * below + np.exp(s)[..., None] * eye

    def forward_and_log_det(self, params: dict, z0: Array) -> tuple[Array, Array]:
        check_points(z0, self.dim, "z0")
        check_params(self, params, self.shapes, len(z0))
        L_z0 = np.matmul(self.matrix(params), z0[..., None])[..., 0]
        return params["mean"] + L_z0, np.sum(params["log_diag"] + 0 * z0, axis=1)

    def inverse_and_log_det(self, params: dict, zK: Array) -> tuple[Array, Array]:
        check_points(zK, self.dim, "zK")
        check_params(self, params, self.shapes, len(zK))
        s, A = params["log_diag"], params["lower"]
        z0 = 0 * zK[:, :0]
        for i in range(self.dim):  # forward substitution: row i of L z_0 = z_K - mean
            moved = np.sum(A[..., i, :i] * z0, axis=1)
            z_i = (zK[:, i] - params["mean"][..., i] - moved) * np.exp(-s[..., i])
            z0 = np.concatenate([z0, z_i[:, None]], axis=1)
        return z0, -np.sum(s + 0 * zK, axis=1)

    def forward_with_pullback(self, params: dict, z0: Array) -> tuple[Array, Array, Pullback]:
        zK, log_det = self.forward_and_log_det(params, z0)
        L, per_row = self.matrix(params), params["mean"].ndim == 2

        def pullback(g_zK: Array, g_log_det: Array) -> tuple[dict, Array]:
            g_L = g_zK[:, :, None] * z0[:, None, :] if per_row else g_zK.T @ z0
            on_diagonal = onp.diagonal(g_L, axis1=-2, axis2=-1) * onp.exp(params["log_diag"])
            g_z0 = onp.matmul(g_zK[:, None, :], L)[:, 0]
            return {
                "mean": sum_rows_unless(per_row, g_zK),
                "log_diag": on_diagonal + (g_log_det[:, None] if per_row else g_log_det.sum()),
                "lower": onp.tril(g_L, -1),
            }, g_z0

        return zK, log_det, pullback

    def __repr__(self) -> str:
        return f"TriangularAffine({self.dim})"


class Permute(Bijection):
    r"""Reorder the coordinates: $z_{K,i} = z_{0,\pi(i)}$, log-det 0, nothing learned.

    Parameters
    ----------
    order : pi, a permutation of 0..d-1; ValueError otherwise.

    >>> Permute([2, 0, 1]).forward({}, onp.array([[10.0, 20.0, 30.0]]))
    array([[30., 10., 20.]])

    Source: Rezende & Mohamed (2015), section 5.1 (NICE-perm); Dinh et al. (2014).
    """

    def __init__(self, order: list[int] | Array) -> None:
        self.order = onp.asarray(order)
        self.dim = check_dim(self.order.size)
        if not onp.array_equal(onp.sort(self.order), onp.arange(self.dim)):
            raise ValueError(f"order: expected a permutation of 0..{self.dim - 1}, got {order}")

    def init(self, rng: onp.random.Generator) -> dict:
        """No parameters."""
        return {}

    def forward_and_log_det(self, params: dict, z0: Array) -> tuple[Array, Array]:
        check_points(z0, self.dim, "z0")
        check_params(self, params, {}, len(z0))
        return z0[:, self.order], 0 * z0[:, 0]

    def inverse_and_log_det(self, params: dict, zK: Array) -> tuple[Array, Array]:
        check_points(zK, self.dim, "zK")
        check_params(self, params, {}, len(zK))
        return zK[:, onp.argsort(self.order)], 0 * zK[:, 0]

    def forward_with_pullback(self, params: dict, z0: Array) -> tuple[Array, Array, Pullback]:
        zK, log_det = self.forward_and_log_det(params, z0)
        back = onp.argsort(self.order)
        return zK, log_det, lambda g_zK, g_log_det: ({}, g_zK[:, back])

    def __repr__(self) -> str:
        return f"Permute({self.order.tolist()})"


class Orthogonal(Bijection):
    r"""Rotate (or reflect) by a fixed orthogonal matrix: $z_K = Q z_0$, log-det 0, not learned.

    Parameters
    ----------
    matrix : Q, shape (d, d), with Q Q^T = I; ValueError otherwise. `Orthogonal.random(dim, rng)`
        takes it from the QR decomposition of a Gaussian matrix.

    >>> f = Orthogonal.random(3, onp.random.default_rng(0))
    >>> z = onp.ones((1, 3))
    >>> bool(onp.allclose(onp.linalg.norm(f.forward({}, z)), onp.linalg.norm(z)))
    True

    Source: Rezende & Mohamed (2015), section 5.1 (NICE-orth).
    """

    def __init__(self, matrix: Array) -> None:
        if onp.ndim(matrix) != 2:
            raise ValueError(f"matrix: expected shape (d, d), got {onp.shape(matrix)}")
        self.matrix = check_orthogonal(matrix, "matrix")
        self.dim = check_dim(len(self.matrix))

    @classmethod
    def random(cls, dim: int, rng: onp.random.Generator) -> "Orthogonal":
        """Q uniform over the orthogonal group: QR of a Gaussian, signs fixed by R's diagonal."""
        Q, R = onp.linalg.qr(rng.standard_normal((check_dim(dim), dim)))
        return cls(Q * onp.sign(onp.diag(R)))

    def init(self, rng: onp.random.Generator) -> dict:
        """No parameters."""
        return {}

    def forward_and_log_det(self, params: dict, z0: Array) -> tuple[Array, Array]:
        check_points(z0, self.dim, "z0")
        check_params(self, params, {}, len(z0))
        return np.dot(z0, self.matrix.T.astype(z0.dtype)), 0 * z0[:, 0]

    def inverse_and_log_det(self, params: dict, zK: Array) -> tuple[Array, Array]:
        check_points(zK, self.dim, "zK")
        check_params(self, params, {}, len(zK))
        return np.dot(zK, self.matrix.astype(zK.dtype)), 0 * zK[:, 0]

    def forward_with_pullback(self, params: dict, z0: Array) -> tuple[Array, Array, Pullback]:
        zK, log_det = self.forward_and_log_det(params, z0)
        Q = self.matrix.astype(z0.dtype)
        return zK, log_det, lambda g_zK, g_log_det: ({}, g_zK @ Q)

    def __repr__(self) -> str:
        return f"Orthogonal(dim={self.dim})"


class Chain(Bijection):
    r"""Compose maps, the first listed applied first: $z_K = f_K \circ \dots \circ f_1(z_0)$.

    $\ln|\det| = \sum_k \ln|\det \partial f_k / \partial z_{k-1}|$; params is a list, one entry
    per map. Errors: ValueError on an empty list, differing dims, or params of another length.

    >>> flow = Chain([Affine(2), Permute([1, 0])])
    >>> len(flow.init(onp.random.default_rng(0)))
    2

    Source: Rezende & Mohamed (2015), eqs. (6) and (7).
    """

    def __init__(self, maps: list[Bijection]) -> None:
        self.maps = list(maps)
        dims = [f.dim for f in self.maps]
        if len(set(dims)) != 1:
            raise ValueError(f"maps: expected one or more maps of one dim, got dims {dims}")
        self.dim = dims[0]

    def init(self, rng: onp.random.Generator) -> list:
        """One entry per map."""
        return [f.init(rng) for f in self.maps]

    def _paired(self, params: list) -> list[tuple[Bijection, Params]]:
        length = len(params) if hasattr(params, "__len__") else None
        if isinstance(untraced(params), dict) or length != len(self.maps):
            raise ValueError(
                f"params of {self}: expected a list with one entry for each of the "
                f"{len(self.maps)} maps, got a {type(params).__name__} of length {length}"
            )
        return [(f, params[k]) for k, f in enumerate(self.maps)]

    def forward_and_log_det(self, params: list, z0: Array) -> tuple[Array, Array]:
        z, log_det = z0, 0.0
        for f, p in self._paired(params):
            z, term = f.forward_and_log_det(p, z)
            log_det = log_det + term
        return z, log_det

    def forward(self, params: list, z0: Array) -> Array:
        z = z0
        for f, p in self._paired(params):
            z = f.forward(p, z)
        return z

    def inverse_and_log_det(self, params: list, zK: Array) -> tuple[Array, Array]:
        z, log_det = zK, 0.0
        for f, p in reversed(self._paired(params)):
            z, term = f.inverse_and_log_det(p, z)
            log_det = log_det + term
        return z, log_det

    def forward_with_pullback(self, params: list, z0: Array) -> tuple[Array, Array, Pullback]:
        return self.sweep(params, z0, lambda f, p, z: f.forward_with_pullback(p, z))

    def sweep(
        self, params: list, z0: Array, step: Callable[..., tuple[Array, Array, Pullback]]
    ) -> tuple[Array, Array, Pullback]:
        """Call step(map, its params, z) map after map, and compose the pullbacks."""
        z, log_det, pullbacks = z0, 0.0, []
        for f, p in self._paired(params):
            z, term, pullback = step(f, p, z)
            log_det = log_det + term
            pullbacks.append(pullback)

        def chain_pullback(g_zK: Array, g_log_det: Array) -> tuple[list, Array]:
            g_z, g_params = g_zK, []
            for pullback in reversed(pullbacks):  # g_log_det reaches every map: it is a sum
                g_p, g_z = pullback(g_z, g_log_det)
                g_params.append(g_p)
            return g_params[::-1], g_z

        return z, log_det, chain_pullback

    def __repr__(self) -> str:
        return f"Chain({self.maps})"


class Inverse(Bijection):
    r"""Swap the directions of a map: forward is $f^{-1}$, inverse is $f$.

    >>> f = Inverse(Affine(1))
    >>> params = {"mean": onp.array([3.0]), "log_scale": onp.array([0.0])}
    >>> f.forward(params, onp.array([[3.0]]))
    array([[0.]])

    Source: Rezende & Mohamed (2015), eq. (5), read from right to left.
    """

    def __init__(self, bijection: Bijection) -> None:
        self.bijection, self.dim = bijection, bijection.dim

    def init(self, rng: onp.random.Generator) -> Params:
        """The parameters of the map itself."""
        return self.bijection.init(rng)

    def forward_and_log_det(self, params: Params, z0: Array) -> tuple[Array, Array]:
        return self.bijection.inverse_and_log_det(params, z0)

    def inverse_and_log_det(self, params: Params, zK: Array) -> tuple[Array, Array]:
        return self.bijection.forward_and_log_det(params, zK)

    def __repr__(self) -> str:
        return f"Inverse({self.bijection})"
