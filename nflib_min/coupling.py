"""Coupling layers: half of the coordinates move by an amount that the other half decides."""

import autograd.numpy as anp
import numpy as np

from nflib_min._arrays import Array, check_dim, check_orthogonal, untraced
from nflib_min.bijections import Affine, Bijection, Orthogonal
from nflib_min.flow import Chain
from nflib_min.networks import MLP


class Coupling(Bijection):
    r"""K coupling layers: $z_A$ stays, $z_B \mapsto e^{s(z_A)} \odot z_B + t(z_A)$, then a mixing.

    $z_A$ is the first floor(d/2) coordinates, and a layer's $\ln|\det| = \sum_i s_i(z_A)$. One
    network a layer gives t and s, with $s = 2 \tanh(\cdot / 2)$, so that a deep stack cannot
    overflow. With affine=False s = 0: the additive layer of NICE, $f(z) = (z_A, z_B + h(z_A))$,
    which preserves volume. The inverse costs as much as the forward map:
    $z_B = e^{-s} (z_B' - t)$. Between layers a fixed orthogonal matrix, $z \mapsto Q_k z$, brings
    other coordinates into z_B; it has ln|det| = 0 and is not learned.

    Parameters
    ----------
    dim : d, at least 1 (at d = 1, z_A is empty and t and s are constants).
    length : K, at least 1.
    affine : True for RealNVP, False for NICE.
    hidden : sizes of the networks' tanh layers.
    mixing : Q, shape (K, d, d), orthogonal; None reverses the coordinates between layers and
        restores their order after the last.

    params: those of `networks.MLP`, each with a leading K, (K, ...), or (n, K, ...) for one set
    per row. Errors: ValueError on sizes < 1, wrong shapes, a Q that is not orthogonal, NaN or inf.

    >>> f = Coupling(3, length=2, affine=False)
    >>> params = f.init(np.random.default_rng(0))
    >>> zK, log_det = f.forward_and_log_det(params, np.ones((4, 3)))
    >>> zK.shape, log_det
    ((4, 3), array([0., 0., 0., 0.]))

    Source: Rezende & Mohamed (2015), eqs. (16)-(17); Dinh et al., NICE (2014) and RealNVP (2016).
    """

    def __init__(
        self,
        dim: int,
        length: int = 1,
        affine: bool = True,
        hidden: tuple[int, ...] = (32, 32),
        mixing: Array | None = None,
    ) -> None:
        self.dim, self.length = check_dim(dim), check_dim(length, "length")
        if not isinstance(hidden, (tuple, list)):
            raise ValueError(f"hidden: expected the sizes of the layers, (32, 32), got {hidden!r}")
        self.affine, self.hidden = affine, tuple(hidden)
        self.split = dim // 2  # size of z_A
        moved = dim - self.split  # size of z_B
        self.network = MLP((self.split, *self.hidden, moved * (2 if affine else 1)))
        self.shapes = {name: (length, *shape) for name, shape in self.network.shapes.items()}
        self.mixing = check_orthogonal(
            _reversals(dim, length) if mixing is None else mixing, "mixing"
        )
        if self.mixing.shape != (length, dim, dim):
            raise ValueError(
                f"mixing: expected shape {(length, dim, dim)}, got {self.mixing.shape}"
            )

    def init(self, rng: np.random.Generator) -> dict:
        """Near the identity (times the mixing): the last layer of every network is small."""
        layers = [self.network.init(rng, last_scale=0.01) for _ in range(self.length)]
        return {name: np.stack([layer[name] for layer in layers]) for name in self.shapes}

    def forward_formula(self, params: dict, z0: Array) -> tuple[Array, Array]:
        z, log_det = z0, 0.0
        for k in range(self.length):
            z_A, z_B = z[:, : self.split], z[:, self.split :]
            t, s = self.shift_and_log_scale(params, k, z_A)
            z = anp.concatenate([z_A, anp.exp(s) * z_B + t], axis=1)
            z = anp.dot(z, self.mixing[k].T.astype(untraced(z0).dtype))
            log_det = log_det + anp.sum(s, axis=1)
        return z, log_det

    def inverse_formula(self, params: dict, zK: Array) -> tuple[Array, Array]:
        z, log_det = zK, 0.0
        for k in reversed(range(self.length)):
            z = anp.dot(z, self.mixing[k].astype(untraced(zK).dtype))  # Q^-1 = Q^T
            z_A, z_B = z[:, : self.split], z[:, self.split :]
            t, s = self.shift_and_log_scale(params, k, z_A)
            z = anp.concatenate([z_A, anp.exp(-s) * (z_B - t)], axis=1)
            log_det = log_det - anp.sum(s, axis=1)
        return z, log_det

    def shift_and_log_scale(self, params: dict, k: int, z_A: Array) -> tuple[Array, Array]:
        """t and s of layer k, each (n, d - floor(d/2)), from the network at z_A."""
        per_row = untraced(params["b0"]).ndim == 3
        layer = {name: p[:, k] if per_row else p[k] for name, p in params.items()}
        out, moved = self.network(layer, z_A), self.dim - self.split
        t = out[:, :moved]
        return t, 2 * anp.tanh(0.5 * out[:, moved:]) if self.affine else 0 * t

    def __repr__(self) -> str:
        kind = "affine" if self.affine else "additive"
        return f"Coupling({self.dim}, length={self.length}, {kind}, hidden={self.hidden})"


