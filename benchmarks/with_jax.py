"""The contenders on JAX: flowjax, the step by hand under jit, and many steps in one call."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

from benchmarks import cells
from benchmarks.cells import LEARNING_RATE, SHIFT, Cell, planar_answer, raw

Array = jax.Array
CHUNK = 100  # steps in one compiled call of jax-scan


def U1(z: Array) -> Array:
    """Table 1's first energy of points (..., 2), as a user of JAX would write it."""
    ring = 0.5 * ((jnp.linalg.norm(z, axis=-1) - 2) / 0.4) ** 2
    left, right = ((z[..., 0] + 2) / 0.6) ** 2, ((z[..., 0] - 2) / 0.6) ** 2
    return ring - jnp.logaddexp(-0.5 * left, -0.5 * right)


# ------------------------------------------------------------------------------------- by hand
def planar_stack(p: dict, z: Array, unroll: bool = True) -> tuple[Array, Array]:
    """The constraint for all layers at once, then one layer after the other.

    Unrolled, XLA fuses the layers and a step is fastest; in a scan it compiles in less time.
    """
    u, w, b = p["u"], p["w"], p["b"]
    a, q = (w * u).sum(-1), (w * w).sum(-1)
    c = jax.nn.softplus(a + SHIFT) - 1
    u_hat = u + ((c - a) / q)[:, None] * w

    def layer(carry: tuple, of: tuple) -> tuple:
        z, log_det = carry
        u_hat, w, b, c = of
        h = jnp.tanh(z @ w + b)
        return (z + h[:, None] * u_hat, log_det + jnp.log1p(c * (1 - h * h))), None

    carry = (z, jnp.zeros_like(z[:, 0]))
    if not unroll:
        return jax.lax.scan(layer, carry, (u_hat, w, b, c))[0]
    for of in zip(u_hat, w, b, c, strict=True):
        carry, _ = layer(carry, of)
    return carry


def free_energy(p: dict, z0: Array, unroll: bool = True) -> Array:
    z, log_det = planar_stack(p, z0, unroll)
    return (log_normal(z0) - log_det + U1(z)).mean()


def log_normal(z: Array) -> Array:
    return -0.5 * (z * z).sum(-1) - 0.5 * z.shape[-1] * math.log(2 * math.pi)


