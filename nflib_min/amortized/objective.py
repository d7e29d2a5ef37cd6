"""F(x): the loss that trains model, network and flow together."""

import math
from collections.abc import Callable

import numpy as np

from nflib_min._arrays import Array, Params, check_dim, check_finite
from nflib_min.amortized.evidence import check_images
from nflib_min.amortized.model import DeepLatentGaussianModel
from nflib_min.amortized.network import InferenceNetwork
from nflib_min.distributions import score


def init(
    model: DeepLatentGaussianModel,
    network: InferenceNetwork,
    rng: np.random.Generator,
    dtype: type = np.float64,
) -> dict:
    """The parameters of model, network and flow in one dict, of one dtype.

    >>> model = DeepLatentGaussianModel(2, 4, hidden=(8,))
    >>> params = init(model, InferenceNetwork(4, 2, hidden=(8,)), np.random.default_rng(0))
    >>> [*params]
    ['model', 'network', 'flow']

    Source: theta and phi of Rezende & Mohamed (2015), algorithm 1.
    """
    theta = model.init(rng)
    phi, shared = network.init(rng)
    parts = {"model": theta, "network": phi, "flow": shared}
    return {
        part: {name: value.astype(dtype) for name, value in leaves.items()}
        for part, leaves in parts.items()
    }


def free_energies(
    params: Params,
    model: DeepLatentGaussianModel,
    network: InferenceNetwork,
    x: Array,
    z0: Array,
    beta: float = 1.0,
) -> Array:
    r"""$F(x)$ of every row of x, from one draw z_0 a row, shape (n,), in nats.

    $F(x) = E_{q_0}[\ln q_0(z_0)] - \beta E[\ln p(x, z_K)] - E[\sum_k \ln|1 + u_k^\top\psi_k|]$,
    where q_0 is at z_0 and p at z_K. Its mean is what training minimizes.

    Parameters
    ----------
    params : from `init`. x : (n, pixels). z0 : (n, d), draws of N(0, I). beta : eq. (20).

    >>> model = DeepLatentGaussianModel(2, 4, hidden=(8,))
    >>> network = InferenceNetwork(4, 2, hidden=(8,))
    >>> params = init(model, network, np.random.default_rng(0))
    >>> free_energies(params, model, network, np.ones((3, 4)), np.zeros((3, 2))).shape
    (3,)

    Source: Rezende & Mohamed (2015), eqs. (15) and (20).
    """
    flow_params = network.flow_params(network.encoder(params["network"], x), params["flow"])
    zK, log_det = network.bijection.forward_and_log_det(flow_params, z0)
    return network.base.log_prob(z0) - beta * model.log_joint(params["model"], x, zK) - log_det


