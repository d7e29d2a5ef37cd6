# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   post:
#     categories:
#     - flows
#     date: '2026-11-22'
#     description: Amortized flows on a model whose evidence can be enumerated, then
#       on real digits, then the paper's Figure 4 and Table 2
#     tags:
#     - normalizing-flows
#     - variational-inference
#     title: Can one network know the posterior of every image?
# ---

# %% [markdown]
# # Can one network know the posterior of every image?
#
# Nearly: a network that reads $x$ and answers with the parameters of a flow gives every $x$ a bent posterior of its own in one pass, and what this sharing costs can be measured in nats. That is how [Variational Inference with Normalizing Flows](https://arxiv.org/abs/1505.05770) (Rezende and Mohamed, 2015) uses its flows, in sections 4.2 and 6.2.
#
# A point $z$ is hidden in the plane. It answers four questions with yes or no: Are you far out? Above the V? Away from the middle? On the right? Near a border it may well answer wrong, to the last question almost anywhere. We hear the four answers, and that is $x$. Where was $z$? For each of the sixteen possible $x$ the answer is a density in the plane; the right picture is one of them.

# %% tags=["setup", "hide-input"]
import numpy as np
from threadpoolctl import threadpool_limits

from nflib_min import Planar, StandardNormal, checks, cosine_decay, fit
from nflib_min import amortized as am
from notebooks.exercises import amortized_inference as exercises
from notebooks.figures import amortized_inference as figures

one_thread = threadpool_limits(1)  # small matrices get slower with more
grid, cell = checks.grid((-5.0, 5.0), 100)  # for integrals over the plane


# %% tags=["hide-input"] alt="Left, the plane with four borders: a diamond, a V, two upright lines and the vertical axis. Right, a density: a small bright region that hangs below the tip of the V and leans to the right." caption="Left: the borders of the four questions, over the prior (gray, at one and two standard deviations). Yes is outside of diamond 1, above V 2, outside of strip 3, and to the right of line 4. Right: where $z$ was if it answered \"no no no yes\"."
def logits(z):  # how far z is on the side of yes, for each question
    z1, z2 = z.T
    far, above = abs(z1) + abs(z2) - 1.5, z2 - abs(z1) + 0.4
    return 5 * np.stack([far, above, abs(z1) - 0.7, 0.3 * z1], axis=1)


figures.four_questions(logits, np.array([0, 0, 0, 1]))

# %% [markdown]
# After these 50 minutes you will be able to
#
# 1. build an inference network whose output is a flow, and check its bound against an evidence that is known exactly, for each $x$;
# 2. split what is lost into the family's share and the network's, in the plane and on digits, and say what importance sampling repairs and what it does not;
# 3. read the paper's Figure 4 and Table 2 beside our own runs, with the mistakes in mind that make such tables lie.
#
# You need: the evidence lower bound (ELBO) of [the first notebook](01_elbo.ipynb) and planar flows from [the third](03_flow_composition.ipynb). It runs in a minute or two.
#
# Previous: [What happens when the flow gets infinitely long?](04_infinitesimal_flows.ipynb) Next: [Does a flow posterior give the right answer?](06_real_posteriors.ipynb)
#
# Direction: forward takes $z_0$, drawn from the base, to $z_K$, drawn from the flow. So far the target was one density. Now every $x$ has a posterior of its own, and 60,000 images would need 60,000 trainings. *Amortized* inference pays once: a network learns the map from $x$ to the parameters of $q$, and a new $x$ costs one evaluation.
#
# | symbol | meaning | in the code |
# |---|---|---|
# | $x$ | observed data, zeros and ones, in $D$ pixels | `x`, `every_x` |
# | $z$ | latent variables, in $d$ dimensions | rows of an array (n, d) |
# | $\theta$ | parameters of the model, the decoder | `params["model"]` |
# | $\phi$ | parameters of the inference network | `params["network"]` |
# | $\mu(x), \sigma(x)$ | mean and scales of $q_0(\cdot \mid x)$ | `mean`, `log_scale` |
# | $\lambda(x)$ | flow parameters $u_k, w_k, b_k$ for this $x$ | `u`, `w`, `b` |
# | $\epsilon$ | noise, $N(0, I)$, which becomes $z_0$ | `epsilon`; the library counts $\mu + \sigma \odot \epsilon$ as a first map and calls its input `z0` |
# | $F(x)$ | free energy, minus the ELBO of this $x$ | `free_energies` |
#
# The paper calls $q_0$ diagonal and prints $N(\mu, \sigma^2 I)$; it is diagonal here, one $\sigma_i$ for each coordinate.
#
# ## Can evidence be enumerated?
#
# With images it cannot: nobody knows $\ln p(x)$ of a digit. That is why we start with four questions. The prior of $z$ is standard normal, and given $z$ the answers are independent, yes with probability $1/(1 + e^{-\ell_j(z)})$:
#
# <a id="eq-4"></a>
#
# $$
# p(x, z) = N(z;\, 0, I)\, \prod_{j=1}^{D} \frac{e^{x_j \ell_j(z)}}{1 + e^{\ell_j(z)}} \tag{4}
# $$
#
# - $\ell(z)$: the decoder, which gives each pixel its logit (the paper writes $f$ for it, a letter that we keep for layers of flows);
# - $\ell_1 = 5(\lvert z_1\rvert + \lvert z_2\rvert - 1.5)$: far out? $\ell_2 = 5(z_2 - \lvert z_1\rvert + 0.4)$: above the V? $\ell_3 = 5(\lvert z_1\rvert - 0.7)$: away from the middle? $\ell_4 = 1.5\, z_1$: on the right? A hint more than an answer;
# - this is the paper's deep latent Gaussian model with one layer of latents, `DeepLatentGaussianModel` in [model.py](../nflib_min/amortized/model.py). Its decoder is a network of rectified units, and four of them will do: $\lvert z_1\rvert = \max(z_1, 0) + \max(-z_1, 0)$.
#
# There are $2^4 = 16$ possible $x$, and each evidence is an integral over a plane:
#
# <a id="eq-N1"></a>
#
# $$
# p(x) = \int p(x \mid z)\, p(z)\, dz, \qquad \sum_x p(x) = 1 \tag{N1}
# $$
#
# The sum catches a lost factor in any of the sixteen integrals. The second route needs no integral at all: draw from the model and count.
#
# > **Predict.** Where is $z$ if it answers yes, no, yes, no: far out, not above the V, away from the middle, not on the right? In one place or in two?

