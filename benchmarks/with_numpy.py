"""The contenders that need nothing but NumPy and this library, and the floor under all of them."""

import numpy as np

from benchmarks import cells
from benchmarks.cells import LEARNING_RATE, Cell, planar_answer, raw
from benchmarks.readable import ReadableFreeEnergy
from nflib_min import Flow, Planar, StandardNormal, real_nvp
from nflib_min.amortized import AmortizedFreeEnergy, DeepLatentGaussianModel, InferenceNetwork
from nflib_min.objectives import FreeEnergy
from nflib_min.planar import planar_layer
from nflib_min.targets import table_1
from nflib_min.training import fit

Array = np.ndarray
U1 = table_1("U1")


class Draws:
    """A generator whose normal draws are given: the checks go the way of the timed step."""

    def __init__(self, z0: Array) -> None:
        self.z0 = z0

    def standard_normal(self, size: tuple, dtype: type = float) -> Array:
        return self.z0.astype(dtype).reshape(size)


class Training:
    """Steps of `nflib_min.training.fit`: the public way, called once for a block of steps.

    A block starts with fresh moments of Adam: what that costs is part of the time.
    """

    def __init__(self, loss: object, params: object) -> None:
        self.loss, self.params = loss, params
        self.rng = np.random.default_rng(0)

    def run(self, steps: int) -> None:
        self.params = fit(
            self.loss,
            self.params,
            steps,
            self.rng,
            learning_rate=LEARNING_RATE,
            progress=False,
        ).params

    def value_and_grad(self, z0: Array) -> tuple[float, object]:
        return self.loss.value_and_grad(self.params, Draws(z0), 0)


# ------------------------------------------------------------------------------- planar steps
class PlanarTraining(Training):
    def __init__(self, cell: Cell, given: dict, make_loss: object) -> None:
        flow = Flow(StandardNormal(2), Planar(2, length=cell.length))
        u = raw("ours", given["u_hat"], given["w"])
        super().__init__(
            make_loss(flow, U1, cell.batch), {"u": u, "w": given["w"], "b": given["b"]}
        )

    def check(self, z0: Array) -> dict:
        value, g = self.value_and_grad(z0)
        p = self.params
        return planar_answer("ours", value, p["u"], p["w"], g["u"], g["w"], g["b"])


class PlainFreeEnergy:
    """The same loss, every operation traced by autograd: flow, log-determinants and target."""

    def __init__(self, flow: Flow, target: object, batch: int) -> None:
        from autograd import numpy as anp
        from autograd import value_and_grad

        def loss(params: dict, z0: Array) -> float:
            zK, log_det = flow.bijection.forward_formula(params, z0)
            return anp.mean(flow.base.log_prob(z0) - target.log_density(zK) - log_det)

        self.flow, self.batch, self.both = flow, batch, value_and_grad(loss)

    def value_and_grad(self, params: dict, rng: object, step: int) -> tuple[float, dict]:
        value, g = self.both(params, self.flow.base.sample(self.batch, rng, params["u"].dtype.type))
        return float(value), g


