"""Coupling layers: half of the coordinates move by an amount that the other half decides."""

import autograd.numpy as np
import numpy as onp

from nflib_min._validate import Array, check_dim, check_params, check_points, is_traced
from nflib_min.bijections import (
    Affine,
    Bijection,
    Chain,
    Orthogonal,
    Permute,
    Pullback,
    call_written,
    pullback_by_autograd,
)
from nflib_min.networks import MLP

MAX_LOG_SCALE = 2.0  # one layer stretches by at most e^2, so that a deep stack cannot overflow


class Coupling(Bijection):
    r"""One coupling layer: $z_A$ stays, $z_B \mapsto e^{s(z_A)} \odot z_B + t(z_A)$.

    $z_A$ is the first floor(d/2) coordinates, and $\ln|\det| = \sum_i s_i(z_A)$. One network gives
    t and s, with $s = 2 \tanh(\cdot / 2)$ bounded. With affine=False s = 0: the additive layer of
    NICE, $f(z) = (z_A, z_B + h(z_A))$, which preserves volume. In both the inverse costs as much
    as the forward map: $z_B = e^{-s} (z_B' - t)$.

    Parameters
    ----------
    dim : d, at least 1 (at d = 1, z_A is empty and t and s are constants).
    affine : True for RealNVP, False for NICE.
    hidden : sizes of the network's tanh layers.

    params: those of `networks.MLP`. Errors: ValueError on wrong shapes, NaN or inf.

    >>> f = Coupling(3, affine=False)
    >>> params = f.init(onp.random.default_rng(0))
    >>> zK, log_det = f.forward_and_log_det(params, onp.ones((4, 3)))
    >>> zK.shape, log_det
    ((4, 3), array([0., 0., 0., 0.]))

    Source: Rezende & Mohamed (2015), eqs. (16)-(17); Dinh et al., NICE (2014) and RealNVP (2016).
    """

    def __init__(self, dim: int, affine: bool = True, hidden: tuple[int, ...] = (32, 32)) -> None:
        self.dim, self.affine, self.hidden = check_dim(dim), affine, tuple(hidden)
        self.split = dim // 2  # size of z_A
        self.moved = dim - self.split  # size of z_B
        outputs = self.moved * (2 if affine else 1)
        self.network = MLP((self.split, *self.hidden, outputs))

    def init(self, rng: onp.random.Generator) -> dict:
        """Near the identity: the network's last layer is small."""
        return self.network.init(rng, last_scale=0.01)

    def forward_and_log_det(self, params: dict, z0: Array) -> tuple[Array, Array]:
        if is_traced((params, z0)) and not self._check(params, z0, "z0"):
            return call_written(self, self.formula, params, z0)
        return self.formula(params, z0)

    def formula(self, params: dict, z0: Array) -> tuple[Array, Array]:
        """The plain equations: what the written pullback must agree with."""
        self._check(params, z0, "z0")
        z_A, z_B = z0[:, : self.split], z0[:, self.split :]
        t, s = self._shift_and_log_scale(params, z_A)
        return np.concatenate([z_A, np.exp(s) * z_B + t], axis=1), np.sum(s, axis=1)

    def inverse_and_log_det(self, params: dict, zK: Array) -> tuple[Array, Array]:
        self._check(params, zK, "zK")
        z_A, z_B = zK[:, : self.split], zK[:, self.split :]
        t, s = self._shift_and_log_scale(params, z_A)
        return np.concatenate([z_A, np.exp(-s) * (z_B - t)], axis=1), -np.sum(s, axis=1)

    def forward_with_pullback(self, params: dict, z0: Array) -> tuple[Array, Array, Pullback]:
        r"""Written out, with $z_B' = e^s z_B + t$, G = dF/dz' and l = dF/dlog_det:

        $g_t = G_B$, $g_s = G_B e^s z_B + l$, $g_{z_B} = e^s G_B$, and $g_{z_A}$ is G_A plus what
        comes back through the network.
        """
        if self._check(params, z0, "z0"):  # a network per row shares no matrix product
            return pullback_by_autograd(self.formula, params, z0)
        z_A, z_B = z0[:, : self.split], z0[:, self.split :]
        out, network_pullback = self.network.with_pullback(params, z_A)
        t, tanh = out[:, : self.moved], onp.tanh(out[:, self.moved :] / MAX_LOG_SCALE)
        scale = onp.exp(MAX_LOG_SCALE * tanh) if self.affine else 1.0
        zK = onp.empty(z0.shape, out.dtype)
        zK[:, : self.split] = z_A
        zK[:, self.split :] = scale * z_B + t
        log_det = MAX_LOG_SCALE * tanh.sum(axis=1)  # tanh has no columns if additive: the sum is 0

        def pullback(g_zK: Array, g_log_det: Array) -> tuple[dict, Array]:
            G_B = g_zK[:, self.split :]
            g_z_B = G_B * scale
            g_out = G_B
            if self.affine:
                g_s = g_z_B * z_B + g_log_det[:, None]
                g_out = onp.concatenate([G_B, g_s * (1 - tanh * tanh)], axis=1)
            g_params, g_z_A = network_pullback(g_out)
            return g_params, onp.concatenate([g_zK[:, : self.split] + g_z_A, g_z_B], axis=1)

        return zK, log_det, pullback

    def _shift_and_log_scale(self, params: dict, z_A: Array) -> tuple[Array, Array]:
        out = self.network(params, z_A)
        t = out[:, : self.moved]
        if not self.affine:
            return t, 0 * t
        return t, MAX_LOG_SCALE * np.tanh(out[:, self.moved :] / MAX_LOG_SCALE)

    def _check(self, params: dict, z: Array, name: str) -> bool:
        check_points(z, self.dim, name)
        return check_params(self, params, self.network.shapes, len(z))

    def __repr__(self) -> str:
        return f"Coupling({self.dim}, affine={self.affine}, hidden={self.hidden})"


