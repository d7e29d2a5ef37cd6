# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   post:
#     categories:
#     - flows
#     date: '2026-11-20'
#     description: Sand on a rubber sheet, areas without circular reasoning, and a planar
#       map whose determinant costs O(D)
#     tags:
#     - normalizing-flows
#     - variational-inference
#     title: Where does the determinant come from?
# ---

# %% [markdown]
# # Where does the determinant come from?
#
# From bookkeeping: an invertible map carries probability mass along without making or losing any, so where it stretches space the density has to thin by the same factor, and that factor is $\lvert\det\rvert$ of the map's Jacobian. This is the step on which [Variational inference with normalizing flows](https://arxiv.org/abs/1505.05770) (Rezende and Mohamed, 2015) builds everything: equation (5) in section 3, with the cheap maps of section 4.
#
# A heap of sand lies on a rubber sheet. Take hold of the sheet and pull: every grain stays on its patch of rubber, so no sand appears and none is lost, but a patch that has become four times as large carries the same sand four times as thin. How thick does the sand lie now, at a place that you point to? Probability is such sand, and a density says how thick it lies.

# %% tags=["setup", "hide-input"]
import autograd.numpy as anp  # NumPy that autograd can differentiate
import numpy as np
from autograd import elementwise_grad

from nflib_min import Planar, StandardNormal, checks
from nflib_min.planar import constrain, invert_layer, planar_layer
from notebooks.exercises import change_of_variables as exercises
from notebooks.figures import change_of_variables as figures

# %% tags=["hide-input"] alt="A round density under a square grid, and the same after a map that pulls it apart along a diagonal and thins it there. Of two outlined cells, A becomes almost four times as large, B hardly larger." caption="Sand on a sheet before and after a pull, on one color scale. Each cell of the grid still holds the sand that it held. Cell A grows almost fourfold and pales by as much; cell B is mostly carried along. The numbers are areas, in cells."
u, w, b = np.array([1.5, 0.5]), np.array([1.6, 1.2]), 0.0
figures.pulled_sheet(u, w, b)


# %% [markdown]
# You will be able to
#
# 1. derive equation (5) from conservation of mass on a line, in a plane and in $D$ dimensions, and say why it is a determinant that measures the stretch;
# 2. check a log-determinant by three independent routes, and compute the planar map's in $O(D)$ instead of $O(D^3)$;
# 3. recognize a lost factor, a wrong sign and a folded map, and say what a mass of 1 proves and what it does not.
#
# You need: probability densities, partial derivatives, matrix products, a little NumPy. Time: 45 minutes, exercises included.
#
# Previous: [How good is a lower bound?](01_elbo.ipynb) Next: [How does a simple density become any density?](03_flow_composition.ipynb)
#
# Direction: forward takes $z_0$ to $z_K$, from the base to the flow; inverse takes $z_K$ back to $z_0$. In this notebook one step does it, $K = 1$. The indices 0 and K say which end of the flow is meant; $z_1, z_2$ are the coordinates of a point.
#
# | symbol | meaning | in the code |
# |---|---|---|
# | $z_0 \sim q_0$ | a point and its base density, here a standard normal | `z_0`, `q_0`, `base` |
# | $z_K = f(z_0)$, $q_K$ | the moved point and its density | `z_K`, `q_K` |
# | $g = f^{-1}$ | the inverse map | `g` |
# | $J = \partial f / \partial z$ | Jacobian, the matrix with $J_{ij} = \partial f_i / \partial z_j$ | `jacobian` |
# | $\ln\lvert\det J\rvert$ | by how much volume grows, on a log scale | `log_det` |
# | $D$ | number of coordinates | `dim` |
#
# ## Where does the sand go on a line?
#
# Begin with a rubber band, a sheet of one dimension. The map $f(z) = z + \tfrac c2 \tanh 2z$ with $c = 3$ pulls it apart at 0: far out it shifts the band by $\pm 1.5$, and in the middle it has to make up for that. Its slope is $f'(z) = 1 + c\,(1 - \tanh^2 2z)$, which is 4 at the origin and 1 far away.
#
# > **Predict.** A standard normal has density 0.399 at 0. How dense is $z_K = f(z_0)$ at $f(0) = 0$: four times as dense, the same, or a quarter?
#
# Take a piece of rubber so short that the density hardly varies on it. The mass on it is density times length, and while the piece moves its mass stays:
#
# <a id="eq-N1"></a>
#
# $$
# \begin{aligned}
# q_K(z_K)\, \lvert dz_K \rvert &= q_0(z_0)\, \lvert dz_0 \rvert \\
# q_K(z_K) &= q_0(z_0) \,/\, \lvert f'(z_0) \rvert
# \end{aligned} \tag{N1}
# $$
#
# - $\lvert dz_0\rvert$ and $\lvert dz_K\rvert = \lvert f'(z_0)\rvert\, \lvert dz_0\rvert$: the length of the piece before and after;
# - the bars: a decreasing map turns the piece around, and a length has no sign.

# %% alt="Left a Gaussian, right its image with two humps, between them lines from points to their images. The lines fan out at the center, where the image is low and a piece grows long." caption="Two pieces of equal length. Where the lines fan out, the plain one gets longer and lower; where they run parallel, the hatched one only moves. The shaded areas are the masses, and each is the same on both sides."
def band(z, c=3.0):  # f on a line: pulled apart at 0
    return z + c / 2 * anp.tanh(2 * z)


def slope(z, c=3.0):  # f'
    return 1 + c * (1 - np.tanh(2 * z) ** 2)


