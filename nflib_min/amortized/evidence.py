"""ln p(x): estimated from importance weights."""

import math

import numpy as np

from nflib_min._arrays import Array, Params, check_dim, describe
from nflib_min.amortized.model import DeepLatentGaussianModel
from nflib_min.amortized.network import InferenceNetwork


def log_weights(
    params: Params,
    model: DeepLatentGaussianModel,
    network: InferenceNetwork,
    x: Array,
    samples: int,
    rng: np.random.Generator,
) -> Array:
    r"""$\ln w = \ln p(x, z_K) - \ln q_K(z_K | x)$ of `samples` draws for every x, (n, samples).

    The mean over a row is the ELBO of that x, $-F(x)$; the log of a row's mean weight estimates
    ln p(x): `log_evidence`. ValueError on samples < 1, or an x that the model does not take.

    >>> from nflib_min.amortized import init
    >>> model = DeepLatentGaussianModel(2, 4, hidden=(8,))
    >>> network = InferenceNetwork(4, 2, hidden=(8,))
    >>> params = init(model, network, np.random.default_rng(0))
    >>> log_w = log_weights(params, model, network, np.eye(4), 50, np.random.default_rng(1))
    >>> log_w.shape
    (4, 50)

    Source: Rezende & Mohamed (2015), section 6.1.
    """
    check_images(model, network, x)
    check_dim(samples, "samples")
    dtype = params["model"]["W0"].dtype.type
    out = network.encoder(params["network"], x.astype(dtype))
    log_w = np.empty((len(x), samples), dtype)
    for i, row in enumerate(x.astype(dtype)):
        # all draws of one x share its parameters: they are global to them, without a row axis
        flow_params = [
            {name: p[0] if name in network.shapes else p for name, p in part.items()}
            for part in network.flow_params(out[i : i + 1], params["flow"])
        ]
        z0 = network.base.sample(samples, rng, dtype)
        zK, log_det = network.bijection.forward_and_log_det(flow_params, z0)
        decoded = model.decoder(params["model"], zK)
        log_w[i] = model.likelihood.log_prob(decoded, row[None]) + model.prior.log_prob(zK)
        log_w[i] -= network.base.log_prob(z0) - log_det
    return log_w


def log_evidence(log_w: Array) -> Array:
    r"""$\ln \frac1S \sum_s w_s$ of every row: the importance-sampling estimate of ln p(x), (n,).

    Its expectation is a lower bound too, tighter with every sample, and never below the ELBO.

    >>> log_evidence(np.log(np.array([[1.0, 3.0]]))).round(4)
    array([0.6931])

    Source: Rezende & Mohamed (2015), section 6.1 (200 samples); Burda et al. (2015), eq. (8).
    """
    log_w = np.asarray(log_w, dtype=float)
    return np.logaddexp.reduce(log_w, axis=1) - math.log(log_w.shape[1])


def check_images(model: DeepLatentGaussianModel, network: InferenceNetwork, x: Array) -> None:
    """ValueError unless x is (n, pixels) and of values that the model takes."""
    if (model.dim, model.pixels) != (network.dim, network.pixels):
        raise ValueError(f"network: expected the sizes of {model}, got {network}")
    if not isinstance(x, np.ndarray) or x.ndim != 2 or x.shape[1] != model.pixels or not len(x):
        raise ValueError(f"x: expected shape (n, {model.pixels}), got {describe(x)}")
    model.likelihood.check(x)
