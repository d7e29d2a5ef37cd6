# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   post:
#     categories:
#     - flows
#     date: '2026-11-19'
#     description: The ELBO misses ln p(x) by exactly a KL divergence, and no independent
#       Gaussian can close the gap
#     tags:
#     - normalizing-flows
#     - variational-inference
#     title: How good is a lower bound?
# ---

# %% [markdown]
# # How good is a lower bound?
#
# It is as good as the approximation behind it: what the evidence lower bound (ELBO) misses of $\ln p(x)$ is exactly the Kullback-Leibler (KL) divergence from the approximation $q(z)$ to the posterior $p(z \mid x)$. This is where [Variational inference with normalizing flows](https://arxiv.org/abs/1505.05770) (Rezende and Mohamed, 2015) begins, in sections 1 and 2, and why it looks for a richer $q$.
#
# An old clock gains $x = 2$ seconds a day. Two of its parts can be at fault, and all that we see is the sum of their errors, with a little noise. Which part is how wrong? The orange ellipses below are the answer: if one part is innocent, the other is guilty. The three green $q$ are guesses at that answer, and each pays in nats for what it gets wrong.

# %% tags=["setup", "hide-input"]
import autograd.numpy as anp  # NumPy that autograd can differentiate
import numpy as np
from autograd import grad, hessian

from nflib_min import StandardNormal, checks, targets, training, weights
from notebooks.exercises import elbo as exercises
from notebooks.figures import elbo as figures

# %% tags=["hide-input"] alt="Left, a tilted posterior in the plane with three Gaussian q. Right, their lower bounds in nats, each with its KL divergence stacked on it: all three stacks end at the ln p(x) line." caption="A posterior (orange) and three Gaussians $q$ (green). ELBO and KL divergence add up to $\\ln p(x)$, whatever $q$ is."
model = targets.LinearGaussian(np.array([[1.0, 1.0]]), 0.5, np.array([2.0]))
posterior, log_px = model.posterior, model.log_normalizer
covariances = {
    "wide": np.eye(2) * 5 / 9,
    "narrow": np.eye(2) / 5,
    "exact": posterior.covariance,
}
figures.bounds(model, covariances)

# %% [markdown]
# You will be able to
#
# 1. write the ELBO in three forms, and say by how many nats it misses $\ln p(x)$ and what a loose bound does to a model;
# 2. tell a healthy negative loss from a bug, and derive both gradients that train $q$;
# 3. say what independent Gaussians cannot represent, what that costs, and what more draws can and cannot buy back.
#
# You need: expectations, Gaussian densities, a little NumPy. Time: 45 minutes, exercises included.
#
# Previous: none, this is the first. Next: [Where does the determinant come from?](02_change_of_variables.ipynb)
#
# Direction: forward takes $z_0$, which is easy to draw, to $z_K$, which is what we want. In this notebook one step does it: $z_K = m + L z_0$. All logarithms are natural, so information is measured in nats.
#
# | symbol | meaning | in the code |
# |---|---|---|
# | $x$ | what is observed | `model.x` |
# | $z$ | what is not: the latent variables | rows of an array (n, d) |
# | $p(z)$, $p(x \mid z)$ | prior, likelihood | `model.log_prior`, `model.log_likelihood` |
# | $p(x, z) = p(x \mid z)\,p(z)$ | joint density | `model.log_density` |
# | $p(x) = Z$ | evidence, the normalizer of the joint | `model.log_normalizer` |
# | $p(z \mid x) = p(x, z)/p(x)$ | posterior | `model.posterior` |
# | $q(z)$ | our approximation; the paper writes $q_\phi(z \mid x)$ | `q.log_prob` |
# | $F(x) = -\mathrm{ELBO}$ | free energy, the loss | `objectives.free_energy` |
#
# The subscripts in $p_\theta$ and $q_\phi$ name the parameters of the model and of the approximation. One $x$ is observed, so the condition on $x$ in $q$ can rest, and so can the subscripts where neither is being changed.
#
# ## What is the number we cannot have?
#
# The two errors $z_1$ and $z_2$ are standard normal before we look; the reading is their sum, up to a noise of standard deviation $s = 0.5$. Which part is how wrong, and how probable was such a reading at all?
#
# > **Predict.** Before the reading the two errors are independent. Are they still, once their sum is known?
#
# Bayes' rule needs one number besides the joint density: the evidence, an integral over everything that could have produced $x$.
#
# <a id="eq-1"></a>
#
# $$
# \ln p_\theta(x) = \ln \int p_\theta(x \mid z)\, p(z)\, dz \tag{1}
# $$
#
# - $p_\theta(x \mid z)$: the likelihood, $N(x;\, z_1 + z_2,\, s^2)$ for the clock;
# - $p(z)$: the prior, $N(0, I)$;
# - $\int \cdot\, dz$: over all of $\mathbb{R}^d$, and there is the difficulty: a grid with 100 points an axis has $100^d$ points.
#
# The clock is `LinearGaussian` in [gaussian.py](../nflib_min/targets/gaussian.py) with $W = (1, 1)$. Everything in it is Gaussian, so the integral has a closed form, $p(x) = N(x;\, 0,\, W W^\top + s^2)$. With $d = 2$ a grid will do too (`grid` returns its points and the area of one cell), and so will the average of the likelihood over draws from the prior, which is [(1)](#eq-1) in words.

# %%
z, cell = checks.grid((-8.0, 8.0), 400)
by_grid = np.sum(np.exp(model.log_density(z))) * cell
draws = StandardNormal(2).sample(200_000, np.random.default_rng(0))
likelihood = np.exp(model.log_likelihood(draws))
error = likelihood.std() / 200_000**0.5
assert abs(by_grid - np.exp(log_px)) < 1e-10
assert abs(likelihood.mean() - np.exp(log_px)) < 5 * error
assert np.allclose(posterior.covariance, np.array([[5, -4], [-4, 5]]) / 9)
print(f"ln p(x) = {log_px:.4f}: the formula, the grid and the draws agree")

