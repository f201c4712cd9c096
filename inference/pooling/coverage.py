r"""What was measured of pooled answers like one: its coverage, and which quantities miss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..coverage import missed_coverage
from ..patient.info import telling

__all__ = ["measured_alike"]


def measured_alike(
    measured: Mapping[str, Any], windows: int, given: str, anchors: Sequence[str] = (), known: str = ""
) -> dict[str, Any] | None:
    r"""What was measured of pooled answers like one.

    Arguments:
        measured: What a pooling layer keeps as measured.
        windows: Windows of the pool.
        given: The channels given, joined.
        anchors: References, as they are written on the command line.
        known: What is known of the patient, joined by ``+``.

    Returns:
        Coverage by level and quantity and ``n``: with references of pools that had such ones, whatever channels; where
            the patient is known of pools of about as many windows whose patient was known alike, whatever channels, or
            with a reference besides; else of windows in long pools with these channels where a model of several was
            measured so; else of pools of about as many windows (``pool``), with ``n`` and ``recordings`` the
            recordings that those were of. And ``not_calibrated``, the quantities that miss there, with these channels,
            in pools of about as many windows or in all, by more than 3 points at 50 or 90 %. None if nothing like it
            was measured.

    Example:
        >>> coverage = {"0.5": {"HR": 0.51}, "0.9": {"HR": 0.9}}
        >>> small = {"0.5": {"HR": 0.56}, "0.9": {"HR": 0.92}}
        >>> measured = {"n": 100, "coverage": coverage, "coverage_by_pool": {"1": small, "10": coverage}}
        >>> measured["recordings_by_pool"] = {"1": 40, "10": 30}
        >>> measured_alike(measured, 12, "ART")["not_calibrated"]
        {}
        >>> measured_alike(measured, 2, "ART")["not_calibrated"]
        {'HR': '50 % intervals of pools of 1 hold 56.0 %'}
        >>> found = measured_alike(measured, 2, "ART")
        >>> found["coverage"]["0.9"], found["pool"], found["n"]
        ({'HR': 0.92}, 1, 40)
    """
    own = measured.get("given", {}).get(given, {})
    names = {text.split("=")[0] for text in anchors}
    if names and not names <= set(measured.get("anchored", {}).get("anchors", ())):
        return None
    informed = measured.get("patients", {}).get(telling(known)) if known else None
    if known:
        return None if informed is None else _with_patient(measured, informed, windows, given, anchored=bool(names))
    if names:
        anchored = measured["anchored"]
        missed = missed_coverage(anchored.get("coverage", {}), " with such a reference")
        return {**anchored, "not_calibrated": {**missed_coverage(own.get("coverage", {}), " of pools"), **missed}}
    told = {**measured, **own}
    if own:
        told["recordings"] = sum(part["recordings"] for part in own.get("error", {}).values())
    by_pool = measured.get("coverage_by_pool", {})
    missed = missed_coverage(told.get("coverage", {}), " of pools")
    if by_pool:
        size = _nearest(by_pool, windows)
        missed = {**missed_coverage(by_pool[size], f" of pools of {size}"), **missed}
        n = measured.get("recordings_by_pool", {}).get(size)
        told |= {} if own or n is None else {"coverage": by_pool[size], "n": n, "recordings": n, "pool": int(size)}
    return {**told, "not_calibrated": missed}


def _nearest(by_pool: Mapping[str, Any], windows: int) -> str:
    """The measured size of pool that is nearest, by its logarithm."""
    return min(by_pool, key=lambda key: abs(math.log(int(key) / max(windows, 1))))


def _with_patient(
    measured: Mapping[str, Any], informed: Mapping[str, Any], windows: int, given: str, *, anchored: bool
) -> dict[str, Any]:
    """What was measured where the same was known of the patient, and what misses there or where nothing was known."""
    alone = measured_alike(measured, windows, given) or {}
    missed = dict(alone.get("not_calibrated", {}))
    if anchored:
        found = informed["anchored"]
        missed |= missed_coverage(found["coverage"], " with such a reference and patient")
        return {**found, "not_calibrated": missed}
    size = _nearest(informed["coverage_by_pool"], windows)
    coverage, n = informed["coverage_by_pool"][size], informed["recordings_by_pool"][size]
    missed |= missed_coverage(coverage, f" of pools of {size} where the same is known")
    return {"coverage": coverage, "n": n, "recordings": n, "pool": int(size), "not_calibrated": missed}
