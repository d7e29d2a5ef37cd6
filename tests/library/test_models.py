"""Real posteriors: densities transcribed once more, integrals by SciPy, draws against moments."""

import math

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import elementwise_grad
from scipy import integrate, special, stats
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

from nflib_min import checks
from nflib_min.targets import (
    Gaussian,
    LinearGaussian,
    Target,
    eight_schools,
    eight_schools_effects,
    eight_schools_moments,
    linear_regression,
    logistic_regression,
    neals_funnel,
)
from nflib_min.targets.eight_schools import EFFECTS, ERRORS


def diabetes():
    """Six measurements as collected, after a column of ones, and the disease's progression."""
    data = load_diabetes(scaled=False)
    columns = [data.feature_names.index(name) for name in ("bmi", "bp", "s1", "s2", "s3", "s4")]
    return np.column_stack([np.ones(len(data.target)), data.data[:, columns]]), data.target


def iris():
    """Petal length and width in cm of versicolor (0) and virginica (1), after a column of ones."""
    data = load_iris()
    two = data.target > 0
    return np.column_stack([np.ones(100), data.data[two, 2:]]), data.target[two] - 1


def breast_cancer():
    """The ten mean features, standardised, after a column of ones."""
    data = load_breast_cancer()
    features = data.data[:, :10]
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    return np.column_stack([np.ones(len(features)), features]), data.target


def models():
    return {
        "centred": eight_schools(centred=True),
        "non-centred": eight_schools(centred=False),
        "linear": linear_regression(*diabetes(), 56.0, 100.0),
        "logistic, d = 3": logistic_regression(*iris(), 5.0),
        "logistic, d = 11": logistic_regression(*breast_cancer(), 2.5),
        "funnel": neals_funnel(),
    }


MODELS = models()
every = pytest.mark.parametrize("name", MODELS)
with_draws = pytest.mark.parametrize("name", [n for n in MODELS if "logistic" not in n])


def scattered(model, n=60, scale=1.0, seed=0):
    """Points around the target: its mean, or 0, plus `scale` of its sd, or 1."""
    rng = np.random.default_rng(seed)
    mean, sd = (0.0, 1.0) if model.mean is None else (model.mean, model.sd)
    return mean + scale * sd * rng.standard_normal((n, model.dim))


# --------------------------------------------------------------------------- densities, gradients
@pytest.mark.parametrize("centred", [True, False])
def test_eight_schools_is_scipys_with_the_jacobian(centred):
    model = eight_schools(centred)
    for z, got in zip(scattered(model), model.log_density(scattered(model)), strict=True):
        mu, tau, theta = z[0], math.exp(z[1]), z[2:] if centred else z[0] + math.exp(z[1]) * z[2:]
        expected = stats.norm.logpdf(mu, 0, 5) + stats.halfcauchy.logpdf(tau, scale=5)
        expected += math.log(tau)  # d tau = tau d ln tau
        local = stats.norm.logpdf(theta, mu, tau) if centred else stats.norm.logpdf(z[2:])
        expected += local.sum() + stats.norm.logpdf(EFFECTS, theta, ERRORS).sum()
        assert got == pytest.approx(expected, rel=1e-12)


def test_the_two_forms_are_one_density():
    """ln p(mu, ln tau, eta) = ln p(mu, ln tau, theta) + 8 ln tau, the Jacobian between them."""
    centred, non_centred = eight_schools(True), eight_schools(False)
    z = scattered(non_centred)
    effects = eight_schools_effects(z)
    other = np.column_stack([z[:, :2], effects[:, 2:]])
    expected = centred.log_density(other) + 8 * z[:, 1]
    assert non_centred.log_density(z) == pytest.approx(expected, rel=1e-12)
    assert eight_schools_effects(other, centred=True) == pytest.approx(effects)
    assert effects[:, 1] == pytest.approx(np.exp(z[:, 1]))


