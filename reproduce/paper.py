"""What Rezende & Mohamed (2015) print: the numbers that ours are put beside, and the errata.

The values of figure 4 are read off its curves, to about 0.1 nats. All are in nats.
"""

# figure 4, MNIST: length K -> bound F, and KL(q || p(z | x)); K = 0 is the diagonal Gaussian
FIG_4_F = {
    "planar": {0: 96.75, 10: 93.55, 20: 91.95, 40: 90.6, 80: 89.55},
    "nice-perm": {10: 94.85, 20: 93.9, 40: 93.0, 80: 92.8},
}
FIG_4_KL = {"planar": {0: 6.82, 10: 6.03, 20: 5.42, 40: 4.86, 80: 4.43}}
READ_OFF = 0.1
EPOCHS = 833  # 500,000 updates with 100 of 60,000 digits

# table 2, MNIST: -ln p(x) by importance sampling with 200 samples
TABLE_2 = {
    "planar": {0: 89.9, 10: 87.5, 20: 86.5, 40: 85.7, 80: 85.1},
    "nice-perm": {10: 88.6, 20: 87.9, 40: 87.3, 80: 87.2},
}
TABLE_2_OTHERS = {"HVI, 1 / 4 / 8 leapfrog steps": (88.08, 86.40, 85.51)}

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
        "layer has |det| = ln 2 at its centre, and a long flow collapses.",
        "`planar.m` is shifted to m(0) = 0; its effect is measured below.",
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
        'q_0 is called diagonal and written N(mu, sigma^2 I); the "<=" values of table 2 are '
        "importance-sampling estimates with 200 samples, not bounds.",
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
