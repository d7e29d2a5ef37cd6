"""All that the live figures take from nflib_min, in one place."""

import numpy as np

from nflib_min import Flow, Planar, Radial, StandardNormal
from nflib_min.checks import grid, kl_by_quadrature
from nflib_min.continuous import ODEFlow
from nflib_min.diffusions import fokker_planck, fokker_planck_rates
from nflib_min.objectives import FreeEnergy, kl_to_target
from nflib_min.planar import planar_layer, planar_root
from nflib_min.targets import Gaussian, LinearGaussian, table_1
from nflib_min.training import cosine_decay, fit
from notebooks.mistakes import FixedPoint

__all__ = [
    "FixedPoint",
    "Flow",
    "FreeEnergy",
    "Gaussian",
    "ODEFlow",
    "Planar",
    "Radial",
    "StandardNormal",
    "clock",
    "cosine_decay",
    "fit",
    "fokker_planck",
    "fokker_planck_rates",
    "grid",
    "kl_by_quadrature",
    "kl_to_target",
    "planar_layer",
    "planar_root",
    "table_1",
]


def clock() -> LinearGaussian:
    """The model of notebook 01: the reading x = 2 of z_1 + z_2 with noise of deviation 0.5."""
    return LinearGaussian(np.array([[1.0, 1.0]]), noise=0.5, x=np.array([2.0]))
