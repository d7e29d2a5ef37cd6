"""Infinitesimal flows against closed forms, conservation laws, and an adaptive solver."""

import math

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import elementwise_grad
from scipy.integrate import solve_ivp

from nflib_min import Flow, Planar, StandardNormal, checks
from nflib_min.continuous import Leapfrog, ODEFlow
from nflib_min.diffusions import (
    fokker_planck,
    fokker_planck_rates,
    langevin,
    largest_curvature,
)
from nflib_min.targets import U1
from tests.library.laws import params_for, repeat_rows, ripple


def rng(seed=0):
    return np.random.default_rng(seed)


def bowl(z):
    """The energy of a correlated Gaussian with covariance [[1, .6], [.6, 1]]."""
    return 0.5 * np.sum(z @ np.linalg.inv([[1.0, 0.6], [0.6, 1.0]]) * z, axis=1)


def ornstein_uhlenbeck(mean, variance, rate, t):
    """Mean and variance at time t of dz = -rate z dt + sqrt(2) d xi, in closed form."""
    decay = math.exp(-rate * t)
    return mean * decay, 1 / rate + (variance - 1 / rate) * decay**2


# ---------------------------------------------------------------------------------------- Langevin
@pytest.mark.parametrize("t", [0.1, 0.5, 2.0])
def test_langevin_follows_ornstein_uhlenbeck(t):
    """Mean and variance of 40,000 paths, within five standard errors plus the bias of the step."""
    n, dt = 40_000, 0.01
    z0 = 2.0 + 0.5 * rng().standard_normal((n, 1))
    z = langevin(lambda z: 1.5 * z, z0, dt, round(t / dt), rng(1))[:, 0]
    mean, variance = ornstein_uhlenbeck(2.0, 0.25, 1.5, t)
    assert abs(z.mean() - mean) < 5 * math.sqrt(variance / n) + 2 * dt
    assert abs(z.var() - variance) < 5 * variance * math.sqrt(2 / n) + 2 * dt


def test_langevins_bias_is_what_euler_predicts():
    """z <- (1 - dt) z + sqrt(2 dt) e has variance 1 / (1 - dt / 2): the step's own, known, bias."""
    dt = 0.4
    z = langevin(lambda z: z, np.zeros((200_000, 1)), dt, 40, rng())
    assert z.var() == pytest.approx(1 / (1 - dt / 2), abs=5 * 1.25 * math.sqrt(2 / 200_000))


