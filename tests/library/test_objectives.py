"""The free energy and its gradient, the bounds on ln Z, and divergences against quadrature."""

import math
from contextlib import nullcontext

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, value_and_grad

from nflib_min import Affine, Chain, Flow, Planar, Radial, StandardNormal, TriangularAffine, checks
from nflib_min._trees import tree_leaves
from nflib_min.continuous import ODEFlow
from nflib_min.objectives import (
    FreeEnergy,
    elbo,
    free_energy,
    inverse_temperature,
    kl_from_target,
    kl_to_target,
    log_weights,
)
from nflib_min.pullback import without_kernels
from nflib_min.targets import Gaussian, LinearGaussian, Target, table_1
from nflib_min.training import cosine_decay, fit
from nflib_min.weights import effective_sample_size, importance_weighted_bound
from tests.library.laws import BIJECTIONS, arrays_of, cast, params_for, points


def rng(seed=0):
    return np.random.default_rng(seed)


def flow_of(name, dim=2, scale=0.4):
    f = BIJECTIONS[name](dim, 3)
    return Flow(StandardNormal(f.dim), f), params_for(f, rng(), scale)


def model():
    return LinearGaussian(
        np.array([[1.0, 0.5], [0.3, -1.2], [0.8, 0.8]]), 0.7, np.array([1.0, -0.5, 0.2])
    )


def posterior_params(scale=1.0):
    """`TriangularAffine` parameters of the model's exact posterior, its spread times `scale`."""
    posterior = model().posterior
    L = scale * np.linalg.cholesky(posterior.covariance)
    return {"mean": posterior.mean, "log_diag": np.log(np.diag(L)), "lower": np.tril(L, -1)}


# ------------------------------------------------------------------------------- the free energy
@pytest.mark.parametrize("beta", [0.0, 0.01, 0.7, 1.0])
def test_the_free_energy_is_eq_20(beta):
    """The three expectations one by one, the log-det from a Jacobian by autodiff."""
    flow, params = flow_of("Planar")
    z0, target = rng(1).standard_normal((7, 2)), table_1("U3")
    zK = flow.bijection.forward(params, z0)
    ln_q0 = -0.5 * np.sum(z0**2, axis=1) - math.log(2 * math.pi)
    ln_det = checks.log_det_by_autodiff(flow.bijection, params, z0)
    expected = ln_q0.mean() - beta * target.log_density(zK).mean() - ln_det.mean()
    assert free_energy(params, flow, target, z0, beta) == pytest.approx(expected, abs=1e-11)
    if beta == 1.0:
        assert elbo(params, flow, target, z0) == pytest.approx(-expected, abs=1e-11)


@pytest.mark.parametrize("name", BIJECTIONS)
@pytest.mark.parametrize(
    "annealing", [None, inverse_temperature, lambda t: 0.3], ids=["1", "t", ".3"]
)
def test_value_and_grad_is_autograds_of_the_free_energy(name, annealing):
    """The same z_0, the gradient composed of pullbacks against autograd through everything."""
    flow, params = flow_of(name)
    target = table_1("U4") if flow.dim == 2 else Gaussian(np.zeros(flow.dim), np.eye(flow.dim))
    for own in (target, Target(target.log_density, flow.dim)):  # its own gradient, and autograd's
        loss = FreeEnergy(flow, own, batch=9, annealing=annealing)
        value, g = loss.value_and_grad(params, rng(3), step=40)
        z0 = flow.base.sample(9, rng(3))
        beta = 1.0 if annealing is None else annealing(40)
        assert isinstance(value, float)
        assert value == pytest.approx(free_energy(params, flow, own, z0), rel=1e-12)
        if not tree_leaves(params):
            continue
        expected = grad(free_energy)(params, flow, own, z0, beta)
        for (path, got), (_, want) in zip(tree_leaves(g), tree_leaves(expected), strict=True):
            assert np.max(np.abs(got - want) / (1 + np.abs(want)), initial=0.0) < 1e-9, path


