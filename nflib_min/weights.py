r"""What importance weights $w = \tilde p / q$ of q's own draws say: bounds, and how good q is.

A weight may be 0, a log weight -inf: there the target's density is 0.
"""

import math

import numpy as np

from nflib_min._arrays import Array, check_dim, untraced

LEAST = math.log(np.finfo(float).tiny)  # of a log weight, relative to the largest


def importance_weighted_bound(log_w: Array, k: int | None = None) -> float:
    r"""The bound $L_k = E[\ln \frac1k \sum_{i=1}^k w_i]$: the ELBO at k = 1, ln Z as k grows.

    Parameters
    ----------
    log_w : (n,), log weights. k : size of the groups, at most n; None for one group of all n,
        the usual estimate of ln Z. Groups do not overlap; a remainder is left out.

    Errors: ValueError if log_w is not (n,), finite or -inf, or k is not in 1..n.

    >>> log_w = np.log(np.array([1.0, 3.0]))
    >>> round(importance_weighted_bound(log_w, 1), 4), round(importance_weighted_bound(log_w), 4)
    (0.5493, 0.6931)

    Source: Burda, Grosse & Salakhutdinov, Importance weighted autoencoders (2015), eq. (8).
    """
    log_w = checked(log_w)
    k = check_dim(len(log_w) if k is None else k, "k")
    if k > len(log_w):
        raise ValueError(f"k: expected at most n = {len(log_w)}, got {k}")
    groups = log_w[: len(log_w) // k * k].reshape(-1, k)
    return float(np.mean(np.logaddexp.reduce(groups, axis=1) - np.log(k)))


def effective_sample_size(log_w: Array) -> float:
    r"""$(\sum_i w_i)^2 / \sum_i w_i^2$: how many independent draws the n weighted ones are worth.

    Errors: ValueError if log_w is not (n,), finite or -inf.

    >>> effective_sample_size(np.zeros(100))
    100.0

    Source: Kong (1992); Rezende & Mohamed (2015) use the weights in section 6.1.
    """
    log_w = checked(log_w)
    w = np.exp(log_w - log_w.max())
    return float(w.sum() ** 2 / (w**2).sum())


def pareto_k(log_w: Array) -> tuple[float, Array]:
    r"""Pareto k-hat of importance weights, and their smoothed logarithms, normalized, (n,).

    The largest weights are fitted by a generalized Pareto law with shape k, whose moments of order
    1/k and above are infinite; their smoothed values replace them, and the weights sum to 1. Below
    0.5 q is close to p; below `k_limit(n)` the weighted draws can be used; above, nothing can.
    Weights that are equal to rounding have no tail: k = 0; where fewer than five draws carry all
    the weight, k = inf. Weights of q's own draws cannot see a mode that q has missed.

    Errors: ValueError if log_w is not (n,), finite or -inf, or n < 25.

    >>> rng = np.random.default_rng(0)
    >>> k, _ = pareto_k(0.7 * rng.exponential(size=10_000))  # w = e^x: P(w > t) = t^(-1/0.7)
    >>> round(k, 1)
    0.7

    Source: Vehtari, Simpson, Gelman, Yao & Gabry, Pareto smoothed importance sampling (2024),
    section 2; Yao, Vehtari, Simpson & Gelman, Yes, but did it work? (2018).
    """
    log_w = checked(log_w)
    if len(log_w) < 25:
        raise ValueError(f"log_w: expected at least 25 weights, got {len(log_w)}")
    log_w = log_w - log_w.max()
    n = len(log_w)
    if np.ptp(log_w) < 1e-9:
        return 0.0, np.full(n, -np.log(n))
    size = math.ceil(min(n / 5, 3 * math.sqrt(n)))
    order = np.argsort(log_w)
    tail, cut = order[-size:], max(log_w[order[-size - 1]], LEAST)
    tail = tail[log_w[tail] > cut]
    if len(tail) < 5:
        return np.inf, log_w - np.logaddexp.reduce(log_w)
    k, scale = _pareto_fit(np.exp(log_w[tail]) - np.exp(cut))
    p = (np.arange(len(tail)) + 0.5) / len(tail)  # the tail's weights become the law's quantiles
    quantiles = -np.log1p(-p) if abs(k) < 1e-12 else np.expm1(-k * np.log1p(-p)) / k
    log_w[tail] = np.minimum(np.log(scale * quantiles + np.exp(cut)), 0)
    return float(k), log_w - np.logaddexp.reduce(log_w)


def k_limit(n: int) -> float:
    r"""The k-hat above which n weighted draws are of no use: $\min(1 - 1/\log_{10} n, 0.7)$.

    Errors: ValueError if n < 2.

    >>> k_limit(10_000), round(k_limit(100), 2)
    (0.7, 0.5)

    Source: Vehtari, Simpson, Gelman, Yao & Gabry (2024), section 3.
    """
    return float(min(1 - 1 / np.log10(check_dim(n, "n", least=2)), 0.7))


def _pareto_fit(x: Array) -> tuple[float, float]:
    """k and scale of a generalized Pareto law from sorted exceedances x > 0, (m,).

    The posterior mean of b = k / scale on a grid, with a weak prior that pulls k towards 1/2.

    Source: Zhang & Stephens, A new and efficient estimation method for the generalized Pareto
    distribution (2009); the prior: Vehtari et al. (2024), appendix C.
    """
    n, m = len(x), 30 + math.isqrt(len(x))
    b = (1 - np.sqrt(m / (np.arange(m) + 0.5))) / (3 * x[int(n / 4 + 0.5) - 1]) + 1 / x[-1]
    k = np.log1p(-b[:, None] * x).mean(axis=1)
    log_likelihood = n * (np.log(-b / k) - k - 1)
    with np.errstate(over="ignore"):  # of a point that is e^709 times less likely than another
        weight = 1 / np.exp(log_likelihood - log_likelihood[:, None]).sum(axis=1)
    weight = np.where(weight >= 10 * np.finfo(float).eps, weight, 0)
    b_mean = float(weight @ b / weight.sum())
    k_mean = float(np.log1p(-b_mean * x).mean())
    return (n * k_mean + 5) / (n + 10), -k_mean / b_mean


def checked(log_w: Array) -> Array:
    """Log weights as float64, (n,); ValueError unless each is finite or -inf, and one is finite."""
    log_w = np.array(untraced(log_w), dtype=float)
    if log_w.ndim != 1 or len(log_w) == 0:
        raise ValueError(f"log_w: expected shape (n,) with n >= 1, got {log_w.shape}")
    bad = np.isnan(log_w) | (log_w == np.inf)
    if bad.any() or np.isneginf(log_w).all():
        raise ValueError(
            f"log_w: expected finite values or -inf, not all -inf, got {int(bad.sum())} NaN or inf"
        )
    return log_w
