"""The solutions of the exercises: notebook -> exercise number -> the cell that replaces the stub.

The tests put each one in its notebook's place and ask the notebook's own check about it.
"""

SOLUTIONS: dict[str, dict[int, str]] = {}
