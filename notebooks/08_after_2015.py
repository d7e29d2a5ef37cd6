# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   post:
#     categories:
#     - flows
#     date: '2026-11-27'
#     description: Wider and triangular maps, a bound from above, flows as proposals
#       of a sampler, and velocities learned by regression
#     tags:
#     - normalizing-flows
#     - variational-inference
#     title: What came after 2015?
# ---

# %% [markdown]
# # What came after 2015?
#
# Wider maps whose determinant is still cheap, a bound from above, samplers that make a flow's answer exact, and velocities learned by regression: four answers to four limits of [Variational inference with normalizing flows](https://arxiv.org/abs/1505.05770) (Rezende and Mohamed, 2015), each tried here in a few lines.
#
# Two approximations $q_a$ and $q_b$ claim the same posterior, the third test density $U_3$ of the paper. Where its ridge splits in two, $q_a$ knows the upper branch only. Yet their evidence lower bounds (ELBO) differ by a tenth of a nat. What would have told us? And would $q_a$, $q_b$ be of any use to a method that must be right in the end?

# %% tags=["setup", "hide-input"]
from functools import partial

import autograd.numpy as anp
import numpy as np
from autograd import jacobian

import nflib_min as nf
from nflib_min import targets
from notebooks.exercises import after_2015 as exercises
from notebooks.figures import after_2015 as figures

# %% tags=["hide-input"] alt="Three square panels. The target is a wave whose ridge splits in two for a stretch; the draws of the first approximation follow the upper branch only, those of the second both branches." caption="The target, and draws of two approximations: $q_a$ is the upper ridge alone, $q_b$ a trained flow of planar layers."
from nflib_min.targets.table_1 import w1, wall

p, rng = nf.table_1("U3"), np.random.default_rng(2)
ln_Z = p.log_normalizer


def log_q_a(z):  # the upper ridge alone, which is half of the mass
    square = ((z[:, 1] - w1(z[:, 0])) / 0.35) ** 2
    return -0.5 * square - wall(z) - ln_Z + np.log(2)


def draw_q_a(n, rng):
    z_1 = p.sample(n, rng)[:, 0]
    return np.stack([z_1, w1(z_1) + 0.35 * rng.standard_normal(n)], axis=1)


q_b = nf.Flow(nf.StandardNormal(2), nf.Chain([nf.Affine(2), nf.Planar(2, 16)]))
beta = partial(nf.inverse_temperature, length=1200)  # (20) of the paper
loss = nf.FreeEnergy(q_b, p, 128, annealing=beta)
rate = nf.cosine_decay(2e-2, 2500)
phi = nf.fit(loss, q_b.init(rng), 2500, rng, learning_rate=rate).params
figures.two_posteriors(p, draw_q_a(2000, rng), q_b.sample(phi, 2000, rng))

# %% [markdown]
# You will be able to
#
# 1. compute the log-determinant of a Sylvester layer from an $M \times M$ matrix, and say which direction of an autoregressive map is the slow one;
# 2. put $\ln Z$ between two bounds, and say which of the two sees a lost branch;
# 3. use a flow as a proposal, and count evaluations for each effective draw;
# 4. regress a velocity on straight paths, and say why this does not replace variational inference.
#
# You need: the ELBO ([01](01_elbo.ipynb)), log-determinants ([02](02_change_of_variables.ipynb)), flows as differential equations ([04](04_infinitesimal_flows.ipynb)), lost modes ([07](07_when_flows_fail.ipynb)). Time: 40 minutes, exercises included.
#
# Previous: [How do flows go wrong, and who notices?](07_when_flows_fail.ipynb)
#
# Direction: forward takes noise $\epsilon$ or $z_0$ to $z$, from the base to the flow. $\tilde p = Z p$ is the target without its normalizer; for $U_3$, walled as in [notebook 03](03_flow_composition.ipynb), $\ln Z$ and exact draws are known.
#
# | symbol | meaning | in the code |
# |---|---|---|
# | $q_a$, $q_b$ | the upper ridge alone; the trained flow | `log_q_a`, `draw_q_a`; `q_b`, `phi` |
# | $U, W, H$ | a Sylvester layer's $M$ directions, and its slopes | `U`, `W`, `slopes` |
# | $\mu_i$, $\sigma_i$ | shift and scale of coordinate $i$, given those before | `network` |
# | $\omega = \tilde p / q$ | importance weight | `log_omega` |
# | $v(z, t)$ | velocity at place $z$ and time $t$ | `v`, `features` |
#
# ## Can a layer be wider than one direction?
#
# **2015.** Section 4 of the paper asks for maps whose determinant costs $O(D)$. A planar layer pays for it: it pushes along one direction $u$ and looks along one direction $w$. A **Sylvester** layer has $M$ of each:
#
# <a id="eq-N1"></a>
#
# $$
# \begin{aligned}
# f(z) &= z + U\, h(W z + b), \qquad J = I_D + U H W \\
# \det J &= \det(I_M + H W U)
# \end{aligned} \tag{N1}
# $$
#
# - $U$ is $D \times M$, $W$ is $M \times D$, and $H$ is the diagonal matrix of the $M$ slopes $h'$;
# - the second line is Sylvester's identity. Eliminate in $\begin{pmatrix} I_M & -HW \\ U & I_D \end{pmatrix}$, once from its upper left corner and once from the lower right: one way leaves $\det(I_D + UHW)$, the other $\det(I_M + HWU)$;
# - $M = 1$ gives $1 + h'\, w^\top u$, the planar determinant.
#
# > **Predict.** With $D = 6$ and $M = 2$, how many of the six eigenvalues of $J$ can differ from 1?

