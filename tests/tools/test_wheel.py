"""The wheel alone, beside nothing but its declared dependencies, does what README shows."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from nflib_min import __version__
from tests import ROOT

DECLARED = ("autograd", "numpy", "tqdm")
ALONE = """
import importlib.abc, pickle, sys

ALLOWED = {"nflib_min", *DECLARED, *sys.stdlib_module_names}


class NothingElse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] not in ALLOWED:
            raise ModuleNotFoundError(f"{name} is not declared", name=name)


sys.meta_path.insert(0, NothingElse())
import numpy as np
import nflib_min
from nflib_min import Affine, Chain, Flow, FreeEnergy, Planar, StandardNormal, fit, fit_posterior
from nflib_min import kl_to_target, table_1
from nflib_min.constraints import Positive

rng = np.random.default_rng(0)
target, flow = table_1("U1"), Flow(StandardNormal(2), Chain([Affine(2), Planar(2, length=4)]))
run = fit(FreeEnergy(flow, target), flow.init(rng), 50, rng, progress=True)
flow, params = pickle.loads(pickle.dumps((flow, run.params)))
z = flow.sample(params, 100, rng)
assert z.shape == (100, 2) and np.isfinite(flow.log_prob(params, z)).all()
assert kl_to_target(params, flow, target, 100, rng)[0] > 0

q = fit_posterior(lambda x: -x[:, 0], transform=Positive(1), rng=rng, steps=30, draws=1000)
q = pickle.loads(pickle.dumps(q))
assert np.isfinite(q.log_prob(q.sample(5, rng))).all() and q.verdict in q.summary()
print(nflib_min.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--no-cache-dir"]
    done = subprocess.run(
        [*pip, *offline, "-w", folder, ROOT], cwd=folder, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("*.whl")
    return made


def test_the_wheel_holds_the_library_and_what_it_needs_is_declared(wheel):
    assert wheel.name == f"nflib_min-{__version__}-py3-none-any.whl"
    about = f"nflib_min-{__version__}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(f"{about}/METADATA").decode()
    assert {name.partition("/")[0] for name in names} == {"nflib_min", about}
    modules = {name for name in names if name.startswith("nflib_min/")}
    here = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("nflib_min/**/*.py")}
    assert modules == here
    needs = re.findall(r"^Requires-Dist: ([a-z]+)[^;\n]*$", metadata, re.M)
    assert sorted(needs) == list(DECLARED)


def test_the_wheel_alone_fits_samples_scores_and_pickles(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", f"DECLARED = {DECLARED}\n{ALONE}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parent.samefile(tmp_path / "nflib_min")


def test_what_is_not_declared_is_not_found(tmp_path):
    """The fence itself: SciPy is in the tests' environment, and out of reach behind it."""
    fence = ALONE.partition("import numpy")[0]
    done = subprocess.run(
        [sys.executable, "-c", f"DECLARED = {DECLARED}\n{fence}import scipy"],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode != 0 and "scipy is not declared" in done.stderr
