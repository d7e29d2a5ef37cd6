r"""Amortized inference: a deep latent Gaussian model, and a network that gives x its own flow.

x is always observed data, (n, pixels); z is latent, (n, d). The parameters of everything are one
dict: "model" (theta: the decoder), "network" (phi: the inference network) and "flow" (the part of
the flow's parameters that all x share, if any).
"""

import math
from collections.abc import Callable

import autograd.numpy as np
import numpy as onp

from nflib_min._arrays import (
    Array,
    Params,
    check_dim,
    check_finite,
    check_points,
    describe,
    is_traced,
    untraced,
)
from nflib_min.bijections import Affine, Bijection
from nflib_min.coupling import mixing_order
from nflib_min.distributions import StandardNormal, score
from nflib_min.flow import Chain
from nflib_min.networks import MLP
from nflib_min.pullback import Pullback, register
from nflib_min.radial import softplus


# ------------------------------------------------------------------------------- p(x | z)
class Bernoulli:
    r"""Binary pixels: $\ln p(x|z) = \sum_i x_i \ell_i - \ln(1 + e^{\ell_i})$, logits l from z.

    >>> Bernoulli().log_prob(onp.zeros((1, 2)), onp.array([[0.0, 1.0]])).round(4)  # 2 ln(1/2)
    array([-1.3863])

    Source: Rezende & Mohamed (2015), section 6.2 (binarised digits).
    """

    outputs = 1  # of the decoder, per pixel

    def log_prob(self, out: Array, x: Array) -> Array:
        """ln p(x|z), shape (n,), from the decoder's output, shape (n, pixels)."""
        if is_traced((out, x)):
            return np.sum(x * out - softplus(out), axis=1)
        return self.log_prob_and_grad(out, x)[0]

    def log_prob_and_grad(self, out: Array, x: Array) -> tuple[Array, Array]:
        r"""ln p(x|z) and its gradient x - sigmoid(l), shape (n, pixels), from one tanh.

        With $t = \tanh(l/2)$: $\sigma(l) = \tfrac12(1 + t)$ and $\ln p = \sum_i (x_i - \tfrac12)
        l_i - \tfrac12 |l_i| + \ln \tfrac12(1 + |t_i|)$, whose last factors are in [1/2, 1].
        """
        half = onp.multiply(out, 0.5)
        t = onp.tanh(half)
        centred = onp.subtract(x, 0.5, dtype=out.dtype)
        log_p = onp.einsum("np,np->n", onp.broadcast_to(centred, out.shape), out)
        log_p -= onp.einsum("np->n", onp.abs(half, out=half))
        factors = onp.abs(t, out=half)
        factors += 1
        factors *= 0.5
        log_p += _log_of_product(factors)
        t *= 0.5
        return log_p, onp.subtract(centred, t, out=t)

    def mean(self, out: Array) -> Array:
        """E[x|z] = sigmoid(l), shape (n, pixels)."""
        return onp.exp(-softplus(-out))

    def sample(self, out: Array, rng: onp.random.Generator) -> Array:
        """Draw x given z: zeros and ones, shape (n, pixels)."""
        return (rng.random(out.shape, dtype=out.dtype) < self.mean(out)).astype(out.dtype)

    def check(self, x: Array) -> None:
        """ValueError unless x holds probabilities or pixels, all in [0, 1]."""
        if not (onp.min(x) >= 0 and onp.max(x) <= 1):
            raise ValueError(f"x: expected values in [0, 1], got {onp.min(x)} to {onp.max(x)}")