# %% [markdown]
# So the answer to the prediction is no. Knowing the sum ties the two errors together: each has variance $5/9$, their covariance is $-4/9$, and so the correlation is $-0.8$.
#
# **The evidence is the average of the likelihood over the prior, and it normalizes the posterior. A formula gives it if everything is Gaussian, a grid if there are few dimensions.**
#
# ## Why is there a bound at all?
#
# > **Predict.** You average the logarithms of some positive numbers, and a friend takes the logarithm of their average. Whose number is larger, and when are they equal?
#
# Any density $q$ that is positive wherever the joint is may be multiplied and divided into the integral:
#
# <a id="eq-2"></a>
#
# $$
# \ln p_\theta(x) = \ln \int \frac{q_\phi(z \mid x)}{q_\phi(z \mid x)}\, p_\theta(x \mid z)\, p(z)\, dz \tag{2}
# $$
#
# - $q_\phi(z \mid x)$: the approximate posterior, one that we can draw from and evaluate;
# - $w(z) = p_\theta(x \mid z)\, p(z) / q_\phi(z \mid x)$: the importance weight of a draw $z \sim q$, a name we give to what multiplies the upper $q$. The right side is $\ln \mathbb{E}_q[w(z)]$.
#
# The logarithm is concave, so by Jensen's inequality $\ln \mathbb{E}[w] \ge \mathbb{E}[\ln w]$: the friend's number is the larger, and they are equal only if $w$ does not vary. Write $\ln w$ as $\ln p(x \mid z) + \ln p(z) - \ln q$, put the last two together, and there is the bound that the whole paper stands on:
#
# <a id="eq-3"></a>
#
# $$
# \begin{aligned}
# \ln p_\theta(x) &\ge -D_{\mathrm{KL}}\big[q_\phi(z \mid x) \,\big\Vert\, p(z)\big] \\
# &\quad + \mathbb{E}_{q}\big[\ln p_\theta(x \mid z)\big] = -F(x)
# \end{aligned} \tag{3}
# $$
#
# - $D_{\mathrm{KL}}[q \Vert p] = \mathbb{E}_q[\ln q - \ln p]$: the divergence of $q$ from the *prior*, the price of moving away from it;
# - $\mathbb{E}_q[\ln p_\theta(x \mid z)]$: how well draws of $q$ explain $x$. What is averaged is the log of the conditional density $p_\theta(x \mid z)$, its normalizer included;
# - $F(x)$: the free energy. $-F(x)$ is the ELBO.
#
# Here are 20,000 values of $\ln w$ for the wide $q$ of the first figure.

# %%
rng = np.random.default_rng(1)
wide = targets.Gaussian(posterior.mean, covariances["wide"])
z = wide.sample(20_000, rng)
log_w = model.log_density(z) - wide.log_prob(z)
log_mean_w = np.log(np.exp(log_w).mean())
assert log_w.mean() < log_mean_w and abs(log_mean_w - log_px) < 0.05
z = posterior.sample(1000, rng)  # the weights of the posterior itself
assert np.ptp(model.log_density(z) - posterior.log_prob(z)) < 1e-10
print(f"mean of ln w {log_w.mean():.2f}, ln of the mean {log_mean_w:.2f}")
print(f"the smallest of 20,000 ln w: {log_w.min():.0f}")

# %% alt="A histogram of log weights over nats with a logarithmic count axis and a tail to minus 35. The mean of the log weights lies left of the log of the mean weight, which coincides with ln p(x)." caption="The left tail pulls the mean of the logarithms down, but hardly the log of the mean."
figures.log_weights(log_w, log_px)


# %% [markdown]
# The left tail holds the draws that $q$ makes where the posterior has little mass. The logarithm counts each of them heavily; the plain average hardly notices them. If $q$ is the posterior itself, $w(z) = p(x, z)/p(z \mid x) = p(x)$ for every $z$: no spread, no gap.
#
# **The ELBO averages the logarithm of the weights, the evidence takes the logarithm of their average. Jensen's inequality orders the two, and they are equal only if the weights do not vary, that is, if $q$ is the posterior.**
#
# ## How far is the bound from the truth?
#
# An inequality says "somewhere below". This one can say more. Put $p(x, z) = p(z \mid x)\, p(x)$ into $\mathbb{E}_q[\ln p(x, z) - \ln q(z)]$; the factor $p(x)$ does not depend on $z$ and comes out whole:
#
# <a id="eq-N1"></a>
#
# $$
# \ln p(x) = \underbrace{\mathbb{E}_q[\ln p(x, z) - \ln q(z)]}_{\mathrm{ELBO} = -F(x)} + \underbrace{D_{\mathrm{KL}}\big[q(z) \,\big\Vert\, p(z \mid x)\big]}_{\ge\, 0} \tag{N1}
# $$
#
# - the left side does not depend on $q$: what one term gains, the other loses;
# - the divergence here is from the *posterior*; the one in [(3)](#eq-3) is from the prior. Confusing the two is an easy slip, and the formulas look alike.
#
# > **Predict.** Pick a mean and a covariance at random for $q$. By how much can ELBO + KL differ from $\ln p(x)$? And if the clock's gain is measured in hours a day instead of seconds: what happens to the posterior, and what to the lowest loss $-\mathrm{ELBO}$ that can be reached?
#
# For $q = N(m, S)$ both terms of [(3)](#eq-3) have formulas, and neither knows the posterior. The second needs one line: $x - Wz$ has mean $x - Wm$ and covariance $W S W^\top$ under $q$, so the expected square $\mathbb{E}_q\lvert x - Wz\rvert^2$ is $\lvert x - Wm\rvert^2 + \operatorname{tr}(W S W^\top)$.
#
# The check is done twice. Once with these formulas, and once by brute force, for a density without closed forms. That is $U_1$, the first test energy of the paper's Table 1: $\tilde p(z) = e^{-U_1(z)}$ is a ring broken into two arcs. It plays the part of $p(x, z)$, and its integral $Z$ the part of $p(x)$. `kl_by_quadrature` ([checks.py](../nflib_min/checks.py)) computes $\int q\,(\ln q - \ln p)$ on a grid; given a $p$ without its normalizer, the result is $F$.

# %%
def kl(m, S, mean, C):  # KL[N(m, S) || N(mean, C)]
    P, d = np.linalg.inv(C), mean - m
    quadratic = anp.dot(d, anp.dot(P, d)) + anp.trace(anp.dot(P, S))
    log_dets = np.linalg.slogdet(C)[1] - anp.linalg.slogdet(S)[1]
    return 0.5 * (quadratic - len(mean) + log_dets)


def elbo(m, S):  # eq. (3) for q = N(m, S)
    spread = anp.trace(anp.dot(model.W, anp.dot(S, model.W.T)))
    explained = model.log_likelihood(m[None])[0]
    explained = explained - 0.5 * spread / model.noise**2
    return -kl(m, S, np.zeros(2), np.eye(2)) + explained


