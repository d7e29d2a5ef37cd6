"""The planar flow: its constraint, its inverse, its collapse as printed, and its memory."""

from decimal import Decimal, localcontext

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads
from hypothesis import given
from hypothesis import strategies as st

from nflib_min import Flow, Planar, StandardNormal, checks, planar
from nflib_min.planar import GAIN, constrain, determinant, m, planar_layer, planar_root
from tests.library.laws import params_for, points, seeds

EVERYWHERE = [-1e4, -745.0, -100.0, -36.0, -3.0, -1e-3, -1e-9, 1e-12, 1e-6, 0.5, 3.0, 40.0, 1e6]


def exact(a, shift):
    """-1 + ln(1 + e^(a + shift)) and its successor, by decimal arithmetic with 60 digits."""
    with localcontext() as context:
        context.prec, context.Emin = 60, -(10**8)
        one = Decimal(1)
        scale = (one.exp() - 1) if shift else one  # e^shift
        power = scale * Decimal(a).exp() if a < 1e5 else None
        plus_1 = (1 + power).ln() if power is not None else Decimal(a) + scale.ln()
        if power is not None and power < Decimal("1e-50"):
            plus_1 = power  # ln(1 + x) = x to 50 digits
        return float(plus_1 - 1), float(plus_1)


# ------------------------------------------------------------------------------- the constraint
@pytest.mark.parametrize("a", EVERYWHERE)
def test_m_is_accurate_in_both_tails_and_near_0(a):
    value, plus_1 = exact(a, shift=True)
    assert float(m(np.array(a))) == pytest.approx(value, rel=4e-16, abs=0.0)
    got = constrain(np.array([a]), np.array([1.0]))[2]
    # a + ln(e - 1) is rounded before the exponential: a relative error of |a| eps
    assert float(got) == pytest.approx(plus_1, rel=2e-16 * (4 + abs(min(a, 0.0))), abs=0.0)


@pytest.mark.parametrize("a", EVERYWHERE)
def test_m_as_printed(a):
    value, plus_1 = exact(a, shift=False)
    assert float(m(np.array(a), gain=1.0)) == pytest.approx(value, rel=4e-16, abs=4e-16)
    got = constrain(np.array([a]), np.array([1.0]), gain=1.0)[2]
    assert float(got) == pytest.approx(plus_1, rel=1e-13)


@given(a=st.floats(-1e8, 1e8))
def test_m_stays_above_minus_1_and_grows(a):
    _, c, c_plus_1 = constrain(np.array([[a]]), np.array([[1.0]]))
    assert c[0] >= -1 and c_plus_1[0] >= 0
    assert c_plus_1[0] > 0 or a < -740  # 1 + c is apart from 0 as long as floating point can tell
    assert m(np.array(a)) <= m(np.array(a + 1.0 + 1e-8 * abs(a)))
    assert m(np.array(a)) == pytest.approx(c[0], rel=1e-15, abs=1e-300)


def test_m_is_0_at_0_and_has_no_jump_there():
    assert float(m(np.array(0.0))) == 0.0
    for a in (1e-300, 1e-12, 1e-8):
        slope = 1 - 1 / np.e
        assert float(m(np.array(a))) == pytest.approx(slope * a, rel=1e-7)
        assert float(m(np.array(-a))) == pytest.approx(-slope * a, rel=1e-7)
    assert float(m(np.array(0.0), gain=1.0)) == pytest.approx(np.log(2) - 1, abs=1e-16)


def test_m_has_autograds_gradient():
    check_grads(lambda a: m(a), modes=["rev"], order=2)(
        np.array([-30.0, -1.0, -1e-3, 1e-3, 2.0, 30.0])
    )
    check_grads(lambda a: m(a, gain=1.0), modes=["rev"], order=2)(np.array([-3.0, -1.0, 0.0, 2.0]))


@pytest.mark.parametrize("gain", [GAIN, 1.0])
@given(seed=seeds, scale=st.sampled_from([0.01, 1.0, 30.0]))
def test_constrain_gives_w_dot_u_hat(gain, seed, scale):
    """u_hat differs from u along w alone, and w.u_hat is m(w.u) > -1."""
    rng = np.random.default_rng(seed)
    u, w = scale * rng.standard_normal((2, 4, 3))
    u_hat, c, c_plus_1 = constrain(u, w, gain)
    size = 1e-14 * np.sum(np.abs(w * u) + np.abs(w * u_hat), axis=1)
    assert np.all(np.abs(np.sum(w * u_hat, axis=1) - c) <= size + 1e-15)
    assert c == pytest.approx(m(np.sum(w * u, axis=1), gain), rel=1e-14)
    assert c_plus_1 == pytest.approx(1 + c, abs=1e-12) and np.all(c >= -1)
    moved = u_hat - u
    across = moved - np.sum(moved * w, axis=1)[:, None] * w / np.sum(w * w, axis=1)[:, None]
    assert np.abs(across).max() <= 1e-13 * (1 + np.abs(moved).max())