def test_float32_all_the_way():
    flow, params = flow_of("Chain")
    params = cast(params, np.float32)
    for target in (table_1("U1"), Gaussian(np.zeros(2), np.eye(2))):
        _, g = FreeEnergy(flow, target, 8).value_and_grad(params, rng(), 0)
        assert {a.dtype for _, a in tree_leaves(g)} == {np.dtype(np.float32)}
        assert log_weights(params, flow, target, 5, rng()).dtype == np.float32


def test_the_annealing_schedule_is_the_papers():
    assert inverse_temperature(0) == 0.01
    assert inverse_temperature(1) == 0.01 + 1 / 10_000
    assert inverse_temperature(5000) == 0.51
    assert inverse_temperature(9899) < 1.0
    assert inverse_temperature(9900) == inverse_temperature(10**6) == 1.0
    assert inverse_temperature(500, length=1000) == 0.51


def test_the_gap_of_the_free_energy_is_a_divergence():
    """F = KL(q || p(z|x)) - ln p(x): log p(x) = ELBO + KL on the conjugate model."""
    flow, params = Flow(StandardNormal(2), TriangularAffine(2)), posterior_params(1.3)
    params["mean"] = params["mean"] + np.array([0.2, -0.1])
    z, log_q = flow.sample_and_log_prob(params, 200_000, rng())
    ELBO = model().log_density(z) - log_q
    posterior = model().posterior
    covariance = 1.69 * posterior.covariance
    delta = np.array([0.2, -0.1])
    kl = 0.5 * (
        np.trace(posterior.precision @ covariance)
        - 2
        + delta @ posterior.precision @ delta
        - 2 * math.log(1.69)
    )
    gap, error = checks.check_bound(ELBO, model().log_normalizer)
    assert abs(gap - kl) < 5 * error and error < 0.01


# --------------------------------------------------------------------------------- path gradients
@pytest.mark.parametrize("name", BIJECTIONS)
def test_the_path_gradient_is_zero_where_the_flow_is_the_target(name):
    """q = p: every draw's gradient is 0, while the plain one is noise of order 1 / sqrt(n)."""
    flow, params = flow_of(name, scale=0.3)
    if not tree_leaves(params):
        return

    def value_and_score(z):
        moves = 1e-4 * np.eye(flow.dim)
        ahead, behind = (
            np.stack([flow.log_prob(params, z + sign * move) for move in moves], axis=1)
            for sign in (1, -1)
        )
        return flow.log_prob(params, z), (ahead - behind) / 2e-4

    own = Target(lambda z: flow.log_prob(params, z), flow.dim, gradient=value_and_score)
    norms = []
    for path in (True, False):
        _, g = FreeEnergy(flow, own, 16, path_gradient=path).value_and_grad(params, rng(), 0)
        norms.append(max(np.abs(part).max() for _, part in tree_leaves(g)))
    # differences of ln q, and RK4's own error in its log-determinant
    assert norms[0] < (1e-3 if name == "ODEFlow" else 1e-5)
    assert norms[1] > 0.02


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["Affine", "TriangularAffine", "Planar", "Radial", "real_nvp", "Chain"]
)
@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_the_path_gradient_has_the_mean_of_the_plain_one(name, beta):
    """300 independent pairs of gradients: their mean difference is within 5 standard errors."""
    flow, params = flow_of(name)
    target = table_1("U2")
    differences = []
    for seed in range(300):
        pair = [
            FreeEnergy(flow, target, 32, lambda t: beta, path).value_and_grad(params, rng(seed), 0)
            for path in (True, False)
        ]
        assert pair[0][0] == pair[1][0]  # the value does not depend on how it is differentiated
        with_path, plain = (np.concatenate([a.ravel() for _, a in tree_leaves(g)]) for _, g in pair)
        differences.append(with_path - plain)
    mean, error = np.mean(differences, axis=0), np.std(differences, axis=0) / math.sqrt(300)
    assert (error > 0).any()
    assert (np.abs(mean) < 5 * error + 1e-12).all()