# %%
u1, (z, cell) = targets.table_1("U1"), checks.grid((-8.0, 8.0), 400)
for _ in range(200):
    m, A = rng.normal(size=2), rng.normal(size=(2, 2))
    S = A @ A.T + 0.1 * np.eye(2)
    gap = kl(m, S, posterior.mean, posterior.covariance)
    assert gap >= 0 and abs(elbo(m, S) + gap - log_px) < 1e-10
log_Z = np.log(np.sum(np.exp(u1.log_density(z))) * cell)
bound = -checks.kl_by_quadrature(wide.log_prob, u1.log_density)
gap = checks.kl_by_quadrature(wide.log_prob, u1.log_prob)
assert max(abs(bound + gap - log_Z), abs(log_Z - u1.log_normalizer)) < 1e-10
print(f"on U1: ELBO {bound:.3f} + KL {gap:.3f} = {log_Z:.3f} = ln Z")
hours = [a / 3600 for a in (model.W, model.noise, model.x)]  # units of x
change = targets.LinearGaussian(*hours).log_normalizer - log_px
assert abs(change - np.log(3600)) < 1e-10
print(f"lowest loss: {-log_px:.2f}, in hours {-log_px - change:.2f}")


# %% [markdown]
# By nothing: ELBO + KL is $\ln p(x)$ for 200 random $q$, to ten digits, and for one $q$ on $U_1$, by three integrals. And now to the loss.
#
# Optimizers minimize, so programs work with $F = -\mathrm{ELBO}$. Turn [(N1)](#eq-N1) round, and its floor is there to read: $F(x) = D_{\mathrm{KL}} - \ln p(x) \ge -\ln p(x)$. In hours a day the clock and its posterior are what they were, and yet the lowest loss went from positive to negative. A density is a probability *per unit*: the same reading is 3600 times as dense per hour as per second, and $\ln p(x)$ rose by $\ln 3600$. For continuous $x$ the sign of a loss carries no information. For discrete $x$ it does: there $p(x)$ is a probability, $\ln p(x) \le 0$, and the expected loss cannot be negative, though an estimate from a few draws may be.
#
# What does carry information is the distance to $\ln Z$, hence a rule of this collection: every plot of an ELBO carries the $\ln Z$ line. Where $\ln Z$ is known, `check_bound` ([checks.py](../nflib_min/checks.py)) raises an error if draws say that the bound lies above it.
#
# **The bound misses $\ln p(x)$ by exactly $D_{\mathrm{KL}}[q(z) \Vert p(z \mid x)]$. As long as the model is fixed, raising the ELBO over $q$ and lowering that divergence are one and the same act, although the divergence cannot be computed without $p(x)$.**
#
# **The sign of a loss says nothing about a model of continuous data; its distance to the floor $-\ln Z$ is the divergence. A loss below the floor, by more than sampling noise, is a bug.**
#
# ## What do independent Gaussians lose to correlation?
#
# The cheapest $q$ treats the coordinates as independent, $q(z) = \prod_i N(z_i;\, \mu_i, \sigma_i^2)$; it is called *mean-field*. (The paper calls its $q_0$ diagonal and once writes $\sigma^2 I$ for it; we take one $\sigma_i$ for each coordinate.) On the clock the posterior is Gaussian, so all that stands between $q$ and the truth is the correlation.
#
# > **Predict.** Each error has variance $5/9$ under the posterior. Does the best independent $q$ have more, the same, or less?
#
# Let $p = N(\mu, \Sigma)$ with precision $\Lambda = \Sigma^{-1}$. Once the means agree, the divergence is $\tfrac12 \sum_i (\Lambda_{ii} \sigma_i^2 - 1 - \ln \sigma_i^2) + \tfrac12 \ln\det\Sigma$. Each term is least at $\sigma_i^2 = 1/\Lambda_{ii}$, and what remains is
#
# <a id="eq-N2"></a>
#
# $$
# \begin{aligned}
# \min_q D_{\mathrm{KL}}[q \Vert p] &= \tfrac12 \Big( \sum_i \ln \Lambda_{ii} + \ln\det\Sigma \Big) \\
# &\overset{d = 2}{=}\; -\tfrac12 \ln(1 - \rho^2)
# \end{aligned} \tag{N2}
# $$
#
# - $q$: any independent Gaussian; $\Sigma$: covariance of $p$; $\Lambda$: its inverse;
# - $1/\Lambda_{ii}$: the variance of $z_i$ when *all other coordinates are known*, never more than $\Sigma_{ii}$;
# - $\rho$: the correlation, in two dimensions.
#
# The formula is `Gaussian.mean_field_gap` ([gaussian.py](../nflib_min/targets/gaussian.py)). The second route knows nothing of it: climb [(3)](#eq-3) by gradient steps from a distant start.

# %%
def loss(params, rng, step):  # -ELBO of an independent Gaussian
    return -elbo(params["mean"], anp.diag(anp.exp(2 * params["log_sd"])))


start = {"mean": np.array([-1.0, 2.0]), "log_sd": np.zeros(2)}
rate = training.cosine_decay(0.1, 400)
best = training.fit(loss, start, 400, rng, learning_rate=rate).params
gap = log_px + loss(best, None, None)
assert abs(gap - posterior.mean_field_gap()) < 1e-6
assert abs(gap - np.log(5 / 3)) < 1e-6  # -ln(1 - 0.8^2) / 2
assert np.allclose(np.exp(-2 * best["log_sd"]), 5, atol=1e-3)
assert np.allclose(np.linalg.eigvalsh(posterior.precision), [1, 9])
narrow = targets.Gaussian(posterior.mean, np.eye(2) / 5)
print(f"gap {gap:.3f} nats, variances {np.exp(2 * best['log_sd']).round(3)}")

