"""fit_posterior is exact where it can be, and refuses to call an answer good when it is not."""

import pickle
import sys

import autograd.numpy as anp
import numpy as np
import pytest
from scipy import stats

from nflib_min import Affine, Flow, Planar, StandardNormal, TriangularAffine
from nflib_min.objectives import FreeEnergy
from nflib_min.posterior import fit_posterior
from nflib_min.posterior.families import search_learning_rate
from nflib_min.posterior.verdict import GOOD, REFUSED, USABLE
from nflib_min.targets import (
    Gaussian,
    LinearGaussian,
    Target,
    eight_schools,
    logistic_regression,
    neals_funnel,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def quick(log_density, dim=None, seed=0, **options):
    """A short fit: enough for what is claimed here."""
    options = {"steps": 300, "draws": 4000, "learning_rate": 0.01} | options
    return fit_posterior(log_density, dim, rng=rng(seed), **options)


def normal(z):
    return -0.5 * anp.sum(z**2, axis=1)


def two_modes(distance, log_odds=0.0):
    """Unit normals at +distance and -distance in every coordinate."""

    def log_density(z):
        right = -0.5 * anp.sum((z - distance) ** 2, axis=1) + log_odds
        return anp.logaddexp(right, -0.5 * anp.sum((z + distance) ** 2, axis=1))

    return log_density


def banana(z):
    bent = (z[:, 1] - 0.5 * z[:, 0] ** 2) / 0.5
    return -0.5 * z[:, 0] ** 2 - 0.5 * bent**2 - float(np.log(np.pi))  # integrates to 1


def badly_scaled():
    """A Gaussian with standard deviations from 1e-3 to 1e2 and correlations of 0.99."""
    sd = np.array([1e-3, 1.0, 30.0, 1e2])
    return Gaussian(
        np.array([0.5, -40.0, 3.0, 900.0]), (0.99 + 0.01 * np.eye(4)) * np.outer(sd, sd)
    )


# ------------------------------------------------------------------------------ what it gets right
def test_a_conjugate_posterior_is_exact():
    model = LinearGaussian(np.array([[1.0, 0.5], [0.3, -1.2]]), 0.7, np.array([1.0, -0.5]))
    q = quick(model)
    assert q.verdict == GOOD and q.reasons == [] and q.missed == 0.0
    assert [stage.name for stage in q.stages] == ["Laplace", "mean-field", "full rank"]
    assert q.stages[-1].elbo == pytest.approx(model.log_normalizer, abs=1e-6)
    assert q.params["mean"] == pytest.approx(model.posterior.mean, abs=1e-5)
    L = TriangularAffine(2).matrix(q.params)
    assert L @ L.T == pytest.approx(model.posterior.covariance, abs=1e-5)


def test_a_badly_scaled_posterior_is_exact_too():
    target = badly_scaled()
    q = quick(target)
    assert q.verdict == GOOD
    assert abs(q.stages[-1].elbo) < 1e-3  # ln Z = 0
    mean_field = q.stages[1]
    assert abs(-mean_field.elbo - target.mean_field_gap()) < 0.05 + 5 * mean_field.error
    sd = np.sqrt(np.diag(target.covariance))
    assert (np.abs(q.mean() - target.mean) < 0.05 * sd).all()
    assert (np.abs(q.sd() / sd - 1) < 0.05).all()


@pytest.mark.slow
def test_a_flow_closes_the_gap_of_a_bent_posterior():
    q = quick(banana, 2, steps=1000)
    gaps = {stage.name: -stage.elbo for stage in q.stages}
    assert gaps["full rank"] > 0.2 and gaps["flow"] < 0.02
    assert np.abs(q.mean() - [0.0, 0.5]).max() < 0.08
    assert q.sd() == pytest.approx(np.sqrt([1.0, 0.25 + 0.5]), rel=0.07)


@pytest.mark.slow
@pytest.mark.parametrize("centred, least, most", [(False, 0.2, 0.05), (True, 1.2, 0.15)])
def test_eight_schools_to_the_gap_that_is_promised(centred, least, most):
    """Against ln Z by quadrature; the full-rank Gaussian alone is at least `least` nats short."""
    target = eight_schools(centred)
    q = fit_posterior(target, rng=rng(), steps=1000, learning_rate=0.01)
    gaps = {stage.name: target.log_normalizer - stage.elbo for stage in q.stages}
    assert gaps["full rank"] > least and -0.01 < gaps["flow"] < most
    assert q.names == list(target.names)
    assert (np.abs(q.mean() - target.mean) < 0.1 * target.sd).all()
    if not centred:
        assert (np.abs(q.mean() - target.mean) < 0.05 * target.sd).all()
        assert q.sd() == pytest.approx(target.sd, rel=0.07)


@pytest.mark.slow
def test_a_logistic_regression_to_its_quadrature():
    X = np.column_stack([np.ones(60), np.linspace(-2, 2, 60)])
    y = (rng(5).random(60) < 1 / (1 + np.exp(-X @ [0.5, 1.0]))).astype(float)
    target = logistic_regression(X, y, prior_sd=2.0, names=("intercept", "slope"))
    q = quick(target, steps=800)
    assert q.verdict in (GOOD, USABLE)
    assert abs(target.log_normalizer - q.stages[-1].elbo) < 0.02
    assert (np.abs(q.mean(weighted=False) - target.mean) < 0.05 * target.sd).all()
    assert q.sd(weighted=False) == pytest.approx(target.sd, rel=0.07)


def test_one_dimension_has_a_flow_as_well():
    q = quick(lambda z: z[:, 0] - anp.exp(z[:, 0]), 1, steps=600)  # ln of an exponential variable
    assert q.stages[-1].name == "flow" and 0 <= -q.stages[-1].elbo < 0.01
    assert q.mean()[0] == pytest.approx(-0.5772, abs=0.06)


@pytest.mark.slow
def test_log_prob_is_that_of_the_draws():
    q = quick(banana, 2)
    z = q.sample(500, rng(1))
    assert z.shape == (500, 2)
    moved = q.flow.bijection.inverse(q.params, z)
    assert q.log_prob(z) == pytest.approx(q.flow.log_prob(q.params, z))
    assert q.flow.bijection.forward(q.params, moved) == pytest.approx(z, abs=1e-9)
    # one number a draw: E_q[ln p~ - ln q] is the ELBO of the best stage
    best = max(q.stages, key=lambda stage: stage.elbo)
    assert np.mean(q.log_density - q.log_prob(q.z)) == pytest.approx(best.elbo, abs=1e-9)


def test_weights_correct_a_fit_that_is_off():
    """No training to speak of: the Gaussian at the start is wrong, its weights are not."""
    q = quick(lambda z: -0.5 * anp.sum(z**2, axis=1) - 0.2 * anp.sum(z**4, axis=1), 2, steps=5)
    exact = grid_sd(lambda x: -0.5 * x**2 - 0.2 * x**4)
    assert np.abs(q.sd(weighted=False) / exact - 1).max() > 0.07
    assert q.sd() == pytest.approx(np.full(2, exact), rel=0.05)
    assert q.verdict != GOOD
    z = q.resample(20_000, rng(2))
    assert z.std(axis=0) == pytest.approx(q.sd(), rel=0.05)
    assert {tuple(row) for row in z[:50]} <= {tuple(row) for row in q.z}


def grid_sd(log_density):
    x = np.linspace(-6, 6, 4001)
    p = np.exp(log_density(x))
    return np.sqrt(np.sum(x**2 * p) / np.sum(p))


# --------------------------------------------------------------------------------- what it refuses
@pytest.mark.parametrize("dim, log_odds, missing", [(1, 0.0, 0.5), (2, 0.0, 0.5), (3, 2.0, 0.12)])
def test_a_missed_mode_is_found_though_the_weights_see_nothing(dim, log_odds, missing):
    q = quick(two_modes(6.0, log_odds), dim)
    assert q.stages[1].k_hat < 0.5 and q.stages[1].ess > 0.99  # the popular checks are content
    assert q.verdict == REFUSED
    assert q.missed == pytest.approx(missing, abs=0.05)
    assert any("a missed mode" in reason for reason in q.reasons)


def test_a_mode_that_no_start_reaches_stays_unseen():
    """The limit of any check by draws: nobody has been there."""
    q = quick(two_modes(40.0), 2, starts=np.full((3, 2), 38.0))
    assert q.verdict == GOOD and q.missed == 0.0


@pytest.mark.slow
def test_two_modes_that_the_flow_covers_are_not_refused_as_missed():
    q = quick(two_modes(1.2), 2, steps=500)
    assert q.missed < 0.01 and not any("missed" in reason for reason in q.reasons)


@pytest.mark.slow
def test_neals_funnel_is_refused_as_it_stands_and_right_without_its_neck():
    assert quick(neals_funnel(10), steps=100, uncentre=False, check=False).verdict == REFUSED
    q = quick(neals_funnel(10), steps=100)
    assert q.names[0] == "v" == q.necks[0][0] and q.verdict != REFUSED
    assert abs(q.mean()[0]) < 0.3 and q.sd()[0] == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("dim", [1, 3])
def test_cauchy_tails_are_refused(dim):
    q = quick(lambda z: -anp.sum(anp.log(1 + z**2), axis=1), dim, steps=100)
    assert q.verdict == REFUSED


@pytest.mark.parametrize(
    "log_density, dim",
    [
        (lambda z: 0 * z[:, 0], 2),
        (lambda z: -0.5 * z[:, 0] ** 2 + 0 * z[:, 1], 2),
        (lambda z: -anp.log(1 + anp.sum(z**2, axis=1)), 2),  # 1/r^2 in the plane
        (lambda z: -0.5 * (z[:, 0] - z[:, 1]) ** 2, 2),  # flat along the diagonal
    ],
    ids=["constant", "flat in z_2", "1/r^2", "flat on the diagonal"],
)
def test_a_density_without_a_normaliser_is_refused_by_name(log_density, dim):
    q = quick(log_density, dim, steps=100)
    assert q.verdict == REFUSED
    assert any("cannot be normalized" in reason for reason in q.reasons)


def test_a_slope_without_end_is_refused():
    assert quick(lambda z: z[:, 0] - 0.5 * z[:, 1] ** 2, 2).verdict == REFUSED


@pytest.mark.slow
def test_proper_densities_are_not_called_improper():
    for log_density, dim in (
        (normal, 3),
        (banana, 2),
        (lambda z: -1.5 * anp.log(1 + z[:, 0] ** 2), 1),
        (two_modes(3.0), 2),
    ):
        reasons = quick(log_density, dim, steps=50).reasons
        assert not any("normalized" in reason for reason in reasons)


def test_a_fit_that_needs_its_weights_says_so():
    q = quick(lambda z: -0.5 * anp.sum(z**2, axis=1) - 0.2 * anp.sum(z**4, axis=1), 2, steps=5)
    assert q.verdict in (USABLE, REFUSED)
    assert any("reweighting" in reason for reason in q.reasons)


def test_without_arviz_only_inference_data_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    q = quick(Gaussian(np.zeros(2), np.eye(2)))
    assert q.verdict == GOOD
    with pytest.raises(ImportError, match="pip install arviz"):
        q.to_inference_data()


@pytest.mark.slow
def test_a_posterior_can_be_saved_and_loaded():
    q = quick(eight_schools(), steps=20)
    again = pickle.loads(pickle.dumps(q))
    z = q.sample(5, rng(1))
    np.testing.assert_array_equal(again.sample(5, rng(1)), z)
    np.testing.assert_array_equal(again.log_prob(z), q.log_prob(z))
    assert again.summary() == q.summary()


def test_a_noisy_density_is_told_apart_from_a_wrong_gradient():
    draws = rng(3)

    def log_density(z):
        return -0.5 * anp.sum((z - 0.1 * draws.standard_normal(2)) ** 2, axis=1)

    with pytest.raises(ValueError, match="expected the same values at the same points"):
        quick(log_density, 2)


def test_a_scipy_density_gets_a_clear_message_and_a_way_on():
    p = stats.multivariate_normal([1, 2], [[1, 0.5], [0.5, 2]])
    with pytest.raises(ValueError, match=r"autograd can trace.*gradient=\"differences\""):
        quick(p.logpdf, 2)
    q = quick(p.logpdf, 2, gradient="differences")
    assert q.verdict == GOOD
    np.testing.assert_allclose(q.mean(), [1, 2], atol=0.1)


@pytest.mark.parametrize("starts", [[[0.0, 0.0], [1.0, 1.0]], [(1, 2)]])
def test_starts_may_be_lists(starts):
    assert quick(normal, 2, starts=starts).verdict == GOOD


@pytest.mark.parametrize("rate", [lambda t: 0.1, -1.0, 0])
def test_a_learning_rate_is_a_number(rate):
    with pytest.raises(ValueError, match="learning_rate: expected a number > 0 or None"):
        quick(normal, 2, learning_rate=rate)


# ------------------------------------------------------------------------------------- clear errors
def nan_on_the_left(z):
    return anp.log(z[:, 0]) - z[:, 0] - 0.5 * z[:, 1] ** 2


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((lambda z: z, 2), r"expected one value a row, shape \(8,\), got shape \(8, 2\)"),
        ((lambda z: anp.nan * z[:, 0], 2), r"^log_density: expected a finite value at one start"),
        ((nan_on_the_left, 2), r"no family could be fitted; .*are the coordinates unconstrained"),
        ((3, 2), r"^log_density: expected a function of z"),
        ((normal,), r"^dim: expected a whole number beside a function"),
        ((badly_scaled(), 3), r"expected a Target alone, .* its dim 4, got dim = 3"),
        ((lambda z: np.array([float(row.sum()) for row in z]), 2), r"autograd\.numpy"),
    ],
)
def test_what_cannot_be_fitted_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        quick(*arguments)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"names": ["a"]}, r"^names: expected 2 different ones, got \['a'\]"),
        ({"names": ["a", "a"]}, r"^names: expected 2 different ones"),
        ({"bijection": Planar(3, 4)}, r"^bijection: expected dim 2, got 3"),
        ({"starts": 0}, r"^starts: expected a whole number of at least 1, got 0"),
        ({"starts": np.zeros((2, 3))}, r"^starts: expected an array of shape \(n, 2\)"),
        ({"draws": 10}, r"^draws: expected a whole number of at least 100, got 10"),
        ({"steps": 0}, r"^steps: expected a whole number of at least 1, got 0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        quick(normal, 2, **options)


@pytest.mark.parametrize("wrong", [lambda z: z, lambda z: -1.01 * z, lambda z: -z[:, ::-1]])
def test_a_wrong_gradient_is_caught_by_differences(wrong):
    with pytest.raises(ValueError, match=r"^gradient: expected that of log_density"):
        quick(normal, 2, gradient=lambda z: (normal(z), wrong(z)))


def test_a_gradient_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"^gradient of ln p of log_density: expected shape"):
        quick(normal, 2, gradient=lambda z: (normal(z), -z[:, :1]))


