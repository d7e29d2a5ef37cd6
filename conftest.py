"""What every test session shares: quiet threads, no window for figures, nothing outside build/."""

import os
from pathlib import Path

BUILD = Path(__file__).parent / "build"
# A notebook as a script has no doctests, and importing it would run it: the .ipynb are executed.
collect_ignore_glob = ["notebooks/[0-9]*.py"]

# Before NumPy is imported: small stacks of layers want one thread.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("MPLCONFIGDIR", str(BUILD / "matplotlib"))
os.environ.setdefault("IPYTHONDIR", str(BUILD / "ipython"))
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(BUILD / "hypothesis"))
# Kernels choose their own backend; one in the environment would leave notebooks without figures.
os.environ.pop("MPLBACKEND", None)

import hypothesis  # noqa: E402  (after the environment is set)
import matplotlib  # noqa: E402

matplotlib.use("Agg")
# The same examples in every run, so that a red run is red for everybody; no deadline, because a
# busy machine is not a wrong result.
hypothesis.settings.register_profile("project", derandomize=True, deadline=None)
hypothesis.settings.load_profile("project")
