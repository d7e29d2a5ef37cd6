"""What a training has changed so far, in memory and in its checkpoint."""

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nflib_min import checkpoint as files
from nflib_min._arrays import Array, Params
from nflib_min.adam import Adam

BLOCK = 50  # steps between two looks at the progress bar and at the best parameters so far


class TrainingState(Adam):
    """All that training changes: Adam's, the best parameters so far, the record of the steps."""

    def __init__(self, params: Params, average: float | None = None) -> None:
        super().__init__(params, average)
        self.best: Array | None = None
        self.best_loss = math.inf

    def mean_loss(self) -> float:
        """The mean loss of the last block of steps."""
        return float(np.mean(self.losses[-BLOCK:]))

    def remember_best(self) -> None:
        """Keep a copy of the parameters if the mean loss of the last block is the lowest yet."""
        mean_loss = self.mean_loss()
        if mean_loss < self.best_loss:
            self.best_loss = mean_loss
            if self.best is None:
                self.best = self.flat.copy()
            else:
                self.best[:] = self.flat

    def probe(self, gradient: Callable) -> float | None:
        """The loss here, on draws of its own, by which a checkpoint knows it; None if unknown."""
        try:
            params = self.tree(self.flat.copy())
            value = float(gradient(params, np.random.default_rng(0), self.step)[0])
        except (FloatingPointError, KeyboardInterrupt):
            return None
        return value if math.isfinite(value) else None

    def save(self, path: Path, rng_state: Any, rate: Callable, gradient: Callable) -> None:
        """Write everything that an exact resume needs."""
        header = {
            "names": self.names,
            "step": self.step,
            "average": self.average,
            "best_loss": self.best_loss,
            "rng": rng_state,
            "rate": rate(self.step),
            "probe": self.probe(gradient),
        }
        arrays = {"flat": self.flat, "moments": np.stack(self.moments)}
        arrays |= {"losses": np.array(self.losses), "norms": np.array(self.norms)}
        optional = {"best": self.best, "mean": self.mean}
        arrays |= {name: array for name, array in optional.items() if array is not None}
        files.save(path, header, arrays)

    def load(
        self, path: Path, steps: int, rng: np.random.Generator, rate: Callable, gradient: Callable
    ) -> None:
        """Take everything from a file that `save` wrote; ValueError, and nothing taken, if not."""
        refusal = f"checkpoint {path.name}: expected a file written by fit for these parameters"
        header, arrays = files.load(path)
        if header["step"] > steps:
            raise ValueError(
                f"steps: expected at least the {header['step']} that checkpoint {path.name} has "
                f"done, got {steps}"
            )
        if header["names"] != self.names:
            raise ValueError(f"{refusal}, got one with {header['names']}")
        if arrays["flat"].dtype != self.flat.dtype:
            raise ValueError(f"{refusal}, of dtype {self.flat.dtype}, got {arrays['flat'].dtype}")
        if header["average"] != self.average:
            raise ValueError(
                f"{refusal} with average = {self.average}, got one with {header['average']}"
            )
        kind = header["rng"]["bit_generator"]
        if kind != rng.bit_generator.state["bit_generator"]:
            raise ValueError(
                f"{refusal} with a {rng.bit_generator.state['bit_generator']} generator, got {kind}"
            )
        mine, self.step = self.flat.copy(), header["step"]
        self.flat[:] = arrays["flat"]
        probe: Any = self.probe(gradient)
        stored = header["probe"]
        if not (
            probe is None or stored is None or abs(probe - stored) <= 1e-6 + 1e-3 * abs(stored)
        ):
            self.flat[:], self.step = mine, 0
            raise ValueError(
                f"{refusal} and this loss, which is {probe} at its parameters; it was {stored}"
            )
        if not math.isclose(rate(self.step), header["rate"], rel_tol=1e-9):
            warnings.warn(
                f"checkpoint {path.name}: its learning rate at step {self.step} was "
                f"{header['rate']:.6g}, and is {rate(self.step):.6g} now",
                stacklevel=3,
            )
        rng.bit_generator.state = header["rng"]
        self.moments[0][:], self.moments[1][:] = arrays["moments"]
        self.best, self.best_loss = arrays.get("best"), header["best_loss"]
        self.losses, self.norms = arrays["losses"].tolist(), arrays["norms"].tolist()
        self.mean = arrays.get("mean")
