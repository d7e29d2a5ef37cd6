r"""Islands: modes with next to nothing between them, each with a Gaussian of its own."""

import math

import autograd.numpy as anp
import numpy as np

from nflib_min._arrays import Array, check_dim, check_points, check_rng, untraced
from nflib_min.posterior.start import LOG_2PI

APART = 4.0  # in widths of a Gaussian, beyond the radius where most of its mass is: another island


class Mixture:
    r"""A mixture of normal densities, the base of a flow whose target has islands.

    $q_0(z) = \sum_k w_k\, N(z;\, m_k, L_k L_k^\top)$

    Parameters
    ----------
    weights : w, (K,), > 0; made to sum to 1. means : m, (K, d). roots : L, (K, d, d), lower
    triangular with positive diagonals. ValueError otherwise.

    >>> base = Mixture(np.ones(2), np.array([[-3.0], [3.0]]), np.ones((2, 1, 1)))
    >>> base.log_prob(np.array([[3.0]])).round(4)  # half of a standard normal's
    array([-1.6121])

    Source: separate fits put together, as by Yao, Vehtari & Gelman, Stacking for non-mixing
    Bayesian computations (2022), where predictions weigh them; here the evidence does.
    """

    def __init__(self, weights: Array, means: Array, roots: Array) -> None:
        weights, means, roots = (np.asarray(x, float) for x in (weights, means, roots))
        K, d = means.shape if means.ndim == 2 else (0, 0)
        self.dim = check_dim(d)
        if weights.shape != (K,) or roots.shape != (K, d, d) or not np.all(weights > 0):
            raise ValueError(
                f"weights, means, roots: expected K numbers > 0, (K, d) and (K, d, d), got shapes "
                f"{weights.shape}, {means.shape} and {roots.shape}"
            )
        self.weights, self.means, self.roots = weights / weights.sum(), means, roots
        self.inverses = np.linalg.inv(roots)
        log_dets = np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
        self.constants = np.log(self.weights) - log_dets - 0.5 * d * LOG_2PI

    def sample(self, n: int, rng: np.random.Generator, dtype: type = float) -> Array:
        """Draw z_0, shape (n, d)."""
        check_rng(rng)
        k = rng.choice(len(self.weights), size=n, p=self.weights)
        eps = rng.standard_normal((n, self.dim, 1))
        return (self.means[k] + (self.roots[k] @ eps)[:, :, 0]).astype(dtype)

    def log_prob(self, z: Array) -> Array:
        """ln q_0(z), shape (n,), in nats."""
        check_points(z, self.dim, "z")
        log_q: Array = -np.inf
        for constant, mean, inverse in zip(self.constants, self.means, self.inverses, strict=True):
            square = anp.sum(anp.dot(z - mean, inverse.T) ** 2, axis=1)
            log_q = anp.logaddexp(log_q, constant - 0.5 * square)
        return log_q.astype(untraced(z).dtype)

    def __repr__(self) -> str:
        return f"Mixture({len(self.weights)} of {self.dim} coordinates)"


def distinct(gaussians: list[tuple[Array, Array]]) -> list[tuple[Array, Array]]:
    """The Gaussians (mean, L) that lie apart from all before them, in widths of either.

    >>> at = [(np.full(1, m), np.eye(1)) for m in (0.0, 0.1, 9.0)]
    >>> [float(mean[0]) for mean, _ in distinct(at)]
    [0.0, 9.0]
    """
    kept: list[tuple[Array, Array]] = []
    for mean, L in gaussians:
        far = APART + math.sqrt(len(mean))
        gaps = [
            min(np.linalg.norm(np.linalg.solve(root, mean - other)) for root in (L, other_L))
            for other, other_L in kept
        ]
        if all(gap > far for gap in gaps):
            kept.append((mean, L))
    return kept
