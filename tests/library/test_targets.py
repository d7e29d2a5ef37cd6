"""Table 1 made proper, and the models in closed form: values, gradients, integrals, exact draws."""

import copy
import math
import pickle

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import elementwise_grad
from scipy import integrate, stats

from nflib_min import checks
from nflib_min.targets import (
    Gaussian,
    LinearGaussian,
    Target,
    eight_schools,
    linear_regression,
    logistic_regression,
    neals_funnel,
    table_1,
    wall,
)

NAMES = ("U1", "U2", "U3", "U4")
LOG_NORMALIZERS = {
    "U1": 1.8775016261097,
    "U2": 2.2276295738,
    "U3": 2.7872453617,
    "U4": 2.8562382332,
}
every = pytest.mark.parametrize("name", NAMES)
WIDTHS = {"U2": 0.40, "U3": 0.70, "U4": 0.75}


def energy(name, z1, z2):
    """Table 1 of the paper, transcribed once more, for two numbers, with 1 / (1 + e^-x)."""
    w1 = math.sin(2 * math.pi * z1 / 4)
    w2 = 3 * math.exp(-(((z1 - 1) / 0.6) ** 2) / 2)
    w3 = 3 / (1 + math.exp(-(z1 - 1) / 0.3))
    if name == "U1":
        ring = ((math.hypot(z1, z2) - 2) / 0.4) ** 2 / 2
        left, right = (math.exp(-(((z1 - c) / 0.6) ** 2) / 2) for c in (2, -2))
        return ring - math.log(left + right)
    if name == "U2":
        return ((z2 - w1) / 0.4) ** 2 / 2
    if name == "U3":
        first = math.exp(-(((z2 - w1) / 0.35) ** 2) / 2)
        return -math.log(first + math.exp(-(((z2 - w1 + w2) / 0.35) ** 2) / 2))
    first = math.exp(-(((z2 - w1) / 0.4) ** 2) / 2)
    return -math.log(first + math.exp(-(((z2 - w1 + w3) / 0.35) ** 2) / 2))


def targets():
    """Every target with a gradient of its own, by name."""
    rng = np.random.default_rng(0)
    root = rng.standard_normal((3, 3))
    return {
        **{name: table_1(name) for name in NAMES},
        "U3, wide wall": table_1("U3", tau=2.0),
        "Gaussian": Gaussian(rng.standard_normal(3), root @ root.T + np.eye(3)),
        "LinearGaussian": LinearGaussian(rng.standard_normal((4, 2)), 0.7, rng.standard_normal(4)),
    }


# ---------------------------------------------------------------------------------------- table 1
@every
def test_the_energy_is_table_1s_plus_the_wall(name):
    target = table_1(name)
    z = np.random.default_rng(0).uniform(-3.5, 3.5, (200, 2))
    z[-50:, 0] = np.sign(z[-50:, 0]) * np.random.default_rng(1).uniform(4, 6, 50)
    for row, got in zip(z, target.log_density(z), strict=True):
        barrier = 0.0 if name == "U1" else max(abs(row[0]) - 4, 0) ** 2 / (2 * 0.5**2)
        assert got == pytest.approx(-energy(name, *row) - barrier, rel=1e-11, abs=1e-11)


@every
def test_the_normaliser_is_the_papers_facts(name):
    assert table_1(name).log_normalizer == pytest.approx(LOG_NORMALIZERS[name], abs=1e-10)


@every
def test_the_normaliser_by_adaptive_quadrature(name):
    """scipy's nested quadrature of the independent transcription; z_2 first, where it is smooth."""
    if name == "U1":  # in polar coordinates: the ring has no kink there

        def ring(r, angle):
            return r * math.exp(-energy("U1", r * math.cos(angle), r * math.sin(angle)))

        Z = integrate.dblquad(ring, 0, 2 * math.pi, 0.001, 6, epsabs=1e-11, epsrel=1e-11)[0]
    else:

        def slice_of(z1):
            return integrate.quad(
                lambda z2: math.exp(-energy(name, z1, z2)) if -9 < z2 < 4 else 0.0,
                -6,
                4,
                epsabs=1e-12,
                limit=200,
            )[0]

        # the same for every z1 (so that without a wall Z is infinite): seven places show it
        slices = [slice_of(z1) for z1 in (-7.3, -2.0, -0.4, 0.3, 1.0, 1.7, 5.5)]
        assert slices == pytest.approx([WIDTHS[name] * math.sqrt(2 * math.pi)] * 7, abs=1e-9)
        tails = integrate.quad(lambda x: math.exp(-2 * x * x), 0, 10, epsabs=1e-13)[0]
        Z = slices[0] * (8 + 2 * tails)
    assert math.log(Z) == pytest.approx(table_1(name).log_normalizer, abs=1e-8)


