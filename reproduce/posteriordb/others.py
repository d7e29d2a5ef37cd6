"""Gaussian processes, a mixture, hierarchies, counts and chances."""

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp, primitive

from nflib_min._arrays import Array
from nflib_min.targets import eight_schools, eight_schools_effects
from reproduce.posteriordb.case import (
    Case,
    Draws,
    case,
    indexed,
    log_sigmoid,
    log_slope,
    logit,
    normal,
    sigmoid,
)
from reproduce.posteriordb.regressions import columns


# ------------------------------------------------------------------------- Gaussian processes
@primitive
def cholesky(A: Array) -> Array:
    """L with L L^T = A for each row, column by column; NaN where A is not positive."""
    L, A = np.zeros(A.shape), A.copy()
    for j in range(A.shape[1]):
        L[:, j:, j] = A[:, j:, j] / np.sqrt(A[:, j, j])[:, None]
        A -= L[:, :, None, j] * L[:, None, :, j]
    return L


def cholesky_gradient(L: Array, g: Array) -> Array:
    inverse = np.linalg.inv(L)
    half = np.tril(np.swapaxes(L, 1, 2) @ g)
    half -= 0.5 * half * np.eye(L.shape[1])
    S = np.swapaxes(inverse, 1, 2) @ half @ inverse
    return 0.5 * (S + np.swapaxes(S, 1, 2))


defvjp(cholesky, lambda L, A: lambda g: cholesky_gradient(L, g))


@primitive
def gaussian_evidence(K: Array, y: Array) -> Array:
    """ln N(y; 0, K) for each K, up to a constant: (n, N, N) and (N,) -> (n,)."""
    L = cholesky(K)
    u = np.linalg.inv(L) @ y
    return -0.5 * np.sum(u * u, axis=1) - np.log(np.diagonal(L, 0, 1, 2)).sum(axis=1)


def evidence_gradient(K: Array, y: Array, g: Array) -> Array:
    inverse = np.linalg.inv(cholesky(K))
    precision = np.swapaxes(inverse, 1, 2) @ inverse
    a = precision @ y
    return 0.5 * g[:, None, None] * (a[:, :, None] * a[:, None, :] - precision)


defvjp(gaussian_evidence, lambda value, K, y: lambda g: evidence_gradient(K, y, g), argnums=(0,))


def smooth(x: Array, rho: Array, alpha: Array, noise: Array | float) -> Array:
    """The covariance alpha^2 exp(-(x - x')^2 / 2 rho^2) + noise on the diagonal, (n, N, N)."""
    squares = (x[:, None] - x) ** 2
    K = alpha[:, None, None] ** 2 * anp.exp(-0.5 * squares / rho[:, None, None] ** 2)
    return K + noise * np.eye(len(x))


def gp_prior(log_rho: Array, log_alpha: Array) -> Array:
    """Gamma(25, 4) of the length, half-normal of the height, with the logs' Jacobians."""
    rho, alpha = anp.exp(log_rho), anp.exp(log_alpha)
    return 25 * log_rho - 4 * rho - 0.5 * (alpha / 2) ** 2 + log_alpha


def gp_regr(data: dict) -> Case:
    x, y = np.array(data["x"], float), np.array(data["y"])

    def log_density(z: Array) -> Array:
        rho, alpha, sigma = anp.exp(z).T
        evidence = gaussian_evidence(smooth(x, rho, alpha, sigma[:, None, None]), y)
        return gp_prior(z[:, 0], z[:, 1]) - 0.5 * sigma**2 + z[:, 2] + evidence

    names = ["log rho", "log alpha", "log sigma"]
    return case(log_density, names, "Gaussian process", len(y))


def gp_pois_regr(data: dict) -> Case:
    x, counts = np.array(data["x"], float), np.array(data["k"])

    def log_density(z: Array) -> Array:
        rho, alpha = anp.exp(z[:, :2]).T
        f = anp.sum(cholesky(smooth(x, rho, alpha, 1e-10)) * z[:, None, 2:], axis=2)
        likelihood = anp.sum(counts * f - anp.exp(f), axis=1)
        return gp_prior(z[:, 0], z[:, 1]) - 0.5 * anp.sum(z[:, 2:] ** 2, axis=1) + likelihood

    def factor(z: Array) -> Array:
        return cholesky(smooth(x, *np.exp(z[:, :2]).T, 1e-10))

    def natural(z: Array) -> Array:
        return np.column_stack([np.exp(z[:, :2]), np.sum(factor(z) * z[:, None, 2:], axis=2)])

    def back(draws: Draws) -> Array:
        z = np.log(np.column_stack([draws["rho"], draws["alpha"]]))
        f = np.stack([draws[name] for name in indexed("f", len(x))], axis=1)
        return np.column_stack([z, np.linalg.solve(factor(z), f[:, :, None])[:, :, 0]])

    names = ["log rho", "log alpha", *indexed("f_tilde", len(x))]
    return case(log_density, names, "Gaussian process", len(x), natural, back)


