"""The checks bite: each law, broken on purpose, fails and says which law it was."""

import math

import numpy as np
import pytest

from nflib_min import Affine, Bijection, Planar, StandardNormal, checks
from tests.library.laws import BIJECTIONS, params_for, points


class Mutant(Bijection):
    """A planar flow with one fault."""

    def __init__(self, fault):
        self.plain, self.fault, self.dim = Planar(2, 3), fault, 2
        self.forward_formula = self.plain.forward_formula

    def init(self, rng):
        return self.plain.init(rng)

    def forward_and_log_det(self, params, z0):
        zK, log_det = self.plain.forward_and_log_det(params, z0)
        if self.fault == "sign of log det":
            log_det = -log_det
        if self.fault == "log det a little off":
            log_det = log_det + 1e-6
        if self.fault == "rows mix":
            zK = zK + 1e-3 * zK.mean(axis=0)
        return zK, log_det

    def inverse_and_log_det(self, params, zK):
        z0, log_det = self.plain.inverse_and_log_det(params, zK)
        if self.fault == "inverse":
            z0 = z0 + 1e-6
        if self.fault == "sign of inverse log det":
            log_det = -log_det
        return z0, log_det

    def forward_with_pullback(self, params, z0):
        zK, log_det, pullback = self.plain.forward_with_pullback(params, z0)

        def spoiled(g_zK, g_log_det):
            g_params, g_z0 = pullback(g_zK, g_log_det)
            if self.fault == "gradient of w":
                g_params["w"] = 1.001 * g_params["w"]
            if self.fault == "gradient of b":
                g_params["b"] = -g_params["b"]
            if self.fault == "gradient of z0":
                g_z0 = g_z0 + 1e-6
            if self.fault == "log det is forgotten":
                g_params, g_z0 = pullback(g_zK, 0 * g_log_det)
            return g_params, g_z0

        return zK, log_det, spoiled


FAULTS = {
    "sign of log det": "log det",
    "log det a little off": "log det",
    "inverse": "round trip",
    "sign of inverse log det": "inverse log det",
    "gradient of w": "pullback",
    "gradient of b": "pullback",
    "gradient of z0": "pullback",
    "log det is forgotten": "pullback",
}


def planar_case(seed=0):
    rng = np.random.default_rng(seed)
    return params_for(Planar(2, 3), rng, 1.0), rng.standard_normal((5, 2))


@pytest.mark.parametrize("fault", FAULTS)
def test_check_bijection_names_the_law_that_is_broken(fault):
    params, z0 = planar_case()
    with pytest.raises(
        AssertionError, match=rf"expected an error of at most 1e-08 in the law '{FAULTS[fault]}'"
    ):
        checks.check_bijection(Mutant(fault), params, z0)


def test_rows_that_mix_are_caught():
    """Several laws fail at once then; by itself the law of the batch fails too."""
    params, z0 = planar_case()
    with pytest.raises(AssertionError, match=r"expected an error of at most .* got"):
        checks.check_bijection(Mutant("rows mix"), params, z0)

    class Centred(Bijection):
        dim = 1

        def forward_and_log_det(self, params, z0):
            return z0 - z0.mean(), np.zeros(len(z0))

        def inverse_and_log_det(self, params, zK):
            return zK, np.zeros(len(zK))

        def forward(self, params, z0):
            return z0

    with pytest.raises(AssertionError, match="in the law 'batch', got"):
        checks.check_bijection(Centred(), {}, np.array([[0.0], [2.0]]))


def test_without_a_fault_all_laws_hold():
    params, z0 = planar_case()
    errors = checks.check_bijection(Mutant("none"), params, z0)
    assert list(errors) == ["round trip", "log det", "inverse log det", "batch", "pullback"]
    assert max(errors.values()) < 1e-12


@pytest.mark.parametrize("name", BIJECTIONS)
@pytest.mark.parametrize("per_row", [False, True])
def test_every_bijection_passes(name, per_row):
    f = BIJECTIONS[name](3, 2)
    rng = np.random.default_rng(0)
    params = params_for(f, rng, rows=4 if per_row else None)
    tolerance = 1e-4 if name == "ODEFlow" else 1e-9
    checks.check_bijection(f, params, points(f, rng, 4), tolerance, per_row=per_row)


def test_a_tolerance_is_kept():
    params, z0 = planar_case()
    checks.check_bijection(Mutant("log det a little off"), params, z0, tolerance=1e-5)
    with pytest.raises(AssertionError):
        checks.check_bijection(Mutant("log det a little off"), params, z0, tolerance=1e-7)


def test_both_log_dets_by_a_second_route_see_a_wrong_jacobian():
    """They look at the map alone, and so cannot repeat the mistake of its log-det."""
    params, z0 = planar_case()
    true = Planar(2, 3).forward_and_log_det(params, z0)[1]
    f = Mutant("sign of log det")
    assert checks.log_det_by_autodiff(f, params, z0) == pytest.approx(true, abs=1e-12)
    assert checks.log_det_by_differences(f, params, z0) == pytest.approx(true, abs=1e-8)
    assert np.abs(f.forward_and_log_det(params, z0)[1] - true).max() > 0.01
    assert checks.log_det_cancellation(f, params, z0) > 0.01