# %%
model = am.DeepLatentGaussianModel(dim=2, pixels=4, hidden=(4,))
signs = [[1, 1, 1, 1], [-1, -1, 1, -1], [1, 1, 0, 0], [0.3, -0.3, 0, 0]]
theta = {"W0": np.array([[1, -1, 0, 0], [0, 0, 1, -1.0]]), "b0": np.zeros(4)}
theta |= {"W1": 5 * np.array(signs).T, "b1": 5 * np.array([-1.5, 0.4, -0.7, 0])}
every_x = np.indices((2, 2, 2, 2)).reshape(4, 16).T.astype(float)
assert np.allclose(model.decoder(theta, grid), logits(grid))
log_joint = np.stack([model.log_joint(theta, x[None], grid) for x in every_x])
log_p = np.logaddexp.reduce(log_joint, axis=1) + np.log(cell)  # (N1)
assert abs(np.exp(log_p).sum() - 1) < 1e-5  # outside the grid is 1e-6
drawn = model.sample(theta, 50_000, np.random.default_rng(0)) @ [8, 4, 2, 1]
counts = np.bincount(drawn.astype(int), minlength=16)
assert np.allclose(counts / 50_000, np.exp(log_p), atol=0.01)
posterior, z1 = np.exp(log_joint[10] - log_p[10]) * cell, grid[:, 0]
right = posterior @ (z1 > 0)
assert 0.05 < right < 0.2 and posterior @ (abs(z1) < 0.5) < 0.05
print(f"after yes no yes no, {right:.2f} of the mass is on the right")

# %% [markdown]
# In two. The first three answers leave a region on either side, and the fourth prefers the left one without excluding the other.
#
# **A model with sixteen possible data points and a plane of latents has no secrets: each $\ln p(x)$ is one integral, and the sixteen probabilities sum to one. What makes this possible is that both $x$ and $z$ can be enumerated.**
#
# ## What does the network put out?
#
# For $q(z \mid x)$ the network reads $x$ and returns everything that makes a flow:
#
# <a id="eq-N2"></a>
#
# $$
# \begin{aligned}
# x &\longmapsto \mu(x),\ \ln\sigma(x),\ \lambda(x) \\
# z_0 &= \mu(x) + \sigma(x) \odot \epsilon, \qquad z_K = f_K \circ \dots \circ f_1(z_0)
# \end{aligned} \tag{N2}
# $$
#
# - $\epsilon \sim N(0, I)$, and $\odot$ multiplies coordinate by coordinate;
# - $f_k$: planar layers, whose parameters are $\lambda(x)$: another $x$, another flow. With $d$ latents and $K$ layers the network puts out $2d + K(2d + 1)$ numbers.
#
# [network.py](../nflib_min/amortized/network.py) does this for a whole batch at once. Here it is by hand, one $x$ after the other, with a `Planar` for each. (The library divides the network's flow outputs by $K$, so that one step of training does not move a long flow $K$ times as far.)

# %% alt="A diagram: above, x enters a network that puts out 44 numbers, mu, ln sigma, and u, w, b of the layers; below, noise becomes z_0 by mu and sigma and passes the layers f_1 to f_8 to z_K." caption="The paper's Figure 2, for the four questions: the upper row runs once for an $x$, the lower row once for a draw. What the loss needs is read off at the three lower arrows."
d, K, rng = 2, 8, np.random.default_rng(0)
flow, Net = Planar(d, length=K), am.InferenceNetwork
network = Net(pixels=4, dim=d, bijection=flow, hidden=(32,))
phi, _ = network.init(rng)
phi["W1"] = rng.normal(size=(32, network.outputs)) / 3  # far from the start
epsilon, outputs = rng.normal(size=(16, d)), network.encoder(phi, every_x)
for e, out in zip(epsilon, outputs, strict=True):  # one x after the other
    mu, ln_sigma, u, w, b = np.split(out, np.cumsum([d, d, K * d, K * d]))
    lam = {"u": u.reshape(K, d) / K, "w": w.reshape(K, d) / K, "b": b / K}
    z_K = flow.forward(lam, (mu + np.exp(ln_sigma) * e)[None])
    given = network.flow_params(out[None], {})
    same = network.bijection.forward(given, e[None])
    assert np.allclose(z_K, same, rtol=0, atol=1e-10)
assert network.outputs == 2 * d + K * (2 * d + 1) == 44
figures.network(network)


