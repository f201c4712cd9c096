r"""Tables and figure of the benchmark `symbolic`.

`python -m benchmarks.symbolic_report DIR [--page FILE] [--figure FILE]`, where DIR holds the lines of
`python -m benchmarks.symbolic --out DIR` or of `benchmarks.symbolic_scalar`. Markdown is printed, or put between the
marks of a page. A start and seed of a method count when all systems of the cell are there: the list begins with the
easy ones.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from .symbolic_table import QUOTED, RIVAL, paired, wilson

ORDER = (
    "PySINDy default", "PySINDy cubic", "PySINDy tuned", "pyoperon", "transformer alone", "transformer + refit",
    "scalar mode", "weak form", "pool", "true skeleton refitted",
)  # fmt: skip
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"
SETS = {"odebench": "ODEBench", "unseen": "our own list `UNSEEN`", "development": "our own list `DEVELOPMENT`",
        "random": "200 random scalar systems"}  # fmt: skip
Groups = dict[tuple[Any, ...], list[dict[str, Any]]]


def read(folder: Path) -> Groups:
    """Lines by set, cell and method; of one key the last line counts."""
    kept = {}
    keys = ("set", "sigma", "rho", "seed", "system", "start", "method")
    store = folder / "symbolic.jsonl"
    for text in (store if store.is_file() else folder / "scalar.jsonl").read_text().splitlines():
        row = json.loads(text)
        kept[tuple(row[k] for k in keys)] = row
    blocks: Groups = defaultdict(list)
    for key, row in kept.items():
        blocks[(key[0], key[1], key[2], key[6], key[3], key[5])].append(row)
    whole: dict[tuple[Any, ...], int] = defaultdict(int)
    for key, rows in blocks.items():
        whole[key[:3]] = max(whole[key[:3]], len(rows))
    found: Groups = defaultdict(list)
    for key, rows in blocks.items():
        if len(rows) == whole[key[:3]]:
            found[key[:4]] += rows
    return dict(sorted(found.items(), key=lambda item: (*item[0][:1], item[0][2], item[0][1], _rank(item[0][3]))))


def _rank(method: str) -> int:
    return ORDER.index(method) if method in ORDER else len(ORDER)


def _share(rows: list[dict[str, Any]], column: str) -> str:
    hits = sum(bool(r[column]) for r in rows)
    low, high = wilson(hits, len(rows))
    return f"{100 * hits / len(rows):.1f} ({100 * low:.0f}-{100 * high:.0f})"


def shares(groups: Groups, which: str) -> str:
    """Shares with their intervals, lengths and seconds of one set."""
    lines = [
        "| sigma, rho | method | n | reconstruction | generalisation | same equations | median length | CPU-seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (name, sigma, rho, method), rows in groups.items():
        if name != which:
            continue
        lengths = [r["length"] for r in rows if r["length"] is not None]
        cells = [_share(rows, c) for c in ("reconstruction", "generalisation", "equivalent")]
        length = f"{np.median(lengths):.0f}" if lengths else "-"
        seconds = f"{np.mean([r['seconds'] for r in rows]):.2f}"
        lines.append(f"| {sigma:g}, {rho:g} | {method} | {len(rows)} | " + " | ".join([*cells, length, seconds]) + " |")
    return "\n".join(lines)


def differences(groups: Groups, which: str) -> str:
    """Paired differences to the rival over the systems, both measured on the same trajectories."""
    lines = ["| sigma, rho | method | systems | generalisation | reconstruction |", "|---|---|---|---|---|"]
    for (name, sigma, rho, method), rows in groups.items():
        rival = groups.get((name, sigma, rho, RIVAL), [])
        if name != which or method in (RIVAL, "true skeleton refitted") or not rival:
            continue
        shown = []
        for column in ("generalisation", "reconstruction"):
            mean, low, high = (100.0 * v for v in paired(rows, rival, column))
            word = "beats" if low > 0 else "below" if high < 0 else "not told apart"
            shown.append(f"{mean:+.1f} ({low:.1f} to {high:.1f}): {word}")
        common = {r["system"] for r in rows} & {r["system"] for r in rival}
        lines.append(f"| {sigma:g}, {rho:g} | {method} | {len(common)} | {shown[0]} | {shown[1]} |")
    return "\n".join(lines)


def by_dimension(groups: Groups, which: str) -> str:
    """Generalisation by dimension."""
    dims = sorted({r["dim"] for (name, *_), rows in groups.items() if name == which for r in rows})
    lines = [
        "| sigma, rho | method | " + " | ".join(f"D = {d}" for d in dims) + " |", "|---|---|" + "---|" * len(dims)
    ]  # fmt: skip
    for (name, sigma, rho, method), rows in groups.items():
        if name == which:
            own = [[r["generalisation"] for r in rows if r["dim"] == d] for d in dims]
            cells = [f"{100 * np.mean(o):.0f} (n {len(o)})" if o else "-" for o in own]
            lines.append(f"| {sigma:g}, {rho:g} | {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def quoted() -> str:
    """What others report."""
    lines = ["| quoted | what | at (sigma, rho): per cent |", "|---|---|---|"]
    for name, column, values in QUOTED:
        told = ", ".join(f"({s:g}, {r:g}): {v:g}" for (s, r), v in values.items())
        lines.append(f"| {name} | {column} | {told} |")
    return "\n".join(lines)


def page(groups: Groups) -> str:
    """All tables."""
    parts = []
    for which in dict.fromkeys(key[0] for key in groups):
        parts += [f"### {SETS[which]}", shares(groups, which)]
        parts += ["Paired differences to tuned PySINDy over the systems, in points:", differences(groups, which)]
        parts += ["Generalisation by dimension, per cent:", by_dimension(groups, which)]
    if any(row["dim"] > 1 for rows in groups.values() for row in rows):
        parts += ["### Quoted", quoted()]
    return "\n\n".join(parts)


def figure(groups: Groups, path: Path) -> None:
    """Reconstruction and generalisation on ODEBench with their Wilson intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    own = {key[1:]: rows for key, rows in groups.items() if key[0] == "odebench"}
    cells = list(dict.fromkeys(key[:2] for key in own))
    methods = [m for m in ORDER if any(key[2] == m for key in own)]
    drawn, axes = plt.subplots(1, 2, figsize=(9.0, 4.2), sharey=True, layout="constrained")
    for axis, column in zip(axes, ("reconstruction", "generalisation"), strict=True):
        for k, method in enumerate(methods):
            points = []
            for i, cell in enumerate(cells):
                if rows := own.get((*cell, method)):
                    hits = sum(bool(r[column]) for r in rows)
                    at, share = i + 0.8 * ((k + 0.5) / len(methods) - 0.5), hits / len(rows)
                    low, high = wilson(hits, len(rows))
                    points.append((at, 100 * share, 100 * (share - low), 100 * (high - share)))
            x, y, below, above = np.array(points).T
            axis.errorbar(x, y, [below, above], fmt="ohsD^vPX*"[k], ms=4, color=f"C{k}", label=method, capsize=2)
        axis.set_xticks(range(len(cells)), [f"{s:g}, {r:g}" for s, r in cells])
        axis.set(title=column, xlabel="noise sigma, share dropped rho", ylim=(-2, 102))
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("systems with $R^2$ > .9 [%]")
    drawn.legend(*axes[0].get_legend_handles_labels(), fontsize=8, ncols=5, loc="outside lower center")
    drawn.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.symbolic_report")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--page", type=Path, help="page whose marked part is replaced")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    groups = read(options.folder)
    if options.page:
        text = options.page.read_text()
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        options.page.write_text(f"{before}{BEGIN}\n\n{page(groups)}\n\n{END}{after}")
    else:
        print(page(groups))
    if options.figure:
        figure(groups, options.figure)


if __name__ == "__main__":
    main()
