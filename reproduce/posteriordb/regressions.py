"""Linear regressions with an unknown noise, by priors and by sufficient statistics."""

from collections.abc import Callable

import autograd.numpy as anp
import numpy as np

from nflib_min._arrays import Array
from reproduce.posteriordb.case import Case, case, cauchy, indexed, normal, student

Prior = Callable[[Array, Array], Array]  # of coefficients (n, D) and sigma (n,), to (n,)
KIND = "linear regression"


def flat(beta: Array, sigma: Array) -> Array:
    return 0.0 * sigma


def columns(*each: object) -> Array:
    return np.column_stack(np.broadcast_arrays(*[np.asarray(column, float) for column in each]))


def regression(
    X: Array, y: object, prior: Prior = flat, names: list[str] | None = None, short: bool = True
) -> Case:
    r"""$y \sim N(X \beta, \sigma^2)$ in the coordinates $(\beta, \ln\sigma)$.

    short : by $|y - X \beta|^2 = |Q^\top y - R \beta|^2 + c$ with X = QR, which costs D rows for N;
    False for the sum over all observations, as a user might write it.
    """
    y, (N, D) = np.asarray(y, float), X.shape
    names = names or indexed("beta", D)
    Q, R = np.linalg.qr(X) if short else (None, X)
    seen = Q.T @ y if short else y
    rest = float(np.sum((y - Q @ seen) ** 2)) if short else 0.0
    return case(gaussian_density(R, seen, rest, N, prior), [*names, "log sigma"], KIND, N)


def gaussian_density(R: Array, seen: Array, rest: float, N: int, prior: Prior) -> Callable:
    D = R.shape[1]

    def log_density(z: Array) -> Array:
        beta, log_sigma = z[:, :D], z[:, D]
        squares = anp.sum((seen - anp.dot(beta, R.T)) ** 2, axis=1) + rest
        likelihood = -0.5 * squares * anp.exp(-2 * log_sigma) - N * log_sigma
        return likelihood + log_sigma + prior(beta, anp.exp(log_sigma))

    return log_density


def logearn_interaction(data: dict) -> Case:
    height, male = np.array(data["height"]), np.array(data["male"])
    return regression(columns(1, height, male, height * male), np.log(data["earn"]))


def mesquite(data: dict) -> Case:
    names = ("diam1", "diam2", "canopy_height", "total_height", "density", "group")
    X = columns(1, *[data[name] for name in names])
    return regression(X, data["weight"], short=False)


def logmesquite_logvash(data: dict) -> Case:
    wide, deep, high = (np.log(data[name]) for name in ("diam1", "diam2", "canopy_height"))
    total = np.log(data["total_height"])
    X = columns(1, wide + deep + high, wide + deep, wide - deep, total, data["group"])
    return regression(X, np.log(data["weight"]), short=False)


def kidscore_interaction(data: dict) -> Case:
    school, iq = np.array(data["mom_hs"]), np.array(data["mom_iq"])
    X = columns(1, school, iq, school * iq)
    return regression(X, data["kid_score"], lambda beta, sigma: cauchy(sigma, 2.5))


def nes(data: dict) -> Case:
    age = np.array(data["age_discrete"])
    ages = [age == group for group in (2, 3, 4)]
    after = [data[name] for name in ("educ1", "gender", "income")]
    X = columns(1, data["real_ideo"], data["race_adj"], *ages, *after)
    return regression(X, data["partyid7"])


def blr(data: dict) -> Case:
    def prior(beta: Array, sigma: Array) -> Array:
        return -0.5 * (anp.sum(beta**2, axis=1) + sigma**2) / 100

    return regression(np.array(data["X"]), data["y"], prior, short=False)


def kilpisjarvi(data: dict) -> Case:
    """The temperature of a Lapland summer against the year, as it stands: a thin ridge."""

    def prior(beta: Array, sigma: Array) -> Array:
        slope = normal(beta[:, 1], data["pmubeta"], data["psbeta"])
        return normal(beta[:, 0], data["pmualpha"], data["psalpha"]) + slope

    X = columns(1, data["x"])
    return regression(X, data["y"], prior, ["alpha", "beta"], short=False)


def diamonds(data: dict) -> Case:
    """The log price of 5000 diamonds by 24 centred columns, from its sufficient statistics."""

    def prior(beta: Array, sigma: Array) -> Array:
        given = student(beta[:, -1], 3, 8, 10) + student(sigma, 3, 0, 10)
        return given - 0.5 * anp.sum(beta[:, :-1] ** 2, axis=1)

    R, seen = np.array(data["R"]), np.array(data["seen"])
    density = gaussian_density(R, seen, data["rest"], data["N"], prior)
    return case(density, [*indexed("b", 24), "Intercept", "log sigma"], KIND, data["N"])


def diamonds_statistics(data: dict) -> dict:
    """R, Q^T y and the rest of the squares, of columns less their means and an intercept."""
    X, y = np.array(data["X"])[:, 1:], np.array(data["Y"])
    Q, R = np.linalg.qr(np.column_stack([X - X.mean(axis=0), np.ones(len(y))]))
    rest = float(np.sum((y - Q @ (Q.T @ y)) ** 2))
    return {"R": R.tolist(), "seen": (Q.T @ y).tolist(), "rest": rest, "N": len(y)}