# %% [markdown]
# **An inference network is a function from $x$ to one vector of numbers; cut into $\mu$, $\ln\sigma$ and $\lambda$, they are a flow for this $x$ alone. With planar layers their number grows as $2d + K(2d+1)$.**
#
# ## How far is each bound from its evidence?
#
# The loss is the free energy of [03](03_flow_composition.ipynb) for each $x$, averaged over the data:
#
# <a id="eq-15"></a>
#
# $$
# \begin{aligned}
# F(x) = {}& \mathbb{E}_{q_0}\big[\ln q_0(z_0 \mid x)\big] - \mathbb{E}_{q_0}\big[\ln p(x, z_K)\big] \\
# &- \mathbb{E}_{q_0}\Big[\sum_{k=1}^K \ln\big\lvert 1 + \hat u_k^\top \psi_k(z_{k-1})\big\rvert\Big]
# \end{aligned} \tag{15}
# $$
#
# - $q_0$ is evaluated at $z_0$, where the draw was made, and $p$ at $z_K$, where it ended. Published code has had $p$ at $z_0$; "Break it" below shows what that does;
# - $\hat u_k$: the $u_k$ of this $x$, constrained so that the layer is invertible; $\psi_k$ as in [03](03_flow_composition.ipynb);
# - Algorithm 1 of the paper: draw a minibatch of $x$, one $z_0$ for each, push it through, and step $\theta$ and $\phi$ together on $-\nabla F$. (It prints $f_1(z)$ where $f_1(z_0)$ is meant.)
#
# Here the decoder is given, so that only $\phi$ moves, and each of the sixteen $x$ gets the same weight. (`path_gradient` leaves out the part of the gradient whose mean is 0, as in [the first notebook](01_elbo.ipynb).)
#
# Three networks are trained below. The second learns eight layers, too, but one set of them for all $x$: there $\lambda$ does not depend on $x$, only $\mu$ and $\sigma$ do. Now [(N1) of the first notebook](01_elbo.ipynb) says, for each $x$ by itself,
#
# <a id="eq-N3"></a>
#
# $$
# \ln p(x) - \big(-F(x)\big) = D_{\mathrm{KL}}\big[q_K(z \mid x) \,\big\Vert\, p(z \mid x)\big] \ge 0 \tag{N3}
# $$
#
# The two sides come by two routes that share nothing but the parameters. The left side is an *average over draws*, pushed forward: it needs $\ln w = \ln p(x, z_K) - \ln q_K(z_K \mid x)$, which `log_weights` computes, and no inverse. The right side is an *integral over the plane*: it needs $q_K$ at points that nobody drew, and so the inverse of the flow, which a planar layer has.

# %%
class ForQAlone(am.AmortizedFreeEnergy):  # (15), where the model is given
    given = ()  # what else stays as it is

    def value_and_grad(self, params, rng, step):
        F, g = super().value_and_grad(params, rng, step)
        fixed = [g["network"][name] for name in self.given]
        for leaf in [*g["model"].values(), *fixed]:
            leaf[...] = 0
        return F, g


def train(model, network, start, x, steps, rate=1e-2, given=()):
    loss = ForQAlone(model, network, x, len(x), path_gradient=True)
    loss.given, rng = given, np.random.default_rng(0)
    rate = cosine_decay(rate, steps)
    return fit(loss, start, steps, rng, learning_rate=rate).params


# %%
def learn(network, x, steps):  # eight draws of z_0 a step for each x
    start = am.init(model, network, np.random.default_rng(0))
    start, x = start | {"model": theta}, np.repeat(x, 8, axis=0)
    return train(model, network, start, x, steps)


networks = {
    "q_0 alone": Net(4, 2, None, hidden=(32,)),
    "one flow for all x": Net(4, 2, flow, hidden=(32,), amortized=False),
    "a flow for each x": Net(4, 2, flow, hidden=(32,)),
}
trained = {name: learn(of, every_x, 3000) for name, of in networks.items()}


# %%
def joint_of(x, z):  # ln p(x, z)
    return model.log_joint(theta, x[None], z)


def log_q(network, params, x, z):  # at any z: back by the flow of x
    x = np.repeat(x[None], len(z), axis=0)
    out = network.encoder(params["network"], x)
    lam = network.flow_params(out, params["flow"])
    epsilon, log_det = network.bijection.inverse_and_log_det(lam, z)
    return network.base.log_prob(epsilon) + log_det


def divergences(network, params):  # of all sixteen x, on the grid
    ln_q = np.stack([log_q(network, params, x, grid) for x in every_x])
    q = np.exp(ln_q) * cell
    assert np.allclose(q.sum(axis=1), 1, atol=0.01)  # densities
    return np.sum(q * (ln_q - log_joint), axis=1) + log_p


def q_of(name, x, z):
    return log_q(networks[name], trained[name], x, z)


# %% alt="Five data points, one a column: true posteriors shaped like a V, a drop and pairs of lobes; below them ellipses from the network without a flow, and at the bottom shapes close to the true ones." caption="Top: the true posteriors of five $x$ (four answers each). Middle: what a network that gives Gaussians makes of them. Bottom: a network that gives eight planar layers to each $x$. KL is in nats."
KL, draws = {}, {}
for name, network in networks.items():
    rng, params = np.random.default_rng(1), trained[name]
    draws[name] = am.log_weights(params, model, network, every_x, 40_000, rng)
    KL[name] = divergences(network, params)
    for log_w, ln_p, kl in zip(draws[name], log_p, KL[name], strict=True):
        gap, error = checks.check_bound(log_w, ln_p)  # asserts ELBO <= ln p(x)
        assert abs(gap - kl) < 5 * error + 2e-3
    print(f"{name}: each bound lies below its ln p(x) by its KL")
plain, shared, own = KL.values()
assert 0.19 < plain.mean() < 0.23 and np.all(own < plain)
assert 0.3 < shared.mean() / plain.mean() < 0.6
assert own.mean() < plain.mean() / 4
assert np.all(shared[[4, 5]] > plain[[4, 5]])  # no yes no no, no yes no yes
figures.posteriors(every_x, joint_of, q_of, KL)