def test_value_and_gradient_may_come_in_other_arrays():
    """As from JAX: single precision, and not NumPy's."""

    def both(z):
        return normal(z).astype(np.float32).tolist(), (-z).astype(np.float32).tolist()

    q = quick(lambda z: both(z)[0], 2, gradient=both)
    assert q.verdict == GOOD


# ----------------------------------------------------------------------- the same, and interrupted
@pytest.mark.slow
def test_the_seed_is_the_posterior():
    first, again, other = (quick(banana, 2, seed, learning_rate=None) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.z, again.z)
    assert first.summary() == again.summary() != other.summary()
    np.testing.assert_array_equal(first.sample(5, rng(1)), again.sample(5, rng(1)))


class Interrupting(Target):
    """Raises KeyboardInterrupt at one call of the gradient, and not again."""

    def __init__(self, at):
        self.calls = 0

        def gradient(z):
            self.calls += 1
            if self.calls == at:
                raise KeyboardInterrupt
            value = banana(z)
            bent = (z[:, 1] - 0.5 * z[:, 0] ** 2) / 0.25
            return value, np.stack([-z[:, 0] + bent * z[:, 0], -bent], axis=1)

        super().__init__(banana, 2, gradient=gradient)


def calls_until(stage):
    counting = Interrupting(at=-1)
    quick(counting, steps=stage, learning_rate=None, check=False)
    return counting.calls


