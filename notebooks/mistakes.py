r"""A small correct program, thirteen mistakes that people have made in it, and who notices.

`VariationalProgram` is variational inference with a flow, written in plain lines, one method for a
line of the paper. Each mistake below it is a subclass that gets one line wrong, as published code
has. The laws of `checks.py` are then asked about each, next to two common checks that find none.
"""

import autograd.numpy as anp
import numpy as np
from autograd import grad

from nflib_min import checks
from nflib_min._arrays import Array
from nflib_min._trees import tree_leaves, tree_unflatten
from nflib_min.bijections import Bijection
from nflib_min.distributions import StandardNormal
from nflib_min.planar import m
from nflib_min.radial import softplus
from nflib_min.targets import Gaussian, LinearGaussian
from nflib_min.training import Fit, fit


class VariationalProgram(Bijection):
    r"""Fit $q_K$ to the posterior of a reading $x = z_1 + z_2 + \text{noise}$: nothing is wrong.

    Noise $\epsilon \sim N(0, I)$ goes through $z_0 = \mu + \sigma\epsilon$, where $\ln\sigma^2$ is
    learned, K planar layers (10) and one radial layer (14). As a map it takes eps to z_K, and its
    log-determinant includes the one of the first step, $\sum_i \ln\sigma_i$.

    Parameters
    ----------
    length : K, the number of planar layers.

    params: mean, log_variance (2,); u, w (K, 2), b (K,); z_ref (2,), log_alpha, beta (1,).

    >>> program = VariationalProgram()
    >>> params = program.probe(np.random.default_rng(0))
    >>> checks.round_trip_error(program, params, np.ones((3, 2))) < 1e-12
    True

    Source: Rezende & Mohamed (2015), eqs. (7), (10)-(15) and appendix A.
    """

    dim = 2

    def __init__(self, length: int = 3) -> None:
        self.length = length
        self.model = LinearGaussian(np.array([[1.0, 1.0]]), noise=0.5, x=np.array([2.0]))
        self.noise = StandardNormal(self.dim)

    # Each of these methods is a line that one of the mistakes gets wrong.

    def sigma(self, log_variance: Array) -> Array:
        """The standard deviation of q_0, from ln sigma^2."""
        return anp.exp(log_variance / 2)

    def u_hat(self, u: Array, w: Array) -> Array:
        """Appendix A: u moved along w until w.u_hat > -1."""
        wu = anp.dot(w, u)
        return u + (m(wu) - wu) * w / anp.dot(w, w)

    def planar_det(self, c: Array, h_in: Array, h_out: Array) -> Array:
        """(12), 1 + c (1 - h^2) with c = w.u_hat; h = tanh(w.z + b) before (in) and after."""
        return 1 + c * (1 - h_in**2)

    def radial_det(self, across: Array, along: Array) -> Array:
        """(14), from the stretch across the ray, 1 + beta h, and the one along it."""
        return across ** (self.dim - 1) * along

    def log(self, det: Array) -> Array:
        """ln|det| of one layer."""
        return anp.log(anp.abs(det))

    def root(self, c: float, b: float, a_out: Array) -> Array:
        """The one a with a + c tanh(a + b) = a_out: within |c| of it, halved down to rounding."""
        low, high = a_out - abs(c), a_out + abs(c)
        for _ in range(60):
            a = (low + high) / 2
            below = a + c * np.tanh(a + b) < a_out
            low, high = np.where(below, a, low), np.where(below, high, a)
        return (low + high) / 2

    def log_q(self, eps: Array, log_det: Array) -> Array:
        """(7): ln q_K(z_K), shape (n,)."""
        return self.noise.log_prob(eps) - log_det

    def log_joint(self, z: Array) -> Array:
        """ln p(x, z) = ln p(x | z) + ln p(z), shape (n,)."""
        return self.model.log_likelihood(z) + self.model.log_prior(z)

    def free_energies(self, params: dict, eps: Array) -> Array:
        """(15) before the average: ln q_K(z_K) - ln p(x, z_K), shape (n,)."""
        zK, log_det = self.forward_and_log_det(params, eps)
        return self.log_q(eps, log_det) - self.log_joint(zK)

    def new_data(self, params: dict, n: int, rng: np.random.Generator) -> Array:
        """Fresh readings x ~ p(x), shape (n, 1): a z from the prior, then noise."""
        z = self.noise.sample(n, rng)
        return z @ self.model.W.T + self.model.noise * rng.standard_normal((n, 1))

    # These lines hold in all mistakes.

    def start(self, params: dict, eps: Array) -> Array:
        """z_0 = mu + sigma eps, a draw of q_0."""
        return params["mean"] + self.sigma(params["log_variance"]) * eps

    def layers(self, params: dict, z: Array) -> tuple[Array, Array]:
        """z_K and the sum of the layers' ln|det|, from z_0."""
        log_det = 0.0
        for u, w, b in zip(params["u"], params["w"], params["b"], strict=True):
            u_hat, h_in = self.u_hat(u, w), anp.tanh(anp.dot(z, w) + b)
            z = z + u_hat * h_in[:, None]
            h_out = anp.tanh(anp.dot(z, w) + b)
            log_det = log_det + self.log(self.planar_det(anp.dot(w, u_hat), h_in, h_out))
        z_ref, alpha, beta = self._radial(params)
        r = anp.sqrt(anp.sum((z - z_ref) ** 2, axis=1))
        across, along = 1 + beta / (alpha + r), 1 + alpha * beta / (alpha + r) ** 2
        log_det = log_det + self.log(self.radial_det(across, along))
        return z_ref + across[:, None] * (z - z_ref), log_det

    def forward_and_log_det(self, params: dict, z0: Array) -> tuple[Array, Array]:
        zK, log_det = self.layers(params, self.start(params, z0))
        return zK, log_det + anp.sum(params["log_variance"]) / 2

    def inverse_and_log_det(self, params: dict, zK: Array) -> tuple[Array, Array]:
        z_ref, alpha, beta = self._radial(params)
        R = np.sqrt(np.sum((zK - z_ref) ** 2, axis=1))
        B = alpha + beta - R  # r^2 + B r - alpha R = 0
        r = (np.sqrt(B**2 + 4 * alpha * R) - B) / 2
        z = z_ref + (zK - z_ref) / (1 + beta / (alpha + r))[:, None]
        for u, w, b in reversed(list(zip(params["u"], params["w"], params["b"], strict=True))):
            u_hat = self.u_hat(u, w)
            a = self.root(np.dot(w, u_hat), b, z @ w)
            z = z - u_hat * np.tanh(a + b)[:, None]
        eps = (z - params["mean"]) / self.sigma(params["log_variance"])
        return eps, -self.forward_and_log_det(params, eps)[1]

    def log_prob(self, params: dict, z: Array) -> Array:
        """ln q_K anywhere, through the inverse, shape (n,)."""
        eps, log_det = self.inverse_and_log_det(params, z)
        return self.log_q(eps, -log_det)

    def _radial(self, params: dict) -> tuple[Array, Array, Array]:
        alpha = anp.exp(params["log_alpha"])
        return params["z_ref"], alpha, softplus(params["beta"]) - alpha

    def init(self, rng: np.random.Generator) -> dict:
        """Close to the identity, as for training."""
        return {
            "mean": np.zeros(2),
            "log_variance": np.zeros(2),
            "u": 0.01 * rng.standard_normal((self.length, 2)),
            "w": rng.standard_normal((self.length, 2)),
            "b": rng.standard_normal(self.length),
            "z_ref": rng.standard_normal(2),
            "log_alpha": np.zeros(1),
            "beta": np.full(1, 0.6),  # softplus(0.6) = 1.04, hardly more than alpha
        }

    def probe(self, rng: np.random.Generator) -> dict:
        """Far from the identity, where laws bite: every layer bends, with w.u = -2.5, 2.5, -3."""
        turn = rng.uniform(0, 2 * np.pi, (self.length, 1))
        w = 0.7 * np.hstack([np.cos(turn), np.sin(turn)])
        across = 0.7 * np.hstack([-np.sin(turn), np.cos(turn)])
        along = np.array([-2.5, 2.5, -3.0])[np.arange(self.length) % 3, None]
        return self.init(rng) | {
            "mean": rng.standard_normal(2),
            "log_variance": np.array([0.6, -0.8]),
            "w": w,
            "u": along * w / 0.7**2 + across,
            "beta": np.full(1, 2.0),
        }

    def train(self, steps: int = 150, seed: int = 0, batch: int = 64) -> Fit:
        """Adam on the mean of `free_energies`: algorithm 1 without the inference network."""
        rng = np.random.default_rng(seed)

        def loss(params: dict, rng: np.random.Generator, step: int) -> float:
            return anp.mean(self.free_energies(params, rng.standard_normal((batch, self.dim))))

        return fit(loss, self.init(rng), steps, rng, learning_rate=0.05)

    def __repr__(self) -> str:
        return type(self).__name__


