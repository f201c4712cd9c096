"""Anchors: how they are read, and that they are an observation of the same model."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pulsebayes.inference.pooling.anchors import Anchor, SlowLikelihood, contradictions, parse_anchor
from pulsebayes.inference.weighting import normalised


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CO=4.2@600s", Anchor("CO", 4.2, 600.0, 0.1 * 4.2)),
        ("CO=4.2+-0.5@10:00", Anchor("CO", 4.2, 600.0, 0.5)),
        ("SVR=1200±100@1:00:00", Anchor("SVR", 1200.0, 3600.0, 100.0)),
        ("CVP=-2@0", Anchor("CVP", -2.0, 0.0, 2.0)),
        ("CO=4.2+-0.5@10min", Anchor("CO", 4.2, 600.0, 0.5)),
    ],
)
def test_anchors_are_read(text: str, expected: Anchor) -> None:
    assert parse_anchor(text) == expected
    assert parse_anchor(expected.text).value == expected.value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        *((text, "an anchor is written NAME=VALUE@TIME") for text in ("", "CO=4.2", "CO=@5s", "CO=four@5s")),
        *((f"CO=5@{time}", "an anchor is written") for time in ("10:-5", "10:00:00:00", "10:99", "1:75:00", "5 pc")),
        ("CO=5_0@10s", "an anchor is written NAME=VALUE@TIME"),
        ("CO=5+-1e300@10s", "no quantity is as large or small as CO=5+-1e+300@10s says"),
        ("CO=1e-320@10s", "no quantity is as large or small"),
        ("CO=nan@5s", "value, time and error of an anchor must be numbers, got CO=nan"),
        ("CO=-3@5s", "CO of an anchor must be positive, got -3"),
        ("CO=4@-5s", "measured at 0 s or later, got -5 s"),
        ("CO=4+-0@5", "the error of an anchor of CO must be positive, got 0"),
        ("CO=5+-1e-9@10s", "the error of an anchor of CO must be at least 0.025, got 1e-09"),
        ("CVP=5+-0.01@10s", "the error of an anchor of CVP must be at least 0.05, got 0.01"),
    ],
)
def test_what_cannot_be_an_anchor_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)) as caught:
        parse_anchor(text)
    assert "Anchor(" not in str(caught.value)


@pytest.mark.parametrize("text", ["CO=5+-0.5@1234567s", "CO=5+-0.5@40.25s", "MAP=80+-2@0s"])
def test_an_anchor_is_told_as_it_can_be_said_again(text: str) -> None:
    one = parse_anchor(text)
    assert one.text == text
    assert parse_anchor(one.text) == one


def test_the_likelihood_is_that_of_a_linear_gaussian_model() -> None:
    """log Q = .3 + s1 - .5 s2 + noise of .05; an anchor of 10 %: the weighted draws are the conjugate posterior."""
    rng = np.random.default_rng(0)
    slow = rng.multivariate_normal([0.1, -0.2], [[0.09, 0.02], [0.02, 0.04]], 200_000)
    log_q = 0.3 + slow @ [1.0, -0.5] + 0.05 * rng.standard_normal(len(slow))
    anchor = Anchor("CO", 2.0, 0.0, 0.2)
    log = SlowLikelihood.of([anchor], slow, {"CO": np.exp(log_q)}).log(slow)
    weights = np.exp(log - log.max())
    weights /= weights.sum()
    b, noise = np.array([1.0, -0.5]), 0.1**2 + 0.05**2
    cov, mean = np.array([[0.09, 0.02], [0.02, 0.04]]), np.array([0.1, -0.2])
    gain = cov @ b / (b @ cov @ b + noise)
    exact = mean + gain * (np.log(2.0) - 0.3 - b @ mean)
    np.testing.assert_allclose(weights @ slow, exact, atol=3e-3)
    spread = np.sqrt(np.diag(cov - np.outer(gain, b @ cov)))
    np.testing.assert_allclose(np.sqrt(weights @ (slow - weights @ slow) ** 2), spread, rtol=0.02)


def test_references_of_one_window_share_what_it_has_of_its_own() -> None:
    """Five of 2 % tell of the rest what one of 2 % / sqrt(5) does; before, what those of five windows do."""
    rng = np.random.default_rng(2)
    slow = 0.2 * rng.standard_normal((100_000, 1))
    draws = {"CO": 5 * np.exp(slow[:, 0] + 0.04 * rng.standard_normal(len(slow)))}
    one, fine = (Anchor("CO", 5.0, 0.0, error) for error in (0.1, 0.1 / np.sqrt(5)))
    five, single, fifth = (SlowLikelihood.of(own, slow, draws) for own in ([one] * 5, [one], [fine]))
    np.testing.assert_allclose(five.log(slow), fifth.log(slow), atol=1e-9)
    spread = {
        name: float(np.sqrt(normalised(told.log(slow)) @ slow[:, 0] ** 2))
        for name, told in {"one": single, "five": five}.items()
    }
    assert spread["one"] == pytest.approx((1 / 0.2**2 + 1 / (0.02**2 + 0.04**2)) ** -0.5, rel=0.02)
    assert spread["five"] == pytest.approx((1 / 0.2**2 + 1 / (0.02**2 / 5 + 0.04**2)) ** -0.5, rel=0.02)


def test_references_of_two_quantities_of_one_window_know_how_their_own_errors_go_together() -> None:
    """CO and SV of one beat at a rate that is known: the same number twice."""
    rng = np.random.default_rng(3)
    slow = 0.2 * rng.standard_normal((50_000, 1))
    volume = 70 * np.exp(slow[:, 0] + 0.04 * rng.standard_normal(len(slow)))
    draws = {"SV": volume, "CO": 0.07 * volume}
    both = SlowLikelihood.of([Anchor("SV", 70.0, 0.0, 1.4), Anchor("CO", 4.9, 0.0, 0.098)], slow, draws)
    half = SlowLikelihood.of([Anchor("SV", 70.0, 0.0, 1.4 / np.sqrt(2))], slow, draws)
    np.testing.assert_allclose(both.log(slow), half.log(slow), atol=1e-6)
    single = SlowLikelihood.of([Anchor("SV", 70.0, 0.0, 1.4)], slow, draws)
    assert both.share == pytest.approx(single.share)  # references that agree are not taken to contradict the waves


def test_an_anchor_is_taken_for_the_window_within_a_minute() -> None:
    start_s = np.array([0.0, 8.0, 16.0])
    assert parse_anchor("CO=4@12s").nearest(start_s, 8.0) == 1
    assert parse_anchor("CO=4@70s").nearest(start_s, 8.0) == 2
    assert parse_anchor("CO=4@600s").nearest(start_s, 8.0) is None
    assert parse_anchor("CO=4@600s").nearest(np.zeros(0), 8.0) is None


@pytest.mark.parametrize(
    ("texts", "n"),
    [
        (("CO=5@10s", "CO=9@10s"), 1),
        (("CO=9@10s", "CO=5@10s"), 1),
        (("CO=5@10s", "CO=7@10s"), 0),  # 2.4 standard deviations
        (("CO=5@10s", "CO=9@80s"), 0),  # outputs do change
        (("CO=5@10s", "SV=9@10s"), 0),
        (("CO=5@10s", "CO=9+-4@10s"), 0),
        (("CVP=-2@0", "CVP=8@0"), 1),
        (("CVP=-2@0", "CVP=6@0"), 0),
        (("CO=5@10s", "CO=9@10s", "CO=5@30s"), 2),
    ],
)
def test_references_that_contradict_each_other_are_told(texts: tuple[str, ...], n: int) -> None:
    found = contradictions([parse_anchor(text) for text in texts])
    assert len(found) == n
    assert found == contradictions([parse_anchor(text) for text in texts[::-1]])


def test_an_anchor_that_few_draws_bear_does_not_agree() -> None:
    rng = np.random.default_rng(1)
    slow = rng.standard_normal((4000, 1))
    draws = {"CO": 5 * np.exp(0.15 * slow[:, 0])}
    shares = {
        value: SlowLikelihood.of([Anchor("CO", value, 0.0, 0.1 * value)], slow, draws) for value in (5.0, 7.0, 15.0)
    }
    assert [one.agrees for one in shares.values()] == [True, True, False]
    exact = 0.1 * np.sqrt(0.1**2 + 2 * 0.15**2) / (0.1**2 + 0.15**2)  # of normal weights on normal draws, at their mean
    assert shares[5.0].share == pytest.approx(exact, rel=0.05)
    assert shares[15.0].shifted(np.array([0.1])).share == shares[15.0].share
