"""Densities to fit: Table 1's energies made proper, models in closed form, and real posteriors."""

from nflib_min.targets.eight_schools import (
    eight_schools,
    eight_schools_effects,
    eight_schools_moments,
)
from nflib_min.targets.funnel import neals_funnel
from nflib_min.targets.gaussian import Gaussian, LinearGaussian
from nflib_min.targets.regression import linear_regression, logistic_regression
from nflib_min.targets.table_1 import U1, U2, U3, U4, table_1, w1, w2, w3, wall
from nflib_min.targets.target import Target

__all__ = [
    "U1",
    "U2",
    "U3",
    "U4",
    "Gaussian",
    "LinearGaussian",
    "Target",
    "eight_schools",
    "eight_schools_effects",
    "eight_schools_moments",
    "linear_regression",
    "logistic_regression",
    "neals_funnel",
    "table_1",
    "w1",
    "w2",
    "w3",
    "wall",
]