def test_differences_converge_with_the_square_of_the_step():
    params, z0 = planar_case()
    true = Planar(2, 3).forward_and_log_det(params, z0)[1]
    errors = [
        np.abs(checks.log_det_by_differences(Planar(2, 3), params, z0, step) - true).max()
        for step in (1e-2, 1e-3)
    ]
    assert 80 < errors[0] / errors[1] < 120


def test_pullback_error_measures_the_fault():
    params, z0 = planar_case()
    assert checks.pullback_error(Mutant("none"), params, z0) < 1e-12
    assert checks.pullback_error(Mutant("gradient of z0"), params, z0) == pytest.approx(1e-6, rel=1)


def test_round_trip_error_is_relative():
    f = Affine(1)
    params = {"mean": np.zeros(1), "log_scale": np.zeros(1)}

    class Off(Affine):
        def inverse_and_log_det(self, params, zK):
            return zK * (1 + 1e-6), np.zeros(len(zK))

    assert checks.round_trip_error(f, params, np.array([[1e9]])) == 0.0
    assert checks.round_trip_error(Off(1), params, np.array([[1e9]])) == pytest.approx(
        1e-6, rel=1e-3
    )


# ---------------------------------------------------------------------------------------- integrals
def test_a_density_that_lacks_a_factor_does_not_integrate_to_one():
    base = StandardNormal(2)
    assert checks.total_mass(base.log_prob) == pytest.approx(1, abs=1e-12)
    for log_factor in (0.01, -0.01, math.log(2)):
        mass = checks.total_mass(lambda z, x=log_factor: base.log_prob(z) + x)
        assert mass == pytest.approx(math.exp(log_factor), rel=1e-12)
    # eq. (5) without its determinant: stretched by 2 along z_1, the mass is 2
    half = np.array([0.5, 1.0])
    assert checks.total_mass(lambda z: base.log_prob(half * z)) == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_grid_covers_the_cube_once(dim):
    z, cell = checks.grid((-1.0, 3.0), 8, dim)
    assert z.shape == (8**dim, dim) and cell * len(z) == pytest.approx(4.0**dim)
    assert len(np.unique(z, axis=0)) == 8**dim
    assert z.min() == -0.75 and z.max() == 2.75
    assert z[0, 0] < z[1, 0] and np.array_equal(z[0, 1:], z[1, 1:])  # the first runs fastest
    z1, z2 = np.meshgrid(*[np.arange(8) * 0.5 - 0.75] * 2)
    if dim == 2:
        assert np.array_equal(z, np.stack([z1.ravel(), z2.ravel()], axis=1))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (((1.0, 1.0), 4), r"^limits: expected \(low, high\) with low < high, got \(1.0, 1.0\)"),
        (((2.0, 1.0), 4), r"^limits: expected \(low, high\) with low < high, got \(2.0, 1.0\)"),
        (((0.0, 1.0), 0), r"^points: expected a whole number of at least 1, got 0"),
        (((0.0, 1.0), 4, 0), r"^dim: expected a whole number of at least 1, got 0"),
    ],
)
def test_a_grid_of_nothing_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        checks.grid(*arguments)


def test_kl_by_quadrature_of_two_gaussians():
    base = StandardNormal(2)
    scale, mean = np.array([0.5, 1.5]), np.array([0.3, -1.0])

    def log_p(z):
        return base.log_prob((z - mean) / scale) - np.log(scale).sum()

    q_p = 0.5 * np.sum(1 / scale**2 + (mean / scale) ** 2 - 1 + 2 * np.log(scale))
    p_q = 0.5 * np.sum(scale**2 + mean**2 - 1 - 2 * np.log(scale))
    wide = {"limits": (-14.0, 14.0), "points": 600}
    assert checks.kl_by_quadrature(base.log_prob, log_p, **wide) == pytest.approx(q_p, abs=1e-9)
    assert checks.kl_by_quadrature(log_p, base.log_prob, **wide) == pytest.approx(p_q, abs=1e-9)
    assert checks.kl_by_quadrature(base.log_prob, base.log_prob) == 0.0


def test_kl_by_quadrature_where_q_is_0():
    def box(z):
        return np.where(np.abs(z).max(axis=1) < 1, -2 * math.log(2), -np.inf)

    kl = checks.kl_by_quadrature(box, StandardNormal(2).log_prob, (-4.0, 4.0))
    assert kl == pytest.approx(-2 * math.log(2) + math.log(2 * math.pi) + 1 / 3, abs=1e-4)


# ----------------------------------------------------------------------------------------- evidence
def test_an_elbo_above_the_evidence_is_caught():
    log_w = np.random.default_rng(0).normal(-1.0, 0.5, 1000)
    gap, error = checks.check_bound(log_w, 0.0)
    assert gap == pytest.approx(1.0, abs=5 * error) and error == pytest.approx(
        0.5 / 1000**0.5, rel=0.1
    )
    with pytest.raises(
        AssertionError, match=r"^expected ELBO <= ln Z = -2, got an ELBO above it by 0\.9\d+"
    ):
        checks.check_bound(log_w, -2.0)
    with pytest.raises(AssertionError, match="expected ELBO <= ln Z"):
        checks.check_bound(log_w, -1.2)


def test_noise_alone_is_no_fault():
    log_w = np.random.default_rng(0).normal(0.0, 1.0, 400)
    checks.check_bound(log_w - log_w.mean(), -0.2)  # four standard errors above
    with pytest.raises(AssertionError):
        checks.check_bound(log_w - log_w.mean(), -0.3)  # six
