r"""The four lines that say where an answer comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .answer import Estimate, VerdictLike


def signal_line(signal: Mapping[str, Any]) -> str:
    plain = {"heart_rate": "heart rate [1/min]"}
    found = [f"{plain.get(k, k)} {value}" for k, value in signal.items() if isinstance(value, (str, int, float))]
    return "Signal: " + (", ".join(found) if found else "the quality gate let it pass") + "."


def model_line(estimates: Mapping[str, Estimate]) -> str:
    parts = [
        f"{name} {100 * max(e.contraction, 0.0):.0f} %" for name, e in estimates.items() if math.isfinite(e.contraction)
    ]
    blind = [name for name, e in estimates.items() if e.uninformative]
    line = "Model: share of the prior's variance removed: " + ", ".join(parts)
    return line + (f"; uninformative: {', '.join(blind)}." if blind else ".")


def calibration_line(calibration: Mapping[str, Any] | None, level: float) -> str:
    if calibration is None:
        return "Calibration: none measured."
    values = list(calibration["coverage"].values())
    real = calibration["method"] == "rope"
    where = f"{calibration['n']} patients held out" if real else f"{calibration['n']} held-out simulations, no patients"
    if "recordings" in calibration:
        where = f"{calibration['n']} windows of {calibration['recordings']} held-out simulated recordings, no patients"
    if "pool" in calibration:
        told = f"{calibration['recordings']} held-out simulated recordings, no patients"
        where = f"windows in pools of {calibration['pool']}, from {told}"
    if "known" in calibration:
        where += f", with {calibration['known'].replace('+', ', ')} known"
    ends = " to ".join(dict.fromkeys(f"{100 * end:.0f}" for end in (min(values), max(values))))
    line = f"{100 * calibration['level']:.0f} % intervals held the truth in {ends} % of {where}"
    if "effective_size" in calibration:
        size, n = calibration["effective_size"], calibration["simulations"]
        line += f"; weighed over {size:.0f} of {n} simulations" + (", close to the prior" if size > 0.5 * n else "")
    if calibration["method"] == "uncalibrated":
        line = f"uncalibrated for this window, which, or most of its pool, is shifted from the simulations ({line})"
    missed = "; ".join(f"{name} ({reason})" for name, reason in (calibration.get("not_calibrated") or {}).items())
    return f"Calibration: {line}." + (f" Not calibrated: {missed}." if missed else "")


def pool_line(pool: Mapping[str, Any] | None) -> str:
    if pool is None:
        return ""
    windows = f"{pool['windows']} window" + "s" * (pool["windows"] != 1)
    line = f" Slow quantities from {windows}, {pool['start_s']:g} to {pool['end_s']:g} s"
    if pool.get("shifted"):
        line += f", {pool['shifted']} of them shifted from the simulations"
    if pool.get("sensor_start_s", pool["start_s"]) > pool["start_s"]:
        line += f", by a sensor in this state since {pool['sensor_start_s']:g} s"
    if pool["anchors"]:
        line += f", and from the reference {', '.join(pool['anchors'])}"
        line += f" ({pool['effective_draws']} effective draws)" if "effective_draws" in pool else ""
        line += "".join(f"; the references {pair} contradict each other" for pair in pool.get("contradictions", ()))
    if not pool.get("counted", True):
        line += "; this window overlaps one that counts, and tells the others nothing"
    if pool.get("another_patient"):
        line += "; another patient than --patient tells of"
    return line + "."


def patient_line(patient: Mapping[str, Any] | None) -> str:
    if patient is None:
        return ""
    return f" Known of the patient: {patient['known']} ({patient['effective_draws']} effective draws)."


def regions_line(regions: Sequence[Mapping[str, Any]]) -> str:
    if not regions:
        return ""
    sets = "; ".join(", ".join(region["quantities"]) for region in regions)
    return f" Conformal regions ({sets}): {regions[0]['guarantee']}."


def domain_line(domain: VerdictLike | None) -> str:
    if domain is None:
        return "Domain: not assessed, the model has no domain verdict."
    line = f"Domain: {domain.verdict} (p = {domain.p:.3f})"
    return line + (f": {domain.reason}." if domain.reason else ".")
