r"""Reference posteriors by NUTS (NumPyro): four long chains each, and how far to trust them.

NumPyro has an environment of its own; the stored results need neither. From the checkout:

    python3 -m venv .venv-reference
    .venv-reference/bin/pip install numpyro==0.22.0 jax==0.10.2 arviz==0.23.4 scikit-learn==1.9.1
    .venv-reference/bin/pip install -e .
    .venv-reference/bin/python -m reproduce.reference.nuts             # a few minutes
    .venv-reference/bin/python -m reproduce.reference.nuts eight_schools_centred

Each model is written once more here, in NumPyro's own language; its log density must agree with
that of nflib_min.targets before a draw is made. One JSON file a model says the means, standard
deviations, covariance and quantiles of z, R-hat and effective sample sizes (ArviZ: rank-normalized,
Vehtari et al. 2021), divergences, gradients and seconds, ln Z, seed, versions and date.

ln Z by importance sampling from a Student t with the mean and covariance of the draws:
Z = E[p~(z) / t(z)]; its standard error is sd(w) / (mean(w) sqrt(n)), good if Pareto k-hat < 0.7.
"""

import argparse
import hashlib
import math
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import numpy as np

from nflib_min.targets import Target, eight_schools, logistic_regression
from nflib_min.targets.eight_schools import EFFECTS, ERRORS
from reproduce.provenance import commit, versions
from reproduce.results import canonical, sha256
from reproduce.results import read as read_checked
from tools.files import write

FOLDER = Path(__file__).parent
FORMAT = "nflib_min reference 1"
CHAINS, WARMUP, DRAWS = 4, 1000, 10_000
QUANTILES = (0.025, 0.25, 0.5, 0.75, 0.975)
T_DRAWS, T_FREEDOM = 1_000_000, 8


# ----------------------------------------------------------------------------------- the models
def breast_cancer() -> tuple[np.ndarray, np.ndarray, tuple[str, ...], str]:
    """The ten mean features, standardised, after a column of ones; y = 1 is benign; names; digest.

    The digest is of the data as scikit-learn has them: another machine may round otherwise when it
    standardises.

    >>> X, y, names, digest_of_data = breast_cancer()
    >>> X.shape, int(y.sum()), names[:2]
    ((569, 11), 357, ('intercept', 'mean radius'))

    Source: Street, Wolberg & Mangasarian (1993); UCI repository, CC BY 4.0.
    """
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    raw = data.data[:, :10]
    X = np.column_stack([np.ones(len(raw)), (raw - raw.mean(axis=0)) / raw.std(axis=0)])
    names = ("intercept", *map(str, data.feature_names[:10]))
    return X, data.target, names, digest(raw, data.target)


LOGISTIC_PRIOR_SD = 2.5


def logistic() -> tuple[Target, Callable, dict | None]:
    """The target, its NumPyro model, and the data's digest."""
    X, y, names, found = breast_cancer()

    def model():
        import numpyro
        from numpyro import distributions as d

        prior = d.Normal(0.0, LOGISTIC_PRIOR_SD).expand([X.shape[1]]).to_event(1)
        beta = numpyro.sample("beta", prior)
        numpyro.sample("y", d.Bernoulli(logits=X @ beta), obs=y)

    data = {"source": "sklearn.datasets.load_breast_cancer", "sha256": found}
    return logistic_regression(X, y, LOGISTIC_PRIOR_SD, names), model, data


def eight_schools_centred() -> tuple[Target, Callable, dict | None]:
    def model():
        import numpyro
        from numpyro import distributions as d

        mu = numpyro.sample("mu", d.Normal(0.0, 5.0))
        tau = numpyro.sample("tau", d.HalfCauchy(5.0))
        theta = numpyro.sample("theta", d.Normal(mu, tau).expand([8]).to_event(1))
        numpyro.sample("y", d.Normal(theta, ERRORS), obs=EFFECTS)

    return eight_schools(centred=True), model, None


def eight_schools_non_centred() -> tuple[Target, Callable, dict | None]:
    def model():
        import numpyro
        from numpyro import distributions as d

        mu = numpyro.sample("mu", d.Normal(0.0, 5.0))
        tau = numpyro.sample("tau", d.HalfCauchy(5.0))
        # sites are laid out in alphabetical order, and eta comes last in z
        unit = numpyro.sample("unit_effects", d.Normal(0.0, 1.0).expand([8]).to_event(1))
        numpyro.sample("y", d.Normal(mu + tau * unit, ERRORS), obs=EFFECTS)

    return eight_schools(centred=False), model, None