def test_langevin_draws_all_randomness_from_the_rng():
    z0 = np.zeros((5, 2))
    one, two, other = (langevin(ripple, z0, 0.01, 10, rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(one, two) and not np.array_equal(one, other) and not z0.any()


def test_langevin_refuses_a_step_beyond_stability():
    with pytest.raises(
        ValueError,
        match=r"^dt: expected 0 < dt < 2 / lambda = 0\.5, the stability limit .* got 0\.6",
    ):
        langevin(lambda z: 4 * z, np.ones((3, 2)), 0.6, 10, rng())
    langevin(lambda z: 4 * z, np.ones((3, 2)), 0.49, 10, rng())
    for dt in (0.0, -0.1, math.nan):
        with pytest.raises(ValueError, match=rf"^dt: expected 0 < dt < .*, got {dt}"):
            langevin(lambda z: z, np.ones((3, 2)), dt, 10, rng())


def test_langevin_names_the_step_that_left_the_numbers():
    """A quartic well is gentle at z_0 and steep where the noise may throw a point."""
    with np.errstate(over="ignore", invalid="ignore"):
        with pytest.raises(
            FloatingPointError, match=r"^langevin step \d+: expected finite points, got NaN"
        ):
            langevin(lambda z: z**3, np.full((50, 1), 0.1), 5.0, 100, rng())


@pytest.mark.parametrize(
    "z0, steps, message",
    [
        (np.zeros(3), 1, r"^z0: expected an array of shape \(n, 0\), got shape \(3,\)"),
        (np.full((2, 1), np.nan), 1, r"^z0: expected finite values, got 2 NaN or inf"),
        (np.zeros((2, 1)), 0, r"^steps: expected a whole number of at least 1, got 0"),
    ],
)
def test_langevin_checks_its_arguments(z0, steps, message):
    with pytest.raises(ValueError, match=message):
        langevin(lambda z: z, z0, 0.1, steps, rng())


def test_largest_curvature_is_the_top_eigenvalue():
    for seed in range(5):
        root = rng(seed).standard_normal((4, 4))
        H = root @ root.T
        got = largest_curvature(lambda z, H=H: z @ H, np.zeros((3, 4)), iterations=300)
        assert got == pytest.approx(np.linalg.eigvalsh(H)[-1], rel=1e-4)


def test_largest_curvature_is_not_fooled_by_a_saddle():
    """The eigenvalue of largest size is -9, and the one that limits a step is 2."""
    saddle = np.array([-9.0, 2.0])
    assert largest_curvature(lambda z: z * saddle, np.ones((2, 2)), 200) == pytest.approx(
        2.0, rel=1e-4
    )
    assert largest_curvature(lambda z: -z, np.ones((2, 2))) == pytest.approx(0.0, abs=1e-6)
    assert largest_curvature(lambda z: 0 * z, np.ones((2, 2))) == 0.0


def test_largest_curvature_is_taken_over_all_rows():
    z = np.array([[0.0], [3.0], [-1.0]])
    assert largest_curvature(lambda z: z**3, z) == pytest.approx(27.0, rel=1e-5)


# ------------------------------------------------------------------------------------ Fokker-Planck
def fp_grid(m=64, limits=(-5.0, 5.0), energy=bowl):
    z, cell = checks.grid(limits, m)
    rates = fokker_planck_rates(energy, z, cell)
    return z, cell, rates, 1 / rates.sum(axis=0).max()


def test_mass_is_conserved_and_nothing_is_negative_at_the_stability_limit():
    z, cell, rates, limit = fp_grid(energy=U1)
    q = np.zeros(len(z))
    q[len(z) // 2 + 7] = 1 / cell  # all the mass in one cell: the hardest start
    for steps in (1, 10, 500):
        after = fokker_planck(q, rates, limit, steps)
        assert abs(after.sum() * cell - 1) < 1e-12 and after.min() >= 0


def test_a_step_beyond_the_stability_limit_is_refused():
    _, _, rates, limit = fp_grid(16)
    for dt in (1.001 * limit, 0.0, -limit, math.nan):
        with pytest.raises(
            ValueError,
            match=rf"^dt: expected 0 < dt <= {limit:.4g}, the stability limit of this grid, got",
        ):
            fokker_planck(np.ones(256), rates, dt, 1)


@pytest.mark.parametrize("energy, limits", [(bowl, (-5.0, 5.0)), (U1, (-4.0, 4.0))])
def test_the_density_ends_at_exp_minus_the_energy(energy, limits):
    """E1: L is an energy. q_inf = e^{-L} / Z, and one more step changes nothing at all."""
    z, cell, rates, limit = fp_grid(40, limits, energy)
    p = np.exp(-energy(z))
    p = p / (p.sum() * cell)
    assert np.abs(fokker_planck(p, rates, limit, 50) - p).max() < 1e-12 * p.max()
    if energy is bowl:  # U1's two modes exchange mass too slowly to wait for
        q = fokker_planck(np.full(len(z), 0.01), rates, limit, 4000)
        assert np.abs(q - p).max() < 1e-3 * p.max()


def test_fokker_planck_follows_ornstein_uhlenbeck_and_langevin():
    """Three roads to the same two moments: closed form, grid, and paths."""
    z, cell, rates, limit = fp_grid(100, (-5.0, 5.0), lambda z: 0.5 * np.sum(z**2, axis=1))
    q = np.exp(-0.5 * np.sum(((z - np.array([1.5, 0.0])) / 0.5) ** 2, axis=1)) / (
        2 * math.pi * 0.25
    )
    steps = round(0.4 / (0.9 * limit))
    q = fokker_planck(q, rates, 0.4 / steps, steps)
    mean, variance = ornstein_uhlenbeck(1.5, 0.25, 1.0, 0.4)
    got_mean = cell * q @ z[:, 0]
    got_variance = cell * q @ (z[:, 0] - got_mean) ** 2
    # the scheme is of second order in the cell's width, 0.1
    assert got_mean == pytest.approx(mean, abs=0.005)
    assert got_variance == pytest.approx(variance, abs=0.01)
    start = np.array([1.5, 0.0]) + 0.5 * rng().standard_normal((40_000, 2))
    paths = langevin(lambda z: z, start, 0.01, 40, rng(1))[:, 0]
    assert abs(paths.mean() - got_mean) < 5 * math.sqrt(variance / 40_000) + 0.02
    assert abs(paths.var() - got_variance) < 5 * variance * math.sqrt(2 / 40_000) + 0.02


def test_relative_entropy_never_grows():
    """Each step is a Markov step that leaves e^{-L} as it is, so that KL(q_t || q_inf) falls."""
    z, _, rates, limit = fp_grid(40, (-4.0, 4.0), U1)
    p = np.exp(-U1(z))
    p = p / p.sum()
    q, kls = np.full(len(z), 1 / len(z)), []
    for _ in range(20):
        q = fokker_planck(q, rates, limit, 10)
        inside = q > 0
        kls.append(np.sum(q[inside] * np.log(q[inside] / p[inside])))
    assert (np.diff(kls) < 0).all() and kls[-1] > -1e-12


def test_rates_balance_in_detail_and_cross_no_border():
    z, _, rates, _ = fp_grid(12)
    p = np.exp(-bowl(z)).reshape(12, 12)
    left, right, lower, upper = rates * p
    assert right[:, :-1] == pytest.approx(left[:, 1:], rel=1e-12)
    assert upper[:-1] == pytest.approx(lower[1:], rel=1e-12)
    assert not left[:, 0].any() and not right[:, -1].any()
    assert not lower[0].any() and not upper[-1].any()
    assert (rates >= 0).all()


def test_rates_of_a_wall_are_finite():
    def wall(z):
        return np.where(z[:, 0] > 0, 1e5, 0.0)

    z, cell = checks.grid((-1.0, 1.0), 8)
    rates = fokker_planck_rates(wall, z, cell)
    assert np.isfinite(rates).all() and (rates >= 0).all()
    q = fokker_planck(np.full(64, 0.25), rates, 1 / rates.sum(axis=0).max(), 5)
    assert q.sum() * cell == pytest.approx(1, abs=1e-12)


def test_the_shape_of_q_is_kept():
    _, _, rates, limit = fp_grid(8)
    flat = fokker_planck(np.full(64, 1.0), rates, limit, 3)
    square = fokker_planck(np.full((8, 8), 1.0), rates, limit, 3)
    assert flat.shape == (64,) and square.shape == (8, 8) and np.array_equal(flat, square.ravel())


def test_wrong_grids_are_refused():
    z, cell, rates, limit = fp_grid(8)
    with pytest.raises(
        ValueError, match=r"^energy: expected one value for each of m\^2 grid points, .* got"
    ):
        fokker_planck_rates(lambda z: z, z, cell)
    with pytest.raises(
        ValueError, match=r"^energy: expected one value .*shape \(63,\), got shape \(63,\)"
    ):
        fokker_planck_rates(bowl, z[:-1], cell)
    with pytest.raises(
        ValueError, match=r"^energy on the grid: expected finite values, got 64 NaN or inf"
    ):
        fokker_planck_rates(lambda z: bowl(z) + np.nan, z, cell)
    with pytest.raises(
        ValueError, match=r"^q: expected shape \(8, 8\) or \(64,\), got shape \(63,\)"
    ):
        fokker_planck(np.ones(63), rates, limit, 1)
    with pytest.raises(ValueError, match=r"^q: expected finite values, got 64 NaN or inf"):
        fokker_planck(np.full(64, np.nan), rates, limit, 1)
    with pytest.raises(ValueError, match=r"^steps: expected a whole number of at least 1, got 0"):
        fokker_planck(np.ones(64), rates, limit, 0)


# -------------------------------------------------------------------------------------- Hamiltonian
def hamiltonian(zw):
    """H = L(z) + |w|^2 / 2 with L the energy whose gradient is `ripple`."""
    d = zw.shape[1] // 2
    z, w = zw[:, :d], zw[:, d:]
    return np.sum(0.5 * z**2 - np.cos(z), axis=1) + 0.5 * np.sum(w**2, axis=1)


def test_leapfrog_preserves_volume_and_runs_backwards():
    f = Leapfrog(ripple, dim=2, step_size=0.3, steps=25)
    zw = rng().standard_normal((6, 4))
    zwK, log_det = f.forward_and_log_det({}, zw)
    assert not log_det.any() and np.abs(checks.log_det_by_autodiff(f, {}, zw)).max() < 1e-12
    assert np.abs(f.inverse({}, zwK) - zw).max() < 1e-12
    flip = np.array([1.0, 1.0, -1.0, -1.0])  # reversing the momentum runs time backwards
    assert np.abs(flip * f.forward({}, flip * zwK) - zw).max() < 1e-12


def test_leapfrogs_energy_error_is_of_second_order():
    zw, errors = rng().standard_normal((50, 4)), []
    for steps in (20, 40, 80):
        f = Leapfrog(ripple, dim=2, step_size=2.0 / steps, steps=steps)
        errors.append(np.abs(hamiltonian(f.forward({}, zw)) - hamiltonian(zw)).max())
    slopes = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert slopes == pytest.approx([2.0, 2.0], abs=0.15)


def test_leapfrog_turns_a_harmonic_oscillator():
    f = Leapfrog(lambda z: z, dim=1, step_size=math.pi / 2000, steps=1000)
    assert f.forward({}, np.array([[1.0, 0.0]]))[0] == pytest.approx([0.0, -1.0], abs=1e-5)


def test_leapfrog_can_be_differentiated():
    f = Leapfrog(ripple, dim=1, step_size=0.1, steps=3)
    z = rng().standard_normal((3, 2))
    g = elementwise_grad(lambda z: anp.sum(f.forward({}, z) ** 2, axis=1))(z)
    step = 1e-6
    for j, e in enumerate(step * np.eye(2)):
        ahead, behind = (np.sum(f.forward({}, z + s * e) ** 2, axis=1) for s in (1, -1))
        assert g[:, j] == pytest.approx((ahead - behind) / (2 * step), rel=1e-6)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"step_size": 0.0}, r"^step_size: expected a number > 0, got 0.0"),
        ({"step_size": math.nan}, r"^step_size: expected a number > 0, got nan"),
        ({"steps": 0}, r"^steps: expected a whole number of at least 1, got 0"),
        ({"dim": 0}, r"^dim: expected a whole number of at least 1, got 0"),
    ],
)
def test_leapfrog_checks_its_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        Leapfrog(**({"grad_energy": ripple, "dim": 1, "step_size": 0.1, "steps": 1} | options))


