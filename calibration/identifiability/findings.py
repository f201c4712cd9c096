r"""What the cells say together: gains, regimes, trade-offs, maps over individuals, and whether all is as it must be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

from ..diagnostics.rank_tests import holm
from .cells import LEVELS, Cell, CellKey
from .covariates import wave_covariates
from .plan import Measured
from .regimes import Regimes, find_regimes, separators
from .study import Study

__all__ = ["checks", "gains", "individual_map", "next_channel", "regimes_of", "trade_offs"]

ALPHA = 0.05
"""Level of the corrected tests."""
COVARIATES = ("age", "HR", "PWV", "MAP")
"""What maps are drawn over, where the individuals have it: age, heart rate, stiffness, pressure."""
LEAST_SHARE = 0.03
"""Least share of individuals that makes a regime."""
STRONG = 0.5
"""Correlation from which a pair of quantities is said to trade off."""


def gains(measured: Measured) -> list[dict[str, Any]]:
    r"""What each channel adds to a set of channels, by quantity.

    Arguments:
        measured: The cells.

    Returns:
        For each set, added channel and quantity: ``bits`` that it adds on average, their standard ``error`` over
        ``n`` individuals, and ``narrowing``, one less the ratio of median widths.

    Example:
        >>> gains(measured)[0]["bits"]  # doctest: +SKIP
        0.31
    """
    rows = []
    plain = {frozenset(key.given): cell for key, cell in measured.cells.items() if key.noise == 0}
    for have, before in plain.items():
        for channel in measured.study.channels:
            after = plain.get(have | {channel})
            if channel in have or after is None:
                continue
            for q, name in enumerate(before.names):
                bits = _paired(before.entropy[:, q], after.entropy[:, q])
                n = len(bits)
                wide = float(np.median(before.widths(name)[:n]))
                narrower = 1 - float(np.median(after.widths(name)[:n]) / max(wide, 1e-12))
                rows.append({
                    "given": before.key.set_name, "add": channel, "quantity": name, "bits": _digits(bits.mean()),
                    "error": _digits(bits.std(ddof=1) / math.sqrt(n)), "n": n, "narrowing": _digits(narrower),
                })  # fmt: skip
    return rows


def next_channel(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    r"""The channel that adds most to each set, by quantity.

    Arguments:
        rows: What ``gains`` found.

    Example:
        >>> row = {"given": "a", "quantity": "CO", "bits": 0.1, "error": 0.01, "narrowing": 0.0}
        >>> next_channel([row | {"add": "b"}, row | {"add": "c", "bits": 0.4}])[0]["add"]
        'c'
    """
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["given"], row["quantity"])
        if key not in best or row["bits"] > best[key]["bits"]:
            best[key] = row
    return list(best.values())


def regimes_of(measured: Measured) -> list[dict[str, Any]]:
    r"""Looks for sub-populations with an uncertainty of their own, in every set of channels at the noise of training.

    The size of an interval is measured on the quantity's own scale, relative to its value where it is positive. Single
    channels and all together are tested, each quantity by the dip test and by the likelihood ratio of two modes;
    p-values are corrected over all tests of both kinds (Holm). There are two regimes where one of both is below 5 % and
    the smaller group holds at least three in a hundred.

    Arguments:
        measured: The cells.

    Returns:
        For each (set, quantity), the most clearly parted first: both tests, with ``holm``, the lesser of their
        corrected p-values; ``two``, whether there are two regimes; medians of the interval ``below`` and ``above`` the
        cut; and the best ``separators``.

    Example:
        >>> regimes_of(measured)[0]["two"]  # doctest: +SKIP
        True
    """
    cells = [*measured.singles(), measured.cells[CellKey(measured.study.channels)]]
    rows, widths = [], []
    for cell in {cell.key: cell for cell in cells}.values():
        for name in cell.names:
            size = _sizes(measured.study, cell, name)
            found = find_regimes(np.log(size))
            unit = "of its value" if measured.study.logarithmic[name] else measured.study.units[name]
            rows.append(_regime_row(cell.key.set_name, name, unit, size, found))
            widths.append(np.log(size) > found.cut)
    corrected = holm(np.array([row[key] for key in ("p", "p_modes") for row in rows])).reshape(2, -1).min(0)
    recorded: dict[str, dict[str, np.ndarray]] = {}
    for row, p, groups in zip(rows, corrected, widths, strict=True):
        lesser = min(row["share"], 1 - row["share"])
        row |= {"holm": _digits(p), "two": bool(p < ALPHA and lesser >= LEAST_SHARE), "separators": []}
        if row["two"]:
            covariates = _covariates(measured, row["given"], recorded)
            row["separators"] = [one.to_json() for one in separators(groups, covariates, seed=measured.config.seed)[:5]]
    return sorted(rows, key=lambda row: (row["holm"], -row["dip"]))


def _sizes(study: Study, cell: Cell, name: str) -> Float[np.ndarray, " N"]:
    """Sizes of intervals on the quantity's own scale: of its value where that is the logarithm."""
    q = cell.names.index(name)
    return np.asarray(np.maximum(study.scaled(name, cell.high[:, q]) - study.scaled(name, cell.low[:, q]), 1e-9))


