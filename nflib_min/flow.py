"""Maps composed, and a base density pushed through them: sample it, or evaluate it anywhere."""

from typing import Any

import numpy as np

from nflib_min._arrays import Array, Params, check_dim, check_rng, untraced
from nflib_min.bijections import Bijection
from nflib_min.pullback import Pullback


class Chain(Bijection):
    r"""Compose maps, the first listed applied first: $z_K = f_K \circ \dots \circ f_1(z_0)$.

    $\ln|\det| = \sum_k \ln|\det \partial f_k / \partial z_{k-1}|$; params is a list, one entry
    per map. Errors: ValueError on an empty list, differing dims, or params of another length.

    >>> from nflib_min import Affine, Permute
    >>> flow = Chain([Affine(2), Permute([1, 0])])
    >>> len(flow.init(np.random.default_rng(0)))
    2

    Source: Rezende & Mohamed (2015), eqs. (6) and (7).
    """

    def __init__(self, maps: list[Bijection]) -> None:
        self.maps = list(maps)
        dims = [f.dim for f in self.maps]
        if len(set(dims)) != 1:
            raise ValueError(f"maps: expected one or more maps of one dim, got dims {dims}")
        self.dim = dims[0]

    def init(self, rng: np.random.Generator) -> list:
        """One entry per map."""
        return [f.init(rng) for f in self.maps]

    def paired(self, params: list) -> list[tuple[Bijection, Params]]:
        """Each map with its parameters; ValueError unless params is a list of as many entries."""
        length = len(params) if hasattr(params, "__len__") else None
        if isinstance(untraced(params), dict) or length != len(self.maps):
            raise ValueError(
                f"params of {self}: expected a list with one entry for each of the "
                f"{len(self.maps)} maps, got a {type(params).__name__} of length {length}"
            )
        return [(f, params[k]) for k, f in enumerate(self.maps)]

    def forward_and_log_det(self, params: list, z0: Array) -> tuple[Array, Array]:
        z, log_det = z0, 0.0
        for f, p in self.paired(params):
            z, term = f.forward_and_log_det(p, z)
            log_det = log_det + term
        return z, log_det

    def forward(self, params: list, z0: Array) -> Array:
        z = z0
        for f, p in self.paired(params):
            z = f.forward(p, z)
        return z

    def inverse_and_log_det(self, params: list, zK: Array) -> tuple[Array, Array]:
        z, log_det = zK, 0.0
        for f, p in reversed(self.paired(params)):
            z, term = f.inverse_and_log_det(p, z)
            log_det = log_det + term
        return z, log_det

    def forward_with_pullback(self, params: list, z0: Array) -> tuple[Array, Array, Pullback]:
        z, log_det, pullbacks = z0, 0.0, []
        for f, p in self.paired(params):
            z, term, pullback = f.forward_with_pullback(p, z)
            log_det = log_det + term
            pullbacks.append(pullback)
        return z, log_det, _composed(pullbacks)

    def forward_with_score(
        self, params: list, z0: Array, s0: Array, weight: float | Array = 1.0
    ) -> tuple[Array, Array, Pullback, Array]:
        z, log_det, s, pullbacks = z0, 0.0, s0, []
        for f, p in self.paired(params):
            z, term, pullback, s = f.forward_with_score(p, z, s, weight)
            log_det = log_det + term
            pullbacks.append(pullback)
        return z, log_det, _composed(pullbacks), s

    def inverse_with_pullback(self, params: list, zK: Array) -> tuple[Array, Array, Pullback]:
        z, log_det, pullbacks = zK, 0.0, []
        for f, p in reversed(self.paired(params)):
            z, term, pullback = f.inverse_with_pullback(p, z)
            log_det = log_det + term
            pullbacks.append(pullback)
        back = _composed(pullbacks)

        def reordered(g_z0: Array, g_log_det: Array) -> tuple[list, Array]:
            g_params, g_zK = back(g_z0, g_log_det)
            return g_params[::-1], g_zK

        return z, log_det, reordered

    def __repr__(self) -> str:
        return f"Chain({self.maps})"


def _composed(pullbacks: list[Pullback]) -> Pullback:
    """The pullback of maps applied one after the other; g_log_det reaches each: it is a sum."""

    def pullback(g_zK: Array, g_log_det: Array) -> tuple[list, Array]:
        g_z, g_params = g_zK, []
        for of_map in reversed(pullbacks):
            g_p, g_z = of_map(g_z, g_log_det)
            g_params.append(g_p)
        return g_params[::-1], g_z

    return pullback


