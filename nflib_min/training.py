r"""Minimize a loss over explicit parameters: Adam, with a history, checkpoints and exact resume."""

import inspect
import math
import sys
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from autograd import value_and_grad

from nflib_min import checkpoint as files
from nflib_min._arrays import Array, Params, check_dim, check_rng
from nflib_min.adam import Adam

BLOCK = 50  # steps between two looks at the progress bar and at the best parameters so far


@dataclass
class Fit:
    """What `fit` returns.

    params : the last parameters, or the best so far if training was interrupted.
    history : dict of arrays (steps,): step, loss and grad_norm (before clipping).
    interrupted : True if a KeyboardInterrupt ended training early.
    mean_params : the running mean of the parameters, where `fit` was asked for one.
    """

    params: Params
    history: dict[str, Array]
    interrupted: bool = False
    mean_params: Params | None = None


def cosine_decay(peak: float, steps: int, warmup: int = 0) -> Callable[[int], float]:
    r"""A learning rate that falls from peak to 0 over `steps`, along half a cosine.

    $\eta_t = \tfrac12 \eta (1 + \cos(\pi t / T))$, multiplied by $(t + 1) / \text{warmup}$ before
    step `warmup`. Errors: ValueError unless peak > 0 and steps >= 1.

    >>> rate = cosine_decay(0.1, 100)
    >>> rate(0), rate(50).__round__(3), rate(100)
    (0.1, 0.05, 0.0)

    Source: Loshchilov & Hutter, SGDR (2016), eq. (5), without restarts.
    """
    check_dim(steps, "steps")
    if not peak > 0:
        raise ValueError(f"peak: expected a rate > 0, got {peak}")

    def rate(step: int) -> float:
        ramp = min(1.0, (step + 1) / warmup) if warmup else 1.0
        return ramp * 0.5 * peak * (1 + math.cos(math.pi * min(step / steps, 1.0)))

    return rate


def fit(
    loss: Any,
    params: Params,
    steps: int,
    rng: np.random.Generator,
    *,
    learning_rate: float | Callable[[int], float] = 5e-3,
    clip: float = 10.0,
    average: float | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    progress: bool | None = None,
) -> Fit:
    r"""Minimize by Adam, $\theta \leftarrow \theta - \eta_t \hat m / (\sqrt{\hat v} + 10^{-8})$.

    Parameters
    ----------
    loss : an object with value_and_grad(params, rng, step), such as `FreeEnergy`, or a function
        loss(params, rng, step) -> scalar, which autograd differentiates. If value_and_grad takes
        `out`, a tree like params, it may write its gradient there.
    params : dicts, lists and tuples of floating arrays of one dtype; copied, never changed.
    steps : how many updates in all, those of an earlier run that is resumed included.
    rng : all randomness of the training comes from here.
    learning_rate : eta > 0, or a function of the step.
    clip : gradients longer than this are scaled down to it.
    average : a share s in (0, 1]: keep a running mean of the parameters over about the last s t of
        t steps, which forgets the noise of single steps; it grows with the training. None for none.
    checkpoint : a file that is written atomically every `checkpoint_every` steps, at the end, and
        when training is interrupted or a value is not finite. If it exists, training goes on from
        it, to the same numbers as an uninterrupted run. One process at a time.
    progress : None shows a bar only where a person is watching (a terminal); False never.

    Errors: ValueError on wrong arguments or on a checkpoint that is corrupt, longer than `steps`,
    or of another loss or other parameters (the file is left as it is); FloatingPointError names the
    step and the term where a value is not finite. A KeyboardInterrupt returns the best parameters
    so far. A checkpoint of another learning rate is resumed with a warning.

    >>> import autograd.numpy as anp
    >>> result = fit(lambda p, rng, step: anp.sum((p["x"] - 3.0) ** 2),
    ...              {"x": np.zeros(2)}, 500, np.random.default_rng(0), learning_rate=0.1)
    >>> result.params["x"].round(3)
    array([3., 3.])

    Source: Kingma & Ba, Adam (2014), algorithm 1; Rezende & Mohamed (2015), algorithm 1; the mean:
    Shamir & Zhang, Stochastic gradient descent for non-smooth optimization (2013), section 4.
    """
    check_dim(steps, "steps")
    check_dim(checkpoint_every, "checkpoint_every")
    check_rng(rng)
    if not clip > 0:
        raise ValueError(f"clip: expected a length > 0, got {clip}")
    if not (callable(learning_rate) or learning_rate > 0):
        raise ValueError(f"learning_rate: expected a rate > 0, got {learning_rate}")
    if average is not None and not 0 < average <= 1:
        raise ValueError(f"average: expected a share of the steps, in (0, 1], got {average}")
    rate = learning_rate if callable(learning_rate) else lambda step: learning_rate
    gradient = loss.value_and_grad if hasattr(loss, "value_and_grad") else _by_autograd(loss)
    state = _State(params, average)
    out = {"out": state.g_params} if "out" in inspect.signature(gradient).parameters else {}

    before: Any = None  # the generator's state before a step that is not finished yet

    def save() -> None:
        if checkpoint is not None and state.whole:
            at = rng.bit_generator.state if before is None else before
            state.save(Path(checkpoint), at, rate, gradient)

    if checkpoint is not None and Path(checkpoint).exists():
        state.load(Path(checkpoint), rng, rate, gradient)
        if state.step > steps:
            raise ValueError(
                f"steps: expected at least the {state.step} that checkpoint "
                f"{Path(checkpoint).name} has done, got {steps}"
            )
    try:
        with _bar(steps, state.step, progress) as bar:
            while state.step < steps:
                if checkpoint is not None:  # an interrupted step is taken again, with its own draws
                    before = rng.bit_generator.state
                value, g = gradient(state.params, rng, state.step, **out)
                state.update(value, g, rate(state.step), clip)
                before = None
                if state.step % BLOCK == 0 or state.step == steps:
                    mean_loss = state.remember_best()
                    if bar is not None:
                        bar.update(state.step - bar.n)
                        bar.set_postfix_str(f"loss {mean_loss:.4g}", refresh=False)
                if state.step % checkpoint_every == 0 or state.step == steps:
                    save()
    except KeyboardInterrupt:
        with suppress(KeyboardInterrupt):  # a second one does not wait for the file
            save()
        return state.result(interrupted=True)
    except FloatingPointError:
        save()
        raise
    return state.result()


