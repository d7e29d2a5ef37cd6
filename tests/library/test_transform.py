"""fit_posterior on the user's scale: a rate, a probability, an order; and back on R^d."""

import copy
import pickle
from types import SimpleNamespace

import autograd.numpy as anp
import numpy as np
import pytest
from scipy import stats

from nflib_min import Affine, Permute, Planar
from nflib_min.constraints import (
    Blocks,
    Free,
    Interval,
    Ordered,
    Positive,
    Simplex,
    unconstrained_names,
)
from nflib_min.posterior.verdict import CHAINS, GOOD, REFUSED, USABLE, judged_by_weights
from nflib_min.targets import Target, eight_schools, eight_schools_moments
from tests.library.test_posterior import normal, quick, rng

BOTH = Blocks([Positive(1), Interval(1)])
RATE, SHARE = stats.gamma(11, scale=1 / 3), stats.beta(12, 8)  # the exact answers
LOG_Z = -float(RATE.logpdf(1.0) + 3) - float(SHARE.logpdf(0.5) - 18 * np.log(0.5))


def rate_and_share(x):
    """Gamma(11, rate 3) and Beta(12, 8) without their normalizers: no Jacobian anywhere."""
    gamma = 10 * anp.log(x[:, 0]) - 3 * x[:, 0]
    return gamma + 11 * anp.log(x[:, 1]) + 7 * anp.log(1 - x[:, 1])


def of_both(**options):
    options = {"steps": 600} | options
    return quick(rate_and_share, transform=BOTH, names=["rate", "share"], **options)


@pytest.fixture(scope="module")
def q():
    return of_both()


@pytest.mark.parametrize("check", [True, False])
def test_a_gamma_and_a_beta_have_their_exact_moments(check):
    q = of_both(check=check)
    sd = np.array([RATE.std(), SHARE.std()])
    for weighted in (None, False):
        assert (np.abs(q.mean(weighted) - [RATE.mean(), SHARE.mean()]) < 0.06 * sd).all()
        assert q.sd(weighted) == pytest.approx(sd, rel=0.06)
    assert q.verdict in ((GOOD,) if check else (GOOD, USABLE))
    assert max(stage.elbo for stage in q.stages) == pytest.approx(LOG_Z, abs=0.03)
    assert (q.chains is not None) == check


def test_a_half_normal_scale():
    q = quick(lambda x: -0.5 * anp.sum(x**2, axis=1), transform=Positive(1))
    exact = np.sqrt(2 / np.pi)
    assert q.mean()[0] == pytest.approx(exact, abs=0.05)
    assert q.sd()[0] == pytest.approx(np.sqrt(1 - exact**2), rel=0.06)


def test_draws_and_densities_are_on_the_users_scale(q):
    x = q.sample(2000, rng(1))
    for points in (x, q.z, q.chains.draws, q.resample(50, rng(2))):
        assert (points > 0).all() and (points[:, 1] < 1).all()
    assert q.log_density == pytest.approx(rate_and_share(q.z))
    # q is a density of x: its log ratio to the exact one averages to 0 but for the fit's own gap
    exact = RATE.logpdf(x[:, 0]) + SHARE.logpdf(x[:, 1])
    assert np.mean(q.log_prob(x) - exact) == pytest.approx(0, abs=0.03)
    best = max(q.stages, key=lambda stage: stage.elbo)
    np.testing.assert_array_equal(best.log_prob(x), q.log_prob(x))


def test_both_scales_are_one_posterior(q):
    inner, f = q.unconstrained, q.flow.bijection.maps[-1]
    assert inner.unconstrained is None and f is BOTH
    assert q.names == ["rate", "share"] and inner.names == ["log_rate", "logit_share"]
    np.testing.assert_array_equal(q.z, f.forward({}, inner.z))
    np.testing.assert_array_equal(q.sample(9, rng(1)), f.forward({}, inner.sample(9, rng(1))))
    log_ratios = [p.log_density - p.log_prob(p.z) for p in (q, inner)]  # weights know no scale
    np.testing.assert_allclose(*log_ratios, atol=1e-6)
    assert (q.verdict, q.k_hat, q.reasons) == (inner.verdict, inner.k_hat, inner.reasons)
    assert inner.mean()[0] == pytest.approx(2.3518 - np.log(3), abs=0.03)  # digamma(11) - ln 3
    shifted = q.chains.z[:, :, 0], np.exp(inner.chains.z[:, :, 0])
    np.testing.assert_array_equal(*shifted)


