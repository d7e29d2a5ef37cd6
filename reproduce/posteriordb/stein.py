r"""Is a density the one that reference draws come from? Stein's identity, whitened.

For draws of p, and g its gradient of ln p, $E[g] = 0$ and $E[g (z - m)^\top] = -I$ for any m. In
whitened coordinates each of the d + d^2 averages has its standard error, and a wrong term moves one
of them: a prior that is wrong in a direction that the data hardly see stands out in the products.
"""

import numpy as np

from nflib_min._arrays import Array
from nflib_min.targets import Target


def stein(target: Target, z: Array) -> dict[str, float]:
    """The largest z-scores of E g = 0 and of E g (z - m)^T = -I, and how many were looked at.

    Standard errors come from means of 50 parts of consecutive draws, which forgives those chains
    that remember a little.
    """
    L = np.linalg.cholesky(np.cov(z.T).reshape(target.dim, -1))
    centre, first, second = z.mean(axis=0), [], []
    for part in np.array_split(z, 50):
        g = target.log_density_and_grad(part)[1] @ L
        first.append(g.mean(axis=0))
        second.append(g.T @ np.linalg.solve(L, (part - centre).T).T / len(part) + np.eye(len(L)))
    return {
        "gradient": score(first),
        "products": score(second),
        "numbers": target.dim * (1 + target.dim),
    }


def score(parts: list[Array]) -> float:
    """The largest of means over their standard errors, by the means of parts."""
    error = np.std(parts, axis=0, ddof=1) / np.sqrt(len(parts))
    return round(float(np.max(np.abs(np.mean(parts, axis=0)) / error)), 2)