class LogitNormal:
    r"""Pixels in (0, 1) whose logit $y = \ln x - \ln(1-x)$ is $N(m, s^2)$, m and ln s from z.

    $\ln p(x|z) = \sum_i -\tfrac12 ((y_i - m_i) / s_i)^2 - \ln s_i - \tfrac12 \ln 2\pi
    - \ln x_i - \ln(1 - x_i)$, whose last two terms are the change of variables.

    >>> half = onp.array([[0.5]])  # logit 0, and dy/dx = 4
    >>> LogitNormal().log_prob(onp.zeros((1, 2)), half).round(4)  # ln 4 - ln(2 pi) / 2
    array([0.4674])

    Source: Rezende & Mohamed (2015), section 6.3 (natural images).
    """

    outputs = 2

    def log_prob(self, out: Array, x: Array) -> Array:
        """ln p(x|z), shape (n,), from the decoder's output (m, ln s), shape (n, 2 pixels)."""
        m, log_s = out[:, : x.shape[1]], out[:, x.shape[1] :]
        y = np.log(x) - np.log1p(-x)
        e = (y - m) * np.exp(-log_s)
        jacobian = np.log(x) + np.log1p(-x) + 0.5 * math.log(2 * math.pi)
        return np.sum(-0.5 * e**2 - log_s - jacobian, axis=1)

    def log_prob_and_grad(self, out: Array, x: Array) -> tuple[Array, Array]:
        """ln p(x|z) and its gradient: e / s with respect to m, e^2 - 1 with respect to ln s."""
        m, log_s = out[:, : x.shape[1]], out[:, x.shape[1] :]
        over_s = onp.exp(-log_s)
        e = (onp.log(x) - onp.log1p(-x) - m) * over_s
        return self.log_prob(out, x), onp.concatenate([e * over_s, e * e - 1], axis=1)

    def mean(self, out: Array) -> Array:
        """The median of x given z, sigmoid(m), shape (n, pixels); the mean has no closed form."""
        return onp.exp(-softplus(-out[:, : out.shape[1] // 2]))

    def sample(self, out: Array, rng: onp.random.Generator) -> Array:
        """Draw x given z, shape (n, pixels)."""
        m, log_s = onp.split(out, 2, axis=1)
        y = m + onp.exp(log_s) * rng.standard_normal(m.shape, dtype=m.dtype)
        return onp.exp(-softplus(-y))

    def check(self, x: Array) -> None:
        """ValueError unless x lies strictly between 0 and 1, where its logit is finite."""
        if not (onp.min(x) > 0 and onp.max(x) < 1):
            raise ValueError(f"x: expected values inside (0, 1), got {onp.min(x)} to {onp.max(x)}")


def _log_of_product(factors: Array) -> Array:
    """sum ln over axis 1 of factors in [1/2, 1]: eight, at least 2^-8, share one logarithm."""
    for _ in range(3):
        half, odd = divmod(factors.shape[1], 2)
        rest = factors[:, 2 * half :]
        factors = factors[:, :half] * factors[:, half : 2 * half]
        if odd:
            factors = onp.concatenate([factors, rest], axis=1)
    return onp.log(factors).sum(axis=1)


# ------------------------------------------------------------------------------- p(x, z)
class DeepLatentGaussianModel:
    r"""One layer of latents: $p(x, z) = p(x | f(z))\, N(z | 0, I)$, f a network, the decoder.

    Parameters
    ----------
    dim : d, size of z. pixels : size of x. hidden : sizes of the decoder's rectified layers.
    likelihood : `Bernoulli()` or `LogitNormal()`.

    >>> model = DeepLatentGaussianModel(dim=2, pixels=4, hidden=(8,))
    >>> rng = onp.random.default_rng(0)
    >>> model.sample(model.init(rng), 3, rng).shape
    (3, 4)

    Source: Rezende & Mohamed (2015), eq. (4) with L = 1, as in section 6.2.
    """

    def __init__(
        self,
        dim: int,
        pixels: int,
        hidden: tuple[int, ...] = (400,),
        likelihood: Bernoulli | LogitNormal | None = None,
    ) -> None:
        self.dim, self.pixels = check_dim(dim), check_dim(pixels, "pixels")
        self.likelihood = Bernoulli() if likelihood is None else likelihood
        self.prior = StandardNormal(dim)
        self.decoder = MLP((dim, *hidden, pixels * self.likelihood.outputs), "relu")

    def init(self, rng: onp.random.Generator) -> dict:
        """theta, with a small last layer: at first every z explains x alike."""
        return self.decoder.init(rng, last_scale=0.1)

    def log_joint(self, theta: dict, x: Array, z: Array) -> Array:
        """ln p(x, z) = ln p(x|z) + ln p(z), shape (n,), in nats."""
        return self.likelihood.log_prob(self.decoder(theta, z), x) + self.prior.log_prob(z)

    def sample(self, theta: dict, n: int, rng: onp.random.Generator) -> Array:
        """New x, shape (n, pixels): z from the PRIOR, never from the posterior's flow, then x."""
        z = self.prior.sample(check_dim(n, "n"), rng, theta["W0"].dtype.type)
        return self.likelihood.sample(self.decoder(theta, z), rng)

    def __repr__(self) -> str:
        return (
            f"DeepLatentGaussianModel({self.dim}, {self.pixels}, {type(self.likelihood).__name__})"
        )


# ------------------------------------------------------------------------------- q(z | x)
class ConditionalNICE(Bijection):
    r"""K additive couplings whose hidden units are shifted by x: NICE inside an inference network.

    $z_k = Q_k\,(z_A,\; z_B + V_k^\top \tanh(W_k^\top z_A + b_k(x)))$, which preserves volume:
    $\ln|\det| = 0$. z_A is the first floor(d/2) coordinates, Q_k a fixed random permutation.

    Parameters
    ----------
    dim : d, at least 2. length : K. rng : draws the permutations, once. hidden : units H a layer.

    params: W (K, A, H), V (K, H, B), and b (K, H) or, one set a row, (n, K, H).
    Errors: ValueError on dim < 2, wrong shapes, NaN or inf.

    >>> f = ConditionalNICE(4, length=2, rng=onp.random.default_rng(0), hidden=8)
    >>> zK, log_det = f.forward_and_log_det(f.init(onp.random.default_rng(1)), onp.ones((3, 4)))
    >>> zK.shape, log_det
    ((3, 4), array([0., 0., 0.]))

    Source: Rezende & Mohamed (2015), eqs. (16)-(17), with amortized b; Dinh et al., NICE (2014).
    """

    amortized = ("b",)

    def __init__(self, dim: int, length: int, rng: onp.random.Generator, hidden: int = 40) -> None:
        self.dim, self.length = check_dim(dim, least=2), check_dim(length, "length")
        self.split = dim // 2
        self.orders = [mixing_order(dim, rng) for _ in range(length)]
        self.shapes = {
            "W": (length, self.split, check_dim(hidden, "hidden")),
            "V": (length, hidden, dim - self.split),
            "b": (length, hidden),
        }

    def init(self, rng: onp.random.Generator) -> dict:
        """W ~ N(0, 1/A), b ~ N(0, 1), and V small: near the identity, times the permutations."""
        W, V, b = (rng.standard_normal(shape) for shape in self.shapes.values())
        return {"W": W / math.sqrt(self.split), "V": 0.01 * V, "b": b}

    def forward_formula(self, params: dict, z0: Array) -> tuple[Array, Array]:
        z = z0
        for k, order in enumerate(self.orders):
            h = np.tanh(np.dot(z[:, : self.split], params["W"][k]) + params["b"][..., k, :])
            moved = z[:, self.split :] + np.dot(h, params["V"][k])
            z = np.concatenate([z[:, : self.split], moved], axis=1)[:, order]
        return z, 0 * z0[:, 0]

    def inverse_formula(self, params: dict, zK: Array) -> tuple[Array, Array]:
        z = zK
        for k in reversed(range(self.length)):
            z = z[:, onp.argsort(self.orders[k])]
            h = np.tanh(np.dot(z[:, : self.split], params["W"][k]) + params["b"][..., k, :])
            moved = z[:, self.split :] - np.dot(h, params["V"][k])
            z = np.concatenate([z[:, : self.split], moved], axis=1)
        return z, 0 * zK[:, 0]

    def sweep(
        self, params: dict, z0: Array, s0: Array | None = None, weight: float | Array = 1.0
    ) -> tuple[Array, Array, Pullback, Array | None]:
        r"""Back through a layer, with G = dF/dz_k Q_k: e = (G_B V^T) (1 - h^2) is dF/d(b_k), then
        dF/dW = z_A^T e, dF/dV = h^T G_B and G_A <- G_A + e W^T.

        The score s_K if s_0 is given: J has ones on its diagonal, so s_A <- s_A - W ((1 - h^2)
        (V s_B)), s_B stays, and Q permutes both.
        """
        W, V, b = params["W"], params["V"], params["b"]
        split, H, A, z = self.split, [], [], z0.copy()
        s = None if s0 is None else s0.copy()
        for k, order in enumerate(self.orders):
            A.append(z[:, :split])
            h = A[k] @ W[k]
            h += b[..., k, :]
            H.append(onp.tanh(h, out=h))
            z[:, split:] += h @ V[k]
            z = z[:, order]
            if s is not None:
                e = s[:, split:] @ V[k].T
                e *= 1 - h * h
                s[:, :split] -= e @ W[k].T
                s = s[:, order]

        def pullback(g_zK: Array, g_log_det: Array) -> tuple[dict, Array]:
            g = {name: onp.empty_like(params[name]) for name in self.shapes}
            G = g_zK
            for k in reversed(range(self.length)):
                back = onp.empty_like(G)
                back[:, self.orders[k]] = G
                G, h = back, H[k]
                e = G[:, split:] @ V[k].T
                e *= 1 - h * h
                g["W"][k], g["V"][k] = A[k].T @ e, h.T @ G[:, split:]
                g["b"][..., k, :] = e if b.ndim == 3 else e.sum(axis=0)
                G[:, :split] += e @ W[k].T
            return g, G

        return z, onp.zeros_like(z0[:, 0]), pullback, s

    def _check(self, params: dict, z: Array, name: str) -> bool:
        check_points(z, self.dim, name)
        plain = untraced(params)
        if not isinstance(plain, dict) or plain.keys() != self.shapes.keys():
            got = sorted(plain) if isinstance(plain, dict) else describe(plain)
            raise ValueError(f"params of {self}: expected a dict with {[*self.shapes]}, got {got}")
        for leaf, shape in self.shapes.items():
            value = untraced(plain[leaf])
            per_row = (len(z), *shape) if leaf == "b" else shape
            if onp.shape(value) not in (shape, per_row):
                raise ValueError(
                    f"params[{leaf!r}] of {self}: expected shape {shape}"
                    f"{f' or {per_row}' if leaf == 'b' else ''}, got {describe(value)}"
                )
            check_finite(value, f"params[{leaf!r}] of {self}")
        return False

    def __repr__(self) -> str:
        return f"ConditionalNICE({self.dim}, length={self.length}, hidden={self.shapes['b'][1]})"


register(ConditionalNICE, lambda f, *arguments: f.sweep(*arguments))


class InferenceNetwork:
    r"""$q(z|x)$: a network gives x its own $q_0 = N(\mu(x), \mathrm{diag}\,\sigma^2(x))$ and flow.

    The output is cut into mu, ln sigma and K times the flow's parameters lambda(x), and
    $z_K = f_{\lambda(x)}(\mu(x) + \sigma(x) \odot z_0)$ with $z_0 \sim N(0, I)$. The factor K keeps
    the flow as a whole from moving K times as far as mu in one step of Adam, since the K layers
    act one after the other.

    Parameters
    ----------
    pixels, dim : sizes of x and z. hidden : sizes of the network's rectified layers.
    flow : a bijection with `shapes` (Planar, Radial, ConditionalNICE), or None for q_0 alone.
    amortized : True if the network gives the flow's parameters (of a ConditionalNICE its b);
        False if all x share them, params["flow"].

    >>> from nflib_min import Planar
    >>> network = InferenceNetwork(pixels=4, dim=2, flow=Planar(2, length=3), hidden=(8,))
    >>> network.outputs  # 2 + 2 for mu and ln sigma, 3 (2 + 2 + 1) for u, w, b
    19

    Source: Rezende & Mohamed (2015), section 4.2 and figure 2.
    """

    def __init__(
        self,
        pixels: int,
        dim: int,
        flow: Bijection | None = None,
        hidden: tuple[int, ...] = (400,),
        amortized: bool = True,
    ) -> None:
        self.pixels, self.dim = check_dim(pixels, "pixels"), check_dim(dim)
        if flow is not None and flow.dim != dim:
            raise ValueError(f"flow: expected dim {dim}, got {flow}")
        self.flow, self.base = flow, StandardNormal(dim)
        self.bijection = Chain([Affine(dim)] if flow is None else [Affine(dim), flow])
        shapes = {} if flow is None else flow.shapes
        given = getattr(flow, "amortized", tuple(shapes)) if amortized else ()
        self.amortized = tuple(name for name in shapes if name in given)
        self.shapes = {"mean": (dim,), "log_scale": (dim,)}
        self.shapes |= {name: shapes[name] for name in self.amortized}
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        self.cuts, self.outputs = onp.cumsum(sizes)[:-1], sum(sizes)
        self.scale = onp.ones(self.outputs)  # of the outputs, before they are cut
        self.scale[2 * dim :] /= getattr(flow, "length", 1)
        self.encoder = MLP((pixels, *hidden, self.outputs), "relu")

    def init(self, rng: onp.random.Generator) -> tuple[dict, dict]:
        """phi and the global part of the flow: at first the same q near N(0, I) for every x.

        The flow's own start becomes the bias of the last layer. A vector w in d dimensions is
        scaled to length about 1, so that w.z + b keeps to the bend of tanh.
        """
        phi, start = self.encoder.init(rng, last_scale=0.1), {}
        if self.flow is not None:
            start = self.flow.init(rng)
            if "w" in start:
                start["w"] = start["w"] / math.sqrt(self.dim)
        zeros = [onp.zeros(2 * self.dim)]
        bias = zeros + [start[name].ravel() for name in self.amortized]
        phi[f"b{self.encoder.depth - 1}"] = onp.concatenate(bias) / self.scale
        return phi, {name: start[name] for name in start if name not in self.amortized}

    def flow_params(self, out: Array, shared: dict) -> list:
        """The parameters of `bijection`, one set a row, cut from the network's output (n, ...)."""
        ends = [*self.cuts.tolist(), self.outputs]
        out = out * self.scale.astype(untraced(out).dtype)
        leaves = {
            name: np.reshape(out[:, start:end], (len(out), *shape))
            for (name, shape), start, end in zip(
                self.shapes.items(), [0, *ends[:-1]], ends, strict=True
            )
        }
        affine = {name: leaves.pop(name) for name in ("mean", "log_scale")}
        if self.flow is None:
            return [affine]
        both = leaves | {name: shared[name] for name in self.flow.shapes if name not in leaves}
        return [affine, {name: both[name] for name in self.flow.shapes}]

    def gather(self, g_flow_params: list) -> tuple[Array, dict]:
        """The way back of `flow_params`: the gradients of the output, (n, ...), and of `shared`."""
        leaves = {name: g for part in g_flow_params for name, g in part.items()}
        n = len(leaves["mean"])
        rows = [onp.moveaxis(leaves.pop(name), 0, -1).reshape(-1, n) for name in self.shapes]
        g_out = onp.concatenate(rows).T
        g_out *= self.scale.astype(g_out.dtype)
        return g_out, leaves

    def __repr__(self) -> str:
        return f"InferenceNetwork({self.pixels}, {self.dim}, {self.flow})"


def init(
    model: DeepLatentGaussianModel,
    network: InferenceNetwork,
    rng: onp.random.Generator,
    dtype: type = onp.float64,
) -> dict:
    """The parameters of model, network and flow in one dict, of one dtype.

    >>> model = DeepLatentGaussianModel(2, 4, hidden=(8,))
    >>> params = init(model, InferenceNetwork(4, 2, hidden=(8,)), onp.random.default_rng(0))
    >>> [*params]
    ['model', 'network', 'flow']
    """
    theta = model.init(rng)
    phi, shared = network.init(rng)
    parts = {"model": theta, "network": phi, "flow": shared}
    return {
        part: {name: value.astype(dtype) for name, value in leaves.items()}
        for part, leaves in parts.items()
    }


# ------------------------------------------------------------------------------- F(x) and ln p(x)
def free_energy(
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
    >>> params = init(model, network, onp.random.default_rng(0))
    >>> free_energy(params, model, network, onp.ones((3, 4)), onp.zeros((3, 2))).shape
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
    model, network : as in `free_energy`. x : (n, pixels), any dtype, n >= batch.
    batch : images a step. annealing : step -> beta_t, None for 1. seed : of the epochs' orders.
    draw : (rows of x, rng) -> (batch, pixels), if x is grey and its binary pixels are to be drawn
        anew at each meeting; rng depends on `seed` and the step alone. None takes x as it is.
    path_gradient : leave out the term of the gradient whose mean is 0, as in `FreeEnergy`; the
        network then meets the score of q(z|x) at z_K, which the sweep gathers on its way.

    Errors: ValueError on shapes or values of x that the model does not take.

    >>> model = DeepLatentGaussianModel(2, 4, hidden=(8,))
    >>> loss = AmortizedFreeEnergy(model, InferenceNetwork(4, 2, hidden=(8,)), onp.eye(4), batch=2)
    >>> params = init(model, loss.network, onp.random.default_rng(0))
    >>> value, gradient = loss.value_and_grad(params, onp.random.default_rng(0), step=0)
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
        draw: Callable[[Array, onp.random.Generator], Array] | None = None,
        path_gradient: bool = False,
    ) -> None:
        if draw is None:
            _check_x(model, network, x)
        self.batch, self.steps_per_epoch = check_dim(batch, "batch"), len(x) // batch
        if self.steps_per_epoch == 0:
            raise ValueError(f"batch: expected at most the {len(x)} rows of x, got {batch}")
        self.model, self.network, self.x = model, network, x
        self.annealing, self.seed, self.draw = annealing, seed, draw
        self.path_gradient = path_gradient
        self._epoch, self._order = None, None
        if draw is not None:
            _check_x(model, network, self.minibatch(0))

    def minibatch(self, step: int) -> Array:
        """The images of this step, shape (batch, pixels)."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            order = onp.random.default_rng([self.seed, epoch]).permutation(len(self.x))
            self._epoch, self._order = epoch, order
        x = self.x[self._order[position * self.batch : (position + 1) * self.batch]]
        if self.draw is None:
            return x
        return self.draw(x, onp.random.default_rng([self.seed, 1, step]))

    def value_and_grad(
        self, params: Params, rng: onp.random.Generator, step: int, out: Params | None = None
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
            bad = [name for name, term in terms.items() if not onp.isfinite(term).all()]
            raise FloatingPointError(
                f"step {step}: expected a finite free energy, got {value} from {', '.join(bad)}"
            )

        g_decoded *= -beta / n
        g_model, g_zK = decoder_back(g_decoded)
        g_zK += zK * dtype(beta / n)
        g_log_det = onp.full(n, 0 if self.path_gradient else -1 / n, dtype)
        if self.path_gradient:
            g_zK += sK / n
        g_flow_params, _ = flow_back(g_zK, g_log_det)
        g_out, g_shared = network.gather(g_flow_params)
        g_network, _ = encoder_back(g_out)
        return value, {"model": g_model, "network": g_network, "flow": g_shared}


def log_weights(
    params: Params,
    model: DeepLatentGaussianModel,
    network: InferenceNetwork,
    x: Array,
    samples: int,
    rng: onp.random.Generator,
) -> Array:
    r"""$\ln w = \ln p(x, z_K) - \ln q_K(z_K | x)$ of `samples` draws for every x, (n, samples).

    The mean over a row is the ELBO of that x, $-F(x)$; the log of a row's mean weight estimates
    ln p(x): `log_evidence`.

    >>> model = DeepLatentGaussianModel(2, 4, hidden=(8,))
    >>> network = InferenceNetwork(4, 2, hidden=(8,))
    >>> params = init(model, network, onp.random.default_rng(0))
    >>> log_w = log_weights(params, model, network, onp.eye(4), 50, onp.random.default_rng(1))
    >>> log_w.shape
    (4, 50)

    Source: Rezende & Mohamed (2015), section 6.1.
    """
    _check_x(model, network, x)
    check_dim(samples, "samples")
    dtype = params["model"]["W0"].dtype.type
    out = network.encoder(params["network"], x.astype(dtype))
    log_w = onp.empty((len(x), samples), dtype)
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

    >>> log_evidence(onp.log(onp.array([[1.0, 3.0]]))).round(4)
    array([0.6931])

    Source: Rezende & Mohamed (2015), section 6.1 (200 samples); Burda et al. (2015), eq. (8).
    """
    log_w = onp.asarray(log_w, dtype=float)
    return onp.logaddexp.reduce(log_w, axis=1) - math.log(log_w.shape[1])


def _check_x(model: DeepLatentGaussianModel, network: InferenceNetwork, x: Array) -> None:
    if (model.dim, model.pixels) != (network.dim, network.pixels):
        raise ValueError(f"network: expected the sizes of {model}, got {network}")
    if not isinstance(x, onp.ndarray) or x.ndim != 2 or x.shape[1] != model.pixels or not len(x):
        raise ValueError(f"x: expected shape (n, {model.pixels}), got {describe(x)}")
    model.likelihood.check(x)
