"""The sampler's word on a fit: chains that start from its draws, and how far answers are off."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nflib_min._arrays import Array
from nflib_min.flow import Chain
from nflib_min.posterior.given import pulled_back
from nflib_min.posterior.hmc import Chains, short_chains, split_r_hat
from nflib_min.posterior.necks import Uncentred
from nflib_min.targets import Target

CHAINS = 128


@dataclass
class Word:
    """What the chains say: r_hat, and how far answers by plain or weighted draws are from theirs.

    off : the largest |mean - the chains' mean| in their sd, and coordinate, by plain and by
    weighted draws. wide : the largest |sd / the chains' sd - 1| likewise.
    """

    chains: Chains
    r_hat: float
    worst: int
    off: tuple[float, float]
    wide: tuple[float, float]

    def agrees(self, weighted: bool, tolerance: float) -> bool:
        """True if means within `tolerance` sd, and sds within it, of those of the chains."""
        return max(self.off[weighted], self.wide[weighted]) <= tolerance


def ask_chains(
    target: Target,
    necks: list[Uncentred],
    z: Array,
    log_w: Array,
    rng: np.random.Generator,
    reported: Callable[[Array], Array],
) -> Word:
    """Run the chains from draws z by their weights, in coordinates without necks where known.

    reported : (n, d) -> (n, c), the quantities whose moments are compared; the last d are those of
    which R-hat is taken.
    """
    w = np.exp(log_w)
    w = w / w.sum()
    starts = z[rng.choice(len(z), CHAINS, p=w)]
    where, at, f = target, z, Chain([*necks]) if necks else None
    if f is not None:
        none = f.init(rng)
        where, starts, at = pulled_back(target, f), f.inverse(none, starts), f.inverse(none, z)
    centred = at - w @ at
    chains = short_chains(where, starts, rng, covariance=(centred * w[:, None]).T @ centred)
    chains = chains if f is None else chains.through(f)
    z, draws = reported(z), reported(chains.draws)
    r_hat = split_r_hat(draws[:, -target.dim :].reshape(chains.z.shape))
    mean, sd = draws.mean(axis=0), draws.std(axis=0)

    def differences(weights: Array) -> tuple[float, float]:
        m = weights @ z
        stretch = np.sqrt(weights @ (z - m) ** 2) / sd
        return float(np.max(np.abs(m - mean) / sd)), float(np.max(np.abs(stretch - 1)))

    plain, weighted = differences(np.full(len(z), 1 / len(z))), differences(w)
    off, wide = (plain[0], weighted[0]), (plain[1], weighted[1])
    return Word(chains, float(r_hat.max()), int(np.argmax(r_hat)), off, wide)