def real_nvp(dim: int, length: int, hidden: tuple[int, ...] = (32, 32)) -> Chain:
    """K affine couplings with the order of the coordinates reversed between them.

    >>> real_nvp(2, length=4).dim
    2

    Source: Dinh et al., Density estimation using Real NVP (2016).
    """
    maps: list[Bijection] = []
    for _ in range(check_dim(length, "length")):
        maps += [Coupling(dim, hidden=hidden), Permute(list(range(dim))[::-1])]
    return Chain(maps)


def nice(
    dim: int,
    length: int,
    rng: onp.random.Generator,
    mixing: str = "permutation",
    hidden: tuple[int, ...] = (32, 32),
) -> Chain:
    """K additive couplings, mixed by fixed random permutations or orthogonal matrices.

    The mixing is drawn once from `rng` and not learned, as in the paper. The couplings preserve
    volume, so a diagonal `Affine` follows them, as the scaling of NICE does.

    Errors: ValueError unless mixing is "permutation" or "orthogonal".

    >>> nice(2, length=4, rng=onp.random.default_rng(0), mixing="orthogonal").dim
    2

    Source: Rezende & Mohamed (2015), section 5.1, NICE-perm and NICE-orth; Dinh et al. (2014).
    """
    if mixing not in ("permutation", "orthogonal"):
        raise ValueError(f"mixing: expected 'permutation' or 'orthogonal', got {mixing!r}")
    maps: list[Bijection] = []
    for _ in range(check_dim(length, "length")):
        maps.append(Coupling(dim, affine=False, hidden=hidden))
        if mixing == "orthogonal":
            maps.append(Orthogonal.random(dim, rng))
        else:
            maps.append(Permute(_mixing_order(dim, rng)))
    return Chain([*maps, Affine(dim)])


def _mixing_order(dim: int, rng: onp.random.Generator) -> list[int]:
    """A random permutation that moves something into z_B's place: never the identity if d > 1."""
    order = rng.permutation(dim)
    while dim > 1 and onp.array_equal(order, onp.arange(dim)):
        order = rng.permutation(dim)
    return order.tolist()
