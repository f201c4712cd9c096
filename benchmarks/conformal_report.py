r"""Tables and figure of the conformal benchmarks, put into their page.

`python -m benchmarks.conformal_report DIR [--page FILE] [--figure FILE]`, where DIR holds the rows of
`python -m benchmarks.conformal --out DIR` and `python -m benchmarks.conformal_bundle --out DIR`. Between the marks
`<!-- measured: NAME -->` and `<!-- end -->` of the page stands the table of that name; a table whose rows are not in
DIR is left as it is, and said so.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .conformal_figure import draw
from .conformal_sets import REAL, SYNTHETIC

ROOT = Path(__file__).resolve().parents[1]
PAGE, FIGURE = ROOT / "docs" / "benchmarks" / "conformal.md", ROOT / "docs" / "images" / "conformal.png"
REALITIES = ("mild", "strong", "non-linear")
Rows = list[dict[str, Any]]
Cells = dict[tuple[str, ...], dict[str, tuple[Any, Any]]]


def read(folder: Path, part: str, name: str = "conformal") -> Rows:
    """Rows of a part; none where it has not run."""
    path = folder / f"{name}-{part}.json"
    return json.loads(path.read_text()) if path.is_file() else []


def grouped(rows: Rows, *keys: str) -> Cells:
    """Value and spread of each measure, by some columns."""
    found: Cells = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), {})[row["measure"]] = (row["value"], row["spread"])
    return found


def table(head: list[str], lines: list[list[str]]) -> str:
    """A Markdown table; nothing without lines."""
    if not lines:
        return ""
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *lines])


def coverage(folder: Path) -> str:
    """Mean coverage over calibration sets."""
    lines = []
    rows = [row for row in read(folder, "coverage") if row["measure"] != "limit"]
    for (method, setting), found in grouped(rows, "method", "setting").items():
        n, alpha, k = (text.split("=")[1].strip() for text in setting.split(", "))
        mean, error = found["mean coverage"]
        ks = found.get("KS p against the Beta-binomial", ("", None))[0]
        lines.append([method, n, alpha, k, f"{mean:.4f}", f"{(mean - float(k)) / error:+.1f}", shown(ks)])
    return table(["score", "n", "alpha", "k/(n + 1)", "mean coverage", "deviation", "KS"], lines)


def patients(folder: Path) -> str:
    """Coverage of rules that count windows or patients."""
    lines, promised = [], {}
    for (method, setting), found in grouped(read(folder, "patients"), "method", "setting").items():
        if setting.startswith("promised"):
            promised[method] = next(iter(found.values()))[0]
            continue
        mean, error = found["mean coverage"]
        lines.append([method, f"{mean:.3f}", f"{error:.3f}", shown(found["5 % quantile of coverage"][0])])
    head = ["rule", "mean coverage", "standard error", "5 % quantile of coverage", "promised"]
    return table(head, [[*line, shown(promised.get(line[0], ""))] for line in lines])


def volumes(folder: Path) -> str:
    """Volumes on three-Gaussian scores."""
    parts = ("volumes", "tuned-volumes", "more-tuned-volumes", "slow-volumes")
    rows = [
        row | {"setting": re.search(r"draws (\d+) to (\d+)", row["setting"]).expand(r"\1-\2")}  # type: ignore[union-attr]
        for part in parts
        for row in read(folder, part)
        if not isinstance(row["value"], str)
    ]
    lines = []
    for (which, method), found in sorted(grouped(rows, "setting", "method").items(), key=lambda c: _first(c[0][0])):
        volume, spread = found["volume"]
        gap = found.get("volume below ellipsoid", ("", None))[0]
        lines.append([method, which, shown(volume), shown(spread), shown(found["coverage"][0]), shown(gap)])
    return table(["score", "draws", "mean volume", "sd", "mean coverage", "below the ellipsoid"], lines)


def speed(folder: Path) -> str:
    """Times."""
    lines = [
        [row["method"], row["setting"], row["measure"], shown(row["value"]), shown(row["spread"])]
        for row in read(folder, "speed")
    ]
    return table(["method", "setting", "measure", "value", "spread"], lines)


def sets(folder: Path) -> str:
    """Every score on every set that was run."""
    columns = {
        "coverage": 3, "worst-slab coverage": 3, "ERT (L1)": 3, "vol^(1/d)": 3, "mean volume": 3, "fit [s]": 2,
        "predict [s]": 2,
    }  # fmt: skip
    made = []
    for name in (*SYNTHETIC, *REAL):
        rows = read(folder, name)
        lines = [
            [method, *(shown(found.get(key, ("", None))[0], digits) for key, digits in columns.items())]
            for (method,), found in grouped(rows, "method").items()
            if not isinstance(found.get("coverage", ("",))[0], str)
        ]
        head = ["score", "coverage", "worst slab", "ERT", "vol^(1/d)", "mean volume", "fit [s]", "predict [s]"]
        if lines:
            made.append(f"### {name}\n\n{rows[0]['setting']}\n\n{table(head, lines)}")
    return "\n\n".join(made)


def bundle(folder: Path) -> str:
    """Regions of a shipped model in other realities: means over seeds, and the range of volumes over seeds."""
    found: dict[tuple[str, str], dict[tuple[str, str], list[float]]] = {}
    seeds = {name: sorted(folder.glob(f"conformal_bundle-{name}-[0-9]*.json")) for name in REALITIES}
    for name, paths in seeds.items():
        for row in (row for path in paths if "quick" not in path.stem for row in json.loads(path.read_text())):
            if row["task"] != "bundle":
                cells = found.setdefault((row["task"], row["method"]), {})
                cells.setdefault((name, row["measure"]), []).append(row["value"])
    lines = []
    for (task, method), cells in found.items():
        own = [_reality(cells, name) for name in REALITIES if seeds[name]]
        lines.append([task, method, *(cell for pair in own for cell in pair)])
    head = [f"{name}: {what}" for name in REALITIES if seeds[name] for what in ("coverage", "volume")]
    return table(["set", "region", *head], lines)


def _reality(cells: dict[tuple[str, str], list[float]], name: str) -> tuple[str, str]:
    """Coverage and volume of one kind of region in one reality."""
    own = {measure: values for (reality, measure), values in cells.items() if reality == name}
    if "coverage" not in own:
        return ", ".join(f"{measure.split()[-1]} {np.mean(values):.2f}" for measure, values in own.items()), ""
    volume = own["median volume, log units"]
    digits = 3 if np.mean(volume) > 0.1 else 4
    spread = f" ({min(volume):.{digits}f} to {max(volume):.{digits}f})" if len(volume) > 1 else ""
    return f"{np.mean(own['coverage']):.3f}", f"{np.mean(volume):.{digits}f}{spread}"


def _first(which: str) -> int:
    return int(which.split("-")[0])


def shown(value: Any, digits: int = 3) -> str:
    """A number with so many decimals; a word as it is, nothing for None."""
    return "" if value is None else f"{value:.{digits}f}" if isinstance(value, float) else str(value)


TABLES: dict[str, Callable[[Path], str]] = {
    "coverage": coverage,
    "patients": patients,
    "volumes": volumes,
    "speed": speed,
    "sets": sets,
    "bundle": bundle,
}


def filled(text: str, folder: Path) -> str:
    """A page with the tables that the rows in a folder give."""
    for name, make in TABLES.items():
        made = make(folder)
        if not made:
            print(f"{name}: no rows in {folder.name}; the table stays as it is", file=sys.stderr)
            continue
        pattern = re.compile(rf"(<!-- measured: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"the page must have the marks <!-- measured: {name} --> and <!-- end -->")
        text = pattern.sub(lambda marks, made=made: f"{marks[1]}\n{made}\n\n{marks[2]}", text)  # type: ignore[misc]
    return text


def main() -> None:
    """Fills the page and draws the figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conformal_report")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--figure", type=Path, default=FIGURE)
    options = parser.parse_args()
    options.page.write_text(filled(options.page.read_text(), options.folder))
    draw(options.folder, options.figure)


if __name__ == "__main__":
    main()
