r"""Recipes of equation transformers, and what makes a measured model of one."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ...simulators.odes.corruption import Corruption
from ...simulators.odes.shards import ShardConfig, make_shards, shard_paths
from ..checkpoint import Checkpoint
from .measure import Recall, measure
from .model import EquationTransformer, ModelConfig
from .training import SymbolicTraining, TrainingReport, train_symbolic
from .weights import save_symbolic_model

__all__ = ["SymbolicRecipe", "find_symbolic_recipe", "finish_symbolic", "produce_symbolic", "shipped_symbolic_recipes"]

_HOME = Path(__file__).parents[1] / "recipes" / "symbolic"


@dataclass(frozen=True)
class SymbolicRecipe:
    r"""Everything that makes an equation transformer from nothing.

    Arguments:
        name: Name of the model.
        title: One line on what it does.
        shards: Settings of the shards and `n`, how many; the first is held out.
        network: Settings of the network.
        train: Settings of the training; `corruption` is a table of its own.
        test: Systems of each kind on which the model is measured.

    Raises:
        TypeError: If a setting is unknown.
        ValueError: If a setting is out of range.

    Example:
        >>> SymbolicRecipe.from_toml('name = "mine"\n[shards]\nn = 2').n_shards
        2
    """

    name: str
    title: str = ""
    shards: Mapping[str, Any] = field(default_factory=dict)
    network: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    test: int = 40

    def __post_init__(self) -> None:
        if self.n_shards < 2:
            raise ValueError(f"shards.n must be at least 2, of which one is held out, got {self.n_shards}")
        _ = self.shard_config, self.model_config, self.training

    @property
    def n_shards(self) -> int:
        r"""Number of shards."""
        return int(self.shards.get("n", 16))

    @property
    def shard_config(self) -> ShardConfig:
        r"""What each shard holds."""
        return ShardConfig(**{k: v for k, v in self.shards.items() if k != "n"})

    @property
    def model_config(self) -> ModelConfig:
        r"""The size of the network."""
        return ModelConfig(**self.network)

    @property
    def training(self) -> SymbolicTraining:
        r"""How it is trained."""
        settings = dict(self.train)
        if "corruption" in settings:
            measured = dict(settings["corruption"])
            if "points" in measured:
                measured["points"] = tuple(measured["points"])
            settings["corruption"] = Corruption(**measured)
        return SymbolicTraining(**settings)

    @classmethod
    def from_toml(cls, text: str) -> SymbolicRecipe:
        r"""Reads a recipe.

        Arguments:
            text: TOML.
        """
        return cls(**tomllib.loads(text))


def shipped_symbolic_recipes() -> dict[str, Path]:
    r"""The recipes that the package ships, by name.

    Example:
        >>> sorted(shipped_symbolic_recipes())
        ['symbolic-ode', 'symbolic-scalar']
    """
    return {path.stem: path for path in sorted(_HOME.glob("*.toml"))}


def find_symbolic_recipe(name: str) -> SymbolicRecipe | None:
    r"""Finds a recipe by its shipped name, or by a file with a [shards] table.

    Arguments:
        name: Name or path.

    Returns:
        The recipe, None if there is none of this kind.

    Raises:
        TypeError: If a setting is unknown.
        ValueError: If a setting is out of range or the file is no TOML.

    Example:
        >>> find_symbolic_recipe("radial-abp") is None
        True
    """
    path = shipped_symbolic_recipes().get(name, Path(name))
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8")
    return SymbolicRecipe.from_toml(text) if "shards" in tomllib.loads(text) else None


def produce_symbolic(
    recipe: SymbolicRecipe,
    out: Path,
    work: Path,
    *,
    resume: bool = False,
    max_time: float = math.inf,
    should_stop: Callable[[], bool] = lambda: False,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[TrainingReport, dict[str, Recall]]:
    r"""Makes the shards that are missing, trains, measures and saves.

    Arguments:
        recipe: The recipe.
        out: Folder of the model.
        work: Folder of shards and checkpoint, kept for going on.
        resume: Whether to go on from the checkpoint.
        max_time: Most time of training in this call [s].
        should_stop: Asked after every step.
        tell: Takes a line on what is going on.

    Returns:
        What the training did, and recall on held-out systems; empty if it was stopped.

    Example:
        >>> produce_symbolic(find_symbolic_recipe("symbolic-scalar"), Path("m"), Path("w"))  # doctest: +SKIP
        (TrainingReport(...), {...})
    """
    shards = work / "shards"
    make_shards(shards, recipe.n_shards, recipe.shard_config, progress=lambda i: tell(f"shard {i} is made"))
    torch.manual_seed(recipe.training.seed)
    net = EquationTransformer(recipe.model_config)
    checkpoint = Checkpoint(work / "checkpoint")
    report = train_symbolic(
        net,
        shards,
        recipe.training,
        checkpoint=checkpoint,
        resume=resume and checkpoint.exists,
        max_time=max_time,
        should_stop=should_stop,
        progress=lambda row: tell(_line(row)),
    )
    if should_stop():
        return report, {}
    return report, finish_symbolic(recipe, net, report, shards, out)


def finish_symbolic(
    recipe: SymbolicRecipe, net: EquationTransformer, report: TrainingReport, shards: Path, out: Path
) -> dict[str, Recall]:
    r"""Measures a trained network on held-out systems and saves it with its card.

    Arguments:
        recipe: The recipe.
        net: The network.
        report: What the training did.
        shards: Folder of the shards, the first of which was held out.
        out: Folder of the model.

    Returns:
        Recall on held-out systems, by measurement.

    Example:
        >>> finish_symbolic(recipe, net, report, Path("shards"), Path("model"))  # doctest: +SKIP
        {'clean': Recall(...), 'sigma .05, half dropped': Recall(...)}
    """
    net.eval()
    recall = measure(net, shard_paths(shards)[0], n=recipe.test, seed=recipe.training.seed)
    info = {
        "name": recipe.name,
        "recipe": dataclasses.asdict(recipe),
        "steps": report.steps,
        "seconds": round(report.seconds, 1),
        "finished": report.finished,
        "history": [{k: round(v, 4) for k, v in row.items()} for row in report.history],
        "measured": {name: dataclasses.asdict(value) for name, value in recall.items()},
    }
    save_symbolic_model(net, out, info=info, card=_card(recipe, net, report, recall))
    return recall


def _line(row: Mapping[str, float]) -> str:
    line = f"step {row['step']:.0f}  {row['seconds']:.0f} s  loss {row['train']:.3f}  held out {row['loss']:.3f}"
    return f"{line}  structure {row['structure']:.3f}"


def _card(
    recipe: SymbolicRecipe, net: EquationTransformer, report: TrainingReport, recall: Mapping[str, Recall]
) -> str:
    weights = sum(p.numel() for p in net.parameters())
    seen = report.steps * recipe.training.batch_size
    systems = recipe.shard_config.size * (recipe.n_shards - 1)
    rows = "\n".join(
        f"| {name} | {r.n} | {100 * r.greedy:.0f} % | {100 * r.sampled:.0f} % | {r.seconds:.2f} |"
        for name, r in recall.items()
    )
    last = report.history[-1] if report.history else {"structure": math.nan, "constants": math.nan}
    return f"""# {recipe.name}