# %% [markdown]
# The best independent $q$ has variance $1/5$ where the truth has $5/9$: each of its error bars is $0.6$ times as long as it should be. It is the narrow circle of the first figure. Is it narrow everywhere? No. Its precision is 5 in every direction; the posterior's is 1 along the ridge and 9 across it. So $q$ gives up the ends of the ridge, and across it $q$ is a third too *wide* ($\sqrt{9/5} = 1.34$). And because 5 is halfway between 1 and 9, exactly half of the circle lies outside of the ellipse of equal height. What $q$ avoids is the region where the posterior is *tiny*. And the price has no limit: $\rho = 0.999$ costs 3.1 nats, with error bars 22 times too short.
#
# A full covariance matrix would pay nothing here: the exact $q$ of the first figure is one.
#
# **On a Gaussian posterior in two dimensions the best independent Gaussian pays $-\tfrac12 \ln(1 - \rho^2)$ nats for a correlation $\rho$, and pays it by overconfidence: it reports the spread of each coordinate with the other held fixed.**
#
# ## What does a loose bound do to the model?
#
# The bound is also what the *model* is trained by: [(3)](#eq-3) is maximized over $\theta$ as well as over $\phi$, because $\ln p_\theta(x)$ cannot be had. By [(N1)](#eq-N1) what is then maximized is
#
# $$
# \max_q \mathrm{ELBO} = \ln p_\theta(x) - \min_q D_{\mathrm{KL}}\big[q(z) \,\big\Vert\, p_\theta(z \mid x)\big],
# $$
#
# the evidence less a penalty. If the penalty were the same for every $\theta$ it would not matter. It is not: it is small for those models whose posterior happens to suit the family of $q$.
#
# > **Predict.** Let the noise variance $s^2$ of the clock be learned from the one reading. Does the bound of independent Gaussians choose more noise than the evidence does, or less?
#
# For the clock $\rho = -1/(1 + s^2)$, so [(N2)](#eq-N2) gives the penalty. The evidence $N(x;\, 0,\, 2 + s^2)$ is largest where $2 + s^2 = x^2$.

# %%
v = np.arange(0.5, 6.0, 0.01)  # s^2
models = [targets.LinearGaussian(model.W, s, model.x) for s in v**0.5]
evidence = np.array([m.log_normalizer for m in models])
penalty = np.array([m.posterior.mean_field_gap() for m in models])
assert np.allclose(penalty, -0.5 * np.log(1 - (1 + v) ** -2))
chosen = v[(evidence - penalty).argmax()]
assert abs(v[evidence.argmax()] - 2) < 0.006 and abs(chosen - 2.88) < 0.02
print(f"s^2 by the evidence: 2.00, by the bound: {chosen:.2f}")

# %% [markdown]
# More noise, by almost a half. A noisy reading ties the two errors together less, so that an independent $q$ fits the posterior better, and the model is bent until it suits the approximation. Turner and Sahani (2011) found such biases in time-series models, and found that a tighter bound need not have the smaller one: what counts is how the gap *changes* with $\theta$.
#
# **Maximizing the bound over $\theta$ gives the maximum of the evidence if the gap does not depend on $\theta$; otherwise the model is pulled toward posteriors that $q$ fits better.**
#
# ## What do they lose to two modes?
#
# Correlation can be bought back by a matrix. Two modes cannot: no Gaussian has two. How much does $U_1$ cost?
#
# > **Predict.** A posterior consists of two arcs with half of the mass each. An approximation fits one of them perfectly and ignores the other. How large is the KL divergence?
#
# Make the expectation in $F$ exact: instead of drawing $z_0$, put it on a fine grid with weights $q_0(z_0)$. Then $F$ is a fixed function of $\phi$. From two starts, $\mu = (1, 0)$ and $\mu = (0, 0)$, train as usual (`fit` in [training.py](../nflib_min/training.py)), then find the stationary point next to the result to many digits by Newton's method, and ask the eigenvalues of the second derivatives whether it is a minimum. $\phi$ holds a fifth number, a tilt, so that $q$ may have any covariance.

# %%
base, (z0, cell) = StandardNormal(2), checks.grid((-6.0, 6.0), 96)
weight = cell * np.exp(base.log_prob(z0))  # q_0(z_0) dz_0, sums to 1
shear = z0[:, :1] * np.array([0.0, 1.0])


def F(phi):  # E_q0[ln q_0(z_0) - log_det - ln p~(z_K)]
    mean, log_sd, tilt = phi[:2], phi[2:4], phi[4]
    zK = mean + anp.exp(log_sd) * z0 + tilt * shear
    log_q = base.log_prob(z0) - anp.sum(log_sd)
    return anp.sum(weight * (log_q - u1.log_density(zK)))


# %%
def loss(params, rng, step):
    return F(params["phi"])


slope, curvature, ends = grad(F), hessian(F), {}
rate = training.cosine_decay(0.05, 200)
for name, at in (("shifted", 1.0), ("centered", 0.0)):
    start = {"phi": np.array([at, 0.0, 0.0, 0.0, 0.0])}
    run = training.fit(loss, start, 200, rng, learning_rate=rate)
    phi = run.params["phi"]
    for _ in range(8):
        phi = phi - np.linalg.solve(curvature(phi), slope(phi))
    assert np.abs(slope(phi)).max() < 1e-9 and abs(phi[4]) < 1e-9
    assert np.linalg.eigvalsh(curvature(phi)).min() > 0.3  # a minimum
    ends[name] = targets.Gaussian(phi[:2], np.diag(np.exp(2 * phi[2:4])))
    print(f"{name} start: the loss ends near {run.history['loss'][-1]:.1f}")

# %%
one_arc, centered = ends["shifted"], ends["centered"]


def mixture(z):  # one arc and its mirror image, half of the mass each
    both = np.logaddexp(one_arc.log_prob(z), one_arc.log_prob(-z))
    return both - np.log(2)


alone = checks.kl_by_quadrature(one_arc.log_prob, u1.log_prob)
mixed = checks.kl_by_quadrature(mixture, u1.log_prob)
stuck = checks.kl_by_quadrature(centered.log_prob, u1.log_prob)
assert abs(alone - 0.9024) < 1e-4 and abs(stuck - 3.2013) < 1e-3
assert abs(mixed - (alone - np.log(2))) < 1e-4
print(f"one arc {alone:.3f} nats, mixed with its mirror image {mixed:.3f}")

