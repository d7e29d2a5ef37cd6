"""p(x | z): binary pixels."""

import autograd.numpy as anp
import numpy as np

from nflib_min._arrays import Array, is_traced
from nflib_min.radial import softplus


class Bernoulli:
    r"""Binary pixels: $\ln p(x|z) = \sum_i x_i \ell_i - \ln(1 + e^{\ell_i})$, logits l from z.

    >>> Bernoulli().log_prob(np.zeros((1, 2)), np.array([[0.0, 1.0]])).round(4)  # 2 ln(1/2)
    array([-1.3863])

    Source: Rezende & Mohamed (2015), section 6.2 (binarised digits).
    """

    outputs = 1  # of the decoder, per pixel

    def log_prob(self, out: Array, x: Array) -> Array:
        """ln p(x|z), shape (n,), from the decoder's output, shape (n, pixels)."""
        if is_traced((out, x)):
            return anp.sum(x * out - softplus(out), axis=1)
        return self.log_prob_and_grad(out, x)[0]

    def log_prob_and_grad(self, out: Array, x: Array) -> tuple[Array, Array]:
        r"""ln p(x|z) and its gradient x - sigmoid(l), shape (n, pixels), from one tanh.

        With $t = \tanh(l/2)$: $\sigma(l) = \tfrac12(1 + t)$ and $\ln p = \sum_i (x_i - \tfrac12)
        l_i - \tfrac12 |l_i| + \ln \tfrac12(1 + |t_i|)$, whose last factors are in [1/2, 1].
        """
        half = np.multiply(out, 0.5)
        t = np.tanh(half)
        centred = np.subtract(x, 0.5, dtype=out.dtype)
        log_p = np.einsum("np,np->n", np.broadcast_to(centred, out.shape), out)
        log_p -= np.einsum("np->n", np.abs(half, out=half))
        factors = np.abs(t, out=half)
        factors += 1
        factors *= 0.5
        log_p += _log_of_product(factors)
        t *= 0.5
        return log_p, np.subtract(centred, t, out=t)

    def mean(self, out: Array) -> Array:
        """E[x|z] = sigmoid(l), shape (n, pixels)."""
        return np.exp(-softplus(-out))

    def sample(self, out: Array, rng: np.random.Generator) -> Array:
        """Draw x given z: zeros and ones, shape (n, pixels)."""
        return (rng.random(out.shape, dtype=out.dtype) < self.mean(out)).astype(out.dtype)

    def check(self, x: Array) -> None:
        """ValueError unless x holds probabilities or pixels, all in [0, 1]."""
        if not (np.min(x) >= 0 and np.max(x) <= 1):
            raise ValueError(f"x: expected values in [0, 1], got {np.min(x)} to {np.max(x)}")


def _log_of_product(factors: Array) -> Array:
    """sum ln over axis 1 of factors in [1/2, 1]: eight, at least 2^-8, share one logarithm."""
    for _ in range(3):
        half, odd = divmod(factors.shape[1], 2)
        rest = factors[:, 2 * half :]
        factors = factors[:, :half] * factors[:, half : 2 * half]
        if odd:
            factors = np.concatenate([factors, rest], axis=1)
    return np.log(factors).sum(axis=1)
