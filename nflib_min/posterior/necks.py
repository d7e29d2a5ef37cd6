r"""Necks: groups of coordinates that narrow together as one other coordinate, their scale, falls.

A centred hierarchy has one, $\theta_j \sim N(\mu, \tau^2)$ with $\ln\tau$ free to fall. Curvatures
at draws show it: those of all $\theta_j$ grow like $\tau^{-2}$. In the coordinates
$\eta_j = (\theta_j - \mu) / \tau$ it is gone.
"""

from dataclasses import dataclass, replace

import autograd.numpy as anp
import numpy as np

from nflib_min._arrays import Array, untraced
from nflib_min.bijections import Bijection
from nflib_min.posterior.given import FiniteTarget, in_chunks
from nflib_min.targets import Target

POWERS = (2, 1, -1, -2)  # of a log sd, a log variance, a log precision, a log root precision
MISFIT = 0.25  # the largest relative error of a curvature that counts as explained
SPAN = 3.0  # a neck's curvatures differ by this factor at least
DEEPER = 6.0  # how far down draws are moved: curvatures grow by e^6
COUPLED = 0.05  # a smaller correlation in the prior counts as none


@dataclass(repr=False)
class Uncentred(Bijection):
    r"""$z_j = w_j (\beta_j z + c_j) + (1 - w_j)(\gamma_j z + e_j) + \kappa_j v_j$ for j in a neck.

    $\kappa_j(z_s) = (a_j e^{-p (z_s - m)} + b_j)^{-1/2}$ is the width of the prior, whose precision
    grows as the scale z_s falls, and of the data together; $w_j = a_j e^{-p (z_s - m)} \kappa_j^2$
    in [0, 1] is the prior's share: the non-centred form at w = 1, the centred one at w = 0. All
    other coordinates stay as they are, so $\ln|\det| = \sum_j \ln \kappa_j(z_s)$.

    Parameters
    ----------
    dim : d. scale : s. power, middle : p and m. members : (m,), the j, each after those it hangs
        on. a, b : (m,). prior, data : beta and gamma, (m, d), 0 at the scale; beta is 0 at the
        member itself and at later ones, gamma at all members. prior_at, data_at : c and e, (m,).

    >>> one = np.ones(1)
    >>> beta, gamma = np.array([[1.0, 0, 0]]), np.zeros((1, 3))
    >>> f = Uncentred(3, 1, 2, 0.0, np.array([2]), one, 0 * one, beta, 0 * one, gamma, 0 * one)
    >>> f.forward({}, np.array([[5.0, np.log(0.1), 1.0]]))  # theta = mu + tau eta
    array([[ 5.        , -2.30258509,  5.1       ]])

    Source: Papaspiliopoulos, Roberts & Sköld (2007) on partially non-centred forms; the shares by
    curvatures are this project's.
    """

    dim: int
    scale: int
    power: int
    middle: float
    members: Array
    a: Array
    b: Array
    prior: Array
    prior_at: Array
    data: Array
    data_at: Array

    def __post_init__(self) -> None:
        one, others = np.eye(self.dim, dtype=self.a.dtype), np.ones(self.dim, self.a.dtype)
        others[self.members] = 0.0
        self._others, self._place = others, one[self.members]
        self._outer = self.prior * others
        self._inner = (self._place - self.prior)[:, self.members]

    def _like(self, z: Array) -> "Uncentred":
        """This map in the precision of the points."""
        dtype = untraced(z).dtype
        arrays = ("a", "b", "prior", "prior_at", "data", "data_at")
        cast = {name: getattr(self, name).astype(dtype) for name in arrays}
        return self if dtype == self.a.dtype else replace(self, **cast)

    def _centre_and_log_width(self, z: Array) -> tuple[Array, Array]:
        """What the members are where v = 0, but for beta among themselves, and ln kappa: (n, m)."""
        at = anp.clip(
            -self.power * (z[:, self.scale] - self.middle), -40.0, 40.0
        )  # squares fit in float32
        grown = self.a * anp.exp(at)[:, None]
        total = grown + self.b
        share = grown / total
        by_prior = anp.dot(z, self._outer.T) + self.prior_at
        by_data = anp.dot(z, self.data.T) + self.data_at
        return share * by_prior + (1 - share) * by_data, -0.5 * anp.log(total)

    def forward_formula(self, params: dict, z0: Array) -> tuple[Array, Array]:
        self = self._like(z0)
        centre, log_width = self._centre_and_log_width(z0)
        free = centre + anp.exp(log_width) * anp.dot(z0, self._place.T)
        members = anp.dot(free, np.linalg.inv(self._inner).T)
        return z0 * self._others + anp.dot(members, self._place), anp.sum(log_width, axis=1)

    def inverse_formula(self, params: dict, zK: Array) -> tuple[Array, Array]:
        self = self._like(zK)
        centre, log_width = self._centre_and_log_width(zK)
        free = anp.dot(anp.dot(zK, self._place.T), self._inner.T)
        v = (free - centre) * anp.exp(-log_width)
        return zK * self._others + anp.dot(v, self._place), -anp.sum(log_width, axis=1)

    def __repr__(self) -> str:
        return f"Uncentred({len(self.members)} of {self.dim} by {self.scale})"


