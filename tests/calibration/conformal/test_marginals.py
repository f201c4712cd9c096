r"""Marginals of one posterior with the dependence of another."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pulsebayes.calibration.conformal import graft_marginals, ranked_score, sharper_marginals


def test_ranked_score_is_that_of_the_normal_distribution() -> None:
    draws = np.random.default_rng(0).normal(size=(1, 40000))
    at = 0.7
    exact = at * (2 * stats.norm.cdf(at) - 1) + 2 * stats.norm.pdf(at) - 1 / np.sqrt(np.pi)
    assert ranked_score(draws, np.array([at]))[0] == pytest.approx(exact, abs=0.01)


def test_marginals_are_theirs_and_ranks_are_ours() -> None:
    rng = np.random.default_rng(1)
    own = rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], size=(3, 500))
    draws = {"HR": own[..., 0], "CO": own[..., 1]}
    other = {"HR": 60 + 0.1 * rng.normal(size=(3, 500)), "CO": rng.normal(size=(3, 500))}
    made = graft_marginals(draws, other, ["HR"])
    assert (np.sort(made["HR"], 1) == np.sort(other["HR"], 1)).all() and made["CO"] is not other["CO"]
    for i in range(3):
        assert stats.spearmanr(made["HR"][i], made["CO"][i])[0] == pytest.approx(stats.spearmanr(*own[i].T)[0])
    with pytest.raises(ValueError, match="LVET must have draws"):
        graft_marginals(draws, other, ["LVET"])


def test_the_better_posterior_is_chosen_on_each_quantity() -> None:
    rng = np.random.default_rng(2)
    truth = {"HR": rng.normal(size=200), "CO": rng.normal(size=200), "SVR": np.full(200, np.nan)}
    sharp = {n: truth[n][:, None] + 0.1 * rng.normal(size=(200, 1)) + 0.1 * rng.normal(size=(200, 60)) for n in truth}
    wide = {n: rng.normal(size=(200, 60)) for n in truth}
    draws, other = {"HR": wide["HR"], "CO": sharp["CO"]}, {"HR": sharp["HR"], "CO": wide["CO"]}
    assert sharper_marginals(draws, other, truth) == ("HR",)


def test_output_and_resistance_come_from_one_posterior() -> None:
    r"""Output is told better by one, resistance by the other a little: a region of both has one posterior's ridge."""
    rng = np.random.default_rng(3)
    truth = {name: rng.normal(size=300) for name in ("CO", "SVR", "HR")}
    noise = {"CO": (1.0, 0.2), "SVR": (0.5, 0.6), "HR": (1.0, 0.1)}
    both = []
    for side in range(2):
        spread = {n: noise[n][side] for n in truth}
        both.append({n: v[:, None] + spread[n] * rng.normal(size=(300, 1 + 80)) for n, v in truth.items()})
    assert set(sharper_marginals(*both, truth)) == {"CO", "SVR", "HR"}
    assert sharper_marginals(both[1], both[0], truth) == ()
    # Resistance goes with output where only output is labelled.
    assert set(sharper_marginals(*both, {"CO": truth["CO"]})) == {"CO", "SVR"}
