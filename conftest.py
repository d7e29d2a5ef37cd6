"""What every test session shares: quiet threads, no window for figures, nothing outside build/."""

import tools  # noqa: F401  (first of all: it sets the environment that NumPy and matplotlib read)

# isort: split
import hypothesis
import matplotlib

# A notebook as a script has no doctests, and importing it would run it: the .ipynb are executed.
collect_ignore_glob = ["notebooks/[0-9]*.py"]

matplotlib.use("Agg")
# The same examples in every run, so that a red run is red for everybody; no deadline, because a
# busy machine is not a wrong result.
hypothesis.settings.register_profile("project", derandomize=True, deadline=None)
hypothesis.settings.load_profile("project")
