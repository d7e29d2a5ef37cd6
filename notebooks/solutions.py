"""The solutions of the exercises: notebook -> exercise number -> the cell that replaces the stub.

The tests put each one in its notebook's place and ask the notebook's own check about it.
"""

SOLUTIONS: dict[str, dict[int, str]] = {
    "01_elbo": {
        1: """\
def gap(D, s):
    return 0.5 * (D * np.log(1 + 1 / s**2) - np.log(1 + D / s**2))
""",
        2: 'answer = "B, D"  # below the floors -1.88 and 0',
        3: """\
def with_baseline(log_w, score):
    others = (log_w.sum() - log_w) / (len(log_w) - 1)
    return (log_w - others) * score
""",
        4: """\
def least_variance(precision):
    # p^2 / q is Gaussian with precision 2 Lambda - I / v, which has to be positive definite
    return 0.5 / np.linalg.eigvalsh(precision).min()
""",
    },
    "02_change_of_variables": {
        1: """\
def log_q1(z1):
    z0 = np.arcsinh(z1)
    return -0.5 * z0**2 - 0.5 * np.log(2 * np.pi) - np.log(np.cosh(z0))
""",
        2: """\
def log_det_radial(r, alpha, beta, d):
    across = 1 + beta / (alpha + r)  # the new radius over the old: how much a circle grows
    along = 1 + alpha * beta / (alpha + r) ** 2  # the derivative of the new radius
    return (d - 1) * np.log(across) + np.log(along)
""",
    },
    "03_flow_composition": {
        1: """\
def log_densities(log_q0, log_dets):
    from_the_start = np.concatenate([0 * log_dets[:1], np.cumsum(log_dets, axis=0)])
    return log_q0 - from_the_start
""",
        2: "answer = int(np.ceil(np.log(1000) / -np.log(np.log(2))))  # (ln 2)^K <= 1/1000",
        3: """\
def inverse_radius(R, alpha, beta):
    # r (alpha + r) + beta r = R (alpha + r), so r^2 + (alpha + beta - R) r - alpha R = 0
    B = alpha + beta - R
    return (-B + np.sqrt(B**2 + 4 * alpha * R)) / 2
""",
    },
    "04_infinitesimal_flows": {
        1: """\
def a_at(a0, c, t):
    # d/dt sinh(a) = cosh(a) c tanh(a) = c sinh(a)
    return onp.arcsinh(onp.exp(c * t) * onp.sinh(a0))
""",
        2: """\
def quiet_velocity(z, t, s0):
    variance = 1 + (s0**2 - 1) * onp.exp(-2 * t)
    return -z + z / variance  # ln q_t = -z^2 / (2 variance) + const
""",
    },
    "05_amortized_inference": {
        1: """\
def blind(tau):
    # the posterior is N(x / (1 + tau^2), tau^2 / (1 + tau^2)): all widths agree, the means do not,
    # and E_p(x)[(mean of q - mean)^2] is least, 1 / (1 + tau^2), if q has mean 0
    variance_of_means, variance = 1 / (1 + tau**2), tau**2 / (1 + tau**2)
    return variance_of_means / (2 * variance)
""",
        2: """\
def log_evidence_of(log_joint, log_q0, log_det):
    log_w = log_joint - (log_q0 - log_det)
    return np.logaddexp.reduce(log_w) - np.log(len(log_w))
""",
        3: """\
def plateau(m, share):
    # on the first lobe every weight is p(x) (1 - m) / (1 - share); (1 - share)^S = 1/2
    return [np.log((1 - share) / (1 - m)), np.log(0.5) / np.log(1 - share)]
""",
        4: """\
def variances(beta, tau):
    # precisions add; beta multiplies both of them in (20), 1 / beta the likelihood's in the warm-up
    return [1 / (beta * (1 + 1 / tau**2)), 1 / (1 + 1 / (beta * tau**2))]
""",
    },
    "06_real_posteriors": {
        1: """\
def log_prior(s):
    # ln p(sigma) + ln |d sigma / d s| at sigma = exp(s), and d sigma / d s = sigma
    return 0.5 * np.log(2 / np.pi) - 0.5 * np.exp(2 * s) + s
""",
        2: """\
def weighted(log_w, z):
    top = log_w.max()
    w = np.exp(log_w - top)
    return np.sum(w * z) / np.sum(w), top + np.log(np.mean(w))
""",
    },
    "07_when_flows_fail": {
        1: 'answer = ["epsilon", "fixed point", "z_0", "sign"]',
        2: """\
def log_det(c_plus_1, h):
    # 1 + c (1 - h^2) = (1 + c) (1 - h^2) + h^2: terms that are never negative
    return np.log(c_plus_1 * (1 - h**2) + h**2)
""",
        3: """\
def masses(elbo_1, elbo_2):
    log_Z = np.logaddexp(elbo_1, elbo_2)  # each bound is ln Z + ln(mass kept)
    return np.exp(elbo_1 - log_Z), log_Z
""",
    },
}
