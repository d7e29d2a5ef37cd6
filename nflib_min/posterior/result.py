"""What a fitted posterior is: its draws, their weights, its verdict, and a summary of all."""

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nflib_min._arrays import Array, Params, check_dim
from nflib_min.flow import Flow


@dataclass
class Stage:
    """One family that was fitted: its bound with a standard error, in nats, and its weights.

    name : "Laplace", "mean-field", "full rank" or "flow". flow, params : the fit itself.
    elbo, error : of `draws` draws. k_hat : of their weights. ess : effective share of draws.
    seconds : of training, wall clock.
    """

    name: str
    flow: Flow
    params: Params
    elbo: float
    error: float
    k_hat: float
    ess: float
    seconds: float

    def log_prob(self, z: Array) -> Array:
        """ln q at any points, shape (n,), in nats."""
        return self.flow.log_prob(self.params, z)


@dataclass
class Posterior:
    r"""What `fit_posterior` returns: an approximation q of a posterior, and what it is worth.

    verdict : "good" (the draws may be used as they are), "usable with importance weights" or "do
        not trust". reasons : one sentence each, why the verdict is not better.
    stages : every family that was fitted; flow and params belong to the best.
    z, log_density : S draws of q, (S, d), and ln p~ there, (S,).
    log_w, k_hat : their log weights, smoothed and normalized, (S,), and Pareto k-hat.
    missed : the share of the posterior's mass found where q has less than a twentieth of it.
    names : of the d coordinates. interrupted : True if a KeyboardInterrupt cut training short.

    >>> from nflib_min import fit_posterior
    >>> from nflib_min.targets import Gaussian
    >>> target = Gaussian(np.zeros(2), np.eye(2))
    >>> q = fit_posterior(target, rng=np.random.default_rng(0), steps=10, draws=1000)
    >>> q, q.sample(5, np.random.default_rng(1)).shape, q.log_prob(np.zeros((1, 2))).round(4)
    (Posterior(2 coordinates: good), (5, 2), array([-1.8379]))

    Source: Yao, Vehtari, Simpson & Gelman, Yes, but did it work? (2018).
    """

    flow: Flow
    params: Params
    names: list[str]
    stages: list[Stage]
    z: Array
    log_density: Array
    log_w: Array
    k_hat: float
    missed: float
    verdict: str
    reasons: list[str] = field(default_factory=list)
    interrupted: bool = False

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """n fresh draws of q, shape (n, d), not weighted."""
        return self.flow.sample(self.params, n, rng)

    def log_prob(self, z: Array) -> Array:
        """ln q at any points, shape (n,), in nats."""
        return self.flow.log_prob(self.params, z)

    def resample(self, n: int, rng: np.random.Generator) -> Array:
        """n of the S draws, with replacement, each as often as its smoothed weight says: (n, d)."""
        weights = np.exp(self.log_w)
        return self.z[rng.choice(len(self.z), size=check_dim(n, "n"), p=weights / weights.sum())]

    def mean(self, weighted: bool = True) -> Array:
        """The posterior mean, shape (d,), by the smoothed weights or by the plain draws."""
        return moments(self.z, self.log_w if weighted else None)[0]

    def sd(self, weighted: bool = True) -> Array:
        """The posterior standard deviations, shape (d,), by the smoothed weights or plainly."""
        return moments(self.z, self.log_w if weighted else None)[1]

    def summary(self) -> str:
        """The verdict with its reasons, the stages, and the moments, as a short table."""
        lines = [f"{self.verdict}" + (" (interrupted)" if self.interrupted else "")]
        lines += [f"  - {reason}" for reason in self.reasons]
        lines += ["", f"{'':12}{'ELBO':>12}{'+-':>9}{'k-hat':>8}{'ESS':>7}"]
        for stage in self.stages:
            numbers = f"{stage.elbo:12.3f}{stage.error:9.3f}{stage.k_hat:8.2f}{stage.ess:7.1%}"
            lines.append(f"{stage.name:12}{numbers}")
        plain, weighted = moments(self.z, None), moments(self.z, self.log_w)
        width = max(12, *(len(name) + 2 for name in self.names))
        lines += ["", f"{'':{width}}{'mean':>12}{'sd':>12}   weighted: {'mean':>10}{'sd':>12}"]
        for i, name in enumerate(self.names):
            four = [plain[0][i], plain[1][i], weighted[0][i], weighted[1][i]]
            m, s, wm, ws = (f"{number:.4g}" for number in four)
            lines.append(f"{name:{width}}{m:>12}{s:>12}             {wm:>10}{ws:>12}")
        return "\n".join(lines)

    def to_inference_data(self) -> Any:
        """An ArviZ InferenceData: one chain of the S plain draws, their log weights beside them.

        posterior holds one variable a name; sample_stats holds lp, ln p~ of each draw, and
        log_weight, smoothed and normalized. ImportError if ArviZ is not installed.
        """
        return _arviz().from_dict(
            posterior={name: self.z[None, :, i] for i, name in enumerate(self.names)},
            sample_stats={"lp": self.log_density[None], "log_weight": self.log_w[None]},
            attrs={"verdict": self.verdict},
        )

    def __repr__(self) -> str:
        return f"Posterior({self.flow.dim} coordinates: {self.verdict})"


def moments(z: Array, log_w: Array | None) -> tuple[Array, Array]:
    w = np.full(len(z), 1 / len(z)) if log_w is None else np.exp(log_w)
    mean = w @ z / w.sum()
    return mean, np.sqrt(w @ (z - mean) ** 2 / w.sum())


def _arviz() -> Any:
    """ArviZ, only where it is needed; ImportError says how to install it."""
    try:
        with warnings.catch_warnings():  # of its next major version, at every import
            warnings.simplefilter("ignore", FutureWarning)
            import arviz
    except ImportError as error:
        raise ImportError("InferenceData needs ArviZ: pip install arviz") from error
    return arviz
