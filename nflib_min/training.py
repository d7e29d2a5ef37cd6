r"""Minimize a loss over explicit parameters: Adam, with a history, checkpoints and exact resume."""

import inspect
import math
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from autograd import value_and_grad

from nflib_min import checkpoint as files
from nflib_min._arrays import Array, Params, check_dim, check_rng
from nflib_min._state import BLOCK, TrainingState
from nflib_min._trees import tree_leaves, tree_unflatten


@dataclass
class Fit:
    """What `fit` returns.

    params : the last parameters, or the best so far if training was interrupted.
    history : dict of arrays (steps,): step, loss and grad_norm (before clipping).
    interrupted : True if a KeyboardInterrupt ended training early.
    mean_params : the running mean of the parameters, where `fit` was asked for one.

    >>> run = fit(lambda p, rng, step: (p["x"] - 3.0) ** 2, {"x": np.array(0.0)}, 2,
    ...           np.random.default_rng(0), learning_rate=1.0)
    >>> run.history["loss"].round(3), run.interrupted
    (array([9., 4.]), False)

    Source: see `fit`.
    """

    params: Params
    history: dict[str, Array]
    interrupted: bool = False
    mean_params: Params | None = None


def cosine_decay(peak: float, steps: int, warmup: int = 0) -> Callable[[int], float]:
    r"""A learning rate that falls from peak to 0 over `steps`, along half a cosine.

    $\eta_t = \tfrac12 \eta (1 + \cos(\pi t / T))$, multiplied by $(t + 1) / \text{warmup}$ before
    step `warmup`. Errors: ValueError unless peak > 0, steps >= 1 and warmup >= 0.

    >>> rate = cosine_decay(0.1, 100)
    >>> rate(0), rate(50).__round__(3), rate(100)
    (0.1, 0.05, 0.0)

    Source: Loshchilov & Hutter, SGDR (2016), eq. (5), without restarts.
    """
    check_dim(steps, "steps")
    check_dim(warmup, "warmup", least=0)
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
    step and the term where a value is not finite. A checkpoint of another learning rate is resumed
    with a warning.

    Ctrl-C ends training after the step that is under way and returns the best parameters so far,
    by the mean loss of blocks of 50 steps; a second Ctrl-C does not wait for the step.

    >>> import autograd.numpy as anp
    >>> result = fit(lambda p, rng, step: anp.sum((p["x"] - 3.0) ** 2),
    ...              {"x": np.zeros(2)}, 500, np.random.default_rng(0), learning_rate=0.1)
    >>> result.params["x"].round(3)
    array([3., 3.])

    A loss over data may see a minibatch a step, scaled up to all of them:

    >>> data = np.random.default_rng(1).normal(5.0, 1.0, 1000)
    >>> def loss(p, rng, step):  # -ln p(mean, data) + constant, for mean ~ N(0, 1)
    ...     batch = data[rng.integers(len(data), size=50)]
    ...     return 20 * anp.sum((batch - p["mean"]) ** 2) / 2 + p["mean"] ** 2 / 2
    >>> result = fit(loss, {"mean": np.array(0.0)}, 3000, np.random.default_rng(0),
    ...              learning_rate=0.05, average=0.2)
    >>> bool(abs(result.mean_params["mean"] - data.sum() / 1001) < 0.02)  # the exact mode
    True

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

    def rate(step: int) -> float:
        eta = learning_rate(step) if callable(learning_rate) else learning_rate
        if not 0 <= eta < math.inf:
            raise ValueError(f"learning_rate: expected a rate >= 0 at step {step}, got {eta}")
        return eta

    gradient = loss.value_and_grad if hasattr(loss, "value_and_grad") else _by_autograd(loss)
    state = TrainingState(params, average)
    out = {"out": state.g_params} if "out" in inspect.signature(gradient).parameters else {}
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None:
        files.prepare(path)
        if path.exists():
            state.load(path, steps, rng, rate, gradient)
    begun = state.step, rng.bit_generator.state  # a step, and the generator as the step finds it

    def save() -> None:
        if path is None or not state.whole:
            return
        if state.step == begun[0]:  # a step that broke off is taken again, with its own draws
            rng.bit_generator.state = begun[1]
        state.save(path, rng.bit_generator.state, rate, gradient)

    with _Interrupts() as interrupts, _bar(steps, state.step, progress) as bar:
        try:
            while state.step < steps:
                if path is not None:
                    begun = state.step, rng.bit_generator.state
                if interrupts.asked:
                    raise KeyboardInterrupt
                value, g = gradient(state.params, rng, state.step, **out)
                state.update(value, g, rate(state.step), clip)
                last = state.step == steps
                if state.step % BLOCK == 0 and not (last and path is None):
                    state.remember_best()
                if bar is not None and (last or state.step % BLOCK == 0):
                    bar.update(state.step - bar.n)
                    bar.set_postfix_str(f"loss {state.mean_loss():.4g}", refresh=False)
                if last or state.step % checkpoint_every == 0:
                    save()
        except KeyboardInterrupt:
            with suppress(KeyboardInterrupt):  # another one does not wait for the file
                save()
            return _result(state, interrupted=True)
        except FloatingPointError:
            save()
            raise
    return _result(state)


def _result(state: TrainingState, interrupted: bool = False) -> Fit:
    """What `fit` returns; the state ends here, so that its arrays become the caller's."""
    best = state.best if interrupted and state.best is not None else state.flat
    mean = None if state.mean is None else state.tree(state.mean)
    history = {
        "step": np.arange(state.step),
        "loss": np.array(state.losses[: state.step]),
        "grad_norm": np.array(state.norms[: state.step]),
    }
    return Fit(state.tree(best), history, interrupted, mean)


class _Interrupts:
    """Notes Ctrl-C, so that a step is finished first; a second Ctrl-C does not wait."""

    asked = False

    def __enter__(self) -> "_Interrupts":
        in_main = threading.current_thread() is threading.main_thread()
        self.handles = in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self.handles:
            signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, *_: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(self, *_: Any) -> None:
        if self.handles:
            signal.signal(signal.SIGINT, signal.default_int_handler)


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

    def gradient(params: Params, rng: np.random.Generator, step: int) -> tuple[float, Params]:
        # autograd knows plain dicts, lists and tuples; a list of leaves stands for any nesting
        def of_leaves(leaves: list) -> float:
            return loss(tree_unflatten(params, iter(leaves)), rng, step)

        value, g = value_and_grad(of_leaves)([leaf for _, leaf in tree_leaves(params)])
        return float(value), tree_unflatten(params, iter(g))

    return gradient
