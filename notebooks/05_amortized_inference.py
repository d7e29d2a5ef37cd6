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
# Nearly: a network that reads x and answers with the parameters of a flow gives every x its own bent posterior in one pass, and what this sharing costs can be measured in nats.

# %% tags=["setup"]
import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

from nflib_min import Planar, StandardNormal, checks, cosine_decay, fit, plotting
from nflib_min import amortized as am
from nflib_min.plotting import BASE, FLOW, LOG_DET, TARGET, panels, show
from notebooks.figures import amortized_inference as figures

one_thread = threadpool_limits(1)  # matrices this small only get slower with more

# %%
model = am.DeepLatentGaussianModel(dim=2, pixels=4, hidden=(4,))
answers = np.array([[1, 1, 1, 1], [-1, -1, 1, -1], [1, 1, 0, 0], [0.3, -0.3, 0, 0]])
units = np.array([[1.0, -1, 0, 0], [0, 0, 1, -1]])  # rectified: z_1, -z_1, z_2, -z_2
theta = {"W0": units, "b0": np.zeros(4), "W1": 5 * answers.T, "b1": np.array([-7.5, 2, -3.5, 0])}
every_x = np.indices((2, 2, 2, 2)).reshape(4, 16).T.astype(float)
grid, cell = checks.grid((-5.0, 5.0), 160)
log_joint = np.stack([model.log_joint(theta, x[None], grid) for x in every_x])
log_p = np.logaddexp.reduce(log_joint, axis=1) + np.log(cell)  # ln p(x) of all sixteen x


# %%
class FixedDecoder(am.AmortizedFreeEnergy):  # the loss for q alone: the model is given
    def value_and_grad(self, params, rng, step):
        value, g = super().value_and_grad(params, rng, step)
        return value, g | {"model": {name: 0 * part for name, part in g["model"].items()}}


def train(network, x, steps=3000, start=None):
    rng = np.random.default_rng(0)
    start = am.init(model, network, rng) | {"model": theta} if start is None else start
    loss, rate = FixedDecoder(model, network, x, batch=len(x)), cosine_decay(1e-2, steps)
    return fit(loss, start, steps, rng, learning_rate=rate).params


networks = {
    "q_0 alone": am.InferenceNetwork(4, 2, None, hidden=(32,)),
    "one flow for all x": am.InferenceNetwork(4, 2, Planar(2, 8), (32,), amortized=False),
    "a flow for each x": am.InferenceNetwork(4, 2, Planar(2, 8), (32,)),
}
trained = {name: train(net, np.repeat(every_x, 16, axis=0)) for name, net in networks.items()}


# %%
def log_q(name, x, z, params=None):
    """ln q(z|x) at any points z, through the inverse of the flow that the network gives to x."""
    network, params = networks[name], trained[name] if params is None else params
    out = network.encoder(params["network"], np.repeat(x[None], len(z), axis=0))
    z0, log_det = network.bijection.inverse_and_log_det(network.flow_params(out, params["flow"]), z)
    return network.base.log_prob(z0) + log_det


def divergence(lnq, i):  # KL(q || p(z|x)) for x number i, integrated on the grid
    return np.sum(np.exp(lnq) * (lnq - log_joint[i])) * cell + log_p[i]


# %% alt="Six data points, one a column: true posteriors shaped like a V, arcs, an arch and two lobes; below them ellipses from the network without a flow, and at the bottom shapes like the true." caption="Top: the true posteriors of six x (four answers each). Middle: one network that gives Gaussians. Bottom: one network that gives eight planar layers to each x. Bends and gaps follow."
figures.six_posteriors(every_x, log_q, model, theta)

