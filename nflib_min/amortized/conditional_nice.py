"""NICE inside an inference network: additive couplings whose hidden units are shifted by x."""

import math

import autograd.numpy as anp
import numpy as np

from nflib_min._arrays import Array, check_dim, check_finite, check_points, describe, untraced
from nflib_min.bijections import Bijection
from nflib_min.coupling import mixing_order
from nflib_min.pullback import Pullback, register


class ConditionalNICE(Bijection):
    r"""K additive couplings whose hidden units are shifted by x: NICE inside an inference network.

    $z_k = Q_k\,(z_A,\; z_B + V_k^\top \tanh(W_k^\top z_A + b_k(x)))$, which preserves volume:
    $\ln|\det| = 0$. z_A is the first floor(d/2) coordinates, Q_k a fixed random permutation.

    Parameters
    ----------
    dim : d, at least 2. length : K. rng : draws the permutations, once. hidden : units H a layer.

    params: W (K, A, H), V (K, H, B), and b (K, H) or, one set a row, (n, K, H).
    Errors: ValueError on dim < 2, wrong shapes, NaN or inf.

    >>> f = ConditionalNICE(4, length=2, rng=np.random.default_rng(0), hidden=8)
    >>> zK, log_det = f.forward_and_log_det(f.init(np.random.default_rng(1)), np.ones((3, 4)))
    >>> zK.shape, log_det
    ((3, 4), array([0., 0., 0.]))

    Source: Rezende & Mohamed (2015), eqs. (16)-(17), with amortized b; Dinh et al., NICE (2014).
    """

    amortized = ("b",)

    def __init__(self, dim: int, length: int, rng: np.random.Generator, hidden: int = 40) -> None:
        self.dim, self.length = check_dim(dim, least=2), check_dim(length, "length")
        self.split = dim // 2
        self.orders = [mixing_order(dim, rng) for _ in range(length)]
        self.shapes = {
            "W": (length, self.split, check_dim(hidden, "hidden")),
            "V": (length, hidden, dim - self.split),
            "b": (length, hidden),
        }

    def init(self, rng: np.random.Generator) -> dict:
        """W ~ N(0, 1/A), b ~ N(0, 1), and V small: near the identity, times the permutations."""
        W, V, b = (rng.standard_normal(shape) for shape in self.shapes.values())
        return {"W": W / math.sqrt(self.split), "V": 0.01 * V, "b": b}

    def forward_formula(self, params: dict, z0: Array) -> tuple[Array, Array]:
        z = z0
        for k, order in enumerate(self.orders):
            h = anp.tanh(anp.dot(z[:, : self.split], params["W"][k]) + params["b"][..., k, :])
            moved = z[:, self.split :] + anp.dot(h, params["V"][k])
            z = anp.concatenate([z[:, : self.split], moved], axis=1)[:, order]
        return z, 0 * z0[:, 0]

    def inverse_formula(self, params: dict, zK: Array) -> tuple[Array, Array]:
        z = zK
        for k in reversed(range(self.length)):
            z = z[:, np.argsort(self.orders[k])]
            h = anp.tanh(anp.dot(z[:, : self.split], params["W"][k]) + params["b"][..., k, :])
            moved = z[:, self.split :] - anp.dot(h, params["V"][k])
            z = anp.concatenate([z[:, : self.split], moved], axis=1)
        return z, 0 * zK[:, 0]

    def sweep(
        self, params: dict, z0: Array, s0: Array | None = None, weight: float | Array = 1.0
    ) -> tuple[Array, Array, Pullback, Array | None]:
        r"""Back through a layer, with G = dF/dz_k Q_k: e = (G_B V^T) (1 - h^2) is dF/d(b_k), then
        dF/dW = z_A^T e, dF/dV = h^T G_B and G_A <- G_A + e W^T.

        The score s_K if s_0 is given: J has ones on its diagonal, so s_A <- s_A - W ((1 - h^2)
        (V s_B)), s_B stays, and Q permutes both.
        """
        W, V, b = params["W"], params["V"], params["b"]
        split, H, A, z = self.split, [], [], z0.copy()
        s = None if s0 is None else s0.copy()
        for k, order in enumerate(self.orders):
            A.append(z[:, :split])
            h = A[k] @ W[k]
            h += b[..., k, :]
            H.append(np.tanh(h, out=h))
            z[:, split:] += h @ V[k]
            z = z[:, order]
            if s is not None:
                e = s[:, split:] @ V[k].T
                e *= 1 - h * h
                s[:, :split] -= e @ W[k].T
                s = s[:, order]

        def pullback(g_zK: Array, g_log_det: Array) -> tuple[dict, Array]:
            g = {name: np.empty_like(params[name]) for name in self.shapes}
            G = g_zK
            for k in reversed(range(self.length)):
                back = np.empty_like(G)
                back[:, self.orders[k]] = G
                G, h = back, H[k]
                e = G[:, split:] @ V[k].T
                e *= 1 - h * h
                g["W"][k], g["V"][k] = A[k].T @ e, h.T @ G[:, split:]
                g["b"][..., k, :] = e if b.ndim == 3 else e.sum(axis=0)
                G[:, :split] += e @ W[k].T
            return g, G

        return z, np.zeros_like(z0[:, 0]), pullback, s

    def _check(self, params: dict, z: Array, name: str) -> bool:
        check_points(z, self.dim, name)
        plain = untraced(params)
        if not isinstance(plain, dict) or plain.keys() != self.shapes.keys():
            got = sorted(plain) if isinstance(plain, dict) else describe(plain)
            raise ValueError(f"params of {self}: expected a dict with {[*self.shapes]}, got {got}")
        for leaf, shape in self.shapes.items():
            value = untraced(plain[leaf])
            per_row = (len(z), *shape) if leaf == "b" else shape
            if np.shape(value) not in (shape, per_row):
                raise ValueError(
                    f"params[{leaf!r}] of {self}: expected shape {shape}"
                    f"{f' or {per_row}' if leaf == 'b' else ''}, got {describe(value)}"
                )
            check_finite(value, f"params[{leaf!r}] of {self}")
        return False

    def __repr__(self) -> str:
        return f"ConditionalNICE({self.dim}, length={self.length}, hidden={self.shapes['b'][1]})"


register(ConditionalNICE, ConditionalNICE.sweep)