@every
@pytest.mark.parametrize("tau", [0.25, 0.5, 1.5])
def test_mass_is_one(name, tau):
    log_p = table_1(name, tau).log_prob
    assert checks.total_mass(log_p, (-12.0, 12.0), points=1200) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("tau", [0.1, 0.5, 3.0])
def test_the_exact_formula_of_the_normaliser(tau):
    for name, c in WIDTHS.items():
        Z = c * math.sqrt(2 * math.pi) * (8 + tau * math.sqrt(2 * math.pi))
        assert table_1(name, tau).log_normalizer == pytest.approx(math.log(Z), abs=1e-14)


def test_the_wall_is_flat_inside_and_smooth_at_the_edge():
    z1 = np.array([-6.0, -4.0, 0.0, 4.0, 4.5])
    z = np.stack([z1, np.zeros(5)], axis=1)
    assert wall(z).tolist() == [8.0, 0.0, 0.0, 0.0, 0.5]
    assert wall(z, tau=1.0).tolist() == [2.0, 0.0, 0.0, 0.0, 0.125]


def test_the_constants_of_u1():
    """Second moments, entropy, and the best diagonal Gaussian: the one-mode answer, .9024 nats."""
    target = table_1("U1")
    z, cell = checks.grid((-5.0, 5.0), 1600)
    log_p = target.log_prob(z)
    p = np.exp(log_p) * cell
    assert p @ z[:, 0] ** 2 == pytest.approx(3.3035016, abs=1e-6)
    assert p @ z[:, 1] ** 2 == pytest.approx(1.3952778, abs=1e-6)
    assert -p @ log_p == pytest.approx(2.6600125, abs=1e-6)

    def kl(mean1, sd1, sd2):
        def log_q(z):
            scaled = (z - np.array([mean1, 0.0])) / np.array([sd1, sd2])
            return -0.5 * np.sum(scaled**2, axis=1) - math.log(2 * math.pi * sd1 * sd2)

        return checks.kl_by_quadrature(log_q, target.log_prob, (-9.0, 9.0), points=700)

    best = kl(1.86135, 0.35341, 0.98687)
    assert best == pytest.approx(0.9024069, abs=1e-6)
    assert kl(-1.86135, 0.35341, 0.98687) == pytest.approx(best, abs=1e-10)
    for mean1, sd1, sd2 in ((1.87, 0.353, 0.987), (1.85, 0.353, 0.987), (1.861, 0.36, 0.987)):
        assert kl(mean1, sd1, sd2) > best
    assert kl(1.861, 0.353, 1.0) > best and kl(1.861, 0.353, 0.97) > best


@every
def test_exact_draws_have_the_targets_moments(name):
    """E[h] of the draws against the integral of h p on a grid, for six h, within five sigma."""
    target = table_1(name)
    draws = target.sample(40_000, np.random.default_rng(0))
    z, cell = checks.grid((-8.0, 8.0), 800)
    p = np.exp(target.log_prob(z)) * cell
    for h in (
        lambda z: z[:, 0],
        lambda z: z[:, 1],
        lambda z: z[:, 0] ** 2,
        lambda z: z[:, 1] ** 2,
        lambda z: np.sin(2 * z[:, 0]) * z[:, 1],
        lambda z: np.cos(3 * z[:, 1]),
        target.log_prob,
    ):
        value = h(draws)
        assert abs(value.mean() - p @ h(z)) < 5 * value.std() / np.sqrt(len(value))


@every
def test_exact_draws_have_the_targets_marginals(name):
    """Kolmogorov-Smirnov of each coordinate against the cumulative sum on a grid."""
    target = table_1(name)
    draws = target.sample(20_000, np.random.default_rng(1))
    m = 1000
    z, cell = checks.grid((-8.0, 8.0), m)
    p = (np.exp(target.log_prob(z)) * cell).reshape(m, m)
    edges = np.linspace(-8.0, 8.0, m + 1)
    for column, marginal in ((0, p.sum(axis=0)), (1, p.sum(axis=1))):
        cdf = np.concatenate([[0.0], np.cumsum(marginal)])
        test = stats.kstest(draws[:, column], lambda x, cdf=cdf: np.interp(x, edges, cdf))
        assert test.pvalue > 1e-5


