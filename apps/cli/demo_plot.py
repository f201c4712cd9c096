r"""The picture of an answered recording: the wave, and each quantity over time against its prior."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ...waveforms.readers import read

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_result"]

_SHOWN = ("HR", "MAP", "SV", "CO", "SVR", "LVET", "PWV", "C")
_RED, _BLUE, _GREY = "#c62828", "#1f4e79", "#888888"
_WAVE_S = 20.0


def plot_result(recording: Path, table: Path, truth: Mapping[str, float], target: Path, *, role: str = "ART") -> None:
    r"""Draw a recording's first seconds and its answers over time.

    Arguments:
        recording: Waveform file.
        table: CSV file that `infer` wrote.
        truth: True values by quantity, where they are known.
        target: PNG file to write.
        role: Role of the channel drawn.

    Example:
        >>> from pathlib import Path
        >>> from pulsebayes.apps.cli.demo_plot import plot_result
        >>> _ = Path("wave.csv").write_text("time [s],ABP [mmHg]\n0.0,80\n0.1,90\n0.2,85\n0.3,80\n")
        >>> _ = Path("result.csv").write_text("quantity,unit,start_s,median,q05,q25,q75,q95,prior_q05,prior_q95\n")
        >>> plot_result(Path("wave.csv"), Path("result.csv"), {}, Path("result.png"))
        >>> Path("result.png").is_file()
        True
    """
    figure = Figure(figsize=(11, 8.5), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(3, 4, height_ratios=(1.0, 1.0, 1.0))
    _draw_wave(figure.add_subplot(grid[0, :]), recording, role)
    rows = _rows(table)
    for i, name in enumerate(_SHOWN):
        if name in rows:
            _draw_quantity(figure.add_subplot(grid[1 + i // 4, i % 4]), name, rows[name], truth.get(name))
    figure.suptitle(f"{recording.name}: simulated. Research use only. Not a medical device.", fontsize=11)
    figure.savefig(target, dpi=110)


def _draw_wave(axes: Axes, path: Path, role: str) -> None:
    recording = read(path)
    end = min(_WAVE_S, recording.duration_s)
    axes.plot(recording.times(role, 0.0, end), recording.values(role, 0.0, end), color=_RED, lw=1.2)
    axes.set(xlabel="time [s]", ylabel=f"{role} [{recording.channel(role).unit}]", xlim=(0, end))
    axes.set_title(f"arterial pressure, the first {end:g} s", fontsize=10, loc="left")


def _rows(table: Path) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    with table.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["quantity"]:
                found.setdefault(row["quantity"], []).append(row)
    return found


def _draw_quantity(axes: Axes, name: str, rows: list[dict[str, str]], truth: float | None) -> None:
    r"""Median as a line, 50 % and 90 % as bands, the prior's 90 % as thin grey lines, the truth dashed."""
    columns = ("start_s", "median", "q05", "q25", "q75", "q95")
    start, median, q05, q25, q75, q95 = (np.array([float(r[c] or "nan") for r in rows]) for c in columns)
    axes.fill_between(start, q05, q95, color=_BLUE, alpha=0.18, lw=0, label="90 %")
    axes.fill_between(start, q25, q75, color=_BLUE, alpha=0.35, lw=0, label="50 %")
    axes.plot(start, median, color=_BLUE, lw=1.5, marker=".", label="median")
    for edge in ("prior_q05", "prior_q95"):
        axes.axhline(float(rows[0][edge]), color=_GREY, lw=0.8, label="prior 90 %" if edge == "prior_q05" else None)
    if truth is not None:
        axes.axhline(truth, color="black", lw=1.2, ls="--", label="truth")
    if np.isnan(median).all():
        axes.text(0.5, 0.5, "uninformative: withheld", transform=axes.transAxes, ha="center", color=_GREY)
    axes.set_title(f"{name} [{rows[0]['unit']}]", fontsize=10, loc="left")
    axes.set(xlabel="time [s]", xlim=(start[0] - 4, start[-1] + 4))
    if name == _SHOWN[0]:
        axes.legend(fontsize=7, framealpha=0.8)
