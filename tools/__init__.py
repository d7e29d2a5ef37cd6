"""Tools of this collection. Whatever they run keeps its files under build/ and uses one thread."""

import os
from pathlib import Path

BUILD = Path(__file__).resolve().parent.parent / "build"
FOLDERS = {
    "MPLCONFIGDIR": "matplotlib",
    "IPYTHONDIR": "ipython",
    "JUPYTER_CONFIG_DIR": "jupyter/config",
    "JUPYTER_DATA_DIR": "jupyter/data",
    "JUPYTER_RUNTIME_DIR": "jupyter/runtime",
    "HYPOTHESIS_STORAGE_DIRECTORY": "hypothesis",
}
# Small stacks of layers want one thread: more cost far more than they give on a busy machine.
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

for variable, folder in FOLDERS.items():
    os.environ.setdefault(variable, str(BUILD / folder))
for variable in THREADS:
    os.environ.setdefault(variable, "1")
# Kernels choose their own backend; one in the environment would leave notebooks without figures.
os.environ.pop("MPLBACKEND", None)