def q_0(z):
    return np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


figures.bands(band, slope, q_0)

# %% [markdown]
# Does the sand really lie so? Count it: move 200,000 grains, sweep them into 160 bins, and compare each bin with its mass by [(N1)](#eq-N1). To evaluate $q_K$ at a place of our choice we must know which $z_0$ landed there. On a line that is easy: an increasing map is inverted by reading its table backwards.

# %%
table = np.linspace(-8, 8, 160_001)


def g(z_K):  # the inverse, z_0 = g(z_K)
    return np.interp(z_K, band(table), table)


draws = band(np.random.default_rng(1).standard_normal(200_000))
counts, edges = np.histogram(draws, 160, (-4, 4))
middles = (edges[1:] + edges[:-1]) / 2
expected = 200_000 * 0.05 * q_0(g(middles)) / slope(g(middles))  # (N1)
assert (np.abs(counts - expected) < 6 * np.sqrt(expected) + 1).all()
at_0 = q_0(g(0.0)) / slope(g(0.0))
assert np.isclose(at_0, q_0(0.0) / 4)
print(f"density at 0: {q_0(0.0):.4f} before, {at_0:.4f} after")

# %% [markdown]
# A quarter, and every bin agrees to within the noise of counting.
#
# **A one-to-one map of the line moves mass and keeps its amount, so the density is divided by how much the map stretches, $\lvert f'\rvert$.**
#
# ## What if the band is folded?
#
# > **Predict.** Turn the push around, $c = -3$. Now $f'(0) = 1 - 3 = -2$: the middle runs backward while the far ends still run forward. What is the density at 0, half of $0.399$, less, or more?
#
# Where the band lies three times over, so does its sand. Every $z_0$ that lands on a place brings its share:
#
# <a id="eq-N2"></a>
#
# $$
# q_K(z_K) = \sum_{z_0 :\, f(z_0) = z_K} \frac{q_0(z_0)}{\lvert f'(z_0) \rvert} \tag{N2}
# $$
#
# - the sum runs over all points that land on $z_K$: one if $f$ is one-to-one, and then this is [(N1)](#eq-N1); here up to three. Where one of them has $f' = 0$, the density has a spike;
# - between two points where $f' = 0$ the map is monotone. Such an interval is a *branch*, and on it the table can be read backwards as before.

# %%
turn = np.arctanh(np.sqrt(2 / 3)) / 2  # f' = 0 at -turn and at turn
branches = [(-9.0, -turn), (-turn, turn), (turn, 9.0)]


def shares(z_K):  # what each branch brings to z_K, one row a branch
    found = []
    for low, high in branches:
        z = np.linspace(low, high, 100_001)
        z = z[np.argsort(band(z, -3.0))]
        z_0 = np.interp(z_K, band(z, -3.0), z, left=np.nan, right=np.nan)
        found.append(np.nan_to_num(q_0(z_0) / abs(slope(z_0, -3.0))))
    return np.array(found)


# %% alt="Left an increasing curve and a folded one that meets height 0 three times. Right the histogram of folded draws between two tall spikes, with the sum of the shares on it and the middle share far below." caption="The folded map sends three points to one place (left). Equation (N2) adds their shares and follows the draws (right); the share of one branch alone misses most of them. Where the band turns back, the density has a spike."
folded = band(np.random.default_rng(1).standard_normal(200_000), -3.0)
counts, edges = np.histogram(folded, 125, (-2.5, 2.5))
middles = (edges[1:] + edges[:-1]) / 2
expected = 200_000 * 0.04 * shares(middles).sum(axis=0)  # (N2)
smooth = abs(abs(middles) - band(-turn, -3.0)) > 0.1  # not where it turns
assert (abs(counts - expected) < 6 * expected**0.5 + 1)[smooth].all()
z, cell = checks.grid((-8.0, 8.0), 200_000, 1)
masses = shares(z[:, 0]).sum(axis=1) * cell
assert np.allclose(masses, [0.285, 0.436, 0.285], atol=0.01)
at_0 = shares(0.0)
assert np.allclose(at_0, [0.135, 0.199, 0.135], atol=1e-3)
print(f"at 0: {' + '.join(f'{s:.3f}' for s in at_0)} = {at_0.sum():.3f}")
figures.fold(band, shares, folded, np.array([-1.49, 0.0, 1.49]))