def test_the_summary_has_sigma_beside_log_sigma(q):
    text = q.summary()
    rows = [line.split()[0] for line in text.splitlines()[-4:]]
    assert rows == ["rate", "share", "log_rate", "logit_share"]
    assert f"{q.mean()[0]:.4g}" in text and f"{q.unconstrained.mean()[0]:.4g}" in text
    assert "share" not in q.unconstrained.summary().replace("logit_share", "")


def test_inference_data_has_both_scales_and_can_be_saved(q, tmp_path):
    arviz = pytest.importorskip("arviz")
    data = q.to_inference_data()
    assert list(data.posterior.data_vars) == q.names
    assert list(data.unconstrained_posterior.data_vars) == ["log_rate", "logit_share"]
    inner = data.unconstrained_posterior["log_rate"].values
    np.testing.assert_array_equal(data.posterior["rate"].values, np.exp(inner))
    np.testing.assert_array_equal(data.sample_stats["lp"].values[0], q.log_density)
    pytest.importorskip("h5netcdf")
    path = str(tmp_path / "q.nc")
    data.to_netcdf(path, engine="h5netcdf")
    again = arviz.from_netcdf(path, engine="h5netcdf")
    np.testing.assert_array_equal(again.posterior["rate"].values[0], q.z[:, 0])
    again.close()


def test_the_chains_draws_are_handed_out_on_both_scales(q):
    q = copy.copy(q)
    q.unconstrained = copy.copy(q.unconstrained)
    q.verdict = q.unconstrained.verdict = CHAINS
    data = q.to_inference_data()
    for group in (data.posterior, data.unconstrained_posterior):
        assert dict(group.sizes) == {"chain": 128, "draw": 160}
    assert q.mean() == pytest.approx(q.chains.draws.mean(axis=0))


@pytest.mark.parametrize("twin", [lambda q: pickle.loads(pickle.dumps(q)), copy.deepcopy])
def test_a_posterior_on_the_users_scale_can_be_saved_and_loaded(q, twin):
    again, x = twin(q), q.sample(5, rng(1))
    np.testing.assert_array_equal(again.sample(5, rng(1)), x)
    np.testing.assert_array_equal(again.log_prob(x), q.log_prob(x))
    assert again.summary() == q.summary()


def test_a_target_keeps_its_names_and_a_gradient_is_that_of_x():
    def both(x):
        return -x[:, 0] + np.log(x[:, 0]), 1 / x - 1  # Gamma(2, 1)

    target = Target(lambda x: both(x)[0], gradient=both, names=["tau"])
    q = quick(target, transform=Positive(1))
    assert q.names == ["tau"] and q.unconstrained.names == ["log_tau"]
    assert q.mean(False)[0] == pytest.approx(2, abs=0.15)
    assert quick(lambda x: both(x)[0], gradient=both, transform=Positive(1)).names == ["z[0]"]


def test_starts_are_points_of_the_users_scale():
    q = of_both(starts=[[3.0, 0.3]])
    assert q.verdict == GOOD
    with pytest.raises(ValueError, match=r"expected numbers from 0\.0 to 1\.0, got \[3\.\] in"):
        of_both(starts=[[0.3, 3.0]])
    with pytest.raises(ValueError, match="starts on unconstrained coordinates: expected finite"):
        of_both(starts=[[0.0, 0.3]])