# ---------------------------------------------------------------------------------- a mixture
def low_dim_gauss_mix(data: dict) -> Case:
    y = np.array(data["y"])

    def log_density(z: Array) -> Array:
        low, scales = z[:, 0], anp.exp(z[:, 2:4])
        high = low + anp.exp(z[:, 1])
        # not by sums of y and y^2: where a scale is tiny their rounding errors have no bound
        one = log_sigmoid(z[:, 4:]) + normal(y, low[:, None], scales[:, :1])
        two = log_sigmoid(-z[:, 4:]) + normal(y, high[:, None], scales[:, 1:])
        likelihood = anp.sum(anp.logaddexp(one, two), axis=1)
        prior = -0.125 * (low**2 + high**2 + anp.sum(scales**2, axis=1))
        jacobian = z[:, 1] + z[:, 2] + z[:, 3] + 5 * log_slope(z[:, 4])  # with Beta(5, 5)
        return likelihood + prior + jacobian

    def natural(z: Array) -> Array:
        high = z[:, 0] + np.exp(z[:, 1])
        return np.column_stack([z[:, 0], high, np.exp(z[:, 2:4]), sigmoid(z[:, 4])])

    def back(draws: Draws) -> Array:
        low, scales = draws["mu[1]"], [np.log(draws[name]) for name in indexed("sigma", 2)]
        return np.column_stack([low, np.log(draws["mu[2]"] - low), *scales, logit(draws["theta"])])

    names = ["mu[1]", "log gap", "log sigma[1]", "log sigma[2]", "logit theta"]
    return case(log_density, names, "mixture", len(y), natural, back)


# -------------------------------------------------------------------------------- hierarchies
def schools(centred: bool) -> Case:
    """The library's own eight schools, whose moments are exact."""
    target = eight_schools(centred)

    def natural(z: Array) -> Array:
        return eight_schools_effects(z, centred)

    def back(draws: Draws) -> Array:
        mu, tau = draws["mu"], draws["tau"]
        theta = [draws[name] for name in indexed("theta", 8)]
        each = theta if centred else [(effect - mu) / tau for effect in theta]
        return np.column_stack([mu, np.log(tau), *each])

    return Case(target, "hierarchy", 8, natural, back)


def schools_noncentered(data: dict) -> Case:
    return schools(centred=False)


def schools_centered(data: dict) -> Case:
    return schools(centred=True)


def radon(data: dict, centred: bool) -> Case:
    """919 log measurements in 85 counties, by each county's number, mean and squares."""
    counts, means = np.array(data["counts"]), np.array(data["means"])
    J, N, rest = len(counts), int(np.sum(data["counts"])), data["rest"]

    def log_density(z: Array) -> Array:
        each, mu, log_tau, log_sigma = z[:, :J], z[:, J : J + 1], z[:, J + 1], z[:, J + 2]
        tau, sigma = anp.exp(log_tau), anp.exp(log_sigma)
        if centred:
            prior = anp.sum(normal(each, mu, tau[:, None]), axis=1)
        else:
            prior = -0.5 * anp.sum(each**2, axis=1)
            each = mu + tau[:, None] * each
        squares = rest + anp.dot((means - each) ** 2, counts)
        prior = prior - 0.5 * (tau**2 + sigma**2 + (mu[:, 0] / 10) ** 2) + log_tau + log_sigma
        return prior - 0.5 * squares / sigma**2 - N * log_sigma

    name = "alpha" if centred else "alpha_raw"
    names = [*indexed(name, J), "mu_alpha", "log sigma_alpha", "log sigma_y"]
    return case(log_density, names, "hierarchy", N)


def radon_centered(data: dict) -> Case:
    return radon(data, centred=True)


def radon_noncentered(data: dict) -> Case:
    return radon(data, centred=False)


def radon_statistics(data: dict) -> dict:
    county, y = np.array(data["county_idx"]) - 1, np.array(data["log_radon"])
    counts = np.bincount(county, minlength=data["J"])
    means = np.bincount(county, y, minlength=data["J"]) / counts
    rest = float(np.sum((y - means[county]) ** 2))
    return {"counts": counts.tolist(), "means": means.tolist(), "rest": rest}


