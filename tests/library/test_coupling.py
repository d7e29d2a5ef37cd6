"""Couplings: half of the points stays, the other half moves, and the mixing brings all to move."""

import numpy as np
import pytest

from nflib_min import Affine, Coupling, Orthogonal, Permute, checks, nice, real_nvp
from tests.library.laws import params_for


def coupling(dim=4, length=1, affine=True, scale=0.7, **options):
    rng = np.random.default_rng(0)
    f = Coupling(dim, length, affine=affine, hidden=(6,), **options)
    return f, params_for(f, rng, scale), rng.standard_normal((10, dim))


def still(dim, length):
    """A mixing that mixes nothing."""
    return np.broadcast_to(np.eye(dim), (length, dim, dim)).copy()


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("affine", [False, True])
def test_one_layer_is_the_papers(dim, affine):
    """z_A stays; z_B -> e^s z_B + t with (t, s) from one network of z_A alone."""
    f, params, z = coupling(dim, affine=affine, mixing=still(dim, 1))
    z_A, z_B = z[:, : dim // 2], z[:, dim // 2 :]
    h = np.tanh(z_A @ params["W0"][0] + params["b0"][0])
    out = h @ params["W1"][0] + params["b1"][0]
    t = out[:, : dim - dim // 2]
    s = 2 * np.tanh(out[:, dim - dim // 2 :] / 2) if affine else np.zeros_like(t)
    zK, log_det = f.forward_and_log_det(params, z)
    assert np.array_equal(zK[:, : dim // 2], z_A)
    assert zK[:, dim // 2 :] == pytest.approx(np.exp(s) * z_B + t, abs=1e-13)
    assert log_det == pytest.approx(s.sum(axis=1), abs=1e-13)


@pytest.mark.parametrize("mixing", ["permutation", "orthogonal"])
def test_nice_preserves_volume_but_for_its_scaling(mixing):
    rng = np.random.default_rng(0)
    f = nice(3, 4, rng, mixing=mixing, hidden=(6,))
    params, z = params_for(f, rng, 0.7), rng.standard_normal((10, 3))
    scales = [p["log_scale"] for p in params if "log_scale" in p]
    assert len(scales) == 1 and isinstance(f.maps[-1], Affine)
    assert f.forward_and_log_det(params, z)[1] == pytest.approx(
        np.full(10, scales[0].sum()), abs=1e-13
    )
    # the Jacobian agrees: it is not a log-det that was only claimed
    assert checks.log_det_by_autodiff(f, params, z) == pytest.approx(
        np.full(10, scales[0].sum()), abs=1e-10
    )


@pytest.mark.parametrize("mixing", ["permutation", "orthogonal"])
def test_the_mixing_is_fixed_and_not_learned(mixing):
    """Drawn once from the rng given: the same seed gives the same map; params hold none of it."""
    one, two, other = (nice(4, 3, np.random.default_rng(s), mixing, (5,)) for s in (0, 0, 1))
    params = one.init(np.random.default_rng(5))
    z = np.random.default_rng(6).standard_normal((4, 4))
    assert np.array_equal(one.forward(params, z), two.forward(params, z))
    assert not np.allclose(one.forward(params, z), other.forward(params, z))


@pytest.mark.parametrize(
    "make",
    [
        lambda: real_nvp(4, 3, hidden=(5,)),
        lambda: nice(4, 12, np.random.default_rng(1), hidden=(5,)),
        lambda: nice(4, 3, np.random.default_rng(1), mixing="orthogonal", hidden=(5,)),
    ],
)
def test_every_coordinate_moves_every_other(make):
    """After a few mixed layers the Jacobian has no zero left."""
    f = make()
    rng = np.random.default_rng(0)
    params, z = params_for(f, rng, 1.0), rng.standard_normal((1, 4))
    step = 1e-5
    J = [
        (f.forward(params, z + step * e) - f.forward(params, z - step * e)) / (2 * step)
        for e in np.eye(4)
    ]
    assert (np.abs(np.concatenate(J)) > 1e-6).all()


def test_a_permuted_nice_never_leaves_the_same_half_at_rest():
    """In two dimensions a random permutation could be the identity: then z_A would never move."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        f = nice(2, 1, rng, hidden=(3,))
        params, z = params_for(f, rng, 1.0), rng.standard_normal((1, 2))
        Q = f.forward(params, z + np.array([0.0, 1.0])) - f.forward(params, z)
        assert abs(Q[0, 0]) > 0.05 and abs(Q[0, 1]) < 1e-12


@pytest.mark.parametrize("dim", [2, 3, 4, 7])
def test_a_permutation_brings_something_new_to_rest(dim):
    """Else the same half would move in both layers, and nothing would ever move the other."""
    for seed in range(30):
        Q = nice(dim, 1, np.random.default_rng(seed), hidden=()).maps[0].mixing[0]
        assert Q[: dim // 2, dim // 2 :].any()


def test_length_one_at_dim_one_is_a_shift_and_a_scale():
    f, params, z = coupling(dim=1, mixing=still(1, 1))
    zK, log_det = f.forward_and_log_det(params, z)
    assert np.ptp(log_det) == 0
    assert np.ptp(zK - np.exp(log_det)[:, None] * z) < 1e-12


def test_a_layer_stretches_by_at_most_e_squared():
    """The bound that keeps a deep stack finite: |s| <= 2, whatever the network says."""
    f, params, z = coupling(scale=1000.0)
    log_det = f.forward_and_log_det(params, 1e6 * z)[1]
    assert np.abs(log_det).max() <= 2 * 2 + 1e-12 and np.abs(log_det).max() > 1


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Coupling(0), r"^dim: expected a whole number of at least 1, got 0"),
        (lambda: Coupling(2, 0), r"^length: expected a whole number of at least 1, got 0"),
        (
            lambda: Coupling(2, hidden=(4, -1)),
            r"^sizes: expected a whole number of at least 0, got -1",
        ),
        (
            lambda: Coupling(2, 1, mixing=np.eye(2)[None] * 2),
            r"^mixing: expected Q Q\^T = I, got a largest deviation of 3",
        ),
        (
            lambda: Coupling(2, 2, mixing=np.eye(2)[None]),
            r"^mixing: expected shape \(2, 2, 2\), got \(1, 2, 2\)",
        ),
        (
            lambda: nice(2, 1, np.random.default_rng(0), mixing="rotation"),
            r"^mixing: expected 'permutation' or 'orthogonal', got 'rotation'",
        ),
        (
            lambda: nice(2, 0, np.random.default_rng(0)),
            r"^length: expected a whole number of at least 1",
        ),
        (lambda: real_nvp(2, -1), r"^length: expected a whole number of at least 1, got -1"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("mixed", ["permutation", "orthogonal"])
def test_a_mixing_is_what_separate_maps_would_do(mixed):
    """One layer with Q is the layer without, then Q, by `Permute` or `Orthogonal`."""
    order = [2, 0, 3, 1]
    Q = (
        np.eye(4)[order]
        if mixed == "permutation"
        else Orthogonal.random(4, np.random.default_rng(3)).matrix
    )
    f, params, z = coupling(mixing=Q[None])
    plain, _, _ = coupling(mixing=still(4, 1))
    after = Permute(order) if mixed == "permutation" else Orthogonal(Q)
    assert f.forward(params, z) == pytest.approx(
        after.forward({}, plain.forward(params, z)), abs=1e-14
    )