def test_the_path_gradient_is_the_gradient_with_the_density_held():
    """By autograd: in ln q_K(z_K; phi) only z_K moves with phi."""
    flow, params = flow_of("Planar")
    target, z0 = table_1("U3"), rng(3).standard_normal((8, 2))

    def held(moving):
        zK = flow.bijection.forward(moving, z0)
        return anp.mean(flow.log_prob(params, zK) - target.log_density(zK))

    loss = FreeEnergy(flow, target, 8, path_gradient=True)
    _, g = loss.value_and_grad(params, rng(3), 0)
    for (path, got), (_, want) in zip(tree_leaves(g), tree_leaves(grad(held)(params)), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-10, err_msg=path)


def test_training_on_path_gradients_ends_on_the_exact_posterior():
    """No step-size floor of noise: full rank reaches the conjugate posterior to 1e-6 nats."""
    flow = Flow(StandardNormal(2), TriangularAffine(2))
    gaps = []
    for path in (True, False):
        loss = FreeEnergy(flow, model(), 32, path_gradient=path)
        start = posterior_params(1.3)
        end = fit(loss, start, 400, rng(), learning_rate=0.02, progress=False).params
        gaps.append(model().log_normalizer - log_weights(end, flow, model(), 1000, rng()).mean())
    assert abs(gaps[0]) < 1e-6 and gaps[1] > 1e-4


# ----------------------------------------------------------------------------------- divergences
@pytest.mark.parametrize("name", ["U1", "U2", "U3", "U4"])
def test_both_divergences_against_quadrature(name):
    """KL(q || p) by samples of q and KL(p || q) by exact draws of p, each within five sigma."""
    f = Chain([Affine(2), Planar(2, 2)])
    params = f.init(rng())
    params[0]["log_scale"] = params[0]["log_scale"] + 0.6
    flow, target = Flow(StandardNormal(2), f), table_1(name)

    def log_q(z):
        return flow.log_prob(params, z)

    for estimate, quadrature in (
        (kl_to_target, (log_q, target.log_prob)),
        (kl_from_target, (target.log_prob, log_q)),
    ):
        kl, error = estimate(params, flow, target, 20_000, rng(1))
        exact = checks.kl_by_quadrature(*quadrature, (-12.0, 12.0), points=600)
        assert abs(kl - exact) < 5 * error + 1e-4 and 0 < error < 0.1 * exact


def test_the_error_is_the_standard_error():
    flow = Flow(StandardNormal(2), Affine(2))
    params, target = flow.init(rng()), table_1("U2")
    kl, error = kl_to_target(params, flow, target, 500, rng(4))
    z, log_q = flow.sample_and_log_prob(params, 500, rng(4))
    values = log_q - target.log_prob(z)
    assert (kl, error) == pytest.approx((values.mean(), values.std(ddof=1) / math.sqrt(500)))


def test_a_missed_mode_shows_in_the_forward_divergence():
    """The best one-mode Gaussian of U1: .902 nats reverse, several more forward."""
    flow, target = Flow(StandardNormal(2), Affine(2)), table_1("U1")
    params = {"mean": np.array([1.86135, 0.0]), "log_scale": np.log([0.35341, 0.98687])}
    reverse, error = kl_to_target(params, flow, target, 40_000, rng())
    assert abs(reverse - 0.9024069) < 5 * error
    assert kl_from_target(params, flow, target, 4000, rng())[0] > 10


# ------------------------------------------------------------------------------------ clear errors
def test_dims_must_agree():
    with pytest.raises(ValueError, match=r"^flow and target: expected one dim, got 3 and 2"):
        FreeEnergy(Flow(StandardNormal(3), Affine(3)), table_1("U1"))
    with pytest.raises(ValueError, match=r"^batch: expected a whole number of at least 1, got 0"):
        FreeEnergy(Flow(StandardNormal(2), Affine(2)), table_1("U1"), batch=0)