# %% [markdown]
# [Previous: What happens when the flow gets infinitely long?](04_infinitesimal_flows.ipynb) · [Next: Does a flow posterior give the right answer?](06_real_posteriors.ipynb)
#
# After these 50 minutes **you will be able to**
#
# - build an inference network whose output is a flow, and check its bound against an evidence that is known exactly, for each x;
# - split what is lost into the family's share and the network's, and say what importance sampling repairs and what it does not;
# - read the paper's Figure 4 and Table 2 beside our own runs, with the mistakes in mind that make such tables lie.
#
# **You need** the evidence lower bound (ELBO) of [the first notebook](01_elbo.ipynb) and planar flows from [the third](03_flow_composition.ipynb). It runs in under a minute.
#
# ## Which way do we walk, and what is new?
#
# **Forward** still means $z_0 \to z_K$, from the base to the flow. So far the target was one density. Now there is data: every $x$ has a posterior of its own, and 60,000 images would need 60,000 trainings. *Amortized* inference pays once: a network learns the map from $x$ to the parameters of $q$, and a new $x$ costs one evaluation.
#
# | symbol | meaning | in the code |
# |---|---|---|
# | $x$ | observed data, here zeros and ones | `x`, `every_x` |
# | $\theta$ | parameters of the model, the decoder | `params["model"]` |
# | $\phi$ | parameters of the inference network | `params["network"]` |
# | $\mu(x), \sigma(x)$ | mean and scales of $q_0(\cdot \vert x)$ | `mean`, `log_scale` |
# | $\lambda(x)$ | flow parameters $u_k, w_k, b_k$ for this $x$ | `u`, `w`, `b` |
# | $z_0$, $z_K$ | the draw from $q_0$, and where the flow takes it | `z0`, `zK` |
# | $F(x)$ | free energy, minus the ELBO of this $x$ | `free_energies` |
#
# The paper calls $q_0$ diagonal and prints $N(\mu, \sigma^2 I)$; it is diagonal here, one $\sigma_i$ a coordinate.
#
# ## Can evidence be enumerated?
#
# With images it cannot: nobody knows $\ln p(x)$ of a digit. So we start where everything is known. A point $z$ in the plane is asked four yes-or-no questions, and $x$ holds the answers:
#
# 1. is it far out, $\lvert z_1\rvert + \lvert z_2\rvert > 1.5$?
# 2. is it above the V, $z_2 > \lvert z_1\rvert - 0.4$?
# 3. is it away from the middle, $\lvert z_1\rvert > 0.7$?
# 4. is it to the right, $z_1 > 0$? (A hint more than an answer: this one is often wrong.)
#
# The answers are noisy, $p(x_i = 1 \vert z)$ is a sigmoid of five times the excess (of 1.5 times $z_1$ in question 4), and the four pixels are independent given $z$:
#
# <a id="eq-4"></a>
#
# $$
# p(x, z) = p\big(x \,\vert\, f(z)\big)\, N(z \,\vert\, 0, I) \tag{4}
# $$
#
# - $f$ is the decoder, a network with four rectified units: $\lvert z_1\rvert$ is $\max(z_1, 0) + \max(-z_1, 0)$;
# - this is the paper's deep latent Gaussian model with one layer of latents, `DeepLatentGaussianModel` in [`amortized.py`](../nflib_min/amortized/model.py).
#
# There are $2^4 = 16$ possible $x$, and each evidence is an integral over a plane:
#
# <a id="eq-N1"></a>
#
# $$
# p(x) = \int p(x \vert z)\, p(z)\, dz, \qquad \sum_x p(x) = 1 \tag{N1}
# $$
#
# The sum is the check that catches a lost factor in any of the sixteen integrals. The second route needs no integral at all: draw from the model and count.
#
# > **Predict.** The answers are "no, no, no" and question 4 is open. Where is $z$? (The first column of the figure shows one such posterior.)

# %%
assert abs(np.exp(log_p).sum() - 1) < 1e-5  # what lies outside the grid is 1e-6
drawn = model.sample(theta, 50_000, np.random.default_rng(0))
counts = np.bincount((drawn @ [8, 4, 2, 1]).astype(int), minlength=16) / len(drawn)
np.testing.assert_allclose(counts, np.exp(log_p), atol=0.01)
print("sixteen probabilities sum to 1, and 50,000 draws of the model agree with each: True")

# %% [markdown]
# Where is $z$ after "no, no, no"? Near the middle, not above the V, so inside a V-shaped region around and below the origin; the fourth answer shifts the weight to one of its arms.
#
# **A model with sixteen possible data points and a plane of latents has no secrets: each ln p(x) is one integral, and together they must sum to one.**
#
# ## What does the network put out?
#
# For $q(z \vert x)$ the network reads $x$ and returns everything that makes a flow:
#
# <a id="eq-N2"></a>
#
# $$
# x \;\longmapsto\; \mu(x),\ \ln\sigma(x),\ \lambda(x), \qquad z_0 = \mu(x) + \sigma(x) \odot \epsilon, \qquad z_K = f_K \circ \dots \circ f_1(z_0) \tag{N2}
# $$
#
# - $\epsilon \sim N(0, I)$, and $\odot$ multiplies coordinate by coordinate;
# - the layers $f_k$ carry the parameters $\lambda(x)$: another $x$, another flow. That is `InferenceNetwork` in [`amortized.py`](../nflib_min/amortized/network.py). With $d$ latents and $K$ planar layers it puts out $2d + K(2d + 1)$ numbers.
#
# It is trained on the free energy, averaged over the data:
#
# <a id="eq-15"></a>
#
# $$
# F(x) = E_{q_0}\left[\ln q_0(z_0 \vert x)\right] - E_{q_0}\left[\ln p(x, z_K)\right] - E_{q_0}\left[\sum_{k=1}^K \ln\left\lvert 1 + \hat u_k^\top \psi_k(z_{k-1})\right\rvert\right] \tag{15}
# $$
#
# - $q_0$ is evaluated at $z_0$, where the draw was made, and $p$ at $z_K$, where it ended. Published code has had $p$ at $z_0$; "Break it" below shows what that does;
# - Algorithm 1 of the paper: draw a minibatch of $x$, one $z_0$ for each, push it through, and step $\theta$ and $\phi$ together on $-\nabla F$. (It prints $f_1(z)$ where $f_1(z_0)$ is meant.)
#
# Here the decoder is given, so that only $\phi$ moves, and each of the sixteen $x$ gets the same weight. Then [(1) of the paper](01_elbo.ipynb) says, for each $x$ by itself,
#
# <a id="eq-N3"></a>
#
# $$
# \ln p(x) - \big(-F(x)\big) = \mathrm{KL}\big(q_K(z \vert x) \,\Vert\, p(z \vert x)\big) \ge 0 \tag{N3}
# $$
#
# We can compute both sides: the left by averaging over draws (`log_weights` gives $\ln w = \ln p(x, z_K) - \ln q_K(z_K \vert x)$ for each of them), the right by integrating over the plane, since planar layers have a true inverse.