class AmortizedFreeEnergy:
    r"""The loss that `fit` minimizes: the mean of F(x) over a minibatch, one z_0 a row.

    Every epoch runs through x once in an order of its own, which depends on `seed` and the step
    alone, so that a resumed training meets the same minibatches. What is left over when n is not
    a multiple of the batch is left out of that epoch.

    Parameters
    ----------
    model, network : as in `free_energies`. x : (n, pixels), any dtype, n >= batch.
    batch : images a step. annealing : step -> beta_t, None for 1. seed : of the epochs' orders.
    draw : (rows of x, rng) -> (batch, pixels), if x is grey and its binary pixels are to be drawn
        anew at each meeting; rng depends on `seed` and the step alone. None takes x as it is.
    path_gradient : leave out the term of the gradient whose mean is 0, as in `FreeEnergy`; the
        network then meets the score of q(z|x) at z_K, which the sweep gathers on its way.

    Errors: ValueError on shapes or values of x that the model does not take.

    >>> model = DeepLatentGaussianModel(2, 4, hidden=(8,))
    >>> loss = AmortizedFreeEnergy(model, InferenceNetwork(4, 2, hidden=(8,)), np.eye(4), batch=2)
    >>> params = init(model, loss.network, np.random.default_rng(0))
    >>> value, gradient = loss.value_and_grad(params, np.random.default_rng(0), step=0)
    >>> [*gradient]
    ['model', 'network', 'flow']

    Source: Rezende & Mohamed (2015), algorithm 1 with eqs. (15) and (20).
    """

    def __init__(
        self,
        model: DeepLatentGaussianModel,
        network: InferenceNetwork,
        x: Array,
        batch: int = 100,
        annealing: Callable[[int], float] | None = None,
        seed: int = 0,
        draw: Callable[[Array, np.random.Generator], Array] | None = None,
        path_gradient: bool = False,
    ) -> None:
        if draw is None:
            check_images(model, network, x)
        self.batch, self.steps_per_epoch = check_dim(batch, "batch"), len(x) // batch
        if self.steps_per_epoch == 0:
            raise ValueError(f"batch: expected at most the {len(x)} rows of x, got {batch}")
        self.model, self.network, self.x = model, network, x
        self.annealing, self.seed, self.draw = annealing, seed, draw
        self.path_gradient = path_gradient
        self._epoch, self._order = -1, np.empty(0, int)
        if draw is not None:
            check_images(model, network, self.minibatch(0))

    def minibatch(self, step: int) -> Array:
        """The images of this step, shape (batch, pixels)."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.x))
            self._epoch, self._order = epoch, order
        x = self.x[self._order[position * self.batch : (position + 1) * self.batch]]
        if self.draw is None:
            return x
        return self.draw(x, np.random.default_rng([self.seed, 1, step]))

    def value_and_grad(
        self, params: Params, rng: np.random.Generator, step: int, out: Params | None = None
    ) -> tuple[float, Params]:
        """F at beta = 1 and the gradient of F^beta, written into `out` where that is given.

        FloatingPointError names a bad term.
        """
        network, beta = self.network, 1.0 if self.annealing is None else self.annealing(step)
        dtype = params["model"]["W0"].dtype.type
        x, n = self.minibatch(step).astype(dtype, order="F"), self.batch
        z0 = network.base.sample(n, rng, dtype)

        to = {"model": None, "network": None} if out is None else out
        outputs, encoder_back = network.encoder.with_pullback(
            params["network"], x, x_is_data=True, out=to["network"]
        )
        flow_params = network.flow_params(outputs, params["flow"])
        try:
            if self.path_gradient:
                zK, log_det, flow_back, sK = network.bijection.forward_with_score(
                    flow_params, z0, score(network.base, z0)
                )
            else:
                zK, log_det, flow_back = network.bijection.forward_with_pullback(flow_params, z0)
            check_finite(zK, "z_K")
        except ValueError as error:
            if "finite" not in str(error):
                raise
            raise FloatingPointError(f"step {step}: expected a finite z_K, got: {error}") from None
        decoded, decoder_back = self.model.decoder.with_pullback(
            params["model"], zK, out=to["model"]
        )
        log_p_x, g_decoded = self.model.likelihood.log_prob_and_grad(decoded, x)
        terms = {
            "ln q_0": network.base.log_prob(z0),
            "-ln p(x|z_K)": -log_p_x,
            "-ln p(z_K)": -self.model.prior.log_prob(zK),
            "-log_det": -log_det,
        }
        value = float(sum(term.sum(dtype=float) for term in terms.values())) / n
        if not math.isfinite(value):
            bad = [name for name, term in terms.items() if not np.isfinite(term).all()]
            raise FloatingPointError(
                f"step {step}: expected a finite free energy, got {value} from {', '.join(bad)}"
            )

        g_decoded *= -beta / n
        g_model, g_zK = decoder_back(g_decoded)
        g_zK += zK * dtype(beta / n)
        g_log_det = np.full(n, 0 if self.path_gradient else -1 / n, dtype)
        if self.path_gradient:
            g_zK += sK / n
        g_flow_params, _ = flow_back(g_zK, g_log_det)
        g_out, g_shared = network.gather(g_flow_params)
        g_network, _ = encoder_back(g_out)
        return value, {"model": g_model, "network": g_network, "flow": g_shared}