@pytest.mark.parametrize("tau", [0.0, -1.0, float("nan")])
def test_tau_is_positive(tau):
    with pytest.raises(ValueError, match=rf"^tau: expected a number > 0, got {tau}"):
        table_1("U2", tau)


@pytest.mark.parametrize("name", ["U5", "u1", "", None])
def test_an_unknown_target_is_refused(name):
    with pytest.raises(
        ValueError, match=rf"^table_1: expected 'U1', 'U2', 'U3' or 'U4', got {name!r}"
    ):
        table_1(name)


# --------------------------------------------------------------------------------------- gradients
@pytest.mark.parametrize("name", targets())
@pytest.mark.parametrize("scale", [1.0, 4.0, 30.0])
def test_the_written_gradient_is_autograds(name, scale):
    target = targets()[name]
    z = scale * np.random.default_rng(0).standard_normal((60, target.dim))
    value, g = target.log_density_and_grad(z)
    expected = elementwise_grad(target.log_density)(z)
    assert value == pytest.approx(target.log_density(z), rel=1e-12, abs=1e-12)
    assert np.max(np.abs(g - expected) / (1 + np.abs(expected))) < 1e-10


@pytest.mark.parametrize("name", targets())
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_finite_far_out_in_either_precision(name, dtype):
    target = targets()[name]
    z = np.concatenate([np.eye(target.dim), -np.eye(target.dim), np.zeros((1, target.dim))])
    for scale in (1.0, 1e3, 1e6):
        value, g = target.log_density_and_grad((scale * z).astype(dtype))
        assert value.dtype == g.dtype == target.log_density(z.astype(dtype)).dtype == dtype
        assert np.isfinite(value).all() and np.isfinite(g).all()


def test_without_a_gradient_autograd_supplies_it():
    target = Target(lambda z: -anp.sum(z**4, axis=1), dim=3)
    z = np.random.default_rng(0).standard_normal((5, 3))
    value, g = target.log_density_and_grad(z)
    assert value == pytest.approx(-np.sum(z**4, axis=1)) and g == pytest.approx(-4 * z**3)


# -------------------------------------------------------------------------------- in closed form
def test_gaussian_is_scipys():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((3, 3))
    mean, covariance = rng.standard_normal(3), root @ root.T + 0.1 * np.eye(3)
    z = 3 * rng.standard_normal((30, 3))
    target = Gaussian(mean, covariance)
    expected = stats.multivariate_normal(mean, covariance).logpdf(z)
    assert target.log_prob(z) == pytest.approx(expected, rel=1e-11)
    draws = target.sample(50_000, rng)
    error = 5 * np.sqrt(np.diag(covariance) / 50_000)
    assert np.all(np.abs(draws.mean(axis=0) - mean) < error)
    # sd of a sample covariance: sqrt((c_ii c_jj + c_ij^2) / n)
    variances = np.outer(np.diag(covariance), np.diag(covariance))
    assert np.all(
        np.abs(np.cov(draws.T) - covariance) < 5 * np.sqrt((variances + covariance**2) / 50_000)
    )


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.99])
def test_the_mean_field_gap_is_the_least_divergence(rho):
    """-1/2 ln(1 - rho^2) for unit variances, by quadrature at the optimum, and more beside it."""
    target = Gaussian(np.zeros(2), np.array([[1.0, rho], [rho, 1.0]]))
    gap = target.mean_field_gap()
    assert gap == pytest.approx(-0.5 * math.log(1 - rho**2), abs=1e-12)

    def kl(sd):
        def log_q(z):
            return -0.5 * np.sum((z / sd) ** 2, axis=1) - 2 * math.log(sd * math.sqrt(2 * math.pi))

        return checks.kl_by_quadrature(log_q, target.log_prob, (-8.0, 8.0), points=500)

    best = math.sqrt(1 - rho**2)  # 1 / Lambda_ii
    assert kl(best) == pytest.approx(gap, abs=1e-8)
    assert kl(1.1 * best) > gap and kl(0.9 * best) > gap