@pytest.mark.slow
def test_an_interrupt_returns_what_there_is_checked():
    """Anywhere in the training: every stage that is there is whole, and the verdict is not good."""
    total = calls_until(100)
    newton = total - (33 + 33 + 3 * (100 + 10) + 100)
    seen = set()
    for at in (newton + 1, newton + 15, newton + 50, newton + 250, total - 1):
        q = quick(Interrupting(at), steps=100, learning_rate=None)
        assert q.interrupted and q.verdict != GOOD
        assert "interrupted" in q.summary().splitlines()[0]
        assert any("interrupted" in reason for reason in q.reasons)
        assert np.isfinite(q.z).all() and np.isfinite([s.elbo for s in q.stages]).all()
        assert q.mean().shape == (2,)
        seen.add(q.stages[-1].name)
    assert {"mean-field", "full rank", "flow"} <= seen


def test_an_interrupt_before_any_fit_goes_through():
    with pytest.raises(KeyboardInterrupt):
        quick(Interrupting(at=2))


# --------------------------------------------------------------------------------------- the report
@pytest.mark.slow
def test_the_summary_is_a_short_table_without_times():
    q = quick(banana, 2, names=["slope", "a name that is long"])
    text = q.summary()
    assert text.startswith(q.verdict) and "second" not in text
    assert max(map(len, text.splitlines()[len(q.reasons) + 1 :])) <= 100
    for word in ("ELBO", "k-hat", "ESS", "full rank", "slope", "a name that is long", "weighted"):
        assert word in text
    assert repr(q) == f"Posterior(2 coordinates: {q.verdict})"


