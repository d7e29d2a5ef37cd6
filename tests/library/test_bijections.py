"""What the contract refuses, and the maps that bijections.py and flow.py define."""

import copy
import pickle

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, jacobian
from autograd.core import make_vjp

from nflib_min import (
    Affine,
    Bijection,
    Chain,
    Flow,
    Inverse,
    Orthogonal,
    Permute,
    Planar,
    Radial,
    StandardNormal,
    TriangularAffine,
    checks,
)
from nflib_min._trees import tree_leaves, tree_unflatten
from nflib_min.pullback import pullback_by_autograd
from tests.library.examples import N, close, every, everything, example
from tests.library.laws import (
    BIJECTIONS,
    arrays_of,
    cast,
    copied,
    points,
)


# ---------------------------------------------------------------------------- clear errors
@every
def test_errors_say_expected_and_got(name):
    f, params, z, _ = example(name)
    d = f.dim
    wrong_points = [
        (z[:, :-1], rf"expected an array of shape \(n, {d}\), got shape \(5, {d - 1}\)"),
        (z[0], rf"expected an array of shape \(n, {d}\), got shape \({d},\)"),
        (z.tolist(), rf"expected an array of shape \(n, {d}\), got a list"),
        (z.astype(int), "expected floating point numbers, got dtype int64"),
    ]
    for bad in (np.nan, np.inf):
        spoiled = z.copy()
        spoiled[2, 1] = bad
        wrong_points.append(
            (spoiled, r"expected finite values, got 1 NaN or inf \(the first at index \(2, 1\)\)")
        )
    for method in (f.forward_and_log_det, f.inverse_and_log_det, f.forward_with_pullback):
        for points_given, message in wrong_points:
            with pytest.raises(ValueError, match=f"^z(0|K): {message}"):
                method(params, points_given)


@every
@pytest.mark.parametrize(
    "method", ["forward_and_log_det", "inverse_and_log_det", "forward_with_pullback"]
)
def test_errors_on_parameters_name_them(name, method):
    f, params, z, _ = example(name)
    call = getattr(f, method)
    with pytest.raises(ValueError, match=r"params of .*: expected a (dict|list) with .*, got"):
        call({"theta": np.zeros(2)}, z)
    with pytest.raises(ValueError, match=r"params of .*: expected a (dict|list) with .*, got"):
        call(np.zeros(2), z)
    for i, (path, _) in enumerate(tree_leaves(params)):
        for spoil, message in (
            (lambda p: np.full_like(p, np.nan), "expected finite values, got .* NaN or inf"),
            (lambda p: np.zeros((7, *p.shape, 2)), r"expected shape .*, got shape \(7, "),
        ):
            arrays = arrays_of(params)
            arrays[i] = spoil(arrays[i])
            if not arrays[i].size:
                continue  # a network of nothing in one dimension has no number to spoil
            key = path.split("[")[-1].rstrip("]")  # the innermost name
            with pytest.raises(ValueError, match=rf"params\[{key}\] of .*: {message}"):
                call(tree_unflatten(params, iter(arrays)), z)


@pytest.mark.parametrize("kind", [Affine, TriangularAffine])
@pytest.mark.parametrize("dim", [0, -1, 2.0, True, None])
def test_dim_is_a_positive_whole_number(kind, dim):
    with pytest.raises(ValueError, match=f"^dim: expected a whole number of at least 1, got {dim}"):
        kind(dim)


def test_the_contract_itself_does_nothing():
    f = type("Nothing", (Bijection,), {"dim": 1})()
    assert f.init(np.random.default_rng(0)) == {}
    for call in (
        lambda: f.forward({}, np.zeros((1, 1))),
        lambda: f.inverse({}, np.zeros((1, 1))),
    ):
        with pytest.raises(NotImplementedError):
            call()


