"""Normalizing flows for variational inference: the paper's mathematics, one equation a function."""

import importlib
import importlib.util

from nflib_min.bijections import (
    Affine,
    Bijection,
    Orthogonal,
    Permute,
    TriangularAffine,
)
from nflib_min.coupling import Coupling, nice, real_nvp
from nflib_min.distributions import StandardNormal, Uniform
from nflib_min.flow import Chain, Flow, Inverse
from nflib_min.models import (
    eight_schools,
    linear_regression,
    logistic_regression,
    neals_funnel,
)
from nflib_min.planar import Planar
from nflib_min.posterior import Posterior, fit_posterior
from nflib_min.radial import Radial

if importlib.util.find_spec("nflib_min.fast"):  # kernels; without them everything is autograd's
    importlib.import_module("nflib_min.fast")

__version__ = "0.1.0"
__all__ = [
    "Affine",
    "Bijection",
    "Chain",
    "Coupling",
    "Flow",
    "Inverse",
    "Orthogonal",
    "Permute",
    "Planar",
    "Posterior",
    "Radial",
    "StandardNormal",
    "TriangularAffine",
    "Uniform",
    "eight_schools",
    "fit_posterior",
    "linear_regression",
    "logistic_regression",
    "neals_funnel",
    "nice",
    "real_nvp",
]
