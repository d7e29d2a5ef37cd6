"""Training: the textbook's Adam, an exact resume, and files that are whole or not there."""

import math
import os
import pickle
import signal
import subprocess
import sys
import tracemalloc
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np
import pytest

from nflib_min import Affine, Chain, Flow, Planar, StandardNormal
from nflib_min import checkpoint as files
from nflib_min._state import TrainingState
from nflib_min._trees import tree_leaves
from nflib_min.adam import Adam
from nflib_min.objectives import FreeEnergy, inverse_temperature
from nflib_min.targets import Gaussian, Target, table_1
from nflib_min.training import cosine_decay, fit
from tests import ROOT
from tests.library.laws import arrays_of, cast, copied


def rng(seed=0):
    return np.random.default_rng(seed)


def problem(batch=16, dtype=np.float64):
    """A free energy with annealing, and the parameters to start from."""
    flow = Flow(StandardNormal(2), Chain([Affine(2), Planar(2, 3)]))
    loss = FreeEnergy(flow, table_1("U2"), batch, annealing=lambda t: inverse_temperature(t, 50))
    return loss, cast(flow.init(rng()), dtype)


def bowl(params, rng, step):
    """A noisy bowl: the loss of a plain function, differentiated by autograd."""
    return anp.sum((params["x"] - 3.0) ** 2) + anp.sum(params["x"] * rng.standard_normal(2))


