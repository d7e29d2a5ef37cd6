"""A flow is a base density pushed through a bijection: sample it, or evaluate it anywhere."""

import numpy as np

from nflib_min._arrays import Array, Params, check_dim, untraced
from nflib_min.bijections import Bijection
from nflib_min.distributions import StandardNormal, Uniform


class Flow:
    r"""The density q_K of $z_K = f(z_0)$ with $z_0 \sim q_0$.

    $\ln q_K(z_K) = \ln q_0(z_0) - \ln|\det \partial f / \partial z_0|$ (7)

    Parameters
    ----------
    base : q_0, fixed. bijection : f, with all that is learned. ValueError if their dims differ.

    >>> from nflib_min import Affine, Chain, Planar, StandardNormal
    >>> rng = np.random.default_rng(0)
    >>> flow = Flow(StandardNormal(2), Chain([Affine(2), Planar(2, length=8)]))
    >>> params = flow.init(rng)
    >>> zK, log_q = flow.sample_and_log_prob(params, 1000, rng)
    >>> bool(abs(flow.log_prob(params, zK) - log_q).max() < 1e-10)  # by the true inverse
    True

    Source: Rezende & Mohamed (2015), eqs. (6) and (7).
    """

    def __init__(self, base: StandardNormal | Uniform, bijection: Bijection) -> None:
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
        z0 = self.base.sample(check_dim(n, "n"), rng, dtype_of(params))
        return self.bijection.forward(params, z0)

    def sample_and_log_prob(
        self, params: Params, n: int, rng: np.random.Generator
    ) -> tuple[Array, Array]:
        """Draw z_K, shape (n, d), with ln q_K(z_K), shape (n,), in nats: no inverse is needed."""
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