# ---------------------------------------------------------------------------------------------- ODE
def ode_case(steps=10, scale=0.5, dim=2, width=3):
    f = ODEFlow(dim, width=width, steps=steps)
    return f, params_for(f, rng(), scale), rng(1).standard_normal((4, dim))


def reference(f, params, z0):
    """z(1) and the integral of the trace by scipy's solver at tolerance 1e-10, one joint system."""
    n, d = z0.shape

    def rhs(t, state):
        v, trace = f.velocity(params, state[: n * d].reshape(n, d), t)
        return np.concatenate([v.ravel(), trace])

    start = np.concatenate([z0.ravel(), np.zeros(n)])
    end = solve_ivp(rhs, (0.0, 1.0), start, method="DOP853", rtol=1e-10, atol=1e-12).y[:, -1]
    return end[: n * d].reshape(n, d), end[n * d :]


def test_rk4_is_of_order_4_in_points_and_log_det():
    _, params, z0 = ode_case(scale=1.0)
    exact_z, exact_log_det = reference(ODEFlow(2, 3), params, z0)
    errors = []
    for steps in (8, 16, 32):
        zK, log_det = ODEFlow(2, 3, steps).forward_and_log_det(params, z0)
        errors.append([np.abs(zK - exact_z).max(), np.abs(log_det - exact_log_det).max()])
    slopes = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert slopes == pytest.approx(np.full((2, 2), 4.0), abs=0.5)


