"""The multilayer perceptron: the small network inside a coupling layer or an inference network."""

from collections.abc import Callable

import autograd.numpy as anp
import numpy as np

from nflib_min._arrays import Array, check_dim

# For each name: the bend h of a layer, and its slope h'(a) as a function of the output h(a).
ACTIVATIONS = {
    "tanh": (anp.tanh, lambda h: 1 - h * h),
    "relu": (lambda a: anp.maximum(a, 0), lambda h: h > 0),
}


class MLP:
    r"""Bent layers and a linear last one: $x_{i+1} = h(x_i W_i + b_i)$, $y = x_L W_L + b_L$.

    Parameters
    ----------
    sizes : (d_in, hidden..., d_out), at least two numbers; d_in may be 0 (a constant output).
    activation : h, "tanh" or "relu".

    params: W0, b0, W1, b1, ... with W_i (sizes[i], sizes[i+1]), b_i (sizes[i+1],); one set per row
    adds a leading n to each. Errors: ValueError on fewer than two sizes or an unknown activation.

    >>> net = MLP((2, 8, 1))
    >>> params = net.init(np.random.default_rng(0))
    >>> net(params, np.ones((5, 2))).shape
    (5, 1)

    Source: the maps h_lambda of Rezende & Mohamed (2015), eqs. (16)-(17), are such networks.
    """

    def __init__(self, sizes: tuple[int, ...], activation: str = "tanh") -> None:
        if len(sizes) < 2:
            raise ValueError(f"sizes: expected at least (d_in, d_out), got {sizes}")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation: expected one of {[*ACTIVATIONS]}, got {activation!r}")
        self.activation = activation
        self.sizes = tuple(check_dim(size, "sizes", least=0) for size in sizes)
        self.depth = len(sizes) - 1
        self.shapes: dict[str, tuple] = {}
        for i, (rows, columns) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            self.shapes[f"W{i}"] = (rows, columns)
            self.shapes[f"b{i}"] = (columns,)

    def init(self, rng: np.random.Generator, last_scale: float = 1.0) -> dict:
        """W ~ N(0, 1/rows), b = 0; the last W times `last_scale` (small: near the zero map)."""
        params = {name: np.zeros(shape) for name, shape in self.shapes.items()}
        for i in range(self.depth):
            rows = max(self.sizes[i], 1)
            W = rng.standard_normal(self.shapes[f"W{i}"]) / np.sqrt(rows)
            params[f"W{i}"] = W * (last_scale if i == self.depth - 1 else 1.0)
        return params

    def __call__(self, params: dict, x: Array) -> Array:
        """y, shape (n, d_out), from x, shape (n, d_in)."""
        bend, _ = ACTIVATIONS[self.activation]
        for i in range(self.depth):
            W, b = params[f"W{i}"], params[f"b{i}"]
            x = (anp.matmul(x[:, None, :], W)[:, 0] if W.ndim == 3 else anp.dot(x, W)) + b
            x = bend(x) if i < self.depth - 1 else x
        return x

    def with_pullback(
        self, params: dict, x: Array, x_is_data: bool = False, out: dict | None = None
    ) -> tuple[Array, Callable]:
        r"""y and pullback(g_y) -> (g_params, g_x), for global parameters.

        Where x is data nobody asks for g_x, a matrix product as large as the first layer's: with
        x_is_data it is None. Where `out` holds arrays, g_params is written into them. In memory
        points are columns, (d, n), which suits the sweeps of a flow; y and g_x are views of them.

        Back through $a = x W + b$: $g_W = x^\top g_a$, $g_b = \sum_n g_a$, $g_x = g_a W^\top$; back
        through the bend: $g_a = g_x h'(a)$, with the slope taken from the layer's output h(a).
        """
        bend, slope = ACTIVATIONS[self.activation]
        xs = [x]
        for i in range(self.depth):
            a = (params[f"W{i}"].T @ xs[-1].T).T
            a += params[f"b{i}"]
            xs.append(bend(a) if i < self.depth - 1 else a)

        def pullback(g_y: Array) -> tuple[dict, Array]:
            g, g_params = g_y, dict.fromkeys(self.shapes)  # in the order of the parameters
            out_of = dict.fromkeys(self.shapes) if out is None else out
            for i in reversed(range(self.depth)):
                if i < self.depth - 1:
                    g = g * slope(xs[i + 1])
                W, b = f"W{i}", f"b{i}"
                g_params[W] = np.matmul(xs[i].T, g, out=out_of[W])
                g_params[b] = np.einsum("nd->d", g, out=out_of[b])
                g = None if i == 0 and x_is_data else (params[W] @ g.T).T
            return g_params, g

        return xs[-1], pullback
