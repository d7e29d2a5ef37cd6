"""The kernels: products of determinants at the edge of floating point, and shared buffers."""

import gc
import os
import shutil
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nflib_min import Affine, Coupling, Flow, Planar, Radial, StandardNormal, checks
from nflib_min.fast import buffers, planar
from nflib_min.objectives import FreeEnergy
from nflib_min.planar import GAIN, constrain, determinant
from nflib_min.pullback import kernel_of, pullback_by_autograd, without_kernels
from nflib_min.radial import softplus
from nflib_min.targets import Gaussian, table_1
from nflib_min.training import cosine_decay, fit
from tests import ROOT
from tests.library.laws import BIJECTIONS, arrays_of, cast, params_for, points

MAPS = ("laws", "bijections", "planar", "radial", "coupling", "continuous", "flow", "distributions")
TEXTBOOK = [f"tests/library/test_{name}.py" for name in MAPS]
# a formula is not compared with itself, and ODEs are slow to trace: test_continuous.py has them
LEFT_OUT = "test_laws and (pullback_is_autograds_of_the_formula or ODEFlow)"


def spread(low, high, K, dtype=np.float64):
    """K determinants between e^low and e^high, for three points, and the 1 + c that bounds them."""
    exponents = np.linspace(low, high, 3 * K).reshape(K, 3)
    det = np.exp(exponents).astype(dtype)
    # a determinant lies between 1 and 1 + c, so the farthest from 1 is a layer's 1 + c
    bounds = np.where(exponents.max(axis=1) > 0, det.max(axis=1), det.min(axis=1))
    return det, bounds[:, None], det.astype(float)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("K", [1, 2, 7, 8, 9, 16, 33])
@pytest.mark.parametrize("low, high", [(-80, -60), (-80, 80), (60, 80), (-1, 1), (-9, 0), (0, 9)])
def test_log_of_product_never_leaves_the_range(low, high, K, dtype):
    """In float32 eight factors of e^-60 are 0 and eight of e^60 are inf: they must not meet."""
    det, c_plus_1, exact = spread(low, high, K, dtype)
    got = planar.log_of_product(det.copy(), c_plus_1)
    assert got.dtype == dtype
    expected = np.log(exact).sum(axis=0)
    size = np.abs(np.log(exact)).sum(axis=0) + 1
    assert np.abs(got - expected).max() <= 4 * K * np.finfo(dtype).eps * size.max()


@pytest.mark.parametrize("size", [700.0, -700.0])
def test_log_of_product_of_the_largest_and_the_smallest_numbers(size):
    det, c_plus_1, exact = spread(size - 5, size, 16)
    assert planar.log_of_product(det.copy(), c_plus_1) == pytest.approx(np.log(exact).sum(axis=0))


def test_log_of_product_of_no_rows():
    assert planar.log_of_product(np.ones((3, 0)), np.ones((3, 0))).shape == (0,)


@given(a=st.floats(-700, 700), h=st.floats(-1, 1))
def test_determinant_lies_between_1_and_1_plus_c(a, h):
    _, c, c_plus_1 = constrain(np.array([[a]]), np.array([[1.0]]))
    det = planar.determinant(c, np.array([h]), c_plus_1)[0]
    low, high = sorted((1.0, c_plus_1[0]))
    assert low * (1 - 1e-12) <= det <= high * (1 + 1e-12)


def test_determinant_can_write_where_its_argument_was():
    rng = np.random.default_rng(0)
    h, a = np.tanh(rng.standard_normal((3, 5))), rng.standard_normal((3, 1))
    _, c, c_plus_1 = constrain(a[..., None], np.ones((3, 1, 1)))
    expected = planar.determinant(c, h, c_plus_1)
    assert np.array_equal(planar.determinant(c, h, c_plus_1, out=h), expected)


