"""One posterior of posteriordb: its density on real coordinates, and the maps to its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import autograd.numpy as anp
import numpy as np

from nflib_min._arrays import Array
from nflib_min.targets import Target

Draws = dict[str, Array]  # by the reference's names, (n,) each


@dataclass(frozen=True)
class Case:
    """A model with its data.

    target : ln p~ on d real coordinates. Of a coordinate named "log x" the model's own parameter is
    x, and likewise of "logit x". kind : of model, for the table. size : how many observations.
    natural : z -> the model's own parameters, (n, d) -> (n, d); those of the names where None.
    back : the reference's draws -> z, likewise.
    """

    target: Target
    kind: str
    size: int
    natural_of: Callable[[Array], Array] | None = None
    back_of: Callable[[Draws], Array] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return self.target.names

    def natural(self, z: Array) -> Array:
        """The parameters as the model has them, shape (n, d)."""
        if self.natural_of is not None:
            return self.natural_of(z)
        maps = {"log": np.exp, "logit": sigmoid}
        words = [name.split(" ") for name in self.names]
        return np.column_stack(
            [maps[word[0]](x) if len(word) > 1 else x for word, x in zip(words, z.T, strict=True)]
        )

    def back(self, draws: Draws) -> Array:
        """The real coordinates of draws, shape (n, d)."""
        if self.back_of is not None:
            return self.back_of(draws)
        maps = {"log": np.log, "logit": logit}
        words = [name.split(" ") for name in self.names]
        return np.column_stack(
            [maps[word[0]](draws[word[1]]) if len(word) > 1 else draws[word[0]] for word in words]
        )


def case(
    log_density: Callable[[Array], Array],
    names: Sequence[str],
    kind: str,
    size: int,
    natural_of: Callable[[Array], Array] | None = None,
    back_of: Callable[[Draws], Array] | None = None,
) -> Case:
    return Case(Target(log_density, names=names), kind, size, natural_of, back_of)


def indexed(name: str, n: int) -> list[str]:
    """name[1], ..., name[n], as the references count."""
    return [f"{name}[{i + 1}]" for i in range(n)]


# ---------------------------------------------------------------- log densities up to a constant
def normal(x: Array, mean: Array | float, sd: Array | float) -> Array:
    return -0.5 * ((x - mean) / sd) ** 2 - anp.log(sd)


def cauchy(x: Array, scale: float) -> Array:
    return -anp.log1p((x / scale) ** 2)


def student(x: Array, degrees: float, mean: float, scale: float) -> Array:
    return -0.5 * (degrees + 1) * anp.log1p(((x - mean) / scale) ** 2 / degrees)


def log_sigmoid(x: Array) -> Array:
    return -anp.logaddexp(0.0, -x)


def log_slope(x: Array) -> Array:
    """ln of the sigmoid's derivative: the Jacobian of a chance that is given by its logit."""
    return log_sigmoid(x) + log_sigmoid(-x)


def sigmoid(x: Array) -> Array:
    return 0.5 * (1 + anp.tanh(0.5 * x))


def logit(p: Array) -> Array:
    return np.log(p) - np.log1p(-p)
