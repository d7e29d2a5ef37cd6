r"""Minimize a loss over explicit parameters: Adam, with a trace, checkpoints and exact resume."""

import hashlib
import inspect
import json
import math
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from autograd import value_and_grad

from nflib_min._arrays import Array, Params, check_dim
from nflib_min._trees import leaves_in_order_of, tree_leaves, tree_unflatten

FORMAT = "nflib_min checkpoint 2"
CHUNK = 30_000  # parameters that Adam moves at a time: what it reads and writes stays in cache
BLOCK = 50  # steps between two looks at the progress bar and at the best parameters so far
STRIDE = 10  # steps between two updates of the running mean: it moves slowly, and costs a pass
FLUSH = 100  # steps between two looks for first moments that have become too small to matter


@dataclass
class Fit:
    """What `fit` returns.

    params : the last parameters, or the best so far if training was interrupted.
    trace : dict of arrays (steps,): step, loss and grad_norm (before clipping).
    interrupted : True if a KeyboardInterrupt ended training early.
    mean_params : the running mean of the parameters, where `fit` was asked for one.
    """

    params: Params
    trace: dict[str, Array]
    interrupted: bool = False
    mean_params: Params | None = None


def cosine_decay(peak: float, steps: int, warmup: int = 0) -> Callable[[int], float]:
    r"""A learning rate that falls from peak to 0 over `steps`, along half a cosine.

    $\eta_t = \tfrac12 \eta (1 + \cos(\pi t / T))$, multiplied by $(t + 1) / \text{warmup}$ before
    step `warmup`.

    >>> rate = cosine_decay(0.1, 100)
    >>> rate(0), rate(50).__round__(3), rate(100)
    (0.1, 0.05, 0.0)

    Source: Loshchilov & Hutter, SGDR (2016), eq. (5), without restarts.
    """

    def rate(step: int) -> float:
        ramp = min(1.0, (step + 1) / warmup) if warmup else 1.0
        return ramp * 0.5 * peak * (1 + math.cos(math.pi * min(step / steps, 1.0)))

    return rate