def _regime_row(given: str, name: str, unit: str, width: np.ndarray, found: Regimes) -> dict[str, Any]:
    below, above = (float(math.exp(level)) for level in found.levels)
    counts, edges = np.histogram(width, np.geomspace(width.min(), width.max() * (1 + 1e-9) + 1e-12, 31))
    return {
        "given": given, "quantity": name, **found.to_json(), "below": _digits(below),
        "above": _digits(above), "unit": unit,
        "histogram": {"edges": [_digits(edge) for edge in edges], "counts": counts.tolist()},
    }  # fmt: skip


def _covariates(
    measured: Measured, given: str, recorded: dict[str, dict[str, np.ndarray]]
) -> dict[str, Float[np.ndarray, " N"]]:
    """Parameters and quantities of the individuals, and what the waves of a single channel show."""
    channels = measured.study.channels
    if not recorded:
        x = measured.study.observe(measured.people, 0.0, measured.config.seed)
        recorded |= {name: wave_covariates(measured.people.waves[:, c], x[:, c]) for c, name in enumerate(channels)}
    return dict(measured.people.columns) | recorded.get(given, {})


def trade_offs(measured: Measured, cell: Cell) -> list[dict[str, Any]]:
    r"""Pairs of quantities that the posterior cannot tell apart: they move together, or against each other.

    Arguments:
        measured: The cells.
        cell: The cell.

    Returns:
        Pairs whose mean correlation in the posterior is at least a half, with that in the prior, strongest first.

    Example:
        >>> trade_offs(measured, cell)[0]["posterior"]  # doctest: +SKIP
        -0.93
    """
    study = measured.study
    before = np.corrcoef(np.stack([study.scaled(name, study.prior[name]) for name in cell.names]))
    rows = []
    for i, first in enumerate(cell.names):
        for j in range(i):
            if abs(cell.correlation[i, j]) >= STRONG:
                rows.append({
                    "given": cell.key.set_name, "first": cell.names[j], "second": first,
                    "posterior": _digits(cell.correlation[i, j]), "prior": _digits(before[i, j]),
                })  # fmt: skip
    return sorted(rows, key=lambda row: -abs(row["posterior"]))


def individual_map(measured: Measured, cell: Cell, name: str, *, bins: int = 5) -> dict[str, Any]:
    r"""How the uncertainty of a quantity depends on who is measured.

    Arguments:
        measured: The cells.
        cell: The cell.
        name: The quantity.
        bins: Groups of equal size along each covariate.

    Returns:
        For each covariate the groups' ``middles``, median ``widths`` with quartiles, and Spearman's ``rho`` with its
        p-value, corrected over all parameters and quantities of the individuals; and ``strongest``, those with the
        greatest correlations.

    Example:
        >>> individual_map(measured, cell, "CO")["covariates"]["age"]["rho"]  # doctest: +SKIP
        0.42
    """
    from scipy.stats import spearmanr

    width = cell.widths(name)
    columns = {k: v[: len(width)] for k, v in measured.people.columns.items() if np.ptp(v[: len(width)]) > 0}
    tested = {key: spearmanr(values, width) for key, values in columns.items()}
    corrected = dict(zip(tested, holm(np.array([float(t.pvalue) for t in tested.values()])), strict=True))
    rho = {key: {"rho": _digits(t.statistic), "p": _digits(corrected[key])} for key, t in tested.items()}
    shown = [key for key in COVARIATES if key in columns] or list(columns)[:4]
    strongest = sorted(rho, key=lambda key: -abs(rho[key]["rho"]))[:5]
    return {
        "given": cell.key.set_name,
        "quantity": name,
        "unit": measured.study.units[name],
        "covariates": {key: rho[key] | _binned(columns[key], width, bins) for key in shown},
        "strongest": [{"name": key, **rho[key]} for key in strongest],
    }