# %% [markdown]
# The shifted run ends with a loss of $-0.98$: no bug, since the floor is $-\ln Z = -1.88$; it misses 0.902 nats. The centered one ends at $1.32$, and nothing in a loss that has settled warns that it misses 3.201. Both are local minima, with the tilt at 0: among *all* Gaussians near them there is no better one, so that a covariance matrix does not help.
#
# Where do the 0.902 nats come from? If $q$ fits one arc perfectly, then where $q$ lives $p = q/2$, and $\mathbb{E}_q[\ln q - \ln p] = \ln 2 \approx 0.693$: that answers the prediction. Mix $q$ with its mirror image, and exactly this $\ln 2$ comes back. The 0.209 nats that remain are the bend of an arc, which no Gaussian follows.
#
# **On two equal modes, far apart, the best Gaussian that an optimizer finds keeps one: $\ln 2$ nats for the lost mode, plus what the bend costs. From an unlucky start it can end in a local minimum that costs far more, and if $\ln Z$ is unknown the loss curve does not say so.**
#
# ## What if the divergence is turned round?
#
# > **Predict.** Raising the ELBO lowers $D_{\mathrm{KL}}[q \Vert p]$. If we could minimize $D_{\mathrm{KL}}[p \Vert q]$ instead, would $q$ still sit on one arc?
#
# $D_{\mathrm{KL}}[q \Vert p] = \mathbb{E}_q[\ln q - \ln p]$ asks only where $q$ is: a draw of $q$ where $p$ is tiny is punished, a region that $q$ never visits is not. This direction is called *reverse*, and it is the one the ELBO gives us. The *forward* $D_{\mathrm{KL}}[p \Vert q] = \mathbb{E}_p[\ln p - \ln q]$ asks where $p$ is. It needs draws from $p$, which is why variational inference has to do without; here integrals on a grid can stand in for them. For independent Gaussians its minimum can be read off:
#
# $$
# \mathbb{E}_p[-\ln q] = \tfrac12 \sum_i \Big( \mathbb{E}_p\big[(z_i - \mu_i)^2\big] / \sigma_i^2 + \ln 2\pi\sigma_i^2 \Big)
# $$
#
# is least where $\mu_i$ is the mean and $\sigma_i^2$ the variance of $z_i$ under $p$. On the clock that is the wide $q$ of the first figure.

# %%
z, cell = checks.grid((-10.0, 10.0), 500)
p_cell = np.exp(u1.log_prob(z)) * cell
moments = targets.Gaussian(np.zeros(2), np.diag(p_cell @ z**2))
pairs = {"narrow": (narrow, posterior), "wide": (wide, posterior)}
pairs |= {"one arc": (one_arc, u1), "moments": (moments, u1)}
KL, box = {}, ((-10.0, 10.0), 500)
for name, (q, p) in pairs.items():
    reverse = checks.kl_by_quadrature(q.log_prob, p.log_prob, *box)
    forward = checks.kl_by_quadrature(p.log_prob, q.log_prob, *box)
    KL[name] = reverse, forward
    print(f"{name:7}: KL[q || p] {reverse:6.3f}, KL[p || q] {forward:6.3f}")
assert abs(KL["narrow"][0] - KL["wide"][1]) < 1e-6 and KL["one arc"][1] > 25
tiny = u1.log_prob(z) < u1.log_prob(z).max() - np.log(100)
wasted = [np.exp(q.log_prob(z[tiny])).sum() * cell for q in (one_arc, moments)]
assert wasted[0] < 0.02 < 0.4 < wasted[1]

# %% alt="Two panels with equal axes: the clock's tilted ellipse and the two arcs of U1. The best reverse KL Gaussians are small and sit on mass; the best forward KL ones also cover empty space between and beside it." caption="Solid: best reverse KL. Dotted: best forward KL. Dashed: the local minimum in the middle of $U_1$. Green lines are at $e^{-2}$ of the peak."
figures.two_directions(pairs, centered)

# %% [markdown]
# The two directions fail in opposite ways. The reverse optimum loses a mode; measured by the forward divergence it costs over 25 nats, because it all but rules out half of the truth. The forward optimum covers everything and puts mass where there is none, into the hole of the ring: over 40 % of it lies where $p$ is below a hundredth of its peak, against less than 2 % for the one arc. On the clock both optima cost the same 0.511 nats, each in its own direction.
#
# **Reverse KL, the one the ELBO minimizes, keeps $q$ out of places where $p$ is tiny and is blind to modes that $q$ never visits. Forward KL makes $q$ cover all of $p$, empty space between included. If the family does not hold $p$, each leaves a gap.**
#
# ## Which way does the gradient come?
#
# $q$ depends on $\phi$, and $\phi$ sits in the distribution under the expectation: $\mathrm{ELBO} = \int q_\phi(z) \ln w(z)\, dz$. There are two classical ways to differentiate it. The first differentiates the density:
#
# $$
# \begin{aligned}
# \nabla_\phi \int q_\phi \ln w\, dz
# &= \int \ln w\; \nabla_\phi q_\phi\, dz + \int q_\phi\, \nabla_\phi \ln w\, dz \\
# &= \int q_\phi \ln w\; \nabla_\phi \ln q_\phi\, dz - \int q_\phi \nabla_\phi \ln q_\phi\, dz
# \end{aligned}
# $$
#
# by $\nabla q = q\, \nabla \ln q$, and because $\phi$ enters $\ln w = \ln p - \ln q_\phi$ through $-\ln q_\phi$ alone. The last integral is $\int \nabla_\phi q_\phi\, dz = \nabla_\phi 1 = 0$: the score $\nabla_\phi \ln q_\phi$ has mean 0. What is left is
#
# <a id="eq-N3"></a>
#
# $$
# \nabla_\phi\, \mathrm{ELBO} = \mathbb{E}_{q}\big[\ln w(z)\; \nabla_\phi \ln q_\phi(z)\big] \tag{N3}
# $$
#
# - [(N3)](#eq-N3) is the *score-function* estimator (also called REINFORCE). The weight only multiplies the score, so $p$ need not be differentiable, and $z$ may even be discrete;
# - a *baseline*: subtract any constant $b$ from $\ln w$, and the mean stays, since the score has mean 0. A good one is the mean of $\ln w$.
#
# The second way moves the randomness to $z_0 \sim q_0$, which has no parameters: $z_K = f_\phi(z_0)$ and $\mathbb{E}_q[\ln w(z)] = \mathbb{E}_{q_0}[\ln w(f_\phi(z_0))]$. Now nothing stands between the gradient and the expectation, if $\ln w$ is smooth:
#
# <a id="eq-N4"></a>
#
# $$
# \nabla_\phi\, \mathrm{ELBO} = \mathbb{E}_{q_0}\big[\nabla_\phi \ln w(z_K)\big], \qquad z_K = f_\phi(z_0) \tag{N4}
# $$
#
# - [(N4)](#eq-N4) is the *reparameterized* (pathwise) estimator: the slope of $\ln p(x, z)$ tells each draw which way to go. The paper calls it stochastic backpropagation. For a Gaussian and $\phi = m$ it says $\nabla_m \mathbb{E}_q[h(z)] = \mathbb{E}_q[\nabla_z h(z)]$.
#
# By the chain rule $\phi$ enters $\ln w(z_K)$ twice, through $z_K$ and through the $\phi$ of $\ln q_\phi$:
#
# <a id="eq-N5"></a>
#
# $$
# \nabla_\phi \ln w(z_K) = \Big(\frac{\partial z_K}{\partial \phi}\Big)^{\!\top} \nabla_z \ln w(z_K) \;-\; \nabla_\phi \ln q_\phi(z) \Big|_{z = z_K} \tag{N5}
# $$
#
# - the first term goes along the path of a draw. Where $q = p$, $\ln w$ is constant, and this term is 0 *for every draw*;
# - the second is the score again: mean 0, pure noise. It may be left out; Roeder, Wu and Duvenaud (2017) call that *sticking the landing*, and `FreeEnergy(path_gradient=True)` does it.
#
# > **Predict.** All four, (N3) with and without a baseline, (N4) and the path term alone, have the same mean. Which varies least at the start of a training, and which at its end, where $q = p$?
#
# Take $q = N(m, L L^\top)$ on the clock and $\phi = m$, the mean. Then $z_K = m + L z_0$, $\partial z_K / \partial m = I$, and the score is $L^{-\top} z_0$. Exact gradients of [(3)](#eq-3) in $m$ and $L$ take $q$ from $m = 0$ to the posterior, and at every step we look at the noise that each estimator would have had there.