def test_many_steps_agree_with_the_adaptive_solver():
    f, params, z0 = ode_case(steps=200)
    exact_z, exact_log_det = reference(f, params, z0)
    zK, log_det = f.forward_and_log_det(params, z0)
    assert zK == pytest.approx(exact_z, abs=1e-9) and log_det == pytest.approx(
        exact_log_det, abs=1e-9
    )
    back, log_det_back = f.inverse_and_log_det(params, exact_z)
    assert back == pytest.approx(z0, abs=1e-9) and log_det_back == pytest.approx(
        -exact_log_det, abs=1e-9
    )


@pytest.mark.parametrize("per_row", [False, True])
def test_the_trace_is_the_divergence_by_autodiff(per_row):
    f, params, z = ode_case(dim=3)
    params = repeat_rows(params, len(z)) if per_row else params
    for t in (0.0, 0.37, 1.0):
        trace = f.velocity(params, z, t)[1]
        divergence = sum(
            elementwise_grad(lambda z, j=j, t=t: f.velocity(params, z, t)[0][:, j])(z)[:, j]
            for j in range(3)
        )
        assert trace == pytest.approx(divergence, abs=1e-13)


def test_the_velocity_is_its_formula():
    f, params, z = ode_case()
    for z_i, v in zip(z, f.velocity(params, z, 0.3)[0], strict=True):
        terms = zip(params["u"], params["w"], params["b"], params["a"], strict=True)
        assert v == pytest.approx(sum(u * math.tanh(w @ z_i + b + 0.3 * a) for u, w, b, a in terms))