def fit(
    loss: object,
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
        loss(params, rng, step) -> scalar, which autograd differentiates.
    params : dicts, lists and tuples of floating arrays of one dtype; copied, never changed.
    steps : how many updates in all, those of an earlier run that is resumed included.
    rng : all randomness of the training comes from here.
    learning_rate : eta, or a function of the step.
    clip : gradients longer than this are scaled down to it.
    average : a share s in (0, 1]: keep a running mean of the parameters over about the last s t of
        t steps, which forgets the noise of single steps; it grows with the training. None for none.
    checkpoint : a file that is written atomically every `checkpoint_every` steps and at the end.
        If it exists, training goes on from it, to the same numbers as an uninterrupted run.
    progress : None shows a bar only where a person is watching (a terminal); False never.

    Errors: ValueError on wrong arguments or on a checkpoint that is corrupt or of other
    parameters (the file is left as it is); FloatingPointError names the step and the term where a
    value is not finite. A KeyboardInterrupt returns the best parameters so far.

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
    if not clip > 0:
        raise ValueError(f"clip: expected a length > 0, got {clip}")
    rate = learning_rate if callable(learning_rate) else lambda step: learning_rate
    gradient = loss.value_and_grad if hasattr(loss, "value_and_grad") else _by_autograd(loss)
    takes_out = "out" in inspect.signature(gradient).parameters
    if average is not None and not 0 < average <= 1:
        raise ValueError(f"average: expected a share of the steps, in (0, 1], got {average}")
    state = _State(params, average)
    out = {"out": state.g_params} if takes_out else {}
    if checkpoint is not None and Path(checkpoint).exists():
        state.load(Path(checkpoint), rng)
    if state.step >= steps:
        return state.result(state.flat)

    try:
        with _bar(steps, state.step, progress) as bar:
            while state.step < steps:
                value, g = gradient(state.params, rng, state.step, **out)
                state.update(value, g, rate(state.step), clip)
                if state.step % BLOCK == 0 or state.step == steps:
                    mean_loss = state.remember_best()
                    if bar is not None:
                        bar.update(state.step - bar.n)
                        bar.set_postfix_str(f"loss {mean_loss:.4g}", refresh=False)
                if checkpoint is not None and (
                    state.step % checkpoint_every == 0 or state.step == steps
                ):
                    state.save(Path(checkpoint), rng)
    except KeyboardInterrupt:
        return state.result(state.best, interrupted=True)
    return state.result(state.flat)


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


def _aligned(size: int, dtype: np.dtype) -> Array:
    """An empty vector that starts at a cache line of 64 bytes: long ufuncs run a fifth faster."""
    spare = 64 // dtype.itemsize
    room = np.empty(size + spare, dtype)
    start = -room.ctypes.data % 64 // dtype.itemsize
    return room[start : start + size]


class _State:
    """All that training changes. Parameters and Adam's moments are flat vectors, updated in place;
    `params` is the caller's nesting, made of views into the flat vector."""

    def __init__(self, params: Params, average: float | None = None) -> None:
        named = tree_leaves(params)
        kinds = {
            str(value.dtype) if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
            for _, value in named
        }
        if len(kinds) != 1 or not next(iter(kinds)).startswith("float"):
            raise ValueError(f"params: expected floating arrays of one dtype, got {sorted(kinds)}")
        self.names = [(name, list(value.shape)) for name, value in named]
        self.template = params
        first = np.concatenate([value.ravel() for _, value in named])
        kind, size = first.dtype, first.size
        self.flat, self.g, *moments = (_aligned(size, kind) for _ in range(4))
        self.flat[:], self.moments = first, moments
        for moment in moments:
            moment[:] = 0
        self.params, self.g_params = self.tree(self.flat), self.tree(self.g)
        self.g_leaves = [part for _, part in tree_leaves(self.g_params)]
        work = np.empty_like(self.flat[:CHUNK])
        arrays = (self.flat, self.g, *self.moments)
        self.chunks = [
            (*(x[at : at + CHUNK] for x in arrays), work[: self.flat.size - at])
            for at in range(0, self.flat.size, CHUNK)
        ]
        self.step, self.losses, self.norms = 0, [], []
        self.best, self.best_loss = self.flat.copy(), math.inf
        self.average, self.mean = average, None if average is None else self.flat.copy()

    def tree(self, flat: Array) -> Params:
        """The nesting of the parameters, its arrays views into a flat vector."""
        sizes = [math.prod(shape) for _, shape in self.names]
        parts = np.split(flat, np.cumsum(sizes)[:-1])
        return tree_unflatten(
            self.template, (p.reshape(s) for p, (_, s) in zip(parts, self.names, strict=True))
        )

    def update(self, value: float, g: Params, rate: float, clip: float) -> None:
        """One step of Adam with beta_1 = 0.9, beta_2 = 0.999, epsilon = 1e-8."""
        for part, written in zip(self.g_leaves, leaves_in_order_of(self.template, g), strict=True):
            if written is not part:  # a loss may have written its gradient where it belongs
                part[...] = written
        g = self.g
        norm = math.sqrt(float(np.dot(g, g)))
        if not (math.isfinite(norm) and math.isfinite(value)):
            self._refuse(value, g)
        if norm > clip:
            g *= clip / norm
        # m / 0.1 and v / 0.001 are kept, which saves two multiplications a step; then
        # eta m_hat / (sqrt(v_hat) + 1e-8) = eta 0.1 c / (1 - 0.9^t) (m / 0.1) / (sqrt(v / 0.001) +
        # 1e-8 c) with c = sqrt((1 - 0.999^t) / 0.001)
        t = self.step + 1
        c = math.sqrt((1 - 0.999**t) / 0.001)
        epsilon, eta = 1e-8 * c, rate * 0.1 * c / (1 - 0.9**t)
        for flat, g_part, m, v, work in self.chunks:
            np.multiply(g_part, g_part, out=work)
            m *= 0.9
            m += g_part
            v *= 0.999
            v += work
            np.sqrt(v, out=work)
            work += epsilon
            np.divide(m, work, out=work)
            work *= eta
            flat -= work
        if t % FLUSH == 0:
            self.flush()
        self.losses.append(value)
        self.norms.append(norm)
        self.step = t
        if self.mean is not None and t % STRIDE == 0:
            away = np.subtract(self.flat, self.mean, out=g)
            away *= min(1, STRIDE / (self.average * t))
            self.mean += away

    def flush(self) -> None:
        """Set first moments to 0 before they become subnormal, which processors compute slowly.

        Where a gradient has become exactly 0, m falls as 0.9^t; in FLUSH steps it cannot fall from
        this bound to a subnormal, and no step of Adam feels a moment of this size.
        """
        m = self.moments[0]
        m[np.abs(m) < 1e6 * np.finfo(m.dtype).tiny] = 0

    def _refuse(self, value: float, g: Array) -> None:
        if not math.isfinite(value):
            raise FloatingPointError(f"step {self.step}: expected a finite loss, got {value}")
        bad = [name for name, part in tree_leaves(self.tree(g)) if not np.isfinite(part).all()]
        raise FloatingPointError(
            f"step {self.step}: expected finite gradients, got NaN or inf in those of "
            f"{', '.join(bad) or 'a norm too large for its dtype'}"
        )

    def remember_best(self) -> float:
        """Keep a copy of the parameters if the mean loss of the last block is the lowest yet."""
        mean_loss = float(np.mean(self.losses[-BLOCK:]))
        if mean_loss < self.best_loss:
            self.best, self.best_loss = self.flat.copy(), mean_loss
        return mean_loss

    def result(self, flat: Array, interrupted: bool = False) -> Fit:
        """What `fit` returns, with copies: nothing of it changes later."""
        mean = None if self.mean is None else self.tree(self.mean.copy())
        return Fit(self.tree(flat.copy()), self.trace(), interrupted, mean)

    def trace(self) -> dict[str, Array]:
        """The record of every step so far."""
        n = min(len(self.losses), len(self.norms))
        return {
            "step": np.arange(n),
            "loss": np.array(self.losses[:n]),
            "grad_norm": np.array(self.norms[:n]),
        }

    def save(self, path: Path, rng: np.random.Generator) -> None:
        """Write everything to a temporary file beside `path`, then rename it over."""
        header = {
            "format": FORMAT,
            "names": self.names,
            "step": self.step,
            "best_loss": self.best_loss,
            "rng": rng.bit_generator.state,
        }
        arrays = {"flat": self.flat, "moments": np.stack(self.moments), "best": self.best}
        arrays |= {"losses": np.array(self.losses), "norms": np.array(self.norms)}
        if self.mean is not None:
            arrays["mean"] = self.mean
        header["digest"] = _digest(arrays)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, header=np.array(json.dumps(header)), **arrays)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def load(self, path: Path, rng: np.random.Generator) -> None:
        """Take everything from a file that `save` wrote; ValueError, and nothing taken, if not."""
        refusal = f"checkpoint {path.name}: expected a file written by fit for these parameters"
        try:
            with np.load(path, allow_pickle=False) as file:
                header = dict(json.loads(str(file["header"])))
                arrays = {name: file[name] for name in file.files if name != "header"}
        except Exception as error:  # a foreign or damaged file can make a reader raise anything
            raise ValueError(f"{refusal}, got a file that cannot be read ({error})") from error
        if header.get("format") != FORMAT or header.get("digest") != _digest(arrays):
            raise ValueError(f"{refusal}, got format {header.get('format')!r} or damaged arrays")
        if header["names"] != [[name, shape] for name, shape in self.names]:
            raise ValueError(f"{refusal}, got one with {header['names']}")
        if arrays["flat"].dtype != self.flat.dtype:
            raise ValueError(f"{refusal}, of dtype {self.flat.dtype}, got {arrays['flat'].dtype}")
        if ("mean" in arrays) != (self.mean is not None):
            kinds = ("without", "with")
            raise ValueError(
                f"{refusal} {kinds[self.mean is not None]} a running mean, "
                f"got one {kinds['mean' in arrays]}"
            )
        kind = header["rng"]["bit_generator"]
        if kind != rng.bit_generator.state["bit_generator"]:
            raise ValueError(
                f"{refusal} with a {rng.bit_generator.state['bit_generator']} generator, got {kind}"
            )
        rng.bit_generator.state = header["rng"]
        self.flat[:], (self.moments[0][:], self.moments[1][:]) = arrays["flat"], arrays["moments"]
        self.best, self.best_loss, self.step = arrays["best"], header["best_loss"], header["step"]
        self.losses, self.norms = arrays["losses"].tolist(), arrays["norms"].tolist()
        self.mean = arrays.get("mean")


def _digest(arrays: dict[str, Array]) -> str:
    """A checksum of names, dtypes, shapes and bytes, so that a damaged file is not resumed."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        sha.update(f"{name} {array.dtype} {array.shape} ".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()
