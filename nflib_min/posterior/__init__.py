"""From a log-density to a checked posterior in one call: fit, measure, and say what it is worth."""

from nflib_min.posterior.fit_posterior import fit_posterior
from nflib_min.posterior.hmc import Chains, short_chains, split_r_hat
from nflib_min.posterior.result import Posterior, Stage

__all__ = ["Chains", "Posterior", "Stage", "fit_posterior", "short_chains", "split_r_hat"]