def find_necks(target: Target, z: Array, sd: Array) -> list[Uncentred]:
    r"""The necks of a target, by its curvatures at draws z: (n, d), sd: (d,), n about 60.

    With $H = -\nabla^2 \ln \tilde p$ at each draw, j is a member of the neck of s if
    $H_{jj} \approx a_j e^{-p z_s} + b_j$ with an a_j that rules where z_s is low. The part of the
    whole block that grows like $e^{-p z_s}$ is the precision of the prior given the scale; its
    triangular factors say on which coordinates each member hangs.

    >>> from nflib_min.targets import eight_schools
    >>> target = eight_schools(centred=True)
    >>> z = target.sample(60, np.random.default_rng(0))
    >>> neck, = find_necks(target, z, target.sd)
    >>> [target.names[j] for j in (neck.scale, *neck.members[:2])], neck.prior[0].round(1)[:3] + 0.0
    (['log_tau', 'theta_1', 'theta_2'], array([1., 0., 0.]))

    Source: see `Uncentred`; this detector is this project's.
    """
    found: list[Uncentred] = []
    target = FiniteTarget(target)
    z, H, g = curvatures(target, z, sd)
    if len(H) < 20:
        return found
    near = z, H, g
    candidates = groups(z, np.diagonal(H, axis1=1, axis2=2))
    # the scale that the data leave most open comes first
    for s, power, members in sorted(candidates, key=lambda c: -abs(c[1]) * z[:, c[0]].std()):
        neck = neck_of(near, near, s, power, members)
        for _ in range(2):  # again with draws moved down into it, where the prior rules
            v = neck.inverse({}, z)
            v[:, s] -= DEEPER / power
            deep = curvatures(target, neck.forward({}, v), sd)
            x, h = grown(deep[0], s, power, neck.middle), np.diagonal(deep[1], axis1=1, axis2=2)
            also = np.flatnonzero(misfit(x, np.maximum(h, np.finfo(float).tiny)) < MISFIT)
            also = np.union1d(members, also[also != s])  # those whom the data rule near the fit
            neck = neck_of(near, deep, s, power, also)
        mine = {s, *neck.members.tolist()}
        taken = {j for other in found for j in (other.scale, *other.members.tolist())}
        # a neck is its narrow members', not that of a mean on which wide ones hang
        if np.isin(neck.members, members).any() and not mine & taken:
            found.append(neck)
    return found


def groups(z: Array, h: Array) -> list[tuple[int, int, Array]]:
    """(scale, power, members) of every candidate: each j goes where its h_j is explained best."""
    d = z.shape[1]
    h = np.maximum(h, 1e-3 * np.maximum(np.median(h, axis=0), np.finfo(float).tiny))
    wide = np.quantile(h, 0.95, axis=0) > SPAN * np.quantile(h, 0.05, axis=0)
    middle = np.median(z, axis=0)
    tried = [(s, power) for s in range(d) for power in POWERS]
    misfits = np.stack(
        [misfit(grown(z, s, power, middle[s]), h) for s, power in tried]
    )  # (tried, d)
    misfits[np.arange(len(tried)), [s for s, _ in tried]] = np.inf  # nothing explains itself
    best, least = misfits.argmin(axis=0), misfits.min(axis=0)
    members = np.flatnonzero(wide & (least < MISFIT))
    return [(*tried[i], members[best[members] == i]) for i in set(best[members])]


def grown(z: Array, s: int, power: int, middle: float) -> Array:
    """x = e^(-p (z_s - m)): (n,)."""
    return np.exp(np.clip(-power * (z[:, s] - middle), -50, 50))


def misfit(x: Array, h: Array) -> Array:
    """How badly a x + b explains the columns of h, relative; inf if a x rules at no end."""
    with np.errstate(all="ignore"):
        u, w = x[:, None] / h, 1 / h
        uu, uw, ww = (u * u).mean(axis=0), (u * w).mean(axis=0), (w * w).mean(axis=0)
        mean_u, mean_w = u.mean(axis=0), w.mean(axis=0)
        det = uu * ww - uw**2
        a, b = (mean_u * ww - mean_w * uw) / det, (uu * mean_w - uw * mean_u) / det
        a, b = np.where(b < 0, mean_u / uu, a), np.maximum(b, 0)
        error = np.sqrt(((a * u + b * w - 1) ** 2).mean(axis=0))
        rules = (a > 0) & (a * np.quantile(x, 0.95) > 2 * b)
    return np.where(rules & np.isfinite(error), error, np.inf)


Curved = tuple[Array, Array, Array]  # draws, their curvatures and their gradients


