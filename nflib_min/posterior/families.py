"""The families that are fitted, one after the other: Laplace, two Gaussians, a flow."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nflib_min._arrays import Array, Params
from nflib_min.bijections import Affine, Bijection, TriangularAffine
from nflib_min.distributions import StandardNormal
from nflib_min.flow import Chain, Flow
from nflib_min.objectives import FreeEnergy
from nflib_min.posterior.given import FiniteTarget, pulled_back
from nflib_min.posterior.islands import Mixture, distinct
from nflib_min.posterior.necks import Uncentred, find_necks
from nflib_min.posterior.result import Stage
from nflib_min.posterior.start import newton
from nflib_min.posterior.tails import HEAVY, StudentT, degrees_of_freedom
from nflib_min.targets import Target
from nflib_min.training import cosine_decay, fit
from nflib_min.weights import effective_sample_size, pareto_k


def search_learning_rate(
    loss: FreeEnergy,
    params: Params,
    rng: np.random.Generator,
    *,
    rates: tuple[float, ...] = (0.03, 0.01, 0.003),
    steps: int = 100,
) -> tuple[float, dict[float, float]]:
    """The best of a grid of step sizes: a short training with each, from the same start.

    All runs see the same draws, and so do the losses they end with (common random numbers), so the
    comparison has far less noise than either loss. Diverged runs count as infinite.

    Parameters
    ----------
    loss : as for `fit`, with value_and_grad. params : the start, not changed.
    rates : peaks of `cosine_decay`. steps : length of each run.

    Returns
    -------
    The rate with the least final loss, and the loss of every rate, in nats.
    Errors: FloatingPointError if every run diverged. A KeyboardInterrupt ends the search.

    >>> from nflib_min.targets import Gaussian
    >>> flow = Flow(StandardNormal(2), Affine(2))
    >>> loss = FreeEnergy(flow, Gaussian(np.full(2, 3.0), np.eye(2)), batch=32)
    >>> search_learning_rate(loss, flow.init(None), np.random.default_rng(0), rates=(0.1, 1e-4))[0]
    0.1

    Source: Agrawal, Sheldon & Domke, Advances in black-box variational inference (2020), section 3.
    """
    seed, score_seed = rng.integers(2**63, size=2)
    losses = {}
    for rate in rates:
        try:
            run = fit(
                loss,
                params,
                steps,
                np.random.default_rng(seed),
                learning_rate=cosine_decay(rate, steps),
                progress=False,
            )
            scoring = np.random.default_rng(score_seed)
            losses[rate] = float(
                np.mean([loss.value_and_grad(run.params, scoring, steps)[0] for _ in range(10)])
            )
        except FloatingPointError:
            losses[rate] = np.inf
            continue
        if run.interrupted:
            raise KeyboardInterrupt
    best = min(losses, key=lambda rate: losses[rate])
    if not np.isfinite(losses[best]):
        raise FloatingPointError(
            f"rates: expected one that trains without overflow, got {list(rates)}, all diverged"
        )
    return best, losses


NECK_DRAWS = 60  # where curvatures are taken
ISLAND_DRAWS = 4000  # by which an island's mass is estimated
CARRIED = ("mean", "L", "gaussian", "base", "inner", "necks")  # from one family to the next


@dataclass
class Fitter:
    """The families one after the other, each in coordinates where the one before is N(0, I).

    What a family changes for those after it stays only if it is the best so far.

    gaussians : (mean, L) around every start, the best first. mean, L : the best Gaussian so far, in
    the coordinates of `inner`, the target without its necks.
    """

    target: Target
    gaussians: list[tuple[Array, Array]]
    batch: int
    n: int
    rng: np.random.Generator
    progress: bool | None
    uncentre: bool
    mix: bool

    def __post_init__(self) -> None:
        self.inner, self.necks = self.target, list[Uncentred]()
        self.mean, self.L = self.gaussian = self.gaussians[0]  # in the coordinates of the target
        self.dim = self.target.dim
        self.base: StandardNormal | StudentT | Mixture = StandardNormal(self.dim)
        self.check_seed, seed = self.rng.integers(2**63, size=2)
        self.rng = np.random.default_rng(seed)
        self.stages: list[Stage] = []
        self.reasons: list[str] = []
        self.interrupted = False

    def run(self, bijection: Bijection, steps: int, rate: float | None) -> None:
        """Every family that can be trained; what cannot is left out, with the reason."""
        gaussian_steps = max(steps // 3, 1)
        families: dict[str, Callable[[], str | None]] = {
            "Laplace": lambda: self.affine("Laplace", 0),
            "mean-field": lambda: self.mean_field(gaussian_steps),
            "full rank": lambda: self.full_rank(gaussian_steps),
            "Student": lambda: self.student(gaussian_steps),
            "islands": lambda: self.islands(gaussian_steps),
            "uncentred": lambda: self.uncentred(gaussian_steps),
            "flow": lambda: self.with_flow(bijection, steps, rate),
        }
        for name, family in families.items():
            self.began, known, reason = time.perf_counter(), len(self.stages), None
            before = {key: getattr(self, key) for key in CARRIED}
            try:
                with np.errstate(all="ignore"):  # errors name what is not finite
                    reason = family()
            except FloatingPointError as error:
                self.reasons.append(f"{name} left out: {error}")
            except KeyboardInterrupt:
                self.interrupted = True
            if len(self.stages) == known or self.best() is not self.stages[-1]:
                vars(self).update(before)
            elif reason is not None:
                self.reasons.append(reason)
            if self.interrupted and self.stages:
                return

    def affine(self, name: str, steps: int) -> None:
        """The full-rank Gaussian from the best so far, trained or not."""
        f = TriangularAffine(self.dim)
        p = f.init(self.rng)
        if steps:
            p = self.train(f, p, self.L, steps, 0.05)
        params = self.composed_affine(p)
        self.add_stage(name, f, params)
        if steps:
            self.mean, self.L = params["mean"], f.matrix(params)

    def mean_field(self, steps: int) -> None:
        # the best independent Gaussian for a Gaussian posterior has variances 1 / Lambda_ii
        sd = 1 / np.sqrt(np.diag(np.linalg.inv(self.L @ self.L.T)))
        f = Affine(self.dim)
        p = self.train(f, f.init(self.rng), np.diag(sd), steps, 0.05)
        mean, log_scale = self.mean + sd * p["mean"], np.log(sd) + p["log_scale"]
        self.add_stage("mean-field", f, {"mean": mean, "log_scale": log_scale})

    def full_rank(self, steps: int) -> None:
        # at the optimum Adam would walk away: its steps do not shrink
        self.affine("full rank", 0 if self.exact() else steps)
        self.gaussian = self.mean, self.L

    def student(self, steps: int) -> str | None:
        """Where the target falls like a power, a full-rank Student t; the flow goes on from it."""
        rng = np.random.default_rng([self.check_seed, 2])
        along, together = degrees_of_freedom(FiniteTarget(self.target), *self.gaussian, rng)
        dof = min(along.min(), together)
        if not 0 < dof < HEAVY:
            return None
        self.base = StudentT(self.dim, dof, joint=together <= along.min())
        self.affine("Student", steps)
        noisy = ", and the sd of draws is noisy: quantiles say more" if dof < 4 else ""
        return (
            f"heavy tail, of about {dof:.1f} degrees of freedom: a Student base covers it; "
            f"moments and R-hat are judged on a logarithmic scale{noisy}"
        )

    def islands(self, steps: int) -> str | None:
        """Gaussians of separate starts, mixed by their evidence; a flow goes on from there."""
        found = distinct(self.gaussians) if self.mix else []
        if len(found) < 2 or isinstance(self.base, StudentT):
            return None
        rng = np.random.default_rng([self.check_seed, 3])
        here, f, parts, log_Z = (self.mean, self.L), TriangularAffine(self.dim), [], []
        for self.mean, self.L in found:
            p = self.composed_affine(self.train(f, f.init(rng), self.L, steps, 0.05))
            z, log_q = Flow(self.base, f).sample_and_log_prob(p, ISLAND_DRAWS, rng)
            log_Z.append(np.logaddexp.reduce(FiniteTarget(self.target)(z) - log_q))
            parts.append((p["mean"], f.matrix(p)))
        self.mean, self.L = here
        inverse = np.linalg.inv(self.L)
        means = np.array([inverse @ (mean - self.mean) for mean, _ in parts])
        shares = np.maximum(np.exp(log_Z - np.logaddexp.reduce(log_Z)), 1e-9)
        self.base = Mixture(shares, means, [inverse @ L for _, L in parts])
        self.affine("islands", 0)
        shown = ", ".join(f"{share:.0%}" for share in shares)
        return f"{len(found)} islands, of {shown} of the mass: a mixture base covers them"

    def uncentred(self, steps: int) -> None:
        """A full-rank Gaussian again where the necks are gone; the flow goes on from the better."""
        if self.exact() or not self.uncentre or isinstance(self.base, Mixture):
            return
        rng = np.random.default_rng([self.check_seed, 1])
        # twice as wide: where a neck is, a Gaussian is too narrow
        z = self.mean + 2 * rng.standard_normal((NECK_DRAWS, self.dim)) @ self.L.T
        necks = find_necks(self.target, z, np.sqrt((self.L**2).sum(axis=1)))
        if not necks:
            return
        free = Chain([*necks])
        self.necks, self.inner = necks, pulled_back(self.target, free)
        start = np.median(free.inverse(free.init(rng), z), axis=0)
        eps = rng.standard_normal((64, self.dim))
        _, self.mean, self.L = newton(FiniteTarget(self.inner), start, eps)
        self.affine("uncentred", steps)

    def with_flow(self, bijection: Bijection, steps: int, rate: float | None) -> None:
        if self.exact():
            return
        f = Chain([bijection, TriangularAffine(self.dim)])
        start = f.init(self.rng)
        if rate is None:
            rate, _ = search_learning_rate(self.loss(f, self.L), start, self.rng)
        p = self.train(f, start, self.L, steps, rate)
        self.add_stage("flow", f, [p[0], self.composed_affine(p[1])])

    def best(self) -> Stage:
        """The stage with the largest ELBO."""
        return max(self.stages, key=lambda stage: stage.elbo)

    def exact(self) -> bool:
        """True if the weights of a stage vary by less than 1e-3: nothing is left to train."""
        return max((stage.ess for stage in self.stages), default=0.0) > 1 - 1e-6

    def loss(self, f: Bijection, L: Array) -> FreeEnergy:
        """The free energy of f in the coordinates y, z = mean + L y, by path gradients."""
        mean, log_det, z_of = self.mean, np.log(np.diag(L)).sum(), lambda y: self.mean + y @ L.T

        def gradient(y: Array) -> tuple[Array, Array]:
            value, g = self.inner.log_density_and_grad(mean + y @ L.T)
            return value + log_det, g @ L

        standard = Target(
            lambda y: self.inner.log_density(z_of(y)) + log_det,
            self.dim,
            gradient=gradient,
            name=self.target.name,
        )
        return FreeEnergy(Flow(self.base, f), standard, self.batch, path_gradient=True)

    def train(self, f: Bijection, start: Params, L: Array, steps: int, rate: float) -> Params:
        run = fit(
            self.loss(f, L),
            start,
            steps,
            self.rng,
            learning_rate=cosine_decay(rate, steps),
            progress=self.progress,
        )
        self.interrupted = run.interrupted
        return run.params

    def composed_affine(self, p: dict) -> dict:
        """Parameters of z = mean + L (p.mean + L_p y) as those of one `TriangularAffine`."""
        L = self.L @ TriangularAffine(self.dim).matrix(p)
        mean = self.mean + self.L @ p["mean"]
        return {"mean": mean, "log_diag": np.log(np.diag(L)), "lower": np.tril(L, -1)}

    def add_stage(self, name: str, f: Bijection, params: Params) -> None:
        """Add a stage: the same draws of the base for every family."""
        seconds = time.perf_counter() - self.began
        if self.necks:
            f, params = Chain([f, *self.necks]), [params, *({} for _ in self.necks)]
        flow = Flow(self.base, f)
        z, log_p, log_q = self.draws(flow, params)
        if not np.isfinite(log_p).all():
            raise FloatingPointError(
                f"expected finite log densities, got {np.sum(~np.isfinite(log_p))} NaN or inf at "
                f"{len(z)} of its draws (are the coordinates unconstrained?)"
            )
        log_w = log_p - log_q
        k = pareto_k(log_w)[0]
        ess = effective_sample_size(log_w) / self.n
        error = float(log_w.std(ddof=1) / np.sqrt(self.n))
        self.stages.append(Stage(name, flow, params, float(log_w.mean()), error, k, ess, seconds))

    def draws(self, flow: Flow, params: Params) -> tuple[Array, Array, Array]:
        """S draws z of q, ln p~ and ln q there."""
        z, log_q = flow.sample_and_log_prob(params, self.n, np.random.default_rng(self.check_seed))
        return z, FiniteTarget(self.target)(z), log_q