class HandTraining:
    """Adam by optax; the whole step is one compiled call, its state donated to the next.

    Calls are asynchronous: a block of steps waits once, at its end.
    """

    def __init__(
        self,
        loss: Callable,
        params: dict,
        shape: tuple,
        scan: bool = False,
        rate: float | Callable = LEARNING_RATE,
    ) -> None:
        self.loss, self.params = loss, params
        optimizer = optax.adam(rate)
        dtype = jax.tree.leaves(params)[0].dtype

        def step(params: dict, state: object, key: Array) -> tuple:
            key, draw = jr.split(key)
            value, g = jax.value_and_grad(loss)(params, jr.normal(draw, shape, dtype))
            updates, state = optimizer.update(g, state)
            return optax.apply_updates(params, updates), state, key, value

        def many(params: dict, state: object, key: Array) -> tuple:
            body = lambda carry, _: (lambda out: (out[:3], out[3]))(step(*carry))  # noqa: E731
            carry, values = jax.lax.scan(body, (params, state, key), None, length=CHUNK)
            return *carry, values

        self.chunk = CHUNK if scan else 1
        self.compiled = jax.jit(many if scan else step, donate_argnums=(0, 1, 2))
        # what is donated is gone: the checks keep parameters of their own
        self.carry = (jax.tree.map(jnp.array, params), optimizer.init(params), jr.key(0))

    def run(self, steps: int) -> None:
        for _ in range(steps // self.chunk):
            self.carry = self.compiled(*self.carry)[:3]
        jax.block_until_ready(self.carry)

    def check(self, z0: np.ndarray) -> dict:
        value, g = jax.jit(jax.value_and_grad(self.loss))(self.params, jnp.asarray(z0))
        return self.answer(float(value), jax.tree.map(np.asarray, g))


class HandPlanar(HandTraining):
    def __init__(self, cell: Cell, name: str, given: dict, rate: float | Callable) -> None:
        u = raw("ours", given["u_hat"], given["w"])
        params = jax.tree.map(jnp.asarray, {"u": u, "w": given["w"], "b": given["b"]})
        loss = functools.partial(free_energy, unroll=name != "jax-layers")
        super().__init__(loss, params, (cell.batch, 2), name == "jax-scan", rate)

    def learned(self) -> dict:
        return jax.tree.map(np.asarray, self.carry[0])

    def answer(self, loss: float, g: dict) -> dict:
        u, w = np.asarray(self.params["u"]), np.asarray(self.params["w"])
        return planar_answer("ours", loss, u, w, g["u"], g["w"], g["b"])


class HandAmortized(HandTraining):
    def __init__(self, cell: Cell, given: dict) -> None:
        n, d, K = cell.batch, cells.LATENT, cell.length
        x = jnp.asarray(given["x"])

        def network(p: dict, name: str, x: Array) -> Array:
            h = jax.nn.relu(x @ p[f"{name}_W0"] + p[f"{name}_b0"])
            return h @ p[f"{name}_W1"] + p[f"{name}_b1"]

        def loss(p: dict, eps: Array) -> Array:
            out = network(p, "encoder", x)
            mean, s, u, w, b = jnp.split(out, np.cumsum([d, d, K * d, K * d]), axis=1)
            u, w, b = u.reshape(n, K, d) / K, w.reshape(n, K, d) / K, b / K
            a, q = (w * u).sum(-1), (w * w).sum(-1)
            c = jax.nn.softplus(a + SHIFT) - 1
            u_hat = u + ((c - a) / q)[..., None] * w
            z, log_det = mean + jnp.exp(s) * eps, s.sum(1)
            for k in range(K):
                h = jnp.tanh((w[:, k] * z).sum(1) + b[:, k])
                log_det = log_det + jnp.log1p(c[:, k] * (1 - h * h))
                z = z + u_hat[:, k] * h[:, None]
            logits = network(p, "decoder", z)
            nll = (jax.nn.softplus(logits) - x * logits).sum(1)
            return (log_normal(eps) - log_det + nll - log_normal(z)).mean()

        weights = {name: value for name, value in given.items() if name not in ("x", "z0")}
        super().__init__(loss, jax.tree.map(jnp.asarray, weights), (n, d))

    def answer(self, loss: float, g: dict) -> dict:
        return {"loss": np.array(loss)} | g


# ------------------------------------------------------------------------------------- flowjax
class FlowjaxTraining:
    """`fit_to_key_based_loss` with `ElboLoss`: flowjax's own way, a block of steps in one call."""

    def __init__(
        self, cell: Cell, given: dict, flow: object, rate: float | Callable = LEARNING_RATE
    ) -> None:
        from flowjax.train.losses import ElboLoss

        self.flow, self.cell, self.key = flow, cell, jr.key(0)
        self.loss = ElboLoss(lambda z: -U1(z), num_samples=cell.batch)
        self.optimizer = optax.adam(rate)

    def run(self, steps: int) -> None:
        from flowjax.train import fit_to_key_based_loss

        self.key, key = jr.split(self.key)
        self.flow, _ = fit_to_key_based_loss(
            key,
            self.flow,
            loss_fn=self.loss,
            steps=steps,
            optimizer=self.optimizer,
            show_progress=False,
        )

    def gradient(self, z0: np.ndarray) -> tuple[float, object]:
        """Of the loss that `ElboLoss` computes, at the given draws instead of its own."""
        import equinox as eqx
        import paramax

        params, static = eqx.partition(
            self.flow,
            eqx.is_inexact_array,
            is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable),
        )

        def loss(params: object, z: Array) -> Array:
            flow = paramax.unwrap(eqx.combine(params, static))
            zK, log_det = jax.vmap(flow.bijection.transform_and_log_det)(z)
            return (flow.base_dist.log_prob(z) - log_det + U1(zK)).mean()

        value, g = jax.jit(jax.value_and_grad(loss))(params, jnp.asarray(z0))
        return float(value), g


def flowjax_planar(cell: Cell, given: dict) -> object:
    """A Scan over planar layers, which flowjax recommends over a Chain of them."""
    import equinox as eqx
    from flowjax.bijections import Planar, Scan
    from flowjax.distributions import StandardNormal, Transformed

    layers = eqx.filter_vmap(lambda key: Planar(key, dim=2))(jr.split(jr.key(0), cell.length))
    u = raw("flowjax", given["u_hat"], given["w"])
    values = np.concatenate([given["w"], u, given["b"][:, None]], axis=1)  # its own order
    layers = eqx.tree_at(lambda layer: layer.params, layers, jnp.asarray(values))
    return Transformed(StandardNormal((2,)), Scan(layers))


class FlowjaxPlanar(FlowjaxTraining):
    def __init__(self, cell: Cell, given: dict, rate: float | Callable) -> None:
        super().__init__(cell, given, flowjax_planar(cell, given), rate)

    def learned(self) -> dict:
        w, u, b = np.split(np.asarray(self.flow.bijection.bijection.params), [2, 4], axis=1)
        return {"u": u, "w": w, "b": b[:, 0]}

    def check(self, z0: np.ndarray) -> dict:
        value, g = self.gradient(z0)
        w, u, _ = np.split(np.asarray(self.flow.bijection.bijection.params), [2, 4], axis=1)
        g_w, g_u, g_b = np.split(np.asarray(g.bijection.bijection.params), [2, 4], axis=1)
        return planar_answer("flowjax", value, u, w, g_u, g_w, g_b[:, 0])