@pytest.mark.slow
def test_inference_data_holds_draws_names_and_weights():
    q = quick(banana, 2, names=["x", "y"])
    data = q.to_inference_data()
    assert list(data.posterior.data_vars) == ["x", "y"]
    assert dict(data.posterior.sizes) == {"chain": 1, "draw": 4000}
    np.testing.assert_array_equal(data.posterior["y"].values[0], q.z[:, 1])
    np.testing.assert_array_equal(data.sample_stats["log_weight"].values[0], q.log_w)
    np.testing.assert_array_equal(data.sample_stats["lp"].values[0], q.log_density)
    assert np.exp(q.log_w).sum() == pytest.approx(1)
    assert data.attrs["verdict"] == q.verdict


def test_names_default_to_indices():
    assert quick(normal, 2).names == ["z[0]", "z[1]"]


# ------------------------------------------------------------------------------------ the step size
def search(loss, start, **options):
    return search_learning_rate(loss, start, rng(), **options)


def test_the_search_takes_the_rate_with_the_least_loss():
    flow = Flow(StandardNormal(2), Affine(2))
    loss = FreeEnergy(flow, Gaussian(np.full(2, 3.0), np.eye(2)), batch=64)
    start = flow.init(rng())
    rate, losses = search(loss, start, rates=(0.1, 1e-2, 1e-4))
    assert rate == 0.1 and list(losses) == [0.1, 1e-2, 1e-4]
    assert losses[0.1] < losses[1e-2] < losses[1e-4]
    assert search(loss, start, rates=(0.1, 1e-2, 1e-4)) == (rate, losses)
    np.testing.assert_array_equal(start["mean"], np.zeros(2))


