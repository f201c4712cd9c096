r"""Table of the C2ST that `benchmarks.sbibm` kept: `python -m benchmarks.sbibm_report DIR`.

Every method's mean over the ten observations with its standard error, the mean difference of ours to sbi's default
with the standard error of the paired differences, and the processor seconds of training. Nothing is computed anew.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from .sbibm import EACH, METHODS
from .sbibm_tasks import TASKS

OURS, RIVAL = "pulsebayes", "sbi maf"
Found = dict[tuple[str, str, str], tuple[np.ndarray, float]]


def kept(folder: Path) -> Found:
    """C2ST of each observation and processor seconds, by task, setting and method."""
    rows: list[dict[str, Any]] = []
    for file in sorted(folder.glob("sbibm-*.json")):
        if not file.stem.endswith("-quick"):
            rows += json.loads(file.read_text())
    values = {(row["task"], row["setting"], row["method"], row["measure"]): row["value"] for row in rows}
    return {
        key[:3]: (np.array(value.split(), dtype=float), float(values[(*key[:3], "training [CPU s]")]))
        for key, value in values.items()
        if key[3] == EACH
    }


def lines(found: Found) -> list[str]:
    """The table, a line for each task and number of simulations that ours was run on."""
    methods = [m for m in METHODS if any(key[2] == m for key in found)]
    head = ["task", "simulations", *methods, f"{OURS} less {RIVAL}", f"training [CPU s]: {', '.join(methods)}"]
    table = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    settings = sorted({key[1] for key in found}, key=lambda setting: int(setting.split()[0]))
    for setting in settings:
        for task in TASKS:
            own = {m: found[task, setting, m] for m in methods if (task, setting, m) in found}
            if OURS in own:
                table.append(_line(task, setting, methods, own))
    return table


def _line(task: str, setting: str, methods: list[str], own: dict[str, tuple[np.ndarray, float]]) -> str:
    cells = [f"`{task}`", f"{int(setting.split()[0]):,}"]
    cells += [_shown(own[m][0]) if m in own else "" for m in methods]
    cells.append(_shown(own[OURS][0] - own[RIVAL][0], sign="+") if RIVAL in own else "")
    cells.append(", ".join(f"{own[m][1]:.0f}" if m in own else "-" for m in methods))
    return f"| {' | '.join(cells)} |"


def _shown(values: np.ndarray, sign: str = "") -> str:
    """Mean and its standard error, three decimals."""
    return f"{values.mean():{sign}.3f} ({values.std(ddof=1) / np.sqrt(len(values)):.3f})"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sbibm_report")
    parser.add_argument("folder", type=Path, help="what `benchmarks.sbibm --out` wrote")
    found = kept(parser.parse_args().folder)
    print("\n".join(lines(found)))
    both = [
        (ours, found[task, n, RIVAL]) for (task, n, m), ours in found.items() if m == OURS and (task, n, RIVAL) in found
    ]
    won = sum(bool(a[0].mean() <= b[0].mean()) for a, b in both)
    print(f"\n{OURS} no worse than {RIVAL} on {won} of {len(both)}")


if __name__ == "__main__":
    main()