class FlowjaxCoupling(FlowjaxTraining):
    r"""`coupling_flow`: e^s = softplus(x + i) + 0.01, with i such that x = 0 gives s = 0."""

    def __init__(self, cell: Cell, given: dict) -> None:
        import equinox as eqx
        from flowjax.distributions import StandardNormal
        from flowjax.flows import coupling_flow

        flow = coupling_flow(
            jr.key(0),
            base_dist=StandardNormal((2,)),
            flow_layers=cell.length,
            nn_width=cells.HIDDEN[0],
            nn_depth=len(cells.HIDDEN),
            nn_activation=jnp.tanh,
            invert=False,
        )
        self.last = last = len(cells.HIDDEN)
        s = np.array([given[f"b{k}_{last}"][1] for k in range(cell.length)], float)
        raw_scale = cells.softplus_inverse(np.exp(s) - 1e-2)
        biases = raw_scale - cells.softplus_inverse(1 - 1e-2)
        self.slopes = cells.sigmoid(raw_scale) / np.exp(s)
        for i in range(last + 1):
            W = np.stack([given[f"W{k}_{i}"].T for k in range(cell.length)])
            b = np.stack([given[f"b{k}_{i}"] for k in range(cell.length)])
            if i == last:
                b[:, 1] = biases
            flow = eqx.tree_at(
                lambda f, i=i: (self.linear(f, i).weight, self.linear(f, i).bias),
                flow,
                (jnp.asarray(W), jnp.asarray(b)),
            )
        super().__init__(cell, given, flow)

    @staticmethod
    def linear(flow: object, i: int) -> object:
        return flow.bijection.bijection.bijections[0].conditioner.layers[i]

    def check(self, z0: np.ndarray) -> dict:
        value, g = self.gradient(z0)
        answer = {"loss": np.array(value)}
        for i in range(self.last + 1):
            layer = self.linear(g, i)
            for k in range(self.cell.length):
                g_W, g_b = np.asarray(layer.weight)[k].T, np.asarray(layer.bias)[k]
                over = np.array([1, self.slopes[k]]) if i == self.last else 1
                answer |= {f"W{k}_{i}": g_W / over, f"b{k}_{i}": g_b / over}
        return answer


# ---------------------------------------------------------------------------------- throughput
class Throughput:
    def __init__(self, cell: Cell, name: str, given: dict) -> None:
        n, sampling = cell.batch, cell.kind == "sampling"
        self.key, self.sampling = jr.key(0), sampling
        if name == "flowjax":
            flow = flowjax_planar(cell, given)
            draw = flow.sample if sampling else flow.sample_and_log_prob
            self.once = jax.jit(lambda key: draw(key, (n,)))
            self.at = jax.vmap(flow.bijection.transform_and_log_det)
        else:
            u = raw("ours", given["u_hat"], given["w"])
            p = jax.tree.map(jnp.asarray, {"u": u, "w": given["w"], "b": given["b"]})
            self.at = functools.partial(planar_stack, p)

            def once(key: Array) -> object:
                z0 = jr.normal(key, (n, 2), p["u"].dtype)
                z, log_det = planar_stack(p, z0)
                return z if sampling else (z, log_normal(z0) - log_det)

            self.once = jax.jit(once)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.key, key = jr.split(self.key)
            jax.block_until_ready(self.once(key))

    def check(self, z0: np.ndarray) -> dict:
        from benchmarks.with_numpy import throughput_answer

        zK, log_det = jax.jit(self.at)(jnp.asarray(z0))
        log_q = log_normal(jnp.asarray(z0)) - log_det
        zK, log_q = np.asarray(zK), np.asarray(log_q)
        return throughput_answer(zK if self.sampling else (zK, log_q))


def build(cell: Cell, name: str, given: dict, rate: float | Callable = LEARNING_RATE) -> object:
    """The contender of this name: check(z0) answers, run(steps) is what is timed."""
    if cell.kind in ("density", "sampling"):
        return Throughput(cell, name, given)
    if cell.kind == "amortized":
        return HandAmortized(cell, given)
    if name == "flowjax" and cell.kind == "coupling":
        return FlowjaxCoupling(cell, given)
    if name == "flowjax":
        return FlowjaxPlanar(cell, given, rate)
    return HandPlanar(cell, name, given, rate)