def test_linear_regression_is_scipys():
    X, y = diabetes()
    prior_sd = np.array([200.0, 10, 10, 5, 5, 5, 50])
    model = linear_regression(X, y, 56.0, prior_sd)
    for beta in scattered(model, 20):
        expected = stats.norm.logpdf(y, X @ beta, 56.0).sum()
        expected += stats.norm.logpdf(beta, 0, prior_sd).sum()
        assert model.log_density(beta[None])[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("data", [iris, breast_cancer])
def test_logistic_regression_is_scipys(data):
    X, y = data()
    prior_sd = np.linspace(1.0, 3.0, X.shape[1])
    model = logistic_regression(X, y, prior_sd)
    beta = np.random.default_rng(0).standard_normal((20, X.shape[1]))
    for row, got in zip(beta, model.log_density(beta), strict=True):
        expected = special.log_expit((2 * y - 1) * (X @ row)).sum()
        expected += stats.norm.logpdf(row, 0, prior_sd).sum()
        assert got == pytest.approx(expected, rel=1e-11)


def test_the_funnel_is_scipys():
    model = neals_funnel(4)
    z = scattered(model, 30, 0.7)
    expected = stats.norm.logpdf(z[:, 0], 0, 3)
    expected += stats.norm.logpdf(z[:, 1:], 0, np.exp(z[:, :1] / 2)).sum(axis=1)
    assert model.log_prob(z) == pytest.approx(expected, rel=1e-12)


@every
@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_the_written_gradient_is_autograds(name, scale):
    model = MODELS[name]
    z = scattered(model, scale=scale)
    value, g = model.log_density_and_grad(z)
    expected = elementwise_grad(model.log_density)(z)
    assert value == pytest.approx(model.log_density(z), rel=1e-12, abs=1e-11)
    assert np.max(np.abs(g - expected) / (1 + np.abs(expected))) < 1e-10


@every
def test_the_written_gradient_is_the_slope(name):
    """Central differences of the value, a thousandth of a standard deviation either way."""
    model = MODELS[name]
    z = scattered(model, 20, 0.5)
    _, g = model.log_density_and_grad(z)
    for i in range(model.dim):
        step = np.zeros(model.dim)
        step[i] = 1e-3 * (1.0 if model.sd is None else model.sd[i])
        slope = (model.log_density(z + step) - model.log_density(z - step)) / (2 * step[i])
        assert g[:, i] == pytest.approx(slope, rel=2e-3, abs=2e-3 * np.abs(slope).max())


@every
def test_float32_stays_float32(name):
    model = MODELS[name]
    z = scattered(model, 20, 0.5)
    value, g = model.log_density_and_grad(z.astype(np.float32))
    assert value.dtype == g.dtype == np.float32
    # rounding z moves ln p by up to |gradient| |z| 2^-24 and its own sums round too
    exact, slope = model.log_density_and_grad(z)
    assert np.all(
        np.abs(value - exact) < 1e-6 * (np.abs(slope * z).sum(axis=1) + np.abs(exact) + 1)
    )


@pytest.mark.parametrize("name", [n for n in MODELS if "logistic" in n or n == "linear"])
def test_regressions_are_finite_far_out(name):
    model = MODELS[name]
    corners = np.concatenate([np.eye(model.dim), -np.eye(model.dim), np.zeros((1, model.dim))])
    for scale in (1.0, 1e3, 1e6):
        value, g = model.log_density_and_grad(scale * corners)
        assert np.isfinite(value).all() and np.isfinite(g).all()
        assert value == pytest.approx(model.log_density(scale * corners), rel=1e-12)


def test_many_rows_of_data_do_not_underflow():
    """1,000 rows at even odds: 2^-1000 would be 0 in float32, in which the sum must be -693.1."""
    model = logistic_regression(np.ones((1000, 4)), np.arange(1000) % 2, 1.0)
    for dtype in (np.float64, np.float32):
        value, _ = model.log_density_and_grad(np.zeros((1, 4), dtype))
        assert value[0] == pytest.approx(-1000 * math.log(2) - 2 * math.log(2 * math.pi), rel=1e-6)


# ------------------------------------------------------------------------- evidences and moments
def schools_by_scipy(h):
    """Integral of h(mu, tau) p(mu, ln tau, y), theta integrated out school by school."""

    def integrand(mu, log_tau):
        tau = math.exp(log_tau)
        log_p = -0.5 * np.sum((EFFECTS - mu) ** 2 / (tau**2 + ERRORS**2))
        log_p -= 0.5 * np.sum(np.log(2 * math.pi * (tau**2 + ERRORS**2)))
        log_prior = -0.5 * (mu / 5) ** 2 - math.log(5 * math.sqrt(2 * math.pi))
        log_prior += math.log(2 / (5 * math.pi) / (1 + (tau / 5) ** 2)) + log_tau
        return h(mu, tau) * math.exp(log_p + log_prior + 31)

    pieces = ((-18.0, -3.0), (-3.0, 1.0), (1.0, 2.5), (2.5, 6.0))
    return sum(
        integrate.dblquad(integrand, *piece, -25.0, 30.0, epsabs=1e-8, epsrel=1e-8)[0]
        for piece in pieces
    )


@pytest.mark.slow
def test_eight_schools_by_two_dimensional_quadrature():
    Z = schools_by_scipy(lambda mu, tau: 1.0)
    log_Z = math.log(Z) - 31
    assert log_Z == pytest.approx(-31.311347, abs=1e-6)
    assert eight_schools(True).log_normalizer == pytest.approx(log_Z, abs=1e-6)
    assert eight_schools(False).log_normalizer == eight_schools(True).log_normalizer
    mean, sd = eight_schools_moments()
    for i, h in enumerate((lambda mu, tau: mu, lambda mu, tau: tau)):
        first = schools_by_scipy(h) / Z
        second = schools_by_scipy(lambda mu, tau, h=h: h(mu, tau) ** 2) / Z
        assert mean[i] == pytest.approx(first, abs=1e-5)
        assert sd[i] == pytest.approx(math.sqrt(second - first**2), abs=1e-4)


def test_eight_schools_has_the_published_moments():
    mean, sd = eight_schools_moments()
    means = [4.396821, 3.597705, 6.21188, 4.94018, 3.92700, 4.75710, 3.61548, 4.04261, 6.29672]
    sds = [3.317704, 3.219958, 5.59313, 4.67427, 5.26262, 4.78030, 4.65745, 4.82687, 5.07785]
    assert mean == pytest.approx([*means, 4.85425], abs=1e-5)
    assert sd == pytest.approx([*sds, 5.29080], abs=1e-5)


def test_the_linear_posterior_and_evidence_are_those_of_the_conjugate_model():
    X, y = diabetes()
    prior_sd = np.array([200.0, 10, 10, 5, 5, 5, 50])
    model = linear_regression(X, y, 56.0, prior_sd)
    marginal = (X * prior_sd**2) @ X.T + 56.0**2 * np.eye(len(y))
    evidence = stats.multivariate_normal(np.zeros(len(y)), marginal).logpdf(y)
    assert model.log_normalizer == pytest.approx(evidence, abs=1e-5)  # of a 442 x 442 matrix
    same = LinearGaussian(X * prior_sd, 56.0, y).posterior
    assert model.mean == pytest.approx(prior_sd * same.mean, rel=1e-6)
    assert model.covariance == pytest.approx(
        same.covariance * np.outer(prior_sd, prior_sd), rel=1e-6
    )
    z = scattered(model)
    posterior = stats.multivariate_normal(model.mean, model.covariance).logpdf(z)
    assert model.log_prob(z) == pytest.approx(posterior, abs=1e-6)


def test_mean_field_misses_the_diabetes_posterior_by_11_66_nats():
    """1/2 ln(prod Lambda_ii det Sigma), by its definition and as the least KL over scales."""
    model = linear_regression(*diabetes(), 56.0, 100.0)
    precision = np.linalg.inv(model.covariance)
    expected = 0.5 * (np.log(np.diag(precision)).sum() + np.linalg.slogdet(model.covariance)[1])
    gap = Gaussian(model.mean, model.covariance).mean_field_gap()
    assert gap == pytest.approx(expected, abs=1e-8) and gap == pytest.approx(11.66, abs=0.01)
    correlation = model.covariance / np.outer(model.sd, model.sd)
    assert np.abs(correlation - np.eye(7)).max() > 0.8

    def kl(sd):  # KL of N(mean, diag(sd^2)) to the posterior
        trace = np.sum(np.diag(precision) * sd**2)
        return 0.5 * (trace - 7 - np.log(sd**2).sum() + np.linalg.slogdet(model.covariance)[1])

    best = 1 / np.sqrt(np.diag(precision))
    assert kl(best) == pytest.approx(gap, abs=1e-8)
    for i in range(7):
        for factor in (0.9, 1.1):
            assert kl(np.where(np.arange(7) == i, factor, 1.0) * best) > gap


def test_logistic_regression_in_one_dimension_by_quad():
    X, y = iris()
    X = X[:, 1:2] - 4.9
    model = logistic_regression(X, y, 10.0)

    def moment(k):
        def integrand(b):
            return b**k * math.exp(model.log_density(np.array([[b]]))[0] + 19)

        return integrate.quad(integrand, -2, 60, epsabs=0, epsrel=1e-12, limit=200)[0]

    Z, first, second = map(moment, range(3))
    assert model.log_normalizer == pytest.approx(math.log(Z) - 19, abs=1e-8)
    assert model.mean[0] == pytest.approx(first / Z, abs=1e-8)
    assert model.covariance[0, 0] == pytest.approx(second / Z - (first / Z) ** 2, abs=1e-7)


SEPARABLE = (np.array([[1.0, -2.0], [1.0, -1.0], [1.0, 1.0], [1.0, 3.0]]), np.array([0, 0, 1, 1]))


@pytest.mark.parametrize(
    "X, y, prior_sd",
    [
        (iris()[0][:, :2] - [0.0, 4.9], iris()[1], 5.0),
        (*SEPARABLE, 10.0),  # no likelihood's maximum: one-sided, as wide as the prior
        (np.zeros((1, 2)), np.array([1]), np.array([0.1, 30.0])),  # no information: the prior
    ],
)
def test_logistic_regression_in_two_dimensions_by_a_grid(X, y, prior_sd):
    model = logistic_regression(X, y, prior_sd)
    z, cell = checks.grid((-10.0, 10.0), 600)
    z = model.mean + model.sd * z
    parts = np.array_split(z, 200)
    log_p = np.concatenate([model.log_density_and_grad(part)[0] for part in parts])
    p = np.exp(log_p - log_p.max())
    log_Z = math.log(p.sum() * cell * model.sd.prod()) + log_p.max()
    assert model.log_normalizer == pytest.approx(log_Z, abs=1e-8)
    mean = p @ z / p.sum()
    assert np.abs((mean - model.mean) / model.sd).max() < 1e-8
    covariance = (z - mean).T @ ((z - mean) * p[:, None]) / p.sum()
    assert np.abs((covariance - model.covariance) / np.outer(model.sd, model.sd)).max() < 1e-7


def test_where_quadrature_does_not_settle_nothing_is_claimed():
    """Separable labels and a prior so wide that the likelihood is a step on the prior's scale."""
    model = logistic_regression(*SEPARABLE, 300.0)
    assert model.log_normalizer is model.mean is model.covariance is None


def test_logistic_regression_in_three_dimensions_by_gauss_legendre():
    """Other nodes, another box (by the covariance, not the curvature): the same integrals."""
    model = MODELS["logistic, d = 3"]
    nodes, weights = np.polynomial.legendre.leggauss(64)
    u = 9 * np.stack(np.meshgrid(nodes, nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 3)
    w = 9**3 * np.einsum("i,j,k->ijk", weights, weights, weights).ravel()
    root = np.linalg.cholesky(model.covariance)
    z = model.mean + u @ root.T
    log_p = np.concatenate([model.log_density_and_grad(part)[0] for part in np.array_split(z, 64)])
    p = w * np.exp(log_p - model.log_normalizer) * np.linalg.det(root)
    assert p.sum() == pytest.approx(1.0, abs=1e-7)
    assert np.abs((p @ z - model.mean) / model.sd).max() < 1e-6


def test_without_a_closed_form_nothing_is_claimed():
    model = MODELS["logistic, d = 11"]
    assert model.log_normalizer is model.mean is model.covariance is model.sd is None
    with pytest.raises(ValueError, match="expected a known log_normalizer for log_prob, got None"):
        model.log_prob(np.zeros((1, 11)))


def test_the_funnel_has_mass_one():
    # v is cut at +-4.5 sd, 7e-6 of the mass; x at the funnel's mouth is as wide as e^6.75
    v = np.linspace(-13.5, 13.5, 541)
    total = 0.0
    for value in v:
        x = math.exp(value / 2) * np.linspace(-9.0, 9.0, 361)
        z = np.column_stack([np.full(361, value), x])
        total += np.exp(neals_funnel(2).log_prob(z)).sum() * math.exp(value / 2) * 0.05 * 0.05
    assert total == pytest.approx(1.0, abs=1e-5)


# -------------------------------------------------------------------------------------- exact draws
@with_draws
def test_draws_have_the_exact_moments(name):
    """Means within five standard errors; covariances, where fourth moments are small, likewise."""
    model = MODELS[name]
    n = 100_000
    z = model.sample(n, np.random.default_rng(0))
    assert z.shape == (n, model.dim)
    scaled = (z - model.mean) / model.sd
    assert np.abs(scaled.mean(axis=0)).max() < 5 / math.sqrt(n)
    products = scaled[:, :, None] * scaled[:, None]
    expected = model.covariance / np.outer(model.sd, model.sd)
    error = products.std(axis=0) / math.sqrt(n)
    if name == "funnel":  # the x have E x^4 / (E x^2)^2 = 3 e^9: only v converges
        assert abs(products[:, 0, 0].mean() - 1) < 5 * error[0, 0]
    else:
        assert np.all(np.abs(products.mean(axis=0) - expected) < 5 * error)


@with_draws
def test_draws_are_of_this_density(name):
    """Stein's identities tie draws to the gradient: E grad ln p = 0, E z (grad ln p)^T = -I."""
    model = MODELS[name]
    n = 100_000
    z = model.sample(n, np.random.default_rng(1))
    g = model.log_density_and_grad(z)[1] * model.sd
    scaled = (z - model.mean) / model.sd
    assert np.all(np.abs(g.mean(axis=0)) < 5 * g.std(axis=0) / math.sqrt(n))
    products = scaled[:, :, None] * g[:, None]
    error = products.std(axis=0) / math.sqrt(n)
    assert np.all(np.abs(products.mean(axis=0) + np.eye(model.dim)) < 5 * error + 1e-12)


def test_effects_of_draws_have_the_exact_moments():
    mean, sd = eight_schools_moments()
    for centred in (True, False):
        z = eight_schools(centred).sample(100_000, np.random.default_rng(2))
        effects = eight_schools_effects(z, centred)
        assert np.all(np.abs(effects.mean(axis=0) - mean) < 5 * sd / math.sqrt(100_000))
        assert effects.std(axis=0) == pytest.approx(sd, rel=0.03)


def test_draws_of_ln_tau_follow_its_marginal():
    z = eight_schools().sample(20_000, np.random.default_rng(3))
    log_tau, mu = np.linspace(-12.0, 4.0, 800), np.linspace(-25.0, 30.0, 400)
    tau = np.exp(log_tau)[:, None, None]
    log_p = stats.norm.logpdf(EFFECTS, mu[:, None], np.sqrt(tau**2 + ERRORS**2)).sum(axis=2)
    log_p += stats.norm.logpdf(mu, 0, 5) + log_tau[:, None] - np.log1p(tau[:, :, 0] ** 2 / 25)
    marginal = np.exp(log_p + 31).sum(axis=1)
    cdf = integrate.cumulative_trapezoid(marginal, log_tau, initial=0)
    cdf /= cdf[-1]
    assert stats.kstest(z[:, 1], lambda x: np.interp(x, log_tau, cdf)).pvalue > 1e-4


def test_draws_repeat_by_seed():
    for name in ("centred", "linear", "funnel"):
        one, two = (MODELS[name].sample(5, np.random.default_rng(4)) for _ in range(2))
        assert np.array_equal(one, two)


# ------------------------------------------------------------------------------------ clear errors
X, Y = np.ones((4, 2)), np.array([0.0, 1.0, 0.0, 1.0])


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: linear_regression(X, Y[:3], 1.0, 1.0),
            r"^X and y: expected shapes \(n, d\) and \(n,\), got \(4, 2\) and \(3,\)",
        ),
        (
            lambda: linear_regression(Y, Y, 1.0, 1.0),
            r"^X and y: expected shapes \(n, d\) and \(n,\), got \(4,\) and \(4,\)",
        ),
        (
            lambda: logistic_regression(X[:0], Y[:0], 1.0),
            r"^X and y: expected shapes \(n, d\) and \(n,\), got \(0, 2\) and \(0,\)",
        ),
        (
            lambda: linear_regression(X * np.nan, Y, 1.0, 1.0),
            r"^X: expected finite values, got 8 NaN or inf",
        ),
        (lambda: linear_regression(X, Y, 0.0, 1.0), r"^noise_sd: expected a number > 0, got 0.0"),
        (
            lambda: linear_regression(X, Y, 1.0, -1.0),
            r"^prior_sd: expected a number > 0, or 2 of them, got -1.0",
        ),
        (
            lambda: logistic_regression(X, Y, np.ones(3)),
            r"^prior_sd: expected a number > 0, or 2 of them, got \[1. 1. 1.\]",
        ),
        (
            lambda: logistic_regression(X, Y, np.inf),
            r"^prior_sd: expected a number > 0, or 2 of them, got inf",
        ),
        (lambda: logistic_regression(X, Y + 1, 1.0), r"^y: expected labels 0 and 1, got 2"),
        (lambda: logistic_regression(X, Y / 2, 1.0), r"^y: expected labels 0 and 1, got 0.5"),
        (
            lambda: logistic_regression(X, Y, 1.0, ("a",)),
            r"^names: expected 2, one a column of X, got 1",
        ),
        (lambda: neals_funnel(1), r"^dim: expected a whole number of at least 2, got 1"),
        (
            lambda: Target(lambda z: -anp.sum(z**2, axis=1), names=()),
            r"^dim: expected a whole number of at least 1, got 0",
        ),
        (
            lambda: Target(lambda z: z[:, 0], names="ab", mean=np.zeros(3)),
            r"^mean and covariance: expected shapes \(2,\) and \(2, 2\), got \(3,\) and \(\)",
        ),
        (
            lambda: eight_schools_effects(np.zeros((3, 9))),
            r"^z: expected an array of shape \(n, 10\), got shape \(3, 9\)",
        ),
    ],
)
def test_wrong_models_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_coordinates_have_names():
    assert eight_schools().names[:3] == ("mu", "log_tau", "eta_1")
    assert eight_schools(True).names[-1] == "theta_8"
    assert linear_regression(X, Y, 1.0, 1.0).names == ("beta_0", "beta_1")
    assert neals_funnel(3).names == ("v", "x_1", "x_2")
    assert all(len(model.names) == model.dim for model in MODELS.values())
    assert repr(eight_schools()) == "Target('eight schools, non-centred', dim=10)"