# %%
D, M = 6, 2
U, W = rng.standard_normal((D, M)), rng.standard_normal((M, D))
point = rng.standard_normal(D) / 3


def sylvester(z):
    return z + anp.dot(U, anp.tanh(anp.dot(W, z)))


# %%
slopes = 1 - np.tanh(W @ point) ** 2
small = np.linalg.slogdet(np.eye(M) + slopes[:, None] * (W @ U))[1]  # (N1)
J = jacobian(sylvester)(point)
assert np.isclose(small, np.linalg.slogdet(J)[1], rtol=0, atol=1e-10)
assert np.linalg.matrix_rank(J - np.eye(D)) == M
Q = np.linalg.qr(U)[0]  # U = Q R and W = Q^T: at z = 0 every slope is 1
for r_11, one_to_one in ((-0.9, True), (-1.1, False)):
    R = np.array([[r_11, 2.0], [0.0, 0.5]])
    assert (np.linalg.det(np.eye(D) + Q @ R @ Q.T) > 0) == one_to_one
print(f"ln|det| by a {M} x {M} and by a {D} x {D} matrix: equal")

# %% [markdown]
# At most two. The identity holds for every $U$ and $W$; invertibility does not. The authors write $U = QR$ and $W = \tilde R Q^\top$ with orthonormal columns $Q$ and triangular $R, \tilde R$. Then $WU = \tilde R R$ is triangular too, its determinant is the product of $1 + h'_i\, \tilde r_{ii} r_{ii}$, and $\tilde r_{ii} r_{ii} > -1$ is enough, as $w^\top u > -1$ was. (The last lines of the cell stand on either side of that border.)
#
# **A layer that pushes along $M$ directions has an $M \times M$ determinant, for any $U$ and $W$. That it is invertible has to be arranged separately.**
#
# ## What if the Jacobian is triangular?
#
# The other way to a cheap determinant gives up no direction at all, but puts the coordinates in an order. Each is shifted and scaled by what came before:
#
# <a id="eq-N2"></a>
#
# $$
# z_i = \mu_i(z_{<i}) + \sigma_i(z_{<i})\, \epsilon_i, \qquad \ln\lvert\det J\rvert = \sum_i \ln \sigma_i \tag{N2}
# $$
#
# - $z_{<i}$: the coordinates before $i$; a network with masked weights, 0 for what an output must not see, returns all $\mu_i$ and $\ln\sigma_i$ in one call;
# - $J = \partial z / \partial \epsilon$ is triangular, so its determinant is the product of its diagonal;
# - given $z$, all $\epsilon_i = (z_i - \mu_i)/\sigma_i$ come from *one* call. Given $\epsilon$, the $z_i$ come one after another.
#
# > **Predict.** Start at $z = 0$ and put the current $z$ into the right side of (N2), again and again. When is $z$ right?

# %%
A, B, C = np.triu(rng.standard_normal((3, D, D)))
A -= np.diag(np.diag(A))  # hidden unit i sees only what comes before i


def network(z):
    hidden = anp.tanh(anp.dot(z, A) / 2)
    return anp.dot(hidden, B), anp.dot(hidden, C) / 3


