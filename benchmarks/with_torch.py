"""The contenders on PyTorch: three flow libraries, Pyro, zuko, and the step written by hand.

Each is used as its documentation shows: the library's own base, flow and sampling, a loss, Adam.
Adam is PyTorch's fused one for all, the fastest it has for these sizes.
"""

import contextlib
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from benchmarks import cells
from benchmarks.cells import LEARNING_RATE, SHIFT, Cell, planar_answer, raw

Tensor = torch.Tensor


@contextlib.contextmanager
def drawing(z0: np.ndarray) -> Iterator[None]:
    """Every normal draw of PyTorch is z0: so the checks go the way of the timed step."""
    randn, normal, fill = torch.randn, torch.normal, Tensor.normal_
    torch.randn = torch.normal = lambda *args, **kwargs: torch.from_numpy(z0).clone()
    Tensor.normal_ = lambda self, *args: self.copy_(torch.from_numpy(z0))
    try:
        yield
    finally:
        torch.randn, torch.normal, Tensor.normal_ = randn, normal, fill


def U1(z: Tensor) -> Tensor:
    """Table 1's first energy, as a user of PyTorch would write it."""
    ring = 0.5 * ((z.norm(dim=1) - 2) / 0.4) ** 2
    left, right = ((z[:, 0] + 2) / 0.6) ** 2, ((z[:, 0] - 2) / 0.6) ** 2
    return ring - torch.logaddexp(-0.5 * left, -0.5 * right)


class Training:
    """A training loop: `loss()` draws z_0 and returns the scalar to minimise."""

    def __init__(self, loss: Callable[[], Tensor], parameters: list) -> None:
        self.loss, self.parameters = loss, list(parameters)
        self.optimizer = torch.optim.Adam(self.parameters, lr=LEARNING_RATE, fused=True)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.optimizer.zero_grad()
            self.loss().backward()
            self.optimizer.step()

    def check(self, z0: np.ndarray) -> dict:
        with drawing(z0):
            loss = self.loss()
        self.optimizer.zero_grad()
        loss.backward()
        answer = self.answer(loss.item())
        self.optimizer.zero_grad()
        return answer


def numpy_of(tensors: list[Tensor]) -> np.ndarray:
    return np.stack([t.detach().numpy().ravel() for t in tensors])


# -------------------------------------------------------------------------------- planar steps
class PlanarTraining(Training):
    """A planar flow whose layers hold u, w and b under the names given in `names`."""

    constraint = "printed"

    def __init__(self, loss: Callable, layers: list, names: tuple[str, str, str]) -> None:
        self.layers, self.names = layers, names
        super().__init__(loss, [getattr(layer, name) for layer in layers for name in names])

    def answer(self, loss: float) -> dict:
        u, w, b = ([getattr(layer, name) for layer in self.layers] for name in self.names)
        gradients = (numpy_of([p.grad for p in of]) for of in (u, w, b))
        g_u, g_w, g_b = gradients
        return planar_answer(self.constraint, loss, numpy_of(u), numpy_of(w), g_u, g_w, g_b.ravel())

    def learned(self) -> dict:
        """u, w and b of all layers."""
        u, w, b = (numpy_of([getattr(x, name) for x in self.layers]) for name in self.names)
        return {"u": u, "w": w, "b": b.ravel()}


def normflows_planar(cell: Cell, given: dict) -> tuple[object, list]:
    import normflows

    u = raw("printed", given["u_hat"], given["w"])
    layers = [
        normflows.flows.Planar((2,), u=tensor(u[k : k + 1]), w=tensor(w[None]), b=tensor([b]))
        for k, (w, b) in enumerate(zip(given["w"], given["b"], strict=True))
    ]
    base = normflows.distributions.DiagGaussian(2, trainable=False)
    target = normflows.distributions.TwoModes(2.0, 0.2)  # this is U1
    return normflows.NormalizingFlow(base, layers, target), layers


def pyro_planar(cell: Cell, given: dict) -> tuple[object, list]:
    import pyro.distributions as dist
    from pyro.distributions.transforms import planar

    u, layers = raw("printed", given["u_hat"], given["w"]), []
    for k in range(cell.length):
        layer = planar(2)
        layer.u.data, layer.w.data = tensor(u[k]), tensor(given["w"][k])
        layer.bias.data = tensor(given["b"][k : k + 1])
        layers.append(layer)
    base = dist.Normal(torch.zeros(2), torch.ones(2))
    return dist.TransformedDistribution(base, layers), layers


