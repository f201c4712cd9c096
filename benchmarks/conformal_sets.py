r"""Sets for the conformal benchmark: synthetic ones, and multi-target regression sets from the data folder."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
CENTRES = np.array([[-4.5, 0.0], [4.5, 0.0], [0.0, 0.0]])
SHAPES = np.linalg.cholesky(np.array([[[6.0, -4], [-4, 6]], [[6.0, 4], [4, 6]], [[2.0, 0], [0, 2]]]))
MOST = 3000
"""Rows used of a set."""


@dataclass(frozen=True)
class Table:
    """Features and targets of a set."""

    name: str
    x: np.ndarray
    y: np.ndarray


def three_gaussians(rng: np.random.Generator, n: int) -> np.ndarray:
    """Scores of Thurin et al. (2025): equal thirds of three Gaussians, covariances over ten."""
    k = rng.integers(3, size=n)
    return (CENTRES[k] + np.einsum("nij,nj->ni", SHAPES[k], rng.normal(size=(n, 2)))) / 10


def heteroscedastic(rng: np.random.Generator, n: int) -> Table:
    """Three-Gaussian noise whose scale and angle follow one feature."""
    x = rng.random((n, 1))
    angle = 1.5 * x[:, 0]
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1).reshape(n, 2, 2)
    noise = np.einsum("nij,nj->ni", turn, three_gaussians(rng, n))
    mean = np.stack([np.sin(6 * x[:, 0]), x[:, 0] ** 2], axis=1)
    return Table("heteroscedastic", x, mean + (0.15 + 1.5 * x**2) * noise)


def banana(rng: np.random.Generator, n: int) -> Table:
    """A banana whose bend and width follow two features."""
    x = rng.uniform(-1, 1, size=(n, 2))
    u = rng.uniform(-1.5, 1.5, size=n)
    bend = (1 + x[:, 0]) * u**2 + 0.15 * (1.2 + x[:, 1]) * rng.normal(size=n)
    return Table("banana", x, np.stack([u + x[:, 1], bend], axis=1))


SYNTHETIC: dict[str, Callable[[np.random.Generator, int], Table]] = {
    "heteroscedastic": heteroscedastic,
    "banana": banana,
}
REAL = ("house", "energy", "households", "ansur2", "jura", "air", "atp1d", "wq")


def folder() -> Path | None:
    """Folder of the multi-target sets, or None."""
    found = Path(os.environ.get("PULSEBAYES_DATA") or ROOT.parent / "shared" / "data") / "multitarget"
    return found if found.is_dir() else None


def real(name: str, home: Path, rng: np.random.Generator) -> Table:
    """A set from the folder, at most MOST rows; which columns are targets stands here."""
    targets: dict[str, tuple[str, ...] | int] = {
        "house": ("price", "lat"),
        "energy": ("Y1", "Y2"),
        "households": ("food", "house", "transport", "utili"),
        "ansur2": ("footlength", "tibialheight"),
        "air": ("max_PM2.5", "max_NO2", "max_O3", "max_PM10", "max_CO", "max_SO2"),
        "jura": 3,
        "atp1d": 6,
        "wq": 14,
    }
    left_out = {"house": {"id", "date", "zipcode"}, "households": {"", "newid", "health", "enter"}}
    wanted = targets[name]
    if isinstance(wanted, int):
        values = _arff(home / f"{name}.arff")
        x, y = values[:, :-wanted], values[:, -wanted:]
    else:
        columns = _columns(home / f"{name}.csv")
        y = np.stack([columns[t] for t in wanted], axis=1)
        drop = {*wanted, *left_out.get(name, set())}
        x = np.stack([v for c, v in columns.items() if c not in drop], axis=1)
    rows = np.flatnonzero(np.isfinite(x).all(1) & np.isfinite(y).all(1))
    rows = rng.permutation(rows)[:MOST]
    x = x[rows][:, x[rows].std(0) > 0]
    return Table(name, x, y[rows])


def _columns(path: Path) -> dict[str, np.ndarray]:
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return {name: np.array([_number(row[name]) for row in rows]) for name in rows[0]}


def _arff(path: Path) -> np.ndarray:
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().lower().startswith("@data"))
    width = sum(line.strip().lower().startswith("@attribute") for line in lines[:start])
    table = []
    for line in lines[start + 1 :]:
        text = line.strip()
        if not text or text.startswith("%"):
            continue
        if text.startswith("{"):
            row = [0.0] * width
            for pair in text.strip("{} ").split(","):
                place, value = pair.split()
                row[int(place)] = _number(value)
        else:
            row = [_number(cell) for cell in text.split(",")]
        table.append(row)
    return np.array(table)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