# %%
kl, draws = {}, {}
for name, network in networks.items():
    rng = np.random.default_rng(1)
    draws[name] = am.log_weights(trained[name], model, network, every_x, 40_000, rng)
    lnq = [log_q(name, x, grid) for x in every_x]
    np.testing.assert_allclose(np.exp(lnq).sum(axis=1) * cell, 1, atol=0.01)  # densities
    kl[name] = np.array([divergence(of_x, i) for i, of_x in enumerate(lnq)])
    for i in range(16):
        gap, error = checks.check_bound(draws[name][i], log_p[i])  # asserts ELBO <= ln p(x)
        assert gap > 0 and abs(gap - kl[name][i]) < 5 * error + 2e-3
    print(f"{name:<18}: 16 of 16 bounds below ln p(x), each by its KL: True")

# %% alt="Left: for sixteen x the exact log evidence with three bounds below it. Right: the gaps on a log scale, smallest for a flow for each x; a shared flow is worse than q0 alone for two x." caption="No bound crosses its own evidence (left). The gap is $\\mathrm{KL}(q\\,\\Vert\\,p)$ (right): it shrinks for every x when the network gives each x its own flow."
plain, shared, own = kl.values()
assert 0.18 < plain.mean() < 0.24 and np.all(own < plain) and np.all(own < shared)
assert shared.mean() < 0.5 * plain.mean() and own.mean() < 0.25 * plain.mean()
fig, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.5), layout="constrained")
order, marks = np.argsort(log_p), ((BASE, "s"), (LOG_DET, "^"), (FLOW, "o"))
left.plot(log_p[order], "_", ms=14, mew=2, color=TARGET, label=r"exact $\ln p(x)$")
for name, (color, mark) in zip(kl, marks, strict=True):
    label = name.replace("q_0", "$q_0$")
    left.plot((log_p - kl[name])[order], mark, ms=5, color=color, label=label)
    right.semilogy(kl[name][order], mark, ms=5, color=color, label=label)
left.set(ylabel="nats", title="evidence and the bounds below it")
right.set(ylabel="KL (nats)", title="the gap alone")
for ax in (left, right):
    ax.set(xlabel="the sixteen x, from rare to common", xticks=[])
left.legend(frameon=False, fontsize=8)
show(fig)

# %% [markdown]
# The middle family is worth a look. It has the same eight layers, but one set of them, learned globally: $\mu(x)$ and $\sigma(x)$ move, the bend stays. It repairs somewhat more than half of what the Gaussian loses. The rest is repaired by letting $\lambda$ depend on $x$, and that is why the paper's network puts out every flow parameter.
#
# **One network holds sixteen posteriors. Each bound lies below its own evidence by exactly the KL, about 0.2 nats on average for Gaussians, less than half of that for a shared flow, and less than a quarter when each x has its own.**
#
# ## What does sharing the network cost?
#
# A gap has two owners. Part of it is the family's: eight planar layers cannot draw every shape. The rest is the network's, which has to serve sixteen $x$ with the same weights:
#
# <a id="eq-N4"></a>
#
# $$
# \underbrace{\ln p(x) + F(x)}_{\text{gap}} = \underbrace{\mathrm{KL}\big(q^*_x \,\Vert\, p(z \vert x)\big)}_{\text{approximation}} + \underbrace{F(x) - F^*(x)}_{\text{amortization}} \tag{N4}
# $$
#
# - $q^*_x$ is the best member of the same family for this $x$ alone, and $F^*(x)$ its free energy.
#
# To measure it we hand each network's answer to a training that sees a single $x$ and nothing else. (We start it from that answer and not afresh: in our trials two of eight fresh runs for one $x$ ended in local optima well above the network's own $F$. Sharing can help, too.)
#
# > **Predict.** For which family will the amortization gap be larger: for Gaussians, which need four numbers for each x, or for flows, which need forty-four?

# %%
share = []
for name, i in [(name, i) for name in ("q_0 alone", "a flow for each x") for i in (1, 5, 10, 15)]:
    only_x = np.repeat(every_x[[i]], 128, axis=0)
    lnq = log_q(name, every_x[i], grid, train(networks[name], only_x, 1000, trained[name]))
    share.append([divergence(lnq, i), kl[name][i] - divergence(lnq, i)])
