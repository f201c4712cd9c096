r"""Which cells an atlas has, measured one after the other and kept on disk, so that a run goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .cells import Cell, CellKey, measure_cell
from .study import People, Study

__all__ = ["AtlasConfig", "Measured", "plan_cells", "run_cells"]

MOST_PAIRS = 14
"""Channels up to which all pairs are measured."""


@dataclass(frozen=True)
class AtlasConfig:
    r"""How an atlas is made.

    Arguments:
        n: Individuals.
        draws: Posterior draws an individual.
        many: Individuals of each channel alone and of all together at the noise of training, for calibration and
            regimes; 0 for ``n``.
        noise: Factors on the noise at which each channel alone and all together are measured, beside that of training.
        sets: `all` for single channels, pairs and everything; `singles` without the pairs.
        given: Further sets of channels; what to add to each of them is measured too.
        seed: Seed of individuals, sensors and draws.

    Raises:
        ValueError: If a number is out of range, or a factor is given twice.

    Example:
        >>> AtlasConfig(n=200).noise
        (0.25, 1.0, 4.0)
    """

    n: int = 600
    draws: int = 400
    many: int = 0
    noise: tuple[float, ...] = (0.25, 1.0, 4.0)
    sets: Literal["all", "singles"] = "all"
    given: tuple[tuple[str, ...], ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise", tuple(float(f) for f in self.noise))
        object.__setattr__(self, "given", tuple(tuple(names) for names in self.given))
        if self.n < 100 or self.draws < 50:
            raise ValueError(f"an atlas needs n of at least 100 and 50 draws, got {self.n} and {self.draws}")
        if self.many and self.many < self.n:
            raise ValueError(f"many must be 0 or at least n, {self.n}, got {self.many}")
        if self.sets not in ("all", "singles"):
            raise ValueError(f"sets must be 'all' or 'singles', got {self.sets!r}")
        if any(not f > 0 for f in self.noise) or len(set(self.noise)) < len(self.noise):
            raise ValueError(f"noise must be positive factors, each once, got {list(self.noise)}")


@dataclass(frozen=True)
class Measured:
    r"""Individuals and all cells.

    Arguments:
        study: The model.
        config: How it was made.
        people: The individuals; cells of fewer are of the first.
        cells: The cells by key.

    Example:
        >>> Measured(study, AtlasConfig(), people, cells).cells  # doctest: +SKIP
    """

    study: Study
    config: AtlasConfig
    people: People
    cells: dict[CellKey, Cell]

    def singles(self) -> list[Cell]:
        r"""Cells of one channel at the noise of training."""
        return [self.cells[CellKey((name,))] for name in self.study.channels]


def plan_cells(channels: Sequence[str], config: AtlasConfig) -> list[CellKey]:
    r"""Lists the cells of an atlas.

    Arguments:
        channels: Names of the model's channels.
        config: How the atlas is made.

    Returns:
        The cells, single channels first.

    Raises:
        ValueError: If a set names an unknown channel.

    Example:
        >>> [key.label for key in plan_cells(["a", "b"], AtlasConfig(noise=(4,)))]
        ['a', 'b', 'a+b', 'a noise 4', 'b noise 4', 'a+b noise 4']
    """
    channels = tuple(channels)
    sets: list[tuple[str, ...]] = [(name,) for name in channels]
    full = [*sets, channels]
    if config.sets == "all" and len(channels) <= MOST_PAIRS:
        sets += list(combinations(channels, 2))
    sets.append(channels)
    for names in config.given:
        unknown = [name for name in names if name not in channels]
        if unknown or not names:
            raise ValueError(f"channels must be among {', '.join(channels)}, got {', '.join(unknown) or 'none'}")
        chosen = [set(names), *({*names, other} for other in channels)]
        sets += [tuple(name for name in channels if name in one) for one in chosen]
    keys = [CellKey(names) for names in dict.fromkeys(sets)]
    return keys + [CellKey(names, factor) for factor in config.noise for names in dict.fromkeys(full)]


def run_cells(
    study: Study,
    config: AtlasConfig,
    folder: Path | None = None,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> Measured:
    r"""Measures all cells, or those that a folder does not hold yet.

    Arguments:
        study: The model.
        config: How the atlas is made.
        folder: Where individuals and cells are kept, a file each; None keeps nothing.
        progress: Called with what is being done.

    Returns:
        Everything that was measured.

    Raises:
        ValueError: If a factor is beyond the model's sensors, a channel is unknown, or the folder holds another atlas.

    Example:
        >>> run_cells(study, AtlasConfig(n=100), Path("atlas")).people.n  # doctest: +SKIP
        100
    """
    beyond = [factor for factor in config.noise if not 1 / study.reach <= factor <= study.reach]
    if beyond:
        raise ValueError(
            f"noise must be factors between {1 / study.reach:.3g} and {study.reach:.3g}, what the sensors of "
            f"{study.name} were trained with, got {beyond[0]:g}"
        )
    keys = plan_cells(study.channels, config)
    if folder is not None:
        _claim(folder, study, config)
    people = _people(study, config, folder, progress)
    few = people.first(config.n)
    cells: dict[CellKey, Cell] = {}
    windows: dict[float, np.ndarray] = {}
    for i, key in enumerate(keys):
        progress(f"cell {i + 1} of {len(keys)}: {key.label}")
        kept = folder / f"{_slug(key)}.npz" if folder is not None else None
        if kept is not None and kept.is_file():
            with np.load(kept) as arrays:
                cells[key] = Cell.of(key, tuple(study.units), arrays)
            continue
        if key.noise not in windows:  # one level in memory at a time
            windows = {key.noise: study.observe(people if not key.noise else few, key.noise, config.seed)}
        who = people if len(key.given) in (1, len(study.channels)) and not key.noise else few
        x = windows[key.noise][: who.n]
        cells[key] = measure_cell(study, who, x, key, n_draws=config.draws, seed=config.seed)
        if kept is not None:
            _write(kept, cells[key].arrays())
    return Measured(study, config, people, cells)


def _claim(folder: Path, study: Study, config: AtlasConfig) -> None:
    """The folder is this atlas's, or empty."""
    own: dict[str, Any] = {"model": study.name, "fingerprint": study.fingerprint, "config": asdict(config)}
    for key in ("noise", "given", "sets"):
        own["config"].pop(key)  # cells by themselves: more of them can be added
    stamp = folder / "individuals.json"
    folder.mkdir(parents=True, exist_ok=True)
    if stamp.is_file():
        if json.loads(stamp.read_text(encoding="utf-8")) != own:
            raise ValueError(
                f"{folder.name} holds cells of another model, number of individuals or draws, or seed: name another "
                "folder, or start anew with --force"
            )
        return
    stamp.write_text(json.dumps(own, indent=1) + "\n", encoding="utf-8")


def _people(study: Study, config: AtlasConfig, folder: Path | None, progress: Callable[[str], None]) -> People:
    kept = folder / "individuals.npz" if folder is not None else None
    if kept is not None and kept.is_file():
        with np.load(kept) as arrays:
            columns = {str(name): arrays["columns"][:, d] for d, name in enumerate(arrays["names"])}
            return People(columns, arrays["theta"], arrays["waves"])
    n = max(config.n, config.many)
    progress(f"simulating {n} individuals")
    people = study.people(n, config.seed)
    if kept is not None:
        names, columns_of = list(people.columns), np.stack(list(people.columns.values()), -1)
        arrays = {"names": np.array(names), "columns": columns_of, "theta": people.theta, "waves": people.waves}
        _write(kept, arrays)
    return people


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Whole or absent: written under another name and renamed."""
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, **arrays)  # type: ignore[arg-type]
    partial.replace(path)


def _slug(key: CellKey) -> str:
    name = "".join(c if c.isalnum() or c in "-_+" else "_" for c in key.set_name)
    if len(name) > 80:
        import hashlib

        name = f"{len(key.given)}-channels-{hashlib.sha256(key.set_name.encode()).hexdigest()[:12]}"
    return f"cell-{name}-{key.noise:g}"