def same(one, two):
    """Equal to the last bit, in parameters and trace."""
    pairs = zip(arrays_of(one.params), arrays_of(two.params), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert all(np.array_equal(one.history[key], two.history[key]) for key in one.history)


# ------------------------------------------------------------------------------------------- adam
def textbook_adam(gradient, x, steps, rate, clip):
    """Algorithm 1 of Kingma & Ba (2014), bias corrections written out, with clipping by norm."""
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t in range(1, steps + 1):
        g = gradient(x)
        g = g * min(1.0, clip / np.linalg.norm(g))
        m = 0.9 * m + (1 - 0.9) * g
        v = 0.999 * v + (1 - 0.999) * g**2
        m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
        x = x - rate(t - 1) * m_hat / (np.sqrt(v_hat) + 1e-8)
    return x


@pytest.mark.parametrize("clip", [1e9, 5.0, 0.1])
@pytest.mark.parametrize("scale", [1.0, 1e-9])
def test_adam_is_the_textbooks(clip, scale):
    """Gradients of ordinary size, and so small that epsilon matters."""
    weights = np.array([1.0, 10.0, 0.1, -2.0])
    start, rate = np.array([1.0, -2.0, 3.0, 0.5]), cosine_decay(0.05, 300, warmup=20)

    def loss(params, rng, step):
        x = anp.concatenate([params["a"], anp.ravel(params["b"][0])])
        return scale * anp.sum(weights * anp.cos(x) + 0.1 * x**2)

    def gradient(x):
        return scale * (-weights * np.sin(x) + 0.2 * x)

    params = {"a": start[:1].copy(), "b": [start[1:].reshape(1, 3).copy()]}
    got = fit(loss, params, 300, rng(), learning_rate=rate, clip=clip, progress=False)
    flat = np.concatenate([a.ravel() for a in arrays_of(got.params)])
    assert flat == pytest.approx(textbook_adam(gradient, start, 300, rate, clip), abs=1e-12)


def test_a_constant_rate_is_a_number():
    one = fit(bowl, {"x": np.zeros(2)}, 50, rng(), learning_rate=0.1)
    two = fit(bowl, {"x": np.zeros(2)}, 50, rng(), learning_rate=lambda step: 0.1)
    same(one, two)


def test_the_rate_is_asked_for_steps_from_0():
    seen = []
    fit(bowl, {"x": np.zeros(2)}, 4, rng(), learning_rate=lambda step: seen.append(step) or 0.1)
    assert seen == [0, 1, 2, 3]


def test_cosine_decay():
    rate = cosine_decay(0.2, 100, warmup=10)
    for t in range(120):
        ramp = min(1.0, (t + 1) / 10)
        expected = ramp * 0.1 * (1 + math.cos(math.pi * min(t, 100) / 100))
        assert rate(t) == pytest.approx(expected, abs=1e-16)
    assert cosine_decay(0.2, 100)(0) == 0.2 and cosine_decay(0.2, 100)(100) == 0.0


def test_the_norm_in_the_trace_is_that_before_clipping():
    got = fit(lambda p, rng, step: 100.0 * anp.sum(p["x"]), {"x": np.zeros(4)}, 3, rng(), clip=1.0)
    assert got.history["grad_norm"].tolist() == [200.0] * 3
    assert got.history["step"].tolist() == [0, 1, 2]
    assert got.history["loss"][0] == 0.0 and got.history["loss"][1] < 0.0
    # a clipped gradient of constant direction: Adam moves every coordinate by the rate itself
    assert got.params["x"] == pytest.approx(np.full(4, -3 * 5e-3), rel=1e-4)


# ------------------------------------------------------------------------- what is whose
def test_the_parameters_given_are_not_changed():
    loss, params = problem()
    before = copied(params)
    for array in arrays_of(params):
        array.setflags(write=False)
    got = fit(loss, params, 20, rng(), progress=False)
    for a, b, c in zip(*map(arrays_of, (params, before, got.params)), strict=True):
        assert np.array_equal(a, b) and not np.shares_memory(a, c)
    assert any(
        not np.array_equal(a, b)
        for a, b in zip(arrays_of(got.params), arrays_of(before), strict=True)
    )


def test_the_parameters_returned_do_not_change_with_the_next_fit():
    loss, params = problem()
    first = fit(loss, params, 20, rng(), progress=False)
    kept = copied(first.params)
    fit(loss, first.params, 20, rng(), progress=False)
    assert all(
        np.array_equal(a, b) for a, b in zip(arrays_of(first.params), arrays_of(kept), strict=True)
    )


def test_the_nesting_of_the_parameters_is_kept():
    def loss(p, rng, step):
        return anp.sum(p["a"][0] ** 2) + anp.sum(p["a"][1]["b"] ** 2) + anp.sum(p["c"][0] ** 2)

    params = {"a": [np.ones((2, 3)), {"b": np.ones(())}], "c": (np.ones(1),)}
    got = fit(loss, params, 5, rng()).params
    assert [(n, a.shape) for n, a in tree_leaves(got)] == [
        (n, a.shape) for n, a in tree_leaves(params)
    ]
    assert isinstance(got["c"], tuple) and isinstance(got["a"], list)


def test_the_order_of_a_gradients_keys_does_not_matter():
    class Backwards:
        def __init__(self, flip):
            self.flip = flip

        def value_and_grad(self, params, rng, step):
            g = {"a": 2 * params["a"], "b": [4 * params["b"][0], {"c": params["b"][1]["c"]}]}
            return float(sum((x**2).sum() for x in arrays_of(params))), (
                {"b": g["b"], "a": g["a"]} if self.flip else g
            )

    params = {"a": np.array([1.0, 2.0]), "b": [np.array([3.0]), {"c": np.array([5.0, 7.0])}]}
    same(*(fit(Backwards(flip), params, 30, rng(), progress=False) for flip in (False, True)))


@pytest.mark.parametrize("steps", [9, 10, 95])
def test_the_running_mean_is_the_textbooks(steps):
    """Every tenth step: mean <- mean + min(1, 10 / (share t)) (theta - mean), from the start."""
    seen, share = [], 0.3

    def watched(params, rng, step):
        seen.append(getattr(params["x"], "_value", params["x"]).copy())
        return anp.sum((params["x"] - 3.0) ** 2) + anp.sum(params["x"] * rng.standard_normal(2))

    done = fit(watched, {"x": np.zeros(2)}, steps, rng(), learning_rate=0.1, average=share)
    after, mean = [*seen[1:], done.params["x"]], np.zeros(2)  # theta after steps 1, 2, ...
    for t in range(10, steps + 1, 10):
        mean = mean + min(1, 10 / (share * t)) * (after[t - 1] - mean)
    assert done.mean_params["x"] == pytest.approx(mean, abs=1e-12)
    plain = fit(bowl, {"x": np.zeros(2)}, steps, rng(), learning_rate=0.1)
    assert plain.mean_params is None
    assert np.array_equal(plain.params["x"], done.params["x"])  # it only watches


def test_a_mean_over_all_steps_is_the_plain_mean():
    seen = []

    def watched(params, rng, step):
        seen.append(getattr(params["x"], "_value", params["x"]).copy())
        return anp.sum((params["x"] - 3.0) ** 2)

    done = fit(watched, {"x": np.zeros(2)}, 200, rng(), learning_rate=0.1, average=1.0)
    every_tenth = [*seen[1:], done.params["x"]][9::10]
    assert done.mean_params["x"] == pytest.approx(np.mean(every_tenth, axis=0), abs=1e-12)


def test_moments_that_no_step_feels_are_set_to_0_before_they_are_subnormal():
    """A gradient that is exactly 0 from step 1 on: m falls as 0.9^t, and ends at 0."""

    class OnceOnly:
        def value_and_grad(self, params, rng, step):
            return 0.0, {"x": np.full(2, 1e-3 * (step == 0), np.float32)}

    def trained(flush):
        state = TrainingState({"x": np.zeros(2, np.float32)})
        if not flush:
            state.flush = lambda: None
        least = np.inf
        for step in range(1500):
            state.update(*OnceOnly().value_and_grad(None, None, step), 0.01, 10.0)
            m = state.moments[0]
            least = min(least, *m[m > 0], np.inf)
        return state.flat, least

    (flat, least), (plain, subnormal) = trained(True), trained(False)
    tiny = np.finfo(np.float32).tiny
    assert subnormal < tiny <= least
    assert np.array_equal(flat, plain)


def test_a_loss_may_write_its_gradient_where_it_belongs():
    class Plain:
        def value_and_grad(self, params, rng, step):
            g = {name: 2 * (value - 3) for name, value in params.items()}
            return float(sum((g[name] ** 2).sum() for name in g)) / 4, g

    class InPlace(Plain):
        def value_and_grad(self, params, rng, step, out=None):
            value, g = super().value_and_grad(params, rng, step)
            for name in g:
                out[name][...] = g[name]
            return value, out

    params = {"a": np.zeros((2, 3)), "b": np.ones(4)}
    same(*(fit(loss, params, 50, rng(), progress=False) for loss in (Plain(), InPlace())))


def test_the_running_mean_forgets_the_noise_of_the_last_steps():
    def run(seed):
        return fit(bowl, {"x": np.zeros(2)}, 1000, rng(seed), learning_rate=0.05, average=0.3)

    runs = [run(seed) for seed in range(8)]
    last = np.std([done.params["x"] for done in runs])
    assert np.std([done.mean_params["x"] for done in runs]) < 0.5 * last


def test_a_checkpoint_with_a_running_mean_is_told_from_one_without(tmp_path):
    start, one, two = {"x": np.zeros(2)}, tmp_path / "one", tmp_path / "two"
    fit(bowl, start, 5, rng(), average=0.9, checkpoint=one)
    with pytest.raises(ValueError, match=r"with average = None, got one with 0\.9"):
        fit(bowl, start, 6, rng(), checkpoint=one)
    fit(bowl, start, 5, rng(), checkpoint=two)
    with pytest.raises(ValueError, match=r"with average = 0\.9, got one with None"):
        fit(bowl, start, 6, rng(), average=0.9, checkpoint=two)
    with pytest.raises(
        ValueError, match=r"average: expected a share of the steps, in \(0, 1\], got 2"
    ):
        fit(bowl, start, 6, rng(), average=2)


def test_float32_stays_float32(tmp_path):
    loss, params = problem(dtype=np.float32)
    path = tmp_path / "checkpoint.npz"
    got = fit(loss, params, 30, rng(), checkpoint=path, progress=False)
    assert {a.dtype for a in arrays_of(got.params)} == {np.dtype(np.float32)}
    again = fit(loss, params, 60, rng(), checkpoint=path, progress=False)
    assert {a.dtype for a in arrays_of(again.params)} == {np.dtype(np.float32)}
    # a float64 run from the same numbers draws other noise, but a target with float64 constants
    # must not turn the state into doubles either
    target = Target(lambda z: -0.5 * anp.sum(z**2 * np.array([1.0, 4.0]), axis=1), 2)
    got = fit(FreeEnergy(loss.flow, target, 8), params, 5, rng(), progress=False)
    assert {a.dtype for a in arrays_of(got.params)} == {np.dtype(np.float32)}


def test_a_fit_takes_the_memory_of_its_vectors_and_no_more():
    """Parameters, gradient and Adam's two moments: four vectors, whatever is copied besides."""

    class Flat:
        def value_and_grad(self, params, rng, step, out):
            out["x"][...] = params["x"]
            return 0.0, out

    params = {"x": np.ones(500_000)}
    tracemalloc.start()
    fit(Flat(), params, 3, rng(), progress=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4.2 * params["x"].nbytes


# -------------------------------------------------------------------------------- resuming
@pytest.mark.parametrize("stop", [1, 49, 50, 60, 120, 199])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, stop):
    loss, params = problem()
    options = {"learning_rate": cosine_decay(0.01, 200), "progress": False}
    whole = fit(loss, params, 200, rng(), **options)
    path = tmp_path / "deep" / "checkpoint.npz"  # its folder is made
    fit(loss, params, stop, rng(), checkpoint=path, **options)
    rest = fit(loss, params, 200, rng(99), checkpoint=path, **options)  # the file's rng counts
    same(whole, rest)


def test_checkpoints_do_not_change_the_numbers(tmp_path):
    loss, params = problem()
    plain = fit(loss, params, 60, rng(), progress=False)
    path = tmp_path / "c.npz"
    same(plain, fit(loss, params, 60, rng(), checkpoint=path, checkpoint_every=7, progress=False))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.npz"]


def test_a_finished_run_is_returned_as_it_is(tmp_path):
    loss, params = problem()
    path = tmp_path / "c.npz"
    first = fit(loss, params, 60, rng(), checkpoint=path, progress=False)
    same(first, fit(loss, params, 60, rng(1), checkpoint=path, progress=False))
    with pytest.raises(ValueError, match=r"steps: expected at least the 60 that checkpoint c\.npz"):
        fit(loss, params, 10, rng(1), checkpoint=path, progress=False)


SCRIPT = """
import os, sys
from tests.library.test_training import problem, rng
from nflib_min.training import cosine_decay, fit
loss, params = problem()
plain = loss.value_and_grad
def value_and_grad(params, rng, step):
    if step == int(sys.argv[2]):
        os._exit(9)  # at once, as SIGKILL does, and on Windows too
    return plain(params, rng, step)
loss.value_and_grad = value_and_grad
fit(loss, params, 200, rng(), learning_rate=cosine_decay(0.01, 200),
    checkpoint=sys.argv[1], checkpoint_every=30, progress=False)
"""


@pytest.mark.slow
def test_a_killed_process_is_resumed_by_the_next_one(tmp_path):
    """Death between two checkpoints, twice; then the third process ends with the same bits."""
    path = tmp_path / "c.npz"
    root = ROOT
    environment = {**os.environ, "PYTHONPATH": str(root)}
    for die_at, code in ((75, 9), (110, 9), (10_000, 0)):
        command = [sys.executable, "-c", SCRIPT, str(path), str(die_at)]
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        assert path.exists() and len(list(tmp_path.iterdir())) == 1
    loss, params = problem()
    whole = fit(loss, params, 200, rng(), learning_rate=cosine_decay(0.01, 200), progress=False)
    rate = cosine_decay(0.01, 200)
    same(
        whole,
        fit(loss, params, 200, rng(5), learning_rate=rate, checkpoint=path, progress=False),
    )


@pytest.mark.parametrize("stop", [0, 30, 130, 199])
def test_an_interrupt_returns_the_best_so_far(stop):
    """The best block of 50 steps counts, so that one lucky batch does not; here the loss rises."""
    kept = {}

    def rises(params, rng, step):
        if step == stop:
            raise KeyboardInterrupt
        if step in (50, 100, 150):
            kept[step] = float(getattr(params["x"], "_value", params["x"]))
        return anp.sum(params["x"] * (1.0 if step < 100 else -1.0)) + (0.0 if step < 100 else 9.0)

    got = fit(rises, {"x": np.array(1.0)}, 200, rng(), learning_rate=0.01, progress=False)
    assert got.interrupted and len(got.history["loss"]) == stop
    if stop < 50:
        assert got.params["x"] == pytest.approx(1.0 - 0.01 * stop)  # no block is over: where it was
    else:
        assert got.params["x"] == kept[100]  # the block before the loss rose
    assert not fit(bowl, {"x": np.zeros(2)}, 3, rng()).interrupted


def test_an_interrupt_leaves_a_checkpoint_to_go_on_from(tmp_path):
    loss, params = problem()
    whole = fit(loss, params, 100, rng(), progress=False)
    path, plain = tmp_path / "c.npz", loss.value_and_grad

    def interrupted(params, rng, step):
        if step == 70:
            raise KeyboardInterrupt
        return plain(params, rng, step)

    loss.value_and_grad = interrupted
    first = fit(loss, params, 100, rng(), checkpoint=path, checkpoint_every=20, progress=False)
    assert first.interrupted and len(first.history["loss"]) == 70
    loss.value_and_grad = plain
    same(whole, fit(loss, params, 100, rng(8), checkpoint=path, progress=False))


@pytest.mark.parametrize("problem_", [KeyboardInterrupt, FloatingPointError])
@pytest.mark.parametrize("stop", [1, 37, 70])
def test_what_breaks_off_loses_no_step(tmp_path, problem_, stop):
    """The checkpoint has every step that was done, and the generator as that step found it."""
    loss, params = problem()
    whole = fit(loss, params, 100, rng(), progress=False)
    path, plain = tmp_path / "c.npz", loss.value_and_grad

    def breaks(params, rng, step):
        answer = plain(params, rng, step)  # the generator has moved on
        if step == stop:
            raise problem_("a reason")
        return answer

    loss.value_and_grad = breaks
    if problem_ is KeyboardInterrupt:
        assert fit(loss, params, 100, rng(), checkpoint=path, progress=False).interrupted
    else:
        with pytest.raises(FloatingPointError, match="a reason"):
            fit(loss, params, 100, rng(), checkpoint=path, progress=False)
    seen = []
    loss.value_and_grad = lambda params, rng, step: (seen.append(step), plain(params, rng, step))[1]
    same(whole, fit(loss, params, 100, rng(8), checkpoint=path, progress=False))
    assert seen == [stop, *range(stop, 100), 100]  # first and last: a checkpoint knows its loss


BIT_GENERATORS = ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"]


@pytest.mark.parametrize("name", BIT_GENERATORS)
def test_every_generator_of_numpy_is_resumed_to_the_same_numbers(tmp_path, name):
    def generator(seed):
        return np.random.Generator(getattr(np.random, name)(seed))

    loss, params = problem()
    whole = fit(loss, params, 40, generator(1), progress=False)
    fit(loss, params, 25, generator(1), checkpoint=tmp_path / "c", progress=False)
    same(whole, fit(loss, params, 40, generator(2), checkpoint=tmp_path / "c", progress=False))


def test_control_c_in_the_middle_of_an_update_waits_for_its_end(tmp_path, monkeypatch):
    """Step 99 moves the parameters and asks `flush`: there the signal comes, and Adam goes on."""
    loss, params = problem()
    whole = fit(loss, params, 150, rng(), progress=False)
    flush, path = Adam.flush, tmp_path / "c.npz"

    def interrupted(adam):
        signal.raise_signal(signal.SIGINT)
        flush(adam)

    monkeypatch.setattr(Adam, "flush", interrupted)
    assert fit(loss, params, 150, rng(), checkpoint=path, progress=False).interrupted
    monkeypatch.undo()
    seen, plain = [], loss.value_and_grad
    loss.value_and_grad = lambda params, rng, step: (seen.append(step), plain(params, rng, step))[1]
    same(whole, fit(loss, params, 150, rng(), checkpoint=path, progress=False))
    assert min(seen) == 100


def test_a_second_control_c_does_not_wait():
    class Endless:
        def value_and_grad(self, params, rng, step):
            for _ in range(2):
                signal.raise_signal(signal.SIGINT)
            raise AssertionError("the second one did not end the step")

    assert fit(Endless(), {"x": np.zeros(2)}, 5, rng()).interrupted
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_training_outside_the_main_thread(tmp_path):
    """Signals are the main thread's; `fit` works without them."""
    loss, params = problem()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(fit, loss, params, 60, rng(), progress=False).result()
    same(done, fit(loss, params, 60, rng(), progress=False))


def test_a_refused_checkpoint_leaves_the_generator_alone(tmp_path):
    path, generator = tmp_path / "c.npz", rng(5)
    fit(bowl, {"x": np.zeros(2)}, 20, rng(), checkpoint=path)
    before = generator.bit_generator.state
    with pytest.raises(ValueError, match="steps: expected at least the 20 that"):
        fit(bowl, {"x": np.zeros(2)}, 10, generator, checkpoint=path)
    assert generator.bit_generator.state == before


def test_a_value_that_is_not_finite_loses_no_step(tmp_path):
    loss, params = problem()
    whole = fit(loss, params, 100, rng(), progress=False)
    plain, path = loss.value_and_grad, tmp_path / "c.npz"

    def breaks(params, rng, step):
        value, g = plain(params, rng, step)
        return (math.nan if step == 70 else value), g

    loss.value_and_grad = breaks
    with pytest.raises(FloatingPointError, match="step 70"):
        fit(loss, params, 100, rng(), checkpoint=path, checkpoint_every=1000, progress=False)
    loss.value_and_grad = plain
    same(whole, fit(loss, params, 100, rng(8), checkpoint=path, progress=False))


def test_a_checkpoint_of_another_loss_is_refused(tmp_path):
    loss, params = problem()
    path = tmp_path / "c.npz"
    fit(loss, params, 20, rng(), checkpoint=path, progress=False)
    before = path.read_bytes()
    other = FreeEnergy(loss.flow, Gaussian(np.full(loss.flow.dim, 9.0), np.eye(loss.flow.dim)), 8)
    with pytest.raises(ValueError, match="and this loss, which is"):
        fit(other, params, 40, rng(), checkpoint=path, progress=False)
    assert path.read_bytes() == before


def test_a_checkpoint_of_another_rate_is_named(tmp_path):
    loss, params = problem()
    path = tmp_path / "c.npz"
    fit(loss, params, 20, rng(), checkpoint=path, learning_rate=0.01, progress=False)
    with pytest.warns(UserWarning, match=r"learning rate at step 20 was 0\.01, and is 0\.02 now"):
        fit(loss, params, 40, rng(), checkpoint=path, learning_rate=0.02, progress=False)


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither a umask nor modes")
def test_a_checkpoint_has_the_permissions_of_the_umask_and_keeps_a_link(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "link.npz").symlink_to(tmp_path / "far" / "real.npz")
    before = os.umask(0o027)
    try:
        fit(bowl, {"x": np.zeros(2)}, 5, rng(), checkpoint=tmp_path / "link.npz")
    finally:
        os.umask(before)
    assert (tmp_path / "link.npz").is_symlink()
    assert (tmp_path / "far" / "real.npz").stat().st_mode & 0o777 == 0o640


def test_what_a_killed_write_left_is_swept(tmp_path):
    loss, params = problem()
    path = tmp_path / "c[1].npz"
    for name in ("c[1].npz.0123abcd.part", "c1.npz.0123abcd.part"):
        (tmp_path / name).write_bytes(b"half a file")
    fit(loss, params, 10, rng(), checkpoint=path, progress=False)
    assert {p.name for p in tmp_path.iterdir()} == {"c[1].npz", "c1.npz.0123abcd.part"}


def test_a_temporary_file_that_another_process_swept_is_written_again(tmp_path, monkeypatch):
    loss, params = problem()
    path, replace, swept = tmp_path / "c.npz", os.replace, []

    def sweep_once(part, to):
        if not swept:
            swept.append(part)
            Path(part).unlink()
        return replace(part, to)

    monkeypatch.setattr(files.os, "replace", sweep_once)
    first = fit(loss, params, 10, rng(), checkpoint=path, progress=False)
    assert swept
    same(first, fit(loss, params, 10, rng(), checkpoint=path, progress=False))


def test_a_folder_that_cannot_be_made_is_told_before_the_training(tmp_path):
    (tmp_path / "file").touch()
    seen = []
    with pytest.raises(OSError, match="file"):
        fit(lambda *_: seen.append(1), {"x": np.zeros(2)}, 5, rng(), checkpoint=tmp_path / "file/c")
    assert not seen


CONTROL_C = """
import _thread, signal, sys, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background ignores it
from tests.library.test_training import problem, rng
from nflib_min.training import fit
loss, params = problem()
threading.Timer(float(sys.argv[2]), _thread.interrupt_main).start()
done = fit(loss, params, 10**6, rng(), checkpoint=sys.argv[1], checkpoint_every=10**6)
assert done.interrupted and signal.getsignal(signal.SIGINT) is signal.default_int_handler
print(len(done.history["loss"]))
"""


def test_control_c_at_any_moment_keeps_a_whole_state(tmp_path):
    """A signal that a clock sends falls into the middle of a step; the step is finished first."""
    path, root = tmp_path / "c.npz", ROOT
    environment = {**os.environ, "PYTHONPATH": str(root)}
    steps = 0
    for delay in (0.2, 0.33):
        command = [sys.executable, "-c", CONTROL_C, str(path), str(delay)]
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert steps < int(done.stdout) < 10**6
        steps = int(done.stdout)
    loss, params = problem()
    whole = fit(loss, params, steps, rng(), progress=False)
    same(whole, fit(loss, params, steps, rng(3), checkpoint=path, progress=False))


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither a umask nor modes")
def test_files_have_the_mode_that_others_expect(tmp_path):
    """A new file has the mode of the umask, an old one keeps its own."""
    loss, params = problem()
    path, plain = tmp_path / "c.npz", tmp_path / "plain"
    plain.touch()
    fit(loss, params, 10, rng(), checkpoint=path, progress=False)
    assert path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o604)
    fit(loss, params, 20, rng(), checkpoint=path, progress=False)
    assert path.stat().st_mode & 0o777 == 0o604