family, network = np.reshape(share, (2, 4, 2)).mean(axis=1).T
assert family[0] > 0.15 > 0.05 > family[1] and abs(network[0]) < 0.005 < network[1] < 0.05
print("sharing costs Gaussians less than 0.005 nats, and flows less than 0.05: True")

# %% [markdown]
# No surprise for the Gaussians: four smooth functions of $x$ are easy to learn, and their whole gap is the family's. For flows both shares are a few hundredths of a nat, and their sum is still far below the Gaussian's. On images the amortization share is often the larger one (Cremer, Li and Duvenaud, 2018).
#
# **The gap is the family's share plus the network's. A richer family shrinks the first, and asks more of the network; here the bargain is good by a wide margin.**
#
# ## How much does averaging weights repair?
#
# The paper reports $-\ln p(x)$, not $F$, and estimates it by *importance sampling* with $S = 200$ draws:
#
# <a id="eq-N5"></a>
#
# $$
# \ln p(x) \approx \ln \frac1S \sum_{s=1}^S w_s, \qquad w_s = \frac{p(x, z_K^s)}{q_K(z_K^s \vert x)} \tag{N5}
# $$
#
# - $E[w_s] = p(x)$, so the mean weight is right on average; its logarithm is low on average, by Jensen's inequality;
# - with $S = 1$ the expectation is the ELBO, and it climbs to $\ln p(x)$ as $S$ grows (Burda et al., 2016).
#
# Hence the "$\le$" in the paper's Table 2 does not announce a bound like $F$: those numbers are such estimates, and their expectation lies above $-\ln p(x)$ by an unknown rest. Here the rest is known: $\ln p(x) - E[\ln \frac1S \sum_s w_s]$.
#
# > **Predict.** The Gaussian $q_0$ starts about 0.2 nats below. Roughly where is it with 200 draws, and with 5,000? And the flow?

# %%
sizes, rest = (1, 10, 200, 5000), {}
for name, log_w in draws.items():
    for S in sizes:
        rest[name, S] = np.mean(log_p) - np.mean(am.log_evidence(log_w.reshape(-1, S)))
    assert rest[name, 1] > rest[name, 10] > rest[name, 200]
assert abs(rest["a flow for each x", 200]) < 0.005 < 0.03 < rest["q_0 alone", 5000]
print("a flow for each x: 200 draws leave less than 0.005 nats: True")
print("q_0 alone: 5,000 draws still leave more than 0.03 nats: True")

# %% alt="What is left below ln p(x) against the number of draws for three families: the flows' lines fall to zero, the line of q0 alone flattens slowly above it." caption="More draws tighten every bound. The Gaussians' line falls very slowly: what their draws never meet, no averaging of weights can find."
unseen = {}
for name in ("q_0 alone", "a flow for each x"):
    log_ratio = log_joint - log_p[:, None] - [log_q(name, x, grid) for x in every_x]
    beyond = log_ratio > np.log(5000)  # fewer than one in 5,000 draws meets such a weight
    unseen[name] = np.sum(np.exp(log_joint - log_p[:, None]) * beyond, axis=1) * cell
    assert abs(np.mean(-np.log1p(-unseen[name])) - rest[name, 5000]) < 0.02
assert unseen["q_0 alone"].max() > 0.1 and unseen["a flow for each x"].max() < 0.005
print("unseen by 5,000 draws of q_0: for one x more than a tenth of its posterior: True")
figures.more_draws(kl, marks, rest, sizes)


# %% [markdown]
# The Gaussians' line is the lesson of this section. A $q_0$ that sits on one of two lobes gives the other one weights of thousands, so rare that 5,000 draws do not contain them. The mean weight is still right *in expectation*; what one sees is a steady, confident number that is too low. The second cell finds the mass that is missed by integration, with no draws at all, and it explains the plateau.
#
# So a better $q$ does two things. It raises the ELBO, and it makes the estimate of $\ln p$ trustworthy. In 40 dimensions, where nobody can look, that is an argument for giving Table 2 with 5,000 draws as well as with 200, and for not reading it as exact.
#
# **Averaging S weights gives a tighter bound, never a lower one in expectation. It repairs the places that q visits too rarely, not those it never visits, so a published −ln p(x) errs upwards: say how many draws it took.**
#
# ## Which mistakes does the training curve not show?
#
# Three of them are about this model, and each has been made in public.
#
# **New images from the wrong distribution.** To invent an $x$, draw $z$ from the *prior* and decode. The flow belongs to $q(z \vert x)$: it was trained to imitate posteriors, and nothing says that pushing prior draws through it gives anything. With a shared flow the mistake comes easily, since the flow is there without any $x$. We know $p(x)$ exactly, so the damage is a number: the total variation $\frac12 \sum_x \lvert \tilde p(x) - p(x)\rvert$, the largest error in the probability of any event.