class WrongSign(VariationalProgram):
    """The sign of the log-det."""

    def log_q(self, eps: Array, log_det: Array) -> Array:
        return self.noise.log_prob(eps) + log_det


class AtTheOutput(VariationalProgram):
    """The log-det evaluated at the layer's output."""

    def planar_det(self, c: Array, h_in: Array, h_out: Array) -> Array:
        return 1 + c * (1 - h_out**2)


class NormNotSquared(VariationalProgram):
    """|w| in place of |w|^2 in the constraint."""

    def u_hat(self, u: Array, w: Array) -> Array:
        wu = anp.dot(w, u)
        return u + (m(wu) - wu) * w / anp.sqrt(anp.dot(w, w))


class NoConstraint(VariationalProgram):
    """No constraint: u is used as it is."""

    def u_hat(self, u: Array, w: Array) -> Array:
        return u


class Precedence(VariationalProgram):
    """The radial exponent's precedence: ** binds before the minus."""

    def radial_det(self, across: Array, along: Array) -> Array:
        return across**self.dim - 1 * along


class DetNotLog(VariationalProgram):
    """The determinant in place of its logarithm."""

    def log(self, det: Array) -> Array:
        return anp.abs(det)


class Padded(VariationalProgram):
    """1e-6 inside the log, 'for stability'."""

    def log(self, det: Array) -> Array:
        return anp.log(anp.abs(det) + 1e-6)