class Pair(NamedTuple):
    mean: np.ndarray
    scale: np.ndarray


def test_named_tuples_and_ordered_dicts_keep_their_kind():
    params = OrderedDict(b=Pair(np.zeros(2), np.ones(2)), a=[np.ones(1)])

    def loss(p, rng, step):
        assert isinstance(p, OrderedDict) and isinstance(p["b"], Pair)
        return anp.sum((p["b"].mean - 3.0) ** 2) + anp.sum(p["b"].scale ** 2) + p["a"][0][0] ** 2

    class Written:
        def value_and_grad(self, p, rng, step):
            g = OrderedDict(a=[2 * p["a"][0]], b=Pair(2 * (p["b"].mean - 3.0), 2 * p["b"].scale))
            return loss(p, rng, step), g

    for kind in (loss, Written()):
        got = fit(kind, params, 300, rng(), learning_rate=0.1).params
        assert type(got) is OrderedDict and list(got) == ["b", "a"]
        assert type(got["b"]) is Pair and got["b"].mean == pytest.approx([3.0, 3.0], abs=0.01)
        assert pickle.loads(pickle.dumps(got))["b"].scale == pytest.approx([0, 0], abs=0.01)


@pytest.mark.parametrize("rate", [0.0, -0.1])
def test_a_rate_is_positive(rate):
    with pytest.raises(ValueError, match="learning_rate: expected a rate > 0, got"):
        fit(bowl, {"x": np.zeros(2)}, 5, rng(), learning_rate=rate)
    with pytest.raises(ValueError, match="peak: expected a rate > 0, got"):
        cosine_decay(rate, 10)
    with pytest.raises(ValueError, match="steps: expected a whole number of at least 1, got 0"):
        cosine_decay(0.1, 0)