# %%
def probabilities(z):  # p(x) of the sixteen x when draws of the prior are moved to z and decoded
    out, weight = model.decoder(theta, z), np.exp(model.prior.log_prob(grid)) * cell
    return np.array([np.exp(model.likelihood.log_prob(out, x[None])) @ weight for x in every_x])


moved = Planar(2, 8).forward(trained["one flow for all x"]["flow"], grid)
variation = [0.5 * np.abs(probabilities(z) - np.exp(log_p)).sum() for z in (grid, moved)]
assert variation[0] < 1e-4 and variation[1] > 0.1
print("total variation: 0 from the prior, more than 0.1 through the shared flow: True")

# %% [markdown]
# **Two kinds of annealing.** The paper trains with
#
# <a id="eq-20"></a>
#
# $$
# F^{\beta_t}(x) = E_{q_0}[\ln q_0(z_0 \vert x)] - \beta_t\, E_{q_0}[\ln p(x, z_K)] - E_{q_0}\Big[\sum_k \ln\lvert 1 + \hat u_k^\top \psi_k\rvert\Big], \qquad \beta_t = \min(1,\ 0.01 + t/10000) \tag{20}
# $$
#
# - $\beta_t$ multiplies the *joint*: the best $q$ is proportional to $p(x, z)^{\beta}$, a flatter posterior, with a prior of variance $1/\beta$. (The paper's first line of (20) leaves the $\beta$ out, and prints $p_K$ for $q_K$.)
# - The later *KL warm-up* multiplies $\mathrm{KL}(q \Vert p(z))$ instead. Its best $q$ is proportional to $p(x \vert z)^{1/\beta}\, p(z)$: sharper than the posterior. The two err in opposite directions.

# %% alt="Three densities for one x: spread over the whole window at beta 0.1 by equation 20, the posterior itself, and a sharp patch with hard edges under the KL warm-up at the same beta." caption="What $q$ is asked to be for one x at $\\beta = 0.1$: flatter than the posterior by (20) (left), sharper by the KL warm-up (right). The same letter, two methods."
i, beta, wide = 10, 0.1, (-5.0, 5.0)
log_prior = model.prior.log_prob(grid)
kinds = {"(20): $p(x, z)^{0.1}$": beta * log_joint[i], "$\\beta = 1$, posterior": log_joint[i]}
kinds["warm-up: $p(x|z)^{10} p(z)$"] = (log_joint[i] - log_prior) / beta + log_prior
fig, axes = panels(1, 3, size=2.5)
entropies = []
for ax, (title, log_f) in zip(axes[0], kinds.items(), strict=True):
    f = np.exp(log_f - np.logaddexp.reduce(log_f)) / cell
    entropies.append(-np.sum(f * np.log(np.maximum(f, 1e-300))) * cell)
    ax.imshow(f.reshape(160, 160), origin="lower", extent=(*wide, *wide), cmap=plotting.DENSITY)
    plotting.square(ax, wide, title)
assert entropies[0] > entropies[1] + 1 > entropies[2] + 1.2
show(fig)

# %% [markdown]
# **Two kinds of black and white.** MNIST (a data set of handwritten digits) is grey. Drawing each pixel once as Bernoulli(grey/255) gives noisy edges that no model can predict; thresholding at one half gives smooth ones, and values of $-\ln p$ that others have found about 19 nats lower. Numbers from the two do not belong in one table. Ours are drawn, as the paper's are, with another seed than the paper's: [the data's own page](../notebooks/data/README.md) says how.
#
# **Draw new images from the prior and never through the posterior's flow; say which β you mean; and compare digits only with digits that were made black and white in the same way.**
#
# ## Does it carry over to handwriting?
#
# The same classes, larger: 10,000 training and 2,000 test digits of 784 pixels, 20 latents, networks with 200 hidden units, float32. Two models are trained from the same seed, with and without a planar flow of ten layers, for 2,000 steps each, which is 20 passes. The paper took 500,000 steps over 50,000 more images with larger networks; here we look at the mechanism.
#
# > **Predict.** In the plane the flow gained less than a quarter of a nat over the Gaussian. Will it gain more or less in 20 dimensions?

# %%
bits = np.load("data/mnist_binarised.npz")
digits, test = (np.unpackbits(bits[part], axis=1) for part in ("train", "test"))
decoder = am.DeepLatentGaussianModel(dim=20, pixels=784, hidden=(200,))


def train_digits(K, steps=2000):
    network = am.InferenceNetwork(784, 20, Planar(20, K) if K else None, hidden=(200,))
    loss = am.AmortizedFreeEnergy(decoder, network, digits, batch=100)
    rng, rate = np.random.default_rng(0), lambda t: 2e-3 / (1 + t / 3000) ** 0.5
    start = am.init(decoder, network, rng, np.float32)
    return network, fit(loss, start, steps, rng, learning_rate=rate, clip=200.0, average=0.998)


writers = {0: train_digits(0)}

# %% [markdown]
# The decoder learns now, too, and $-\ln p$ is estimated with 200 draws on the first 400 test digits. We use the running mean of the parameters, which forgets the noise of the last steps.

