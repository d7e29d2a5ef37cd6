"""q(z | x): a network that gives x its own q_0 and its own flow."""

import math

import autograd.numpy as anp
import numpy as np

from nflib_min._arrays import Array, check_dim, untraced
from nflib_min.bijections import Affine, Bijection
from nflib_min.distributions import StandardNormal
from nflib_min.flow import Chain
from nflib_min.networks import MLP


class InferenceNetwork:
    r"""$q(z|x)$: a network gives x its own $q_0 = N(\mu(x), \mathrm{diag}\,\sigma^2(x))$ and flow.

    The output is cut into mu, ln sigma and K times the flow's parameters lambda(x), and
    $z_K = f_{\lambda(x)}(\mu(x) + \sigma(x) \odot z_0)$ with $z_0 \sim N(0, I)$. The factor K keeps
    the flow as a whole from moving K times as far as mu in one step of Adam, since the K layers
    act one after the other.

    Parameters
    ----------
    pixels, dim : sizes of x and z. hidden : sizes of the network's rectified layers.
    bijection : a map with `shapes` (Planar, Radial, ConditionalNICE), or None for q_0 alone.
    amortized : True if the network gives the flow's parameters (of a ConditionalNICE its b);
        False if all x share them, params["flow"].

    Errors: ValueError on sizes < 1, or a bijection of another dim or without `shapes`.

    >>> from nflib_min import Planar
    >>> network = InferenceNetwork(pixels=4, dim=2, bijection=Planar(2, length=3), hidden=(8,))
    >>> network.outputs  # 2 + 2 for mu and ln sigma, 3 (2 + 2 + 1) for u, w, b
    19

    Source: Rezende & Mohamed (2015), section 4.2 and figure 2.
    """

    def __init__(
        self,
        pixels: int,
        dim: int,
        bijection: Bijection | None = None,
        hidden: tuple[int, ...] = (400,),
        amortized: bool = True,
    ) -> None:
        self.pixels, self.dim = check_dim(pixels, "pixels"), check_dim(dim)
        if bijection is not None and bijection.dim != dim:
            raise ValueError(f"bijection: expected dim {dim}, got {bijection}")
        if bijection is not None and not bijection.shapes:
            raise ValueError(
                "bijection: expected a map with parameters of its own in `shapes`, such as "
                f"Planar({dim}, length=8), got {bijection}"
            )
        flow = bijection
        self.flow, self.base = flow, StandardNormal(dim)
        self.bijection = Chain([Affine(dim)] if flow is None else [Affine(dim), flow])
        shapes = {} if flow is None else flow.shapes
        given = getattr(flow, "amortized", tuple(shapes)) if amortized else ()
        self.amortized = tuple(name for name in shapes if name in given)
        self.shapes = {"mean": (dim,), "log_scale": (dim,)}
        self.shapes |= {name: shapes[name] for name in self.amortized}
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        self.cuts, self.outputs = np.cumsum(sizes)[:-1], sum(sizes)
        self.scale = np.ones(self.outputs)  # of the outputs, before they are cut
        self.scale[2 * dim :] /= getattr(flow, "length", 1)
        self.encoder = MLP((pixels, *hidden, self.outputs), "relu")

    def init(self, rng: np.random.Generator) -> tuple[dict, dict]:
        """phi and the global part of the flow: at first the same q near N(0, I) for every x.

        The flow's own start becomes the bias of the last layer. A vector w in d dimensions is
        scaled to length about 1, so that w.z + b keeps to the bend of tanh.
        """
        phi, start = self.encoder.init(rng, last_scale=0.1), {}
        if self.flow is not None:
            start = self.flow.init(rng)
            if "w" in start:
                start["w"] = start["w"] / math.sqrt(self.dim)
        zeros = [np.zeros(2 * self.dim)]
        bias = zeros + [start[name].ravel() for name in self.amortized]
        phi[f"b{self.encoder.depth - 1}"] = np.concatenate(bias) / self.scale
        return phi, {name: start[name] for name in start if name not in self.amortized}

    def flow_params(self, out: Array, shared: dict) -> list:
        """The parameters of `bijection`, one set a row, cut from the network's output (n, ...)."""
        ends = [*self.cuts.tolist(), self.outputs]
        out = out * self.scale.astype(untraced(out).dtype)
        leaves = {
            name: anp.reshape(out[:, start:end], (len(out), *shape))
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
        """The gradients of the output, (n, ...), and of `shared`, from those of `flow_params`."""
        leaves = {name: g for part in g_flow_params for name, g in part.items()}
        n = len(leaves["mean"])
        rows = [np.moveaxis(leaves.pop(name), 0, -1).reshape(-1, n) for name in self.shapes]
        g_out = np.concatenate(rows).T
        g_out *= self.scale.astype(g_out.dtype)
        return g_out, leaves

    def __repr__(self) -> str:
        return f"InferenceNetwork({self.pixels}, {self.dim}, {self.flow})"