@pytest.mark.parametrize("eta", [-0.1, np.nan, np.inf])
def test_a_rate_that_a_function_gives_is_checked_at_every_step(eta):
    with pytest.raises(ValueError, match="learning_rate: expected a rate >= 0 at step 2, got"):
        fit(bowl, {"x": np.zeros(2)}, 5, rng(), learning_rate=lambda t: 0.1 if t < 2 else eta)
    with pytest.raises(ValueError, match="warmup: expected a whole number of at least 0, got -1"):
        cosine_decay(0.1, 10, warmup=-1)


@pytest.mark.parametrize("generator", [0, np.random.RandomState(0)])
def test_fit_wants_a_generator(generator):
    with pytest.raises(ValueError, match=r"rng: expected a numpy\.random\.Generator, got a"):
        fit(bowl, {"x": np.zeros(2)}, 5, generator)


# --------------------------------------------------------------------- files whole or not there
@pytest.mark.parametrize("where", ["np.savez", "os.replace", "os.fsync"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, where, error):
    loss, params = problem()
    path = tmp_path / "c.npz"
    fit(loss, params, 20, rng(), checkpoint=path, progress=False)
    old = path.read_bytes()

    def fail(*args, **kwargs):
        raise error

    module, function = where.split(".")
    monkeypatch.setattr(getattr(files, module), function, fail)
    if isinstance(error, OSError):
        with pytest.raises(OSError, match="disk full"):
            fit(loss, params, 40, rng(), checkpoint=path, progress=False)
    else:
        assert fit(loss, params, 40, rng(), checkpoint=path, progress=False).interrupted
    monkeypatch.undo()
    assert path.read_bytes() == old and [p.name for p in tmp_path.iterdir()] == ["c.npz"]
    same(
        fit(loss, params, 40, rng(), progress=False),
        fit(loss, params, 40, rng(), checkpoint=path, progress=False),
    )


def refused(path, message, params=None, generator=None):
    """The file is refused with the message, and neither it nor the parameters have changed."""
    loss, own = problem()
    params = own if params is None else params
    generator = rng() if generator is None else generator
    before, bytes_before = copied(params), path.read_bytes()
    state = str(generator.bit_generator.state)
    with pytest.raises(ValueError, match=message):
        fit(loss, params, 100, generator, checkpoint=path, progress=False)
    assert path.read_bytes() == bytes_before
    assert str(generator.bit_generator.state) == state
    assert all(
        np.array_equal(a, b) for a, b in zip(arrays_of(params), arrays_of(before), strict=True)
    )
    assert len(list(path.parent.iterdir())) == 1


@pytest.fixture
def checkpoint(tmp_path):
    """A good checkpoint of `problem()` after 30 steps."""
    loss, params = problem()
    path = tmp_path / "c.npz"
    fit(loss, params, 30, rng(), checkpoint=path, progress=False)
    return path


WRITTEN = r"^checkpoint c\.npz: expected a file written by fit( for these parameters)?"


def save_npy(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def save_npz(path):
    with path.open("wb") as file:
        np.savez(file, weights=np.zeros(3))


def save_other_header(path):
    with path.open("wb") as file:
        np.savez(file, header=np.array("[1, 2]"), flat=np.zeros(3))


@pytest.mark.parametrize(
    "foreign",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("epoch 3, loss 0.2\n", encoding="utf-8"),
        lambda path: path.write_bytes(pickle.dumps({"x": np.zeros(2)})),
        save_npy,
        save_npz,
        save_other_header,
    ],
)
def test_a_foreign_file_is_refused(tmp_path, foreign):
    path = tmp_path / "c.npz"
    foreign(path)
    refused(path, WRITTEN)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95, 0.999])