def test_the_linear_gaussian_by_quadrature():
    """ln p(x), and the posterior's mean and covariance, from the joint on a grid."""
    rng = np.random.default_rng(0)
    model = LinearGaussian(rng.standard_normal((3, 2)), 0.8, rng.standard_normal(3))
    z, cell = checks.grid((-8.0, 8.0), 500)
    joint = np.exp(model.log_density(z)) * cell
    assert math.log(joint.sum()) == pytest.approx(model.log_normalizer, abs=1e-12)
    p = joint / joint.sum()
    mean = p @ z
    assert mean == pytest.approx(model.posterior.mean, abs=1e-12)
    assert (z - mean).T @ ((z - mean) * p[:, None]) == pytest.approx(
        model.posterior.covariance, abs=1e-12
    )
    assert model.log_prob(z[:9]) == pytest.approx(model.posterior.log_prob(z[:9]), abs=1e-10)


def test_the_joint_is_likelihood_times_prior():
    rng = np.random.default_rng(0)
    W, x, z = rng.standard_normal((3, 2)), rng.standard_normal(3), rng.standard_normal((5, 2))
    model = LinearGaussian(W, 0.8, x)
    expected = [stats.norm.logpdf(x, W @ row, 0.8).sum() for row in z]
    assert model.log_likelihood(z) == pytest.approx(expected, rel=1e-12)
    assert model.log_prior(z) == pytest.approx(stats.norm.logpdf(z).sum(axis=1), rel=1e-12)
    assert model.log_density(z) == pytest.approx(model.log_likelihood(z) + model.log_prior(z))
    assert model.sample(7, rng).shape == (7, 2)


# ------------------------------------------------------------------------------------ clear errors
@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Target(3.0, 2), r"^log_density: expected a function of z, got a float"),
        (
            lambda: Target(np.zeros(2), 2),
            r"^log_density: expected a function of z, got shape \(2,\)",
        ),
        (
            lambda: Target(lambda z: z[:, 0], 0),
            r"^dim: expected a whole number of at least 1, got 0",
        ),
        (
            lambda: Gaussian(np.zeros(2), np.eye(3)),
            r"expected shapes \(2,\) and \(2, 2\), got \(2,\) and \(3, 3\)",
        ),
        (
            lambda: Gaussian(np.zeros(2), np.array([[1.0, 2.0], [2.0, 1.0]])),
            r"^covariance: expected a positive definite matrix, got least eigenvalue -1",
        ),
        (
            lambda: LinearGaussian(np.zeros((3, 2)), 1.0, np.zeros(2)),
            r"^W and x: expected shapes \(m, d\) and \(m,\), got \(3, 2\) and \(2,\)",
        ),
        (
            lambda: LinearGaussian(np.zeros((3, 2)), 0.0, np.zeros(3)),
            r"^noise: expected a number > 0, got 0.0",
        ),
    ],
)
def test_wrong_models_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("call", ["log_density", "log_density_and_grad"])
@pytest.mark.parametrize(
    "log_density, message",
    [
        (lambda z: anp.sum(z), r"^ln p of mine: expected one value a row, .*, got a float64"),
        (lambda z: z, r"^ln p of mine: expected one value a row, shape \(4,\), got shape \(4, 2\)"),
        (lambda z: z[:, :1], r"^ln p of mine: expected one value a row, .*got shape \(4, 1\)"),
        (
            lambda z: 0 * z[:, 0] + np.array([0.0, np.nan, 0.0, np.inf]),
            r"^ln p of mine: expected finite values or -inf, got 2 NaN or inf \(the first at",
        ),
    ],
)
def test_a_log_density_of_the_wrong_shape_or_value_is_refused(call, log_density, message):
    target = Target(log_density, 2, name="mine")
    with pytest.raises(ValueError, match=message):
        getattr(target, call)(np.ones((4, 2)))


def test_a_written_gradient_of_the_wrong_shape_is_refused():
    target = Target(lambda z: z[:, 0], 2, gradient=lambda z: (z[:, 0], z[:, 0]), name="mine")
    message = r"^gradient of ln p of mine: expected shape .*, got shape .4,."
    with pytest.raises(ValueError, match=message):
        target.log_density_and_grad(np.ones((4, 2)))


