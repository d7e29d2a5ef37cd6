"""What a fitted posterior is: its draws, their weights, its verdict, and a summary of all."""

import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nflib_min._arrays import Array, Params, check_dim
from nflib_min.bijections import Bijection
from nflib_min.flow import Chain, Flow
from nflib_min.posterior.hmc import Chains
from nflib_min.weights import k_limit

GOOD = "good"  # the verdict where the draws may be used as they are
CHAINS = "use the chains' draws"  # and where the sampler is right and the fit is not


@dataclass
class Stage:
    """One family that was fitted: its bound with a standard error, in nats, and its weights.

    name : "Laplace", "mean-field", "full rank", "Student" (the same for a heavy tail), "uncentred"
        (the same without necks) or "flow".
    flow, params : the fit itself.
    elbo, error : of `draws` draws. k_hat : of their weights. ess : effective share of draws.
    seconds : of training, wall clock.

    >>> from nflib_min import Affine, StandardNormal
    >>> flow = Flow(StandardNormal(1), Affine(1))
    >>> stage = Stage("mean-field", flow, flow.init(None), 0.0, 0.0, 0.0, 1.0, 0.0)
    >>> stage.log_prob(np.zeros((1, 1))).round(4)
    array([-0.9189])

    Source: the families of Agrawal, Sheldon & Domke (2020).
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
    unconstrained : the same posterior in the coordinates in which it was fitted, or None where
        these are the user's own.

    >>> from nflib_min import fit_posterior
    >>> from nflib_min.targets import Gaussian
    >>> target = Gaussian(np.zeros(2), np.eye(2))
    >>> q = fit_posterior(target, rng=np.random.default_rng(0), steps=10, draws=1000)
    >>> q, q.sample(5, np.random.default_rng(1)).shape, q.log_prob(np.zeros((1, 2))).round(4)
    (Posterior(2 coordinates: good), (5, 2), array([-1.8379]))

    Errors: ValueError where fewer than one draw is asked for, or a point has another shape, or lies
    where no draw can be; ImportError from `to_inference_data` without ArviZ.

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
    unconstrained: "Posterior | None" = None

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """n fresh draws of q, shape (n, d), not weighted."""
        return self.flow.sample(self.params, n, rng)

    def log_prob(self, z: Array) -> Array:
        """ln q at any points, shape (n,), in nats."""
        return self.flow.log_prob(self.params, z)

    def resample(self, n: int, rng: np.random.Generator) -> Array:
        """n draws with replacement, (n, d): as often as smoothed weights say, or of the chains."""
        _, z, log_w = self._handed_out(None)
        weights = None if log_w is None else np.exp(log_w) / np.exp(log_w).sum()
        return z[rng.choice(len(z), size=check_dim(n, "n"), p=weights)]

    def mean(self, weighted: bool | None = None) -> Array:
        """The posterior mean, shape (d,), by the draws that the verdict hands out.

        Those are the chains' where it says so and else the weighted ones, but for a good fit whose
        weights have too heavy a tail. weighted=True or False asks for q's own draws with their
        weights or without.
        """
        return moments(*self._handed_out(weighted)[1:])[0]

    def sd(self, weighted: bool | None = None) -> Array:
        """The posterior standard deviations, shape (d,), by the same draws as `mean`."""
        return moments(*self._handed_out(weighted)[1:])[1]

    def _handed_out(self, weighted: bool | None) -> tuple[str, Array, Array | None]:
        """What draws, and these with their log weights, None where all weigh the same."""
        if weighted is None and self.verdict == CHAINS and self.chains is not None:
            return "chains", self.chains.draws, None
        if weighted is None:  # the chains may find a fit good whose weights are of no use
            weighted = self.verdict != GOOD or self.k_hat < k_limit(len(self.z))
        return ("weighted", self.z, self.log_w) if weighted else ("plain", self.z, None)

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
        fitted = self if self.unconstrained is None else self.unconstrained
        if fitted.chains is not None:
            r_hat = fitted.chains.r_hat
            worst = fitted.names[int(np.argmax(r_hat))]
            lines.append(
                f"{len(fitted.chains.z)} chains: R-hat at most {r_hat.max():.2f} ({worst})"
            )
        use = self._handed_out(None)[0]
        rows = self._moments() | fitted._moments()  # a name that both scales have is one coordinate
        width = max(12, *(len(name) + 2 for name in rows))
        lines += ["", f"{'':{width}}{'mean':>12}{'sd':>12} {use + ':':>11} {'mean':>10}{'sd':>12}"]
        for name, four in rows.items():
            m, s, wm, ws = (f"{number:.4g}" for number in four)
            lines.append(f"{name:{width}}{m:>12}{s:>12}             {wm:>10}{ws:>12}")
        return "\n".join(lines)

    def _moments(self) -> dict[str, tuple]:
        """For each name mean and sd of the plain draws, and of those that are handed out."""
        columns = self.mean(False), self.sd(False), self.mean(), self.sd()
        return dict(zip(self.names, zip(*columns, strict=True), strict=True))

    def to_inference_data(self) -> Any:
        """An ArviZ InferenceData: one chain of the S plain draws, their log weights beside them.

        Where the verdict is to use them, the chains' draws alone, as so many chains.
        posterior holds one variable a name, on the user's scale, and unconstrained_posterior, the
        group that ArviZ has for it, the coordinates of the fit where these are others; sample_stats
        holds lp, ln p~ of each draw, and log_weight, smoothed and normalized. ImportError if ArviZ
        is not installed.
        """
        use_chains = self.verdict == CHAINS and self.chains is not None

        def by_name(q: Posterior) -> dict[str, Array]:
            z = q.chains.z if use_chains and q.chains is not None else q.z[None]
            return {name: z[:, :, i] for i, name in enumerate(q.names)}

        stats = {"lp": self.log_density[None], "log_weight": self.log_w[None]}
        data = _arviz().from_dict(
            posterior=by_name(self),
            sample_stats=None if use_chains else stats,
            attrs={"verdict": self.verdict},
        )
        if self.unconstrained is not None:
            data.add_groups(unconstrained_posterior=by_name(self.unconstrained))
        return data

    def __repr__(self) -> str:
        return f"Posterior({self.flow.dim} coordinates: {self.verdict})"


def on_users_scale(q: Posterior, transform: Bijection, names: list[str]) -> Posterior:
    """q of unconstrained z as that of x = transform(z): the transform is the flow's last map."""
    none = transform.init(np.random.default_rng(0))
    x, log_det = transform.forward_and_log_det(none, q.z)

    def longer(flow: Flow, params: Params) -> dict[str, Any]:
        f = Chain([flow.bijection, transform])
        return {"flow": Flow(flow.base, f), "params": [params, none]}

    return replace(
        q,
        **longer(q.flow, q.params),
        names=names,
        stages=[replace(stage, **longer(stage.flow, stage.params)) for stage in q.stages],
        z=x,
        log_density=q.log_density - log_det,
        chains=None if q.chains is None else q.chains.through(transform),
        unconstrained=q,
    )


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
