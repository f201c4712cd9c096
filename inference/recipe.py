r"""Recipes: everything that makes a shipped model from nothing, as a TOML file.

A recipe names the simulator and its configuration, how many rows of which seed, the sensor, the site and the input's
contract, the size of the network and the training budget, and a test set of another seed. ``pulsebayes train --recipe
NAME`` runs it; the bundle carries it. A model of several channels, of which any may be missing, has a table for each:

    [[channels]]
    site = "Digital:ppg"
    role = "PLETH"
    unit = "1"
    sensor = { motion = { share = 0.1 } }
    clock = { near_s = 0.15 }

In two fidelities, many rows of a fast simulator are followed by few of a better one, on which the model is measured:

    [finer.simulate]
    model = "network"
    n = 4096
    seed = 21

    [finer]
    adapter = 128  # learns alone; without it all weights learn on

    [finer.train]
    epochs = 8
    rate = 0.0003
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .outputs import INDEPENDENT

__all__ = ["ChannelRecipe", "Finer", "Recipe", "Simulate", "Test", "find_recipe", "shipped_recipes"]


@dataclass(frozen=True)
class Simulate:
    r"""What is simulated.

    Arguments:
        model: Registered name of the simulator.
        config: Its configuration.
        n: Number of rows.
        seed: Seed of the set.
        shard_size: Rows per shard.
        batch_size: Rows simulated at a time.

    Raises:
        ValueError: If a number is not positive.

    Example:
        >>> Simulate(n=100).model
        'linear-network'
    """

    model: str = "linear-network"
    config: Mapping[str, Any] = field(default_factory=dict)
    n: int = 100_000
    seed: int = 1
    shard_size: int = 4096
    batch_size: int = 256

    def __post_init__(self) -> None:
        for name in ("n", "shard_size", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"simulate.{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class Test:
    r"""Held-out simulations on which the model is measured.

    Arguments:
        n: Number of rows, of which the usable ones count.
        seed: Seed of the set, not that of the training set.
        draws: Posterior draws a window.

    Raises:
        ValueError: If there are fewer than 100 rows.

    Example:
        >>> Test().draws
        1000
    """

    n: int = 2200
    seed: int = 2
    draws: int = 1000

    def __post_init__(self) -> None:
        if self.n < 100 or self.draws < 10:
            raise ValueError(f"test needs n of at least 100 and 10 draws, got {self.n} and {self.draws}")


@dataclass(frozen=True)
class Finer:
    r"""A second training, on few rows of a better simulator, from the weights of the first one.

    Arguments:
        simulate: What is simulated; held-out simulations are then of this simulator too.
        train: Settings of this training.
        adapter: Hidden width of an adapter that learns alone, embedding and flow being left as they are; 0 lets all
            weights learn on.

    Raises:
        ValueError: If the adapter's training has epochs in which other parts learn.

    Example:
        >>> Finer(Simulate("network", n=4096, seed=21)).simulate.model
        'network'
    """

    simulate: Simulate = field(default_factory=Simulate)
    train: Mapping[str, Any] = field(default_factory=dict)
    adapter: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.simulate, Mapping):
            object.__setattr__(self, "simulate", Simulate(**self.simulate))
        if self.adapter < 0:
            raise ValueError(f"finer.adapter must not be negative, got {self.adapter}")
        others = [name for name in ("joined", "settle", "whole") if self.train.get(name)]
        if self.adapter and others:
            raise ValueError(f"finer.train.{others[0]} must be 0 where an adapter learns alone")


@dataclass(frozen=True)
class ChannelRecipe:
    r"""One of several channels.

    Arguments:
        site: Site whose waveform it carries.
        role: Role of the channel.
        unit: Its unit; "1" for none, which is then scaled by itself.
        name: Its name, where roles do not tell channels apart; empty for the role.
        sensor: Configuration of its sensor model; empty for that of its role.
        clock: Prior of its clock's offset from the first channel's, as
            [`ClockOffset`][pulsebayes.simulators.channels.ClockOffset] takes it.
        uninformative: Share of the prior's interval above which an answer from channels like it is uninformative; 0
            for the recipe's.
        centre: Value that the network takes for zero, in the channel's unit.
        spread: Difference that it takes for one.

    Example:
        >>> ChannelRecipe("Radial").name
        'ART'
    """

    site: str
    role: str = "ART"
    unit: str = "mmHg"
    name: str = ""
    sensor: Mapping[str, Any] = field(default_factory=dict)
    clock: Mapping[str, float] = field(default_factory=dict)
    uninformative: float = 0.0
    centre: float = 90.0
    spread: float = 25.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.role)


@dataclass(frozen=True)
class Recipe:
    r"""Everything that makes a model.

    Arguments:
        name: Name of the model.
        title: One line on what it does.
        simulate: What is simulated.
        test: Held-out simulations.
        site: Site whose waveform the model reads.
        role: Role of the channel.
        unit: Its unit.
        fs: Sampling rate [Hz].
        samples: Samples of a window.
        sensor: Configuration of the sensor model; empty for a radial arterial line.
        outputs: Names of the estimated outputs.
        preset: Size of the network.
        network: Settings of the network that differ from the preset.
        train: Settings of the training.
        half: Whether weights are kept in half precision.
        uninformative: Share of the prior's interval above which an answer is called uninformative.
        channels: Several channels of which any may be missing; they take the place of ``site``, ``role``, ``unit`` and
            ``sensor``, which are then the first channel's.
        given: Weights with which one, two, ... of several channels are given in training; empty for as many as there
            are down to 1.
        drawn: Weights with which one, two, ... channels are simulated for a window of training, of which ``train.sets``
            sets are drawn by ``given`` and learned from; empty for ``given`` itself.
        start: Model of the first channel alone whose weights the training starts from; empty for fresh ones.
        finer: A second training on a better simulator; None for one training.

    Raises:
        ValueError: If training and test set share a seed, the share is not positive, there is a single channel, or the
            embedding cannot have the adapter that is asked for.

    Example:
        >>> Recipe.from_toml('name = "mine"\n[simulate]\nn = 1000').simulate.n
        1000
    """

    name: str
    title: str = ""
    simulate: Simulate = field(default_factory=Simulate)
    test: Test = field(default_factory=Test)
    site: str = "radial"
    role: str = "ART"
    unit: str = "mmHg"
    fs: float = 125.0
    samples: int = 1000
    sensor: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[str, ...] = INDEPENDENT
    preset: str = "base"
    network: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    half: bool = True
    uninformative: float = 0.8
    channels: tuple[ChannelRecipe, ...] = ()
    given: tuple[float, ...] = ()
    drawn: tuple[float, ...] = ()
    start: str = ""
    finer: Finer | None = None

    def __post_init__(self) -> None:
        self._take_channels()
        if not self.uninformative > 0:
            raise ValueError(f"uninformative must be a positive share, got {self.uninformative}")
        object.__setattr__(self, "outputs", tuple(self.outputs))
        for name, spec in (("simulate", self.simulate), ("finer.simulate", self.finer and self.finer.simulate)):
            if spec and spec.seed == self.test.seed:
                raise ValueError(f"{name}.seed and test.seed must differ, got {self.test.seed} for both")

        self._check_adapter()

    def _check_adapter(self) -> None:
        embedding = self.network.get("embedding", {})
        if embedding.get("adapter"):
            raise ValueError("network.embedding.adapter is what `adapter` under [finer] makes: leave it out")
        if self.finer and self.finer.adapter and (embedding.get("kind") == "harmonic" or embedding.get("linear")):
            raise ValueError("finer.adapter is for embeddings of other kinds than 'harmonic', and not linear ones")

    def _take_channels(self) -> None:
        channels = tuple(c if isinstance(c, ChannelRecipe) else ChannelRecipe(**c) for c in self.channels)
        object.__setattr__(self, "channels", channels)
        object.__setattr__(self, "given", tuple(self.given))
        object.__setattr__(self, "drawn", tuple(self.drawn))
        if not channels and self.start:
            raise ValueError(f"start is for recipes of several channels, got {self.start!r}")
        if not channels:
            return
        if len(channels) < 2:
            raise ValueError("channels must be two or more, got one: say site, role, unit and sensor instead")
        for name in ("site", "role", "unit", "sensor"):
            object.__setattr__(self, name, getattr(channels[0], name))

    @property
    def finest(self) -> Simulate:
        """What held-out simulations are made by: the better simulator where there are two."""
        return self.finer.simulate if self.finer else self.simulate

    @classmethod
    def from_toml(cls, text: str) -> Recipe:
        r"""Reads a recipe.

        Arguments:
            text: TOML.

        Raises:
            TypeError: If a key is unknown.
            ValueError: If the text is not TOML or a value is out of range.
        """
        return cls.from_json(tomllib.loads(text))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Recipe:
        r"""Reads what `to_json` wrote.

        Arguments:
            data: The recipe as a dictionary.

        Raises:
            TypeError: If a key is unknown.
            ValueError: If a value is out of range.
        """
        fields = dict(data)
        for name, kind in (("simulate", Simulate), ("test", Test), ("finer", Finer)):
            if name in fields:
                fields[name] = kind(**fields[name])
        return cls(**fields)

    def to_json(self) -> dict[str, Any]:
        r"""Returns the recipe as a JSON-able dictionary; channels and a finer training stand in it where there are."""
        absent: tuple[str, ...] = () if self.channels else ("channels", "given", "start")
        absent += () if self.finer else ("finer",)
        absent += () if self.drawn else ("drawn",)
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in absent}


def shipped_recipes() -> dict[str, Path]:
    r"""Returns the recipes that the package ships, by name.

    Example:
        >>> "radial-abp" in shipped_recipes()
        True
    """
    home = Path(__file__).parent / "recipes"
    return {path.stem: path for path in sorted(home.glob("*.toml"))}


def find_recipe(name: str) -> Recipe:
    r"""Finds a recipe by the name of a shipped one or by its file.

    Arguments:
        name: Name or path of a TOML file.

    Raises:
        ValueError: If there is neither, or the file is not a recipe.

    Example:
        >>> find_recipe("radial-abp").simulate.model
        'linear-network'
    """
    path = shipped_recipes().get(name, Path(name))
    if not path.is_file():
        raise ValueError(f"recipe must be one of {sorted(shipped_recipes())} or a TOML file, got {name!r}")
    return Recipe.from_toml(path.read_text(encoding="utf-8"))
