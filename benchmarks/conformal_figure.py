r"""The figure of the conformal benchmark, drawn by `benchmarks.conformal_report`."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from pulsebayes.calibration.conformal import (
    BoxGauge,
    Coordinates,
    EntropicRank,
    NormGauge,
    PlainResidual,
    Prediction,
    Region,
    ResidualScore,
    conformal_limit,
)

from .conformal_sets import three_gaussians

COLOURS = {"ellipsoid": "#0072b2", "box": "#e69f00", "OTCP": "#009e73"}


def contours(axis: Any) -> None:
    """Regions of three scores on one draw of the three-Gaussian residuals."""
    y = three_gaussians(np.random.default_rng(1), 1000)
    nothing = Prediction(np.zeros((750, 2)))
    axis.plot(*y[750:].T, ".", ms=2, color="0.6")
    gauges = {"ellipsoid": NormGauge(), "box": BoxGauge(), "OTCP": EntropicRank(radii="ball")}
    for (name, gauge), style in zip(gauges.items(), ("--", ":", "-"), strict=True):
        score = ResidualScore(PlainResidual(), gauge).fit(nothing, y[:750])
        limit = conformal_limit(score.score(nothing[:250], y[750:]), 0.1)
        region = Region(score, Prediction(np.zeros((1, 2))), limit, Coordinates.plain(2), 0.1)
        for i, line in enumerate(region.slice(("y1", "y2"), grid=201).contours()):
            label = f"{name}, volume {region.volume().value:.2f}" if i == 0 else None
            axis.plot(*line.T, style, color=COLOURS[name], lw=1.5, label=label)
    axis.set(title="90 % regions of three-Gaussian residuals", xlabel="first residual", ylabel="second residual")
    axis.legend(fontsize=7, loc="upper right")


def evenness(axis: Any, rows: list[dict[str, Any]]) -> None:
    """Worst-slab coverage against volume on the heteroscedastic set."""
    table: dict[str, dict[str, float]] = {}
    for row in rows:
        if isinstance(row["value"], float):
            table.setdefault(row["method"], {})[row["measure"]] = row["value"]
    for name, found in table.items():
        if {"mean volume", "worst-slab coverage"} <= found.keys():
            place = (found["mean volume"], found["worst-slab coverage"])
            axis.plot(*place, "o", ms=4, color="#d55e00" if "default" in name else "#0072b2")
            axis.annotate(name.split(",")[0], place, fontsize=6, xytext=(3, 3), textcoords="offset points")
    axis.axhline(0.9, color="0.5", lw=0.8)
    axis.axhspan(0.87, 0.93, color="0.92", zorder=0)
    axis.margins(x=0.25)
    axis.set(title="heteroscedastic set", xlabel="mean volume", ylabel="coverage of the worst slab (nominal .9)")


def coverage(axis: Any, rows: list[dict[str, Any]]) -> None:
    """Mean coverage by number of calibration cases."""
    wanted = {"ellipsoid": "o", "OTCP": "s", "OT-CP": "^", "ott.tools.conformal.OTCP": "x"}
    for name, mark in wanted.items():
        found = [
            r for r in rows if r["method"] == name and r["measure"] == "mean coverage" and "alpha = 0.1" in r["setting"]
        ]
        n = [int(r["setting"].split(",")[0].split("=")[1]) for r in found]
        axis.errorbar(
            n, [r["value"] for r in found], [3 * r["spread"] for r in found], fmt=mark, ms=4, label=name, lw=1
        )
    axis.axhline(0.9, color="0.5", lw=0.8)
    axis.set(
        xscale="log", title="mean coverage, alpha = .1", xlabel="calibration cases", ylabel="mean of 1,000 repeats"
    )
    axis.legend(fontsize=7)


def reality(axis: Any, rows: list[dict[str, Any]]) -> None:
    """Coverage against volume of a shipped model's regions of four quantities in a strong reality: means over seeds."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["task"] == "HR, CO, SVR, LVET" and isinstance(row["value"], float):
            found[row["method"]][row["measure"]].append(row["value"])
    names = {
        "NPE, credible ellipsoid": "NPE, credible",
        "NPE, conformal Mahalanobis": "NPE, conformal",
        "RoPE, credible ellipsoid": "RoPE, credible",
        "RoPE, conformal Mahalanobis": "RoPE's mixture, conformal",
        "RoPE with NPE where sharper, conformal Mahalanobis": "RoPE bundle, conformal",
    }
    for (name, shown), mark in zip(names.items(), "xDso^", strict=True):
        if "coverage" in (own := found[name]):
            place = (float(np.mean(own["median volume, log units"])), float(np.mean(own["coverage"])))
            axis.plot(*place, mark, ms=6, color="#d55e00" if "credible" in name else "#009e73", label=shown)
    axis.axhline(0.9, color="0.5", lw=0.8)
    axis.margins(x=0.3, y=0.2)
    axis.set(
        xscale="log",
        title="HR, CO, SVR, LVET in a strong reality",
        xlabel="median volume, log units",
        ylabel="coverage",
    )
    if rows:
        axis.legend(fontsize=7, loc="lower right")


def draw(folder: Path, image: Path) -> None:
    """Draws the figure from the rows of a run."""
    kept = {
        p.stem.removeprefix("conformal-"): json.loads(p.read_text()) for p in sorted(folder.glob("conformal-*.json"))
    }
    figure, axes = plt.subplots(1, 4, figsize=(16, 3.8), layout="constrained")
    coverage(axes[0], kept.get("coverage", []))
    contours(axes[1])
    evenness(axes[2], kept.get("heteroscedastic", []))
    bundles = sorted(folder.glob("conformal_bundle-strong-[0-9]*[0-9].json"))
    reality(axes[3], [row for path in bundles for row in json.loads(path.read_text())])
    figure.savefig(image, dpi=110)
    plt.close(figure)
