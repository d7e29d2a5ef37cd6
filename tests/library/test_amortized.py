"""Amortized inference: the written gradient is the formula's, and the bounds are bounds."""

import copy
import pickle

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads
from scipy import stats

from nflib_min import Chain, Inverse, Permute, Planar, Radial
from nflib_min._trees import tree_leaves
from nflib_min.amortized import (
    AmortizedFreeEnergy,
    Bernoulli,
    ConditionalNICE,
    DeepLatentGaussianModel,
    InferenceNetwork,
    free_energies,
    init,
    log_evidence,
    log_weights,
)
from nflib_min.checks import (
    check_bijection,
    log_det_by_autodiff,
    pullback_error,
    round_trip_error,
)
from nflib_min.objectives import inverse_temperature
from nflib_min.training import fit

FLOWS = {
    "none": lambda: (None, True),
    "planar": lambda: (Planar(4, 3), True),
    "planar, shared": lambda: (Planar(4, 3), False),
    "radial": lambda: (Radial(4, 3), True),
    "nice": lambda: (ConditionalNICE(4, 3, np.random.default_rng(0), hidden=5), True),
    "nice, shared": lambda: (ConditionalNICE(4, 3, np.random.default_rng(0), hidden=5), False),
}


class LogitNormal:
    """A likelihood of the user's own: the logit of a grey pixel is N(m, s^2), m and ln s from z."""

    outputs = 2

    def log_prob(self, out, x):
        """ln p(x|z), shape (n,), from the decoder's output (m, ln s), shape (n, 2 pixels)."""
        m, log_s = out[:, : x.shape[1]], out[:, x.shape[1] :]
        y = anp.log(x) - anp.log1p(-x)
        e = (y - m) * anp.exp(-log_s)
        jacobian = anp.log(x) + anp.log1p(-x) + 0.5 * np.log(2 * np.pi)
        return anp.sum(-0.5 * e**2 - log_s - jacobian, axis=1)

    def log_prob_and_grad(self, out, x):
        """ln p(x|z) and its gradient: e / s with respect to m, e^2 - 1 with respect to ln s."""
        m, log_s = out[:, : x.shape[1]], out[:, x.shape[1] :]
        over_s = np.exp(-log_s)
        e = (np.log(x) - np.log1p(-x) - m) * over_s
        return self.log_prob(out, x), np.concatenate([e * over_s, e * e - 1], axis=1)

    def mean(self, out):
        """The median of x given z, sigmoid(m), shape (n, pixels); the mean has no closed form."""
        return np.exp(-anp.logaddexp(0.0, -out[:, : out.shape[1] // 2]))

    def sample(self, out, rng):
        """Draw x given z, shape (n, pixels)."""
        m, log_s = np.split(out, 2, axis=1)
        y = m + np.exp(log_s) * rng.standard_normal(m.shape, dtype=m.dtype)
        return np.exp(-anp.logaddexp(0.0, -y))

    def check(self, x):
        """ValueError unless x lies strictly between 0 and 1, where its logit is finite."""
        if not (np.min(x) > 0 and np.max(x) < 1):
            raise ValueError(f"x: expected values inside (0, 1), got {np.min(x)} to {np.max(x)}")


LIKELIHOODS = {"bernoulli": Bernoulli, "logit-normal": LogitNormal}


def build(flow="planar", likelihood="bernoulli", dtype=np.float64, n=6, batch=6):
    """A small model with parameters away from their start, and data it takes."""
    bijection, amortized = FLOWS[flow]()
    model = DeepLatentGaussianModel(4, 5, (7,), LIKELIHOODS[likelihood]())
    network = InferenceNetwork(5, 4, bijection, (6,), amortized)
    rng = np.random.default_rng(1)
    params = init(model, network, rng, dtype)
    for _, leaf in tree_leaves(params):
        leaf += 0.3 * rng.standard_normal(leaf.shape, dtype=dtype)
    x = rng.uniform(0.05, 0.95, (n, 5)).astype(dtype)
    if likelihood == "bernoulli":
        x = np.round(x)
    return params, AmortizedFreeEnergy(model, network, x, batch)


class Replayed:
    """A generator that hands out one given z_0, so that both routes see the same draw."""

    def __init__(self, z0):
        self.z0 = z0

    def standard_normal(self, shape, dtype=float):
        assert shape == self.z0.shape and np.dtype(dtype) == self.z0.dtype
        return self.z0


# ------------------------------------------------------------------------------ likelihoods
def test_bernoulli_is_scipys():
    rng = np.random.default_rng(0)
    out, x = 3 * rng.standard_normal((4, 9)), rng.integers(0, 2, (4, 9)).astype(float)
    expected = stats.bernoulli.logpmf(x, 1 / (1 + np.exp(-out))).sum(axis=1)
    assert Bernoulli().log_prob(out, x) == pytest.approx(expected, rel=1e-12)
    assert Bernoulli().mean(out) == pytest.approx(1 / (1 + np.exp(-out)), rel=1e-12)


def test_logit_normal_integrates_to_one():
    """Over (0, 1), by the midpoint rule: the Jacobian of the logit is in it."""
    x = ((np.arange(20_000) + 0.5) / 20_000)[:, None]
    out = np.broadcast_to(np.array([[0.7, np.log(0.8)]]), (len(x), 2))
    assert np.exp(LogitNormal().log_prob(out, x)).mean() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("kind", LIKELIHOODS)
@pytest.mark.parametrize("pixels", [1, 7, 8, 13, 784])
def test_the_gradient_of_a_likelihood_is_autograds(kind, pixels):
    likelihood, rng = LIKELIHOODS[kind](), np.random.default_rng(0)
    out = 2 * rng.standard_normal((3, pixels * likelihood.outputs))
    x = rng.uniform(0.1, 0.9, (3, pixels))
    value, g = likelihood.log_prob_and_grad(out, x)
    assert value == pytest.approx(likelihood.log_prob(out, x), rel=1e-12)
    traced = grad(lambda out: anp.sum(likelihood.log_prob(out, x)))(out)
    assert g == pytest.approx(traced, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("size", [1e2, 1e4])
def test_confident_logits_stay_finite(size):
    out, x = np.array([[size, -size, size]]), np.array([[1.0, 0.0, 0.0]])
    value, g = Bernoulli().log_prob_and_grad(out, x)
    assert value == pytest.approx(-size) and g == pytest.approx(np.array([[0, 0, -1.0]]), abs=1e-40)


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_samples_have_the_mean_they_say(kind):
    likelihood, rng = LIKELIHOODS[kind](), np.random.default_rng(0)
    out = np.tile(rng.standard_normal((1, 3 * likelihood.outputs)), (40_000, 1))
    draws = likelihood.sample(out, rng)
    middle = draws.mean(axis=0) if kind == "bernoulli" else np.median(draws, axis=0)
    assert middle == pytest.approx(likelihood.mean(out)[0], abs=0.015)


# ------------------------------------------------------------------------------ conditional NICE
@pytest.mark.parametrize("dim", [2, 3, 5])
@pytest.mark.parametrize("rows", [None, 6])
def test_conditional_nice_obeys_the_laws(dim, rows):
    rng = np.random.default_rng(0)
    f = ConditionalNICE(dim, 3, rng, hidden=4)
    params = {k: rng.standard_normal(v.shape) for k, v in f.init(rng).items()}
    if rows:
        params["b"] = rng.standard_normal((rows, 3, 4))
    z0 = rng.standard_normal((6, dim))
    if rows:  # W and V have no row axis, so the laws are asked for one by one
        assert round_trip_error(f, params, z0) < 1e-12
        assert log_det_by_autodiff(f, params, z0) == pytest.approx(np.zeros(6), abs=1e-12)
        assert pullback_error(f, params, z0) < 1e-10
    else:
        assert max(check_bijection(f, params, z0).values()) < 1e-10
    zK, log_det = f.forward_and_log_det(params, z0)
    assert not log_det.any()
    plain = f.forward_formula(params, z0)
    assert zK == pytest.approx(plain[0], abs=1e-13)

    def loss(params, z0, g):
        return anp.sum(g * f.forward_and_log_det(params, z0)[0])

    g = rng.standard_normal(zK.shape)
    _, _, pullback = f.forward_with_pullback(params, z0)
    g_params, g_z0 = pullback(g, np.zeros(6))
    expected = grad(lambda p: anp.sum(g * f.forward_formula(p, z0)[0]))(params)
    for name in params:
        assert g_params[name] == pytest.approx(expected[name], abs=1e-11)
    assert g_z0 == pytest.approx(
        grad(lambda z: anp.sum(g * f.forward_formula(params, z)[0]))(z0), abs=1e-12
    )
    assert np.array_equal(pullback(g, np.zeros(6))[1], g_z0)  # nothing was used up
    check_grads(lambda p, z: loss(p, z, g), modes=["rev"], order=2)(params, z0)


def test_conditional_nice_says_what_it_expected():
    f = ConditionalNICE(4, 2, np.random.default_rng(0), hidden=3)
    params, z0 = f.init(np.random.default_rng(0)), np.zeros((5, 4))
    for name, bad in (("W", (5, 2, 2, 3)), ("b", (4, 2, 3)), ("V", (2, 3))):
        with pytest.raises(ValueError, match=rf"params\['{name}'\].*expected shape"):
            f.forward(params | {name: np.zeros(bad)}, z0)
    with pytest.raises(ValueError, match="expected a dict"):
        f.forward({"W": params["W"]}, z0)
    with pytest.raises(ValueError, match="NaN or inf"):
        f.forward(params | {"b": np.full((2, 3), np.nan)}, z0)
    with pytest.raises(ValueError, match="at least 2"):
        ConditionalNICE(1, 2, np.random.default_rng(0))


# ------------------------------------------------------------------------------ free energy
@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_written_gradient_is_autograds_of_the_formula(flow, likelihood):
    params, loss = build(flow, likelihood)
    z0 = np.random.default_rng(2).standard_normal((6, 4))
    x = loss.minibatch(0)

    def formula(params, beta=1.0):
        return anp.mean(free_energies(params, loss.model, loss.network, x, z0, beta))

    value, g = loss.value_and_grad(params, Replayed(z0), 0)
    assert value == pytest.approx(formula(params), rel=1e-12)
    expected = dict(tree_leaves(grad(formula)(params)))
    assert [name for name, _ in tree_leaves(g)] == [name for name, _ in tree_leaves(params)]
    for name, part in tree_leaves(g):
        assert part == pytest.approx(expected[name], rel=1e-9, abs=1e-11), name

    loss.annealing = inverse_temperature  # beta multiplies the joint, in the gradient alone
    tempered, g = loss.value_and_grad(params, Replayed(z0), 0)
    assert tempered == value
    expected = dict(tree_leaves(grad(lambda p: formula(p, inverse_temperature(0)))(params)))
    for name, part in tree_leaves(g):
        assert part == pytest.approx(expected[name], rel=1e-9, abs=1e-11), name


@pytest.mark.parametrize("flow", FLOWS)
def test_only_the_flows_parameters_are_divided_by_its_length(flow):
    """One unit of output moves mu and ln sigma by 1, each of K layers by 1/K; so do gradients."""
    _, loss = build(flow)
    network = loss.network
    out = np.ones((2, network.outputs))
    shared = network.init(np.random.default_rng(0))[1]
    affine, *layers = network.flow_params(out, shared)
    assert np.all(affine["mean"] == 1) and np.all(affine["log_scale"] == 1)
    given = {name: p for part in layers for name, p in part.items() if name in network.amortized}
    assert all(np.allclose(p, 1 / 3, rtol=1e-15) for p in given.values())
    assert (flow == "none" or "shared" in flow) == (not given)
    g_out, _ = network.gather(
        [{n: np.ones_like(p) for n, p in part.items()} for part in (affine, *layers)]
    )
    assert np.array_equal(g_out[:, :8], np.ones((2, 8)))
    assert g_out[:, 8:] == pytest.approx(1 / 3, rel=1e-15)


@pytest.mark.parametrize("flow", FLOWS)
def test_a_path_gradient_has_the_mean_of_the_full_one(flow):
    """One x, 200,000 draws: where the two disagree in the mean, it is by noise. theta: exactly."""
    params, small = build(flow)
    x = np.repeat(small.x[:1], 200_000, axis=0)
    z0 = np.random.default_rng(4).standard_normal((len(x), 4))
    by_way = []
    for path_gradient in (False, True):
        loss = AmortizedFreeEnergy(
            small.model, small.network, x, len(x), path_gradient=path_gradient
        )
        by_way.append(loss.value_and_grad(params, Replayed(z0), 0))
    (value, full), (same_value, path) = by_way
    assert value == same_value
    for (name, a), (_, b) in zip(tree_leaves(full), tree_leaves(path), strict=True):
        if name.startswith("params['model']"):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    a, b = (np.concatenate([leaf.ravel() for _, leaf in tree_leaves(g)]) for g in (full, path))
    assert np.linalg.norm(a - b) < 0.02 * np.linalg.norm(a)
    assert np.linalg.norm(a - b) > 0


@pytest.mark.parametrize("flow", FLOWS)
def test_a_gradient_is_written_where_it_is_asked_for(flow):
    params, loss = build(flow)
    z0 = np.random.default_rng(2).standard_normal((6, 4))
    _, expected = loss.value_and_grad(params, Replayed(z0), 0)
    out = {part: {n: np.full_like(v, np.nan) for n, v in g.items()} for part, g in params.items()}
    _, g = loss.value_and_grad(params, Replayed(z0), 0, out=out)
    for (name, a), (_, b) in zip(tree_leaves(expected), tree_leaves(g), strict=True):
        assert np.array_equal(a, b), name
    for part in ("model", "network"):
        assert all(g[part][name] is out[part][name] for name in out[part])


@pytest.mark.parametrize("flow", FLOWS)
def test_float32_all_the_way_through(flow):
    params, loss = build(flow, dtype=np.float32)
    z0 = np.random.default_rng(2).standard_normal((6, 4), dtype=np.float32)
    value, g = loss.value_and_grad(params, Replayed(z0), 0)
    assert {part.dtype for _, part in tree_leaves(g)} == {np.dtype(np.float32)}
    double = {k: {n: v.astype(float) for n, v in part.items()} for k, part in params.items()}
    expected, g_double = loss.value_and_grad(double, Replayed(z0.astype(float)), 0)
    assert value == pytest.approx(expected, rel=1e-5)
    for (name, part), (_, twin) in zip(tree_leaves(g), tree_leaves(g_double), strict=True):
        assert part == pytest.approx(twin, rel=1e-2, abs=1e-3), name


def test_a_linear_gaussian_posterior_has_the_evidence_it_must():
    """With no hidden layer and logit-normal pixels p(x) is a Gaussian of the logits of x."""
    rng = np.random.default_rng(0)
    model = DeepLatentGaussianModel(2, 3, (), LogitNormal())
    network = InferenceNetwork(3, 2, Planar(2, 2), (8,))
    params = init(model, network, rng)
    W, s = rng.standard_normal((2, 3)), np.array([0.8, 1.1, 0.9])
    params["model"] = {
        "W0": np.concatenate([W, np.zeros((2, 3))], axis=1),
        "b0": np.concatenate([[0.3, -0.2, 0.1], np.log(s)]),
    }
    x = rng.uniform(0.2, 0.8, (5, 3))
    y = np.log(x / (1 - x))
    exact = stats.multivariate_normal([0.3, -0.2, 0.1], W.T @ W + np.diag(s**2)).logpdf(y)
    exact -= np.sum(np.log(x * (1 - x)), axis=1)

    log_w = log_weights(params, model, network, x, 200_000, rng)
    assert log_evidence(log_w) == pytest.approx(exact, abs=0.02)
    assert np.all(log_w.mean(axis=1) < exact)  # the bound, far from tight: nothing was trained
    loss = AmortizedFreeEnergy(model, network, x, batch=5)
    trained = fit(loss, params, 300, rng, learning_rate=0.01).params
    trained["model"] = params["model"]
    assert np.all(log_weights(trained, model, network, x, 20_000, rng).mean(axis=1) < exact + 0.01)


@pytest.mark.parametrize("flow", FLOWS)
def test_weights_and_free_energy_are_the_same_numbers(flow):
    """Their means over draws agree within four standard errors: two routes to the ELBO."""
    params, loss = build(flow)
    rng, n = np.random.default_rng(3), 4000
    log_w = log_weights(params, loss.model, loss.network, loss.x[:2], n, rng)
    for x, of_x in zip(loss.x[:2], log_w, strict=True):
        rows = np.repeat(x[None], n, axis=0)
        F = free_energies(params, loss.model, loss.network, rows, rng.standard_normal((n, 4)))
        error = np.hypot(F.std(), of_x.std()) / n**0.5
        assert abs(F.mean() + of_x.mean()) < 4 * error


def test_more_draws_tighten_the_bound():
    log_w = np.random.default_rng(0).standard_normal((3, 6000))
    groups = log_w.reshape(3, -1, 10)
    one, ten = log_w.mean(axis=1), np.mean([log_evidence(g) for g in groups], axis=1)
    assert np.all(one < ten) and np.all(ten < log_evidence(log_w))


# ------------------------------------------------------------------------------ training
def test_every_epoch_meets_every_row_once_and_depends_on_the_step_alone():
    _, loss = build(n=10, batch=3)
    loss.x = np.arange(10)
    epochs = [np.concatenate([loss.minibatch(3 * e + i) for i in range(3)]) for e in range(4)]
    assert all(len(set(epoch)) == 9 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert np.array_equal(loss.minibatch(4), epochs[1][3:6])  # going back gives the same


def test_grey_digits_are_drawn_anew_at_every_meeting_by_the_step_alone():
    """Over many epochs each row's mean is its grey, and no epoch repeats another's pixels."""
    _, plain = build(n=6, batch=6)
    grey = np.linspace(0, 1, plain.x.size).reshape(plain.x.shape)

    def draw(rows, rng):
        return (rng.random(rows.shape) < rows).astype(float)

    def drawn(seed):
        return AmortizedFreeEnergy(plain.model, plain.network, grey, 6, seed=seed, draw=draw)

    first, again, other = (drawn(seed) for seed in (0, 0, 1))
    xs = [first.minibatch(step) for step in range(2000)]
    assert np.array_equal(again.minibatch(7), xs[7])  # whatever was drawn before
    assert not np.array_equal(other.minibatch(7), xs[7])
    assert set(np.unique(xs)) == {0.0, 1.0} and not np.array_equal(xs[0], xs[1])
    mean = np.mean([x[np.argsort(row_order(plain, s))] for s, x in enumerate(xs)], axis=0)
    assert np.abs(mean - grey).max() < 0.06  # five standard errors
    with pytest.raises(ValueError, match=r"x: expected values in \[0, 1\]"):
        AmortizedFreeEnergy(plain.model, plain.network, grey, 6, draw=lambda rows, rng: 2.0 + rows)


def row_order(loss, step):
    """Which row stands where in the minibatch of a step that is a whole epoch."""
    loss.x = np.arange(len(loss.x))
    return loss.minibatch(step)


def test_training_resumes_to_the_same_numbers(tmp_path):
    def run(steps, checkpoint):
        params, loss = build(n=12, batch=4)
        return fit(
            loss,
            params,
            steps,
            np.random.default_rng(0),
            average=0.05,
            checkpoint=checkpoint,
            checkpoint_every=7,
        )

    whole = run(25, None)
    run(14, tmp_path / "trunk.npz")
    resumed = run(25, tmp_path / "trunk.npz")
    for kind in ("params", "mean_params"):
        for (_, a), (_, b) in zip(
            tree_leaves(getattr(whole, kind)), tree_leaves(getattr(resumed, kind)), strict=True
        ):
            assert np.array_equal(a, b)
    assert np.array_equal(whole.history["loss"], resumed.history["loss"])


def test_new_data_come_from_the_prior():
    """Pixel means of draws are E_prior[sigmoid(f(z))], whatever the flow of the posterior is."""
    params, loss = build()
    draws = loss.model.sample(params["model"], 40_000, np.random.default_rng(0))
    z = np.random.default_rng(1).standard_normal((40_000, 4))
    expected = Bernoulli().mean(loss.model.decoder(params["model"], z)).mean(axis=0)
    assert draws.mean(axis=0) == pytest.approx(expected, abs=0.015)
    assert set(np.unique(draws)) == {0.0, 1.0}


def test_at_the_start_the_posterior_is_near_the_prior():
    """F then costs little more than coding x alone, for a long flow in many dimensions as well."""
    model = DeepLatentGaussianModel(40, 30, (20,))
    x = np.random.default_rng(0).integers(0, 2, (50, 30)).astype(float)
    network = InferenceNetwork(30, 40, Planar(40, 80), (20,))
    loss = AmortizedFreeEnergy(model, network, x, batch=50)
    params = init(model, network, np.random.default_rng(0))
    value, _ = loss.value_and_grad(params, np.random.default_rng(0), 0)
    assert value == pytest.approx(30 * np.log(2), abs=3)


# ------------------------------------------------------------------------------ errors
def test_errors_say_what_was_expected():
    model = DeepLatentGaussianModel(4, 5, (7,))
    network = InferenceNetwork(5, 4, Planar(4, 2), (6,))
    x = np.zeros((6, 5))
    with pytest.raises(ValueError, match=r"x: expected shape \(n, 5\), got shape \(6, 4\)"):
        AmortizedFreeEnergy(model, network, x[:, :4])
    with pytest.raises(ValueError, match=r"expected values in \[0, 1\], got 0.0 to 255.0"):
        AmortizedFreeEnergy(model, network, x + 255 * np.eye(6, 5))
    with pytest.raises(ValueError, match="batch: expected at most the 6 rows"):
        AmortizedFreeEnergy(model, network, x, batch=7)
    with pytest.raises(ValueError, match="network: expected the sizes"):
        AmortizedFreeEnergy(model, InferenceNetwork(5, 3), x)
    with pytest.raises(ValueError, match="bijection: expected dim 4"):
        InferenceNetwork(5, 4, Planar(3, 2))
    for composed in (Chain([Planar(4, 2)]), Inverse(Planar(4, 2)), Permute([1, 0, 3, 2])):
        with pytest.raises(ValueError, match="expected a map with parameters of its own"):
            InferenceNetwork(5, 4, composed)
    with pytest.raises(ValueError, match=r"inside \(0, 1\), got 0.0"):
        AmortizedFreeEnergy(DeepLatentGaussianModel(4, 5, (7,), LogitNormal()), network, x)
    with pytest.raises(ValueError, match="samples"):
        params = init(model, network, np.random.default_rng(0))
        log_weights(params, model, network, x, 0, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("part", "leaf", "value", "said"),
    [("network", "b1", np.inf, "z_K"), ("model", "b1", np.nan, r"-ln p\(x\|z_K\)")],
)
def test_a_value_that_is_not_finite_is_named(part, leaf, value, said):
    params, loss = build()
    params[part][leaf][:] = value
    with pytest.raises(FloatingPointError, match=f"step 3.*{said}"):
        loss.value_and_grad(params, np.random.default_rng(0), 3)


@pytest.mark.parametrize("flow", FLOWS)
def test_models_networks_and_losses_can_be_pickled_and_copied(flow):
    params, loss = build(flow)
    z0 = np.random.default_rng(2).standard_normal((6, 4))
    value, g = loss.value_and_grad(params, Replayed(z0), 0)
    for again in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss)):
        same_value, same_g = again.value_and_grad(params, Replayed(z0), 0)
        assert value == same_value
        for (_, a), (_, b) in zip(tree_leaves(g), tree_leaves(same_g), strict=True):
            assert np.array_equal(a, b)