@pytest.mark.parametrize("gain", [GAIN, 1.0])
@given(a=st.lists(st.floats(-1e5, 1e5), min_size=1, max_size=6))
def test_the_constraint_takes_float32_and_gives_it_back(gain, a):
    u, w = np.array(a, np.float32)[:, None], np.ones((len(a), 1), np.float32)
    for got in (*constrain(u, w, gain), *planar.constrain(u, w, gain)[:3]):
        assert got.dtype == np.float32 and np.isfinite(got).all()


@pytest.mark.parametrize("K", [1, 15, 16, 17, 32, 40])
@pytest.mark.parametrize("d", [1, 2, 5])
def test_blocks_of_layers_join_to_the_plain_stack(K, d):
    f, rng = Planar(d, K), np.random.default_rng(K)
    call = params_for(f, rng), rng.standard_normal((6, d))
    g = rng.standard_normal((6, d)), rng.standard_normal(6)
    *got, pullback = f.forward_with_pullback(*call)
    *expected, by_autograd = pullback_by_autograd(f.forward_formula, *call)
    for x, y in zip(
        arrays_of(got, pullback(*g)), arrays_of(expected, by_autograd(*g)), strict=True
    ):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("f", [Planar(2, 20), Coupling(3, 3), Coupling(2, 2, affine=False)])
