"""Every bijection's constructor, once: the laws of test_bijections.py run over this dict.

A new map is added here, with one line, and gets all the laws. Each constructor takes (dim, length)
and returns a map; the tests ask the map itself for its `dim`.
"""

import autograd.numpy as anp
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from nflib_min import (
    Affine,
    Chain,
    Coupling,
    Inverse,
    Orthogonal,
    Permute,
    Planar,
    Radial,
    TriangularAffine,
    nice,
    real_nvp,
)
from nflib_min._trees import tree_leaves, tree_unflatten
from nflib_min.continuous import Leapfrog, ODEFlow
from nflib_min.posterior.necks import Uncentred
from tests import ROOT

# the same examples at every run, none remembered in a file, and no time asserted
settings.register_profile(
    "laws", derandomize=True, deadline=None, max_examples=25, database=None, print_blob=False
)
settings.load_profile("laws")
set_hypothesis_home_dir(ROOT / "build" / "hypothesis")


def permutation(dim):
    return np.random.default_rng(dim).permutation(dim)


def orthogonal(dim):
    return Orthogonal.random(dim, np.random.default_rng(dim))


def ripple(z):
    """The gradient of the energy |z|^2 / 2 - sum cos(z): a bowl with waves."""
    return z + anp.sin(z)


def uncentred(dim):
    """Coordinate 0 is the logarithm of a scale, the others walk from one to the next."""
    members = np.arange(1, dim)
    rng, walk = np.random.default_rng(dim), np.eye(dim)[members - 1]
    walk[:1] = 0.0
    a, b = rng.uniform(0.5, 2.0, (2, dim - 1))
    data = np.zeros((dim - 1, dim))
    data[:, 0] = 0.3
    return Uncentred(dim, 0, 2, 0.1, members, a, b, walk, 0.2 * a, data, 0.3 * b)


BIJECTIONS = {
    "Affine": lambda dim, length: Affine(dim),
    "TriangularAffine": lambda dim, length: TriangularAffine(dim),
    "Permute": lambda dim, length: Permute(permutation(dim)),
    "Orthogonal": lambda dim, length: orthogonal(dim),
    "Planar": lambda dim, length: Planar(dim, length),
    "Planar, printed": lambda dim, length: Planar(dim, length, gain=1.0),
    "Radial": lambda dim, length: Radial(dim, length),
    "Coupling, additive": lambda dim, length: Coupling(
        dim, min(length, 3), affine=False, hidden=(8,)
    ),
    "Coupling, affine": lambda dim, length: Coupling(dim, min(length, 3), hidden=(8, 8)),
    "Coupling, linear": lambda dim, length: Coupling(dim, hidden=()),
    "real_nvp": lambda dim, length: real_nvp(dim, min(length, 3), hidden=(4,)),
    "nice, permutation": lambda dim, length: nice(
        dim, min(length, 3), np.random.default_rng(dim), hidden=(4,)
    ),
    "nice, orthogonal": lambda dim, length: nice(
        dim, min(length, 3), np.random.default_rng(dim), mixing="orthogonal", hidden=(4,)
    ),
    "Leapfrog": lambda dim, length: Leapfrog(ripple, dim, step_size=0.1, steps=min(length, 4)),
    "ODEFlow": lambda dim, length: ODEFlow(dim, width=min(length, 4), steps=16),
    "Uncentred": lambda dim, length: uncentred(dim),
    "Chain": lambda dim, length: Chain(
        [Affine(dim), Permute(permutation(dim)), Planar(dim, length), Radial(dim, 2)]
    ),
    "Chain of chains": lambda dim, length: Chain(
        [Chain([Permute(permutation(dim)), orthogonal(dim)]), Chain([Planar(dim, length)])]
    ),
    "Inverse of Affine": lambda dim, length: Inverse(Affine(dim)),
    "Inverse of TriangularAffine": lambda dim, length: Inverse(TriangularAffine(dim)),
    "Inverse of Planar": lambda dim, length: Inverse(Planar(dim, length)),
    "Inverse of Radial": lambda dim, length: Inverse(Radial(dim, length)),
    "Inverse of Coupling": lambda dim, length: Inverse(Coupling(dim, 2, hidden=(4,))),
    "Inverse of Chain": lambda dim, length: Inverse(
        Chain([TriangularAffine(dim), Planar(dim, length), Inverse(Radial(dim, 1))])
    ),
}

# RK4 integrates the map and its log-determinant to O(N^-4), not to rounding
APPROXIMATE = {"ODEFlow": 1e-4}


def params_for(bijection, rng, scale=0.5, rows=None, dtype=np.float64):
    """The map's own start plus noise of size `scale`; one set per row if `rows` is given.

    Logarithms of scales get at most noise of size 5: e^100 is a number that float32 does not have.
    """
    start = bijection.init(rng)
    arrays = []
    for name, p in tree_leaves(start):
        size = min(scale, 5.0) if "log" in name else scale
        shape = p.shape if rows is None else (rows, *p.shape)
        arrays.append((p + size * rng.standard_normal(shape)).astype(dtype))
    return tree_unflatten(start, iter(arrays))


def repeat_rows(params, rows):
    """The same parameters, one set per row."""
    copies = (np.broadcast_to(p, (rows, *p.shape)).copy() for _, p in tree_leaves(params))
    return tree_unflatten(params, copies)


def row_of(params, i):
    """The set of row i as global parameters."""
    return tree_unflatten(params, (p[i] for _, p in tree_leaves(params)))


def cast(params, dtype):
    return tree_unflatten(params, (p.astype(dtype) for _, p in tree_leaves(params)))


def copied(params):
    return tree_unflatten(params, (p.copy() for _, p in tree_leaves(params)))


def arrays_of(*trees):
    """Every array of nested parameters, gradients and results, in a fixed order."""
    return [array for tree in trees for _, array in tree_leaves(tree)]


def points(bijection, rng, n, scale=1.0, dtype=np.float64):
    return (scale * rng.standard_normal((n, bijection.dim))).astype(dtype)


def scalar_of(bijection, weights):
    """A function (params, z0) -> one number in which z_K and log_det both count."""
    g_zK, g_log_det = weights

    def F(params, z0, forward=bijection.forward_and_log_det):
        zK, log_det = forward(params, z0)
        return (g_zK * zK).sum() + (g_log_det * log_det).sum()

    return F


def weights_for(bijection, rng, n, dtype=np.float64):
    """Incoming gradients (g_zK, g_log_det) for a pullback."""
    g = rng.standard_normal((n, bijection.dim)), rng.standard_normal(n)
    return g[0].astype(dtype), g[1].astype(dtype)


seeds = st.integers(0, 2**32 - 1)
dims = st.integers(1, 8)
lengths = st.integers(1, 16)