def test_a_layer_without_a_direction_is_a_shift():
    """w = 0 leaves nothing to constrain: z + u tanh(b), ln|det| = 0, and finite gradients."""
    f = Planar(2, 1)
    params = {"u": np.array([[3.0, -5.0]]), "w": np.zeros((1, 2)), "b": np.array([0.4])}
    z = np.array([[0.1, 0.2], [-4.0, 7.0]])
    zK, log_det, pullback = f.forward_with_pullback(params, z)
    assert zK == pytest.approx(z + params["u"] * np.tanh(0.4))
    assert np.abs(log_det).max() < 1e-15
    assert f.inverse(params, zK) == pytest.approx(z)
    for g in (
        pullback(np.ones((2, 2)), np.ones(2))[0],
        grad(lambda p: f.forward_formula(p, z)[1].sum())(params),
    ):
        assert all(np.isfinite(array).all() for array in g.values())


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e-100, 1e-10])
def test_a_tiny_direction_is_no_trouble(size):
    f = Planar(2, 2)
    params = {"u": np.array([[3.0, -5.0], [1.0, 1.0]]), "w": np.full((2, 2), size), "b": np.ones(2)}
    z = np.random.default_rng(0).standard_normal((4, 2))
    checks.check_bijection(f, params, z)
    assert np.isfinite(f.forward(params, z)).all()


# ---------------------------------------------------------------------------- at initialisation
def test_init_is_near_the_identity_for_any_length():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((4000, 2))
    for K in (1, 8, 32, 128):
        zK, log_det = Planar(2, K).forward_and_log_det(Planar(2, K).init(rng), z)
        assert np.abs(zK - z).max() < 0.05 * K**0.5 * 3 and abs(log_det.mean()) < 0.05


def test_the_printed_constraint_collapses_at_initialisation():
    """K = 32 small layers, as in the paper: sum log det near -12 nats, and the plane shrinks away.

    With u and w of size 0.01 each layer starts with c = ln 2 - 1, so that at h' = 1 it multiplies
    volumes by ln 2: 32 ln ln 2 = -11.73. The shifted constraint starts at c = 0.
    """
    rng = np.random.default_rng(0)
    params = {"u": 0.01 * rng.standard_normal((32, 2)), "w": 0.01 * rng.standard_normal((32, 2))}
    params["b"] = 0.01 * rng.standard_normal(32)
    z = rng.standard_normal((2000, 2))
    zK, log_det = Planar(2, 32, gain=1.0).forward_and_log_det(params, z)
    assert log_det.mean() == pytest.approx(32 * np.log(np.log(2)), abs=0.05)
    assert zK.std(axis=0).max() < 0.02
    zK, log_det = Planar(2, 32).forward_and_log_det(params, z)
    assert abs(log_det.mean()) < 1e-3
    assert zK.std(axis=0) == pytest.approx(z.std(axis=0), rel=1e-2)


# ------------------------------------------------------------------------------------ the layers
@pytest.mark.parametrize("printed", [False, True])
def test_one_layer_is_the_papers(printed):
    """Planar with K = 1 is eqs. (10)-(12) with u_hat of appendix A, printed there."""
    rng = np.random.default_rng(0)
    f = Planar(3, 1, gain=1.0 if printed else GAIN)
    params, z = params_for(f, rng, 1.5), rng.standard_normal((20, 3))
    u, w, b = params["u"][0], params["w"][0], params["b"][0]
    shift = 0.0 if printed else np.log(np.e - 1)
    m_of_wu = -1 + np.log(1 + np.exp(w @ u + shift))
    u_hat = u + (m_of_wu - w @ u) * w / (w @ w)  # appendix A, letter by letter
    zK, log_det = planar_layer(u_hat, w, b, z)
    got = f.forward_and_log_det(params, z)
    assert got[0] == pytest.approx(zK, abs=1e-14) and got[1] == pytest.approx(log_det, abs=1e-13)


def test_the_determinant_lemma_holds_for_the_papers_layer():
    rng = np.random.default_rng(0)
    u, w, b, z = rng.standard_normal(4), rng.standard_normal(4), 0.3, rng.standard_normal((6, 4))
    for z_i, log_det in zip(z, planar_layer(u, w, b, z)[1], strict=True):
        J = np.eye(4) + np.outer(u, w) * (1 - np.tanh(w @ z_i + b) ** 2)
        assert log_det == pytest.approx(np.linalg.slogdet(J)[1], abs=1e-13)