def test_two_methods_are_enough():
    """A reader's own map, with neither a pullback nor a formula, gets all the rest."""

    class Sinh(Bijection):
        dim = 2

        def forward_and_log_det(self, params, z0):
            zK = anp.sinh(params["slope"] * z0)
            log_det = anp.log(params["slope"] * anp.cosh(params["slope"] * z0))
            return zK, anp.sum(log_det, axis=1)

        def inverse_and_log_det(self, params, zK):
            z0 = anp.arcsinh(zK) / params["slope"]
            return z0, -anp.sum(anp.log(params["slope"] * anp.sqrt(1 + zK**2)), axis=1)

    z = points(Sinh(), np.random.default_rng(0), 4)
    checks.check_bijection(Sinh(), {"slope": np.array(0.7)}, z)
    flow = Flow(StandardNormal(2), Chain([Planar(2, 2), Sinh()]))
    params = [flow.bijection.maps[0].init(np.random.default_rng(0)), {"slope": np.array(0.7)}]
    checks.check_bijection(flow.bijection, params, z)


# ------------------------------------------------------------------------------- the small maps
@pytest.mark.parametrize("name", ["Affine", "TriangularAffine", "Radial", "Permute"])
def test_init_is_the_identity_or_nothing_learned(name):
    f = BIJECTIONS[name](4, 3)
    params, z = f.init(np.random.default_rng(0)), points(f, np.random.default_rng(1), N)
    if name == "Permute":
        assert params == {}
    else:
        close(f.forward_and_log_det(params, z), (z, np.zeros(N)), 1e-14)


@every
def test_init_is_near_the_identity(name):
    """ln|det| is nearly 0, so that training starts from the base density."""
    if name in ("Planar, printed", "Uncentred"):
        return  # the one is not, as test_planar.py shows; the other has nothing to learn
    f = BIJECTIONS[name](2, 16)
    z = points(f, np.random.default_rng(1), 1000)
    log_det = f.forward_and_log_det(f.init(np.random.default_rng(0)), z)[1]
    assert np.abs(log_det).max() < (4.0 if name == "Coupling, linear" else 0.5)


def test_affine_is_a_mean_field_gaussian():
    mean, log_scale = np.array([1.0, -2.0]), np.array([0.3, -0.7])
    flow = Flow(StandardNormal(2), Affine(2))
    z = np.random.default_rng(0).standard_normal((N, 2))
    expected = -0.5 * ((z - mean) / np.exp(log_scale)) ** 2 - log_scale - 0.5 * np.log(2 * np.pi)
    got = flow.log_prob({"mean": mean, "log_scale": log_scale}, z)
    assert got == pytest.approx(expected.sum(axis=1), abs=1e-13)


def test_lower_affine_is_a_full_rank_gaussian():
    f, params, z, _ = example("TriangularAffine", dim=4)
    L = f.matrix(params)
    assert np.array_equal(L, np.tril(L))
    covariance = L @ L.T
    centred = z - params["mean"]
    square = np.sum(centred @ np.linalg.inv(covariance) * centred, axis=1)
    expected = -0.5 * (square + np.linalg.slogdet(2 * np.pi * covariance)[1])
    assert Flow(StandardNormal(4), f).log_prob(params, z) == pytest.approx(expected, abs=1e-11)


def test_lower_affine_ignores_the_upper_part():
    f, params, z, g = example("TriangularAffine", dim=3)
    other = copied(params)
    other["lower"][np.triu_indices(3)] = 99.0
    close(everything(f, other, z, g), everything(f, params, z, g), 0.0)
    assert not np.triu(f.forward_with_pullback(other, z)[2](*g)[0]["lower"]).any()


def test_lower_affine_inverts_scales_a_solver_calls_singular():
    """Forward substitution divides by the diagonal alone; a pivot would bring in large rows."""
    f = TriangularAffine(3)
    params = {
        "mean": np.zeros(3),
        "log_diag": np.array([-300.0, 0.0, -200.0]),
        "lower": np.tril(np.full((3, 3), 50.0), -1),
    }
    z = np.array([[2.0, 3.0, 5.0]])
    zK = f.forward(params, z)
    got = f.inverse(params, zK)
    assert got[0, :2] == pytest.approx(z[0, :2])
    close([f.forward(params, got)], [zK], 1e-14)


def test_permute_takes_the_coordinates_in_the_order_given():
    assert Permute([2, 0, 1]).forward({}, np.array([[10.0, 20.0, 30.0]])).tolist() == [[30, 10, 20]]