def test_a_truncated_file_is_refused(checkpoint, share):
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: int(share * len(content))])
    refused(checkpoint, WRITTEN)


def test_a_flipped_byte_is_refused_or_does_no_harm(checkpoint):
    """At 300 places all over the file: either it is refused, or what it holds is what was saved."""
    loss, params = problem()
    whole = fit(loss, params, 35, rng(), progress=False)
    content = checkpoint.read_bytes()
    outcomes = {"refused": 0, "harmless": 0}
    for at in np.linspace(0, len(content) - 1, 300).astype(int):
        spoiled = bytearray(content)
        spoiled[at] ^= 0x55
        checkpoint.write_bytes(spoiled)
        try:
            got = fit(loss, params, 35, rng(), checkpoint=checkpoint, progress=False)
        except ValueError as error:
            assert "expected a file written by fit" in str(error)
            assert checkpoint.read_bytes() == spoiled
            outcomes["refused"] += 1
        else:
            same(whole, got)
            outcomes["harmless"] += 1
    assert outcomes["refused"] > 200  # the rest are dates and the like in the zip's directory


def test_other_parameters_are_refused(checkpoint):
    flow = Flow(StandardNormal(2), Planar(2, 3))
    refused(
        checkpoint,
        WRITTEN + r", got one with \[\[\"params\[0\]\['mean'\]\", \[2\]\]",
        flow.init(rng()),
    )


