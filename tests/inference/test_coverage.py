"""Which quantities miss."""

from __future__ import annotations

import pytest

from pulsebayes.inference.coverage import missed_coverage


@pytest.mark.parametrize(("level", "held"), [("0.5", 0.53), ("0.5", 0.47), ("0.9", 0.93), ("0.9", 0.87)])
def test_three_points_are_not_more_than_three(level: str, held: float) -> None:
    """Before, binary fractions made .53 more than .03 from .5: heart rate of `abp-ppg` with a reference was marked."""
    assert missed_coverage({level: {"HR": held}}) == {}
    further = held + (0.0001 if held > float(level) else -0.0001)
    assert set(missed_coverage({level: {"HR": further}})) == {"HR"}
