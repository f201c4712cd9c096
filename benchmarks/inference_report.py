r"""Tables and figure of the benchmark `inference`.

`python -m benchmarks.inference_report DIR [--page FILE] [--figure FILE]`, where DIR holds the rows of
`python -m benchmarks.inference --out DIR`. Markdown is printed, or put between the marks of a page.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"
WAYS = ("window", "product over the prior", "importance re-weighting", "random-walk smoother", "causal", "recording")
RULES = ("Liljestrand-Zander", "systolic area, impedance", "windkessel time constant")
_TREND, _RANK = "SV trend error [SD of log]", "CO Spearman within patients, median"
_COMPARED = {
    "SV trend": _TREND,
    "CO trend": "CO trend error [SD of log]",
    "CO Spearman": _RANK,
    "SV error": "SV mean |log error|",
    "SV 50 %": "coverage at 50 %, SV [%]",
    "SV 90 %": "coverage at 90 %, SV [%]",
    "C 90 %": "coverage at 90 %, C [%]",
}
_REST = ("repaired", "pool-sizes", "anchors", "drift", "ages", "splices", "sensors", "day")

Rows = list[dict[str, Any]]


def read(folder: Path, part: str) -> Rows:
    """Rows of a part, none where it was not run."""
    path = folder / f"inference-{part}.json"
    rows: Rows = json.loads(path.read_text()) if path.is_file() else []
    return rows


def compared(rows: Rows) -> str:
    """Ways to answer a recording, and the rules of the literature, on the same recordings."""
    found = {(row["method"], row["measure"]): row["value"] for row in rows}
    methods = [m for m in (*WAYS, *RULES) if any(method == m for method, _ in found)]
    lines = [f"| | {' | '.join(_COMPARED)} |", "|---" * (len(_COMPARED) + 1) + "|"]
    for method in methods:
        cells = [found.get((method, measure)) for measure in _COMPARED.values()]
        lines.append(f"| {method} | " + " | ".join(_number(cell) for cell in cells) + " |")
    return "\n".join(lines)


def pivoted(rows: Rows) -> str:
    """A table with a line for each setting and method and a column for each measure."""
    measures = list(dict.fromkeys(row["measure"] for row in rows))
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        found.setdefault((row["setting"], row["method"]), {})[row["measure"]] = row
    heads = " | ".join(measure.replace("|", r"\|") for measure in measures)
    lines = [f"| setting | method | {heads} |", "|---" * (len(measures) + 2) + "|"]
    for (setting, method), own in found.items():
        lines.append(f"| {setting} | {method} | " + " | ".join(_cell(own.get(m)) for m in measures) + " |")
    return "\n".join(lines)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    spread = row.get("spread")
    return _number(row["value"]) + (f" ({_number(spread)})" if spread is not None else "")


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def tables(folder: Path) -> str:
    """All tables, in the order of the parts; coverage of pools by size has one for each level."""
    told = []
    for part, title in (("in-distribution", "Half hours of the training's world"), ("shifted", "A shifted reality")):
        if rows := read(folder, part):
            told.append(f"## {title}\n\n{rows[0]['setting']}.\n\n{compared(rows)}")
    for part in _REST:
        rows = read(folder, part)
        for level in ("50 %", "90 %") if part == "pool-sizes" else ("",):
            own = [
                {**r, "measure": r["measure"].removeprefix(f"coverage at {level}, ")}
                for r in rows
                if level in r["measure"]
            ]
            if own:
                head = own[0]["task"].capitalize() + (f", {level} intervals" if level else "")
                told.append(f"## {head}\n\n{pivoted(own)}")
    return "\n\n".join(told)


def draw(folder: Path, target: Path) -> None:
    """Trend error and rank correlation of all ways, in both worlds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.4), layout="constrained")
    axes = figure.subplots(1, 2)
    for shift, (part, colour) in enumerate((("in-distribution", "#1f6f78"), ("shifted", "#c2703d"))):
        found = {(row["method"], row["measure"]): row["value"] for row in read(folder, part)}
        label = "training's world" if part == "in-distribution" else "shifted reality"
        for axis, methods, measure in zip(axes, (WAYS, (*WAYS, *RULES)), (_TREND, _RANK), strict=True):
            at = [i + 0.3 * (shift - 0.5) for i in range(len(methods))]
            axis.plot([found.get((m, measure)) for m in methods], at, "o", color=colour, label=label)
            axis.set_yticks(range(len(methods)), methods, fontsize=8)
            axis.set_xlabel(measure, fontsize=8)
            axis.grid(axis="x", alpha=0.3)
    for axis in axes:
        axis.invert_yaxis()
    axes[0].set_xlim(left=0.0)
    axes[0].legend(fontsize=8, loc="upper left")
    figure.savefig(target, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference_report")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--page", type=Path, help="page whose marked part is replaced")
    parser.add_argument("--figure", type=Path, help="picture to write")
    options = parser.parse_args()
    text = tables(options.folder)
    if options.page is None:
        print(text)
    else:
        page = options.page.read_text(encoding="utf-8")
        head, tail = page.split(BEGIN)[0], page.split(END)[1]
        options.page.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}", encoding="utf-8")
    if options.figure is not None:
        draw(options.folder, options.figure)


if __name__ == "__main__":
    main()
