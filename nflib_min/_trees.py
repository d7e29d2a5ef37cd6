"""Nested dicts, lists and tuples of arrays: their leaves in a fixed order, and the way back."""

import copy
from collections.abc import Iterator

from nflib_min._arrays import Array, Params


def tree_leaves(tree: Params, path: str = "params") -> list[tuple[str, Array]]:
    """(path, array) of every array in nested dicts, lists and tuples, in a fixed order.

    >>> import numpy as np
    >>> tree_leaves({"b": np.zeros(1), "a": [np.zeros(2)]})
    [("params['b']", array([0.])), ("params['a'][0]", array([0., 0.]))]
    """
    if isinstance(tree, dict):
        items = [(f"{path}[{key!r}]", value) for key, value in tree.items()]
    elif isinstance(tree, (list, tuple)):
        items = [(f"{path}[{i}]", value) for i, value in enumerate(tree)]
    else:
        return [(path, tree)]
    return [leaf for name, value in items for leaf in tree_leaves(value, name)]


def tree_unflatten(tree: Params, arrays: Iterator[Array]) -> Params:
    """The same nesting, of the same types, with arrays taken in the order of `tree_leaves`.

    >>> tree_unflatten({"b": None, "a": [None]}, iter([1, 2]))
    {'b': 1, 'a': [2]}
    """
    if isinstance(tree, dict):
        made = copy.copy(tree)
        for key, value in tree.items():
            made[key] = tree_unflatten(value, arrays)
        return made
    if isinstance(tree, (list, tuple)):
        parts = [tree_unflatten(value, arrays) for value in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return next(arrays)


def leaves_in_order_of(template: Params, g: Params) -> list[Array]:
    """The arrays of a gradient in the order of the parameters, whatever the order of its keys."""
    if isinstance(template, dict):
        return [leaf for key in template for leaf in leaves_in_order_of(template[key], g[key])]
    if isinstance(template, (list, tuple)):
        pairs = zip(template, g, strict=True)
        return [leaf for part, of in pairs for leaf in leaves_in_order_of(part, of)]
    return [g]
