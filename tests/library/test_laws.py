"""The laws of a bijection, asked of every map that laws.py lists."""

import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads
from hypothesis import given
from hypothesis import strategies as st

import nflib_min
from nflib_min import (
    Bijection,
    Flow,
    Inverse,
    StandardNormal,
    checks,
)
from nflib_min._trees import tree_leaves, tree_unflatten
from nflib_min.amortized import ConditionalNICE
from tests.library.examples import N, both_dtypes, both_shapes, close, every, everything, example
from tests.library.laws import (
    APPROXIMATE,
    BIJECTIONS,
    arrays_of,
    cast,
    copied,
    dims,
    lengths,
    repeat_rows,
    row_of,
    scalar_of,
    seeds,
)


def test_no_bijection_is_forgotten():
    def subclasses(kind):
        return {kind}.union(*map(subclasses, kind.__subclasses__()))

    def parts(f):
        inner = [*getattr(f, "maps", []), *([f.bijection] if isinstance(f, Inverse) else [])]
        return {type(f)}.union(*map(parts, inner))

    library = nflib_min.__name__
    public = {c for c in subclasses(Bijection) if c.__module__.startswith(library)}
    bounded = f"{library}.constraints"  # their images are not R^d: see test_constraints.py
    public -= {c for c in public if c.__module__ == bounded}
    public -= {ConditionalNICE}  # of its parameters only b can be per row: see test_amortized.py
    tested = set().union(*(parts(make(2, 2)) for make in BIJECTIONS.values()))
    assert tested == public - {Bijection}


# --------------------------------------------------------------------------------------- the laws
@pytest.mark.slow
@every
@both_shapes
@given(seed=seeds, dim=dims, length=lengths, scale=st.sampled_from([0.1, 0.5, 1.0]))
def test_inverse_and_log_det(name, per_row, seed, dim, length, scale):
    """Round trip, and ln|det| of the two directions cancel, at any dimension and length."""
    f, params, z, _ = example(name, dim, length, per_row, scale, seed)
    tolerance = 100 * APPROXIMATE.get(name, 1e-9)
    assert checks.round_trip_error(f, params, z) <= tolerance
    assert checks.round_trip_error(Inverse(f), params, z) <= tolerance
    assert checks.log_det_cancellation(f, params, z) <= tolerance


@every
@both_shapes
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_log_det_is_that_of_the_jacobian(name, per_row, dim):
    f, params, z, _ = example(name, dim, per_row=per_row)
    log_det = f.forward_and_log_det(params, z)[1]
    tolerance = APPROXIMATE.get(name, 1e-10)
    assert np.abs(log_det - checks.log_det_by_autodiff(f, params, z)).max() <= tolerance
    assert np.abs(log_det - checks.log_det_by_differences(f, params, z)).max() <= 1e-5


@every
@both_shapes
def test_batch_is_a_loop_over_rows(name, per_row):
    f, params, z, g = example(name, per_row=per_row)
    zK, log_det, pullback = f.forward_with_pullback(params, z)
    g_params, g_z = pullback(*g)
    sums = None
    for i in range(N):
        own = row_of(params, i) if per_row else params
        zK_i, log_det_i, pullback_i = f.forward_with_pullback(own, z[i : i + 1])
        g_own, g_z_i = pullback_i(g[0][i : i + 1], g[1][i : i + 1])
        close([zK_i[0], log_det_i, g_z_i[0]], [zK[i], log_det[i : i + 1], g_z[i]])
        if per_row:
            close(arrays_of(g_own), arrays_of(row_of(g_params, i)))
        else:
            rows = arrays_of(g_own)
            sums = rows if sums is None else [a + b for a, b in zip(sums, rows, strict=True)]
    if not per_row:
        close(sums, arrays_of(g_params))


@every
def test_equal_rows_are_a_global_set(name):
    f, params, z, g = example(name)
    rows = repeat_rows(params, N)
    for method in (f.forward_and_log_det, f.inverse_and_log_det):
        close(method(rows, z), method(params, z))
    (g_rows, g_z), (g_params, g_z_too) = (
        f.forward_with_pullback(p, z)[2](*g) for p in (rows, params)
    )
    close([g_z, *(a.sum(axis=0) for a in arrays_of(g_rows))], [g_z_too, *arrays_of(g_params)])