{recipe.title}.

{_USE}

## Training

- random systems in the shards: {systems}, none with the skeleton of an ODEBench system (`odebench_exclusions`)
- measured anew every time: noise up to 10 %, 32 to 512 points, up to half dropped, gaps, irregular times
- weights: {weights}, kept in half precision; constants {net.config.constants}
- systems seen: {seen} in {report.steps} steps and {report.seconds / 60:.0f} minutes of a shared CPU core
- schedule {"finished" if report.finished else "not finished: stopped early"}
- loss per token on held-out systems: structure {last["structure"]:.3f}, constants {last["constants"]:.3f} [nats]
- seeds: shards {recipe.shard_config.seed}, weights and batches {recipe.training.seed}
- made again by: `pulsebayes train --recipe {recipe.name} --out MODEL`

The time was short for a network of this kind (NSODE saw 63 million solutions, ODEFormer 50 million pairs): losses were
still falling, and more of it makes a better model.

## Measured on held-out random systems

Share of equations whose true skeleton is the most probable sequence, and is among {_SAMPLES} samples;
seconds of one CPU for a system.

| measured with | equations | greedy | among samples | seconds |
|---|---|---|---|---|
{rows}

{_curve(report)}
"""


def _curve(report: TrainingReport) -> str:
    """At most a dozen rows of the history, the last among them."""
    every = -(-len(report.history) // 12) or 1
    rows = "\n".join(
        f"| {row['step']:.0f} | {row['seconds'] / 60:.0f} | {row['structure']:.3f} | {row['constants']:.3f} "
        f"| {100 * row['right']:.0f} % |"
        for row in report.history[::-1][::every][::-1]
    )
    return f"""## Learning curve

Losses per token on held-out systems [nats], and the share of structural tokens guessed right from those before them.

| step | minutes | structure | constants | guessed right |
|---|---|---|---|---|
{rows}"""


_SAMPLES = 64
_USE = """**Research use only. Not a medical device.**

## Intended use

Proposes equations; what it proposes is refitted and selected by `pulsebayes recover`.
Its own constants are first guesses."""
