r"""Agreement and trending against numbers worked out by hand; reference tables and what is wrong with them."""

from __future__ import annotations

import numpy as np
import pytest

from pulsebayes.calibration.agreement import agree, pair_up, track
from pulsebayes.calibration.reference import ReferenceTableError, read_reference


def test_limits_are_bias_and_two_standard_deviations() -> None:
    found = agree(np.array([5.0, 7.0, 6.0]), np.array([4.0, 8.0, 6.0]))
    assert found.bias == pytest.approx(0.0)
    assert found.high == pytest.approx(1.96 * 1.0) and found.low == -found.high
    assert found.percentage_error == pytest.approx(1.96 / 6.0)


def test_perfect_trending_lies_on_the_line_of_identity() -> None:
    reference = np.array([4.0, 5.0, 3.0, 6.0])
    found = track(reference, reference)
    assert np.allclose(found.angle, 0.0) and found.concordance == 1.0
    assert found.radius.tolist() == [1.0, 2.0, 3.0]


def test_opposite_changes_are_discordant_and_far_from_the_line() -> None:
    found = track(np.array([5.0, 4.0, 5.0]), np.array([4.0, 5.0, 4.0]))
    assert found.concordance == 0.0
    assert np.allclose(np.abs(found.angle), 90.0) and np.allclose(found.radius, 0.0)


def test_changes_within_the_zone_do_not_count() -> None:
    found = track(np.array([5.0, 5.2, 7.0]), np.array([5.0, 4.8, 7.0]), zone=0.5)
    assert found.counted == 1 and found.concordance == 1.0
    assert np.isnan(track(np.array([5.0, 5.1]), np.array([5.0, 4.9]), zone=0.5).concordance)


def test_reference_is_paired_with_the_windows_about_it() -> None:
    times, estimate, reference = pair_up([0, 8, 400], [8, 16, 408], [5.0, 6.0, 9.0], [(8.0, 5.2), (200.0, 5.0)])
    assert times.tolist() == [8.0] and estimate.tolist() == [5.5] and reference.tolist() == [5.2]
    assert len(pair_up([], [], [], [(1.0, 2.0)])[0]) == 0


def test_too_few_pairs_and_missing_values_are_refused() -> None:
    with pytest.raises(ValueError, match="2 or more pairs"):
        agree(np.array([1.0]), np.array([1.0]))
    with pytest.raises(ValueError, match="finite"):
        track(np.array([1.0, np.nan]), np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="zone"):
        track(np.array([1.0, 2.0]), np.array([1.0, 2.0]), zone=-1)


def test_reference_table_keeps_values_events_and_their_order() -> None:
    found = read_reference("time [s],CO [L/min],MAP [mmHg],event\n12,5.0,,bolus\n4,4.5,80,\n\n")
    assert found.values == {"CO": ((4.0, 4.5), (12.0, 5.0)), "MAP": ((4.0, 80.0),)}
    assert found.events == ((12.0, "bolus"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1 to"),
        ("CO [L/min]\n5\n", "column `time"),
        ("time [s],weather\n5,3\n", "a quantity such as"),
        ("time [s],CO\n5,3\n", "expected the unit L/min"),
        ("time [s],CO [mL/min]\n5,3\n", "expected the unit L/min"),
        ("time [s],CO [L/min]\n5,five\n", "line 2, CO"),
        ("time [s],CO [L/min]\n,5\n", "line 2: expected a time"),
    ],
)
def test_reference_table_that_cannot_be_used_says_where_and_why(text: str, message: str) -> None:
    with pytest.raises(ReferenceTableError, match=message):
        read_reference(text)
