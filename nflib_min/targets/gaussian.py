"""Targets in closed form throughout: a Gaussian, and the conjugate linear model."""

import autograd.numpy as anp
import numpy as np

from nflib_min._arrays import Array, check_dim
from nflib_min.targets.target import Target, check_symmetric


class Gaussian(Target):
    r"""A normal density with full covariance.

    $\ln p = -\tfrac12 (z-\mu)^\top \Sigma^{-1} (z-\mu) - \tfrac12 \ln\det 2\pi\Sigma$.

    Parameters
    ----------
    mean : (d,). covariance : (d, d), symmetric and positive definite; ValueError otherwise.

    >>> target = Gaussian(np.zeros(2), np.array([[1.0, 0.9], [0.9, 1.0]]))
    >>> round(target.mean_field_gap(), 4)
    0.8304

    Source: the correlated posterior that no independent Gaussian fits; Rezende & Mohamed (2015),
    section 2.
    """

    def __init__(self, mean: Array, covariance: Array) -> None:
        mean, covariance = np.asarray(mean, dtype=float), np.asarray(covariance, dtype=float)
        d = check_dim(mean.size)
        if mean.shape != (d,) or covariance.shape != (d, d):
            raise ValueError(
                f"mean and covariance: expected shapes ({d},) and ({d}, {d}), got "
                f"{mean.shape} and {covariance.shape}"
            )
        check_symmetric(covariance, "covariance")
        try:
            root = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            least = np.linalg.eigvalsh(covariance).min()
            raise ValueError(
                f"covariance: expected a positive definite matrix, got least eigenvalue {least:.3g}"
            ) from None
        self.centre, self.root = mean, root
        self.precision = np.linalg.inv(covariance)
        self.half_log_det = float(np.sum(np.log(np.diag(root))))
        super().__init__(
            self._value,
            d,
            gradient=self._value_and_grad,
            log_normalizer=0.0,
            sample=self._draws,
            mean=mean,
            covariance=covariance,
            name="Gaussian",
        )

    def _value(self, z: Array) -> Array:
        centred = z - self.centre
        square = anp.sum(anp.dot(centred, self.precision) * centred, axis=1)
        return -0.5 * square - self.half_log_det - 0.5 * self.dim * float(np.log(2 * np.pi))

    def _value_and_grad(self, z: Array) -> tuple[Array, Array]:
        return self._value(z), -(z - self.centre) @ self.precision

    def _draws(self, n: int, rng: np.random.Generator) -> Array:
        return self.centre + rng.standard_normal((n, self.dim)) @ self.root.T

    def mean_field_gap(self) -> float:
        r"""$\min_q \mathrm{KL}(q \| p)$ over independent Gaussians q, in nats.

        The optimum has the mean of p and variances $1 / \Lambda_{ii}$, $\Lambda = \Sigma^{-1}$, so
        the gap is $\tfrac12 \left(\sum_i \ln \Lambda_{ii} + \ln\det\Sigma\right)$.
        """
        return float(0.5 * np.sum(np.log(np.diag(self.precision))) + self.half_log_det)


class LinearGaussian(Target):
    r"""The conjugate model z ~ N(0, I), x | z ~ N(W z, s^2 I), in closed form throughout.

    log_density is the joint $\ln p(x, z)$ at the observed x; log_normalizer is the log evidence
    $\ln p(x) = \ln N(x; 0, W W^\top + s^2 I)$; exact draws come from the posterior
    $N(\Sigma W^\top x / s^2, \Sigma)$, $\Sigma = (I + W^\top W / s^2)^{-1}$.

    Parameters
    ----------
    W : (m, d). noise : s > 0. x : (m,), one observation. ValueError on wrong shapes or s <= 0.

    >>> model = LinearGaussian(np.array([[2.0]]), 1.0, np.array([1.0]))
    >>> round(model.log_normalizer, 4)  # ln N(1; 0, 5)
    -1.8237

    Source: Rezende & Mohamed (2015), eqs. (1)-(3), in the one model where all three are exact.
    """

    def __init__(self, W: Array, noise: float, x: Array) -> None:
        W, x = np.asarray(W, dtype=float), np.asarray(x, dtype=float)
        if W.ndim != 2 or x.shape != W.shape[:1]:
            raise ValueError(
                f"W and x: expected shapes (m, d) and (m,), got {W.shape} and {x.shape}"
            )
        if not noise > 0:
            raise ValueError(f"noise: expected a number > 0, got {noise}")
        self.W, self.noise, self.x = W, float(noise), x
        m, d = W.shape
        covariance = np.linalg.inv(np.eye(d) + W.T @ W / noise**2)
        self.posterior = Gaussian(covariance @ W.T @ x / noise**2, covariance)
        evidence = Gaussian(np.zeros(m), W @ W.T + noise**2 * np.eye(m))
        super().__init__(
            self._joint,
            d,
            gradient=self._joint_and_grad,
            log_normalizer=float(evidence.log_density(x[None])[0]),
            sample=self.posterior.sample,
            name="LinearGaussian",
        )

    def log_likelihood(self, z: Array) -> Array:
        """ln p(x | z), shape (n,)."""
        residual = (self.x - anp.dot(z, self.W.T)) / self.noise
        constant = len(self.x) * float(np.log(np.sqrt(2 * np.pi) * self.noise))
        return -0.5 * anp.sum(residual**2, axis=1) - constant

    def log_prior(self, z: Array) -> Array:
        """ln p(z), shape (n,)."""
        return -0.5 * anp.sum(z**2, axis=1) - 0.5 * self.dim * float(np.log(2 * np.pi))

    def _joint(self, z: Array) -> Array:
        return self.log_likelihood(z) + self.log_prior(z)

    def _joint_and_grad(self, z: Array) -> tuple[Array, Array]:
        return self._joint(z), (self.x - z @ self.W.T) @ self.W / self.noise**2 - z