@every
@both_shapes
@given(seed=seeds, dim=dims, length=lengths, scale=st.sampled_from([0.1, 1.0, 3.0]))
def test_pullback_is_autograds_of_the_formula(name, per_row, seed, dim, length, scale):
    f, params, z, _ = example(name, dim, length, per_row, scale, seed, n=3)
    with np.errstate(over="ignore"):  # autograd divides by cosh^2, which may be inf
        # the inverse of steep layers is ill-conditioned, by autograd as by hand
        assert checks.pullback_error(f, params, z) <= (1e-7 if scale < 3.0 else 1e-5)
    if hasattr(f, "formula"):
        close(f.forward_and_log_det(params, z), f.forward_formula(params, z))


@every
@both_shapes
def test_pullback_is_the_slope_by_differences(name, per_row):
    """Along random directions in parameters and points together."""
    f, params, z, g = example(name, per_row=per_row)
    F = scalar_of(f, g)
    g_params, g_z = f.forward_with_pullback(params, z)[2](*g)
    rng = np.random.default_rng(1)
    for _ in range(4):
        step = tree_unflatten(
            params, (rng.standard_normal(p.shape) for _, p in tree_leaves(params))
        )
        dz = rng.standard_normal(z.shape)

        def at(t, step=step, dz=dz):
            pairs = zip(arrays_of(params), arrays_of(step), strict=True)
            moved = tree_unflatten(params, (p + t * d for p, d in pairs))
            return F(moved, z + t * dz)

        # two central differences, combined so that their errors of order t^2 cancel
        t = 1e-3
        slope = (8 * (at(t) - at(-t)) - (at(2 * t) - at(-2 * t))) / (12 * t)
        inner = zip(arrays_of(g_params), arrays_of(step), strict=True)
        expected = sum((a * b).sum() for a, b in inner) + (g_z * dz).sum()
        assert slope == pytest.approx(expected, rel=1e-5, abs=1e-5)


@every
@both_shapes
def test_autograd_differentiates_through_it_twice(name, per_row):
    f, params, z, g = example(name, dim=2, length=2, per_row=per_row, n=2)
    F = scalar_of(f, g)
    check_grads(lambda z: F(params, z), modes=["rev"], order=2)(z)
    if arrays_of(params):
        check_grads(lambda p: F(p, z), modes=["rev"], order=2)(params)


@every
def test_autograd_uses_the_same_gradient_for_user_code(name):
    f, params, z, g = example(name)
    F = scalar_of(f, g)
    g_params, g_z = f.forward_with_pullback(params, z)[2](*g)
    close([grad(F, 1)(params, z)], [g_z])
    if arrays_of(params):
        close(arrays_of(grad(F)(params, z)), arrays_of(g_params))


@every
@both_shapes
@both_dtypes
@given(
    seed=seeds,
    dim=dims,
    length=lengths,
    scale=st.sampled_from([10.0, 100.0]),
    far=st.sampled_from([1.0, 1e3, 1e6]),
)
def test_finite_far_out(name, per_row, dtype, seed, dim, length, scale, far):
    """Parameters of size 10 to 100, points at up to a million: finite, and of the same dtype."""
    f, params, z, g = example(name, dim, length, per_row, scale, seed, dtype=dtype)
    with np.errstate(over="ignore"):
        for array in everything(f, params, (far * z).astype(dtype), g):
            assert array.dtype == dtype
            assert np.isfinite(array).all()


@every
@both_shapes
def test_float32_all_the_way(name, per_row):
    """Single precision stays single, and agrees with double precision to its own."""
    f, params, z, g = example(name, per_row=per_row, dtype=np.float32)
    got = everything(f, params, z, g)
    double = (cast(params, np.float64), z.astype(float), tuple(x.astype(float) for x in g))
    assert {array.dtype for array in got} == {np.dtype(np.float32)}
    close([a.astype(float) for a in got], everything(f, *double), 2e-3)
    if not isinstance(f, Inverse):  # that one is traced, and autograd's own `where` makes doubles
        assert grad(scalar_of(f, g), 1)(params, z).dtype == np.float32