MODELS = {f.__name__: f for f in (logistic, eight_schools_centred, eight_schools_non_centred)}


def digest(*arrays: np.ndarray) -> str:
    """SHA-256 of the arrays as little-endian float64, with their shapes.

    >>> digest(np.arange(2)) == digest(np.array([0.0, 1.0])) != digest(np.array([[0.0, 1.0]]))
    True
    """
    found = hashlib.sha256()
    for array in arrays:
        found.update(repr(array.shape).encode())
        found.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return found.hexdigest()


def read(name: str) -> dict:
    """A stored reference by its model's name; ValueError if the file is not whole."""
    return read_checked(FOLDER / f"{name}.json", FORMAT)


# ------------------------------------------------------------------------------------- the runs
def run(name: str, seed: int) -> dict:
    """Run NUTS on a model: its record, as it is stored."""
    import arviz

    target, model, data = MODELS[name]()
    log_density, start = on_vectors(model)
    points = np.random.default_rng(seed).standard_normal((100, target.dim))
    theirs = np.array([log_density(z) for z in points])
    if not np.allclose(theirs, target.log_density(points), rtol=1e-10, atol=1e-10):
        raise ValueError(f"{name}: NumPyro's log density differs from that of nflib_min.targets")
    z, diverging, cost = sample(log_density, start, seed)
    flat = z.reshape(-1, target.dim)
    draws = arviz.convert_to_dataset({"z": z})
    diagnostics = {
        "r_hat": arviz.rhat(draws).z.values.tolist(),
        "ess_bulk": arviz.ess(draws, method="bulk").z.values.tolist(),
        "ess_tail": arviz.ess(draws, method="tail").z.values.tolist(),
        "mcse_mean": arviz.mcse(draws, method="mean").z.values.tolist(),
        "divergences": diverging,
    }
    least = min(diagnostics["ess_bulk"])
    cost["gradients_per_effective_draw"] = round(sum(cost["gradients"].values()) / least, 2)
    cost["effective_draws_per_cpu_second"] = round(least / cost["cpu_seconds"], 1)
    mean, covariance = flat.mean(axis=0), np.cov(flat.T)
    record = {
        "format": FORMAT,
        "model": name,
        "names": list(target.names),
        "data": data,
        "sampler": {
            "name": "NUTS, dense mass matrix",
            "chains": CHAINS,
            "warmup": WARMUP,
            "draws": DRAWS,
        },
        "seed": seed,
        "mean": mean.tolist(),
        "sd": flat.std(axis=0, ddof=1).tolist(),
        "covariance": covariance.tolist(),
        "quantiles": {str(q): np.quantile(flat, q, axis=0).tolist() for q in QUANTILES},
        "diagnostics": diagnostics,
        "cost": cost,
        "log_normalizer": evidence(target, mean, covariance, seed),
        "versions": versions()
        | {package: version(package) for package in ("numpyro", "jax", "arviz", "scikit-learn")},
        "commit": commit(),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }
    return record | {"sha256": sha256(record)}


def on_vectors(model: Callable) -> tuple[Callable, Callable]:
    """A NumPyro model's ln p~(z) of a vector z (unconstrained), and key -> a random start."""
    import jax
    from jax.flatten_util import ravel_pytree
    from numpyro.infer.util import initialize_model

    info = initialize_model(jax.random.PRNGKey(0), model)
    _, unravel = ravel_pytree(info.param_info.z)

    def start(key):
        return ravel_pytree(initialize_model(key, model).param_info.z)[0]

    return lambda z: -info.potential_fn(unravel(z)), start


