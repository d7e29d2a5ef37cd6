"""Nested dicts, lists and tuples of arrays: their leaves in a fixed order, and the way back."""

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


def tree_unflatten(tree: Params, arrays: object) -> Params:
    """The same nesting with the arrays taken, in the order of `tree_leaves`, from an iterator."""
    if isinstance(tree, dict):
        return {key: tree_unflatten(value, arrays) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(tree_unflatten(value, arrays) for value in tree)
    return next(arrays)


def leaves_in_order_of(template: Params, g: Params) -> list[Array]:
    """The arrays of a gradient in the order of the parameters, whatever the order of its keys."""
    if isinstance(template, dict):
        return [leaf for key in template for leaf in leaves_in_order_of(template[key], g[key])]
    if isinstance(template, (list, tuple)):
        return [
            leaf
            for part, of in zip(template, g, strict=True)
            for leaf in leaves_in_order_of(part, of)
        ]
    return [g]
