r"""The catheter line against its closed-form response and against scipy.signal.lsim."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lsim

from pulsebayes.simulators.catheter import FORGOTTEN, CatheterLine

FS = 125.0
LINES = [(8.0, 0.15), (8.0, 1.2), (17.9, 0.42), (40.0, 0.15), (40.0, 1.2), (3.6, 0.3)]


def columns(*values: float) -> list[np.ndarray]:
    return [np.array([value], np.float32) for value in values]


def pulse(time_s: np.ndarray, seed: int) -> np.ndarray:
    r"""A pressure of 40 to 60 mmHg pulse with harmonics up to 25 Hz, at a random rate and phase."""
    rng = np.random.default_rng(seed)
    rate = rng.uniform(0.6, 2.6)
    harmonics = np.arange(1, int(25 / rate) + 1)
    phases = rng.uniform(0, 2 * np.pi, len(harmonics))
    waves = 20 / harmonics[:, None] ** 1.7 * np.cos(2 * np.pi * rate * harmonics[:, None] * time_s + phases[:, None])
    return 90 + waves.sum(0)


def test_response_is_the_closed_form() -> None:
    frequencies = np.linspace(0, 62.5, 40)
    for natural, damping in LINES:
        ratio = frequencies / natural
        closed = 1 / (1 - ratio**2 + 2j * damping * ratio)
        np.testing.assert_allclose(CatheterLine.response(frequencies, *columns(natural, damping))[0], closed, rtol=2e-4)


def test_resonance_amplifies_by_the_textbook_factor() -> None:
    natural, damping = 10.0, 0.2
    peak = natural * np.sqrt(1 - 2 * damping**2)
    gain = np.abs(CatheterLine.response(np.array([peak]), *columns(natural, damping)))[0, 0]
    assert gain == pytest.approx(1 / (2 * damping * np.sqrt(1 - damping**2)), rel=1e-4)


def test_an_ideal_line_changes_nothing() -> None:
    wave = pulse(np.arange(1250) / FS, 0).astype(np.float32)[None]
    out = CatheterLine.transmit(wave, *columns(np.inf, 0.5), fs=FS)
    np.testing.assert_allclose(out, wave, atol=1e-4)  # float32 transform of 150 mmHg


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("natural", "damping"), LINES)
def test_settled_line_matches_lsim_without_wrap_around(natural: float, damping: float, seed: int) -> None:
    finer, before_s = 40, 8.0  # lsim holds the input linear between samples; it needs a past to settle
    time_s = np.arange(round((before_s + 10) * FS * finer)) / (FS * finer)
    pressure, omega = pulse(time_s - before_s, seed), 2 * np.pi * natural
    _, truth, _ = lsim(([omega**2], [1, 2 * damping * omega, omega**2]), pressure - 90, time_s)
    first = round(before_s * FS * finer)
    wave = pressure[first::finer].astype(np.float32)[None]
    frequency, settling_s = CatheterLine.settled(*columns(natural, damping), margin_s=2.0)
    assert frequency[0] == np.float32(natural)
    error = np.abs(CatheterLine.transmit(wave, frequency, columns(damping)[0], fs=FS)[0] - 90 - truth[first::finer])
    assert error[int(np.ceil(settling_s[0] * FS)) :].max() < 0.05  # the bound that the module states [mmHg]


@pytest.mark.parametrize(("natural", "damping"), LINES)
def test_decay_rate_is_that_of_the_slower_pole(natural: float, damping: float) -> None:
    omega = 2 * np.pi * natural
    poles = np.roots([1, 2 * damping * omega, omega**2])
    assert CatheterLine.decay_rate(*columns(natural, damping))[0] == pytest.approx(-poles.real.max(), rel=1e-5)


def test_lines_too_slow_to_settle_are_made_faster() -> None:
    frequency, settling_s = CatheterLine.settled(*columns(3.0, 0.05), margin_s=1.5)
    assert frequency[0] > 3.0
    assert settling_s[0] == 1.5
    left = np.exp(-CatheterLine.decay_rate(frequency, columns(0.05)[0])[0] * 1.5)
    assert left == pytest.approx(FORGOTTEN, rel=1e-4)


def test_at_the_default_prior_every_line_settles_within_a_second() -> None:
    frequency, damping = CatheterLine(ideal_share=0.0).draw(np.random.default_rng(0), 20_000)
    faster, settling_s = CatheterLine.settled(frequency, damping, margin_s=1.0)
    assert np.array_equal(faster, frequency)
    assert settling_s.max() < 1.0


def test_draws_lie_in_the_prior_and_a_quarter_of_lines_is_ideal() -> None:
    frequency, damping = CatheterLine().draw(np.random.default_rng(1), 20_000)
    real = np.isfinite(frequency)
    assert np.mean(~real) == pytest.approx(0.25, abs=0.0125)  # four standard errors
    assert 8 * 0.9999 <= frequency[real].min() < frequency[real].max() <= 40 * 1.0001
    assert 0.15 * 0.9999 <= damping.min() < damping.max() <= 1.2 * 1.0001
    assert np.median(frequency[real]) == pytest.approx(np.sqrt(8 * 40), rel=0.05)


def test_width_widens_the_prior_about_its_centre() -> None:
    line = CatheterLine(ideal_share=0.0)
    for width in (0.0, 0.5, 2.0):
        frequency, _ = line.draw(np.random.default_rng(2), 20_000, width=width)
        half = 0.5 * (np.log(frequency.max()) - np.log(frequency.min()))
        assert half == pytest.approx(width * 0.5 * np.log(5), abs=2e-3)
        assert np.exp(0.5 * np.log(frequency.max() * frequency.min())) == pytest.approx(np.sqrt(320), rel=5e-3)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"frequency_low": 0.0}, "CatheterLine frequency must have 0 < low <= high"),
        ({"damping_low": 2.0}, r"CatheterLine damping must have 0 < low <= high, got \[2.0, 1.2\]"),
        ({"ideal_share": 1.5}, r"ideal_share must be a share in \[0, 1\], got 1.5"),
        ({"frequency_high": np.inf}, "frequency must have"),
    ],
)
def test_priors_that_make_no_sense_are_refused(fields: dict[str, float], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        CatheterLine(**fields)