def neck_of(near: Curved, deep: Curved, s: int, power: int, members: Array) -> Uncentred:
    """The neck of one scale: the prior's precision x A, by deep draws, and the data's, by near."""
    middle = float(np.median(near[0][:, s]))
    A, by_prior, needed = what_grows(deep, s, power, middle, members)
    A = np.where(needed | np.eye(len(A), dtype=bool), A, 0.0)
    A[s] = A[:, s] = 0.0
    size = np.sqrt(np.maximum(np.diag(A), 0.0))
    A = np.where(np.abs(A) > COUPLED * np.outer(size, size), A, 0.0)
    hung = np.flatnonzero((np.diag(A) > 0) & (A[members] != 0).any(axis=0))
    members = np.union1d(members, hung)  # with the means that they hang on
    members = members[np.argsort(-np.count_nonzero(A[members], axis=1), kind="stable")]  # first
    inner = A[np.ix_(members, members)]
    centre = np.linalg.lstsq(inner, by_prior[members], rcond=1e-3)[0]
    prior, a = np.zeros((len(members), len(A))), np.zeros(len(members))
    for i in reversed(range(len(members))):
        if inner[i, i] > COUPLED * A[members[i], members[i]]:  # else a mean, free of the scale
            a[i], row = inner[i, i], inner[i, :i].copy()
            prior[i, members[:i]] = -row / a[i]
            inner[:i, :i] -= np.outer(row, row) / a[i]
    prior_at = centre - prior[:, members] @ centre
    real = a > 0
    members, a, prior, prior_at = members[real], a[real], prior[real], prior_at[real]
    # what is left of the curvatures near the fit is the data's
    z, H, g = near
    x = grown(z, s, power, middle)
    left = H[:, members] - x[:, None, None] * A[members]
    rows, typical = left.mean(axis=0), np.abs(np.median(np.diagonal(H, axis1=1, axis2=2), axis=0))
    b = rows[np.arange(len(members)), members]
    informed = b > 1e-3 * a
    b = np.where(informed, b, 1e-3 * a)
    strong = np.abs(rows) > COUPLED * np.sqrt(np.outer(b, typical))
    steady = np.abs(rows) > left.std(axis=0)
    inside = np.isin(np.arange(len(A)), members)
    data = np.where(strong & steady & ~inside & informed[:, None], -rows / b[:, None], 0.0)
    data[:, s] = 0.0
    pull = (g + others_pull(z, H, s))[:, members] - x[:, None] * by_prior[members]
    away = np.where(strong & inside, rows, 0.0)
    away[np.arange(len(members)), members] = 0.0
    at = (pull.mean(axis=0) - away @ z.mean(axis=0)) / b
    data_at = np.where(informed, at, prior_at + prior @ z.mean(axis=0))
    return Uncentred(len(A), s, power, middle, members, a, b, prior, prior_at, data, data_at)


def others_pull(z: Array, H: Array, s: int) -> Array:
    """H z without the scale: with g, what a quadratic has in place of its centre, (n, d)."""
    return np.einsum("njk,nk->nj", H, np.where(np.arange(z.shape[1]) == s, 0.0, z))


def what_grows(
    draws: Curved, s: int, power: int, middle: float, members: Array
) -> tuple[Array, Array, Array]:
    """A of H = x A + B, the same of the pull, and for which entries of A x is needed."""
    z, H, g = draws
    x, h = grown(z, s, power, middle), np.diagonal(H, axis1=1, axis2=2)[:, members]
    weight = 1 / np.median(np.abs(h / h.mean(axis=0)), axis=1)
    basis = np.column_stack([x, np.ones_like(x)]) * weight[:, None]

    def coefficient(y: Array) -> tuple[Array, Array]:
        flat = y.reshape(len(y), -1) * weight[:, None]
        both = np.linalg.lstsq(basis, flat, rcond=None)[0]
        alone = flat - basis[:, 1:] * (basis[:, 1] @ flat / (basis[:, 1] @ basis[:, 1]))
        needed = ((flat - basis @ both) ** 2).sum(axis=0) < 0.2 * (alone**2).sum(axis=0)
        return both[0].reshape(y.shape[1:]), needed.reshape(y.shape[1:])

    with np.errstate(all="ignore"):  # what overflows is no neck
        A, needed = coefficient(H)
        return A, coefficient(g + others_pull(z, H, s))[0], needed


def curvatures(target: Target, z: Array, sd: Array) -> tuple[Array, Array, Array]:
    """Draws z, -(Hessian) by differences of the gradient, (n, d, d), and gradient, where finite."""
    n, d = z.shape
    moves = 1e-4 * np.diag(sd)
    rows = (z[:, None, None] + np.stack([moves, -moves])).reshape(-1, d)
    with np.errstate(all="ignore"):
        slopes = in_chunks(lambda x: target.log_density_and_grad(x)[1], rows).reshape(n, 2, d, d)
        H = (slopes[:, 1] - slopes[:, 0]) / (2e-4 * sd[:, None])
        g = target.log_density_and_grad(z)[1]
    finite = np.isfinite(H).all(axis=(1, 2)) & np.isfinite(g).all(axis=1)
    return z[finite], 0.5 * (H + H.transpose(0, 2, 1))[finite], g[finite]