@pytest.mark.parametrize("order", [[0, 0], [1, 2], [0.5, 1.5]])
def test_permute_refuses_what_is_no_permutation(order):
    with pytest.raises(ValueError, match=r"^order: expected a permutation of 0\.\.1, got \["):
        Permute(order)


def test_permute_refuses_nothing():
    with pytest.raises(ValueError, match=r"^dim: expected a whole number of at least 1, got 0"):
        Permute([])


def test_orthogonal_keeps_lengths_and_is_drawn_uniformly():
    """A uniform Q in the plane turns e_1 by a uniform angle, and reflects half of the time."""
    rng = np.random.default_rng(0)
    Q = np.array([Orthogonal.random(2, rng).matrix for _ in range(4000)])
    angle = np.arctan2(Q[:, 1, 0], Q[:, 0, 0])
    # the mean of e^{i k angle} is 0 +- 1/sqrt(4000) for a uniform angle: five sigma is 0.08
    for k in (1, 2, 3, 4):
        assert abs(np.exp(1j * k * angle).mean()) < 0.08
    assert abs(np.sign(np.linalg.det(Q)).mean()) < 0.08


@pytest.mark.parametrize(
    "matrix, message",
    [
        (np.ones((2, 2)), r"^matrix: expected Q Q\^T = I, got a largest deviation of 2"),
        (np.ones((2, 3)), r"^matrix: expected shape \(\.\.\., d, d\), got shape \(2, 3\)"),
        (np.full((2, 2), np.nan), r"^matrix: expected Q Q\^T = I, got a largest deviation of nan"),
        (np.zeros((0, 0)), "^dim: expected a whole number of at least 1, got 0"),
    ],
)
def test_orthogonal_refuses_other_matrices(matrix, message):
    with pytest.raises(ValueError, match=message):
        Orthogonal(matrix)


def test_chain_applies_the_first_listed_first():
    shift, double = Affine(1), Affine(1)
    params = [
        {"mean": np.array([1.0]), "log_scale": np.array([0.0])},
        {"mean": np.array([0.0]), "log_scale": np.array([np.log(2.0)])},
    ]
    assert Chain([shift, double]).forward(params, np.zeros((1, 1))).item() == pytest.approx(2.0)


def test_chain_adds_the_log_dets_of_its_maps():
    f, params, z, _ = example("Chain")
    total = 0.0
    for part, p in zip(f.maps, params, strict=True):
        z_next, term = part.forward_and_log_det(p, z)
        z, total = z_next, total + term
    _, _, z, _ = example("Chain")
    assert np.array_equal(f.forward_and_log_det(params, z)[1], total)


def test_a_planar_chain_is_the_planar_stack():
    f, params, z, _ = example("Planar", length=3)
    layers = Chain([Planar(3, 1)] * 3)
    split = [{name: p[k : k + 1] for name, p in params.items()} for k in range(3)]
    close(layers.forward_and_log_det(split, z), f.forward_and_log_det(params, z), 1e-13)


def test_chain_refuses_maps_and_params_that_do_not_fit():
    with pytest.raises(
        ValueError, match=r"^maps: expected one or more maps of one dim, got dims \[2, 3\]"
    ):
        Chain([Affine(2), Affine(3)])
    with pytest.raises(
        ValueError, match=r"^maps: expected one or more maps of one dim, got dims \[\]"
    ):
        Chain([])
    f = Chain([Affine(2), Planar(2, 1)])
    params = f.init(np.random.default_rng(0))
    with pytest.raises(
        ValueError, match="a list with one entry for each of the 2 maps, got a list of length 1"
    ):
        f.forward(params[:1], np.zeros((1, 2)))
    with pytest.raises(
        ValueError, match=r"params of Affine\(2\): expected a dict with .*, got \['b', 'u', 'w'\]"
    ):
        f.forward(params[::-1], np.zeros((1, 2)))