@pytest.mark.slow
@every
@both_shapes
@pytest.mark.parametrize("dim", [1, 2])
def test_the_density_integrates_to_one(name, per_row, dim):
    """By quadrature through the true inverse: no sample and no log-det of the forward map."""
    if name == "Leapfrog" and dim == 2:
        dim = 1  # its points are (z, w): two columns for d = 1
    f, params, _, _ = example(name, dim, length=2, scale=0.3)
    flow = Flow(StandardNormal(f.dim), f)
    cells = 300 if f.dim == 2 else 2000

    def log_q(z):
        return flow.log_prob(repeat_rows(params, len(z)) if per_row else params, z)

    mass = checks.total_mass(log_q, limits=(-12.0, 12.0), points=cells, dim=f.dim)
    assert mass == pytest.approx(1, abs=5e-5)  # a radial map's density has a cusp at its centre


# ---------------------------------------------------------------- what belongs to whom
@every
@both_shapes
def test_nothing_given_is_changed(name, per_row):
    """Read-only arguments: a write anywhere in the library would raise."""
    f, params, z, g = example(name, per_row=per_row)
    expected = everything(f, params, z, g)
    for array in arrays_of(params, z, list(g)):
        array.setflags(write=False)
    close(everything(f, params, z, g), expected, 0.0)


@every
@both_shapes
def test_a_result_that_is_kept_never_changes(name, per_row):
    f, params, z, g = example(name, per_row=per_row)
    zK, log_det, pullback = f.forward_with_pullback(params, z)
    kept = [*everything(f, params, z, g), zK, log_det, *arrays_of(*pullback(*g))]
    before = copied(kept)
    for seed in (1, 2):
        _, other, elsewhere, g_other = example(name, per_row=per_row, seed=seed)
        everything(f, other, elsewhere, g_other)
        grad(scalar_of(f, g_other), 1)(other, elsewhere)
    close(kept, before, 0.0)
    close(arrays_of(*pullback(*g)), arrays_of(*f.forward_with_pullback(params, z)[2](*g)), 0.0)


@every
@both_shapes
def test_writing_into_a_result_reaches_nothing_else(name, per_row):
    f, params, z, g = example(name, per_row=per_row)
    zK, log_det, pullback = f.forward_with_pullback(params, z)
    expected = copied(arrays_of(*pullback(*g)))
    given = copied(arrays_of(params, z, list(g)))
    for array in [zK, log_det, *arrays_of(*pullback(*g))]:
        array[...] = np.nan
    close(arrays_of(*pullback(*g)), expected, 0.0)
    close(arrays_of(params, z, list(g)), given, 0.0)


@every
@both_shapes
def test_memory_layout_does_not_matter(name, per_row):
    f, params, z, g = example(name, per_row=per_row)
    expected = everything(f, params, z, g)

    def strided(x):
        spread = np.zeros([2 * size for size in x.shape])
        spread[tuple(slice(None, None, 2) for _ in x.shape)] = x
        return spread[tuple(slice(None, None, 2) for _ in x.shape)]

    for layout in (np.asfortranarray, strided, lambda x: x[::-1].copy()[::-1]):
        args = tree_unflatten([params, z, *g], (layout(x) for x in arrays_of(params, z, list(g))))
        close(everything(f, args[0], args[1], args[2:]), expected, 1e-12)


@every
@both_shapes
@pytest.mark.parametrize("n", [0, 1])
def test_none_and_one_row(name, per_row, n):
    f, params, z, g = example(name, per_row=per_row, n=n)
    zK, log_det, pullback = f.forward_with_pullback(params, z)
    g_params, g_z = pullback(*g)
    assert zK.shape == g_z.shape == f.forward(params, z).shape == f.inverse(params, z).shape
    assert zK.shape == (n, f.dim) and log_det.shape == (n,)
    assert [a.shape for a in arrays_of(g_params)] == [a.shape for a in arrays_of(params)]
    assert f.inverse_and_log_det(params, z)[1].shape == (n,)


def test_long_batches_are_cut_into_pieces_without_a_seam():
    f, params, z, _ = example("Planar", n=9001)
    zK, log_det = f.forward_and_log_det(params, z)
    rows = [f.forward_and_log_det(params, z[i : i + 1]) for i in (0, 4095, 4096, 8191, 8192, 9000)]
    at = [0, 4095, 4096, 8191, 8192, 9000]
    close(
        [np.concatenate([r[0] for r in rows]), np.concatenate([r[1] for r in rows])],
        [zK[at], log_det[at]],
    )
