"""p(x, z): one layer of latents and a decoder."""

from typing import Any

import numpy as np

from nflib_min._arrays import Array, check_dim
from nflib_min.amortized.likelihood import Bernoulli
from nflib_min.distributions import StandardNormal
from nflib_min.networks import MLP


class DeepLatentGaussianModel:
    r"""One layer of latents: $p(x, z) = p(x | f(z))\, N(z | 0, I)$, f a network, the decoder.

    Parameters
    ----------
    dim : d, size of z. pixels : size of x. hidden : sizes of the decoder's rectified layers.
    likelihood : p(x|z), `Bernoulli()` if None; or an object like it, with `outputs` a pixel.

    Errors: ValueError on sizes < 1.

    >>> model = DeepLatentGaussianModel(dim=2, pixels=4, hidden=(8,))
    >>> rng = np.random.default_rng(0)
    >>> model.sample(model.init(rng), 3, rng).shape
    (3, 4)

    Source: Rezende & Mohamed (2015), eq. (4) with L = 1, as in section 6.2.
    """

    def __init__(
        self,
        dim: int,
        pixels: int,
        hidden: tuple[int, ...] = (400,),
        likelihood: Any = None,
    ) -> None:
        self.dim, self.pixels = check_dim(dim), check_dim(pixels, "pixels")
        self.likelihood = Bernoulli() if likelihood is None else likelihood
        self.prior = StandardNormal(dim)
        self.decoder = MLP((dim, *hidden, pixels * self.likelihood.outputs), "relu")

    def init(self, rng: np.random.Generator) -> dict:
        """theta, with a small last layer: at first every z explains x alike."""
        return self.decoder.init(rng, last_scale=0.1)

    def log_joint(self, theta: dict, x: Array, z: Array) -> Array:
        """ln p(x, z) = ln p(x|z) + ln p(z), shape (n,), in nats."""
        return self.likelihood.log_prob(self.decoder(theta, z), x) + self.prior.log_prob(z)

    def sample(self, theta: dict, n: int, rng: np.random.Generator) -> Array:
        """New x, shape (n, pixels): z from the PRIOR, never from the posterior's flow, then x."""
        z = self.prior.sample(check_dim(n, "n"), rng, theta["W0"].dtype.type)
        return self.likelihood.sample(self.decoder(theta, z), rng)

    def __repr__(self) -> str:
        return (
            f"DeepLatentGaussianModel({self.dim}, {self.pixels}, {type(self.likelihood).__name__})"
        )