def test_without_the_constraint_a_layer_folds():
    """w.u < -1: two points share one image, and the determinant changes its sign on the way."""
    u, w = np.array([-3.0]), np.array([1.0])
    z = np.linspace(-4, 4, 2001)[:, None]
    image = planar_layer(u, w, 0.0, z)[0][:, 0]
    assert (np.diff(image) < 0).any() and (np.diff(image) > 0).any()
    image = planar_layer(constrain(u, w)[0], w, 0.0, z)[0][:, 0]
    assert (np.diff(image) > 0).all()


@given(a=st.floats(-30, 30), h=st.floats(-1, 1))
def test_determinant_is_never_negative(a, h):
    _, c, c_plus_1 = constrain(np.array([[a]]), np.array([[1.0]]))
    det = determinant(c, np.array([h]), c_plus_1)
    assert det[0] > 0
    assert det[0] == pytest.approx((1 + c[0]) - c[0] * h * h, rel=1e-9, abs=1e-15)


# ----------------------------------------------------------------------------------- the inverse
def residual(c, b, t, a):
    """How far a misses a + c tanh(a + b) = t, in units of the rounding of its terms."""
    with np.errstate(over="ignore"):
        scale = np.abs(a) + np.abs(b) + np.abs(t) + np.abs(c * np.tanh(a + b))
    eps = np.finfo(a.dtype).eps
    return np.max(np.abs(a + c * np.tanh(a + b) - t) / (eps * scale + np.finfo(a.dtype).tiny))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "c", [-1.0, -1 + 1e-7, -0.999, -0.5, -1e-9, 0.0, 1e-9, 0.5, 3.0, 1e3, 1e6, 1e12]
)
def test_root_is_exact_to_rounding(c, dtype):
    """From a nearly flat layer (c = -1) to one that stretches a million million times."""
    rng = np.random.default_rng(0)
    sizes = 10.0 ** rng.uniform(-9, 6, 4000)
    b = (rng.standard_normal(4000) * 10.0 ** rng.uniform(-3, 2, 4000)).astype(dtype)
    t = (rng.standard_normal(4000) * sizes).astype(dtype)
    c = np.full(4000, c, dtype)
    # a itself is rounded, which moves c tanh(a + b) by c h' eps (|a| + |b|)
    a = planar_root(c, b, t)
    assert a.dtype == dtype
    steep = 1 + np.abs(c) * (1 - np.tanh(a + b).astype(float) ** 2)
    assert residual(c, b, t, a) <= 8 * steep.max()
    gentle = steep < 2
    if gentle.any():
        assert residual(c[gentle], b[gentle], t[gentle], a[gentle]) <= 8


@given(a=st.floats(-50, 50), b=st.floats(-50, 50), c=st.floats(-0.99, 1e9))
def test_root_finds_the_point_it_was_made_from(a, b, c):
    t = np.array([a + c * np.tanh(a + b)])
    slope = 1 + c * (1 - np.tanh(a + b) ** 2)
    noise = 1e-15 * (abs(a) + abs(b) + abs(c)) / slope + 1e-15 * (abs(a) + abs(b))
    assert planar_root(c, b, t)[0] == pytest.approx(a, abs=20 * noise + 1e-300)


def test_root_needs_few_steps(monkeypatch):
    """Newton's steps double the digits: a dozen do, unless a layer is nearly flat or very steep."""
    monkeypatch.setattr(planar, "NEWTON_STEPS", 12)
    cube = np.meshgrid([-0.99, -0.5, 0.5, 3.0, 10.0], [-3.0, 0.0, 2.0], [-9.0, 0.1, 4.0])
    c, b, t = (x.ravel() for x in cube)
    assert residual(c, b, t, planar_root(c, b, t)) <= 20


def test_root_has_autograds_gradient():
    c, b, t = np.array([-0.9, 0.5, 4.0]), np.array([0.1, -1.0, 2.0]), np.array([0.3, -2.0, 1.0])
    for argument in range(3):

        def F(x, argument=argument):
            args = [c, b, t]
            args[argument] = x
            return anp.sum(anp.sin(planar_root(*args)))

        check_grads(F, modes=["rev"], order=2)([c, b, t][argument])
    check_grads(lambda c: anp.sum(planar_root(c, 0.2, t)), modes=["rev"], order=2)(0.7)
    check_grads(lambda b: anp.sum(planar_root(0.7, b, t)), modes=["rev"], order=2)(0.2)