def broken(value):
    return Target(lambda z: anp.where(z[:, 0] > 0, value, 0.0) + 0 * z[:, 1], 2, name="mine")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_target_that_is_not_finite_names_step_and_term(value):
    flow = Flow(StandardNormal(2), Affine(2))
    message = r"^step 17: expected a finite (ln p\(z_K\), got: ln p of mine|free energy, got inf)"
    with pytest.raises(FloatingPointError, match=message):
        FreeEnergy(flow, broken(value)).value_and_grad(flow.init(rng()), rng(), 17)


@pytest.mark.parametrize("bijection", [Affine(2), Chain([Affine(2), Planar(2, 2)])])
def test_points_that_overflow_name_step_and_term(bijection):
    flow = Flow(StandardNormal(2), bijection)
    params = flow.init(rng())
    (params if isinstance(params, dict) else params[0])["log_scale"][:] = 800.0
    with (
        np.errstate(over="ignore"),
        pytest.raises(
            FloatingPointError,
            match=r"^step 3: expected a finite z_K, got: z_?[K0]: expected finite values",
        ),
    ):
        FreeEnergy(flow, table_1("U1")).value_and_grad(params, rng(), 3)


def test_a_log_det_that_is_not_finite_names_step_and_term():
    """1 + c underflows to 0 where w.u < -745; at h = 0 the determinant is then 0 to rounding."""

    class Flat(Affine):
        def forward_with_pullback(self, params, z0):
            zK, log_det, pullback = super().forward_with_pullback(params, z0)
            return zK, log_det - np.inf, pullback

    flow = Flow(StandardNormal(2), Flat(2))
    message = r"^step 5: expected a finite free energy, got inf from the term log_det$"
    with pytest.raises(FloatingPointError, match=message):
        FreeEnergy(flow, table_1("U1")).value_and_grad(flow.init(rng()), rng(), 5)


def test_a_target_of_the_wrong_shape_stays_a_value_error():
    flow = Flow(StandardNormal(2), Affine(2))
    target = Target(lambda z: z, 2, name="mine")
    with pytest.raises(
        ValueError, match=r"^ln p of mine: expected one value a row, shape \(256,\)"
    ):
        FreeEnergy(flow, target).value_and_grad(flow.init(rng()), rng(), 0)


@pytest.mark.parametrize(
    "log_w, k, message",
    [
        (np.zeros((2, 2)), 1, r"^log_w: expected shape \(n,\) with n >= 1, got \(2, 2\)"),
        (np.zeros(0), 1, r"^log_w: expected shape \(n,\) with n >= 1, got \(0,\)"),
        (np.array([0.0, np.nan]), 1, r"^log_w: expected finite values or -inf, .*, got 1 NaN"),
        (np.zeros(3), 4, r"^k: expected at most n = 3, got 4"),
        (np.zeros(3), 0, r"^k: expected a whole number of at least 1, got 0"),
    ],
)
def test_wrong_weights_are_refused(log_w, k, message):
    with pytest.raises(ValueError, match=message):
        importance_weighted_bound(log_w, k)
    if not message.startswith("^k"):
        with pytest.raises(ValueError, match=message):
            effective_sample_size(log_w)


def test_a_divergence_needs_ln_z_and_draws():
    flow = Flow(StandardNormal(2), Radial(2, 1))
    target = Target(lambda z: -anp.sum(z**2, axis=1), 2, name="mine")
    with pytest.raises(ValueError, match=r"^mine: expected a known log_normalizer"):
        kl_to_target(flow.init(rng()), flow, target, 10, rng())
    with pytest.raises(ValueError, match=r"^mine: expected a sampler"):
        kl_from_target(flow.init(rng()), flow, target, 10, rng())


def test_an_ode_flow_bounds_the_evidence_too():
    f = ODEFlow(2, width=4, steps=10)
    flow = Flow(StandardNormal(2), f)
    log_w = log_weights(params_for(f, rng(), 0.4), flow, model(), 4000, rng())
    gap, error = checks.check_bound(log_w, model().log_normalizer)
    assert gap > 5 * error


