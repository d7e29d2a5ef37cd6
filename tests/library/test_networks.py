"""The perceptron: its equation, its start, its pullback."""

import copy
import pickle

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads

from nflib_min.networks import MLP


def random_params(net, rng, rows=None):
    lead = () if rows is None else (rows,)
    return {name: rng.standard_normal((*lead, *shape)) for name, shape in net.shapes.items()}


def test_the_equation_layer_by_layer():
    rng = np.random.default_rng(0)
    net = MLP((3, 5, 4, 2))
    p, x = random_params(net, rng), rng.standard_normal((7, 3))
    expected = np.tanh(np.tanh(x @ p["W0"] + p["b0"]) @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]
    assert net(p, x) == pytest.approx(expected, abs=1e-13)


def test_without_hidden_layers_it_is_linear():
    rng = np.random.default_rng(0)
    net = MLP((3, 2))
    p, x = random_params(net, rng), rng.standard_normal((7, 3))
    assert net(p, x) == pytest.approx(x @ p["W0"] + p["b0"], abs=1e-14)


def test_no_inputs_give_a_constant():
    net = MLP((0, 4, 2))
    p = random_params(net, np.random.default_rng(0))
    y = net(p, np.zeros((5, 0)))
    assert y.shape == (5, 2) and np.ptp(y, axis=0).max() == 0 and np.abs(y).min() > 0


def test_one_network_a_row():
    rng = np.random.default_rng(0)
    net = MLP((3, 4, 2))
    p, x = random_params(net, rng, rows=6), rng.standard_normal((6, 3))
    rows = [net({name: value[i] for name, value in p.items()}, x[i : i + 1]) for i in range(6)]
    assert net(p, x) == pytest.approx(np.concatenate(rows), abs=1e-14)


@pytest.mark.parametrize("sizes", [(3, 2), (3, 5, 2), (2, 4, 4, 1), (0, 3, 2)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_pullback_is_autograds(sizes, dtype):
    rng = np.random.default_rng(0)
    net = MLP(sizes)
    p = {name: value.astype(dtype) for name, value in random_params(net, rng).items()}
    x, g = (rng.standard_normal((6, size)).astype(dtype) for size in (sizes[0], sizes[-1]))
    y, pullback = net.with_pullback(p, x)
    g_params, g_x = pullback(g)
    tolerance = 1e-12 if dtype == np.float64 else 1e-4
    assert np.array_equal(y, net(p, x)) or y == pytest.approx(net(p, x), rel=tolerance)
    assert list(g_params) == list(p)
    assert {a.dtype for a in (y, g_x, *g_params.values())} == {np.dtype(dtype)}
    expected = grad(lambda p: anp.sum(g * net(p, x)))(p)
    for name in p:
        assert g_params[name] == pytest.approx(expected[name], rel=tolerance, abs=tolerance)
    expected = grad(lambda x: anp.sum(g * net(p, x)))(x)
    assert g_x == pytest.approx(expected, rel=tolerance, abs=tolerance)
    assert np.array_equal(pullback(g)[1], g_x)  # a second time, and nothing was used up


def test_autograd_twice():
    rng = np.random.default_rng(0)
    net = MLP((2, 3, 2))
    check_grads(lambda p, x: anp.sum(anp.sin(net(p, x))), modes=["rev"], order=2)(
        random_params(net, rng), rng.standard_normal((3, 2))
    )


def test_init_keeps_the_size_of_what_passes_through():
    """Rows of W have variance 1 / d_in, so that a unit-normal input makes unit-normal sums."""
    net = MLP((200, 300, 1))
    params = net.init(np.random.default_rng(0))
    assert params["W0"].std() == pytest.approx(200**-0.5, rel=0.02)
    assert not params["b0"].any() and not params["b1"].any()
    small = net.init(np.random.default_rng(0), last_scale=0.01)
    assert np.array_equal(small["W0"], params["W0"])
    assert small["W1"] == pytest.approx(0.01 * params["W1"])


@pytest.mark.parametrize(
    "sizes, message",
    [
        ((3,), r"^sizes: expected at least \(d_in, d_out\), got \(3,\)"),
        ((), r"^sizes: expected at least \(d_in, d_out\), got \(\)"),
        ((2, -1), r"^sizes: expected a whole number of at least 0, got -1"),
        ((2, 1.5), r"^sizes: expected a whole number of at least 0, got 1.5"),
    ],
)
def test_wrong_sizes_are_named(sizes, message):
    with pytest.raises(ValueError, match=message):
        MLP(sizes)


def test_a_gradient_with_respect_to_data_is_left_out():
    net, rng = MLP((3, 4, 2)), np.random.default_rng(0)
    params, x, g = net.init(rng), rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    whole, g_x = net.with_pullback(params, x)[1](g)
    part, nothing = net.with_pullback(params, x, x_is_data=True)[1](g)
    assert g_x.shape == x.shape and nothing is None
    assert all(np.array_equal(whole[name], part[name]) for name in whole)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_it_can_be_pickled_and_copied(activation):
    net, rng = MLP((3, 4, 2), activation), np.random.default_rng(0)
    params, x, g = net.init(rng), rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    for again in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert np.array_equal(again(params, x), net(params, x))
        for a, b in zip(
            again.with_pullback(params, x)[1](g)[0].values(),
            net.with_pullback(params, x)[1](g)[0].values(),
            strict=True,
        ):
            assert np.array_equal(a, b)
