r"""Which quantities miss: intervals that hold too many or too few truths."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["LARGEST_MISS", "missed_coverage"]

LARGEST_MISS = 0.03
"""Gap between nominal and measured coverage above which a quantity is called not calibrated."""


def missed_coverage(coverage: Mapping[str, Mapping[str, float]], where: str = "") -> dict[str, str]:
    r"""Quantities whose 50 or 90 % intervals miss by more than 3 points, with the level that misses most.

    What `validate` found is stricter, by subgroups too, and takes the place of this where a model was validated.

    Arguments:
        coverage: Share of truths held, by level and quantity.
        where: What follows *intervals*, such as `` of pools``.

    Example:
        >>> missed_coverage({"0.5": {"HR": 0.56, "SV": 0.52}, "0.9": {"HR": 0.92, "SV": 0.9}})
        {'HR': '50 % intervals hold 56.0 %'}
    """
    worst: dict[str, tuple[float, str]] = {}
    for level in ("0.5", "0.9"):
        for name, held in coverage.get(level, {}).items():
            gap = round(abs(held - float(level)), 9)  # .53 - .5 is more than .03 in floating point
            if gap > max(LARGEST_MISS, worst.get(name, (0.0, ""))[0]):
                worst[name] = gap, f"{100 * float(level):.0f} % intervals{where} hold {100 * held:.1f} %"
    return {name: told for name, (_, told) in worst.items()}