# %%
z0 = StandardNormal(2).sample(20_000, rng)


def estimators(m, L):  # four estimates of the gradient in m, each (n, 2)
    z = m + z0 @ L.T
    log_w = model.log_density(z) - targets.Gaussian(m, L @ L.T).log_prob(z)
    score = z0 @ np.linalg.inv(L)  # L^-T z_0, row by row
    slope = model.log_density_and_grad(z)[1]
    return {
        "score function (N3)": log_w[:, None] * score,
        "with a baseline": (log_w - log_w.mean())[:, None] * score,
        "reparameterized (N4)": slope,
        "path alone (N5)": slope + score,  # grad_z ln q = -L^-T z_0
    }


# %%
def of_root(m, L):
    return elbo(m, anp.dot(L, L.T))


def train(m, L, steps):  # by exact gradients, with an eye on the noise
    for _ in range(steps):
        exact = grad(of_root, 0)(m, L), grad(of_root, 1)(m, L)
        noisy = estimators(m, L)
        for g in noisy.values():  # one mean, at every step
            error = g.std(axis=0) / len(g) ** 0.5
            assert (np.abs(g.mean(axis=0) - exact[0]) < 6 * error + 1e-6).all()
        yield {name: g[:, 0].var() for name, g in noisy.items()}
        m, L = m + 0.05 * exact[0], L + 0.05 * exact[1]


noise = list(train(np.zeros(2), np.eye(2) / 5**0.5, 80))
variances = {name: [step[name] for step in noise] for name in noise[0]}

# %% alt="Variance of four gradient estimators against training steps, logarithmic. The score function starts at 681 and ends at 24, with a baseline it falls to 0, the reparameterized one goes from 8 to 5, its path term alone to 0." caption="One gradient, four estimators. At the start the slope of $\\ln p$ saves a factor of 80; at the end, where $q = p$, what counts is whether the score's own noise is gone."
figures.gradient_noise(variances)

# %%
first, last = (np.array([v[i] for v in variances.values()]) for i in (0, -1))
assert np.allclose(first, [681, 201, 8.2, 3.2], rtol=0.06)
assert np.allclose(last[[0, 2]], [5 * log_px**2, 5], rtol=0.06)
assert last[[1, 3]].max() < 1e-4
z = rng.standard_normal(200_000)
for k in (1, 5, 50):
    by_score, by_slope = np.sin(k * z) * z, k * np.cos(k * z)
    assert (by_slope.var() < by_score.var()) == (k == 1)
    print(f"k = {k:<2}: {by_score.var():.2f} and {by_slope.var():7.1f}")

# %% [markdown]
# At the start (N4) needs one draw where (N3) needs 80, and a baseline still leaves a factor of 24. At the end the baseline wins: $\ln w$ is the constant $\ln p(x)$, a baseline removes all of it, while (N4) keeps the noise of the score, with variance $\Lambda_{11} = 5$. The path term alone is quiet at both ends.
#
# Nor is a slope always good news. In the last cell $h$ ripples: $h(z) = \sin(kz)$ under $q = N(0, 1)$, and the two estimators of $\nabla_m \mathbb{E}_q[h]$ are $h(z)\, z$ and $h'(z) = k \cos(kz)$. The score function does not care how fast $h$ ripples; the slope does: its variance is close to $k^2/2$ when $k$ is large. Flows are built for [(N4)](#eq-N4): a $z_K$ that is a differentiable function of $z_0$ is what a flow is.
#
# **Score-function and reparameterized gradients have the same mean. The second is usually far less noisy if $\ln p(x, z)$ is smooth on the scale of $q$; where it ripples faster, it is noisier. Near $q = p$ a variance of zero needs a baseline, or the path term alone.**
#
# ## Can more draws buy what $q$ lacks?
#
# [(2)](#eq-2) suggests a repair: average $k$ weights *before* taking the logarithm.
#
# <a id="eq-N6"></a>
#
# $$
# L_k = \mathbb{E}_{z^{(1)}, \dots, z^{(k)} \sim q}\Big[\ln \frac1k \sum_{i=1}^{k} w\big(z^{(i)}\big)\Big] \tag{N6}
# $$
#
# - $k$: draws averaged inside the logarithm; $z^{(i)}$: the $i$-th of them;
# - $L_k$: the importance-weighted bound, $\mathrm{ELBO} = L_1 \le L_2 \le \dots \le \ln p(x)$. It tends to $\ln p(x)$ as $k$ grows, if $q$ leaves no region of the posterior out.
#
# > **Predict.** The narrow $q$ has the better ELBO on the clock, the wide one the worse. Which of the two will have the better $L_{1000}$? And where will the one-arc $q$ be on $U_1$?
#
# The same log weights, grouped by 1, 2, 4, ..., 4096, give every $L_k$ through `importance_weighted_bound` ([weights.py](../nflib_min/weights.py)). Because each group of $2k$ is two groups of $k$, Jensen's inequality holds for the estimates themselves, and they must climb without a single exception.