# %%
free, evidence, writers[10] = {}, {}, train_digits(10)
for K, (network, run) in writers.items():
    rng = np.random.default_rng(2)
    log_w = am.log_weights(run.mean_params, decoder, network, test[:400], 200, rng)
    free[K], evidence[K] = -log_w.mean(axis=1, dtype=float), -am.log_evidence(log_w)
    loss = run.history["loss"]
    assert np.all(free[K] >= evidence[K])  # Jensen, digit by digit
    assert loss[:20].mean() > 150 > 115 > loss[-100:].mean()  # it has learned
gain, gain_in_evidence = (np.mean(a[0] - a[10]) for a in (free, evidence))
assert gain > 1 and gain_in_evidence > 0.5
print("every F lies above its -ln p; both training losses fell from above 150 to below 115: True")
print("ten layers gain more than 1 nat in F and more than half a nat in -ln p: True")

# %%
rng, (network, run) = np.random.default_rng(3), writers[10]
params, shown = run.mean_params, np.argsort(bits["test_labels"][:400], kind="stable")[::40]
x = test[shown].astype(np.float32)
flow_params = network.flow_params(network.encoder(params["network"], x), params["flow"])
z0 = network.base.sample(10, rng, np.float32)
posterior, prior = network.bijection.forward(flow_params, z0), decoder.prior.sample(10, rng)
rows = {"digits $x$": x}
for name, z in (("rebuilt, $z_K \\sim q(z|x)$", posterior), ("new, $z \\sim$ prior", prior)):
    rows[name] = decoder.likelihood.mean(decoder.decoder(params["model"], z))

# %% alt="Ten test digits in noisy black and white; below them smooth reconstructions of the same digits; and below those ten new, partly blurred digits." caption="Test digits, what the model rebuilds from one draw $z_K$ each, and new images from the prior. Rebuilt pixels are probabilities, so they are grey where the model is unsure."
figures.digits(rows)

# %% [markdown]
# How firm is the gain? In trials of 2,500 steps it was 1.8 to 2.3 nats in $F$ over three seeds. With twice the step size, which suits the model without a flow better, it was 0.9 and 1.6 nats for two seeds. The sign held each time; the size belongs to the recipe.
#
# Part of the gain is not the posterior's. A decoder that is trained against a stiff $q$ learns to have posteriors that $q$ can follow; with a better $q$ it is free to use the latents differently. The difference in $-\ln p$ is what is left of that when $q$ itself has been averaged away, as far as 200 draws can do it.
#
# **On digits, too, F ≥ −ln p for each single one, and ten planar layers gain more than a nat in F after the same number of steps, more than four times what they gained in the plane.**
#
# ## What do the full-size runs say?
#
# The scripts in [`reproduce/`](../reproduce/mnist.py) train the paper's model on all of MNIST: 60,000 + 10,000 digits, 40 latents, 400 hidden units, planar flows and NICE (couplings with a fixed random permutation) of up to 80 layers. This takes CPU hours, so the notebook reads their results, a file that carries its provenance and a checksum, which `load` verifies.
#
# Three differences to the paper bear on every number. Our training is a small part of the paper's 500,000 updates. It uses Adam and rectified units where the paper has RMSprop and maxout. And the pixels differ: our test digits are drawn once, as the paper's are, but with another seed, and our training digits are drawn anew each time they are met, where the paper draws these once too. A training set that is drawn once is partly learned by heart; what that costs on test digits is printed below.

# %%
from reproduce import results
from reproduce.results import paper

runs, flows = results.load("mnist"), ("planar", "nice-perm")
values = results.models(runs)  # (flow, K, epochs) -> what was measured
epochs = results.longest(values)
assert all(run["values"]["F"] >= run["values"]["nll"] for run in runs)
origins = sorted({(run["date"], (run["commit"] or "unknown")[:9]) for run in runs})
print(f"{runs[0]['function']}: {len(runs)} runs, longest {epochs} epochs; computed on")
print(*(f"{date} at commit {commit}" for date, commit in origins), sep="\n")

# %%
print(f"-ln p(x), nats   paper   ours, {epochs} epochs   first 1,000 digits: 200, 5,000 draws")
for flow, K in [("planar", 0), *((f, K) for f in flows for K in (10, 20, 40, 80))]:
    of = values["none" if K == 0 else flow, K, epochs]
    few = f"{of['nll_200_of_these']:.1f}, {of['nll_5000']:.1f}" if "nll_5000" in of else "not taken"
    name = "q_0 alone" if K == 0 else f"{flow} {K}"
    print(
        f"{name:<14} {paper.TABLE_2[flow][K]:7.1f} {of['nll']:10.1f} +- {of['nll_se']:.1f}   {few}"
    )
    assert "nll_5000" not in of or of["nll_5000"] <= of["nll_200_of_these"]
