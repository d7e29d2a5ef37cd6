"""The one call: from a log-density to a posterior with a verdict."""

from collections.abc import Callable

import numpy as np

from nflib_min._arrays import Array, check_dim, check_rng
from nflib_min.bijections import Bijection
from nflib_min.coupling import real_nvp
from nflib_min.planar import Planar
from nflib_min.posterior.families import Fitter
from nflib_min.posterior.given import names_of, on_all_of_space, starts_from
from nflib_min.posterior.result import Posterior
from nflib_min.posterior.start import gaussians_from
from nflib_min.posterior.verdict import verdict_of
from nflib_min.targets import Target


def fit_posterior(
    log_density: Callable[[Array], Array] | Target,
    dim: int | None = None,
    *,
    rng: np.random.Generator,
    gradient: Callable[[Array], tuple[Array, Array]] | None = None,
    names: list[str] | None = None,
    transform: Bijection | None = None,
    bijection: Bijection | None = None,
    steps: int = 3000,
    batch: int = 128,
    learning_rate: float | None = None,
    starts: int | Array = 8,
    draws: int = 10_000,
    check: bool = True,
    uncentre: bool = True,
    mix: bool = False,
    progress: bool | None = False,
) -> Posterior:
    r"""Fit a posterior given by its log-density, check the fit, and say whether to trust it.

    Newton's method climbs from dispersed starts; the best Gaussian met on the way (the ELBO
    decides, not the mode) is where a mean-field and a full-rank Gaussian begin. The flow begins at
    the full-rank optimum: $z = \mu + L f(z_0)$, f near the identity. All train on path gradients,
    which vanish where q = p, with step sizes that fall to 0. The verdict is "good" only if

    - 128 short chains of HMC that start from its draws tell one story (split R-hat below 1.1), and
      it is that of the draws, to 0.08 sd in each mean and 8 % in each sd; `short_chains`;
    - draws around the other starts, and far out, find at most 1 % of the mass where q has less
      than a twentieth of p: weights of q's own draws cannot see a mode that q has missed;
    - stretching q far out lowers the ELBO: otherwise p~ cannot be normalized.

    Where the chains agree with the weighted draws alone it is "usable with importance weights";
    where with neither and R-hat is below 1.05, "use the chains' draws". Where R-hat is 1.1 or more
    only weights that hardly vary are believed. A tail that falls like a power is covered by a
    Student base; where even an sd is infinite nothing is trusted. Centred hierarchies, which
    curvatures show (`find_necks`), are fitted as theta = mu + tau eta; the answer is in the
    coordinates that were asked for.

    Parameters
    ----------
    log_density : (n, d) -> (n,), ln p~ on unconstrained coordinates (but see `transform`), written
        with autograd.numpy or with `gradient`; or a `Target`.
    dim : d; not needed with a Target or a transform.
    rng : all randomness comes from here: the same seed gives the same posterior.
    gradient : (n, d) -> ((n,), (n, d)), ln p~ with its gradient, from JAX or PyTensor for instance.
    names : of the coordinates; None for the Target's own, or z[0], z[1], ...
    transform : a map without parameters from R^d to where the parameters live, such as
        `constraints.Positive(2)`. Then log_density, gradient, starts and names are those of the
        constrained x, ln p~(x) without any Jacobian: the fit is made in z, x = transform(z), and
        adds $\ln|\det \partial x / \partial z|$ itself. The answer is on the scale of x, and
        `unconstrained` is the same in z.
    bijection : f; None for `real_nvp(d, 4)`, or planar layers at d = 1.
    steps, batch : of the flow's training; the Gaussians take a third of the steps.
    learning_rate : of the flow's training; None searches for it.
    starts : how many, drawn from N(0, 2^2 I), or the points themselves, (m, d).
    draws : S, with which everything is checked.
    check : False leaves the chains out. Then k-hat decides:
        good below 0.5, usable below `k_limit` at an ESS of 95 %, idle where the ESS is above 99 %.
    uncentre : False fits centred hierarchies as they are.
    mix : True mixes Gaussians around starts that lie apart, by their evidence, and the flow goes on
        from the mixture: for a posterior of islands.

    Errors: ValueError if log_density gives no finite number a row at any start or at the fit's own
    draws, or if `gradient` disagrees with finite differences. A KeyboardInterrupt ends the training
    early: what was fitted before it is checked and returned, with interrupted=True.

    On a shared machine one BLAS thread (OPENBLAS_NUM_THREADS=1) can be ten times faster than two:
    the matrices are small, and threads wait for each other.

    >>> import autograd.numpy as anp
    >>> def log_density(z):  # a banana
    ...     return -0.5 * z[:, 0] ** 2 - 0.5 * ((z[:, 1] - 0.3 * z[:, 0] ** 2) / 0.5) ** 2
    >>> q = fit_posterior(log_density, 2, rng=np.random.default_rng(0), steps=300, draws=4000)
    >>> q.stages[-1].name, bool(abs(q.mean() - [0.0, 0.3]).max() < 0.1)
    ('flow', True)

    Source: Rezende & Mohamed (2015), algorithm 1; starts: Zhang, Carpenter, Gelman & Vehtari,
    Pathfinder (2022); verdict: Yao et al. (2018); recipe: Agrawal, Sheldon & Domke (2020).
    """
    check_rng(rng)
    target = on_all_of_space(log_density, dim, gradient, transform)
    dim = target.dim
    names = names_of(getattr(target, "names", None) if names is None else names, dim)
    check_dim(steps, "steps")
    if learning_rate is not None and not (
        isinstance(learning_rate, (int, float)) and learning_rate > 0
    ):
        raise ValueError(f"learning_rate: expected a number > 0 or None, got {learning_rate!r}")
    check_dim(draws, "draws", least=100)
    if bijection is not None and bijection.dim != dim:
        raise ValueError(f"bijection: expected dim {dim}, got {bijection.dim}")
    gaussians = gaussians_from(target, starts_from(starts, dim, rng, transform), rng)
    fitter = Fitter(target, gaussians, batch, draws, rng, progress, uncentre, mix)
    if bijection is None:
        bijection = real_nvp(dim, 4) if dim > 1 else Planar(1, 16)
    fitter.run(bijection, steps, learning_rate)
    return verdict_of(fitter, gaussians, names, rng, check, transform)