class Floor:
    """The arithmetic of a planar step and nothing else, into arrays made once.

    The matrix-vector products, multiply-adds, tanh and logarithms of the K layers there and back,
    in this library's order. Left out: drawing z_0, the constraint on u, the target, every check,
    every allocation, and Adam.
    """

    def __init__(self, cell: Cell, given: dict) -> None:
        K, n, dtype = cell.length, cell.batch, given["w"].dtype
        self.u, self.w, self.b = given["u_hat"], given["w"], given["b"]
        c = cells.dot(self.w, self.u)[:, None].astype(dtype)
        self.c, self.minus_2c, self.c_plus_1 = c, -2 * c, 1 + c
        self.Z, self.H, self.S, self.E, self.det = (
            np.empty((K + 1, 2, n), dtype),
            *np.empty((4, K, n), dtype),
        )
        self.factors = self.det.reshape(-1, min(K, 8), n)  # one logarithm for eight of them
        self.products = np.empty((len(self.factors), n), dtype)
        self.log_det, self.G, self.push = np.empty(n, dtype), *np.empty((2, 2, n), dtype)
        self.g_u, self.g_w = np.empty((K, 2), dtype), np.empty((K, 2, 1), dtype)
        self.g_b, self.g_c, self.e = np.empty(K, dtype), np.empty(K, dtype), np.empty(n, dtype)
        self.Z[0] = given["z0"].T
        self.forth = list(zip(self.w, self.b, self.u[:, :, None], self.H, self.Z, self.Z[1:]))  # noqa: B905
        self.back_ = list(
            zip(self.u, self.w[:, :, None], self.H, self.E, self.S, self.g_u, strict=True)
        )[::-1]

    def forward(self) -> None:
        for w, b, u, h, z, z_next in self.forth:
            np.dot(w, z, out=h)
            h += b
            np.tanh(h, out=h)
            np.multiply(u, h, out=z_next)
            z_next += z
        np.multiply(self.H, self.H, out=self.S)
        np.subtract(1, self.S, out=self.S)
        np.multiply(self.c, self.S, out=self.det)
        self.det += 1
        np.multiply.reduce(self.factors, axis=1, out=self.products)
        np.log(self.products, out=self.products)
        np.sum(self.products, axis=0, out=self.log_det)

    def backward(self, l: float) -> None:  # noqa: E741
        np.divide(l, self.det, out=self.E)
        np.einsum("kn,kn->k", self.E, self.S, out=self.g_c)
        self.E *= self.H
        self.E *= self.minus_2c
        for u, w, h, e, s, g_u in self.back_:
            np.dot(self.G, h, out=g_u)
            np.dot(u, self.G, out=self.e)
            e += self.e
            e *= s
            np.multiply(w, e, out=self.push)
            self.G += self.push
        np.matmul(self.Z[:-1], self.E[:, :, None], out=self.g_w)
        np.sum(self.E, axis=1, out=self.g_b)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.forward()
            self.G[:] = 1e-3
            self.backward(-1e-3)

    def check(self, z0: Array) -> dict:
        n = len(z0)
        self.Z[0] = z0.T
        self.forward()
        log_p, g_log_p = U1.log_density_and_grad(self.Z[-1].T)
        self.G[:] = -g_log_p.T / n
        self.backward(-1 / n)
        value = np.mean(StandardNormal(2).log_prob(z0) - log_p - self.log_det)
        # c = w.u_hat was taken as given, so its share joins here
        g_c = self.g_c[:, None]
        return {
            "loss": np.array(value),
            "u_hat": self.g_u + g_c * self.w,
            "w": self.g_w[..., 0] + g_c * self.u,
            "b": self.g_b,
        }


# ----------------------------------------------------------------------------- coupling steps
class CouplingTraining(Training):
    def __init__(self, cell: Cell, given: dict) -> None:
        flow = Flow(StandardNormal(2), real_nvp(2, cell.length, hidden=cells.HIDDEN))
        self.length, self.last = cell.length, len(cells.HIDDEN)
        params = {
            f"{p}{i}": np.stack([given[f"{p}{k}_{i}"] for k in range(cell.length)])
            for i in range(self.last + 1)
            for p in "Wb"
        }
        s = params[f"b{self.last}"][:, 1]  # s = 2 tanh(x / 2) of the network's output x
        self.slopes = 1 - (s / 2) ** 2
        params[f"b{self.last}"][:, 1] = 2 * np.arctanh(s / 2)
        super().__init__(FreeEnergy(flow, U1, cell.batch), params)

    def check(self, z0: Array) -> dict:
        value, g = self.value_and_grad(z0)
        answer = {"loss": np.array(value)}
        for i in range(self.last + 1):
            for k in range(self.length):
                over = np.array([1, self.slopes[k]]) if i == self.last else 1
                answer |= {f"{p}{k}_{i}": g[f"{p}{i}"][k] / over for p in "Wb"}
        return answer