def rats(data: dict) -> Case:
    """Thirty rats weighed five times: a line each, whose heights and slopes are a population."""
    y = np.array(data["y"])[np.argsort(data["rat"], kind="stable")].reshape(-1, 5)
    at = np.array(data["x"])[np.argsort(data["rat"], kind="stable")].reshape(-1, 5)
    assert np.all(at == at[0])
    x, N = at[0] - data["xbar"], len(y)

    def log_density(z: Array) -> Array:
        alpha, beta = z[:, :N], z[:, N : 2 * N]
        means, logs = z[:, 2 * N : 2 * N + 2], z[:, 2 * N + 2 :]
        sigma = anp.exp(logs)
        lines = alpha[:, :, None] + beta[:, :, None] * x
        squares = anp.sum((y - lines) ** 2, axis=(1, 2))
        population = normal(alpha, means[:, :1], sigma[:, 1:2])
        population = population + normal(beta, means[:, 1:], sigma[:, 2:])
        likelihood = -0.5 * squares / sigma[:, 0] ** 2 - y.size * logs[:, 0]
        prior = -0.5 * anp.sum(means**2, axis=1) / 100**2 + anp.sum(logs, axis=1)
        return likelihood + prior + anp.sum(population, axis=1)

    means = ["mu_alpha", "mu_beta", "log sigma_y", "log sigma_alpha", "log sigma_beta"]
    names = [*indexed("alpha", N), *indexed("beta", N), *means]
    return case(log_density, names, "hierarchy", y.size)


# -------------------------------------------------------------------------- counts and chances
def dogs(data: dict) -> Case:
    """Does a dog learn from a shock avoided, or from one received? By cells of equal history."""
    y = np.array(data["y"])
    shocks = np.cumsum(y, axis=1) - y
    history = np.stack([np.arange(y.shape[1]) - shocks, shocks], axis=2).reshape(-1, 2)
    cells, which = np.unique(history, axis=0, return_inverse=True)
    hits = np.bincount(which.ravel(), y.ravel())
    trials = np.bincount(which.ravel())
    X = columns(1, *cells.T)

    def log_density(z: Array) -> Array:
        eta = anp.dot(z, X.T)
        each = hits * log_sigmoid(eta) + (trials - hits) * log_sigmoid(-eta)
        return anp.sum(each, axis=1) - 0.5 * anp.sum(z**2, axis=1) / 100**2

    return case(log_density, indexed("beta", 3), "logistic regression", y.size)


def glm_binomial(data: dict) -> Case:
    year, hits, trials = (np.array(data[name], float) for name in ("year", "C", "N"))
    X = columns(1, year, year**2)

    def log_density(z: Array) -> Array:
        eta = anp.dot(z, X.T)
        each = hits * log_sigmoid(eta) + (trials - hits) * log_sigmoid(-eta)
        return anp.sum(each, axis=1) - 0.5 * anp.sum(z**2, axis=1) / 100**2

    return case(log_density, ["alpha", "beta1", "beta2"], "logistic regression", len(year))


def glm_poisson(data: dict) -> Case:
    """Counts by a cubic in time; flat priors on intervals, of which only a part is used."""
    year, counts = np.array(data["year"]), np.array(data["C"], float)
    X, half = columns(1, year, year**2, year**3), np.array([20.0, 10.0, 10.0, 10.0])

    def log_density(z: Array) -> Array:
        eta = anp.dot(half * (2 * sigmoid(z) - 1), X.T)
        return anp.sum(counts * eta - anp.exp(eta), axis=1) + anp.sum(log_slope(z), axis=1)

    def natural(z: Array) -> Array:
        return half * (2 * sigmoid(z) - 1)

    names = ["alpha", "beta1", "beta2", "beta3"]
    return case(log_density, names, "Poisson regression", len(year), natural)


def captures(data: dict) -> Case:
    """How many animals are there? Captures that change the chance of the next: model Mb."""
    y = np.array(data["y"])
    before = np.column_stack([np.zeros(len(y)), y[:, :-1]])
    seen, T = y.any(axis=1), y.shape[1]
    fresh, again = before[seen] == 0, before[seen] == 1
    tables = [(np.sum(y[seen][part]), np.sum(part)) for part in (fresh, again)]
    known, unseen = int(seen.sum()), int((~seen).sum())

    def log_density(z: Array) -> Array:
        omega, p, c = z.T
        total = known * log_sigmoid(omega)
        for chance, (hits, trials) in zip((p, c), tables, strict=True):
            total = total + hits * log_sigmoid(chance) + (trials - hits) * log_sigmoid(-chance)
        missed = anp.logaddexp(log_sigmoid(omega) + T * log_sigmoid(-p), log_sigmoid(-omega))
        return total + unseen * missed + anp.sum(log_slope(z), axis=1)

    names = ["logit omega", "logit p", "logit c"]
    return case(log_density, names, "capture and recapture", y.size)