def planar_training(cell: Cell, name: str, given: dict) -> Training:
    if name == "normflows":
        model, layers = normflows_planar(cell, given)
        return PlanarTraining(lambda: model.reverse_kld(cell.batch), layers, ("u", "w", "b"))
    if name == "pyro":
        flow, layers = pyro_planar(cell, given)

        def loss() -> Tensor:
            flow.clear_cache()
            z = flow.rsample([cell.batch])
            return (flow.log_prob(z) + U1(z)).mean()  # log_prob remembers the way of z

        return PlanarTraining(loss, layers, ("u", "w", "bias"))
    return HandPlanar(cell, given, compiled=name == "torch-compile")


def planar_stack(u: Tensor, w: Tensor, b: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """By hand: the constraint for all layers at once, then one fused call per operation."""
    a, q = (w * u).sum(-1), (w * w).sum(-1)
    c = nn.functional.softplus(a + SHIFT) - 1
    u_hat = u + ((c - a) / q)[..., None] * w
    hs = []
    for u_k, w_k, b_k in zip(u_hat.unbind(), w.unbind(), b.unbind(), strict=True):
        h = torch.tanh(z @ w_k + b_k)
        z = torch.addr(z, h, u_k)
        hs.append(h)
    h = torch.stack(hs)  # (K, n)
    return z, torch.log1p(c[:, None] * (1 - h * h)).sum(0)


class HandPlanar(Training):
    def __init__(self, cell: Cell, given: dict, compiled: bool) -> None:
        u = raw("ours", given["u_hat"], given["w"])
        self.u, self.w, self.b = (tensor(x).requires_grad_() for x in (u, given["w"], given["b"]))

        def step(u: Tensor, w: Tensor, b: Tensor, z0: Tensor) -> Tensor:
            z, log_det = planar_stack(u, w, b, z0)
            log_q0 = -0.5 * (z0 * z0).sum(1) - math.log(2 * math.pi)
            return (log_q0 - log_det + U1(z)).mean()

        step = torch.compile(step) if compiled else step
        super().__init__(
            lambda: step(self.u, self.w, self.b, torch.randn(cell.batch, 2)),
            [self.u, self.w, self.b],
        )

    def answer(self, loss: float) -> dict:
        u, w = (p.detach().numpy() for p in (self.u, self.w))
        g_u, g_w, g_b = (p.grad.numpy().copy() for p in self.parameters)
        return planar_answer("ours", loss, u, w, g_u, g_w, g_b)

    def learned(self) -> dict:
        return {name: getattr(self, name).detach().numpy() for name in "uwb"}


# ------------------------------------------------------------------------------ coupling steps
class CouplingTraining(Training):
    """Networks 1-32-32-2, tanh, whose outputs are t and the library's own s, in `order`.

    `slope` of each network is ds/d(output of the network), which the answer is divided by.
    """

    def __init__(self, loss: Callable, networks: list, order: tuple, slopes: list) -> None:
        self.networks, self.order, self.slopes = networks, list(order), slopes
        super().__init__(loss, [p for network in networks for p in network.parameters()])

    def answer(self, loss: float) -> dict:
        answer = {"loss": np.array(loss)}
        for k, network in enumerate(self.networks):
            linears = [m for m in network.modules() if hasattr(m, "weight")]
            for i, linear in enumerate(linears):
                g_W, g_b = linear.weight.grad.numpy().T, linear.bias.grad.numpy()
                if i == len(linears) - 1:
                    over = np.array([1.0, self.slopes[k]])
                    g_W, g_b = g_W[:, self.order] / over, g_b[self.order] / over
                answer |= {f"W{k}_{i}": g_W.copy(), f"b{k}_{i}": g_b.copy()}
        return answer


def fill(network: nn.Module, k: int, given: dict, order: tuple, s: float) -> None:
    """Put layer k's weights into the linear modules of a network; s is what its bias must be."""
    linears = [m for m in network.modules() if hasattr(m, "weight")]
    for i, linear in enumerate(linears):
        W, b = given[f"W{k}_{i}"], given[f"b{k}_{i}"]
        if i == len(linears) - 1:
            b = np.array([b[0], s], b.dtype)
            W, b = W[:, list(order)], b[list(order)]
        linear.weight.data, linear.bias.data = tensor(W.T), tensor(b)


def mlp() -> nn.Sequential:
    a, b = cells.HIDDEN
    return nn.Sequential(nn.Linear(1, a), nn.Tanh(), nn.Linear(a, b), nn.Tanh(), nn.Linear(b, 2))


class Net(nn.Module):
    """nflows calls its networks with a context."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp()

    def forward(self, x: Tensor, context: object = None) -> Tensor:
        return self.body(x)


def coupling_training(cell: Cell, name: str, given: dict) -> Training:
    last = len(cells.HIDDEN)
    s = [float(given[f"b{k}_{last}"][1]) for k in range(cell.length)]
    n, order = cell.batch, (0, 1)
    if name == "normflows":  # s is the output itself
        import normflows

        networks, biases, slopes, flows = [], s, [1.0] * len(s), []
        for _ in s:
            networks.append(mlp())
            flows += [
                normflows.flows.AffineCouplingBlock(networks[-1], scale_map="exp"),
                normflows.flows.Permute(2, mode="swap"),
            ]
        base = normflows.distributions.DiagGaussian(2, trainable=False)
        target = normflows.distributions.TwoModes(2.0, 0.2)  # this is U1
        model = normflows.NormalizingFlow(base, flows, target)
        loss = lambda: model.reverse_kld(n)  # noqa: E731
    elif name == "nflows":  # e^s = sigmoid(output + 2) + 0.001, which is below 1.001
        from nflows.distributions.normal import StandardNormal
        from nflows.flows.base import Flow
        from nflows.transforms import (
            AffineCouplingTransform,
            CompositeTransform,
            InverseTransform,
            ReversePermutation,
        )

        sigmoid = [math.exp(x) - 1e-3 for x in s]
        biases = [math.log(p / (1 - p)) - 2 for p in sigmoid]
        slopes = [p * (1 - p) / math.exp(x) for p, x in zip(sigmoid, s, strict=True)]
        transforms, networks = [], []
        for _ in s:
            coupling = AffineCouplingTransform([0, 1], lambda rows, columns: Net())
            networks.append(coupling.transform_net)
            transforms += [coupling, ReversePermutation(2)]
        # its forward direction is towards the noise: turned round, sampling is the direct way
        flow = Flow(InverseTransform(CompositeTransform(transforms)), StandardNormal([2]))
        loss = with_log_q(lambda: flow.sample_and_log_prob(n))
    else:  # zuko: s = x / (1 + |x / ln 0.001|)
        import zuko
        from zuko.flows.coupling import GeneralCouplingTransform

        L = abs(math.log(1e-3))
        biases = [x / (1 - abs(x) / L) for x in s]
        slopes = [1 / (1 + abs(x) / L) ** 2 for x in biases]
        couplings = [
            GeneralCouplingTransform(
                2,
                mask=torch.tensor([k % 2 == 0, k % 2 == 1]),
                hidden_features=cells.HIDDEN,
                activation=nn.Tanh,
            )
            for k in range(cell.length)
        ]
        networks = [coupling.hyper for coupling in couplings]
        base = zuko.lazy.UnconditionalDistribution(
            zuko.distributions.DiagNormal, torch.zeros(2), torch.ones(2), buffer=True
        )
        # turned round as for nflows; masks that alternate stand for the swaps
        flow = zuko.lazy.Flow([coupling.inv for coupling in reversed(couplings)], base)
        loss = with_log_q(lambda: flow().rsample_and_log_prob((n,)))
    for k, network in enumerate(networks):
        fill(network, k, given, order, biases[k])
    return CouplingTraining(loss, networks, order, slopes)


def with_log_q(draw: Callable[[], tuple[Tensor, Tensor]]) -> Callable[[], Tensor]:
    def loss() -> Tensor:
        z, log_q = draw()
        return (log_q + U1(z)).mean()

    return loss


# ---------------------------------------------------------------------------------- throughput
class Throughput:
    def __init__(self, cell: Cell, name: str, given: dict) -> None:
        n, sampling = cell.batch, cell.kind == "sampling"
        if name == "normflows":
            model, _ = normflows_planar(cell, given)
            self.once = (lambda: model.sample(n)[0]) if sampling else (lambda: model.sample(n))
        else:
            flow, _ = pyro_planar(cell, given)

            def both() -> tuple[Tensor, Tensor]:
                flow.clear_cache()
                z = flow.sample([n])
                return z, flow.log_prob(z)

            self.once = (lambda: flow.sample([n])) if sampling else both

    def run(self, steps: int) -> None:
        with torch.no_grad():
            for _ in range(steps):
                self.once()

    def check(self, z0: np.ndarray) -> dict:
        from benchmarks.with_numpy import throughput_answer

        with torch.no_grad(), drawing(z0):
            result = self.once()
        parts = result if isinstance(result, tuple) else (result,)
        parts = tuple(part.numpy() for part in parts)
        return throughput_answer(parts if len(parts) > 1 else parts[0])


# ----------------------------------------------------------------------------------- amortized
class AmortizedTraining(Training):
    """The inference network, its planar flow per row and the decoder, by hand."""

    def __init__(self, cell: Cell, given: dict, compiled: bool) -> None:
        n, d, K = cell.batch, cells.LATENT, cell.length
        x = tensor(given["x"])
        outputs = 2 * d + (2 * d + 1) * K
        sizes = {
            "encoder": (cells.PIXELS, cells.UNITS, outputs),
            "decoder": (d, cells.UNITS, cells.PIXELS),
        }
        self.networks = {}
        for name, (i, h, o) in sizes.items():
            network = nn.Sequential(nn.Linear(i, h), nn.ReLU(), nn.Linear(h, o))
            for k in (0, 1):
                network[2 * k].weight.data = tensor(given[f"{name}_W{k}"].T)
                network[2 * k].bias.data = tensor(given[f"{name}_b{k}"])
            self.networks[name] = network
        encoder, decoder = self.networks.values()

        def step(eps: Tensor) -> Tensor:
            mean, s, u, w, b = encoder(x).split([d, d, K * d, K * d, K], dim=1)
            u, w, b = u.view(n, K, d) / K, w.view(n, K, d) / K, b / K
            a, q = (w * u).sum(-1), (w * w).sum(-1)
            c = nn.functional.softplus(a + SHIFT) - 1
            u_hat = u + ((c - a) / q)[..., None] * w
            z, hs = mean + s.exp() * eps, []
            for u_k, w_k, b_k in zip(u_hat.unbind(1), w.unbind(1), b.unbind(1), strict=True):
                h = torch.tanh((w_k * z).sum(1) + b_k)
                z = z + u_k * h[:, None]
                hs.append(h)
            h = torch.stack(hs, 1)
            log_det = s.sum(1) + torch.log1p(c * (1 - h * h)).sum(1)
            nll = nn.functional.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
            # ln q_0 - ln p(z): their constants cancel
            return (0.5 * (z * z).sum(1) - 0.5 * (eps * eps).sum(1) - log_det).mean() + nll / n

        step = torch.compile(step) if compiled else step
        super().__init__(
            lambda: step(torch.randn(n, d)),
            [p for network in self.networks.values() for p in network.parameters()],
        )

    def answer(self, loss: float) -> dict:
        answer = {"loss": np.array(loss)}
        for name, network in self.networks.items():
            for k in (0, 1):
                answer[f"{name}_W{k}"] = network[2 * k].weight.grad.numpy().T.copy()
                answer[f"{name}_b{k}"] = network[2 * k].bias.grad.numpy().copy()
        return answer


def tensor(x: object) -> Tensor:
    return torch.tensor(np.ascontiguousarray(x), dtype=torch.get_default_dtype())


def build(cell: Cell, name: str, given: dict) -> object:
    """The contender of this name: check(z0) answers, run(steps) is what is timed."""
    torch.set_num_threads(1)
    torch.set_default_dtype(getattr(torch, cell.dtype))
    if cell.kind == "planar":
        return planar_training(cell, name, given)
    if cell.kind == "coupling":
        return coupling_training(cell, name, given)
    if cell.kind == "amortized":
        return AmortizedTraining(cell, given, compiled=name == "torch-compile")
    return Throughput(cell, name, given)