# %% [markdown]
# More: the middle branch brings half of 0.399, and the two outer ones lie on top of it. Each share alone has the mass of its branch, 0.28 or 0.44, and only their sum has mass 1.
#
# **If several points land on one place, the density there is the sum of their shares, each divided by its own $\lvert f'\rvert$. One share is the density only if the map is one-to-one there.**
#
# ## Why is it a determinant?
#
# Now the sheet. What takes the place of $\lvert f'\rvert$ must be the factor by which areas grow. Look first at a linear map $z \mapsto Az$. It turns a grid of equal squares into a grid of equal parallelograms: since $A(z + \delta) = Az + A\delta$, and half the side gives an image of half the size, all squares grow by one and the same factor. Any region can be filled with small squares, so every region grows by that factor, whatever its shape. Call it $\alpha(A)$. One map after the other multiplies the factors, $\alpha(BA) = \alpha(B)\,\alpha(A)$.
#
# Two kinds of maps need no computing. A *stretch* $\operatorname{diag}(s_1, s_2)$ makes a unit square into a rectangle: $\alpha = \lvert s_1 s_2\rvert$. A *shear* slides the rows of the square along themselves, like cards of a pack; what sticks out on the right is missing on the left: $\alpha = 1$. And every matrix with $A_{11} \ne 0$ is a shear, a stretch and another shear:
#
# <a id="eq-N3"></a>
#
# $$
# \begin{aligned}
# A &= \begin{pmatrix} 1 & 0 \\ t_2 & 1 \end{pmatrix}
# \begin{pmatrix} s_1 & 0 \\ 0 & s_2 \end{pmatrix}
# \begin{pmatrix} 1 & t_1 \\ 0 & 1 \end{pmatrix} \\
# s_1 &= A_{11}, \qquad s_2 = A_{22} - A_{21} A_{12} / A_{11}
# \end{aligned} \tag{N3}
# $$
#
# - $t_1 = A_{12}/A_{11}$ and $t_2 = A_{21}/A_{11}$: how far the two shears slide;
# - so $\alpha(A) = \lvert s_1 s_2\rvert = \lvert A_{11} A_{22} - A_{12} A_{21}\rvert$, and that is $\lvert\det A\rvert$;
# - if $A_{11} = 0$, exchange the two coordinates first. That turns the sheet over, $\det = -1$, and leaves every area as it was: hence the bars. (If $A_{21} = 0$ too, $A$ flattens the plane onto a line, and area and determinant are both 0.)
# - in $D$ dimensions this is Gaussian elimination: subtracting a multiple of one row from another is a shear. What is left is triangular, and the product of its diagonal, the *pivots*, is the determinant, up to its sign.
#
# > **Predict.** $A$ has the rows $(1.5, 0.75)$ and $(0.6, 1.5)$. By what factor does it enlarge a square, and by what factor a disk?

# %% alt="Four panels of a unit square with a grid: as it is, slid sideways by a shear, widened and raised by a stretch, slid upward by another shear. The areas below are 1.00, 1.00, 1.80 and 1.80." caption="A linear map, taken apart by (N3). Only the stretch changes the area."
A = np.array([[1.5, 0.75], [0.6, 1.5]])
steps = {
    "a shear": np.array([[1.0, 0.5], [0.0, 1.0]]),
    "a stretch": np.diag([1.5, 1.2]),
    "a shear: $A$": np.array([[1.0, 0.0], [0.4, 1.0]]),
}
shear, stretch, other_shear = steps.values()
assert np.allclose(other_shear @ stretch @ shear, A)
z, cell = checks.grid((-4.0, 4.0), 1000)
home = z @ np.linalg.inv(A).T  # where each point of a fine grid came from
square = np.all((home > 0) & (home < 1), axis=1).sum() * cell
disk = (home[:, 0] ** 2 + home[:, 1] ** 2 < 1).sum() * cell
assert abs(square - 1.8) < 0.01 and abs(disk / np.pi - 1.8) < 0.01
print(f"by counting points: {square:.2f} and {disk / np.pi:.2f} times as large")
figures.factors(steps)

# %% [markdown]
# By 1.8 each. No formula for a parallelogram was used here: the points of a fine grid were counted.
#
# **A linear map multiplies every area by one factor, whatever the shape: $\lvert\det A\rvert$, the product of the stretches that are left when the shears are taken off. In $D$ dimensions the same holds for volumes.**
#
# ## Which map pulls the sheet?
#
# The map of the first figure is one **planar** layer of the paper's section 4:
#
# <a id="eq-10"></a>
#
# $$
# f(z) = z + u\, h(w^\top z + b) \tag{10}
# $$
#
# - $w \in \mathbb{R}^D$ and $b \in \mathbb{R}$ say *where*: all that counts of a point is the number $w^\top z + b$; where it is 0 lies the *hyperplane*;
# - $u \in \mathbb{R}^D$ says *which way* points are pushed, by at most $\lvert u\rvert$;
# - $h = \tanh$, so the two sides of the hyperplane are pushed in opposite directions.
#
# Multiply by $w^\top$ and write $a = w^\top z$ and $c = w^\top u$. Then $w^\top f(z) = a + c \tanh(a + b)$: seen along $w$, a planar layer is the rubber band of the first section (there $a = 2z$). With $c = 3$ it stretches, with $c = -3$ it folds. It is one-to-one if $c > -1$, because the slope $1 + c\,h'$, $0 < h' \le 1$, is then positive; the rest of a point is carried along. (The paper states $w^\top u \ge -1$; at exactly $-1$ the sheet is squeezed flat on the hyperplane, $\det J = 0$.)
#
# An optimizer knows nothing of this condition, so the paper's appendix A moves $u$ along $w$ until it holds, and the library's [`constrain`](../nflib_min/planar.py) does so.
#
# > **Predict.** Which $u$ does it have to move far, and can it change what $u$ does *along* the hyperplane?

# %% alt="Left a dashed line across the plane with an arrow w at right angles and an arrow u; small arrows push points along u on one side and against u on the other. Right points u, moved by arrows parallel to w out of a gray half plane." caption="Left: a planar layer pushes all points along $u$, by an amount that changes across the hyperplane (dashed), mostly within the pink strip. Right: the constraint moves each $u$ (dot) parallel to $w$, out of the gray half plane where the layer would fold."
some_u = np.random.default_rng(3).uniform(-3.5, 3.5, (40, 2))
moved_u, moved_c, _ = constrain(some_u, w)
along = np.array([-w[1], w[0]])  # along the hyperplane: w.along = 0
assert moved_c.min() > -1 and np.allclose((moved_u - some_u) @ along, 0)
assert np.allclose(constrain(np.zeros(2), w)[0], 0)
c, fine = w @ u, some_u @ w > -1
far = np.linalg.norm(moved_u - some_u, axis=1) * np.linalg.norm(w)
assert far[fine].max() < 0.5
z_K = planar_layer(u, w, b, some_u)[0]  # seen along w: the rubber band
assert np.allclose(z_K @ w, 2 * band(some_u @ w / 2))
print(f"c = w.u = {c:.1f} in the first figure")
print(f"{len(some_u) - fine.sum()} of {len(some_u)} u would fold, now none")
figures.layer(u, w, b, some_u)


