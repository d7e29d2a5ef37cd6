"""What is typed: the numbers of Rezende & Mohamed (2015), those of others, recipes and errata.

The values of figure 4 are read off its curves, to about 0.1 nats. All are in nats.
"""

# figure 4, MNIST: length K -> bound F, and KL(q || p(z | x)); K = 0 is the diagonal Gaussian
FIG_4_F = {
    "planar": {0: 96.75, 10: 93.55, 20: 91.95, 40: 90.6, 80: 89.55},
    "nice-perm": {10: 94.85, 20: 93.9, 40: 93.0, 80: 92.8},
}
FIG_4_KL = {"planar": {0: 6.82, 10: 6.03, 20: 5.42, 40: 4.86, 80: 4.43}}
READ_OFF, ROUNDED = 0.1, 0.05  # how exactly figure 4 can be read, and how table 2 is rounded
EPOCHS = 833  # 500,000 updates with 100 of 60,000 digits

# table 2, MNIST: -ln p(x) by importance sampling with 200 samples
TABLE_2 = {
    "planar": {0: 89.9, 10: 87.5, 20: 86.5, 40: 85.7, 80: 85.1},
    "nice-perm": {10: 88.6, 20: 87.9, 40: 87.3, 80: 87.2},
}
TABLE_2_OTHERS = {"1 / 4 / 8 leapfrog steps": (88.08, 86.40, 85.51)}

# others' -ln p(x) of the same models
RIVALS = {
    ("none", 0): "89.78, pythae",
    ("planar", 10): "88.46, Huang",
    ("planar", 20): "87.85, Huang",
    ("planar", 40): "87.33, Huang",
    ("planar", 80): "87.05, Huang",
    ("nice-perm", 80): "87.97, Huang",
}
HVI_RIVAL = "86.21 with 4 steps and 1,000 samples, pythae"
RIVAL_SOURCES = (
    "Huang: andrehuang/normalizing-flows-reproduce (2021), 500,000 updates; its planar layers have "
    "no constraint on u, and where a layer is not invertible its density is not one, which can "
    "flatter the estimate.",
    "pythae: the cards of its published models reproduced_vae and reproduced_hvae.",
)
# where such models end without any flow, and with a better bound: (model, pixels, -ln p, source)
PUBLISHED = (
    ("VAE, 2 x 200 tanh, 50 latents, 5,000 samples", "redrawn", "86.8", "IWAE, table 1"),
    ("the same", "fixed", "88.7", "IWAE, table 4"),
    ("IWAE of 50 samples, the same nets", "redrawn", "84.8", "IWAE, table 1"),
    ("the same", "fixed", "87.1", "IWAE, table 4"),
)

# table 3, CIFAR-10 patches: -ln p(x) of planar flows
TABLE_3 = {0: -293.7, 2: -308.6, 5: -317.9, 10: -320.7}

# what is misprinted, left out or easy to misread, and what this collection does instead
ERRATA = {
    "E1": (
        "Section 3.2 calls L a log-density, but its drift -grad L and its q_inf ~ e^-L need an "
        "energy; the Hamiltonian is then H = L + 1/2 w^T M^-1 w.",
        "`continuous.py` takes energies; notebook 04.",
    ),
    "E2": (
        "(20) prints p_K, and no beta in its last term; (19) drops a ln; (13) and algorithm 1 "
        "print f_1(z) for f_1(z_0); section 5 cites a section 2.1 that is not there.",
        "Notebook 03 states (6), (7) and (20) as meant.",
    ),
    "E3": (
        "beta_t multiplies the joint ln p(x, z), which tempers the target; it is not the warm-up "
        "of the KL term that later papers mean by annealing.",
        "`objectives.inverse_temperature` tempers the target.",
    ),
    "E4": (
        "The constraint of appendix A is not the identity at the start: m(0) = ln 2 - 1, so each "
        "layer has |det| = ln 2 at its centre, and a long flow is narrow before it is trained.",
        "`planar.m` is shifted to m(0) = 0.",
    ),
    "E5": (
        "A planar map has no inverse in closed form, as the paper says, but the inverse is one "
        "root on a line for each layer, and the radial one a quadratic.",
        "`Flow.log_prob` evaluates q_K anywhere; the forward KL below needs it.",
    ),
    "E6": (
        "Figure 3 is drawn with z_2 pointing down: by table 1 the second branches of U3 and U4 lie "
        "below the first.",
        "Figures here and in notebook 03 point down where they copy figure 3.",
    ),
    "E7": (
        'q_0 is called diagonal and written N(mu, sigma^2 I). The "<=" of table 2 are '
        "importance-sampling estimates with 200 samples: upper bounds of -ln p(x) in expectation, "
        "as F is, and tighter, but not equal to it.",
        "q_0 is diagonal here; estimates with 200 and with 5,000 samples stand side by side.",
    ),
    "E8": (
        "Universality is claimed for infinitesimal flows only; K planar maps in a fixed dimension "
        "have no such theorem.",
        "The KL against K below is a measurement, not a theorem.",
    ),
    "Table 1": (
        "U2, U3 and U4 have no normalizer on the plane: the bound of figure 3 is unbounded, and "
        "its axis cannot be E[ln q + U].",
        "`targets.table_1` adds walls outside (-4, 4), which makes every KL absolute.",
    ),
}

# how training and judging differ: what -> (the paper, here); the ledger adds what was measured
DIFFERENCES = {
    "updates": ("500,000 of 100 digits", "600 an epoch, as many epochs as each line says"),
    "training pixels": (
        "binarized once",
        "once in the block of fixed pixels, anew at each meeting in the other",
    ),
    "test pixels": (
        "the draw that later work shares",
        "a seeded draw of our own from the same grey digits, which moves a mean by 0.05 to 0.1",
    ),
    "units": (
        "400 maxout units of 4 pieces, how many layers is not said",
        "one layer of 400 rectified units (as good as maxout in one trial that is not stored)",
    ),
    "optimizer": (
        "RMSprop, rate 1e-5, momentum 0.9",
        "Adam, rate 2e-3 / sqrt(1 + t / 3000), gradients cut at 200, and a running mean of the "
        "parameters",
    ),
    "gradient": ("of (15) in full", "the same without its term of mean 0 (path gradient)"),
    "annealing": ("(20), 10,000 updates", "none"),
    "flow's outputs": (
        "of all flow parameters",
        "of u, w, b, divided by K; of NICE only the shifts of the hidden units depend on x",
    ),
    "seeds": ("the mean of 100", "as many as each line says"),
}