def density_way(z):  # one call: eps, and ln|det dz/deps|
    mu, log_sigma = network(z)
    return (z - mu) * anp.exp(-log_sigma), anp.sum(log_sigma)


# %%
eps, log_det = density_way(point)
T = np.linalg.inv(jacobian(lambda z: density_way(z)[0])(point))
assert np.allclose(T, np.tril(T)) and np.all(np.diag(T) > 0)
assert np.isclose(log_det, np.linalg.slogdet(T)[1])

# %% alt="Four panels. What a planar layer adds to the identity is a pattern of one row times one column, a Sylvester layer adds a richer one, an autoregressive layer a lower triangle; in the last panel a staircase shows coordinate k becoming right with sweep k." caption="What a layer adds to the identity, darker for larger entries: rank 1, rank 2, a triangle. Right: drawing from the triangular map by repeated substitution; each sweep makes one more coordinate right."
z, errors = np.zeros(D), []
for _ in range(D):
    mu, log_sigma = network(z)
    z = mu + np.exp(log_sigma) * eps
    errors.append(np.abs(z - point))
errors = np.array(errors)
for sweep in range(D):
    assert errors[sweep, : sweep + 1].max() < 1e-11
assert errors[D - 2, D - 1] > 1e-10
planar = np.eye(D) + slopes[0] * np.outer(U[:, 0], W[0])
both = {"planar": planar, "Sylvester, M = 2": J, "autoregressive": T}
figures.jacobians(both, errors)


# %% [markdown]
# After $D$ sweeps, and not before, though close to it earlier: the last coordinate waits for all others. So one direction costs one call of the network, the other $D$. Which one gets the cheap direction is a choice and gives the two their names: masked autoregressive flow (MAF) as in (N2), cheap densities for given data; inverse autoregressive flow (IAF), with $\epsilon_{<i}$ in place of $z_{<i}$, cheap draws. Variational inference draws and needs $\ln q$ of its own draws only, so it wants IAF. A coupling layer ([03](03_flow_composition.ipynb)) has two blocks instead of $D$ coordinates, and is cheap both ways.
#
# **Autoregressive maps have a determinant for free, whatever the network. One direction takes one call, the other $D$, unless the coordinates come in few blocks.**
#
# ## Is there a bound from above?
#
# **2015.** The paper trains and compares by a bound from below, and what it bounds is unknown. The gap is $D_{\mathrm{KL}}[q \Vert p]$, and a branch that $q$ has lost costs at most a logarithm. Take the average over $p$ instead:
#
# <a id="eq-N3"></a>
#
# $$
# \begin{aligned}
# \mathbb{E}_q\!\left[\ln \frac{\tilde p}{q}\right] &= \ln Z - D_{\mathrm{KL}}[q \Vert p] \le \ln Z \\
# \mathbb{E}_p\!\left[\ln \frac{\tilde p}{q}\right] &= \ln Z + D_{\mathrm{KL}}[p \Vert q] \ge \ln Z
# \end{aligned} \tag{N3}
# $$
#
# - the second is the *evidence upper bound* (EUBO). Derivation: $\tilde p = Zp$, and $\mathbb{E}_p[\ln p/q]$ is a divergence;
# - it needs draws of $p$. On a test problem they can be had, and there it judges a method; on a real posterior they are what we lack.
#
# > **Predict.** $q_a$ is exact up to the branch that it lost. How far off is its lower bound at most, and is its upper bound off by more or by less?

# %% alt="Two horizontal bars around the line of ln Z. Both lower bounds lie close to the line; the upper bound of the first approximation is two nats above it, that of the second close." caption="The sandwich. The lower bounds are close to each other; the upper one of $q_a$ gives the lost branch away."
def both_bounds(z_q, log_q_of):
    z_p = p.sample(20_000, rng)
    below = p.log_density(z_q) - log_q_of(z_q)
    above = p.log_density(z_p) - log_q_of(z_p)
    assert below.mean() < ln_Z + 5 * below.std() / len(z_q) ** 0.5
    assert above.mean() > ln_Z - 5 * above.std() / len(z_p) ** 0.5
    return below.mean(), above.mean()


log_q_b = partial(q_b.log_prob, phi)
bounds = {
    "$q_a$": both_bounds(draw_q_a(20_000, rng), log_q_a),
    "$q_b$": both_bounds(q_b.sample(phi, 20_000, rng), log_q_b),
}
figures.sandwich(bounds, ln_Z)