@pytest.mark.parametrize("single", ["params", "points"])
def test_float32_may_meet_float64(f, single):
    rng = np.random.default_rng(0)
    params, z = cast(params_for(f, rng), np.float32), rng.standard_normal((5, f.dim), np.float32)
    both = cast(params, np.float64), z.astype(float)
    *expected, exact = f.forward_with_pullback(*both)
    call = (params, both[1]) if single == "params" else (both[0], z)
    *got, pullback = f.forward_with_pullback(*call)
    g = np.ones((5, f.dim)), np.ones(5)
    for x, y in zip(arrays_of(got, pullback(*g)), arrays_of(expected, exact(*g)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4)


STACKS = [Planar, Radial, Coupling]
POOLED = [Planar, Coupling]


@pytest.mark.parametrize("kind", STACKS)
def test_a_pullback_answers_the_same_when_asked_again(kind):
    f, rng = kind(2, 3), np.random.default_rng(0)
    pullback = f.forward_with_pullback(params_for(f, rng), rng.standard_normal((6, 2)))[2]
    g = rng.standard_normal((6, 2)), rng.standard_normal(6)
    first = [x.copy() for x in arrays_of(pullback(*g))]
    pullback(2 * g[0], -g[1])
    for x, y in zip(first, arrays_of(pullback(*g)), strict=True):
        assert np.array_equal(x, y)


@pytest.mark.parametrize("kind", STACKS)
def test_two_pullbacks_alive_at_once_do_not_share_a_buffer(kind):
    f, rng = kind(2, 4), np.random.default_rng(0)
    calls = [(params_for(f, rng), rng.standard_normal((6, 2))) for _ in range(3)]
    g = rng.standard_normal((6, 2)), rng.standard_normal(6)
    alone = [f.forward_with_pullback(*call)[2](*g)[1] for call in calls]
    together = [f.forward_with_pullback(*call)[2] for call in calls]
    for pullback, expected in zip(together[::-1], alone[::-1], strict=True):
        assert np.array_equal(pullback(*g)[1], expected)
    for pullback, expected in zip(together, alone, strict=True):
        assert np.array_equal(pullback(*g)[1], expected)


@pytest.mark.parametrize("kind", POOLED)
def test_buffers_are_made_once_a_shape_and_only_a_few_shapes_are_kept(kind):
    buffers.POOL.clear()
    f = kind(2, 3)
    params = params_for(f, np.random.default_rng(0))
    for _ in range(5):
        f.forward_with_pullback(params, np.ones((10, 2)))
    gc.collect()
    assert [len(free) for free in buffers.POOL.values()] == [1]
    for n in range(1, 40):
        f.forward_with_pullback(params, np.ones((n, 2)))
    assert len(buffers.POOL) <= buffers.POOL_SIZE
    assert all(len(free) <= 1 for free in buffers.POOL.values())


@pytest.mark.parametrize("kind", STACKS)
def test_one_pullback_called_by_several_threads_gives_what_one_thread_gets(kind):
    f, rng = kind(2, 12), np.random.default_rng(0)
    pullback = f.forward_with_pullback(params_for(f, rng), rng.standard_normal((200, 2)))[2]
    gs = [(rng.standard_normal((200, 2)), rng.standard_normal(200)) for _ in range(60)]
    expected = [[x.copy() for x in arrays_of(pullback(*g))] for g in gs]
    with ThreadPoolExecutor(6) as threads:
        got = list(threads.map(lambda g: [x.copy() for x in arrays_of(pullback(*g))], gs))
    for xs, ys in zip(got, expected, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(xs, ys, strict=True))


@pytest.mark.parametrize("K", [1, 8, 9, 20])
def test_no_points_give_no_rows_and_gradients_of_0(K):
    for f in (Planar(2, K), Radial(2, K), Coupling(2, min(K, 3))):
        params, z = params_for(f, np.random.default_rng(0)), np.zeros((0, 2))
        zK, log_det, pullback = f.forward_with_pullback(params, z)
        assert zK.shape == (0, 2) and log_det.shape == (0,)
        g_params, g_z0 = pullback(zK, log_det)
        assert g_z0.shape == (0, 2) and all(not g.any() for g in g_params.values())
        for got in (f.forward_and_log_det(params, z), f.inverse_and_log_det(params, z)):
            assert [x.shape for x in got] == [(0, 2), (0,)]


class TestWhoseKernelItIs:
    """A kernel is for the maps it was written for, and for no map that changes the equations."""

    def test_a_subclass_with_a_start_of_its_own_keeps_it(self):
        class Wide(Planar):
            def __init__(self, dim):
                super().__init__(dim, 4)

            def init(self, rng):
                return {name: 3 * p for name, p in super().init(rng).items()}

        assert kernel_of(Wide) is kernel_of(Planar) is not None

    @pytest.mark.slow
    def test_a_subclass_with_other_equations_does_not_get_it(self):
        class SoftAffine(Affine):
            """The scale is a softplus, and both methods are overridden."""

            def forward_and_log_det(self, params, z0):
                scale = softplus(params["log_scale"])
                return params["mean"] + scale * z0, anp.sum(anp.log(scale) + 0 * z0, axis=1)

            def inverse_and_log_det(self, params, zK):
                scale = softplus(params["log_scale"])
                return (zK - params["mean"]) / scale, -anp.sum(anp.log(scale) + 0 * zK, axis=1)

        assert kernel_of(SoftAffine) is None
        f, rng = SoftAffine(2), np.random.default_rng(0)
        checks.check_bijection(f, params_for(f, rng), rng.standard_normal((4, 2)))
        for path_gradient in (False, True):
            target = Gaussian(np.ones(2), 0.25 * np.eye(2))
            loss = FreeEnergy(Flow(StandardNormal(2), f), target, 64, path_gradient=path_gradient)
            done = fit(loss, f.init(rng), 800, rng, learning_rate=cosine_decay(0.05, 800))
            assert softplus(done.params["log_scale"]) == pytest.approx([0.5, 0.5], abs=0.01)

    @pytest.mark.parametrize("helper", ["layers", "forward_formula"])
    def test_a_subclass_with_another_helper_does_not_get_it(self, helper):
        changed = type("Changed", (Planar,), {helper: getattr(Planar, helper)})
        assert kernel_of(changed) is None
        f, rng = changed(2, 3), np.random.default_rng(0)
        checks.check_bijection(f, params_for(f, rng), rng.standard_normal((4, 2)))

    def test_a_subclass_of_a_subclass_is_asked_all_the_way_up(self):
        middle = type("Middle", (Planar,), {"layers": Planar.layers})
        assert kernel_of(type("Lower", (middle,), {"init": Planar.init})) is None


@pytest.mark.parametrize("name", BIJECTIONS)
def test_without_kernels_every_map_gives_the_same_numbers(name):
    """The formulas are the textbook version: deleting `fast` changes the speed alone."""
    f, rng = BIJECTIONS[name](3, 4), np.random.default_rng(0)
    params, z = params_for(f, rng), points(f, rng, 5)
    s0, g = rng.standard_normal(z.shape), (rng.standard_normal(z.shape), rng.standard_normal(5))

    def everything():
        *forth, back, score = f.forward_with_score(params, z, s0, 0.7)
        *there, back_there = f.inverse_with_pullback(params, z)
        return arrays_of(
            f.forward(params, z),
            f.inverse(params, z),
            forth,
            score,
            there,
            back(*g),
            back_there(*g),
        )

    with without_kernels():
        expected = everything()
    for got, want in zip(everything(), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-8 if name != "ODEFlow" else 1e-4)


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble])
def test_dtypes_that_no_kernel_knows_go_by_the_formula(dtype):
    f, rng = Planar(2, 3), np.random.default_rng(0)
    params, z = params_for(f, rng), points(f, rng, 5)
    zK, log_det = f.forward_and_log_det(cast(params, dtype), z.astype(dtype))
    assert zK.dtype == log_det.dtype == dtype
    np.testing.assert_allclose(zK, f.forward(params, z), rtol=0.02, atol=0.02)