# %% [markdown]
# Only the $u$ in the gray half plane move far, and only along $w$: what $u$ does along the hyperplane is left alone, since $w^\top u$ does not see it. (The $u$ that were fine move a little, by less than $0.5/\lvert w\rvert$. How the constraint is made is a matter for the next notebook.)
#
# **A planar layer is a map of the line along $w$, and carries the rest of a point along. It is one-to-one if $w^\top u > -1$, and moving $u$ along $w$ is enough to get there.**
#
# ## What becomes of a small square?
#
# A curved map has no single factor, but the closer one looks, the straighter it gets: $f(z + \delta) = f(z) + J\delta$ up to terms of second order in $\delta$. A small square becomes nearly the parallelogram that $J$ makes of it, spanned by the columns of $J$. For [(10)](#eq-10), differentiate:
#
# <a id="eq-11"></a>
#
# $$
# \begin{aligned}
# J &= \frac{\partial f}{\partial z} = I + u\, \psi(z)^\top \\
# \psi(z) &= h'(w^\top z + b)\, w
# \end{aligned} \tag{11}
# $$
#
# - $I$: the identity, what stays;
# - $u\,\psi^\top$: a matrix of rank one. Whatever goes in, the change comes out along $u$;
# - $h' = 1 - \tanh^2$: largest on the hyperplane, where it is 1.
#
# > **Predict.** At the origin $w^\top u = 1.6 \cdot 1.5 + 1.2 \cdot 0.5 = 3$. How much larger does a tiny square get there? And if you halve the side of a square, by what factor does its area come closer to the parallelogram's: two, or four?

# %%
def f(z):
    return planar_layer(u, w, b, z)[0]


def jacobian(u, w, b, z):  # (11), at one point
    psi = (1 - np.tanh(w @ z + b) ** 2) * w
    return np.eye(len(z)) + np.outer(u, psi)


middle, sides = np.array([0.35, -0.05]), np.array([0.8, 0.4, 0.2, 0.1])
det = np.linalg.det(jacobian(u, w, b, middle))
for about, wanted in ((0.5, 2), (0.0, 1)):  # the middle, a corner
    corners = [middle - about * s for s in sides]
    edges = map(figures.edge, corners, sides, [5000] * 4)
    grown = np.array([figures.area(f(edge)) for edge in edges]) / sides**2
    error = abs(grown - det)
    order = np.log2(error[-2] / error[-1])
    assert abs(order - wanted) < 0.1
    print(f"|det J| {det:.3f}, areas grow {grown.round(3)}, order {order:.1f}")

# %% alt="Left three nested squares, right their images with curved sides and, dotted, the parallelograms spanned by the columns of J. The smallest image and parallelogram coincide." caption="Three nested squares and their images (solid), with the parallelograms of the linear map next to $f$ (dotted): the smaller the square, the better they match."
figures.squares(f, jacobian(u, w, b, middle), middle, sides[:3])


# %% [markdown]
# At the origin the factor is $1 + 3 = 4$, as on the band. Halving the side brings a square that is *centered* at the point four times closer, because the errors of first order on its two sides cancel; if the point is its corner, only twice closer. (`figures.area` adds up the trapezoids under a closed line; it knows no determinant.)
#
# Small squares add up. The area inside the whole warped grid of the first figure must be the integral of $\lvert\det J\rvert$ over the grid before, and it is:

# %%
def log_det(z):
    return planar_layer(u, w, b, z)[1]


integral = checks.total_mass(log_det, (-3.0, 3.0), 600)
outline = figures.area(f(figures.edge((-3, -3), 6, 20_000)))
assert abs(integral - outline) < 1e-4
assert np.isclose(np.linalg.det(jacobian(u, w, b, np.zeros(2))), 4)
print(f"area 36.00 becomes {outline:.2f}")

# %% [markdown]
# **A small square grows by $\lvert\det J\rvert$, the smaller the more exactly, where $f$ is smooth; over a region that is not small, integrate.**
#
# ## Which of the two forms of (5) do you need?
#
# Now keep the books as on the line. The sand on a small square of area $dz_0$ is $q_0(z_0)\,dz_0$; afterwards it lies on an area $\lvert\det J\rvert\,dz_0$. The paper states the result twice in one line:
#
# <a id="eq-5"></a>
#
# $$
# \begin{aligned}
# q_K(z_K) &= q_0(z_0) \left\lvert \det \frac{\partial g}{\partial z_K} \right\rvert \\
# &= q_0(z_0) \left\lvert \det \frac{\partial f}{\partial z_0} \right\rvert^{-1}, \quad z_K = f(z_0)
# \end{aligned} \tag{5}
# $$
#
# - the *inverse* form starts at a place $z_K$, finds $z_0 = g(z_K)$ and multiplies by how much $g = f^{-1}$ stretches: it evaluates $q_K$ anywhere;
# - the *forward* form starts at $z_0$, moves it and divides by how much $f$ stretches: it is for draws, where $z_0$ is known, and needs no inverse;
# - they agree since $\partial g/\partial z_K$ is the inverse matrix of $\partial f/\partial z_0$, by the chain rule for $g(f(z)) = z$;
# - the paper prints one letter $q$ for both densities, with $z$ and $z'$ for the points.
#
# Variational inference makes its own draws, so the forward form is all that training needs. The inverse form is for *checking*: a density that can be evaluated anywhere can be integrated. (The inverse of a planar layer is the root of $a + c \tanh(a + b) = w^\top z_K$, one number whatever $D$ is; `invert_layer` in [planar.py](../nflib_min/planar.py) finds it, and the next notebook shows how.)
#
# Both forms contain $q_0(z_0)$. That factor is easily lost in copying, since the second equality looks balanced without it: a determinant on either side.
#
# > **Predict.** What is the mass of $q_K$? What is it if somebody multiplies by $\lvert\det J\rvert$ instead of dividing? And what does $\lvert\det J\rvert^{-1}$ alone, without $q_0$, integrate to over $-8 \le z_1, z_2 \le 8$, and over a square with twice the side?