def _bar(steps: int, done: int, progress: bool | None) -> AbstractContextManager:
    """tqdm's bar where one is shown; only then is it imported, a fifth of all that we import."""
    if not (sys.stderr.isatty() if progress is None else progress):
        return nullcontext()
    from tqdm import tqdm

    return tqdm(total=steps, initial=done)


def _by_autograd(loss: Callable) -> Callable:
    if not callable(loss):
        raise ValueError(
            "loss: expected a function of (params, rng, step) or an object with value_and_grad, "
            f"got a {type(loss).__name__}"
        )
    both = value_and_grad(loss)

    def gradient(params: Params, rng: np.random.Generator, step: int) -> tuple[float, Params]:
        value, g = both(params, rng, step)
        return float(value), g

    return gradient


class _State(Adam):
    """All that training changes: Adam's, the best parameters so far, the record of the steps."""

    def __init__(self, params: Params, average: float | None = None) -> None:
        super().__init__(params, average)
        self.best: Array | None = None
        self.best_loss = math.inf

    def remember_best(self) -> float:
        """Keep a copy of the parameters if the mean loss of the last block is the lowest yet."""
        mean_loss = float(np.mean(self.losses[-BLOCK:]))
        if mean_loss < self.best_loss:
            self.best_loss = mean_loss
            if self.best is None:
                self.best = self.flat.copy()
            else:
                self.best[:] = self.flat
        return mean_loss

    def result(self, interrupted: bool = False) -> Fit:
        """What `fit` returns; the state ends here, so that its arrays become the caller's."""
        best = self.best if interrupted and self.best is not None else self.flat
        mean = None if self.mean is None else self.tree(self.mean)
        history = {
            "step": np.arange(self.step),
            "loss": np.array(self.losses[: self.step]),
            "grad_norm": np.array(self.norms[: self.step]),
        }
        return Fit(self.tree(best), history, interrupted, mean)

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
        self, path: Path, rng: np.random.Generator, rate: Callable, gradient: Callable
    ) -> None:
        """Take everything from a file that `save` wrote; ValueError, and nothing taken, if not."""
        refusal = f"checkpoint {path.name}: expected a file written by fit for these parameters"
        header, arrays = files.load(path)
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
        known = probe is not None and stored is not None
        if known and abs(probe - stored) > 1e-3 * (1 + abs(stored)):
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