def test_one_velocity_field_a_row():
    f, _, z = ode_case()
    rows = params_for(f, rng(5), 0.5, rows=4)
    zK, log_det = f.forward_and_log_det(rows, z)
    for i in range(4):
        own = {name: value[i] for name, value in rows.items()}
        one, one_log_det = f.forward_and_log_det(own, z[i : i + 1])
        assert one[0] == pytest.approx(zK[i]) and one_log_det[0] == pytest.approx(log_det[i])


def test_a_long_planar_flow_of_small_steps_converges_to_the_ode():
    """K layers of u / K: the error falls like 1 / K, because each layer is one Euler step."""
    width, z0 = 2, rng(1).standard_normal((20, 2))
    f = ODEFlow(2, width, steps=50)
    params = params_for(f, rng(), 0.4)
    params["a"] = np.zeros(width)  # an autonomous field, so that all layers are alike
    exact, _ = f.forward_and_log_det(params, z0)
    errors = []
    for K in (64, 128, 256):
        z = z0
        for _ in range(K):
            v, _ = f.velocity(params, z, 0.0)
            z = z + v / K
        errors.append(np.abs(z - exact).max())
    assert np.log2(np.array(errors[:-1]) / errors[1:]) == pytest.approx([1.0, 1.0], abs=0.05)


def test_no_constraint_is_needed():
    """w.u far below -1 folds a planar layer; the ODE's solution still runs backwards."""
    f = ODEFlow(1, width=1, steps=100)
    params = {"u": np.array([[-6.0]]), "w": np.array([[1.0]]), "b": np.zeros(1), "a": np.zeros(1)}
    z0 = np.linspace(-3, 3, 50)[:, None]
    zK = f.forward(params, z0)
    assert (np.diff(zK[:, 0]) > 0).all()
    assert f.inverse(params, zK) == pytest.approx(z0, abs=1e-4)
    mass = checks.total_mass(
        lambda z: Flow(StandardNormal(1), f).log_prob(params, z), (-4.0, 4.0), 8000, dim=1
    )
    assert mass == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"dim": 0}, r"^dim: expected a whole number of at least 1, got 0"),
        ({"width": 0}, r"^width: expected a whole number of at least 1, got 0"),
        ({"steps": 0}, r"^steps: expected a whole number of at least 1, got 0"),
    ],
)
def test_ode_flow_checks_its_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        ODEFlow(**({"dim": 2, "width": 2, "steps": 2} | options))


def test_the_params_of_a_planar_flow_are_not_those_of_an_ode():
    with pytest.raises(
        ValueError, match=r"expected a dict with \['a', 'b', 'u', 'w'\], got \['b', 'u', 'w'\]"
    ):
        ODEFlow(2, 4).forward(Planar(2, 4).init(rng()), np.zeros((1, 2)))