class Inverse(Bijection):
    r"""Swap the directions of a map: forward is $f^{-1}$, inverse is $f$.

    >>> from nflib_min import Affine
    >>> f = Inverse(Affine(1))
    >>> params = {"mean": np.array([3.0]), "log_scale": np.array([0.0])}
    >>> f.forward(params, np.array([[3.0]]))
    array([[0.]])

    Source: Rezende & Mohamed (2015), eq. (5), read from right to left.
    """

    def __init__(self, bijection: Bijection) -> None:
        self.bijection, self.dim = bijection, bijection.dim

    def init(self, rng: np.random.Generator) -> Params:
        return self.bijection.init(rng)

    def forward_and_log_det(self, params: Params, z0: Array) -> tuple[Array, Array]:
        return self.bijection.inverse_and_log_det(params, z0)

    def inverse_and_log_det(self, params: Params, zK: Array) -> tuple[Array, Array]:
        return self.bijection.forward_and_log_det(params, zK)

    def forward(self, params: Params, z0: Array) -> Array:
        return self.bijection.inverse(params, z0)

    def inverse(self, params: Params, zK: Array) -> Array:
        return self.bijection.forward(params, zK)

    def forward_with_pullback(self, params: Params, z0: Array) -> tuple[Array, Array, Pullback]:
        return self.bijection.inverse_with_pullback(params, z0)

    def inverse_with_pullback(self, params: Params, zK: Array) -> tuple[Array, Array, Pullback]:
        return self.bijection.forward_with_pullback(params, zK)

    def forward_with_score(
        self, params: Params, z0: Array, s0: Array, weight: float | Array = 1.0
    ) -> tuple[Array, Array, Pullback, Array]:
        """With the inverse's Jacobian J^-1 the score is J^T s_0 + grad ln|det J|: a pullback."""
        zK, log_det, pullback = self.bijection.inverse_with_pullback(params, z0)
        _, there, back = self.bijection.forward_with_pullback(params, zK)
        return zK, log_det, pullback, back(s0, np.zeros_like(there) + weight)[1]

    def __repr__(self) -> str:
        return f"Inverse({self.bijection})"


class Flow:
    r"""The density q_K of $z_K = f(z_0)$ with $z_0 \sim q_0$.

    $\ln q_K(z_K) = \ln q_0(z_0) - \ln|\det \partial f / \partial z_0|$ (7)

    Parameters
    ----------
    base : q_0, fixed: `StandardNormal`, `Uniform`, or any object with dim, sample(n, rng, dtype)
        and log_prob(z), written with autograd.numpy. bijection : f, with all that is learned.
        ValueError if their dims differ.

    >>> from nflib_min import Affine, Chain, Planar, StandardNormal
    >>> rng = np.random.default_rng(0)
    >>> flow = Flow(StandardNormal(2), Chain([Affine(2), Planar(2, length=8)]))
    >>> params = flow.init(rng)
    >>> zK, log_q = flow.sample_and_log_prob(params, 1000, rng)
    >>> bool(abs(flow.log_prob(params, zK) - log_q).max() < 1e-10)  # by the true inverse
    True

    Source: Rezende & Mohamed (2015), eqs. (6) and (7).
    """

    def __init__(self, base: Any, bijection: Bijection) -> None:
        if base.dim != bijection.dim:
            raise ValueError(
                f"base and bijection: expected one dim, got {base.dim} for {base} "
                f"and {bijection.dim} for {bijection}"
            )
        self.base, self.bijection, self.dim = base, bijection, base.dim

    def init(self, rng: np.random.Generator) -> Params:
        """The bijection's parameters near the identity: q_K starts close to q_0."""
        return self.bijection.init(rng)

    def sample(self, params: Params, n: int, rng: np.random.Generator) -> Array:
        """Draw z_K, shape (n, d)."""
        check_rng(rng)
        z0 = self.base.sample(check_dim(n, "n"), rng, dtype_of(params))
        return self.bijection.forward(params, z0)

    def sample_and_log_prob(
        self, params: Params, n: int, rng: np.random.Generator
    ) -> tuple[Array, Array]:
        """Draw z_K, shape (n, d), with ln q_K(z_K), shape (n,), in nats: no inverse is needed."""
        check_rng(rng)
        z0 = self.base.sample(check_dim(n, "n"), rng, dtype_of(params))
        zK, log_det = self.bijection.forward_and_log_det(params, z0)
        return zK, self.base.log_prob(z0) - log_det

    def log_prob(self, params: Params, z: Array) -> Array:
        """ln q_K at any points z, shape (n, d), through the true inverse; shape (n,), in nats."""
        z0, log_det = self.bijection.inverse_and_log_det(params, z)
        return self.base.log_prob(z0) + log_det

    def __repr__(self) -> str:
        return f"Flow({self.base}, {self.bijection})"


def dtype_of(params: Params) -> type:
    """The dtype of the first array among the parameters; float64 where there is none."""
    first = _first(params)
    return np.float64 if first is None else first.dtype.type


def _first(tree: Params) -> Array | None:
    tree = untraced(tree)
    if not isinstance(tree, (dict, list, tuple)):
        return tree
    branches = tree.values() if isinstance(tree, dict) else tree
    return next((leaf for leaf in map(_first, branches) if leaf is not None), None)
