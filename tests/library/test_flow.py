"""A flow's samples, its density, and that they are of one and the same distribution."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads

from nflib_min import Affine, Chain, Flow, Permute, Planar, Radial, StandardNormal, Uniform, checks
from nflib_min.flow import dtype_of
from tests.library.laws import BIJECTIONS, cast, params_for, points, repeat_rows

every = pytest.mark.parametrize("name", BIJECTIONS)


def make(name="Chain", dim=2, length=3, scale=0.4, seed=0):
    rng = np.random.default_rng(seed)
    f = BIJECTIONS[name](dim, length)
    return Flow(StandardNormal(f.dim), f), params_for(f, rng, scale)


@every
def test_density_of_the_samples_is_the_density_anywhere(name):
    """Eq. (7) forward, where z_0 is known, and through the true inverse, where it is not."""
    flow, params = make(name)
    z, log_q = flow.sample_and_log_prob(params, 50, np.random.default_rng(1))
    tolerance = 1e-3 if name == "ODEFlow" else 1e-9
    assert flow.log_prob(params, z) == pytest.approx(log_q, abs=tolerance)


@every
def test_samples_have_the_density_claimed(name):
    """E_q[p / q] = 1 for a fixed p that lies inside q: within five standard errors, seed fixed."""
    flow, params = make(name)
    z, log_q = flow.sample_and_log_prob(params, 20_000, np.random.default_rng(2))
    centre, spread = z.mean(axis=0), 0.4 * z.std(axis=0)
    log_p = -0.5 * ((z - centre) / spread) ** 2 - np.log(spread * np.sqrt(2 * np.pi))
    ratio = np.exp(log_p.sum(axis=1) - log_q)
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / np.sqrt(len(ratio))


@every
def test_sample_is_sample_and_log_prob_without_the_density(name):
    flow, params = make(name)
    one = flow.sample(params, 20, np.random.default_rng(3))
    two, _ = flow.sample_and_log_prob(params, 20, np.random.default_rng(3))
    assert one.shape == (20, flow.dim) and np.array_equal(one, two)


def test_the_law_of_the_unconscious_statistician():
    """Eq. (8): E_{q_K}[h] = E_{q_0}[h(f(z_0))], against the integral of h q_K on a grid."""
    flow, params = make()

    def h(z):
        return np.sin(z[:, 0]) + z[:, 1] ** 2

    draws = h(flow.sample(params, 40_000, np.random.default_rng(0)))
    z, cell = checks.grid((-12.0, 12.0), 400)
    integral = np.sum(h(z) * np.exp(flow.log_prob(params, z))) * cell
    assert abs(draws.mean() - integral) < 5 * draws.std() / np.sqrt(len(draws))


@pytest.mark.parametrize("kind", [Planar, Radial])
def test_a_uniform_base_keeps_its_mass(kind):
    """Row 2 of figure 1: log q is -inf outside the image of the square, and the mass is 1."""
    f = kind(2, 2)
    flow, params = Flow(Uniform(2, -2.0, 2.0), f), params_for(f, np.random.default_rng(0), 0.4)
    z, log_q = flow.sample_and_log_prob(params, 1000, np.random.default_rng(1))
    assert np.isfinite(log_q).all() and flow.log_prob(params, z) == pytest.approx(log_q, abs=1e-9)
    assert flow.log_prob(params, np.array([[50.0, 50.0]]))[0] == -np.inf
    # the border of the image is a jump, so the midpoint rule is only as fine as its cells
    mass = checks.total_mass(lambda z: flow.log_prob(params, z), (-8.0, 8.0), points=600)
    assert mass == pytest.approx(1, abs=0.01)


def test_float32_parameters_make_a_float32_flow():
    flow, params = make()
    params = cast(params, np.float32)
    z, log_q = flow.sample_and_log_prob(params, 9, np.random.default_rng(0))
    assert z.dtype == log_q.dtype == flow.log_prob(params, z).dtype == np.float32


@pytest.mark.parametrize(
    "params, expected",
    [
        ({}, np.float64),
        ([{}, []], np.float64),
        ([{}, {"a": np.zeros(1, np.float32)}], np.float32),
        ([[{}], [{"a": np.zeros(1, np.float32)}]], np.float32),
        ({"a": np.zeros(0)}, np.float64),
    ],
)
def test_dtype_of_the_first_array_among_the_parameters(params, expected):
    assert dtype_of(params) is expected


def test_gradients_flow_through_sampling_and_density():
    flow, params = make("Chain of chains")
    z = points(flow.bijection, np.random.default_rng(0), 4)

    def of_samples(params):
        zK, log_q = flow.sample_and_log_prob(params, 5, np.random.default_rng(0))
        return anp.sum(zK**2) + anp.sum(log_q)

    check_grads(of_samples, modes=["rev"], order=1)(params)
    check_grads(lambda p: anp.sum(flow.log_prob(p, z)), modes=["rev"], order=1)(params)
    flow, params = make("Planar")
    assert np.isfinite(grad(of_samples)(params)["u"]).all()


def test_one_set_of_parameters_a_row():
    flow, params = make()
    rows = repeat_rows(params, 6)
    one, two = (flow.sample_and_log_prob(p, 6, np.random.default_rng(0)) for p in (params, rows))
    assert one[0] == pytest.approx(two[0]) and one[1] == pytest.approx(two[1])


def test_init_starts_close_to_the_base():
    flow = Flow(StandardNormal(2), Chain([Affine(2), Planar(2, 8)]))
    params = flow.init(np.random.default_rng(0))
    z = np.random.default_rng(1).standard_normal((500, 2))
    assert np.abs(flow.log_prob(params, z) - flow.base.log_prob(z)).max() < 0.5


@pytest.mark.parametrize("n", [0, -1, 2.5])
def test_n_is_a_positive_whole_number(n):
    flow, params = make()
    with pytest.raises(ValueError, match=rf"^n: expected a whole number of at least 1, got {n}"):
        flow.sample(params, n, np.random.default_rng(0))


def test_base_and_bijection_share_a_dim():
    with pytest.raises(
        ValueError,
        match=r"base and bijection: expected one dim, got 3 for StandardNormal\(3\) and 2 for P",
    ):
        Flow(StandardNormal(3), Permute([1, 0]))


def test_repr_shows_both_parts():
    assert repr(Flow(StandardNormal(2), Affine(2))) == "Flow(StandardNormal(2), Affine(2))"