class StartForEnd(VariationalProgram):
    """z_0 where z_K belongs."""

    def free_energies(self, params: dict, eps: Array) -> Array:
        log_det = self.forward_and_log_det(params, eps)[1]
        return self.log_q(eps, log_det) - self.log_joint(self.start(params, eps))


class ClosedFormKL(VariationalProgram):
    """The closed-form KL(q_0 || p), minus the log-dets."""

    def free_energies(self, params: dict, eps: Array) -> Array:
        zK, log_dets = self.layers(params, self.start(params, eps))
        mean, log_variance = params["mean"], params["log_variance"]
        kl = anp.sum(mean**2 + anp.exp(log_variance) - 1 - log_variance) / 2  # the prior sees z_0
        return kl - log_dets - self.model.log_likelihood(zK)


class PosteriorForPrior(VariationalProgram):
    """New data sampled through the posterior's flow."""

    def new_data(self, params: dict, n: int, rng: np.random.Generator) -> Array:
        z, _ = self.layers(params, self.noise.sample(n, rng))
        return z @ self.model.W.T + self.model.noise * rng.standard_normal((n, 1))


class LogVariance(VariationalProgram):
    """ln sigma^2 taken for ln sigma: draws use its exponential, densities the root of that."""

    def sigma(self, log_variance: Array) -> Array:
        return anp.exp(log_variance)


class FixedPoint(VariationalProgram):
    """An inverse by fixed-point iteration, which does not converge."""

    def root(self, c: float, b: float, a_out: Array) -> Array:
        a = a_out
        for _ in range(60):
            a = a_out - c * np.tanh(a + b)
        return a


class NoPrior(VariationalProgram):
    """An energy that is not normalizable: the prior is left out."""

    def log_joint(self, z: Array) -> Array:
        return self.model.log_likelihood(z)