def test_the_search_leaves_out_what_diverges():
    flow = Flow(StandardNormal(2), Affine(2))
    loss = FreeEnergy(flow, Gaussian(np.full(2, 3.0), np.eye(2)))
    with np.errstate(all="ignore"):
        rate, losses = search(loss, flow.init(rng()), rates=(1e4, 0.03))
        assert rate == 0.03 and losses[1e4] == np.inf
        with pytest.raises(FloatingPointError, match=r"^rates: expected one that trains without"):
            search(loss, flow.init(rng()), rates=(1e4, 1e5))


def test_the_search_can_be_interrupted():
    flow = Flow(StandardNormal(2), Affine(2))
    with pytest.raises(KeyboardInterrupt):
        search(FreeEnergy(flow, Interrupting(at=5)), flow.init(rng()))


def test_numbers_whose_differences_are_rounding_are_refused():
    def density(z):
        spike = 6e40 * anp.exp(-0.5 * anp.sum((z - 50) ** 2, axis=1))
        return -0.5 * anp.sum(z**2, axis=1) + spike

    starts = np.array([[0.0, 0.0], [50.0, 50.3]])
    q = fit_posterior(density, 2, rng=rng(), starts=starts, steps=100, draws=2000)
    assert q.verdict == "do not trust"
    assert any("6e+40: their differences are lost in rounding" in reason for reason in q.reasons)
