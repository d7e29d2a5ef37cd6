"""What the checks share: the first slip that explains a reader's answer at every point."""

from collections.abc import Callable

import numpy as np

Slips = dict[str, Callable]  # what to print -> what a reader who slips so would return


def judge(
    answer: Callable, points: list[tuple], slips: Slips, wanted: str, seen: Callable = repr
) -> None:
    """Print the first of `slips` that agrees with the answer at every point.

    `wanted` says what was expected if none does, and `seen` how to print what was got.
    """
    try:
        given = [answer(*point) for point in points]
    except Exception as error:  # a reader's function may fail in any way
        print(f"expected {wanted}, got {type(error).__name__}: {error}")
        return
    if all(value is None for value in given):
        print("not attempted")
        return
    for text, slip in slips.items():
        if all(close(value, slip(*point)) for value, point in zip(given, points, strict=True)):
            print(text)
            return
    try:
        got = seen(given[0])
    except (TypeError, ValueError):
        got = repr(given[0])
    print(f"expected {wanted}, got {got} at the first of {len(points)} points")


def close(value: object, wanted: float | np.ndarray) -> bool:
    """Has a reader's value the right shape, and is it right to a millionth?"""
    try:
        value = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return False
    return value.shape == np.shape(wanted) and np.allclose(value, wanted, rtol=0, atol=1e-6)