class StudentBase:
    """A base of the user's own, with heavier tails than a normal."""

    def __init__(self, dim, nu=3.0):
        self.dim, self.nu = dim, nu

    def sample(self, n, rng, dtype=float):
        return rng.standard_t(self.nu, (n, self.dim)).astype(dtype)

    def log_prob(self, z):
        nu = self.nu
        c = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(nu * math.pi)
        return anp.sum(c - (nu + 1) / 2 * anp.log1p(z**2 / nu), axis=1)


class Shifted(StandardNormal):
    """A subclass of a known base with another density: N(1, I)."""

    def sample(self, n, rng, dtype=float):
        return super().sample(n, rng, dtype) + 1

    def log_prob(self, z):
        return super().log_prob(z - 1)


@pytest.mark.slow
@pytest.mark.parametrize("base", [StudentBase(2), Shifted(2)], ids=["Student", "N(1, I)"])
@pytest.mark.parametrize("path_gradient", [False, True])
def test_a_base_of_the_users_own_is_scored_by_its_own_density(base, path_gradient):
    """The target is the base moved by 1 and twice as wide: mean 1, scale 2."""
    target = Target(lambda z: base.log_prob((z - 1) / 2) - 2 * np.log(2.0), 2)
    flow = Flow(base, Affine(2))
    rng = np.random.default_rng(0)
    loss = FreeEnergy(flow, target, 256, path_gradient=path_gradient)
    done = fit(loss, flow.init(rng), 800, rng, learning_rate=cosine_decay(0.05, 800))
    assert done.params["mean"] == pytest.approx([1.0, 1.0], abs=0.15)
    assert np.exp(done.params["log_scale"]) == pytest.approx([2.0, 2.0], abs=0.15)


@pytest.mark.parametrize("name", BIJECTIONS)
def test_maximum_likelihood_has_the_gradient_of_the_formula(name):
    """-mean ln q of data, differentiated by autograd through the kernels, and without them."""
    f, rng = BIJECTIONS[name](2, 3), np.random.default_rng(0)
    flow, params, x = Flow(StandardNormal(f.dim), f), params_for(f, rng, 0.4), points(f, rng, 6)
    loss = value_and_grad(lambda p: -anp.mean(flow.log_prob(p, x)))
    value, g = loss(params)
    with without_kernels():
        expected, by_formula = loss(params)
    assert value == pytest.approx(expected, rel=1e-10)
    for a, b in zip(arrays_of(g), arrays_of(by_formula), strict=True):
        assert a == pytest.approx(b, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("f", [Planar(2, 4), Radial(2, 4), Affine(2), TriangularAffine(2)])
@pytest.mark.parametrize("kernels", [True, False])
def test_gradients_of_a_float32_density_are_float32(f, kernels):
    flow, rng = Flow(StandardNormal(2), f), np.random.default_rng(0)
    params, x = cast(params_for(f, rng), np.float32), points(f, rng, 5, dtype=np.float32)
    with nullcontext() if kernels else without_kernels():
        g_params = grad(lambda p: anp.sum(flow.log_prob(p, x)))(params)
        g_x = grad(lambda z: anp.sum(flow.log_prob(params, z)))(x)
    assert {array.dtype for array in (*arrays_of(g_params), g_x)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("rng", [0, None, np.random.RandomState(0), 1.5])
def test_what_is_not_a_generator_is_refused(rng):
    flow = Flow(StandardNormal(2), Affine(2))
    with pytest.raises(ValueError, match=r"rng: expected a numpy\.random\.Generator, got a"):
        flow.sample(flow.init(None), 3, rng)
    with pytest.raises(ValueError, match=r"rng: expected a numpy\.random\.Generator, got a"):
        FreeEnergy(flow, Gaussian(np.zeros(2), np.eye(2))).value_and_grad(flow.init(None), rng, 0)
