r"""How the score $s = \nabla_z \ln q(z)$ travels through a flow: what a path gradient needs.

Differentiate $\ln q_K(f(z_0)) = \ln q_0(z_0) - \ln|\det J(z_0)|$ by $z_0$, with $J$ the Jacobian
of f: $J^\top s_K = s_0 - \nabla_{z_0} \ln|\det J|$. The score at z_K follows from the score at z_0
without an inverse of f, one map after the other.
"""

from functools import singledispatch

import numpy as np

from nflib_min import sweeps
from nflib_min._arrays import Array, Params
from nflib_min.bijections import (
    Affine,
    Bijection,
    Chain,
    Orthogonal,
    Permute,
    Pullback,
    TriangularAffine,
)
from nflib_min.coupling import Coupling
from nflib_min.distributions import StandardNormal, Uniform
from nflib_min.planar import Planar
from nflib_min.radial import Radial


def base_score(base: StandardNormal | Uniform, z0: Array) -> Array:
    r"""$\nabla \ln q_0(z_0)$, shape (n, d): $-z_0$ for the standard normal, 0 inside a cube.

    >>> base_score(StandardNormal(2), np.array([[1.0, -2.0]]))
    array([[-1.,  2.]])

    Source: Rezende & Mohamed (2015), section 4.2, q_0 = N(0, I).
    """
    return -z0 if isinstance(base, StandardNormal) else np.zeros_like(z0)


@singledispatch
def push_score(f: Bijection, params: Params, z0: Array, s0: Array) -> tuple[Array, Array]:
    r"""z_K = f(z_0) and the score s_K there, from the score s_0 at z_0; both (n, d).

    $s_K = J^{-\top} \left(s_0 - \nabla_{z_0} \ln|\det J|\right)$

    Any map: its pullback gives the gradient of the log-determinant in one sweep and the rows of J
    in d more, and a solve costs O(d^3) a point. The maps that a posterior is fitted with need none
    of that: shifts, permutations and rotations are linear; planar layers cost a second forward
    pass; couplings, which are triangular, a forward and a reverse pass of their networks.
    Errors: ValueError as of the map itself; LinAlgError where J is singular to rounding.

    >>> params = {"mean": np.zeros(1), "log_scale": np.array([np.log(2.0)])}
    >>> push_score(Affine(1), params, np.array([[1.0]]), np.array([[-1.0]]))  # N(0, 2^2) at 2
    (array([[2.]]), array([[-0.5]]))

    Source: Vaitl, Nicoli, Nakajima & Kessel, Gradients should stay on path (2022), section 4.
    """
    zK, log_det, pullback = f.forward_with_pullback(params, z0)
    right = s0 - pullback(np.zeros_like(zK), np.ones_like(log_det))[1]
    rows = [
        # a copy: the next call of a written pullback may reuse the arrays of this one
        pullback(np.broadcast_to(e, zK.shape).copy(), np.zeros_like(log_det))[1].copy()
        for e in np.eye(f.dim, dtype=z0.dtype)
    ]
    transposed = np.stack(rows, axis=2)  # J^T: row j of J, the gradient of z_K,j, as column j
    return zK, np.linalg.solve(transposed, right[:, :, None])[:, :, 0]


@singledispatch
def forward_with_score(
    f: Bijection, params: Params, z0: Array, s0: Array
) -> tuple[Array, Array, Pullback, Array]:
    """z_K, log_det and the pullback of f, and the score s_K of `push_score`, in one sweep.

    Any map takes the two calls; planar layers with one set of parameters a row and the couplings
    of an inference network gather the score on their way, at a few hundredths of a step.

    >>> params = {"mean": np.zeros(1), "log_scale": np.array([np.log(2.0)])}
    >>> z0 = np.array([[1.0]])
    >>> forward_with_score(Affine(1), params, z0, -z0)[3]
    array([[-0.5]])

    Source: Vaitl, Nicoli, Nakajima & Kessel (2022), section 4.
    """
    return *f.forward_with_pullback(params, z0), push_score(f, params, z0, s0)[1]


@forward_with_score.register
def _(f: Chain, params: list, z0: Array, s0: Array) -> tuple[Array, Array, Pullback, Array]:
    score = s0

    def sweep(g: Bijection, p: Params, z: Array) -> tuple[Array, Array, Pullback]:
        nonlocal score
        zK, log_det, pullback, score = forward_with_score(g, p, z, score)
        return zK, log_det, pullback

    return *f.sweep(params, z0, sweep), score


@forward_with_score.register
def _(f: Affine, params: dict, z0: Array, s0: Array) -> tuple[Array, Array, Pullback, Array]:
    return *f.forward_with_pullback(params, z0), s0 * np.exp(-params["log_scale"])


@forward_with_score.register
def _(f: Planar, params: dict, z0: Array, s0: Array) -> tuple[Array, Array, Pullback, Array]:
    if f.check(params, z0):
        return sweeps.planar_per_row(f.fast_m, params, z0, s0)
    return *f.forward_with_pullback(params, z0), push_score(f, params, z0, s0)[1]


@push_score.register
def _(f: Chain, params: list, z0: Array, s0: Array) -> tuple[Array, Array]:
    z, s = z0, s0
    for g, p in zip(f.maps, params, strict=True):
        z, s = push_score(g, p, z, s)
    return z, s