def sample(log_density: Callable, start: Callable, seed: int) -> tuple[np.ndarray, int, dict]:
    """Chains of draws, shape (CHAINS, DRAWS, d), how many of them diverged, and what they cost.

    The mass matrix is dense, which serves NUTS best where coordinates are correlated. Gradients are
    the leapfrog steps of all chains. All is run twice: the first time includes the compilation,
    the second finds it in JAX's cache on disk.
    """
    import jax
    from numpyro.infer import MCMC, NUTS

    sampler = MCMC(
        NUTS(potential_fn=lambda z: -log_density(z), dense_mass=True),
        num_warmup=WARMUP,
        num_samples=DRAWS,
        num_chains=CHAINS,
        chain_method="sequential",
        progress_bar=False,
    )
    starts, warm, cold = jax.random.split(jax.random.PRNGKey(seed), 3)
    first = np.stack([start(key) for key in jax.random.split(starts, CHAINS)])
    fields = ("num_steps", "diverging")
    cost = {}
    for attempt in ("cpu_seconds_compiling", "cpu_seconds"):
        jax.clear_caches()
        began = time.process_time()
        sampler.warmup(warm, init_params=first, extra_fields=fields, collect_warmup=True)
        warmup = int(sampler.get_extra_fields()["num_steps"].sum())
        sampler.run(cold, extra_fields=fields)
        extra = sampler.get_extra_fields()
        draws = int(extra["num_steps"].sum())
        cost[attempt] = round(time.process_time() - began, 2)
    cost["gradients"] = {"warmup": warmup, "draws": draws}
    z = np.asarray(sampler.get_samples(group_by_chain=True))
    return z, int(extra["diverging"].sum()), cost


def evidence(target: Target, mean: np.ndarray, covariance: np.ndarray, seed: int) -> dict:
    r"""ln Z by importance sampling, with its standard error, ESS and Pareto k-hat.

    The proposal $t_\nu(m, S)$ has the draws' mean m and S = covariance (nu - 2) / nu, so that its
    covariance is theirs: $\ln t = \ln\Gamma(\tfrac{\nu+d}2) - \ln\Gamma(\tfrac\nu2)
    - \tfrac d2 \ln \nu\pi - \tfrac12 \ln\det S - \tfrac{\nu+d}2 \ln(1 + r^\top S^{-1} r / \nu)$.
    """
    from arviz import psislw

    d, nu, rng = target.dim, T_FREEDOM, np.random.default_rng(seed)
    root = np.linalg.cholesky(covariance * (nu - 2) / nu)
    constant = math.lgamma((nu + d) / 2) - math.lgamma(nu / 2) - d / 2 * math.log(nu * math.pi)
    constant -= np.log(np.diag(root)).sum()
    log_w = []
    for _ in range(T_DRAWS // 10_000):
        r = rng.standard_normal((10_000, d)) / np.sqrt(rng.chisquare(nu, (10_000, 1)) / nu)
        log_t = constant - (nu + d) / 2 * np.log1p(np.sum(r**2, axis=1) / nu)
        # the value that comes with the written gradient is several times faster
        log_w.append(target.log_density_and_grad(mean + r @ root.T)[0] - log_t)
    log_w = np.concatenate(log_w)
    w = np.exp(log_w - log_w.max())
    with np.errstate(over="ignore"):  # ArviZ weighs its fits by 1 / (1 + e^.. + ..)
        pareto_k = float(psislw(log_w)[1])
    return {
        "value": float(log_w.max() + np.log(w.mean())),
        "standard_error": float(w.std() / w.mean() / np.sqrt(len(w))),
        "draws": len(w),
        "effective_draws": float(w.sum() ** 2 / np.sum(w**2)),
        "pareto_k": pareto_k,
    }


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}; all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.models if name not in MODELS]:
        parser.error(f"expected models of {', '.join(MODELS)}, got {unknown[0]}")
    try:
        import jax
        import numpyro
    except ImportError:
        parser.error("NumPyro is not here; the head of this file says how to get it")
    numpyro.enable_x64()
    with tempfile.TemporaryDirectory() as compiled:
        jax.config.update("jax_compilation_cache_dir", compiled)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        for name in options.models or MODELS:
            record = run(name, options.seed)
            lines = [f'"{key}": {canonical(value)}' for key, value in record.items()]
            write(FOLDER / f"{name}.json", "{\n" + ",\n".join(lines) + "\n}\n")
            worst = max(record["diagnostics"]["r_hat"])
            least = min(record["diagnostics"]["ess_bulk"])
            print(f"{name}: R-hat at most {worst:.4f}, effective draws at least {least:.0f}")


if __name__ == "__main__":
    main(sys.argv[1:])