# %% [markdown]
# The second network is worth a look, although it is not in the figure. One bend for all $x$ repairs about half of what the Gaussians lose, on average. But it is worse than no flow at all for the two $x$ whose posterior is nearly Gaussian (the third column is one of them): there is little to bend, and the bend is there. That is what $\lambda(x)$ is for, and why the paper's network puts out every flow parameter.
#
# **Each of sixteen bounds lies below its own evidence by exactly its KL divergence. On this model, with 32 hidden units, that is about 0.2 nats on average for Gaussians, about half for one flow for all $x$, and less than a quarter if each $x$ has its own.**
#
# ## What does sharing the network cost?
#
# A gap has two causes. One is the family: eight planar layers cannot draw every shape. The other is the network, which has to serve all $x$ with the same weights. Put the best member of the family for this $x$ between the two:
#
# <a id="eq-N4"></a>
#
# $$
# \begin{aligned}
# \underbrace{\ln p(x) + F(x)}_{\text{gap}} = {}& \underbrace{D_{\mathrm{KL}}\big[q^*_x \,\big\Vert\, p(z \mid x)\big]}_{\text{approximation gap}} \\
# &+ \underbrace{F(x) - F^*(x)}_{\text{amortization gap}}
# \end{aligned} \tag{N4}
# $$
#
# - $q^*_x$: the best member of the same family for this $x$ alone, and $F^*(x)$ its free energy. By [(N3)](#eq-N3), $D_{\mathrm{KL}}[q^*_x \Vert p(z \mid x)] = \ln p(x) + F^*(x)$: add the two lines, and $F^*$ drops out;
# - nobody hands us $q^*_x$. Training for one $x$ finds *some* member, so that what we call approximation gap is an upper bound of it, and the amortization gap a lower one.
#
# Sixteen trainings without sharing are one training of a *table*. Let $n_i(x)$ be the number of pixels in which $x$ differs from $x^{(i)}$, the $i$-th of them. A hidden unit $\max(0,\, 1 - n_i(x))$ is 1 for $x^{(i)}$ and 0 for every other $x$. With one such unit for each $x$, the last layer is a table, a row of numbers for each $x$, and nothing is shared. Since $n_i$ is linear in the pixels, this is a network like the others; it starts from the rows that the trained network puts out.
#
# > **Predict.** A Gaussian needs four numbers for each $x$, a flow forty-four. Whose amortization gap will be larger, if the network is wide? If it has no hidden layer at all? And for an $x$ that was not in its training set?

# %%
def table(network, params, x):  # the same answers, one hidden unit each
    phi = {"W0": (2 * x - 1).T, "b0": 1 - x.sum(axis=1)}
    phi["W1"] = network.encoder(params["network"], x)
    phi["b1"] = np.zeros_like(phi["W1"][0])
    alone = Net(network.pixels, network.dim, network.flow, (len(x),))
    return alone, params | {"network": phi}


best, units = {}, ("W0", "b0")  # the units stay what they are
for name in ("q_0 alone", "a flow for each x"):
    alone, start = table(networks[name], trained[name], every_x)
    assert np.allclose(divergences(alone, start), KL[name])
    x = np.repeat(every_x, 8, axis=0)
    found = train(model, alone, start, x, 1500, rate=3e-3, given=units)
    best[name] = np.minimum(divergences(alone, found), KL[name])

# %% alt="Stacked bars of the mean gap for three networks, Gaussians left, flows right. With 32 units nearly all is the family's; without hidden layer, or on unseen x, the network's share is several times larger." caption="The same two families, three networks. \"Unseen\": four of the sixteen $x$ were left out of the training, and the bar is their mean."
unseen, split = [1, 6, 8, 15], []
seen = np.delete(every_x, unseen, axis=0)
for name, layers in (("q_0 alone", None), ("a flow for each x", flow)):
    linear, wide = (Net(4, 2, layers, hidden) for hidden in ((), (32,)))
    by_linear = divergences(linear, learn(linear, every_x, 1500))
    at_unseen = divergences(wide, learn(wide, seen, 1500))[unseen]
    least = best[name]
    pairs = (KL[name], least), (by_linear, least), (at_unseen, least[unseen])
    split.append([(b.mean(), np.mean(a - b)) for a, b in pairs])
approximation, amortization = np.moveaxis(split, -1, 0)  # [family, network]
assert np.all(approximation[0] > 4 * approximation[1])
assert np.all(amortization[:, 0] < 0.02)
assert np.all(amortization[:, 1:] > 2 * approximation[:, 1:])
assert np.all(amortization[1, 1:] < amortization[0, 1:])
figures.shares(approximation, amortization)

# %% [markdown]
# With 32 units the network could be the table and still have sixteen units left, and it loses next to nothing, whatever the family. Take its hidden layer away, and the amortization gap is more than twice the approximation gap. It is so for an $x$ that the network never saw, too, wide as it is: what it learned about twelve $x$ says little about the other four. And the flow does not suffer more from having forty-four numbers to learn. It loses less, in both cases: where the network's answer is a compromise, a density that can bend finds a better one.
#
# **The gap is the family's share plus the network's. The first depends on the family and on $x$ alone; the second on how much the network can hold and on whether it has met $x$: here from below 0.02 nats (32 units, all $x$ seen) to more than twice the family's share (no hidden layer, or unseen $x$). In this model the flow has the smaller share of both, once there is anything to share.**
#
# ## How much does averaging weights repair?
#
# The paper reports $-\ln p(x)$, not $F$, and estimates it by *importance sampling* with $S = 200$ draws:
#
# <a id="eq-N5"></a>
#
# $$
# \ln p(x) \approx \ln \frac1S \sum_{i=1}^S w_i, \qquad w_i = \frac{p(x, z^{(i)})}{q_K(z^{(i)} \mid x)}, \quad z^{(i)} \sim q_K \tag{N5}
# $$
#
# - $\mathbb{E}[w_i] = p(x)$, so the mean weight is right on average; its logarithm is low on average, by Jensen's inequality;
# - with $S = 1$ the expectation is the ELBO, and it climbs to $\ln p(x)$ as $S$ grows (Burda et al., 2016).
#
# So the "$\le$" in the paper's Table 2 is right: its numbers are, in expectation, upper bounds of $-\ln p(x)$, as $F$ is, and tighter. What they are not is equal to it, and by how much they are too high is unknown. Here it is known.
#
# > **Predict.** The Gaussian $q_0$ starts about 0.2 nats below. Roughly where is it with 200 draws, and with 5,000? And the flow?