# --------------------------------------------------------------------------------- throughput
class Throughput:
    """`flow.sample_and_log_prob` or `flow.sample` of many points."""

    def __init__(self, cell: Cell, given: dict) -> None:
        self.flow = Flow(StandardNormal(2), Planar(2, length=cell.length))
        u = raw("ours", given["u_hat"], given["w"])
        self.params = {"u": u, "w": given["w"], "b": given["b"]}
        self.cell, self.rng = cell, np.random.default_rng(0)

    def once(self, rng: object) -> object:
        if self.cell.kind == "sampling":
            return self.flow.sample(self.params, self.cell.batch, rng)
        return self.flow.sample_and_log_prob(self.params, self.cell.batch, rng)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.once(self.rng)

    def check(self, z0: Array) -> dict:
        return throughput_answer(self.once(Draws(z0)))


class Textbook(Throughput):
    """The same by the equations alone: one `planar_layer` after the other, all points at once."""

    def __init__(self, cell: Cell, given: dict) -> None:
        super().__init__(cell, given)
        self.u_hat = given["u_hat"]

    def once(self, rng: object) -> object:
        z = self.flow.base.sample(self.cell.batch, rng)
        log_q = self.flow.base.log_prob(z)
        for u, w, b in zip(self.u_hat, self.params["w"], self.params["b"], strict=True):
            z, log_det = planar_layer(u, w, b, z)
            log_q = log_q - log_det
        return z if self.cell.kind == "sampling" else (z, log_q)


def throughput_answer(result: object) -> dict:
    """What a contender answers: the points, and their mean ln q where it was asked for."""
    zK, log_q = result if isinstance(result, tuple) else (result, result[:, 0])
    return {"loss": np.array(np.mean(log_q)), "zK": np.asarray(zK), "log_q": np.asarray(log_q)}


# -------------------------------------------------------------------------------- amortized
class AmortizedTraining(Training):
    """Algorithm 1 with the library's own model: what `reproduce.mnist` trains, on one minibatch."""

    def __init__(self, cell: Cell, given: dict) -> None:
        d, self.x = cells.LATENT, given["x"]
        model = DeepLatentGaussianModel(d, cells.PIXELS, (cells.UNITS,))
        network = InferenceNetwork(cells.PIXELS, d, Planar(d, cell.length), (cells.UNITS,))
        params = {
            part: {f"{p}{i}": given[f"{name}_{p}{i}"] for i in range(2) for p in "Wb"}
            for part, name in (("model", "decoder"), ("network", "encoder"))
        }
        loss = AmortizedFreeEnergy(model, network, self.x, cell.batch)
        super().__init__(loss, params | {"flow": {}})

    def check(self, z0: Array) -> dict:
        shuffled = self.loss.minibatch(0)  # every epoch has an order of its own: z0 goes along
        order = [np.flatnonzero((self.x == row).all(axis=1))[0] for row in shuffled]
        value, g = self.value_and_grad(z0[order])
        answer = {"loss": np.array(value)}
        for name, of in (("decoder", g["model"]), ("encoder", g["network"])):
            answer |= {f"{name}_{p}": v for p, v in of.items()}
        return answer


def build(cell: Cell, name: str, given: dict) -> object:
    """The contender of this name: check(z0) answers, run(steps) is what is timed."""
    losses = {"ours": FreeEnergy, "readable": ReadableFreeEnergy, "autograd": PlainFreeEnergy}
    if cell.kind == "planar":
        if name == "floor":
            return Floor(cell, given)
        return PlanarTraining(cell, given, losses[name])
    if cell.kind == "coupling":
        return CouplingTraining(cell, given)
    if cell.kind == "amortized":
        return AmortizedTraining(cell, given)
    return (Textbook if name == "textbook" else Throughput)(cell, given)