def test_another_dtype_is_refused(checkpoint):
    _, params = problem(dtype=np.float32)
    refused(checkpoint, WRITTEN + r", of dtype float32, got float64", params)


def test_another_bit_generator_is_refused(checkpoint):
    generator = np.random.Generator(np.random.MT19937(0))
    refused(checkpoint, WRITTEN + r" with a MT19937 generator, got PCG64", generator=generator)


def test_a_checkpoint_cannot_run_code(checkpoint):
    """Unpickling can run anything, so that a file with a pickle inside is refused unread."""
    ran = checkpoint.parent / "ran"

    class Trap:
        def __reduce__(self):
            return (Path.touch, (ran,))

    with checkpoint.open("wb") as file:
        np.savez(file, header=np.array([Trap()], dtype=object))
    refused(checkpoint, WRITTEN)
    assert not ran.exists()


# ------------------------------------------------------------------------------------ progress
def test_silent_where_nobody_is_watching(capfd):
    loss, params = problem()
    fit(loss, params, 60, rng())
    assert capfd.readouterr() == ("", "")


def test_a_bar_on_request(capfd):
    loss, params = problem()
    fit(loss, params, 60, rng(), progress=True)
    out, err = capfd.readouterr()
    assert out == "" and "60/60" in err and "loss" in err


