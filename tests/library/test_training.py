"""Training: the textbook's Adam, an exact resume, and files that are whole or not there."""

import math
import tracemalloc

import autograd.numpy as anp
import numpy as np
import pytest

from nflib_min import Affine, Flow, StandardNormal
from nflib_min._state import TrainingState
from nflib_min._trees import tree_leaves
from nflib_min.objectives import FreeEnergy
from nflib_min.targets import Target
from nflib_min.training import cosine_decay, fit
from tests.library.laws import arrays_of, copied
from tests.library.small import bowl, problem, rng, same


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