MISTAKES = {
    # the determinant is wrong
    "log-det at the output": AtTheOutput,
    "precedence of **": Precedence,
    "det for its log": DetNotLog,
    "1e-6 in the log": Padded,
    "sigma for ln sigma^2": LogVariance,
    # the map
    "|w| for |w|^2": NormNotSquared,
    "no constraint": NoConstraint,
    "fixed-point inverse": FixedPoint,
    # the loss
    "sign of the log-det": WrongSign,
    "z_0 for z_K": StartForEnd,
    "closed-form KL(q_0)": ClosedFormKL,
    # the use
    "energy without a Z": NoPrior,
    "posterior for prior": PosteriorForPrior,
}


# an error above its tolerance is an alarm: lengths, nats, masses, nats, nats, standard errors
LAWS = {
    "round trip": 1e-8,
    "log det": 1e-8,
    "mass": 0.01,
    "bound": 0,
    "finite Z": 0.01,
    "new data": 5,
}
COMMON_CHECKS = {"loss fell": 0, "gradient": 1e-3}  # nats, and a relative error


def run_checks(program: VariationalProgram, run: Fit, seed: int = 0) -> dict[str, float]:
    r"""The error that each popular check and each law finds in a program that has been trained.

    Laws of the map are asked at `probe`, far from the identity; those of the result at the trained
    parameters. Compare with COMMON_CHECKS and LAWS, which hold the tolerances.

    >>> program = VariationalProgram()
    >>> failed(run_checks(program, program.train()))
    {}

    Source: the laws of `checks`, each with its own.
    """
    rng = np.random.default_rng(seed)
    probe, eps = program.probe(rng), rng.standard_normal((300, program.dim))
    log_det = program.forward_and_log_det(probe, eps)[1]
    losses, model = run.history["loss"], program.model
    log_w = -program.free_energies(run.params, rng.standard_normal((5000, program.dim)))
    evidence = Gaussian(np.zeros(1), model.W @ model.W.T + model.noise**2 * np.eye(1))  # p(x)
    exact = evidence.sample(20_000, rng)
    return {
        "loss fell": max(0.0, float(losses[-25:].mean() - losses[:25].mean())),
        "gradient": gradient_error(program, run.params, eps),
        "round trip": checks.round_trip_error(program, probe, eps),
        "log det": float(np.abs(log_det - checks.log_det_by_autodiff(program, probe, eps)).max()),
        "mass": abs(checks.total_mass(lambda z: program.log_prob(probe, z), (-10, 10), 230) - 1),
        "bound": excess(log_w, model.log_normalizer),
        "finite Z": checks.mass_growth(program.log_joint),
        "new data": checks.moment_gap(program.new_data(run.params, 20_000, rng), exact),
    }


def failed(errors: dict[str, float]) -> dict[str, float]:
    """The errors above their tolerance, and those that are not a number.

    >>> failed({"log det": 1e-15, "mass": 0.4, "loss fell": 0.0})
    {'mass': 0.4}
    """
    tolerances = COMMON_CHECKS | LAWS
    return {check: error for check, error in errors.items() if not error <= tolerances[check]}


def gradient_error(
    program: VariationalProgram, params: dict, eps: Array, step: float = 1e-5
) -> float:
    """Autograd's slope of the loss along one direction against a central difference, relative.

    It is 0 for a wrong loss as for a right one: both are differentiated as they stand.

    >>> program = WrongSign()
    >>> params = program.init(np.random.default_rng(0))
    >>> gradient_error(program, params, np.ones((3, 2))) < 1e-6
    True
    """

    def loss(params: dict) -> float:
        return anp.mean(program.free_energies(params, eps))

    def moved(by: float) -> dict:
        return tree_unflatten(params, (p + by for _, p in tree_leaves(params)))

    slope = sum(float(np.sum(g)) for _, g in tree_leaves(grad(loss)(params)))
    difference = (loss(moved(step)) - loss(moved(-step))) / (2 * step)
    return abs(slope - float(difference)) / (1 + abs(slope))


def excess(log_w: Array, log_evidence: float) -> float:
    """By how many nats a bound lies above the evidence; 0 where `checks.check_bound` accepts it.

    >>> excess(np.array([0.99, 1.01]), 0.0), excess(np.array([-1.0, -2.0]), 0.0)
    (1.0, 0.0)
    """
    try:
        checks.check_bound(log_w, log_evidence)
    except AssertionError:
        return float(np.mean(log_w)) - log_evidence
    return 0.0