def real_nvp(dim: int, length: int, hidden: tuple[int, ...] = (32, 32)) -> Coupling:
    """K affine couplings with the order of the coordinates reversed between them.

    >>> real_nvp(2, length=4)
    Coupling(2, length=4, affine, hidden=(32, 32))

    Source: Dinh et al., Density estimation using Real NVP (2016).
    """
    return Coupling(dim, length, affine=True, hidden=hidden)


def nice(
    dim: int,
    length: int,
    rng: np.random.Generator,
    mixing: str = "permutation",
    hidden: tuple[int, ...] = (32, 32),
) -> Chain:
    """K additive couplings, mixed by fixed random permutations or orthogonal matrices.

    The mixing is drawn once from `rng` and not learned, as in the paper. The couplings preserve
    volume, so a diagonal `Affine` follows them, as the scaling of NICE does.

    Errors: ValueError unless mixing is "permutation" or "orthogonal".

    >>> nice(2, length=4, rng=np.random.default_rng(0), mixing="orthogonal").dim
    2

    Source: Rezende & Mohamed (2015), section 5.1, NICE-perm and NICE-orth; Dinh et al. (2014).
    """
    if mixing not in ("permutation", "orthogonal"):
        raise ValueError(f"mixing: expected 'permutation' or 'orthogonal', got {mixing!r}")
    check_dim(dim)
    check_dim(length, "length")
    if mixing == "orthogonal":
        Q = [Orthogonal.random(dim, rng).matrix for _ in range(length)]
    else:
        Q = [np.eye(dim)[mixing_order(dim, rng)] for _ in range(length)]
    return Chain([Coupling(dim, length, affine=False, hidden=hidden, mixing=Q), Affine(dim)])


def _reversals(dim: int, length: int) -> Array:
    """K matrices that reverse the coordinates; the last is the identity if that restores them."""
    Q = np.repeat(np.eye(dim)[None, ::-1], length, axis=0)
    if length % 2 == 1:
        Q[-1] = np.eye(dim)
    return Q


def mixing_order(dim: int, rng: np.random.Generator) -> Array:
    """A random permutation of d coordinates that brings some of z_B to z_A's place, if d > 1.

    >>> mixing_order(2, np.random.default_rng(0)).tolist()
    [1, 0]

    Source: the permutations of Rezende & Mohamed (2015), section 5.1, redrawn until they mix.
    """
    order, split = rng.permutation(dim), dim // 2
    while dim > 1 and (order[:split] < split).all():
        order = rng.permutation(dim)
    return order
