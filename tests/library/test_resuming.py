"""A run that broke off, however it did, goes on to the same bits."""

import math
import os
import pickle
import signal
import subprocess
import sys
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np
import pytest

from nflib_min import checkpoint as files
from nflib_min.adam import Adam
from nflib_min.objectives import FreeEnergy
from nflib_min.targets import Gaussian
from nflib_min.training import cosine_decay, fit
from tests import ROOT
from tests.library.small import bowl, problem, rng, same


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
from tests.library.small import problem, rng
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
from tests.library.small import problem, rng
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