# %%
k, below = 2 ** np.arange(13), {}
for name, target in (("narrow", model), ("wide", model), ("one arc", u1)):
    q = pairs[name][0]
    z = q.sample(2**18, rng)
    log_w = target.log_density(z) - q.log_prob(z)
    L = [weights.importance_weighted_bound(log_w, int(i)) for i in k]
    below[name] = np.array(L) - target.log_normalizer
    assert (np.diff(L) > 0).all() and abs(below[name][0] + KL[name][0]) < 0.02
narrow_q, wide_q, arc_q = below.values()
assert narrow_q[0] > wide_q[0] + 0.3 and narrow_q[2] < wide_q[2]  # k = 1, 4
assert wide_q[6] > -0.02 and abs(wide_q[12]) < 0.005  # k = 64, 4096
assert abs(arc_q[12] + np.log(2)) < 0.02
for q, finite in ((narrow, False), (wide, True)):  # E_q[w^2] is over p^2 / q
    square = 2 * posterior.precision - q.precision
    assert (np.linalg.eigvalsh(square).min() > 0) == finite

# %% alt="Three importance-weighted bounds against k, relative to ln Z. The wide q starts lowest and soon reaches the line, the narrow one climbs slowly, the one-arc q levels off at minus ln 2." caption="Where $q$ covers the posterior, draws close the gap. If it misses a mode, the bound stalls."
figures.importance_bounds(k, below)


# %% [markdown]
# The wide $q$, worst at $k = 1$, has overtaken the narrow one by $k = 4$ and is within 0.02 nats of $\ln p(x)$ at $k = 64$: here more draws do buy back what $q$ lacks. In fact $L_k$ is a lower bound on the ELBO of a *richer* $q$, the one that draws $k$ points and keeps one of them with probability proportional to its weight (Cremer, Morris and Duvenaud, 2017; Domke and Sheldon, 2018). The narrow $q$ is slow because of its tails: along $(1, -1)$ it is thinner than the posterior, so thin that its weights have infinite variance (exercise 4).
#
# And the one-arc $q$ stalls at $\ln Z - \ln 2$: the other arc is ten of its standard deviations away. The price is known: to estimate $Z$, importance sampling needs of the order of $e^{D_{\mathrm{KL}}[p \Vert q]}$ draws (Chatterjee and Diaconis, 2018). The forward divergences printed above are about 0.5 for the wide $q$ and over 25 for one arc: a few draws, or $e^{25}$, seventy billion.
#
# **The importance-weighted bound climbs to $\ln Z$, quickly if $q$ covers the posterior, slowly if its tails are too thin, and not within any affordable number of draws if a mode is out of reach: the price grows like $e^{D_{\mathrm{KL}}[p \Vert q]}$.**
#
# ## Which richer $q$?
#
# By [(N1)](#eq-N1) the bound is tight for one $q$ only: $q(z) = p(z \mid x)$. For any independent $q$, $\ln q$ is a sum of functions of one coordinate each, so its mixed derivative $\partial^2 \ln q / \partial z_1 \partial z_2$ is zero everywhere. For the clock's posterior it is the constant $-\Lambda_{12} = -4$, which calls for one more number; for $U_1$ it changes from place to place, even in sign, and no Gaussian of any covariance can follow. Section 1 of the paper names what was there in 2015:
#
# - *structured mean field*: keep a few dependencies of the posterior, such as a chain or a full covariance, which is exact on the clock. It must be designed for each model, and it does not bend;
# - *mixtures*: with two components we bought back $\ln 2$ above. But the joint density and its gradient are needed for every component at every step. And if $n$ pairs of modes are independent of each other there are $2^n$ modes: $M$ components reach $M$ of them at best and miss at least $\ln(2^n / M)$ nats.
#
# What we want is a family of $q$ that bends as far as needed and still lets us do the two things the ELBO asks for: draw $z$, and evaluate $\ln q(z)$ exactly. Take draws from a Gaussian and push them through an invertible map: drawing is easy. Evaluating $\ln q$ is the question of [the next notebook](02_change_of_variables.ipynb).
#
# ## Exercises
#
# Each check prints "not attempted", "correct", or what is wrong.
#
# ### Exercise 1: how does the price grow with the dimension?
#
# Let the reading be the sum of $D$ standard normal errors, plus noise of standard deviation $s$. Derive the mean-field gap of the posterior in nats, and write it as `gap(D, s)`, in closed form. Hint: the precision matrix is $I + \mathbf{1}\mathbf{1}^\top/s^2$, whose determinant is $1 + D/s^2$.

# %% tags=["exercise"]
def gap(D, s):
    return None  # your turn


# %% tags=["check"]
exercises.gap(gap)

# %% [markdown]
# ### Exercise 2: which of these losses must be a bug?
#
# Five people report a loss $F$, estimated from so many draws that sampling noise is below 0.01 nats. A: $-0.98$ on $U_1$. B: $-2.40$ on $U_1$. C: $+85.1$ on binary images. D: $-3.2$ on binary images. E: $-310$ on image patches with real-valued pixels. Set `answer` to a string with the letters of those that cannot be right, such as `"A, E"`.

# %% tags=["exercise"]
answer = None  # your turn

# %% tags=["check"]
exercises.bugs(answer)


# %% [markdown]
# ### Exercise 3: which baseline is free of bias?
#
# The mean of $\ln w$ over the whole batch, which we used as a baseline, contains $\ln w(z_i)$ itself, and so the estimate is a little biased. (By which factor?) Repair it: let $b_i$ be the mean of $\ln w$ over the *other* draws. Write `with_baseline(log_w, score)`, which takes two arrays (n,), $\ln w(z_i)$ and $\nabla_\phi \ln q(z_i)$, and returns the n gradient estimates $(\ln w(z_i) - b_i)\, \nabla_\phi \ln q(z_i)$.

# %% tags=["exercise"]
def with_baseline(log_w, score):
    return None  # your turn


# %% tags=["check"]
exercises.with_baseline(with_baseline)


# %% [markdown]
# ### Exercise 4: how wide must $q$ be for importance weights?
#
# A round $q = N(\mu, v I)$ is to supply the weights for a Gaussian posterior $p = N(\mu, \Lambda^{-1})$. $\mathbb{E}_q[w^2]$ is proportional to $\int p(z)^2 / q(z)\, dz$. Find the $v$ above which it is finite, and write it as `least_variance(precision)`, where `precision` is $\Lambda$, an array (d, d). Was the narrow $q$, with $v = 1/5$, wide enough on the clock?

