r"""Data sets to be given away: a recipe that makes one from nothing, its data card, its sums and their check.

``pulsebayes simulate --recipe clinical-v1 --out SET.zarr`` makes the set; beside its arrays then stand ``card.md`` and
``SHA256SUMS``, which ``pulsebayes simulate --verify SET.zarr`` and ``sha256sum -c`` both read.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ._shards import ARRAYS, mark_name, read_marks
from .parameters import Parameter
from .status import ADVICE, STATUS, count_status, usable_names
from .training_set import TrainingSet

__all__ = ["DataRecipe", "Verification", "find_data_recipe", "publish", "render_data_card", "verify"]

SUMS, CARD = "SHA256SUMS", "card.md"
_LICENCES = {"CC BY 4.0": "https://creativecommons.org/licenses/by/4.0/"}


@dataclass(frozen=True)
class DataRecipe:
    r"""Everything that makes a public data set.

    Arguments:
        name: Name of the set, its version in it.
        title: One line on what it holds.
        licence: Licence of the data.
        model: Registered name of the simulator.
        config: Its configuration.
        n: Number of rows.
        seed: Seed of the set.
        shard_size: Rows per shard.
        batch_size: Rows simulated at a time.
        population: Who is simulated, in prose.
        physics: What is simulated, in prose.
        sensor: What stands between the artery and the waves, in prose.

    Example:
        >>> find_data_recipe("clinical-v1").licence
        'CC BY 4.0'
    """

    name: str
    title: str
    licence: str
    model: str
    config: Mapping[str, Any]
    n: int
    seed: int
    shard_size: int
    batch_size: int
    population: str
    physics: str
    sensor: str


class Verification(NamedTuple):
    r"""What a set was found to be.

    Arguments:
        shards: Shards that are whole.
        of: Shards that the set should have.
        damaged: Files that are missing or differ from their sum, by their place in the set.

    Example:
        >>> Verification(3, 4, ("waves/c/3/0/0",)).is_whole
        False
    """

    shards: int
    of: int
    damaged: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        r"""Whether every shard and every file with a sum is as it was written."""
        return self.shards == self.of and not self.damaged


def find_data_recipe(name: str) -> DataRecipe:
    r"""Finds a recipe by the name of a shipped one or by its TOML file.

    Arguments:
        name: Name or path.

    Raises:
        ValueError: If there is neither, or the file is not such a recipe.

    Example:
        >>> find_data_recipe("clinical-v1").n
        131072
    """
    home = Path(__file__).parent / "recipes"
    shipped = {path.stem: path for path in sorted(home.glob("*.toml"))}
    path = shipped.get(name, Path(name))
    if not path.is_file():
        raise ValueError(f"recipe must be one of {sorted(shipped)} or a TOML file, got {name!r}")
    try:
        return DataRecipe(**tomllib.loads(path.read_text(encoding="utf-8")))
    except (TypeError, tomllib.TOMLDecodeError) as error:
        reason = str(error).replace("DataRecipe.__init__() ", "")
        raise ValueError(f"{path.name} must be the recipe of a data set: {reason}") from error


def publish(path: str | os.PathLike[str], recipe: DataRecipe) -> TrainingSet:
    r"""Writes the card and the sums of a finished set beside its arrays.

    Arguments:
        path: The set.
        recipe: What made it.

    Returns:
        The set.

    Raises:
        ValueError: If the set is not finished.

    Example:
        >>> publish("clinical-v1.zarr", find_data_recipe("clinical-v1")).n  # doctest: +SKIP
        131072
    """
    found = TrainingSet.open(path)
    (found.path / CARD).write_text(render_data_card(found, recipe), encoding="utf-8")
    metadata = sorted(file for file in found.path.rglob("zarr.json"))
    marks = [found.path / mark_name(shard) for shard in range(found.layout.n_shards)]
    shards = sorted(file for name in ARRAYS for file in (found.path / name / "c").rglob("*") if file.is_file())
    files = [found.path / CARD, *metadata, *marks, *shards]
    lines = [f"{_sum(file)}  {file.relative_to(found.path).as_posix()}\n" for file in files]
    (found.path / SUMS).write_text("".join(lines), encoding="utf-8")
    return found


def verify(path: str | os.PathLike[str]) -> Verification:
    r"""Compares every file of a set with its sum: those of the shards' marks, and of ``SHA256SUMS`` where it stands.

    Arguments:
        path: The set, finished or not.

    Raises:
        ValueError: If there is no training set.

    Example:
        >>> verify("clinical-v1.zarr").is_whole  # doctest: +SKIP
        True
    """
    folder = Path(path)
    if not TrainingSet.stands_at(folder):
        raise ValueError(f"{folder.name} must be a training set as `pulsebayes simulate` writes it, found none there")
    layout = TrainingSet(folder, TrainingSet.read_attributes(folder)).layout
    listed = (folder / SUMS).read_text(encoding="utf-8").splitlines() if (folder / SUMS).is_file() else []
    damaged = []
    for line in listed:
        expected, _, name = line.partition("  ")
        if not (folder / name).is_file() or _sum(folder / name) != expected:
            damaged.append(name)
    whole = read_marks(folder, layout, verify=True)
    damaged += [
        mark_name(shard) for shard in range(layout.n_shards) if shard not in whole and mark_name(shard) not in damaged
    ]
    return Verification(len(whole), layout.n_shards, tuple(damaged))


def render_data_card(training_set: TrainingSet, recipe: DataRecipe) -> str:
    r"""Writes the card of a data set as Markdown.

    Arguments:
        training_set: The set.
        recipe: What made it.

    Example:
        >>> print(render_data_card(training_set, recipe).splitlines()[0])  # doctest: +SKIP
        # clinical-v1
    """
    found, attributes = training_set, training_set.attributes
    software = ", ".join(f"{name} {number}" for name, number in dict(attributes["software"]).items())  # type: ignore[call-overload]
    units = dict(zip(found.quantity_names, attributes["quantity_units"], strict=True))  # type: ignore[call-overload]
    shape = found.waves.shape
    parts = [
        f"# {recipe.name}\n\n{recipe.title}.\n\n**Simulated. No patient's data were used. Research use only.**",
        f"## What it holds\n\n{found.n:,} subjects, each an independent draw; a Zarr v3 group.\n\n"
        f"- `theta` ({found.n}, {found.space.dim}): the parameters below\n"
        f"- `waves` {tuple(shape)}: {', '.join(found.sites)}; pressure [mmHg] unless named otherwise, "
        f"{shape[2]} samples at {attributes['fs']:g} Hz\n"
        f"- `quantities` ({found.n}, {len(units)}): {', '.join(f'{n} [{u}]' for n, u in units.items())}\n"
        f"- `status` ({found.n},): what became of the row",
        f"## Population\n\n{recipe.population.strip()}\n\n{_parameters(found.space.parameters)}",
        f"## Physics\n\n{recipe.physics.strip()}\n\nSimulator `{attributes['simulator']}`, version "
        f"{attributes['version']}, configuration `{json.dumps(attributes['config'])}`.",
        f"## Sensor\n\n{recipe.sensor.strip()}",
        f"## Failures\n\nRows that failed stay in the set, with their status.\n\n{_failures(found)}",
        f"## Made again\n\n`pulsebayes simulate --recipe {recipe.name} -n {found.n} --out SET.zarr` (seed "
        f"{attributes['seed']}) gives the same bytes with the same software on a processor with the same instructions: "
        f"{software}. Fingerprint `{found.fingerprint}`. The mark of every shard in `done/` holds the "
        f"sums of its files; all files are in `{SUMS}`: `pulsebayes simulate --verify SET.zarr`.",
        f"## Licence\n\n[{recipe.licence}]({_LICENCES.get(recipe.licence, '')}), the pulsebayes authors. The arteries "
        "are those of the Pulse Wave Database (Charlton et al. 2019, King's College London, MIT licence).",
    ]
    return "\n\n".join(parts) + "\n"


def _parameters(parameters: tuple[Parameter, ...]) -> str:
    lines = ["| parameter | unit | from | to | prior | what |", "|---|---|---|---|---|---|"]
    for one in parameters:
        shape = ", ".join(f"{key} {value:g}" for key, value in asdict(one.prior).items())
        prior = type(one.prior).__name__ + (f" ({shape})" if shape else "")
        lines.append(f"| {one.name} | {one.unit} | {one.low:g} | {one.high:g} | {prior} | {one.description} |")
    return "\n".join(lines)


def _failures(found: TrainingSet) -> str:
    counts = count_status(found.status)
    lines = ["| status | rows | use | |", "|---|---|---|---|"]
    for code, name in STATUS.items():
        use = "trained on" if name in usable_names() else "left out"
        lines.append(f"| {name} | {counts.get(name, 0)} | {use} | {'' if name == 'ok' else ADVICE[code]} |")
    return "\n".join(lines)


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