# %%
gap_below, gap_above = np.abs(np.array(list(bounds.values())).T - ln_Z)
assert gap_below[0] < 0.2 and abs(gap_below[0] - gap_below[1]) < 0.15
assert gap_above[0] > max(1.5, 10 * gap_below[0], 2 * gap_above[1])


def on_lower(z):  # where the ridge is split, nearer to the lower branch
    return (np.abs(z[:, 0] - 1) < 0.6) & (z[:, 1] < w1(z[:, 0]) - 1)


n = 20_000
draws = p.sample(n, rng), draw_q_a(n, rng), q_b.sample(phi, n, rng)
visits = [on_lower(z).mean() for z in draws]
assert visits[0] > 0.05 and visits[1] < 0.003 and visits[2] > 0.02
print("q_a is off by less than 0.2 nats below, by more than 1.5 above")


# %% [markdown]
# At most $\ln 2$, since $q_a \le 2p$ everywhere; here by less than 0.2, because the branches run together for most of the way. Above it is off by more than ten times as much: a draw of the lower branch lies up to $3/0.35 = 8.6$ standard deviations from the ridge that $q_a$ knows. Can $q_a$'s own draws, weighted by $\tilde p/q_a$, replace those of $p$? No weight helps where there is no draw: of the draws of $p$ one in fifteen lies on the branch, of those of $q_a$ fewer than three in a thousand.
#
# **ELBO and EUBO enclose $\ln Z$. If $q$ is right but for a lost branch, one of two equal ones, the ELBO misses at most $\ln 2$, the EUBO the more the further the branch is away. The EUBO needs draws of $p$, so it tests a method where the answer is known.**
#
# ## Can a flow make a sampler faster?
#
# **2015.** The introduction holds against variational inference that, unlike a Markov chain, it cannot reach the true posterior even with unlimited computing. Let the chain use the flow: propose $z' \sim q$, whatever the current $z$, and accept with probability
#
# <a id="eq-N4"></a>
#
# $$
# \min\!\left(1, \frac{\omega(z')}{\omega(z)}\right), \qquad \omega = \frac{\tilde p}{q} \tag{N4}
# $$
#
# - this is *independence Metropolis*. The chain has $p$ as its stationary law for every $q > 0$, since $p(z)\, q(z') \min(1, \omega'/\omega)$ is symmetric in $z$ and $z'$;
# - if $q = p$ every proposal is accepted; where $\omega$ is very large the chain gets stuck;
# - Metropolis needs no $Z$, and no gradient.
#
# The rival is a random walk, $z' = z + 1.5\,\xi$ with $\xi \sim N(0, I)$, the same rule with $\omega = \tilde p$. An *effective draw* is $n/\mathrm{ESS}$ steps long; ESS, here that of a chain and not of weights, is read off the autocorrelation of $z_1$.
#
# > **Predict.** The walk accepts about a quarter of its proposals, which is what the textbooks advise. How many evaluations of $\tilde p$ does it need for an effective draw along the wave?

# %%
def metropolis(start, propose, log_omega, steps, rng):  # many chains at once
    z, log_w, path = start, log_omega(start), []
    for _ in range(steps):
        new = propose(z)
        log_w_new = log_omega(new)
        take = np.log(rng.random(len(z))) < log_w_new - log_w  # (N4)
        z = np.where(take[:, None], new, z)
        log_w = np.where(take, log_w_new, log_w)
        path.append(z)
    return np.array(path)  # (steps, chains, 2)


def steps_per_draw(x):  # 1 + 2 (the sum of autocorrelations), (steps, chains)
    n, x = len(x), x - x.mean()
    rho = np.fft.irfft(np.abs(np.fft.rfft(x, 2 * n, axis=0)) ** 2, axis=0)
    rho = rho[:n].mean(axis=1) / rho[0].mean()
    pairs = rho[0 : n - 1 : 2] + rho[1:n:2]  # Geyer: stop at the first below 0
    return 2 * pairs[: np.argmax(pairs < 0)].sum() - 1


# %%
def step(z):
    return z + 1.5 * rng.standard_normal(z.shape)


def from_a(z):
    return draw_q_a(len(z), rng)


def from_b(z):
    return q_b.sample(phi, len(z), rng)


def log_omega(log_q, z):
    return p.log_density(z) - log_q(z)