def test_params_of_another_bijection_are_refused():
    params = Planar(2, 4).init(np.random.default_rng(0))
    z = np.zeros((3, 2))
    with pytest.raises(
        ValueError,
        match=r"expected a dict with \['beta', 'log_alpha', 'z_ref'\], got \['b', 'u', 'w'\]",
    ):
        Radial(2, 4).forward(params, z)
    with pytest.raises(
        ValueError,
        match=r"params\['u'\] of Planar\(2, length=5\): expected shape \(5, 2\), or \(3, 5, 2\)"
        r" in every leaf .*, got shape \(4, 2\)",
    ):
        Planar(2, 5).forward(params, z)
    mixed = {**params, "b": np.zeros((3, 4))}
    with pytest.raises(
        ValueError, match=r"params\['b'\] of .*in every leaf for one set .* per row"
    ):
        Planar(2, 4).forward(mixed, z)


def test_inverse_swaps_the_directions():
    f, params, z, _ = example("Chain")
    close(Inverse(f).forward_and_log_det(params, z), f.inverse_and_log_det(params, z), 0.0)
    close(Inverse(Inverse(f)).forward_and_log_det(params, z), f.forward_and_log_det(params, z), 0.0)


@every
def test_repr_names_the_map_and_its_dim(name):
    f = BIJECTIONS[name](3, 2)
    assert repr(f).startswith(type(f).__name__) and any(c.isdigit() for c in repr(f))


def test_third_derivatives_come_from_the_formula():
    """call_written hands every derivative beyond the first to the plain formula."""
    f, params, z, _ = example("Planar", dim=1, length=2, n=1)

    def F(t, forward):
        return forward(params, t * z)[1][0]

    def third(forward):
        return grad(grad(grad(F)))(0.7, forward)

    assert third(f.forward_and_log_det) == pytest.approx(third(f.forward_formula), rel=1e-12)
    hessian = jacobian(jacobian(lambda z: f.forward_and_log_det(params, z)[1][0]))(z)
    expected = jacobian(jacobian(lambda z: f.forward_formula(params, z)[1][0]))(z)
    assert hessian == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["Planar", "Radial", "Coupling, affine", "ODEFlow"])
def test_a_written_pullback_is_linear_and_can_be_differentiated(name):
    """d/dg of g -> J^T g is J: here g is traced by autograd, and the points are not."""
    f, params, z, g = example(name, dim=2, n=2)
    pull = make_vjp(lambda z: f.forward(params, z), z)[0]
    J = jacobian(lambda z: f.forward(params, z))(z)
    assert jacobian(pull)(g[0]) == pytest.approx(np.transpose(J, (2, 3, 0, 1)), abs=1e-12)


def test_pullback_by_autograd_of_any_traceable_map():
    _, _, pullback = pullback_by_autograd(
        lambda params, z: (params["a"] * z, anp.log(params["a"]) * anp.ones(len(z))),
        {"a": np.array(2.0)},
        np.ones((3, 1)),
    )
    g_params, g_z = pullback(np.ones((3, 1)), np.ones(3))
    assert g_params["a"] == pytest.approx(3 + 3 / 2) and g_z.tolist() == [[2.0]] * 3


@every
@pytest.mark.parametrize("single", ["params", "points"])
def test_dtypes_mix_by_numpys_promotion(name, single):
    """float32 data meets float64 parameters, or the other way round: the answer is float64's."""
    f, params, z, g = example(name)
    if not tree_leaves(params):
        return
    params, z = cast(params, np.float32), z.astype(np.float32)
    wide = cast(params, np.float64), z.astype(float)
    mixed = (params, wide[1]) if single == "params" else (wide[0], z)
    for got, expected in zip(everything(f, *mixed, g), everything(f, *wide, g), strict=True):
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)


@every
@pytest.mark.parametrize("wrong", [lambda p: p.astype(int), lambda p: p.tolist()])
def test_parameters_are_floating_arrays_or_a_clear_error(name, wrong):
    f, params, z, _ = example(name)
    if not tree_leaves(params):
        return
    params = tree_unflatten(params, (wrong(p) for _, p in tree_leaves(params)))
    for method in (f.forward, f.inverse, f.forward_with_pullback):
        with pytest.raises(ValueError, match=r"a floating array, got (dtype int64|a list)"):
            method(params, z)


@every
def test_maps_can_be_pickled_and_copied(name):
    f, params, z, _ = example(name)
    for twin in (pickle.loads(pickle.dumps(f)), copy.deepcopy(f)):
        close(everything(twin, params, z, (z, z[:, 0])), everything(f, params, z, (z, z[:, 0])), 0)