@push_score.register
def _(f: Affine, params: dict, z0: Array, s0: Array) -> tuple[Array, Array]:
    return f.forward(params, z0), s0 * np.exp(-params["log_scale"])


@push_score.register
def _(f: TriangularAffine, params: dict, z0: Array, s0: Array) -> tuple[Array, Array]:
    transposed = np.swapaxes(f.matrix(params), -1, -2)
    if transposed.ndim == 2:  # one solve for all points
        return f.forward(params, z0), np.linalg.solve(transposed, s0.T).T
    return f.forward(params, z0), np.linalg.solve(transposed, s0[:, :, None])[:, :, 0]


@push_score.register(Permute)
@push_score.register(Orthogonal)
def _(
    f: Permute | Orthogonal, params: dict, z0: Array, s0: Array
) -> tuple[Array, Array]:  # J^-T = J for an orthogonal J
    return f.forward(params, z0), f.forward(params, s0)


@push_score.register
def _(f: Planar, params: dict, z0: Array, s0: Array) -> tuple[Array, Array]:
    r"""J = I + h' u w^T, so $J^{-\top} v = v - w\, h' (u^\top v) / \det$ by Sherman-Morrison, and
    $\nabla \ln\det = c h'' w / \det$ with h'' = -2 h h': every change of the score is along w."""
    if params["b"].ndim == 2:
        zK, _, _, sK = sweeps.planar_per_row(f.fast_m, params, z0, s0)
        return zK, sK
    w, b = params["w"], params["b"]
    hats, cs, c_plus_1, _ = sweeps.constrain(params["u"][..., None], w[..., None], f.fast_m)
    z, s = z0.T.copy(), s0.T.copy()  # (d, n) inside the loop
    for k, u in enumerate(hats[..., 0]):
        c = cs[k, 0]
        h = np.tanh(w[k] @ z + b[k])
        slope = 1 - h * h
        det = 1 + c * slope if c > 0 else c_plus_1[k, 0] - c * h * h
        bend = 2 * c * h * slope / det  # - grad ln det = bend w
        s += w[k][:, None] * (bend - slope * (u @ s + bend * c) / det)
        z += u[:, None] * h
    return z.T.copy(), s.T.copy()


@push_score.register
def _(f: Radial, params: dict, z0: Array, s0: Array) -> tuple[Array, Array]:
    r"""With $x = z - z_{ref}$, $r = |x|$, $e = x / r$ and $q = (r + s) / (r + \alpha)$, J scales by
    $D = \partial(r q) / \partial r = (r^2 + 2 \alpha r + \alpha s) h^2$ along e and by q across,
    $h = 1 / (r + \alpha)$. As $q' = (\alpha - s) h^2$ and $D' = 2 h (1 - D)$, the gradient of
    ln det is $e\,((d - 1) q' / q + D' / D)$."""
    z, s_z = z0, s0
    for k in range(f.length):
        z_ref, alpha, s = f.layer(params, k)
        x = z - z_ref
        r = np.sqrt(np.einsum("nd,nd->n", x, x))
        e = x / np.where(r > 0, r, 1)[:, None]
        h = 1 / (r + alpha)
        q, D = (r + s) * h, (r * (r + 2 * alpha) + alpha * s) * h * h
        g_log_det = (f.dim - 1) * (alpha - s) * h * h / q + 2 * h * (1 - D) / D
        along = np.einsum("nd,nd->n", e, s_z)
        s_z = s_z / q[:, None] + e * (along * (1 / D - 1 / q) - g_log_det / D)[:, None]
        z = z_ref + x * q[:, None]
    return z, s_z


@push_score.register
def _(f: Coupling, params: dict, z0: Array, s0: Array) -> tuple[Array, Array]:
    r"""$z_B' = e^{s} z_B + t$: the scores obey $\sigma_B' = e^{-s} \sigma_B$ and $\sigma_A' =
    \sigma_A - (\partial z_B' / \partial z_A)^\top \sigma_B' - \nabla_{z_A} \sum_i s_i$, and the
    network's own pullback gives the last two terms together."""
    if params["b0"].ndim == 3:
        return push_score.dispatch(Bijection)(f, params, z0, s0)
    z, score, moved = z0, s0, f.dim - f.split
    for k in range(f.length):
        z_A, z_B = z[:, : f.split], z[:, f.split :]
        out, pullback = f.network.with_pullback({name: p[k] for name, p in params.items()}, z_A)
        g_out = np.empty_like(out)
        if f.affine:
            half = np.tanh(0.5 * out[:, moved:])
            scale = np.exp(2 * half)
            g_out[:, :moved] = score_B = score[:, f.split :] / scale
            scaled = scale * z_B
            g_out[:, moved:] = (score_B * scaled + 1) * (1 - half * half)
        else:
            scaled = z_B
            g_out[:] = score_B = score[:, f.split :]
        score_A = score[:, : f.split] - pullback(g_out)[1]
        Q = f.mixing[k].T.astype(z0.dtype)
        z = np.concatenate([z_A, scaled + out[:, :moved]], axis=1) @ Q
        score = np.concatenate([score_A, score_B], axis=1) @ Q
    return z, score