for flow in flows:
    nll = [*results.against_K(values, flow, "nll", epochs).values()]
    print(f"{flow}: lower at each greater K: {nll == sorted(nll, reverse=True)}")
    assert nll[-1] < nll[0]  # the longest flow is ahead of none
for (flow, K, at), of in results.models(runs, redrawn=False).items():
    cost = of["nll"] - values[flow, K, at]["nll"]
    print(f"{flow} {K}, {at} epochs, pixels drawn once: -ln p {cost:+.1f} nats")
    assert cost > 0.2

# %%
looked_at = sorted({e for name, K, e in values if K == 80})
gains = {}
for flow in flows:
    at = [e for e in looked_at if (flow, 80, e) in values and ("none", 0, e) in values]
    gains[flow] = at, [values["none", 0, e]["nll"] - values[flow, 80, e]["nll"] for e in at]
paper_gain = paper.TABLE_2["planar"][0] - paper.TABLE_2["planar"][80]
assert [round(gain, 1) for gain in (*gains["planar"][1][::3], paper_gain)] == [2.4, 3.2, 4.8]
assert all(np.all(np.diff(gain) > 0) for _, gain in gains.values())  # larger at every look

# %% alt="Free energy and KL against flow length, ours solid and the paper's dashed, and the gain of 80 layers against the epochs of training, under a dashed line for the paper's gain." caption="Figure 4 of the paper beside ours: $F$, KL as $F$ minus the estimate of $-\\ln p$, and what 80 layers gain as training goes on."
figures.figure_4(epochs, gains, looked_at, paper_gain, values)


# %% [markdown]
# How to read it. The vertical distance between our curves and the paper's mixes everything that differs: updates, optimizer, units, pixels. The *shape* within one set of runs is what the flow does, since all of it was trained alike. The right panel asks a question that the paper does not: how much of the gain is the flow's, and how much would longer training of the plain model have brought as well? Later work with well-trained baselines found gains well below the paper's $89.9 - 85.1 = 4.8$ nats (van den Berg et al., 2018). Ours grows while we watch, from 2.4 nats after 10 epochs to 3.2 after 80: both models get better, the one with the flow faster. Whether it would reach 4.8 or turn back, 80 epochs cannot say. The [ledger](../reproduce/LEDGER.md) draws the conclusion, number by number.
#
# **In our runs, as in the paper, the longest flows are ahead of none in −ln p, and F is never below it. How far ahead depends on the length of training, which belongs beside every such number.**
#
# ## Exercises
#
# Replace `None`, run the cell, then its check. `diagnose` knows the likely mistakes by name.

# %% tags=["setup"]
def diagnose(given, right, mistakes):
    """Print whether an answer is missing, correct, or which of the known mistakes it makes."""
    if given is None:
        return print("not attempted")
    for verdict, x in {"correct": right, **mistakes}.items():
        if np.shape(x) == np.shape(given) and np.allclose(x, given):
            return print(verdict)
    print("not yet, and not one of the usual mistakes")


# %% [markdown]
# ### Exercise 1: Count what the network must say
#
# An inference network for $d = 40$ latents gives each $x$ its $\mu$, $\ln\sigma$, and a planar flow of length $K = 20$. How many numbers does it put out?

# %% tags=["exercise"]
answer = None  # your turn

# %% tags=["check"]
mistakes = {"mu and ln sigma are missing: q_0 depends on x, too": 20 * 81}
mistakes["each layer has a b as well as u and w"] = 80 + 20 * 80
mistakes["that is a single layer; each of the 20 has parameters of its own"] = 80 + 81
mistakes["q_0 has one sigma for each coordinate, not one in all"] = 41 + 20 * 81
mistakes["u and w have d entries each"] = 80 + 20 * 41
diagnose(answer, 80 + 20 * 81, mistakes)


# %% [markdown]
# ### Exercise 2: Estimate the evidence of a digit
#
# Given `log_joint` $= \ln p(x, z_K^s)$, `log_q0` $= \ln q_0(z_0^s)$ and `log_det` $= \sum_k \ln\lvert\det J_k\rvert$ for $S$ draws, each of shape $(S,)$, return the estimate [(N5)](#eq-N5) of $\ln p(x)$. The joint of a picture can be as small as $e^{-1000}$.

# %% tags=["exercise"]
def log_evidence_of(log_joint, log_q0, log_det):
    return None  # your turn


# %% tags=["check"]
joint, base = np.array([-1001.0, -1003.0, -1002.0]), np.array([-1.0, -2.0, -0.5])
ld = np.array([0.5, -1.0, 0.25])
log_w, flipped = joint - base + ld, joint - base - ld
mistakes = {
    "the mean of ln w is the ELBO: average the weights, then take the logarithm": log_w.mean()
}
mistakes["the sign of log_det: ln q_K = ln q_0 - log_det"] = np.logaddexp.reduce(flipped) - np.log(
    3
)
mistakes["the sum of the weights, not their mean: ln S is missing"] = np.logaddexp.reduce(log_w)
mistakes["e^-1000 is 0 in floating point: np.logaddexp.reduce adds in logarithms"] = -np.inf
mistakes["q_K at z_K is needed: log_det is left out"] = np.logaddexp.reduce(joint - base) - np.log(
    3
)
with np.errstate(divide="ignore"):
    diagnose(log_evidence_of(joint, base, ld), np.logaddexp.reduce(log_w) - np.log(3), mistakes)