start = p.sample(20, rng)

# %% alt="Three traces of the first coordinate over 400 steps. The random walk wanders slowly and covers the range in no hurry; the chain that proposes from the trained flow jumps over the whole range, and so does the chain that proposes from q_a." caption="One chain each. The last two look equally healthy; the last one hardly ever visits the lower branch."
omega_a, omega_b = partial(log_omega, log_q_a), partial(log_omega, log_q_b)
walk = metropolis(start, step, p.log_density, 2000, rng)
jumps = metropolis(start, from_b, omega_b, 1000, rng)
lost = metropolis(draw_q_a(20, rng), from_a, omega_a, 1000, rng)
cost = [steps_per_draw(path[:, :, 0]) for path in (walk, jumps)]
assert cost[0] > 30 and cost[1] < 10
assert abs(on_lower(jumps.reshape(-1, 2)).mean() - visits[0]) < 0.02
assert 0.2 < (np.diff(walk[:, :, 0], axis=0) != 0).mean() < 0.3
names = "random walk", "proposals of the flow $q_b$", "proposals of $q_a$"
traces = [path[:400, 0, 0] for path in (walk, jumps, lost)]
figures.chains(dict(zip(names, traces, strict=True)))
print("evaluations per effective draw: > 30 for the walk, < 10 for the flow")

# %% [markdown]
# More than thirty. The flow's chain needs fewer than ten, in our run one or two, and it visits the lower branch as often as $p$ does. But the flow was not free: its training evaluated $\tilde p$ and its gradient $2500 \cdot 128 = 320{,}000$ times. A walk with 60 evaluations a draw has made some 5,000 effective draws by then, and only beyond that number can the flow pay. Nor is a flow needed for every good map. In the centered eight schools of [notebook 06](06_real_posteriors.ipynb) the effects $\theta_j \sim N(\mu, \tau^2)$ are a funnel. *NeuTra* samples in the coordinates of the base: with $z = f(\eta)$ the density there is $\tilde p(f(\eta))\,\lvert\det J\rvert$. For the schools $f$ can be written by hand, it is triangular, and it is better known as non-centering:

# %%
from reproduce import results

centered, other = targets.eight_schools(centred=True), targets.eight_schools()


def f(eta):  # theta_j = mu + tau eta_j: (N2) with mu and ln tau first
    theta = eta[:, :1] + np.exp(eta[:, 1:2]) * eta[:, 2:]
    return np.hstack([eta[:, :2], theta]), 8 * eta[:, 1]


eta = other.sample(100, rng)
z, log_det = f(eta)
pulled = centered.log_density(z) + log_det
assert np.allclose(pulled, other.log_density(eta), rtol=0, atol=1e-8)
both = "eight_schools_centred", "eight_schools_non_centred"
runs = [results.reference(name)["cost"] for name in both]
before, after = (run["gradients_per_effective_draw"] for run in runs)
assert before > 10 * after
print(f"NUTS, gradients per effective draw: {before:.0f}, then {after:.0f}")

# %% [markdown]
# These are the stored runs of NUTS, the no-U-turn sampler, that notebook 06 reads. What NeuTra adds is that the map need not be known: a flow, trained on the ELBO, takes its place.
#
# **A good map makes a chain cheap by evaluations, and the chain makes the answer exact in the limit. The training has to be paid by the number of draws; and "in the limit" says nothing where $q$ never goes.**
#
# ## Why are velocities regressed today?
#
# **2015.** Section 3.2 of the paper lets the flow become an infinitely long one, but the velocities it has are given, not learned. Learning one through an ODE solver and a trace is possible ([04](04_infinitesimal_flows.ipynb)) and slow. **Flow matching** avoids both. Draw pairs $z_0 \sim q_0$ and $z_1 \sim p$, join them by straight lines, and regress:
#
# <a id="eq-N5"></a>
#
# $$
# \begin{aligned}
# z_t &= (1 - t)\, z_0 + t\, z_1 \\
# \min_v\ & \mathbb{E}\,\big\lvert v(z_t, t) - (z_1 - z_0) \big\rvert^2
# \end{aligned} \tag{N5}
# $$
#
# - here $z_1$ is the draw at time 1, not a coordinate;
# - the least squares are attained by the mean velocity of the lines through a place, $v(z, t) = \mathbb{E}[z_1 - z_0 \mid z_t = z]$;
# - that mean carries the same mass through every place as the lines do, so it moves $q_0$ to $p$ (exercise 3 has the Gaussian case).
#
# Any regression will do. Here $v$ is a weighted sum of 500 fixed cosines of $(z, t)$, and training is one linear system.
#
# > **Predict.** Lines of different pairs can be at one place at one time. Can two paths of $v$?