def test_eight_schools_with_tau_itself():
    """The centred form in (mu, tau, theta): the density of tau is that of log tau less log tau."""
    by_log = eight_schools(centred=True)

    def log_density(x):
        log_tau = anp.log(anp.maximum(x[:, 1:2], 1e-300))  # e^-800 is 0
        z = anp.concatenate([x[:, :1], log_tau, x[:, 2:]], axis=1)
        return by_log.log_density(z) - z[:, 1]

    names = ["mu", "tau", *by_log.names[2:]]
    f = Blocks([Free(1), Positive(1), Free(8)])
    q = quick(log_density, transform=f, names=names, gradient=None, steps=600)
    mean, sd = eight_schools_moments()
    assert q.names == names and q.unconstrained.names == list(by_log.names)
    assert (np.abs(q.mean() - mean) < 0.15 * sd).all() and q.sd() == pytest.approx(sd, rel=0.15)
    assert q.summary().count("theta_8 ") == 1  # a free coordinate is one on both scales
    assert q.verdict != REFUSED and q.necks[0][0] == "log_tau"


def test_reasons_name_what_the_user_named():
    """On R^d there are two modes; a short fit says so of the rate."""

    def log_density(x):
        y = anp.log(x[:, 0])
        return anp.logaddexp(-0.5 * (y - 3) ** 2, -0.5 * (y + 3) ** 2) - y

    q = quick(log_density, transform=Positive(1), names=["rate"], steps=20)
    assert q.verdict != GOOD and any("rate" in reason for reason in q.reasons)


def test_what_is_reported_is_judged():
    """The same draws and weights: their logarithms agree to 5 %, and they themselves do not."""
    z = 3 * rng().standard_normal((4000, 1))
    stage = SimpleNamespace(k_hat=0.2, ess=0.99)
    log_w = 0.016 * z[:, 0] - np.logaddexp.reduce(0.016 * z[:, 0])
    assert judged_by_weights(stage, z, log_w, ["log_rate"]) == (GOOD, [])
    both = np.hstack([np.exp(z), z])
    verdict, (reason,) = judged_by_weights(stage, both, log_w, ["rate", "log_rate"])
    assert verdict == USABLE and "of rate by" in reason


def test_a_density_that_cannot_be_normalized_is_refused_and_nothing_overflows():
    q = quick(lambda x: -anp.log(x[:, 0]) + 0 * x[:, 0], transform=Positive(1), steps=50)
    assert q.verdict == REFUSED and any("normalized" in reason for reason in q.reasons)
    with np.errstate(over="raise", invalid="raise"):
        q.summary()


# -------------------------------------------------------------------------------- names and errors
@pytest.mark.parametrize(
    "f, names, expected",
    [
        (Positive(2), ["a", "b"], ["log_a", "log_b"]),
        (Ordered(3), ["a", "b", "c"], ["a", "log_step_b", "log_step_c"]),
        (Simplex(1), ["p"], ["stick_p"]),
        (Blocks([Free(1), Permute([1, 0])]), ["a", "b", "c"], ["a", "unconstrained_b"]),
    ],
)
def test_unconstrained_coordinates_have_names(f, names, expected):
    assert unconstrained_names(f, names)[: len(expected)] == expected
    assert len(set(unconstrained_names(f, names))) == f.dim


@pytest.mark.parametrize(
    "dim, options, message",
    [
        (3, {"transform": Positive(2)}, r"^transform: expected dim 3, got 2"),
        (None, {"transform": Planar(2, 3)}, r"^transform: expected maps without parameters, got P"),
        (None, {"transform": Affine(2)}, r"^transform: expected maps without parameters, got Aff"),
        (0, {"transform": Positive(2)}, r"^dim: expected a whole number of at least 1, got 0"),
        (2, {"transform": np.exp}, r"^transform: expected a map such as Positive\(2\), got a uf"),
        (None, {"transform": Positive(2), "names": ["a"]}, r"^names: expected 2 different ones"),
    ],
)
def test_what_is_no_transform_is_refused(dim, options, message):
    with pytest.raises(ValueError, match=message):
        quick(normal, dim, **options)


def test_a_density_of_the_wrong_shape_is_refused_in_its_own_words():
    with pytest.raises(ValueError, match=r"expected one value a row, shape \(8,\), got shape"):
        quick(lambda x: x, transform=Positive(2))
    with pytest.raises(ValueError, match=r"^log_density: expected a finite value at one start"):
        quick(lambda x: anp.nan * x[:, 0], transform=Positive(2))