# %% [markdown]
# ### Exercise 3: Tell the two annealings apart
#
# Take one latent, prior $N(0, 1)$, and $p(x \vert z) = N(x \vert z, s^2)$. At a given $\beta$, what is the variance of the best $q$ under [(20)](#eq-20), and what under the KL warm-up? Return the two, in this order.

# %% tags=["exercise"]
def variances(beta, s):
    return None  # your turn


# %% tags=["check"]
beta, s = 0.1, 0.5
tempered, warmed = 1 / (beta * (1 + 1 / s**2)), 1 / (1 + 1 / (beta * s**2))
mistakes = {"the other way round: (20) flattens, the warm-up sharpens": [warmed, tempered]}
mistakes["(20) multiplies the prior as well as the likelihood"] = [1 / (1 + beta / s**2), warmed]
mistakes["those are precisions: the variance is one over it"] = [1 / tempered, 1 / warmed]
mistakes["the warm-up divides the likelihood's exponent by beta"] = [
    tempered,
    1 / (beta + 1 / s**2),
]
mistakes["beta multiplies a log density: it divides a variance, and not its square root"] = [
    (1 / (1 + 1 / s**2)) / beta**2,
    warmed,
]
diagnose(variances(beta, s), [tempered, warmed], mistakes)

# %% [markdown]
# ## Break it: what if p is evaluated at z_0?
#
# In [(15)](#eq-15) the joint belongs at the end of the path. Evaluate it at the start, as published code has done, and the flow is free: nothing depends on where $z_K$ lies, and each stretch earns its log-determinant.

# %%
x, epsilon = every_x[10], np.random.default_rng(4).standard_normal((5000, 2))
z0 = np.array([-1.4, -0.3]) + np.array([0.5, 0.8]) * epsilon  # q_0 set by hand, on a lobe
log_q0 = StandardNormal(2).log_prob(epsilon) - np.log(0.5 * 0.8)
for stretch in (0.0, 2.0, 8.0):
    layer = {"u": np.array([[stretch, 0.0]]), "w": np.array([[1.0, 0.0]]), "b": np.array([1.4])}
    _, log_det = Planar(2, 1).forward_and_log_det(layer, z0)
    try:
        checks.check_bound(model.log_joint(theta, x[None], z0) - log_q0 + log_det, log_p[10])
        print(f"stretch {stretch:g}: below ln p(x)")
    except AssertionError as error:
        print(f"stretch {stretch:g}: AssertionError: {error}")

# %% [markdown]
# **Symptom:** a training curve that improves without end, and a bound above the evidence, which here we know. **Cure:** $q_0$ at $z_0$, $p$ at $z_K$; and test a new objective first on a model whose $\ln p(x)$ can be enumerated.
#
# ## What to remember
#
# - The network maps $x$ to $\mu$, $\ln\sigma$ and all flow parameters; every $x$ has its own bound, its own gap and its own evidence.
# - The gap is $\mathrm{KL}(q \Vert p(z \vert x))$. It is the family's share plus the network's.
# - Averaging weights tightens the bound; a reported $-\ln p$ is an estimate that errs upwards, less with more draws.
# - New images come from the prior. The flow belongs to the posterior.
# - $\beta$ on the joint flattens; $\beta$ on the KL sharpens.
# - A gain in nats means something beside its training length and its way of making pixels black and white.
#
# ## In practice
#
# | library | a flow that listens to x |
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
# - D. J. Rezende and S. Mohamed (2015), *Variational Inference with Normalizing Flows*, ICML: eqs. (4), (15) and (20), Algorithm 1, section 6.2, Figure 4 and Table 2; the network that puts out a flow.
# - D. P. Kingma and M. Welling (2014), *Auto-Encoding Variational Bayes*, ICLR: amortized inference with a Gaussian $q_0$, and the reparameterized gradient that trains it.
# - Y. Burda, R. Grosse and R. Salakhutdinov (2016), *Importance Weighted Autoencoders*, ICLR: eq. (8), the bound from $S$ weights, which climbs to the evidence.
# - C. Cremer, X. Li and D. Duvenaud (2018), *Inference Suboptimality in Variational Autoencoders*, ICML: the gap split into approximation and amortization, measured on images.
# - R. Salakhutdinov and I. Murray (2008), *On the Quantitative Analysis of Deep Belief Networks*, ICML: the evidence of digits estimated by sampling, and the stochastic binarisation that later work shares.
# - R. van den Berg, L. Hasenclever, J. Tomczak and M. Welling (2018), *Sylvester Normalizing Flows for Variational Inference*, UAI: planar flows made wider, with amortized parameters, and well-trained baselines beside them.