# %%
base = StandardNormal(2)


def g(z_K):  # c = w.u = 3
    return invert_layer(u, w, b, c, 1 + c, z_K)[0]


def log_q_K(z_K):  # the inverse form
    return base.log_prob(g(z_K)) - log_det(g(z_K))


z_0 = np.random.default_rng(4).standard_normal((500, 2))
forward = base.log_prob(z_0) - log_det(z_0)
assert np.allclose(log_q_K(f(z_0)), forward, rtol=0, atol=1e-10)
mass = checks.total_mass(log_q_K, (-9.0, 9.0))
assert abs(mass - 1) < 1e-8
print(f"the two forms agree, and the mass is {mass:.4f}")

# %%
z, cell = checks.grid((-9.0, 9.0), 400)
wrong = np.exp(base.log_prob(g(z)) + log_det(g(z))).sum() * cell
squared = np.exp(base.log_prob(z) + 2 * log_det(z)).sum() * cell
assert abs(wrong - squared) < 1e-6 and 5.4 < wrong < 5.6
print(f"with the wrong sign the mass is E[det^2] = {wrong:.2f}")
for edge in (8.0, 16.0):
    lost = checks.total_mass(lambda z: -log_det(g(z)), (-edge, edge), 800)
    home = figures.area(g(figures.edge((-edge, -edge), 2 * edge, 5000)))
    assert abs(lost / home - 1) < 1e-3
    print(f"without q_0, side {2 * edge:.0f}: {lost:.0f}")

# %% [markdown]
# The mass is 1. With the wrong sign it is $\mathbb{E}_{q_0}[\lvert\det J\rvert^2]$, here 5.5. And without $q_0$ the integral is $\int \lvert\det \partial g/\partial z_K\rvert\, dz_K$, the area of rubber that has landed in the square: 197 in the small one, 904 in the large one. It knows nothing of sand. And a mass of 1 is what *every* density has, the wrong ones included.
#
# **For a one-to-one $f$ both forms of (5) give the density, and its mass is 1; a lost factor changes the mass, and so does a wrong sign unless $\mathbb{E}_{q_0}[\lvert\det J\rvert^2]$ happens to be 1. The converse does not hold: a mass of 1 does not prove a determinant (exercise 3).**
#
# ## Does the same hold in $D$ dimensions?
#
# Nothing was special to the plane. A tiny cube becomes a parallelepiped, whose volume is $\lvert\det J\rvert$ times the cube's, by shears and stretches as in [(N3)](#eq-N3). For a whole region $R$, conservation of mass reads
#
# <a id="eq-N4"></a>
#
# $$
# \begin{aligned}
# \int_R q_0(z_0)\, dz_0 &= \int_{f(R)} q_K(z_K)\, dz_K \\
# &= \int_R q_K(f(z_0))\, \left\lvert\det \frac{\partial f}{\partial z_0}\right\rvert dz_0
# \end{aligned} \tag{N4}
# $$
#
# - the first equality: the mass in $R$ goes to $f(R)$, and no other mass arrives there. That needs $f$ to be one-to-one;
# - the second: substitution in an integral;
# - this holds for *every* $R$, and two continuous functions with the same integral over every region are equal. That is [(5)](#eq-5).
#
# Programs keep logarithms, $\ln q_K(z_K) = \ln q_0(z_0) - \ln\lvert\det J\rvert$: a product of many small numbers underflows, a sum does not.
#
# In five dimensions a grid to integrate on would need too many points. But a log-determinant can be checked at any single point, by three routes that share no code: the formula; the whole Jacobian by autodiff; the whole Jacobian by central differences, $\partial f/\partial z_i \approx [f(z + \epsilon e_i) - f(z - \epsilon e_i)] / 2\epsilon$. The last two are in [checks.py](../nflib_min/checks.py).
#
# > **Predict.** Which step $\epsilon$ gives the best differences in double precision, with its 16 digits: $10^{-2}$, $10^{-5}$, or $10^{-10}$?

# %%
layer, rng = Planar(5, length=1), np.random.default_rng(2)
params = layer.init(rng) | {"u": rng.normal(size=(1, 5))}
z_0 = rng.standard_normal((200, 5))
formula = layer.forward_and_log_det(params, z_0)[1]
by_autodiff = checks.log_det_by_autodiff(layer, params, z_0)
assert np.allclose(formula, by_autodiff, rtol=0, atol=1e-12)
epsilon, error = 10.0 ** -np.arange(1.0, 13.0), []
for e in epsilon:
    by_differences = checks.log_det_by_differences(layer, params, z_0, e)
    error.append(np.abs(by_differences - formula).max())

