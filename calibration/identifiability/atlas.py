r"""The atlas: everything that the cells and the sensitivity analysis say, as one JSON-able dictionary and one table."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from .cells import CellKey, summary_of
from .findings import checks, gains, individual_map, next_channel, regimes_of, trade_offs
from .information import entropy
from .plan import Measured
from .sobol import Sensitivity
from .trends import age_trends, people_by_age

__all__ = ["TABLE", "atlas_of", "compare_sensitivity", "table_rows"]

TABLE = (
    "channels", "noise", "quantity", "unit", "interval", "interval / prior", "median error", "median error / truth",
    "coverage 50 %", "coverage 90 %", "information [bit]", "error [bit]", "several modes", "p several modes",
)  # fmt: skip
"""Columns of the atlas's table."""

_KNOWN = 0.1
"""Information from which a quantity counts as known a little [bit]."""
_SMALL = 0.02
"""Index below which sensitivity analysis would call a quantity without influence."""


def atlas_of(measured: Measured, sensitivity: Sensitivity | None = None) -> dict[str, Any]:
    r"""Puts together what was measured.

    Arguments:
        measured: The cells.
        sensitivity: Sobol's indices; None where they were not asked for.

    Returns:
        ``model``, ``config``, ``channels``, ``prior`` (units, intervals and entropies), ``cells``, ``gains``, ``next``,
        ``regimes``, ``trade_offs``, ``maps``, ``trends``, ``sensitivity`` and ``checks``.

    Raises:
        ValueError: If there are too few individuals for the tests.

    Example:
        >>> atlas_of(run_cells(study, AtlasConfig()))["checks"]  # doctest: +SKIP
    """
    study, people = measured.study, measured.people
    summaries = {
        key: summary_of(study, people, cell, n_draws=measured.config.draws) for key, cell in measured.cells.items()
    }
    regimes = regimes_of(measured)
    added = gains(measured)
    everything = measured.cells[CellKey(study.channels)]
    shown = {cell.key: cell for cell in [*measured.singles(), everything]}.values()
    compared = None if sensitivity is None else compare_sensitivity(measured, summaries, sensitivity, regimes)
    by_age = people_by_age(people)
    return {
        "schema": 1,
        "model": study.name,
        "config": asdict(measured.config),
        "channels": list(study.channels),
        "prior": _prior(measured),
        "cells": [
            {"given": list(key.given), "noise": key.noise, "log_prob": _digits(measured.cells[key].log_prob.mean()),
             "quantities": rows}
            for key, rows in summaries.items()
        ],
        "gains": added,
        "next": next_channel(added),
        "regimes": regimes,
        "trade_offs": [row for cell in shown for row in trade_offs(measured, cell)],
        "maps": [individual_map(measured, cell, name) for cell in shown for name in cell.names],
        "trends": {"people": by_age, "healthy": age_trends()} if by_age else {},
        "sensitivity": compared,
        "checks": checks(measured, summaries, regimes),
    }  # fmt: skip


def _prior(measured: Measured) -> dict[str, dict[str, Any]]:
    study = measured.study
    rows = {}
    for name, draws in study.prior.items():
        low, high = np.quantile(draws, [0.05, 0.95])
        rows[name] = {
            "unit": study.units[name], "low": _digits(low), "high": _digits(high),
            "entropy": _digits(entropy(study.scaled(name, draws))),
        }  # fmt: skip
    return rows


def compare_sensitivity(
    measured: Measured,
    summaries: dict[CellKey, dict[str, dict[str, Any]]],
    sensitivity: Sensitivity,
    regimes: list[dict[str, Any]],
) -> dict[str, Any]:
    r"""Sets Sobol's indices beside the information of each channel alone, and says what they miss.

    Arguments:
        measured: The cells.
        summaries: Numbers of each cell.
        sensitivity: Sobol's indices.
        regimes: Regimes that were found.

    Returns:
        The indices, ``pairs`` of (channel, quantity, index, bits), their rank correlation ``rho``, and ``missed``:
        quantities without influence that are known all the same, quantities of influence that are hardly known, and
        how many regimes and trade-offs a single number a parameter cannot show.

    Example:
        >>> compare_sensitivity(measured, summaries, sensitivity, regimes)["rho"]  # doctest: +SKIP
        0.6
    """
    from scipy.stats import spearmanr

    pairs: list[dict[str, Any]] = []
    for c, channel in enumerate(measured.study.channels):
        rows = summaries[CellKey((channel,))]
        for name, values in sensitivity.quantities.items():
            index, bits = float(values[c]), float(rows[name]["bits"])
            pairs.append({"channel": channel, "quantity": name, "index": _digits(index), "bits": _digits(bits)})
    rho = spearmanr([p["index"] for p in pairs], [p["bits"] for p in pairs]) if len(pairs) > 2 else None
    middle = float(np.median([p["index"] for p in pairs])) if pairs else 0.0
    unseen = [p for p in pairs if p["index"] < _SMALL and p["bits"] > 5 * _KNOWN]
    blamed = [p for p in pairs if p["index"] > max(middle, _SMALL) and p["bits"] < 2 * _KNOWN]
    return {
        **sensitivity.to_json(),
        "pairs": pairs,
        "rho": None if rho is None else _digits(rho.statistic),
        "missed": {
            "known_without_influence": sorted(unseen, key=lambda p: -p["bits"])[:10],
            "influence_but_hardly_known": sorted(blamed, key=lambda p: -p["index"])[:10],
            "regimes": sum(row["two"] for row in regimes),
            "trade_offs": sum(len(trade_offs(measured, cell)) for cell in measured.singles()),
        },
    }


def table_rows(atlas: dict[str, Any]) -> list[tuple[str, ...]]:
    r"""The atlas's one table: a row for each set of channels, noise and quantity.

    Arguments:
        atlas: What ``atlas_of`` gave.

    Returns:
        Rows with the columns of ``TABLE``, as they are printed.

    Example:
        >>> table_rows({"cells": []})
        []
    """
    rows: list[tuple[str, ...]] = []
    for cell in atlas["cells"]:
        for name, q in cell["quantities"].items():
            rows.append((
                "+".join(cell["given"]), f"{cell['noise']:g}" if cell["noise"] else "as trained", name, q["unit"],
                f"{q['interval']:.4g}", f"{q['relative']:.3f}", f"{q['error']:.4g}", f"{q['error_share']:.4f}",
                f"{q['coverage']['0.5']:.3f}", f"{q['coverage']['0.9']:.3f}", f"{q['bits']:.3f}",
                f"{q['bits_error']:.3f}", f"{q['modal']:.3f}", f"{q['modal_p']:.2g}",
            ))  # fmt: skip
    return rows


def _digits(value: Any) -> float:
    return float(f"{float(value):.5g}")