# %% alt="Left, the gap of each of sixteen x with one draw, three marks a row: mostly flows lowest, Gaussians highest. Right, the mean gap against the number of draws: the flow's falls below 0.002 nats, the Gaussians' flattens above 0.05." caption="Left: the gap of every $x$; in two rows one flow for all (triangle) is worse than none (square). Right: what is left of the mean gap with $S$ draws, with two standard errors; an open mark says that it is no more than this. The Gaussians' line flattens."
sizes, left_over = (1, 10, 200, 5000), {}
for name, log_w in draws.items():
    for S in sizes:
        estimates = am.log_evidence(log_w.reshape(-1, S)).reshape(16, -1)
        short = log_p[:, None] - estimates
        error = np.sqrt(short.var(axis=1).sum() / short.shape[1]) / 16
        left_over[name, S] = short.mean(), error
    at = [left_over[name, S][0] for S in sizes]
    assert abs(at[0] - KL[name].mean()) < 0.01 and at[0] > at[1] > at[2]
assert abs(left_over["a flow for each x", 200][0]) < 0.005
assert left_over["q_0 alone", 5000][0] > 0.03
figures.more_draws(every_x, KL, left_over, sizes)

# %% [markdown]
# Why does the Gaussians' line flatten? Not because the formula is wrong: the mean weight is exactly right *in expectation*. Look at the region $U = \{z : w(z) > S\, p(x)\}$, where a weight is so large that one such draw would outweigh all the others. On it $q(z \mid x) = p(x, z)/w(z) < p(z \mid x)/S$, so $S$ draws meet it $S \int_U q\, dz < \int_U p(z \mid x)\, dz$ times on average, that is, usually never. And as long as they do not, the mean weight estimates $p(x)$ *without* that region, and the logarithm is short by
#
# <a id="eq-N6"></a>
#
# $$
# -\ln\Big(1 - \int_U p(z \mid x)\, dz\Big), \qquad U = \{z : w(z) > S\, p(x)\} \tag{N6}
# $$
#
# which is an integral over the plane, with no draws in it.

# %%
for name in ("q_0 alone", "a flow for each x"):
    ln_q = np.stack([q_of(name, x, grid) for x in every_x])
    U = log_joint - ln_q - log_p[:, None] > np.log(5000)
    unmet = np.sum(np.exp(log_joint - log_p[:, None]) * U, axis=1) * cell
    short = np.mean(-np.log(1 - unmet))  # (N6)
    assert abs(short - left_over[name, 5000][0]) < 0.01
    assert unmet.max() > 0.1 if name == "q_0 alone" else unmet.max() < 0.005
    print(f"{name}: 5,000 draws miss {unmet.max():.1f} of one posterior")

# %% [markdown]
# A $q_0$ that sits on one of two lobes leaves the other to draws that never come, and one sees a steady, confident number that is too low. So a better $q$ does two things. It raises the ELBO, and it makes the estimate of $\ln p$ trustworthy. In 40 dimensions, where nobody can look, that is an argument for giving Table 2 with 5,000 draws as well as with 200, and for not reading it as exact.
#
# **Averaging $S$ weights gives a tighter bound, never a lower one in expectation. It repairs places that $q$ visits too rarely, but with $S$ draws not those where $p(z \mid x) > S\, q(z \mid x)$; so a published $-\ln p(x)$ is too high on average, if less so than $F$, and has to say how many draws it took.**
#
# ## Which mistakes does the training curve not show?
#
# Three of them are about this model.
#
# **Two kinds of black and white.** MNIST (a data set of handwritten digits) is gray. Drawing each pixel once as Bernoulli(gray/255) gives noisy edges that no model can predict; thresholding at one half gives smooth ones, and a far smaller $-\ln p$ for the same effort. Numbers from the two do not belong in one table. Ours are drawn, as the paper's are, with another seed than the paper's: [the data's own page](../notebooks/data/README.md) says how.
#
# **New images from the wrong distribution.** To invent an $x$, draw $z$ from the *prior* and decode. The flow belongs to $q(z \mid x)$: it was trained to imitate posteriors, and nothing says that pushing prior draws through it gives anything. With a shared flow the mistake comes easily, since the flow is there without any $x$. We know $p(x)$ exactly, so the damage is a number: the total variation $\frac12 \sum_x \lvert \tilde p(x) - p(x)\rvert$, the largest error in the probability of any event.
#
# **Two kinds of annealing.** The paper trains with
#
# <a id="eq-20"></a>
#
# $$
# \begin{aligned}
# F^{\beta_t}(x) = {}& \mathbb{E}_{q_0}\big[\ln q_0(z_0 \mid x)\big] - \beta_t\, \mathbb{E}_{q_0}\big[\ln p(x, z_K)\big] \\
# &- \mathbb{E}_{q_0}\Big[\sum_k \ln\big\lvert 1 + \hat u_k^\top \psi_k\big\rvert\Big], \\
# \beta_t = {}& \min(1,\ 0.01 + t/10000)
# \end{aligned} \tag{20}
# $$
#
# - $\beta_t$ multiplies the *joint*, which tempers the target: $F^\beta = \mathbb{E}_q[\ln q - \ln p(x, z)^\beta]$ is least for $q \propto p(x, z)^{\beta}$, a flatter posterior, whose prior has variance $1/\beta$. (The paper's first line of (20) leaves the $\beta$ out, and prints $p_K$ for $q_K$.)
# - The later *KL warm-up* multiplies the divergence from the prior instead: $\beta D_{\mathrm{KL}}[q \Vert p(z)] - \mathbb{E}_q[\ln p(x \mid z)] = \beta\, \mathbb{E}_q\big[\ln q - \ln p(z)\, p(x \mid z)^{1/\beta}\big]$ is least for $q \propto p(z)\, p(x \mid z)^{1/\beta}$: sharper than the posterior.
#
# The same letter, two methods, which err in opposite directions. Here is the standard deviation of $z_1$ and $z_2$ together under both, for "yes no yes no", at $\beta = 0.1$. (The tempered density is so wide that it needs a grid of its own.)