# %% alt="Error of central differences against the step on logarithmic axes, a V: it falls as the step shrinks from 0.1 to 1e-5, and rises again from there to 1e-12." caption="Two errors, one step: a large one sees the curvature of $f$, a tiny one subtracts numbers that are nearly equal."
assert 90 < error[1] / error[2] < 110  # 1e-2 against 1e-3
rise = np.polyfit(np.log10(epsilon[6:]), np.log10(error[6:]), 1)[0]
assert abs(rise + 1) < 0.3 and np.argmin(error) in (4, 5)  # 1e-5 or 1e-6
assert min(error) < 1e-8
print("formula = autodiff to 1e-12, = the best differences to 1e-8: True")
figures.differences(epsilon, error)


# %% [markdown]
# About $10^{-5}$: there the two errors are equal. So a disagreement of $10^{-8}$ with differences is no reason to doubt a formula, and one of $10^{-2}$ is.
#
# **In any dimension a one-to-one map divides density by $\lvert\det J\rvert$. At a point a log-determinant is as good as proved if formula, autodiff and differences agree to what each can give; that $f$ is one-to-one they cannot see.**
#
# ## Can we do without the $D^3$?
#
# Elimination costs about $D^3/3$ multiplications, for every point and every layer. Here [(11)](#eq-11) pays: $J$ is the identity plus a matrix of rank one. If $v \perp \psi$, then $Jv = v + u\,(\psi^\top v) = v$; there are $D - 1$ such directions, and in them nothing happens. And $Ju = u + u\,(\psi^\top u) = (1 + \psi^\top u)\,u$. The determinant is the product of the eigenvalues, $D - 1$ ones and one other number:
#
# <a id="eq-12"></a>
#
# $$
# \begin{aligned}
# \left\lvert\det \frac{\partial f}{\partial z}\right\rvert &= \left\lvert\det(I + u\,\psi(z)^\top)\right\rvert \\
# &= \left\lvert 1 + u^\top \psi(z) \right\rvert
# \end{aligned} \tag{12}
# $$
#
# - this is the matrix determinant lemma. (If $\psi^\top u = 0$, these eigenvectors no longer span the space; but both sides are continuous in $u$, so it holds there too.)
# - $u^\top\psi = c\, h'(w^\top z + b)$: one product $c = w^\top u$ and one slope, the slope of the band along $w$.
#
# Times depend on the machine, but multiplications can be counted. By [(12)](#eq-12) they are $2D + 2$: $D$ for $w^\top z$, $D$ for $c$, one for $h^2$, one for $c\,(1 - h^2)$. The function below eliminates column by column, as a textbook does, and counts.
#
# > **Predict.** Double $D$. By what factor does each count grow?

# %%
def by_elimination(J):  # |det J| as the product of pivots, and its cost
    A, cost = J.copy(), len(J) - 1
    for i in range(len(A) - 1):
        factors = A[i + 1 :, i] / A[i, i]
        change = np.outer(factors, A[i, i + 1 :])
        A[i + 1 :, i + 1 :] -= change  # shears
        cost += factors.size + change.size
    return abs(np.prod(np.diag(A))), cost


# %%
costs = {}
for D in (8, 128, 256):
    some_u, some_w, z, v = rng.standard_normal((4, D)) / D**0.5
    psi = (1 - np.tanh(some_w @ z + 0.3) ** 2) * some_w
    J, v = jacobian(some_u, some_w, 0.3, z), v - psi * (psi @ v) / (psi @ psi)
    assert np.allclose(J @ v, v)  # v is orthogonal to psi
    assert np.allclose(J @ some_u, (1 + psi @ some_u) * some_u)
    det, costs[D] = by_elimination(J)
    assert np.isclose(det, abs(1 + some_u @ psi))  # (12)
assert abs(costs[256] / costs[128] - 8) < 0.1
assert abs(costs[256] / (256**3 / 3) - 1) < 0.01
print(f"multiplications at D = 256: {2 * 256 + 2} and {costs[256]:,}")

# %% [markdown]
# Twice as many by [(12)](#eq-12), eight times as many by elimination: at $D = 256$ that is 514 against more than five million. The paper puts a generic invertible network of $L$ layers at $O(LD^3)$, gradient included, and looks for maps with a cheap determinant before it looks at anything else.
#
# **A planar layer stretches along one direction only, so its determinant is one number, $\lvert 1 + u^\top\psi\rvert$, for $O(D)$ work instead of $O(D^3)$.**
#
# ## Do averages need the determinant?
#
# Often no density is wanted but an average, $\mathbb{E}_{q_K}[T(z_K)]$. By definition that is an integral against $q_K$, determinant and all. But a draw of $q_K$ is a moved draw of $q_0$, so one may as well average over the base. This is the law of the unconscious statistician (LOTUS):
#
# <a id="eq-8"></a>
#
# $$
# \mathbb{E}_{q_K}[T(z_K)] = \mathbb{E}_{q_0}[T(f(z_0))] \tag{8}
# $$
#
# - $T$: any function of the point (the paper calls it $h$, which here is the $h$ of [(10)](#eq-10));
# - no determinant: substitution puts $\lvert\det J\rvert$ into the integral and $\lvert\det J\rvert^{-1}$ into the density.
#
# One exception matters to us. If $T$ contains $q_K$ itself, the determinant comes back through the density. The entropy is such an average, and it sits in every evidence lower bound: with [(8)](#eq-8) and $\ln q_K(z_K) = \ln q_0(z_0) - \ln\lvert\det J\rvert$
#
# <a id="eq-N5"></a>
#
# $$
# \begin{aligned}
# -\mathbb{E}_{q_K}[\ln q_K(z_K)] &= -\mathbb{E}_{q_0}[\ln q_0(z_0)] \\
# &\quad + \mathbb{E}_{q_0}\!\left[\ln\left\lvert\det \frac{\partial f}{\partial z_0}\right\rvert\right]
# \end{aligned} \tag{N5}
# $$
#
# - the first term on the right: the entropy of the base, $\tfrac D2 \ln 2\pi e$ for a standard normal;
# - the second: the average log-stretch. A map adds as much entropy as it adds log-volume, on average, where the sand is.

