r"""Tables and figure of a RoPE benchmark: `python -m benchmarks.rope_report DIR [--figure FILE]` prints Markdown."""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

TASKS = ("gaussian", "pendulum", "sir", "cs", "haemodynamics")
METHODS = (
    "prior", "NPE", "OT only", "tuning only", "RoPE", "RoPE*", "RoPE aligned, not smoothed", "RoPE smoothed",
    "NPE on pairs", "joint NPE", "Gaussian MLP", "NPE on simulations of the test labels",
)  # fmt: skip
FREE = ("prior", "NPE", "OT only", "NPE on simulations of the test labels")
SIZES = (10, 50, 200, 1000)


def read(folder: Path) -> dict[tuple[str, str, int, str], list[Any]]:
    """Values by task, method, pairs and measure, one for each draw."""
    found: dict[tuple[str, str, int, str], list[Any]] = defaultdict(list)
    for path in sorted(folder.glob("rope-*-[0-9]-*.json")):
        for row in json.loads(path.read_text()):
            n = int(row["setting"].split()[1].rstrip(","))
            found[row["task"], row["method"], n, row["measure"]].append(row["value"])
    return found


def table(found: dict[tuple[str, str, int, str], list[Any]], measure: str, digits: int) -> str:
    """A Markdown table of a measure: methods by task and number of pairs."""
    lines = [f"| {measure} | pairs | " + " | ".join(TASKS) + " |", "|---|---|" + "---|" * len(TASKS)]
    for method in METHODS:
        for n in (0,) if method in FREE else SIZES:
            cells = [_cell(found.get((task, method, n, measure), []), digits) for task in TASKS]
            if any(cells):
                lines.append(f"| {method} | {n or '-'} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: list[Any], digits: int) -> str:
    numbers = [float(v) for v in values]
    if not numbers:
        return ""
    spread = f" ± {np.std(numbers):.{digits}f}" if len(numbers) > 1 else ""
    return f"{np.mean(numbers):.{digits}f}{spread}"


def figure(found: dict[tuple[str, str, int, str], list[Any]], path: Path) -> None:
    """LPP, ACAUC and effective size over the number of pairs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = {
        "prior": ("0.6", "-"), "OT only": ("tab:brown", ":"), "RoPE": ("tab:orange", "--"),
        "RoPE smoothed": ("tab:red", "-"), "tuning only": ("tab:purple", ":"), "NPE on pairs": ("tab:blue", "-."),
        "joint NPE": ("tab:green", "-."), "NPE on simulations of the test labels": ("k", ":"),
    }  # fmt: skip
    measures = ("LPP [nats]", "ACAUC", "effective size")
    figure_, axes = plt.subplots(3, len(TASKS), figsize=(13, 7), sharex=True)
    for column, task in enumerate(TASKS):
        for row, measure in enumerate(measures):
            ax = axes[row, column]
            for method, (colour, style) in shown.items():
                sizes = [n for n in SIZES if found.get((task, method, 0 if method in FREE else n, measure))]
                means = [np.mean(found[task, method, 0 if method in FREE else n, measure]) for n in sizes]
                if means:
                    ax.plot(sizes, means, color=colour, linestyle=style, label=method, marker=".")
            ax.set_xscale("log")
            if row == 0:
                ax.set_title(task)
                floor = np.mean(found.get((task, "prior", 0, measure), [0.0]))
                ax.set_ylim(bottom=floor - 3)
            elif measure == "ACAUC":
                ax.axhline(0, color="0.8", linewidth=0.8)
                ax.set_ylim(-0.25, 0.3)
            if column == 0:
                ax.set_ylabel(measure)
            if row == 2:
                ax.set_xlabel("labelled pairs")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure_.legend(handles, labels, loc="lower center", ncol=4, frameon=False)
    figure_.tight_layout(rect=(0, 0.07, 1, 1))
    figure_.savefig(path, dpi=80)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rope_report")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    found = read(options.folder)
    measures = (
        ("LPP [nats]", 2), ("ACAUC", 3), ("effective size", 0), ("squared residual", 3), ("C2ST", 3),
        ("share of -inf", 4),
    )  # fmt: skip
    for measure, digits in measures:
        print(table(found, measure, digits) + "\n")
    if options.figure:
        figure(found, options.figure)


if __name__ == "__main__":
    main()