def _binned(values: Float[np.ndarray, " N"], width: Float[np.ndarray, " N"], bins: int) -> dict[str, list[float]]:
    groups = np.array_split(np.argsort(values, kind="stable"), bins)
    quartiles = [np.quantile(width[rows], [0.25, 0.5, 0.75]) for rows in groups]
    return {
        "middles": [_digits(np.median(values[rows])) for rows in groups],
        "widths": [_digits(q[1]) for q in quartiles],
        "low": [_digits(q[0]) for q in quartiles],
        "high": [_digits(q[2]) for q in quartiles],
    }


def checks(
    measured: Measured, summaries: Mapping[CellKey, Mapping[str, Mapping[str, Any]]], regimes: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    r"""Whether an atlas is as one must be, each point with what was found.

    Arguments:
        measured: The cells.
        summaries: Numbers of each cell.
        regimes: What ``regimes_of`` found.

    Returns:
        For each point its ``name``, whether it ``holds``, and ``found``, in words.

    Example:
        >>> all(row["holds"] for row in checks(measured, summaries, regimes))  # doctest: +SKIP
        True
    """
    rows = [_heart_rate(measured, summaries), _calibrated(measured, summaries)]
    rows += [*_calibrated_sets(measured), *_never_wider(measured)]
    if measured.config.noise:
        rows.append(_grows_with_noise(measured))
    two = [row for row in regimes if row["two"] and row["separators"]]
    one = [row for row in regimes if not row["two"]]
    said = f"two regimes in {len([r for r in regimes if r['two']])} of {len(regimes)} (channels, quantity)"
    if two:
        best = two[0]
        said += f", first {best['quantity']} from {best['given']}: p = {best['holm']:.2g}, by "
        said += best["separators"][0]["name"]
    rows.append({"name": "the test of regimes says yes and no", "holds": bool(two and one), "found": said})
    return rows


def _row(name: str, holds: bool, found: str) -> dict[str, Any]:
    return {"name": name, "holds": bool(holds), "found": found}


def _heart_rate(measured: Measured, summaries: Mapping[CellKey, Any]) -> dict[str, Any]:
    title = "HR's 90 % interval covers in every channel"
    if "HR" not in measured.study.units:
        return _row(title, True, "the model has no heart rate")
    shares = {c.key.set_name: summaries[c.key]["HR"]["coverage"]["0.9"] for c in measured.singles()}
    worst = min(shares, key=lambda key: shares[key])
    # 3 points, and what the number of individuals leaves to chance in the worst of so many channels
    slack = 0.03 + 2.0 * math.sqrt(0.09 / len(measured.singles()[0].log_prob))
    return _row(title, shares[worst] >= 0.9 - slack, f"least {100 * shares[worst]:.1f} %, {worst}")


def _calibrated(measured: Measured, summaries: Mapping[CellKey, Any]) -> dict[str, Any]:
    rows = summaries[CellKey(measured.study.channels)]
    gaps = {(q, level): share - float(level) for q, row in rows.items() for level, share in row["coverage"].items()}
    worst = max(gaps, key=lambda key: abs(gaps[key]))
    slack = 2.0 * math.sqrt(0.25 / len(measured.cells[CellKey(measured.study.channels)].log_prob))
    text = f"worst {100 * gaps[worst]:+.1f} points, {worst[0]} at {100 * float(worst[1]):.0f} %"
    return _row("all channels together are calibrated within 3 points", abs(gaps[worst]) <= 0.03 + slack, text)


def _calibrated_sets(measured: Measured) -> list[dict[str, Any]]:
    """Sets between one channel and all, taken together: those of one size have few individuals each."""
    full = measured.study.channels
    cells = [c for key, c in measured.cells.items() if not key.noise and 1 < len(key.given) < len(full)]
    if not cells:
        return []
    n = min(len(cell.rank) for cell in cells)
    inside = np.abs(np.stack([cell.rank[:n] for cell in cells]) - 0.5)
    gaps: dict[tuple[float, str, float], float] = {}
    for level in LEVELS:
        held = (inside <= level / 2).mean(0)  # of each individual, the share of sets
        error = held.std(0, ddof=1) / math.sqrt(n)
        for name, gap, allowed in zip(cells[0].names, held.mean(0) - level, 0.03 + 2 * error, strict=True):
            gaps[level, name, float(allowed)] = float(gap)
    worst = max(gaps, key=lambda key: abs(gaps[key]))
    text = f"worst {100 * gaps[worst]:+.1f} points, {worst[1]} at {100 * worst[0]:.0f} %, {len(cells)} sets together"
    holds = all(abs(gap) <= key[2] for key, gap in gaps.items())
    return [_row("sets of channels are calibrated within 3 points", holds, text)]


def _never_wider(measured: Measured) -> list[dict[str, Any]]:
    rows = gains(measured)
    title = "adding a channel never loses information"
    if not rows:
        alone = len(measured.study.channels) == 1
        return [_row(title, True, "one channel, nothing to add")] if alone else []  # none was asked for
    lost, clearly = _below_zero(*(np.array([row[key] for row in rows]) for key in ("bits", "error", "n")))
    least = min(rows, key=lambda row: row["bits"])
    text = (
        f"{lost} of {len(rows)} additions lose, {clearly} of them more than .02 bit; least {least['bits']:+.3f} bit, "
    )
    text += f"{least['quantity']} of {least['given']} with {least['add']}"
    return [_row(title, not lost and not clearly, text)]


def _grows_with_noise(measured: Measured) -> dict[str, Any]:
    levels = sorted(measured.config.noise)
    found: list[tuple[float, float, int]] = []
    worst = (0.0, "")
    for given in [*((name,) for name in measured.study.channels), measured.study.channels]:
        for low, high in pairwise(levels):
            quiet, loud = measured.cells[CellKey(given, low)], measured.cells[CellKey(given, high)]
            for q, name in enumerate(quiet.names):
                more = loud.entropy[:, q] - quiet.entropy[:, q]
                found.append((float(more.mean()), float(more.std(ddof=1)) / math.sqrt(len(more)), len(more)))
                worst = min(worst, (found[-1][0], f"{name} of {quiet.key.set_name} from {low:g} to {high:g}"))
    shrunk, clearly = _below_zero(*np.array(found).reshape(-1, 3).T)
    text = f"{shrunk} of {len(found)} steps shrink, {clearly} of them more than .02 bit"
    text += f"; most {worst[0]:+.3f} bit, {worst[1]}" if worst[1] else ""
    return _row("intervals grow with noise", not shrunk and not clearly, text)


def _below_zero(
    mean: Float[np.ndarray, " K"], error: Float[np.ndarray, " K"], n: Float[np.ndarray, " K"]
) -> tuple[int, int]:
    """How many mean differences lie below zero, and how many by more than three standard errors and .02 bit.

    Below zero: the paired t-test on one side, corrected over all (Holm). If none truly lies below, one is called so in
    at most one of twenty atlases; no size is too small to count.
    """
    from scipy.special import stdtr

    if not len(mean):
        return 0, 0
    p = stdtr(n - 1, mean / np.maximum(error, 1e-12))
    clearly = mean < -3 * error - 0.02
    return int(((holm(p) < ALPHA) | clearly).sum()), int(clearly.sum())


def _paired(before: Float[np.ndarray, " N"], after: Float[np.ndarray, " M"]) -> Float[np.ndarray, " least"]:
    """Differences of the individuals that are in both."""
    n = min(len(before), len(after))
    return np.asarray(before[:n] - after[:n])


def _digits(value: Any) -> float:
    return float(f"{float(value):.5g}")