# %% tags=["exercise"]
def least_variance(precision):
    return None  # your turn


# %% tags=["check"]
exercises.least_variance(least_variance)

# %% [markdown]
# ## Break it: what does a forgotten constant do?
#
# Constants do not change gradients, so it is tempting to drop them. Here the clock's prior loses its $-\tfrac d2 \ln 2\pi$. Training would go exactly as before, to the same narrow $q$; what breaks is the number it reports.

# %%
z = narrow.sample(10_000, np.random.default_rng(0))
careless = model.log_likelihood(z) - 0.5 * np.sum(z**2, axis=1)
try:
    checks.check_bound(careless - narrow.log_prob(z), log_px)
    raise RuntimeError("the check let a bound above the evidence pass")
except AssertionError as error:
    print(error)

# %% [markdown]
# **Symptom:** a bound above $\ln p(x)$, here by $\ln 2\pi$ less the true gap of 0.511. Where $\ln p(x)$ is unknown there is no alarm, and two models are compared by numbers that differ by a forgotten constant. Dropped from $\ln q$ instead, the same constant makes the bound too low, and no inequality will tell. **Cure:** keep every normalizer, and try the code first on a model whose evidence is known.
#
# ## What to remember
#
# - The ELBO in three forms: $\mathbb{E}_q[\ln p(x, z) - \ln q(z)]$, for computing; $\mathbb{E}_q[\ln p(x \mid z)] - D_{\mathrm{KL}}[q \Vert p(z)]$, for reading; $\ln p(x) - D_{\mathrm{KL}}[q \Vert p(z \mid x)]$, for knowing what is lost. The bound is tight for the exact posterior and for nothing else.
# - The loss is $F = -\mathrm{ELBO} \ge -\ln Z$. Its sign means nothing for continuous data; draw the $\ln Z$ line when it is known.
# - A loose bound also bends the model, wherever the gap depends on $\theta$.
# - The ELBO minimizes the reverse divergence: $q$ keeps out of places where $p$ is tiny, so it is too narrow along a ridge and stays on one of two distant modes.
# - Independent Gaussians lose $-\tfrac12 \ln(1 - \rho^2)$ nats to a correlation in two dimensions, and about $\ln 2$ to a second mode of equal mass far from the first.
# - Reparameterized gradients are the quiet ones where $\ln p$ is smooth on the scale of $q$. More draws tighten the bound at a price that grows like $e^{D_{\mathrm{KL}}[p \Vert q]}$.
#
# ## In practice
#
# | here | elsewhere |
# |---|---|
# | `free_energy`, a loss to minimize | Pyro and NumPyro: `Trace_ELBO` (its loss is $-\mathrm{ELBO}$); PyMC: `approx.hist` (also $-\mathrm{ELBO}$); TensorFlow Probability: `tfp.vi.fit_surrogate_posterior` returns such losses |
# | `elbo`, a bound to maximize | CmdStan's `variational` prints the ELBO itself |
# | `Flow(StandardNormal(d), Affine(d))` | Stan: `algorithm=meanfield`; PyMC: `method="advi"`; Pyro and NumPyro: `AutoDiagonalNormal` |
# | `TriangularAffine` for `Affine` | Stan: `algorithm=fullrank`; PyMC: `method="fullrank_advi"`; Pyro and NumPyro: `AutoMultivariateNormal` |
# | `importance_weighted_bound` | `importance_sample_size` in `tfp.vi`; `RenyiELBO` with `alpha=0` in Pyro and NumPyro |
# | (N4), reparameterized; (N3), score function | `rsample`; `sample` with `log_prob` in `torch.distributions` |
#
# ## References
#
# - D. J. Rezende and S. Mohamed (2015), *Variational inference with normalizing flows*, ICML, [arXiv:1505.05770](https://arxiv.org/abs/1505.05770). Section 1 weighs mixtures and structured approximations; section 2 states the bound, eqs. (1)-(3) here; Table 1 defines $U_1$.
# - M. I. Jordan, Z. Ghahramani, T. S. Jaakkola and L. K. Saul (1999), *An introduction to variational methods for graphical models*, Machine Learning 37. Where mean-field approximations came into the field; the identity (N1) in its general setting.
# - C. M. Bishop (2006), *Pattern recognition and machine learning*, Springer, section 10.1. Independent Gaussians on a correlated one, in both directions of the divergence, worked out by hand.
# - R. E. Turner and M. Sahani (2011), *Two problems with variational expectation maximisation for time-series models*, in Bayesian time series models, Cambridge University Press. The bias of $\theta$ that comes from a loose bound.
# - D. P. Kingma and M. Welling (2013), *Auto-encoding variational Bayes*, arXiv:1312.6114; D. J. Rezende, S. Mohamed and D. Wierstra (2014), *Stochastic backpropagation and approximate inference in deep generative models*, arXiv:1401.4082; M. Titsias and M. Lázaro-Gredilla (2014), *Doubly stochastic variational Bayes for non-conjugate inference*, ICML. The reparameterized gradient (N4), found three times.
# - R. J. Williams (1992), *Simple statistical gradient-following algorithms for connectionist reinforcement learning*, Machine Learning 8. The score-function gradient (N3) and its baseline; R. Ranganath, S. Gerrish and D. M. Blei (2014), *Black box variational inference*, AISTATS, made it a method for any model.
# - G. Roeder, Y. Wu and D. Duvenaud (2017), *Sticking the landing*, arXiv:1703.09194. Drops the score's term of (N5); eq. (7) there is the path term alone.
# - Y. Burda, R. Grosse and R. Salakhutdinov (2015), *Importance weighted autoencoders*, arXiv:1509.00519. The bound (N6) is its eq. (8); theorem 1 proves that it climbs. C. Cremer, Q. Morris and D. Duvenaud (2017), *Reinterpreting importance-weighted autoencoders*, arXiv:1704.02916, and J. Domke and D. Sheldon (2018), *Importance weighting and variational inference*, NeurIPS, say of which richer $q$ it is a bound.
# - S. Chatterjee and P. Diaconis (2018), *The sample size required in importance sampling*, Annals of Applied Probability 28. The price $e^{D_{\mathrm{KL}}[p \Vert q]}$.