# ---------------------------------------------------------------------------------- clear errors
@pytest.mark.parametrize(
    "change, message",
    [
        ({"steps": 0}, r"^steps: expected a whole number of at least 1, got 0"),
        ({"steps": 10.0}, r"^steps: expected a whole number of at least 1, got 10.0"),
        (
            {"checkpoint_every": 0},
            r"^checkpoint_every: expected a whole number of at least 1, got 0",
        ),
        ({"clip": 0.0}, r"^clip: expected a length > 0, got 0.0"),
        ({"clip": float("nan")}, r"^clip: expected a length > 0, got nan"),
        (
            {"loss": 3.0},
            r"^loss: expected a function of \(params, rng, step\) or an object .* got a float",
        ),
        ({"params": {}}, r"^params: expected floating arrays of one dtype, got \[\]"),
        (
            {"params": {"x": np.zeros(2, int)}},
            r"^params: expected floating arrays .*, got \['int64'\]",
        ),
        (
            {"params": {"x": 1.0}},
            r"^params: expected floating arrays of one dtype, got \['a float'\]",
        ),
        (
            {"params": {"x": np.zeros(2), "y": np.zeros(2, np.float32)}},
            r"^params: expected floating arrays of one dtype, got \['float32', 'float64'\]",
        ),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {"loss": bowl, "params": {"x": np.zeros(2)}, "steps": 3, "rng": rng()} | change
    with pytest.raises(ValueError, match=message):
        fit(**arguments)


def test_a_loss_that_is_not_finite_names_the_step():
    def loss(params, rng, step):
        return anp.sum(params["x"]) * (np.nan if step == 2 else 1.0)

    with pytest.raises(FloatingPointError, match=r"^step 2: expected a finite loss, got nan"):
        fit(loss, {"x": np.zeros(2)}, 5, rng())


def test_a_gradient_that_is_not_finite_names_the_step_and_the_parameter():
    class Broken:
        def value_and_grad(self, params, rng, step):
            bad = np.inf if step == 1 else 1.0
            return 0.0, {"x": np.ones(2), "y": [np.array([1.0, bad])]}

    message = r"^step 1: expected finite gradients, got NaN or inf in those of params\['y'\]\[0\]$"
    with pytest.raises(FloatingPointError, match=message):
        fit(Broken(), {"x": np.zeros(2), "y": [np.zeros(2)]}, 5, rng())


def test_a_gradient_whose_norm_overflows_is_told_apart():
    class Steep:
        def value_and_grad(self, params, rng, step):
            return 0.0, {"x": np.full(2, 1e30, np.float32)}

    with (
        np.errstate(over="ignore"),
        pytest.raises(FloatingPointError, match="a norm too large for its dtype"),
    ):
        fit(Steep(), {"x": np.zeros(2, np.float32)}, 5, rng())


# ------------------------------------------------------------------------------ it does train
def test_a_flow_finds_a_gaussian():
    flow = Flow(StandardNormal(2), Affine(2))
    target = Target(lambda z: -0.5 * anp.sum(((z - 1.0) / 0.5) ** 2, axis=1), 2)
    got = fit(
        FreeEnergy(flow, target),
        flow.init(rng()),
        1500,
        rng(),
        learning_rate=cosine_decay(0.05, 1500),
    )
    assert got.params["mean"] == pytest.approx(np.ones(2), abs=5e-3)
    assert got.params["log_scale"] == pytest.approx(np.log(np.full(2, 0.5)), abs=5e-3)
    # at the optimum every sample gives -ln Z: the estimate has no variance left
    assert got.history["loss"][-1] == pytest.approx(-np.log(2 * np.pi * 0.25), abs=5e-3)