@given(a=st.floats(-30, 30), h=st.floats(-1, 1))
def test_the_kernels_determinant_is_the_formulas(a, h):
    _, c, c_plus_1 = constrain(np.array([[a]]), np.array([[1.0]]))
    got, expected = (f(c, np.array([h]), c_plus_1) for f in (planar.determinant, determinant))
    assert got[0] > 0 and got[0] == pytest.approx(expected[0], rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("dim", [2, 8])
def test_a_training_step_needs_little_more_than_its_states(dim):
    """Peak memory of value and gradient, in units of the (K, d, n) states; buffers included.

    At d = 2 the pre-activations, their slopes and determinants are as much as the states again.
    """
    K, n = 32, 2000
    flow = Flow(StandardNormal(dim), Planar(dim, K))
    rng = np.random.default_rng(0)
    params = flow.init(rng)
    z0 = flow.base.sample(n, rng)
    buffers.POOL.clear()
    tracemalloc.start()
    try:
        zK, log_det, pullback = flow.bijection.forward_with_pullback(params, z0)
        pullback(zK, log_det)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 3.0 * 8 * K * dim * n


@pytest.mark.slow
def test_training_does_not_hoard_memory():
    """A thousand steps later no more is held than after the first few."""
    flow = Flow(StandardNormal(2), Planar(2, 8))
    loss, rng = FreeEnergy(flow, table_1("U1"), batch=64), np.random.default_rng(0)
    params = flow.init(rng)
    held = []
    tracemalloc.start()
    try:
        for steps in (20, 500):
            for step in range(steps):
                loss.value_and_grad(params, rng, step)
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert held[1] <= held[0] + 20_000


@pytest.mark.slow
def test_without_the_kernels_every_map_is_right(tmp_path):
    """The folder is gone, not switched off: what is left is the textbook, and as right."""
    needed = ("nflib_min", "tests", "tools", "conftest.py", "pyproject.toml")
    for name in needed:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    shutil.rmtree(tmp_path / "nflib_min" / "fast")
    laws = tmp_path / "tests/library/laws.py"  # tracing takes long: fewer examples of each law
    source = laws.read_text(encoding="utf-8")
    assert "max_examples=25" in source
    laws.write_text(source.replace("max_examples=25", "max_examples=4"), encoding="utf-8")
    pytest_quietly = [sys.executable, "-m", "pytest", "-q", "-W", "ignore"]
    done = subprocess.run(
        [*pytest_quietly, "-k", f"not ({LEFT_OUT})", *TEXTBOOK],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-3000:] + done.stderr
