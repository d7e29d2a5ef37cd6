"""What every test session shares: quiet threads, no window for figures, nothing outside build/."""

import tools  # noqa: F401  (first of all: it sets the environment that NumPy and matplotlib read)

# isort: split
import hypothesis
import matplotlib

# A notebook as a script has no doctests, and importing it would run it: the .ipynb are executed.
collect_ignore_glob = ["notebooks/[0-9]*.py"]

matplotlib.use("Agg")

import nbformat  # noqa: E402
import nbval.plugin  # noqa: E402

from tools.pairs import without_captions  # noqa: E402


class WithoutCaptions:
    """nbformat for nbval: what a kernel prints is compared, a caption from the fence is not."""

    from_dict = staticmethod(nbformat.from_dict)

    @staticmethod
    def read(path: str, as_version: int) -> nbformat.NotebookNode:
        notebook = nbformat.read(path, as_version)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = without_captions(cell.outputs)
        return notebook


nbval.plugin.nbformat = WithoutCaptions
# The same examples in every run, so that a red run is red for everybody; no deadline, because a
# busy machine is not a wrong result.
hypothesis.settings.register_profile("project", derandomize=True, deadline=None)
hypothesis.settings.load_profile("project")
