"""What a fitted posterior is: its draws, their weights, its verdict, and a summary of all."""

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nflib_min._arrays import Array, Params, check_dim
from nflib_min.flow import Flow
from nflib_min.posterior.hmc import Chains

CHAINS = "use the chains' draws"  # the verdict where the sampler is right and the fit is not


@dataclass
class Stage:
    """One family that was fitted: its bound with a standard error, in nats, and its weights.

    name : "Laplace", "mean-field", "full rank", "uncentred" (the same without necks) or "flow".
    flow, params : the fit itself.
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

    verdict : "good" (the draws may be used as they are), "usable with importance weights", "use the
        chains' draws" or "do not trust". reasons : one sentence each, why it is not better.
    stages : every family that was fitted; flow and params belong to the best.
    z, log_density : S draws of q, (S, d), and ln p~ there, (S,).
    log_w, k_hat : their log weights, smoothed and normalized, (S,), and Pareto k-hat.
    missed : the share of the posterior's mass found where q has less than a twentieth of it.
    names : of the d coordinates. interrupted : True if a KeyboardInterrupt cut training short.
    chains : the `Chains` that checked it, or None. necks : (scale, members), by name, of every
        centred hierarchy that the fit has written as theta = mu + tau eta.

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
    chains: Chains | None = None
    necks: list[tuple[str, list[str]]] = field(default_factory=list)

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """n fresh draws of q, shape (n, d), not weighted."""
        return self.flow.sample(self.params, n, rng)

    def log_prob(self, z: Array) -> Array:
        """ln q at any points, shape (n,), in nats."""
        return self.flow.log_prob(self.params, z)

    def resample(self, n: int, rng: np.random.Generator) -> Array:
        """n draws with replacement, (n, d): as often as smoothed weights say, or of the chains."""
        z, log_w = self._handed_out(None)
        weights = None if log_w is None else np.exp(log_w) / np.exp(log_w).sum()
        return z[rng.choice(len(z), size=check_dim(n, "n"), p=weights)]

    def mean(self, weighted: bool | None = None) -> Array:
        """The posterior mean, shape (d,), by the draws that the verdict hands out.

        Those are the chains' where it says so and else the weighted ones; weighted=True or False
        asks for q's own draws with their weights or without.
        """
        return moments(*self._handed_out(weighted))[0]

    def sd(self, weighted: bool | None = None) -> Array:
        """The posterior standard deviations, shape (d,), by the same draws as `mean`."""
        return moments(*self._handed_out(weighted))[1]

    def _handed_out(self, weighted: bool | None) -> tuple[Array, Array | None]:
        """Draws and their log weights, None where all weigh the same."""
        if weighted is None and self.verdict == CHAINS and self.chains is not None:
            return self.chains.draws, None
        return self.z, None if weighted is False else self.log_w

    def summary(self) -> str:
        """The verdict with its reasons, the stages, and the moments, as a short table."""
        lines = [f"{self.verdict}" + (" (interrupted)" if self.interrupted else "")]
        lines += [f"  - {reason}" for reason in self.reasons]
        lines += ["", f"{'':12}{'ELBO':>12}{'+-':>9}{'k-hat':>8}{'ESS':>7}"]
        for stage in self.stages:
            numbers = f"{stage.elbo:12.3f}{stage.error:9.3f}{stage.k_hat:8.2f}{stage.ess:7.1%}"
            lines.append(f"{stage.name:12}{numbers}")
        for scale, members in self.necks:
            shown = ", ".join(members[:3]) + (", ..." if len(members) > 3 else "")
            lines.append(f"{scale} is the scale of {shown}: fitted as theta = mu + tau eta")
        if self.chains is not None:
            r_hat = self.chains.r_hat
            worst = self.names[int(np.argmax(r_hat))]
            lines.append(f"{len(self.chains.z)} chains: R-hat at most {r_hat.max():.2f} ({worst})")
        plain = self.mean(False), self.sd(False)
        use = "chains" if self.verdict == CHAINS else "weighted"
        handed = self.mean(), self.sd()
        width = max(12, *(len(name) + 2 for name in self.names))
        lines += ["", f"{'':{width}}{'mean':>12}{'sd':>12} {use + ':':>11} {'mean':>10}{'sd':>12}"]
        for i, name in enumerate(self.names):
            four = [plain[0][i], plain[1][i], handed[0][i], handed[1][i]]
            m, s, wm, ws = (f"{number:.4g}" for number in four)
            lines.append(f"{name:{width}}{m:>12}{s:>12}             {wm:>10}{ws:>12}")
        return "\n".join(lines)

    def to_inference_data(self) -> Any:
        """An ArviZ InferenceData: one chain of the S plain draws, their log weights beside them.

        Where the verdict is to use them, the chains' draws alone, as so many chains.
        posterior holds one variable a name; sample_stats holds lp, ln p~ of each draw, and
        log_weight, smoothed and normalized. ImportError if ArviZ is not installed.
        """
        if self.verdict == CHAINS and self.chains is not None:
            each = {name: self.chains.z[:, :, i] for i, name in enumerate(self.names)}
            return _arviz().from_dict(posterior=each, attrs={"verdict": self.verdict})
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
