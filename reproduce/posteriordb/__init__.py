"""Real posteriors of posteriordb: densities written for this collection, with data and references.

`cases()` are the models; data.json.gz, reference.json and sample.json.gz come from `gather`. Data
and reference draws: posteriordb (github.com/stan-dev/posteriordb, BSD-3-Clause, Copyright Aalto
University and others), from the sources that it names.
"""

import gzip
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from reproduce.posteriordb import others, regressions, series
from reproduce.posteriordb.case import Case

FOLDER = Path(__file__).parent
MODELS: dict[str, Callable[[dict], Case]] = {
    "arK-arK": series.ar_k,
    "arma-arma11": series.arma11,
    "garch-garch11": series.garch11,
    "hmm_example-hmm_example": series.hmm_example,
    "bball_drive_event_0-hmm_drive_0": series.hmm_drive,
    "gp_pois_regr-gp_regr": others.gp_regr,
    "gp_pois_regr-gp_pois_regr": others.gp_pois_regr,
    "low_dim_gauss_mix-low_dim_gauss_mix": others.low_dim_gauss_mix,
    "eight_schools-eight_schools_noncentered": others.schools_noncentered,
    "eight_schools-eight_schools_centered": others.schools_centered,
    "radon_mn-radon_partially_pooled_noncentered": others.radon_noncentered,
    "radon_mn-radon_partially_pooled_centered": others.radon_centered,
    "rats_data-rats_model": others.rats,
    "dogs-dogs": others.dogs,
    "GLM_Binomial_data-GLM_Binomial_model": others.glm_binomial,
    "GLM_Poisson_Data-GLM_Poisson_model": others.glm_poisson,
    "Mb_data-Mb_model": others.captures,
    "earnings-logearn_interaction": regressions.logearn_interaction,
    "mesquite-mesquite": regressions.mesquite,
    "mesquite-logmesquite_logvash": regressions.logmesquite_logvash,
    "kidiq-kidscore_interaction": regressions.kidscore_interaction,
    "nes2000-nes": regressions.nes,
    "sblrc-blr": regressions.blr,
    "kilpisjarvi_mod-kilpisjarvi": regressions.kilpisjarvi,
    "diamonds-diamonds": regressions.diamonds,
}


@lru_cache
def data() -> dict[str, dict]:
    """The data of every data set, by posteriordb's name before the hyphen."""
    return _read("data.json.gz")


@lru_cache
def references() -> dict[str, dict]:
    """mean and sd of z and of the model's own parameters, with their source, by model."""
    return json.loads((FOLDER / "reference.json").read_text("utf-8"))


@lru_cache
def samples() -> dict[str, list]:
    """Some of the reference draws, as rows of z, by model."""
    return _read("sample.json.gz")


def load(name: str) -> Case:
    """The model of posteriordb's name, with its data."""
    return MODELS[name](data().get(name.partition("-")[0], {}))


def _read(name: str) -> dict:
    with gzip.open(FOLDER / name, "rt", encoding="utf-8") as file:
        return json.load(file)
