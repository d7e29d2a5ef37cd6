"""Side by side with other libraries, in one run: the same loss and gradient first, then the clock.

`python -m benchmarks` measures, `--quick` measures this library alone, `--report` rewrites the
tables and the plot from results/. README.md in this folder says how it is done.
"""