def test_points_are_checked():
    with pytest.raises(
        ValueError, match=r"^z: expected an array of shape \(n, 2\), got shape \(4, 3\)"
    ):
        table_1("U1").log_density(np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"^z: expected finite values, got 1 NaN or inf"):
        table_1("U1").log_density_and_grad(np.array([[np.nan, 0.0]]))


def test_what_is_not_known_is_not_invented():
    target = Target(lambda z: -anp.sum(z**2, axis=1), 2, name="mine")
    with pytest.raises(
        ValueError, match=r"^mine: expected a known log_normalizer for log_prob, got None"
    ):
        target.log_prob(np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"^mine: expected a sampler for exact draws, got None"):
        target.sample(3, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"^n: expected a whole number of at least 1, got 0"):
        table_1("U2").sample(0, np.random.default_rng(0))


def test_repr_names_the_target():
    assert repr(table_1("U3")) == "Target('U3', dim=2)"


# --------------------------------------------------------------------------- what users hand in
MADE = {
    "U1": lambda: table_1("U1"),
    "U4": lambda: table_1("U4"),
    "Gaussian": lambda: Gaussian(np.ones(2), np.array([[1.0, 0.3], [0.3, 2.0]])),
    "LinearGaussian": lambda: LinearGaussian(np.ones((1, 2)), 0.5, np.array([2.0])),
    "eight schools": lambda: eight_schools(centred=True),
    "linear": lambda: linear_regression(np.eye(3), np.arange(3.0), 1.0, 2.0),
    "logistic": lambda: logistic_regression(np.eye(2), np.array([0, 1]), 2.0),
    "funnel": lambda: neals_funnel(3),
}


@pytest.mark.parametrize("name", MADE)
def test_targets_can_be_pickled_and_copied(name):
    target, rng = MADE[name](), np.random.default_rng(0)
    z = target.sample(4, rng) if target._sample else rng.standard_normal((4, target.dim))
    for twin in (pickle.loads(pickle.dumps(target)), copy.deepcopy(target)):
        for got, expected in zip(
            twin.log_density_and_grad(z), target.log_density_and_grad(z), strict=True
        ):
            assert np.array_equal(got, expected)
        assert twin.log_normalizer == target.log_normalizer


def test_an_asymmetric_covariance_is_refused():
    with pytest.raises(ValueError, match="covariance: expected a symmetric matrix"):
        Gaussian(np.zeros(2), np.array([[1.0, 9.0], [0.5, 100.0]]))


def test_differences_give_the_gradient_of_a_density_that_autograd_cannot_trace():
    p = stats.multivariate_normal([1, 2], [[1, 0.5], [0.5, 2]])
    target = Target(p.logpdf, 2, gradient="differences")
    z = np.random.default_rng(0).standard_normal((6, 2))
    expected = -(z - [1, 2]) @ np.linalg.inv([[1, 0.5], [0.5, 2]])
    value, g = target.log_density_and_grad(z)
    assert value == pytest.approx(p.logpdf(z)) and g == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(
    "density",
    [
        stats.multivariate_normal([1, 2], [[1, 0.5], [0.5, 2]]).logpdf,
        lambda z: np.array([float(-(row @ row)) for row in z]),
        lambda z: -0.5 * np.linalg.norm(z, axis=1) ** 2 * np.sinc(z[:, 0]),
    ],
)
def test_a_density_that_autograd_cannot_trace_is_named(density):
    with pytest.raises(ValueError, match=r"autograd can trace.*gradient=\"differences\""):
        Target(density, 2).log_density_and_grad(np.ones((3, 2)))


def test_a_list_of_values_is_taken():
    target = Target(lambda z: [0.0] * len(z), 2)
    assert np.array_equal(target.log_density(np.ones((3, 2))), np.zeros(3))


def test_where_the_density_is_0_its_log_is_minus_infinity():
    target = Target(lambda z: np.where(z[:, 0] > 0, 0.0, -np.inf), 1)
    assert target.log_density(np.array([[1.0], [-1.0]])).tolist() == [0.0, -np.inf]


@pytest.mark.parametrize("generator", [0, np.random.RandomState(0)])
def test_exact_draws_want_a_generator(generator):
    with pytest.raises(ValueError, match=r"rng: expected a numpy\.random\.Generator, got a"):
        table_1("U1").sample(3, generator)