# %%
weight = np.exp(model.prior.log_prob(grid)) * cell
moved = flow.forward(trained["one flow for all x"]["flow"], grid)
variation = []
for z in (grid, moved):  # draws of the prior, and where the flow takes them
    ln_p_x = [joint_of(x, z) - model.prior.log_prob(z) for x in every_x]
    p_x = np.exp(ln_p_x) @ weight
    variation.append(0.5 * np.abs(p_x - np.exp(log_p)).sum())
assert variation[0] < 1e-6 and variation[1] > 0.1

# %%
z, _ = checks.grid((-14.0, 14.0), 280)
joint, prior = joint_of(every_x[10], z), model.prior.log_prob(z)
three = (0.1 * joint, joint, prior + (joint - prior) / 0.1)
densities = [np.exp(f - np.logaddexp.reduce(f)) for f in three]
sd = [np.sqrt(f @ np.sum((z - f @ z) ** 2, axis=1)) for f in densities]
assert sd[0] > 2 * sd[1] and sd[2] < 0.9 * sd[1]
print("(20) {:.1f}, posterior {:.1f}, warm-up {:.1f}".format(*sd))

# %% [markdown]
# **Draw new images from the prior and never through the posterior's flow; say which $\beta$ you mean wherever it is not 1; and compare digits only with digits that were made black and white in the same way.**
#
# ## Does it carry over to handwriting?
#
# The same classes, larger: 10,000 training and 2,000 test digits of 784 pixels, 20 latents, networks with 200 hidden units, float32. Two models are trained from the same seed, with and without a planar flow of ten layers, for 2,000 steps each, which is 20 passes. The decoder learns now, too. The paper took 500,000 steps over 50,000 more images with larger networks; here we look at the mechanism.
#
# > **Predict.** In the plane the flow gained less than a quarter of a nat over the Gaussian. Will it gain more or less in 20 dimensions? And which share of the gap will be the larger one now: the family's or the network's?
#
# We use the running mean of the parameters over the last fifth of the steps, which forgets the noise of single ones. $-\ln p$ is estimated by [(N5)](#eq-N5) with 200 draws, on 400 test digits.
#
# For the two shares there is the table again. It asks only that no two digits agree in every pixel. It frees the $q$ of 48 test digits from the network, with the decoder held fixed. Where the evidence cannot be enumerated, [(N5)](#eq-N5) has to stand in for it. So neither share is exact. What 500 steps leave undone is counted as approximation and not as amortization; and the approximation gap lacks what that estimate is short of $\ln p$.

# %%
bits = np.load("data/mnist_binarised.npz")
digits, test = (np.unpackbits(bits[of], axis=1) for of in ("train", "test"))
decoder = am.DeepLatentGaussianModel(dim=20, pixels=784, hidden=(200,))
how = {"learning_rate": cosine_decay(2e-3, 4000), "clip": 200.0, "average": 0.2}
writers = {}
for K in (0, 10):
    rng = np.random.default_rng(0)
    network = Net(784, 20, Planar(20, K) if K else None, hidden=(200,))
    start = am.init(decoder, network, rng, np.float32)
    F = am.AmortizedFreeEnergy(decoder, network, digits, path_gradient=True)
    run = fit(F, start, 2000, rng, **how)
    writers[K], loss = (network, run.mean_params), run.history["loss"]
    assert loss[:20].mean() > 150 > 115 > loss[-100:].mean()  # it has learned

# %%
F, nll = {}, {}
for K, (network, params) in writers.items():
    rng = np.random.default_rng(2)
    log_w = am.log_weights(params, decoder, network, test[:400], 200, rng)
    F[K], nll[K] = -log_w.mean(axis=1, dtype=float), -am.log_evidence(log_w)
    assert np.all(F[K] >= nll[K])  # Jensen, digit by digit
gain, gain_in_nll = np.mean(F[0] - F[10]), np.mean(nll[0] - nll[10])
assert gain > 1 and gain_in_nll > 0.5

# %% tags=["hide-input"] alt="Ten test digits in noisy black and white; below them smooth reconstructions of the same digits; and below those ten new, partly blurred digits." caption="Test digits, what the model with the flow rebuilds from one draw $z_K$ each, and new images from the prior. Rebuilt pixels are probabilities, so they are gray where the model is unsure."
rng, (network, params) = np.random.default_rng(3), writers[10]
x = test[np.argsort(bits["test_labels"][:400], kind="stable")[::40]]
lam = network.flow_params(network.encoder(params["network"], x), params["flow"])
z_K = network.bijection.forward(lam, network.base.sample(10, rng, np.float32))
rows = {"digits $x$": x}
for name, z in (("rebuilt", z_K), ("new", decoder.prior.sample(10, rng))):
    rows[name] = decoder.likelihood.mean(decoder.decoder(params["model"], z))
figures.digits(rows)

# %%
x, split = test[:48].astype(np.float32), {}
for K, (network, params) in writers.items():
    alone, start = table(network, params, x)
    two = np.repeat(x, 2, axis=0)  # two draws a step for each digit
    freed = train(decoder, alone, start, two, 500, given=units)
    rng = np.random.default_rng(4)
    before = am.log_weights(params, decoder, network, x, 500, rng)
    after = am.log_weights(freed, decoder, alone, x, 500, rng)
    family = np.mean(am.log_evidence(after) - after.mean(axis=1))
    sharing = np.mean(after.mean(axis=1) - before.mean(axis=1))
    split[K] = family, sharing
