"""A small training problem, and what it means that two runs are the same."""

import autograd.numpy as anp
import numpy as np

from nflib_min import Affine, Chain, Flow, Planar, StandardNormal
from nflib_min.objectives import FreeEnergy, inverse_temperature
from nflib_min.targets import table_1
from tests.library.laws import arrays_of, cast


def rng(seed=0):
    return np.random.default_rng(seed)


def problem(batch=16, dtype=np.float64):
    """A free energy with annealing, and the parameters to start from."""
    flow = Flow(StandardNormal(2), Chain([Affine(2), Planar(2, 3)]))
    loss = FreeEnergy(flow, table_1("U2"), batch, annealing=lambda t: inverse_temperature(t, 50))
    return loss, cast(flow.init(rng()), dtype)


def bowl(params, rng, step):
    """A noisy bowl: the loss of a plain function, differentiated by autograd."""
    return anp.sum((params["x"] - 3.0) ** 2) + anp.sum(params["x"] * rng.standard_normal(2))


def same(one, two):
    """Equal to the last bit, in parameters and trace."""
    pairs = zip(arrays_of(one.params), arrays_of(two.params), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert all(np.array_equal(one.history[key], two.history[key]) for key in one.history)