@given(seed=seeds, scale=st.sampled_from([1.0, 10.0, 100.0]), far=st.sampled_from([1.0, 1e3, 1e6]))
def test_the_inverse_is_backward_stable(seed, scale, far):
    """f(f^-1(y)) = y to rounding, whatever the parameters: even where the inverse is steep."""
    rng = np.random.default_rng(seed)
    f = Planar(3, 1)
    params, y = params_for(f, rng, scale), points(f, rng, 50, far)
    again = f.forward(params, f.inverse(params, y))
    u_hat, _, _ = constrain(params["u"], params["w"])
    # w.z and w.u_hat are rounded, and u_hat carries both errors
    reach, push = np.abs(y).max() * np.linalg.norm(params["w"]), np.linalg.norm(u_hat)
    size = reach + push * np.linalg.norm(params["w"]) + np.abs(params["b"]).max() + 1
    assert np.abs(again - y).max() <= 1e-14 * (size * push + np.abs(y).max())


def test_an_inverse_that_does_not_converge_says_so(monkeypatch):
    monkeypatch.setattr(planar, "NEWTON_STEPS", 2)
    f = Planar(2, 1)
    params = {"u": np.array([[-3.0, 0.0]]), "w": np.array([[2.0, 0.0]]), "b": np.zeros(1)}
    z = np.array([[0.5, 0.0], [0.0, 0.0]])
    with pytest.raises(
        ArithmeticError,
        match=r"planar inverse: expected a residual within rounding after 2 steps, "
        r"got 1 of 2 rows left",
    ):
        f.inverse(params, z)


# ------------------------------------------------------------------------------------ clear errors
@pytest.mark.parametrize("length", [0, -3, 1.5, True])
def test_length_is_a_positive_whole_number(length):
    with pytest.raises(
        ValueError, match=rf"^length: expected a whole number of at least 1, got {length}"
    ):
        Planar(2, length)


@pytest.mark.parametrize("dim", [0, -1])
def test_dim_is_positive(dim):
    with pytest.raises(
        ValueError, match=rf"^dim: expected a whole number of at least 1, got {dim}"
    ):
        Planar(dim, 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c", [1e3, 1e8, 1e17, 1e30])
def test_the_root_is_finite_where_one_plus_c_rounds_to_c(dtype, c):
    t = np.array([0.0, 0.3, c / 2, -0.999999 * c, c + 5, 2 * c, -c - 7], dtype)
    a = planar_root(dtype(c), dtype(0), t)
    assert a.dtype == dtype and np.isfinite(a).all()
    assert np.abs(a + dtype(c) * np.tanh(a) - t).max() <= 8 * np.finfo(dtype).eps * 2 * c


# ---------------------------------------------------------------- where determinants nearly vanish
@pytest.mark.parametrize(
    "size, tolerance", [(1e3, 1e-14), (1e6, 1e-13), (1e8, 1e-13), (1e12, 1e-12)]
)
def test_the_inverse_is_accurate_where_a_layer_stretches_a_lot(size, tolerance):
    """z_K - u h is a difference of two numbers of size c; along w the root is exact."""
    f = Planar(2, 1)
    params = {"u": np.array([[size, 0.3]]), "w": np.array([[1.0, 0.0]]), "b": np.array([0.2])}
    z = np.random.default_rng(0).standard_normal((50, 2))
    zK, log_det = f.forward_and_log_det(params, z)
    z_back, log_det_back = f.inverse_and_log_det(params, zK)
    assert np.abs(z_back - z).max() < tolerance
    assert np.abs(log_det + log_det_back).max() < 1e3 * tolerance


@pytest.mark.parametrize("u", [-36.0, -40.0, -200.0, -700.0])
def test_gradients_of_the_density_are_finite_at_a_fold(u):
    """1 + c is e^u here: too small to be 1 + c in floating point, and far from 0."""
    flow = Flow(StandardNormal(1), Planar(1, 1))
    params = {"u": np.array([[u]]), "w": np.array([[1.0]]), "b": np.array([0.0])}
    with np.errstate(over="raise", invalid="raise"):
        g = grad(lambda p: anp.sum(flow.log_prob(p, np.zeros((1, 1)))))(params)
    assert all(np.isfinite(array).all() for array in g.values())
    # ln q(0) = ln q_0(0) - ln(1 + c), 1 + c = softplus(u + ln(e - 1)): its slope in u is -1 there
    assert g["u"][0, 0] == pytest.approx(-1.0, rel=1e-6)