assert all(sharing > 1.3 * family for family, sharing in split.values())
assert split[10][0] < 0.65 * split[0][0]
print("the amortization gap is larger than the approximation gap")

# %% [markdown]
# The other way round than in the plane with 32 units: on test digits the larger share is the network's, with a flow and without, as Cremer, Li and Duvenaud (2018) found on larger models. These digits are the "unseen $x$" of the bars above. Ten layers take away more than a third of the family's share. And a part of their gain in $F$ is no share of any gap, but the decoder's: it is trained against the bound, so that with a stiff $q$ it learns to have posteriors that $q$ can follow ([01](01_elbo.ipynb) has this in closed form).
#
# **On digits, too, $F \ge -\ln p$ for each single one, and ten planar layers gain more than a nat in $F$ after the same number of steps, more than four times what they gained in the plane. On test digits, after so short a training, the amortization gap is larger than the approximation gap.**
#
# ## What do the full-size runs say?
#
# The scripts in [mnist.py](../reproduce/mnist.py) train the paper's model on all of MNIST: 60,000 + 10,000 digits, 40 latents, 400 hidden units, planar flows and NICE (couplings with a fixed random permutation) of up to 80 layers. This takes CPU hours, so the notebook reads their results, a file that carries its provenance and a checksum, which `load` verifies.
#
# Read one row of the table first, the model without a flow: $F$, and the estimate of $-\ln p$ with 200 draws and its standard error over the test digits. Their difference, "KL", is the gap, or rather a lower bound of it, since the estimate is too high. The last column is the paper's Table 2.
#
# One more number is about amortization. Where training pixels are drawn once, as in the paper, the network meets the same $x$ at each pass, and part of what it learns is those $x$ by heart; where they are drawn anew, as in the table, no $x$ comes twice. The last line says, for both and without a flow, by how much $F$ on test digits is above $F$ in the last epoch of training. (It is below if nothing is learned by heart, because test digits are judged with the running mean of the parameters.)

# %% alt="Free energy and KL against flow length, ours solid and the paper's dashed, falling in both, and the gain of 80 layers over none against the epochs of training, with the paper's gains as dashed lines." caption="Figure 4 of the paper beside ours: $F$, KL as $F$ less the estimate of $-\\ln p$, and what 80 layers gain as training goes on. The paper trained for 833 epochs. At each look both models were judged on the same test digits, at the first looks a part of them."
from reproduce import results
from reproduce.results import paper

runs = results.load("mnist")
values = results.models(runs)  # (flow, K, epochs) -> what was measured
epochs = results.longest(values)
lengths = [(flow, K) for flow in paper.TABLE_2 for K in (10, 20, 40, 80)]
print(f"{epochs} epochs         F     KL      -ln p      the paper's")
for flow, K in [("none", 0), *lengths]:
    of = values[flow, K, epochs]
    theirs = paper.TABLE_2["planar" if K == 0 else flow][K]
    F, gap, nll, error = (of[name] for name in ("F", "KL", "nll", "nll_se"))
    assert abs(F - nll - gap) < 0.01 < gap
    ours = f"{F:6.1f} {gap:6.2f} {nll:6.1f} +- {error:.1f}"
    print(f"{flow:<9} {K:2}  {ours} {theirs:9.1f}")
figures.figure_4(values, epochs)

# %%
for flow in paper.TABLE_2:
    none, longest = values["none", 0, epochs], values[flow, 80, epochs]
    gain = none["nll"] - longest["nll"]
    error = np.hypot(none["nll_se"], longest["nll_se"])  # as if of other digits
    assert gain > max(1, 3 * error)
    theirs = paper.TABLE_2["planar"][0] - paper.TABLE_2[flow][80]
    print(f"{flow} 80 gains {gain:.1f} nats, in the paper {theirs:.1f}")
once = results.models(runs, redrawn=False)  # training pixels drawn once
_, _, at = max(of for of in once if of[0] == "none" and of in values)
rows = [of["none", 0, at] for of in (once, values)]
apart = [of["F"] - of["F_train"] for of in rows]
assert apart[0] > apart[1] + 0.3
print(f"test digits less training, {at} epochs:", end=" ")
print(f"{apart[0]:+.1f} nats if pixels are drawn once, {apart[1]:+.1f} if anew")


# %% [markdown]
# How to read it. The vertical distance between our curves and the paper's mixes everything that differs: updates, pixels, units, optimizer, annealing, seeds and more. The [ledger](../reproduce/LEDGER.md) lists all of it with what each was measured to cost, and draws the conclusion, number by number. The *shape* within one set of runs is what the flow does, since all of it was trained alike. The right panel asks a question that the paper does not: how much of the gain is the flow's, and how much would longer training of the plain model have brought as well? Later work with well-trained baselines found gains well below the paper's (van den Berg et al., 2018).
#
# **In our runs, as in the paper, 80 layers are ahead of no flow by more than a nat in $-\ln p$, and $F$ is never below it. How far ahead depends on the length of training and on how the pixels were drawn, which belong beside every such number.**
#
# ## Exercises
#
# Each check says "not attempted", "correct", or what is wrong.
#
# ### Exercise 1: What does a network lose that does not look?
#
# Take one latent with prior $N(0, 1)$ and $x \mid z \sim N(z, \tau^2)$. The posterior is Gaussian, so a family of Gaussians has no approximation gap. Now let the network be blind: it gives the *same* Gaussian, the best one, to every $x$. Derive its mean gap $\mathbb{E}_{p(x)} D_{\mathrm{KL}}[q \Vert p(z \mid x)]$ in nats, and write it as `blind(tau)`. Hint: the posterior's variance does not depend on $x$, and its mean does.

# %% tags=["exercise"]
def blind(tau):
    return None  # your turn


# %% tags=["check"]
exercises.blind(blind)