# %%
z, cell = checks.grid((-9.0, 9.0), 400)
start, end = np.exp(base.log_prob(z)) * cell, np.exp(log_q_K(z)) * cell
by_base, by_flow = start @ f(z)[:, 0] ** 2, end @ z[:, 0] ** 2
assert abs(by_base - by_flow) < 1e-7  # (8)
entropy, gain = -end @ log_q_K(z), start @ log_det(z)
assert abs(entropy - np.log(2 * np.pi * np.e) - gain) < 1e-7  # (N5)
draws = log_det(np.random.default_rng(6).standard_normal((20_000, 2)))
assert abs(draws.mean() - gain) < 5 * draws.std() / 20_000**0.5
print(f"mean square of coordinate 1: {by_base:.4f} by either route")
print(f"entropy {entropy:.4f} nats, of which the map adds {gain:.4f}")


# %% [markdown]
# **Averages of functions of the point need no determinant; the entropy needs the mean log-determinant, and draws of the base alone give it.**
#
# ## Exercises
#
# Each check prints "not attempted", "correct", or what is wrong.
#
# ### Exercise 1: what is the density of $z_0^2$?
#
# Let $z_0 \sim N(0, 1)$ and $z_K = z_0^2$. Derive $\ln q_K(z_K)$ for $z_K > 0$ and write it as `log_square(z_K)`, for an array (n,). Decide first how many points land on one place, and at which point each factor is evaluated.

# %% tags=["exercise"]
def log_square(z_K):
    return None  # your turn


# %% tags=["check"]
exercises.log_square(log_square)


# %% [markdown]
# ### Exercise 2: can you read a determinant off a picture?
#
# The paper's radial map (14), $f(z) = z + \beta\,(z - z_\text{ref})/(\alpha + r)$ with $r = \lvert z - z_\text{ref}\rvert$, moves points along rays from $z_\text{ref}$. Find its $\ln\lvert\det\rvert$ without any matrix. By how much does it stretch in each of the directions *across* the ray? (Think of how a circle of radius $r$ grows.) By how much *along* the ray? (Differentiate the new radius.) Write it as `log_det_radial(r, alpha, beta, d)` for distances $r$, an array (n,), in $d$ dimensions.

# %% tags=["exercise"]
def log_det_radial(r, alpha, beta, d):
    return None  # your turn


# %% tags=["check"]
exercises.log_det_radial(log_det_radial)

# %% [markdown]
# ### Exercise 3: which wrong determinant has mass 1?
#
# Four people claim to know $\lvert\det J\rvert$ of the layer in the first figure. Their claims are `exercises.claims["A"]` to `["D"]`, functions of points $z_0$ (n, 2) that return (n,). Test them with what this notebook has: `base`, `g`, `checks.total_mass`, `jacobian`. Set `wrong` to the letters of the wrong claims, such as `"A, C"`, and `unseen` to the one among them whose $q_K$ has mass 1 all the same. Why has it?

# %% tags=["exercise"]
wrong = None  # your turn
unseen = None

# %% tags=["check"]
exercises.planted(wrong, unseen)

# %% [markdown]
# ### Exercise 4: can you make two modes from one?
#
# On the line let $f(z) = z + u \tanh(wz)$ and $z_0 \sim N(0, 1)$. Choose `answer = (u, w)` such that $q_K$ has exactly two modes, at $\pm 2$ to within $0.1$, with at least 50 times less density at 0 than at the modes. Hint: compare how fast $\ln q_0$ and $\ln f'$ fall near 0. Could the density at 0 be made zero?

# %% tags=["exercise"]
answer = None  # your turn

# %% tags=["check"]
exercises.two_modes(answer)

# %% [markdown]
# ## Break it: what if nothing forbids the fold?
#
# Back to the band with $c = -3$. Formula, autodiff and differences still agree on its slope, since each looks at a point and its neighbors, and there nothing is wrong. And in variational inference nobody evaluates $q_K$ through an inverse. So let us report $\ln q_0(z_0) - \ln\lvert f'(z_0)\rvert$ for each draw, as (5) says, and use as target the density that the folded draws really have, the sum of their shares. Its log-evidence is $\ln 1 = 0$, and no bound can lie above that.

# %%
z_0 = np.random.default_rng(7).standard_normal(20_000)
z_K = band(z_0, -3.0)
by_autodiff = elementwise_grad(lambda z: band(z, -3.0))(z_0)
assert np.allclose(slope(z_0, -3.0), by_autodiff, rtol=0, atol=1e-12)
own = np.log(q_0(z_0)) - np.log(abs(slope(z_0, -3.0)))  # (5)
target = np.log(shares(z_K).sum(axis=0))  # (N2), what the draws have
parts = shares(z_K) / shares(z_K).sum(axis=0)  # one column adds up to 1
entropy = -(parts * np.log(parts + (parts == 0))).sum(axis=0).mean()
assert abs((target - own).mean() - entropy) < 0.02 and entropy < np.log(3)
try:
    checks.check_bound(target - own, 0.0)
    raise RuntimeError("the check let a bound above the evidence pass")
