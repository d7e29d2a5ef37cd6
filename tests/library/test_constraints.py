"""Maps to bounded coordinates: their images, log-determinants, inverses, and far out."""

import pickle
from decimal import Decimal

import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given

from nflib_min import Planar, checks
from nflib_min.constraints import (
    Blocks,
    Free,
    Interval,
    Ordered,
    Positive,
    Simplex,
    unconstrained,
)
from tests.library.laws import seeds

MAPS = {
    "Positive": lambda: Positive(3),
    "Interval": lambda: Interval(3, -1.0, 3.0),
    "Simplex": lambda: Simplex(3),
    "Simplex of two": lambda: Simplex(1),
    "Ordered": lambda: Ordered(3),
    "Free": lambda: Free(2),
    "Blocks": lambda: Blocks([Free(1), Positive(2), Simplex(2), Ordered(2), Interval(1)]),
}
INSIDE = {
    "Positive": lambda x: (x > 0).all(),
    "Interval": lambda x: ((x > -1) & (x < 3)).all(),
    "Simplex": lambda x: (x > 0).all() and (x.sum(axis=1) < 1).all(),
    "Simplex of two": lambda x: ((x > 0) & (x < 1)).all(),
    "Ordered": lambda x: (np.diff(x, axis=1) > 0).all(),
}
every = pytest.mark.parametrize("name", MAPS)


@every
@given(seed=seeds)
def test_a_constraint_obeys_the_laws_of_a_bijection(name, seed):
    f = MAPS[name]()
    z = 2 * np.random.default_rng(seed).standard_normal((5, f.dim))
    checks.check_bijection(f, {}, z)
    assert INSIDE.get(name, lambda x: True)(f.forward({}, z))


@every
@pytest.mark.parametrize("dtype, far", [(np.float64, 700.0), (np.float32, 80.0)])
def test_far_out_nothing_is_nan_and_log_dets_are_finite(name, dtype, far):
    f = MAPS[name]()
    z = np.array([[far] * f.dim, [-far] * f.dim], dtype) / (1 if name != "Blocks" else 2)
    x, log_det = f.forward_and_log_det({}, z)
    assert x.dtype == log_det.dtype == dtype
    assert np.isfinite(x).all() and np.isfinite(log_det).all()


def test_a_simplex_starts_uniform():
    for d in (1, 2, 5):
        assert Simplex(d).forward({}, np.zeros((1, d))) == pytest.approx(
            np.full((1, d), 1 / (d + 1))
        )


def test_a_density_keeps_its_mass_on_unconstrained_coordinates():
    """Gamma(3, 2) and Beta(2, 5), whose normalizers are Gamma(3) / 2^3 and 1 / 30."""
    both = Blocks([Positive(1), Interval(1)])

    def log_density(x):
        gamma = 2 * anp.log(x[:, 0]) - 2 * x[:, 0]
        return gamma + anp.log(x[:, 1]) + 4 * anp.log(1 - x[:, 1])

    mass = checks.total_mass(unconstrained(log_density, both), (-16.0, 12.0), 800)
    assert mass == pytest.approx(2 / 2**3 / 30, rel=1e-5)


def test_wrong_limits_and_no_maps_are_refused():
    with pytest.raises(
        ValueError, match=r"expected finite low < high, got low = 1\.0 and high = 1\.0"
    ):
        Interval(1, 1.0, 1.0)
    with pytest.raises(ValueError, match="dim: expected a whole number of at least 1, got 0"):
        Blocks([])
    for low, high in ((1.0, 1.0), (0, np.inf), (-np.inf, 0), (np.nan, 1)):
        with pytest.raises(
            ValueError, match=f"finite low < high, got low = {low} and high = {high}"
        ):
            Interval(1, low, high)
    with pytest.raises(ValueError, match="maps: expected maps without parameters, got Planar"):
        Blocks([Positive(1), Planar(2, 3)])


OUTSIDE = {
    "Positive": [1.0, -0.1, 2.0],
    "Interval": [0.0, 3.1, 0.0],
    "Simplex": [0.5, 0.5, 0.1],
    "Simplex of two": [1.1],
    "Ordered": [0.0, 2.0, 1.0],
    "Blocks": [0.0, 1.0, 1.0, 0.5, 0.2, 1.0, 0.9, 0.5],
}
BORDER = {
    "Positive": [1.0, 0.0, 2.0],
    "Interval": [-1.0, 3.0, 0.0],
    "Simplex": [1.0, 0.0, 0.0],
    "Simplex of two": [1.0],
    "Ordered": [0.0, 2.0, 2.0],
    "Blocks": [0.0, 0.0, 1.0, 0.5, 0.5, 1.0, 1.0, 1.0],
}


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_inverse_takes_the_border_and_refuses_what_lies_beyond(name, dtype):
    f = MAPS[name]()
    inside = f.forward({}, np.zeros((1, f.dim), dtype))
    bad = np.concatenate([inside, np.array([OUTSIDE[name]], dtype)])
    with pytest.raises(ValueError, match=r"^zK of .*: expected .*, got .* in row 1"):
        f.inverse({}, bad)
    z, log_det = f.inverse_and_log_det({}, np.array([BORDER[name]], dtype))
    assert not np.isnan(z).any() and np.isinf(z).any() and log_det[0] == np.inf


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(seed=seeds)
def test_what_comes_out_goes_back_in(name, dtype, seed):
    """Rounded onto the border or not, at any distance: the inverse takes every x of its own map."""
    f, rng = MAPS[name](), np.random.default_rng(seed)
    far = 700 if dtype == np.float64 else 80
    z = (far ** rng.uniform(0, 1, (20, 1)) * rng.uniform(-1, 1, (20, f.dim))).astype(dtype)
    x = f.forward({}, z)
    back, log_det = f.inverse_and_log_det({}, x)
    assert not np.isnan(back).any() and not np.isnan(log_det).any()
    again = f.forward({}, np.clip(back, -far, far))
    assert again == pytest.approx(x, rel=1e-3, abs=1e-3)


def test_a_small_share_keeps_its_digits():
    """After a stick of which almost all is gone: x_2 is that of the formula in 50 digits."""
    x = Simplex(2).forward({}, np.array([[40.0, 0.0]]))
    assert x[0, 1] == pytest.approx(float(1 / (2 * (1 + Decimal(40).exp() / 2))), rel=1e-14)


def test_a_density_on_unconstrained_coordinates_can_be_pickled():
    f = unconstrained(gamma, Positive(1))
    z = np.linspace(-2, 2, 5)[:, None]
    assert np.array_equal(pickle.loads(pickle.dumps(f))(z), f(z))


def gamma(x):
    return 2 * anp.log(x[:, 0]) - 2 * x[:, 0]