# %%
frequency = rng.standard_normal((3, 500)) * np.array([[1.6], [1.6], [1.5]])
phase = rng.uniform(0, 2 * np.pi, 500)


def features(z, t):
    z_and_t = np.column_stack([z, np.broadcast_to(t, len(z))])
    return np.cos(z_and_t @ frequency + phase)


def match(z_1, rng):  # (N5), by least squares; draws go in, no density
    z_0, t = rng.standard_normal(z_1.shape), rng.random(len(z_1))
    X = features(z_0 + t[:, None] * (z_1 - z_0), t)
    return np.linalg.solve(X.T @ X + np.eye(500), X.T @ (z_1 - z_0))


# %%
def carry(v, z, steps=25):  # the midpoint rule from t = 0 to t = 1
    path = [z]
    for t in np.arange(steps) / steps:
        middle = z + features(z, t) @ v / (2 * steps)
        z = z + features(middle, t + 0.5 / steps) @ v / steps
        path.append(z)
    return np.array(path)


# %% alt="Three panels: straight lines from a round cloud to the wave, crossing each other everywhere; curved paths that fan out; the ends of the paths, a somewhat blurred wave with both branches." caption="Left: pairs of draws. Middle: the mean velocity bends the lines, so that no two are at one place at one time. Right: 2000 ends, blurred by a small regression, but on both branches."
z_1 = p.sample(20_000, rng)
v, z_0 = match(z_1, rng), rng.standard_normal((2000, 2))
path = carry(v, z_0)
shares = [on_lower(z).mean() for z in (z_1, path[-1])]
assert 0.05 < shares[0] < 0.08 and 0.03 < shares[1] < 0.12
steps = np.linspace(0, 1, 26)[:, None, None]
figures.paths((1 - steps) * z_0 + steps * z_1[:2000], path)
print(f"share on the lower branch: {shares[0]:.2f} of p")


# %% [markdown]
# They never meet: an ODE has one velocity at each place and time. (The picture hides time; where two curves cross in it, they pass at different times.) No solver ran in training, no trace, no $\ln p$. That last is the catch. The loss never asks the target what its density is; it needs *draws* of the target, and variational inference begins where there are none. What can be done with $\tilde p$ alone is a loop: draws from a chain or from the current flow, weighted, then regression, then better draws.
#
# **Flow matching turns learning a continuous flow into least squares and reaches $p$ if the regression is good and the draws are of $p$. It learns its draws, not the density: by itself it is no variational inference.**
#
# ## Exercises
#
# Each check prints "not attempted", "correct", or what is wrong.
#
# ### Exercise 1: What is the determinant of a wide layer?
#
# Write $\ln\lvert\det J\rvert$ of a Sylvester layer for many points, without a $D \times D$ matrix. Given are `U` (D, M), `W` (M, D) and the slopes `slopes` (n, M) of the $M$ units at each point. Return (n,).

# %% tags=["exercise"]
def log_det_sylvester(U, W, slopes):
    return None  # your turn


# %% tags=["check"]
exercises.log_det_sylvester(log_det_sylvester)


# %% [markdown]
# ### Exercise 2: How wide is the sandwich?
#
# Let $q = N(0, 1)$ and $p = N(m, s^2)$ on the line. Derive EUBO minus ELBO as `width(m, s)`. For which $s$ is it small at $m = 0$, and which of its two parts explodes as $s$ grows?

# %% tags=["exercise"]
def width(m, s):
    return None  # your turn


# %% tags=["check"]
exercises.width(width)


# %% [markdown]
# ### Exercise 3: What is the mean velocity between two Gaussians?
#
# Let $z_0 \sim N(0, 1)$ and $z_1 \sim N(m, s^2)$ be independent and $z_t = (1 - t) z_0 + t z_1$. Derive $v(z, t) = \mathbb{E}[z_1 - z_0 \mid z_t = z]$ and write it as `velocity(z, t, m, s)`. All three are jointly Gaussian: the conditional mean is the mean plus covariance over variance times what $z$ deviates.

