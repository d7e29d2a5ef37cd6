r"""Heavy tails: how fast a density falls far out, and the base that falls as slowly."""

import math

import autograd.numpy as anp
import numpy as np

from nflib_min._arrays import Array, check_dim, check_points, check_rng
from nflib_min.posterior.given import FiniteTarget

HEAVY = 10.0  # fewer degrees of freedom than this: no normal base covers the tail
NEAR, FAR = 8.0, 64.0  # in widths of the Gaussian: where the tail is looked at


class StudentT:
    r"""Student's t with $\nu$ degrees of freedom, the base of a flow whose target falls slowly.

    $\ln q_0(z) = c - \frac{\nu + d}{2} \ln(1 + |z|^2 / \nu)$, all coordinates together; or, if not
    `joint`, a sum of such terms with d = 1, one a coordinate.

    Parameters
    ----------
    dim : d. dof : nu > 0. joint : True for one common tail. ValueError otherwise.

    >>> StudentT(1, 1.0).log_prob(np.zeros((1, 1))).round(4)  # Cauchy: 1 / pi
    array([-1.1447])

    Source: Jaini, Kobyzev, Yu & Brubaker, Tails of Lipschitz triangular flows (2020).
    """

    def __init__(self, dim: int, dof: float, joint: bool = True) -> None:
        self.dim, self.dof, self.joint = check_dim(dim), float(dof), joint
        if not dof > 0:
            raise ValueError(f"dof: expected a number > 0, got {dof}")
        together = dim if joint else 1
        self.power = 0.5 * (self.dof + together)
        self.constant = math.lgamma(self.power) - math.lgamma(0.5 * dof)
        self.constant -= 0.5 * together * math.log(math.pi * dof)

    def sample(self, n: int, rng: np.random.Generator, dtype: type = float) -> Array:
        """Draw z_0, shape (n, d)."""
        check_rng(rng)
        chi_square = rng.chisquare(self.dof, (n, 1 if self.joint else self.dim))
        z = rng.standard_normal((n, self.dim)) * np.sqrt(self.dof / chi_square)
        return z.astype(dtype)

    def log_prob(self, z: Array) -> Array:
        """ln q_0(z), shape (n,), in nats."""
        check_points(z, self.dim, "z")
        square = anp.sum(z * z, axis=1, keepdims=True) if self.joint else z * z
        return anp.sum(self.constant - self.power * anp.log1p(square / self.dof), axis=1)

    def __repr__(self) -> str:
        return f"StudentT({self.dim}, dof={self.dof:.3g}, joint={self.joint})"


def degrees_of_freedom(
    target: FiniteTarget, mean: Array, L: Array, rng: np.random.Generator
) -> tuple[Array, float]:
    r"""How fast a density falls along each principal axis of a Gaussian, (d,), and in all together.

    A Gaussian's ELBO falls by $a \ln 8$ where it is stretched from 8 to 64 times its width: the
    entropy gains ln 8 for each stretched direction, and a density with tails $|z|^{-p}$ loses
    $p \ln 8$. Student's t in d dimensions, $p = \nu + d$, has $a = \nu + d - 1$ along an axis and
    $a = \nu$ in all together; d independent ones have $\nu$ and $d \nu$: the least of all is
    $\nu$. Where it is not positive there is no normalizer. Exponential tails have a of 20 to 30.
    """
    axes, widths, _ = np.linalg.svd(L)
    eps = rng.standard_normal((200, len(mean)))

    def elbo(stretch: Array) -> float:
        values = target(mean + (eps * widths * stretch) @ axes.T)
        return float(np.mean(values) + np.log(stretch).sum())

    picks = [*np.eye(len(mean)), np.ones(len(mean))]
    with np.errstate(invalid="ignore"):  # where both are -inf the density has an end: no tail
        falls = np.array([elbo(NEAR**pick) - elbo(FAR**pick) for pick in picks])
    *along, together = np.where(np.isnan(falls), np.inf, falls) / math.log(FAR / NEAR)
    return np.array(along), float(together)
