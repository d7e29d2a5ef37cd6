"""Normalizing flows for variational inference: the paper's mathematics, one equation a function.

In the order of the story: a base density, maps, their composition, a target, the free energy, its
minimization, and from a log-density to a checked posterior in one call.
"""

import importlib
import importlib.util

from nflib_min.bijections import Affine, Bijection, Orthogonal, Permute, TriangularAffine
from nflib_min.coupling import Coupling, nice, real_nvp
from nflib_min.distributions import StandardNormal, Uniform
from nflib_min.flow import Chain, Flow, Inverse
from nflib_min.objectives import FreeEnergy, inverse_temperature, kl_to_target
from nflib_min.planar import Planar
from nflib_min.posterior import Posterior, fit_posterior
from nflib_min.radial import Radial
from nflib_min.targets import Target, table_1
from nflib_min.training import cosine_decay, fit

if importlib.util.find_spec("nflib_min.fast"):  # kernels; without them autograd does their work
    importlib.import_module("nflib_min.fast")

__version__ = "0.1.0"
__all__ = [  # noqa: RUF022  (the order is the story's, not the alphabet's)
    "StandardNormal",
    "Uniform",
    "Bijection",
    "Affine",
    "TriangularAffine",
    "Permute",
    "Orthogonal",
    "Planar",
    "Radial",
    "Coupling",
    "nice",
    "real_nvp",
    "Chain",
    "Inverse",
    "Flow",
    "Target",
    "table_1",
    "FreeEnergy",
    "inverse_temperature",
    "fit",
    "cosine_decay",
    "kl_to_target",
    "fit_posterior",
    "Posterior",
]
