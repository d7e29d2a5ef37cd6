r"""Kernels: whole stacks of layers at once, forward and in reverse, for the maps that earn it.

A training step needs the gradient of a scalar F with respect to every parameter. Tracing each
operation costs more than computing it, so the sweep back through the layers is written out here,
once per kind of stack, and the tests hold it against autograd's gradient of the map's own formula.
Nothing imports this package but `nflib_min` itself: without it everything runs, by autograd.

Inside a sweep points are columns, (d, n), so that one coordinate is one contiguous row of memory,
and G stands for dF/dz_k as the sweep passes layer k. Nothing of this layout leaks out: arguments
and results are (n, d) and (n,), and what a call returns never changes later. Parameters are global,
(K, ...), or one set per row, (n, K, ...).
"""

from nflib_min.fast import coupling, linear, ode, planar, radial

__all__ = ["coupling", "linear", "ode", "planar", "radial"]