# %% tags=["exercise"]
def velocity(z, t, m, s):
    return None  # your turn


# %% tags=["check"]
exercises.velocity(velocity)

# %% [markdown]
# ## Break it: what if the draws are those of $q_a$?
#
# Everything that this notebook praised can be fed with a lost branch. The chain with proposals of $q_a$ is a right chain for $p$, since $q_a > 0$ everywhere; the regression is a right regression. Let both run.

# %%
seen = on_lower(lost.reshape(-1, 2)).mean()
fooled = carry(match(draw_q_a(20_000, rng), rng), z_0)[-1]
taken = (np.diff(lost[:, :, 0], axis=0) != 0).mean()
assert taken > 0.7 and seen < 0.01 and shares[0] > 5 * seen
assert on_lower(fooled).mean() < shares[1] / 2
print("accepted more than 0.7 of the proposals, and the branch is missing")

# %% [markdown]
# **Symptom:** none here. The chain accepts more than seven proposals in ten and its trace looks like that of independent draws; the regression does not object either. (With another seed the chain may land on the branch once and then stay for hundreds of steps, since $\omega$ is huge there: the same failure, seen from the other side. Between islands that do not touch even this will not happen.) **Cure:** the EUBO on a test problem that resembles yours; chains and flows from several starts; a local move, such as the random walk, between the jumps, which can at least walk to a branch that is connected.
#
# ## What to remember
#
# - Two ways to a cheap determinant: low rank (planar, Sylvester: $M \times M$) and triangular (IAF, MAF, coupling: a sum of $\ln\sigma_i$).
# - An autoregressive map is cheap in one direction and takes $D$ calls in the other. Variational inference wants cheap draws.
# - ELBO $\le \ln Z \le$ EUBO. The upper bound sees a lost branch, and needs draws of $p$.
# - A flow's answer becomes exact as the proposal of a chain or as its coordinates. Count the training as well.
# - Flow matching learns from draws, by least squares. It has taken over where data are given; where only $\tilde p$ is, something must make draws first.
#
# ## In practice
#
# | here | the library that does it today |
# |---|---|
# | Sylvester | `pyro.distributions.transforms.Sylvester` |
# | MAF, IAF | zuko's `MAF`; `AffineAutoregressive` in Pyro; `MaskedAutoregressiveFlow` with `Invert` in TensorFlow Probability |
# | independence Metropolis with a flow | flowMC, which mixes it with local moves |
# | NeuTra | `NeuTraReparam` in NumPyro and Pyro |
# | flow matching | TorchCFM; Meta's `flow_matching` |
#
# ## References
#
# - D. J. Rezende and S. Mohamed (2015), *Variational inference with normalizing flows*, ICML, [arXiv:1505.05770](https://arxiv.org/abs/1505.05770). The planar determinant is eq. (12), the bound eq. (15); infinitesimal flows are section 3.2.
# - R. van den Berg, L. Hasenclever, J. M. Tomczak and M. Welling (2018), *Sylvester normalizing flows for variational inference*, UAI. The wide layer (N1), and how to keep it invertible.
# - D. P. Kingma, T. Salimans, R. Jozefowicz, X. Chen, I. Sutskever and M. Welling (2016), *Improving variational inference with inverse autoregressive flow*, NeurIPS. (N2) in the direction that draws.
# - G. Papamakarios, T. Pavlakou and I. Murray (2017), *Masked autoregressive flow for density estimation*, NeurIPS. The other direction, and how the two are related.
# - D. Blessing, X. Jia, J. Esslinger, F. Vargas and G. Neumann (2024), *Beyond ELBOs: a large-scale evaluation of variational methods for sampling*, ICML. The upper bound (N3) as a test for lost modes.
# - M. Hoffman, P. Sountsov, J. V. Dillon, I. Langmore, D. Tran and S. Vasudevan (2019), *NeuTra-lizing bad geometry in Hamiltonian Monte Carlo using neural transport*, arXiv:1903.03704. A sampler in the coordinates of the base.
# - M. Gabrié, G. M. Rotskoff and E. Vanden-Eijnden (2022), *Adaptive Monte Carlo augmented with normalizing flows*, PNAS 119. Flows as proposals, trained while the chain runs.
# - Y. Lipman, R. T. Q. Chen, H. Ben-Hamu, M. Nickel and M. Le (2023), *Flow matching for generative modeling*, ICLR. The regression (N5).
