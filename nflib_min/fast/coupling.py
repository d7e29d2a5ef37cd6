r"""Coupling stacks, global parameters: all layers' networks in preallocated columns."""

from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np

from nflib_min._arrays import Array
from nflib_min.coupling import Coupling
from nflib_min.fast.buffers import acquire
from nflib_min.pullback import register


class Layer:
    """The rows that one layer keeps for the way back, sliced once; a row of ones is for bias."""

    def __init__(self, z: Array, z_next: Array, s: Array, split: int, hidden: tuple) -> None:
        self.z, self.z_next, self.B = z, z_next, z[split + 1 :]  # z = A, 1, B
        self.x = [z[: split + 1], *(np.ones((size + 1, z.shape[1]), z.dtype) for size in hidden)]
        self.H, self.s = [x[:-1] for x in self.x[1:]], s
        self.T, self.scale, self.grown = np.empty((3, *s.shape), z.dtype)  # tanh(a / 2), e^s, e^s B


def make_layers(K: int, split: int, moved: int, hidden: tuple, n: int, dtype: np.dtype) -> tuple:
    """What one sweep writes to: states of all layers, layers, and rows for g."""
    Z, S = np.ones((K + 1, split + 1 + moved, n), dtype), np.empty((K, moved, n), dtype)
    layers = [Layer(*at, split, hidden) for at in zip(Z, Z[1:], S, strict=False)]
    g, work = np.empty((2 * moved, n), dtype), np.empty((moved, n), dtype)
    rows = [tuple(np.empty((2, size, n), dtype)) for size in hidden]
    return Z, S, layers, (g, g[:moved], g[moved:], work), rows


MIXINGS: WeakKeyDictionary[Coupling, dict] = WeakKeyDictionary()


def with_ones(f: Coupling, dtype: np.dtype) -> Array:
    """Q for the rows (A, 1, B), computed once a map: the row of ones stays where it is."""
    made = MIXINGS.setdefault(f, {})
    if dtype in made:
        return made[dtype]
    d, split = f.dim, f.split
    rows = np.arange(d) + (np.arange(d) >= split)
    wide = np.zeros((f.length, d + 1, d + 1), dtype)
    wide[:, split, split] = 1
    wide[:, rows[:, None], rows] = f.mixing
    made[dtype] = wide
    return wide


def times_slope(g: Array, h: Array, work: Array) -> None:
    """g <- g (1 - h^2), the way back through h = tanh, as g - h (h g): nothing is broadcast."""
    np.multiply(g, h, out=work)
    np.multiply(work, h, out=work)
    np.subtract(g, work, out=g)