except AssertionError as error:
    print(error)

# %% [markdown]
# **Symptom:** local checks pass, and yet the bound is too high, here by about 0.89 nats. Why that much? One share over the sum of the shares is the probability $\lambda$ that a grain which lies at this place has come by this branch. What the bound gains is $-\mathbb{E}_{q_0}[\ln \lambda]$, the mean entropy of the branch: between 0, where the band lies once, and $\ln 3$, where three equal shares meet. **Cure:** keep $w^\top u > -1$; `Planar` does so by `constrain`. A round trip $g(f(z_0)) = z_0$ that does not come home shows the fold as well.
#
# ## What to remember
#
# - Mass is kept, and density is mass per volume: $\ln q_K(z_K) = \ln q_0(z_0) - \ln\lvert\det J\rvert$ for a one-to-one map. If several points land on one place, their shares add up.
# - A determinant measures volume because a linear map is made of shears, which keep it, and stretches, which multiply it.
# - Forward form for draws, inverse form for given places; both contain $q_0(z_0)$.
# - Integrate: a lost factor and a wrong sign show in the mass. But a mass of 1 proves no determinant; formula, autodiff and differences at a point do.
# - A planar layer is a map of the line along $w$. Its determinant is $1 + u^\top\psi$, $O(D)$ instead of $O(D^3)$, and it is one-to-one if $w^\top u > -1$.
# - Averages of the point need no determinant; the entropy needs the mean log-determinant.
#
# ## In practice: which way is forward?
#
# Two families of libraries use the same words for opposite directions. Where the map goes from the base to the data, the log-density *subtracts* its log-determinant; where it goes from the data to the base ("noise"), it *adds* it. Both are (5). [`Inverse`](../nflib_min/flow.py) turns a map of the first family into one of the second.
#
# | where | the map goes | to $\ln q_0(z_0)$ one | first in a list stands |
# |---|---|---|---|
# | the paper, (5)-(7) | $f$: base → flow | subtracts $\ln\lvert\det\partial f/\partial z\rvert$ | next to the base |
# | `nflib_min` | `forward`: base → flow | subtracts the log-det of `forward_and_log_det` | next to the base |
# | TensorFlow Probability | `forward`: base → data | adds `inverse_log_det_jacobian(y)` | next to the *data*: `Chain([f, g])` is $f \circ g$ |
# | `torch.distributions`, Pyro | `t(x)`: base → data | subtracts `log_abs_det_jacobian(x, y)` | next to the base |
# | normflows | `forward`: base → data | subtracts the second value of `forward` | next to the base |
# | flowjax | `transform`: base → data | subtracts that of `transform_and_log_det` | next to the base |
# | nflows | `forward`: *data → noise* | *adds* the second value of `forward` | next to the *data* |
# | zuko | `transform`: *data → base* | *adds* the second value of `call_and_ladj` | next to the *data* |
#
# (Read in the sources of TensorFlow Probability 0.25, Pyro 1.9.2, normflows 1.7.3, flowjax 19.1, nflows 0.14 and zuko 1.6, and in the documentation of PyTorch. Conventions do change: early versions of normflows returned the opposite sign from `NormalizingFlow.forward_and_log_det`.)
#
# The planar map itself is `normflows.flows.Planar`, `pyro.distributions.transforms.Planar` and `flowjax.bijections.Planar`. With $h = \tanh$ none of the three inverts it at a point that it has not itself produced, so none can integrate its own density. Whatever you use, write the density in its convention, compare it with draws, and integrate it where you can.
#
# ## References
#
# - D. J. Rezende and S. Mohamed (2015), *Variational inference with normalizing flows*, ICML, [arXiv:1505.05770](https://arxiv.org/abs/1505.05770). The change of variables is eq. (5), averages without determinants eq. (8), the planar map and its determinant eqs. (10)-(12), the radial map eq. (14); invertibility is appendix A.
# - E. G. Tabak and E. Vanden-Eijnden (2010), *Density estimation by dual ascent of the log-likelihood*, Communications in Mathematical Sciences 8, and E. G. Tabak and C. V. Turner (2013), *A family of nonparametric density estimation algorithms*, Communications on Pure and Applied Mathematics 66. Where normalizing flows come from: simple maps with tractable Jacobians, one after another.
# - G. Papamakarios, E. Nalisnick, D. J. Rezende, S. Mohamed and B. Lakshminarayanan (2021), *Normalizing flows for probabilistic modeling and inference*, JMLR 22. Section 2.1 gives both forms, eqs. (2) and (3); section 3 shows how the need for cheap determinants shapes the architectures.
# - R. van den Berg, L. Hasenclever, J. M. Tomczak and M. Welling (2018), *Sylvester normalizing flows for variational inference*, UAI. Layers that push along M directions at once, cheap because $\det(I_D + UV^\top) = \det(I_M + V^\top U)$; eq. (12) is the case M = 1.
# - D. A. Harville (1997), *Matrix algebra from a statistician's perspective*, Springer. Chapter 18 proves the determinant of a matrix plus a low-rank one; the lemma behind eq. (12) is the simplest case.
