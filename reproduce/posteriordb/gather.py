"""Make data.json.gz, reference.json and sample.json.gz, and check every density on the way.

`python -m reproduce.posteriordb.gather DIR`, DIR a git directory of posteriordb, writes all three.
Reference draws are posteriordb's (10,000 of long runs of Stan) where it has any. The eight schools
are exact, by quadrature. For the others long chains of HMC are run here, twenty-five times those
that check a fit, hierarchies with a neck in the non-centred form.
"""

import gzip
import io
import json
import subprocess
import sys
import zipfile

import numpy as np

from nflib_min._arrays import Array
from nflib_min.posterior.hmc import short_chains
from nflib_min.posterior.start import gaussians_from
from nflib_min.targets import eight_schools, eight_schools_moments
from reproduce import posteriordb
from reproduce.posteriordb import regressions
from reproduce.posteriordb.case import Case
from reproduce.posteriordb.others import radon_statistics
from reproduce.posteriordb.stein import stein

SHORT = {"diamonds": regressions.diamonds_statistics, "radon_mn": radon_statistics}
KEPT = 200  # draws of the sample


def member(where: str, path: str) -> object:
    """A zipped JSON file at the head of a git directory."""
    command = ["git", "-C", where, "show", f"HEAD:posterior_database/{path}.json.zip"]
    packed = subprocess.run(command, capture_output=True, check=True).stdout
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return json.loads(archive.read(archive.namelist()[0]))


def draws_of(where: str, name: str) -> dict[str, Array] | None:
    """Every chain's reference draws in one array a parameter, or None where there are none."""
    try:
        chains = member(where, f"reference_posteriors/draws/draws/{name}")
    except subprocess.CalledProcessError:
        return None
    return {key: np.concatenate([np.array(chain[key]) for chain in chains]) for key in chains[0]}


def long_run(case: Case, rng: np.random.Generator) -> tuple[Array, float]:
    """Draws of 64 chains of 4000 moves, and their largest R-hat."""
    mean, L = gaussians_from(case.target, 2 * rng.standard_normal((8, case.target.dim)), rng)[0]
    starts = mean + 1.5 * rng.standard_normal((64, case.target.dim)) @ L.T
    first = short_chains(case.target, starts, rng, covariance=L @ L.T, warmup=400, iterations=400)
    starts = first.z[:, -1]
    chains = short_chains(
        case.target, starts, rng, covariance=np.cov(first.draws.T), warmup=200, iterations=4000
    )
    return chains.draws, float(chains.r_hat.max())


def moments(z: Array) -> dict:
    return {"mean": rounded(z.mean(axis=0)), "sd": rounded(z.std(axis=0))}


def rounded(x: Array) -> list[float]:
    return [float(f"{value:.6g}") for value in np.ravel(x)]


def referred(where: str, name: str, case: Case) -> tuple[dict, Array]:
    """The reference of a model, and some of its draws."""
    rng = np.random.default_rng(0)
    found = draws_of(where, name)
    if "eight_schools" in name:
        target = eight_schools("noncentered" not in name)
        z = target.sample(10_000, rng) if found is None else case.back(found)
        own = dict(zip(("mean", "sd"), map(rounded, eight_schools_moments()), strict=True))
        real = {"mean": rounded(target.mean), "sd": rounded(target.sd)}
        source = {"source": "exact, by quadrature"}
    else:
        if found is not None:
            z, source = case.back(found), {"source": "posteriordb's draws"}
        elif name.endswith("pooled_centered"):  # the same posterior in other coordinates
            z, r_hat = long_run(posteriordb.load(name.replace("centered", "noncentered")), rng)
            J = z.shape[1] - 3
            z[:, :J] = z[:, J : J + 1] + np.exp(z[:, J + 1 : J + 2]) * z[:, :J]
            source = {"source": "a long run of HMC", "r_hat": round(r_hat, 4)}
        else:
            z, r_hat = long_run(case, rng)
            source = {"source": "a long run of HMC", "r_hat": round(r_hat, 4)}
        real, own = moments(z), moments(case.natural(z))
    check = stein(case.target, z[:: max(1, len(z) // 10_000)])
    return {"real": real, "natural": own, **source, "stein": check}, z[:: len(z) // KEPT][:KEPT]


def main(where: str) -> None:
    folder, names = posteriordb.FOLDER, {name.partition("-")[0] for name in posteriordb.MODELS}
    data = {name: member(where, f"data/data/{name}") for name in sorted(names)}
    data = {name: SHORT.get(name, lambda x: x)(each) for name, each in data.items()}
    pack(folder / "data.json.gz", data)
    posteriordb.data.cache_clear()
    references, samples = {}, {}
    for name in posteriordb.MODELS:
        references[name], kept = referred(where, name, posteriordb.load(name))
        samples[name] = [rounded(row) for row in kept]
        print(name, references[name]["source"], references[name]["stein"], flush=True)
    lines = ",\n".join(f'"{name}": {json.dumps(each)}' for name, each in references.items())
    (folder / "reference.json").write_text("{\n" + lines + "\n}\n", "utf-8")
    pack(folder / "sample.json.gz", samples)


def pack(path: object, value: object) -> None:
    path.write_bytes(gzip.compress(json.dumps(value).encode(), mtime=0))


if __name__ == "__main__":
    main(sys.argv[1])