def sweep(
    f: Coupling, params: dict, z0: Array, s0: Array | None = None, weight: float | Array = 1.0
) -> tuple[Array, Array, Callable, Array | None]:
    r"""A stack of coupling layers with its pullback.

    Forward, for k = 1..K, columns (d, n), z = (A, B): H_1 = tanh(W_0^T A + b_0), H_2 = tanh(W_1^T
    H_1 + b_1), ..., (t, a) = W_L^T H_L + b_L, T = tanh(a / 2), s = 2 T, z_k = Q (A, e^s B + t), and
    log_det gathers the sum of s over its rows. Additive layers have no a, and e^s = 1. A row of
    ones below A and below every H_i makes b_i one more row of W_i; so Q has a row for it, too.

    Back, with G = Q^T dF/dz_k = (G_A, G_B) and l = dF/dlog_det:
        dF/dt = G_B,  dF/ds = G_B e^s B + l,  dF/da = (1 - T^2) dF/ds  (as ds/da = 1 - T^2)
        through the network, from g = dF/d(t, a): dF/dW_i = H_i g^T, dF/db_i = sum g, and
        g <- (1 - H_i^2) (W_i g), down to i = 0, where H_0 = A and no tanh stands between
        G <- (G_A + W_0 g, e^s G_B).

    The score: sigma_B <- e^-s sigma_B, and sigma_A loses what the same way back through the
    network, from g = (sigma_B, (1 - T^2) (sigma_B e^s B + 1)), brings to A; then Q.
    """
    depth, affine = f.network.depth, f.affine
    W, b = ([params[f"{p}{i}"] for i in range(depth)] for p in "Wb")
    K, split, n, dtype = f.length, f.split, len(z0), z0.dtype
    moved, mixing = f.dim - split, with_ones(f, dtype)
    lease = acquire(make_layers, K, split, moved, f.hidden, n, dtype)
    Z, S, layers, _, _ = lease.buffers
    Wb = [np.concatenate([w, v[:, None]], axis=1).swapaxes(1, 2) for w, v in zip(W, b, strict=True)]
    Z[0, :split], Z[0, split + 1 :] = z0.T[:split], z0.T[split:]
    if affine:
        Wb[-1][:, moved:] *= 0.5  # a / 2
    for k, layer in enumerate(layers):
        for i, h in enumerate(layer.H):
            np.tanh(Wb[i][k].dot(layer.x[i], out=h), out=h)
        out = Wb[-1][k].dot(layer.x[-1])
        if affine:
            T = np.tanh(out[moved:], out=layer.T)
            np.add(T, T, out=layer.s)
            np.exp(layer.s, out=layer.scale)
            np.multiply(layer.scale, layer.B, out=layer.grown)
            np.add(layer.grown, out[:moved], out=layer.B)
        else:
            np.add(layer.B, out, out=layer.B)
        mixing[k].dot(layer.z, out=layer.z_next)
    log_det = S.reshape(K * moved, n).sum(axis=0) if affine else np.zeros(n, dtype)

    def score(s0: Array) -> Array:
        _, _, _, (g_out, g_t, g_a, work_a), rows = lease.buffers
        s = np.zeros_like(Z[0])
        s[:split], s[split + 1 :] = s0.T[:split], s0.T[split:]
        for k, layer in enumerate(layers):
            s_B = s[split + 1 :]
            g = s_B
            if affine:
                s_B /= layer.scale
                g, g_t[:] = g_out, s_B
                np.multiply(s_B, layer.grown, out=g_a)
                g_a += weight
                times_slope(g_a, layer.T, work_a)
            for i in range(depth - 1, 0, -1):
                g_h, work = rows[i - 1]
                g = W[i][k].dot(g, out=g_h)
                times_slope(g, layer.H[i - 1], work)
            s[:split] -= W[0][k].dot(g)
            s = mixing[k].dot(s)
        return np.concatenate([s[:split], s[split + 1 :]]).T

    def pullback(g_zK: Array, g_log_det: Array) -> tuple[dict, Array]:
        with lease.lock:  # the closure also keeps the lease, so that nobody else gets the buffers
            return back(g_zK, g_log_det)

    def back(g_zK: Array, g_log_det: Array) -> tuple[dict, Array]:
        _, _, layers, (g_out, g_t, g_a, work_a), rows = lease.buffers
        g_Wb = [np.empty((K, w.shape[1] + 1, w.shape[2]), dtype) for w in W]
        G = np.zeros_like(Z[K])
        G[:split], G[split + 1 :] = g_zK.T[:split], g_zK.T[split:]
        for k in range(K - 1, -1, -1):
            layer, G = layers[k], mixing[k].T.dot(G)
            g = G_B = G[split + 1 :]
            if affine:
                g, g_t[:] = g_out, G_B
                np.multiply(G_B, layer.grown, out=g_a)
                np.add(g_a, g_log_det, out=g_a)
                times_slope(g_a, layer.T, work_a)
                np.multiply(G_B, layer.scale, out=G_B)
            for i in range(depth - 1, 0, -1):
                layer.x[i].dot(g.T, out=g_Wb[i][k])
                g_h, work = rows[i - 1]
                g = W[i][k].dot(g, out=g_h)
                times_slope(g, layer.H[i - 1], work)
            layer.x[0].dot(g.T, out=g_Wb[0][k])
            G[:split] += W[0][k].dot(g)
        g_params: dict[str, Array] = {}
        for i, g in enumerate(g_Wb):
            g_params |= {f"W{i}": g[:, :-1], f"b{i}": g[:, -1]}
        return g_params, np.concatenate([G[:split], G[split + 1 :]]).T

    zK = np.concatenate([Z[K, :split], Z[K, split + 1 :]]).T
    return zK, log_det, pullback, None if s0 is None else score(s0)


register(
    Coupling,
    sweep,
    forward=lambda f, params, z0, log_det: f.forward_formula(params, z0),
    per_row=False,
)
