"""Amortized inference: a deep latent Gaussian model, and a network that gives x its own flow.

x is always observed data, (n, pixels); z is latent, (n, d). The parameters of everything are one
dict: "model" (theta: the decoder), "network" (phi: the inference network) and "flow" (the part of
the flow's parameters that all x share, if any).
"""

from nflib_min.amortized.conditional_nice import ConditionalNICE
from nflib_min.amortized.evidence import log_evidence, log_weights
from nflib_min.amortized.likelihood import Bernoulli
from nflib_min.amortized.model import DeepLatentGaussianModel
from nflib_min.amortized.network import InferenceNetwork
from nflib_min.amortized.objective import AmortizedFreeEnergy, free_energies, init

__all__ = [
    "AmortizedFreeEnergy",
    "Bernoulli",
    "ConditionalNICE",
    "DeepLatentGaussianModel",
    "InferenceNetwork",
    "free_energies",
    "init",
    "log_evidence",
    "log_weights",
]