# %% [markdown]
# ### Exercise 2: Can you repair the estimate?
#
# This function should return the estimate [(N5)](#eq-N5) of $\ln p(x)$ from $\ln p(x, z_K)$, $\ln q_0(z_0)$ and $\sum_k \ln\lvert\det J_k\rvert$ of $S$ draws, each of shape $(S,)$. It has three mistakes, and one of them shows only for pictures, whose joint density can be as small as $e^{-1000}$. Repair them.

# %% tags=["exercise"]
def log_evidence_of(log_joint, log_q0, log_det):
    w = np.exp(log_joint - log_q0 - log_det)
    return np.log(np.sum(w))


# %% tags=["check"]
exercises.repaired(log_evidence_of)


# %% [markdown]
# ### Exercise 3: What does one see of a lobe that nobody meets?
#
# A posterior has two lobes far apart; the second holds a part $m$ of its mass. $q$ has exactly the right shape on both, but gives the second only a part `share`, much less than $m$. Return two numbers: by how many nats the estimate [(N5)](#eq-N5) is short of $\ln p(x)$ as long as no draw has met the second lobe, and for which $S$ that happens with probability one half.

# %% tags=["exercise"]
def plateau(m, share):
    return None  # your turn


# %% tags=["check"]
exercises.plateau(plateau)


# %% [markdown]
# ### Exercise 4: Can you tell the two annealings apart?
#
# The model of the first exercise once more. At a given $\beta$, what is the variance of the best $q$ under [(20)](#eq-20), and what under the KL warm-up? Return the two, in this order.

# %% tags=["exercise"]
def variances(beta, tau):
    return None  # your turn


# %% tags=["check"]
exercises.variances(variances)

# %% [markdown]
# ## Break it: what if p is evaluated at z_0?
#
# In [(15)](#eq-15) the joint belongs at the end of the path. Evaluate it at the start, and the flow is free: nothing depends on where $z_K$ lies, and each stretch earns its log-determinant.

# %%
x, rng = every_x[10], np.random.default_rng(4)
epsilon, sigma = rng.standard_normal((5000, 2)), np.array([0.5, 0.8])
z_0 = np.array([-1.4, -0.3]) + sigma * epsilon  # q_0 by hand, on a lobe
log_q0 = StandardNormal(2).log_prob(epsilon) - np.log(sigma).sum()
for stretch in (0.0, 2.0, 8.0):
    layer = {"u": np.array([[stretch, 0.0]]), "w": np.array([[1.0, 0.0]])}
    layer["b"] = np.array([1.4])
    _, log_det = Planar(2, 1).forward_and_log_det(layer, z_0)
    log_w = joint_of(x, z_0) - log_q0 + log_det  # p at z_0, log_det of z_K
    try:
        checks.check_bound(log_w, log_p[10])
        print(f"stretch {stretch:g}: below ln p(x)")
    except AssertionError as error:
        print(f"stretch {stretch:g}: {error}")

# %% [markdown]
# **Symptom:** a training curve that improves without end, and a bound above the evidence, which here we know. **Cure:** $q_0$ at $z_0$, $p$ at $z_K$; and test a new objective first on a model whose $\ln p(x)$ can be enumerated.
#
# ## What to remember
#
# - The network maps $x$ to $\mu$, $\ln\sigma$ and all flow parameters; every $x$ has its own bound, its own gap and its own evidence.
# - The gap is $D_{\mathrm{KL}}[q \Vert p(z \mid x)]$: an approximation gap, which is the family's, plus an amortization gap, which is the network's and grows on $x$ that it has not met. A flow can lower both.
# - Averaging weights tightens the bound; a reported $-\ln p$ is an estimate that is too high on average, less so with more draws.
# - New images come from the prior. The flow belongs to the posterior.
# - $\beta$ on the joint flattens; $\beta$ on the KL sharpens.
# - A gain in nats means something beside its training length and its way of making pixels black and white.
#
# ## In practice
#
# | library | a flow that takes $x$ as a condition |
# |---|---|
# | Pyro | `conditional_planar`, `ConditionalPlanar`: a network gives the parameters |
# | normflows | `NormalizingFlowVAE`: an encoder for $q_0$, flow layers shared by all $x$ |
# | zuko | `context=` of its lazy flows, such as `MAF(features, context)` |
# | flowjax | `cond_dim=` and `condition=` of its flows |
#
# Today's conditional flows mostly feed $x$ into the conditioner of a coupling or autoregressive layer, instead of putting out all parameters of the layer: the output of the network then does not grow with $K$. The checks of this notebook apply to them unchanged.
#
# ## References
#
# - D. J. Rezende and S. Mohamed (2015), [Variational Inference with Normalizing Flows](https://arxiv.org/abs/1505.05770), ICML: eqs. (4), (15) and (20), Algorithm 1, section 6.2, Figures 2 and 4 and Table 2; the network that puts out a flow.
# - D. P. Kingma and M. Welling (2014), *Auto-Encoding Variational Bayes*, ICLR: amortized inference with a Gaussian $q_0$, and the reparameterized gradient that trains it.
# - Y. Burda, R. Grosse and R. Salakhutdinov (2016), *Importance Weighted Autoencoders*, ICLR: eq. (8), the bound from $S$ weights, which climbs to the evidence.
# - C. Cremer, X. Li and D. Duvenaud (2018), *Inference Suboptimality in Variational Autoencoders*, ICML: the gap split into approximation and amortization, measured on images, where a richer family shrinks both.
# - R. Salakhutdinov and I. Murray (2008), *On the Quantitative Analysis of Deep Belief Networks*, ICML: the evidence of digits estimated by sampling, and the stochastic binarization that later work shares.
# - R. van den Berg, L. Hasenclever, J. Tomczak and M. Welling (2018), *Sylvester Normalizing Flows for Variational Inference*, UAI: planar flows made wider, with amortized parameters, and well-trained baselines beside them.
