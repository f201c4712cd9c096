r"""From training sets to a measured bundle: train, round, measure on held-out simulations, write the card."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from ..inference.bundle import Bundle, find_bundle
from ..inference.card import render_card
from ..inference.channel_domain import fit_channel_domains
from ..inference.checkpoint import Checkpoint
from ..inference.contract import ChannelContract, InputContract
from ..inference.domain import fit_domain
from ..inference.embedding import ChannelScale
from ..inference.npe import NPE, PRESETS, NPEConfig
from ..inference.outputs import OutputSpace
from ..inference.ranks import Ranks
from ..inference.recipe import Recipe
from ..inference.streaming import ChannelSource, PartSource, SetSource, Source
from ..inference.training import Progress, TrainConfig, TrainData, TrainResult, train
from ..simulators.channels import ChannelSensor, ClockOffset, SensedChannel
from ..simulators.dataset import TrainingSet
from ..simulators.photoplethysmograph import PPGSensor, sensor_from_json
from ..simulators.sensors import SensorModel
from .channel_measures import measure_given
from .evaluate import measure
from .refusals import refusals_of
from .tempo import ROWS, add_tempo
from .two_fidelities import describe_training, train_finer

__all__ = [
    "Held",
    "contract_of",
    "held_out_waves",
    "held_out_windows",
    "network_of",
    "produce",
    "read_rows",
    "refused_of",
    "remeasure",
    "sensor_of",
    "with_domain",
    "with_tempo",
]

_ALONE = Ranks()
DOMAIN_ROWS = 16_000
"""Most training rows that the domain model is fitted on."""
LEAST_DOMAIN_ROWS = 2000
"""Training rows below which a bundle gets no domain model: too few references to refuse anybody by."""
REFUSAL_ROWS = 2000
"""Most held-out rows on which refusals are counted."""
LEAST_REFUSAL_ROWS = 600
"""Rows on which refusals of a model of many channels are counted at least."""
LEAST_HELD_OUT = 100
"""Fewest held-out rows that a bundle is measured on."""

START_ROWS = 4096
"""Rows on which are scaled summaries of channels that the model a recipe starts from does not know, and adapters."""

PRIOR_DRAWS = 4000
"""Simulated rows that a bundle keeps as draws of its prior."""


@dataclass(frozen=True)
class Held:
    r"""Rows set aside from a set.

    Arguments:
        training_set: The set.
        start: First row.
        stop: Row after the last.

    Example:
        >>> held = Held(training_set, 0, 1000)  # doctest: +SKIP
    """

    training_set: TrainingSet
    start: int
    stop: int


def sensor_of(recipe: Recipe) -> SensorModel | PPGSensor | ChannelSensor:
    r"""Returns the sensor model of a recipe: that of its role where it names none, or of each of its channels.

    Arguments:
        recipe: The recipe.

    Raises:
        ValueError: If a channel's role has no sensor of its own and the recipe names none.

    Example:
        >>> sensor_of(Recipe("mine")) == SensorModel.radial_line()
        True
    """
    if not recipe.channels:
        return _sensor(recipe.sensor, recipe.role)
    sensed = (SensedChannel(c.name, _sensor(c.sensor, c.role), ClockOffset(**c.clock)) for c in recipe.channels)
    return ChannelSensor(tuple(sensed), recipe.given)


def _sensor(given: Mapping[str, Any], role: str) -> SensorModel | PPGSensor:
    if given:
        return sensor_from_json(given)
    return PPGSensor.finger() if role == "PLETH" else SensorModel.radial_line()


def contract_of(recipe: Recipe) -> InputContract:
    r"""Returns what a recipe's model reads.

    Arguments:
        recipe: The recipe.

    Example:
        >>> contract_of(Recipe("mine")).reads
        'ART [mmHg]'
    """
    several = tuple(ChannelContract(c.role, c.unit, c.name, c.uninformative) for c in recipe.channels)
    return InputContract(recipe.role, recipe.unit, recipe.fs, recipe.samples, several)


def network_of(recipe: Recipe) -> NPEConfig:
    r"""Returns the shape of a recipe's network: its preset with what differs.

    Arguments:
        recipe: The recipe.

    Raises:
        ValueError: If the preset is unknown.
        TypeError: If a setting is unknown.

    Example:
        >>> network_of(Recipe("mine", network={"transforms": 3})).transforms
        3
    """
    if recipe.preset not in PRESETS:
        raise ValueError(f"preset must be one of {sorted(PRESETS)}, got {recipe.preset!r}")
    preset = PRESETS[recipe.preset]
    changes = dict(recipe.network)
    own: dict[str, Any] = {"relative": recipe.role == "PLETH"}
    if recipe.channels:
        scales = tuple(ChannelScale(c.name, c.unit == "1", c.centre, c.spread) for c in recipe.channels)
        own = {"kind": "channels", "channels": scales}
    given = {"samples": recipe.samples, "fs": recipe.fs, **own, **dict(changes.pop("embedding", {}))}
    embedding = dataclasses.replace(preset.embedding, **given)
    return dataclasses.replace(preset, embedding=embedding, **changes)


def read_rows(held: Held, recipe: Recipe) -> TrainData:
    r"""Reads rows of a set as training data, waveforms staying on disk.

    Arguments:
        held: The rows.
        recipe: Site, sensor and rate.

    Raises:
        ValueError: If the set has no such site or another rate.

    Example:
        >>> read_rows(Held(training_set, 0, 100), recipe).source.n  # doctest: +SKIP
        100
    """
    found = held.training_set
    sites = [channel.site for channel in recipe.channels] or [recipe.site]
    for site in sites:
        if site not in found.sites:
            raise ValueError(f"site must be one of {list(found.sites)}, got {site!r}: simulate it, or name another")
    fs = found.attributes.get("fs")
    if fs is not None and float(str(fs)) != recipe.fs:
        raise ValueError(f"the set must be sampled at {recipe.fs:g} Hz, got {fs} Hz: simulate at that rate")
    rows = slice(held.start, held.stop)
    columns = {name: found.theta[rows, d] for d, name in enumerate(found.space.names)}
    columns |= {name: found.quantities[rows, d] for d, name in enumerate(found.quantity_names)}
    places = tuple(found.sites.index(site) for site in sites)
    waves: Source = ChannelSource(found.waves, places) if recipe.channels else SetSource(found.waves, places[0])
    source = PartSource(waves, held.start, held.stop)
    return TrainData(source, columns, sensor_of(recipe), found.status[rows], recipe.fs)


def held_out_windows(
    held: Held, recipe: Recipe, outputs: OutputSpace, *, seed: int, width: float = 1.0
) -> tuple[Float[np.ndarray, "N *window"], Float[np.ndarray, "N D"]]:
    r"""Observes usable held-out rows.

    Arguments:
        held: The rows.
        recipe: Site, sensor and rate.
        outputs: Outputs with their intervals.
        seed: Seed of the sensors.
        width: Factor on the width of the sensor's priors.

    Returns:
        Windows, of several channels with those given drawn for each row, and the outputs that were simulated.

    Raises:
        ValueError: If there are too few usable rows to measure anything.

    Example:
        >>> x, theta = held_out_windows(Held(training_set, 0, 500), recipe, outputs, seed=2)  # doctest: +SKIP
    """
    waves, theta = held_out_waves(held, recipe, outputs)
    rng = np.random.default_rng([seed, 2])
    windows = sensor_of(recipe).apply(waves, rng, fs=recipe.fs, out_samples=recipe.samples, width=width)
    return windows, theta


def held_out_waves(
    held: Held, recipe: Recipe, outputs: OutputSpace
) -> tuple[Float[np.ndarray, "N *wave"], Float[np.ndarray, "N D"]]:
    r"""Reads usable held-out rows, not observed yet.

    Arguments:
        held: The rows.
        recipe: Site and rate, of each channel.
        outputs: Outputs with their intervals.

    Returns:
        Waveforms, and the outputs that were simulated.

    Raises:
        ValueError: If there are too few usable rows to measure anything.

    Example:
        >>> waves, theta = held_out_waves(Held(training_set, 0, 500), recipe, outputs)  # doctest: +SKIP
    """
    data = read_rows(held, recipe)
    keep = np.flatnonzero(data.usable(outputs)[0])
    if len(keep) < LEAST_HELD_OUT:
        raise ValueError(f"at least {LEAST_HELD_OUT} usable rows must be held out, got {len(keep)}: simulate more")
    return data.source.rows(0, int(keep[-1]) + 1)[keep], outputs.encode(data.columns)[keep]


def produce(
    recipe: Recipe,
    training: Held,
    test: Held,
    out: Path,
    *,
    finer: Held | None = None,
    max_time: float = math.inf,
    resume: bool = False,
    force: bool = False,
    checkpoint: Checkpoint | None = None,
    ranks: Ranks = _ALONE,
    progress: Callable[[Progress], None] = lambda _: None,
    measuring: Callable[[int], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[Bundle | None, TrainResult]:
    r"""Trains a bundle, measures it on held-out simulations and writes it.

    Arguments:
        recipe: What to train.
        training: Rows to train and validate on.
        test: Held-out rows; of the better simulator where the recipe has two.
        out: Folder of the bundle.
        finer: Rows of the better simulator, for a recipe with a finer training.
        max_time: Most seconds of training [s].
        resume: Whether to go on from the checkpoint.
        force: Whether a bundle at ``out`` is replaced.
        checkpoint: Where the run is kept after each epoch.
        ranks: Processes that train together; the first measures and writes.
        progress: Called while training.
        measuring: Called with the number of held-out windows done.
        should_stop: Asked after each epoch.

    Returns:
        The bundle as it was written, None if the run was interrupted or another rank writes it; and the training's
            result.

    Raises:
        FileExistsError: If ``out`` holds files and ``force`` is not given.
        ValueError: If the sets do not fit the recipe.

    Example:
        >>> bundle, result = produce(recipe, Held(a, 0, a.n), Held(b, 0, b.n), Path("mine"))  # doctest: +SKIP
    """
    if out.exists() and any(out.iterdir()) and not force:
        raise FileExistsError(f"{out.name} already holds files: choose another name or use --force")
    outputs = OutputSpace.from_names(recipe.outputs, extra=training.training_set.space)
    held = held_out_windows(test, recipe, outputs, seed=recipe.test.seed)
    data, config = _learned(recipe, training, recipe.train)
    config = dataclasses.replace(config, max_time=max_time)
    going: dict[str, Any] = {"checkpoint": checkpoint, "resume": resume, "ranks": ranks}
    going |= {"progress": progress, "should_stop": should_stop}
    result = train(data, outputs, network_of(recipe), config, start=_start(recipe, training, outputs), **going)
    record = {**describe_training(training.training_set, test.training_set, config, result), **_about(recipe)}
    if finer is not None and recipe.finer is not None and not result.interrupted:
        data, config = _learned(recipe, finer, recipe.finer.train)
        result = train_finer(_adapted(recipe, finer, result.npe), data, outputs, config, **going)
        record["finer"] = describe_training(finer.training_set, test.training_set, config, result)
    if result.interrupted or not ranks.is_first:
        return None, result
    keep = np.flatnonzero(data.usable(outputs)[0])[:PRIOR_DRAWS]
    bundle = Bundle(
        recipe.name,
        result.npe,
        outputs.encode({name: column[keep] for name, column in data.columns.items()}).astype(np.float32),
        contract_of(recipe),
        training=record,
        uninformative=recipe.uninformative,
    )
    bundle.save(out, half=recipe.half, force=True)
    bundle = Bundle.load(out)  # what is measured is what was written, rounding included
    bundle = with_domain(bundle, recipe, training, finer)
    draws, seed = recipe.test.draws, recipe.test.seed
    measured = measure(bundle.npe, *held, bundle.prior, n_draws=draws, seed=seed, progress=measuring)
    measured |= _given(bundle, recipe, test, measuring) | refused_of(bundle, recipe, test)
    bundle = _with_measures(bundle, recipe, measured)
    bundle.save(out, half=recipe.half, force=True)
    return bundle, result


def _about(recipe: Recipe) -> dict[str, Any]:
    """What a bundle keeps of its recipe."""
    start = {"start": recipe.start} if recipe.start else {}
    return {"recipe": recipe.to_json(), **start, "sensor": sensor_of(recipe).to_json()}


def _learned(recipe: Recipe, held: Held, train: Mapping[str, Any]) -> tuple[TrainData, TrainConfig]:
    """Rows as they are drawn for training, and how sets of their channels are learned."""
    data, config = read_rows(held, recipe), TrainConfig(**train)
    sensor = data.sensor
    if not isinstance(sensor, ChannelSensor):
        return data, config
    if config.whole:
        every = (*[0.0] * (len(recipe.channels) - 1), 1.0)
        data = dataclasses.replace(data, whole=dataclasses.replace(sensor, sizes=every))
    if config.sets:
        data = dataclasses.replace(data, sensor=dataclasses.replace(sensor, sizes=recipe.drawn or recipe.given))
        config = dataclasses.replace(config, sizes=recipe.given)
    return data, config


def _start(recipe: Recipe, training: Held, outputs: OutputSpace) -> NPE | None:
    """The estimator of the first channel that a recipe starts from, beside channels that it does not know."""
    if not recipe.start:
        return None
    npe = NPE(outputs, network_of(recipe))
    x, theta = held_out_windows(_first_rows(training), recipe, outputs, seed=recipe.simulate.seed)
    npe.fit_scales(*(torch.from_numpy(np.float32(v)) for v in (outputs.space.unconstrain(theta), x)))
    npe.take_over(Bundle.load(find_bundle(recipe.start)).npe.without_adapter())
    return npe


def _adapted(recipe: Recipe, finer: Held, npe: NPE) -> NPE:
    """The estimator that learns on with rows of the better simulator: with an adapter where the recipe asks for one."""
    if recipe.finer is None or not recipe.finer.adapter:
        return npe
    x = held_out_windows(_first_rows(finer), recipe, npe.outputs, seed=recipe.finer.simulate.seed)[0]
    return npe.with_adapter(recipe.finer.adapter, torch.from_numpy(np.float32(x)))


def _first_rows(held: Held) -> Held:
    """Rows enough to set scales by."""
    return Held(held.training_set, held.start, min(held.stop, held.start + START_ROWS))


def remeasure(
    bundle: Bundle, recipe: Recipe, test: Held, *, measuring: Callable[[int], None] = lambda _: None
) -> Bundle:
    r"""Measures a bundle on other held-out simulations, its weights unchanged.

    Arguments:
        bundle: The bundle.
        recipe: Site, sensor, rate and draws.
        test: Held-out rows.
        measuring: Called with the number of windows done.

    Returns:
        The bundle with the new measures and card; its other files as they were.

    Raises:
        ValueError: If there are too few usable rows or the set does not fit.

    Example:
        >>> remeasure(bundle, recipe, Held(larger, 0, larger.n)).measured["n"]  # doctest: +SKIP
        8191
    """
    draws, seed = recipe.test.draws, recipe.test.seed
    x, theta = held_out_windows(test, recipe, bundle.outputs, seed=seed)
    measured = measure(bundle.npe, x, theta, bundle.prior, n_draws=draws, seed=seed, progress=measuring)
    attributes = test.training_set.attributes
    training = {**bundle.training, "test_fingerprint": test.training_set.fingerprint, "recipe": recipe.to_json()}
    training["seeds"] = {**training.get("seeds", {}), "test": attributes.get("seed")}
    measured |= _given(bundle, recipe, test, measuring) | refused_of(bundle, recipe, test)
    return _with_measures(dataclasses.replace(bundle, training=training), recipe, measured)


def with_domain(bundle: Bundle, recipe: Recipe, training: Held, finer: Held | None = None) -> Bundle:
    r"""Fits the domain model on training rows; a small set leaves the bundle without one.

    Arguments:
        bundle: The bundle.
        recipe: Site, sensor and rate.
        training: Rows the bundle was trained on.
        finer: Rows of the better simulator that it went on with; they are references too.

    Returns:
        The bundle with the arrays of its domain model; of many channels each has fewer references.

    Example:
        >>> bundle = with_domain(bundle, recipe, Held(training_set, 0, 100_000))  # doctest: +SKIP
    """
    data = read_rows(training, recipe)
    most = max(LEAST_DOMAIN_ROWS, DOMAIN_ROWS // _pairs(recipe))
    keep = np.flatnonzero(data.usable(bundle.outputs)[0])[:most]
    if len(keep) < LEAST_DOMAIN_ROWS:
        return bundle
    waves, seed = data.source.rows(0, int(keep[-1]) + 1)[keep], recipe.simulate.seed
    if finer is not None:
        both = np.concatenate([held_out_waves(finer, recipe, bundle.outputs)[0][: len(waves)], waves])
        waves = both[np.random.default_rng([seed, 5]).permutation(len(both))]  # each half of the fit sees both
    if isinstance(data.sensor, ChannelSensor):
        arrays = fit_channel_domains(waves, data.sensor, bundle.contract, seed=seed)
        return with_tempo(dataclasses.replace(bundle, domain=arrays), recipe, training)
    if recipe.role not in ("ART", "PLETH"):
        return bundle
    model = fit_domain(waves, data.sensor, fs=recipe.fs, samples=recipe.samples, seed=seed, role=recipe.role)
    return with_tempo(dataclasses.replace(bundle, domain=model.to_arrays()), recipe, training)


def with_tempo(bundle: Bundle, recipe: Recipe, training: Held, test: Held | None = None) -> Bundle:
    r"""Fits the tempo of a domain model, or fits it again; the estimator stays as it is.

    Only arterial pressures and photoplethysmograms have one, alone or among several channels. A bundle without a domain
    model, or whose simulations know no ejection time, is left alone.

    Arguments:
        bundle: The bundle.
        recipe: Site, sensor and rate.
        training: Rows the bundle was trained on.
        test: Held-out rows on which refusals are counted anew for the card; None to leave the card.

    Returns:
        The bundle with the arrays of its tempo.

    Example:
        >>> bundle = with_tempo(bundle, recipe, Held(training_set, 0, 100_000))  # doctest: +SKIP
    """
    if not bundle.domain or not (recipe.channels or recipe.role in ROWS):
        return bundle
    domain = add_tempo(bundle.domain, read_rows(training, recipe), recipe, bundle.outputs)
    bundle = dataclasses.replace(bundle, domain=domain)
    if test is None:
        return bundle
    return _with_measures(bundle, recipe, {**bundle.measured, **refused_of(bundle, recipe, test)})


def _given(bundle: Bundle, recipe: Recipe, test: Held, measuring: Callable[[int], None]) -> dict[str, Any]:
    """What is measured for each set of channels given; nothing for a model of one channel."""
    sensor = sensor_of(recipe)
    if not isinstance(sensor, ChannelSensor):
        return {}
    waves, theta = held_out_waves(test, recipe, bundle.outputs)
    return {"given": measure_given(bundle, sensor, waves, theta, draws=recipe.test.draws, seed=recipe.test.seed)}


def refused_of(bundle: Bundle, recipe: Recipe, test: Held) -> dict[str, Any]:
    r"""Shares refused of held-out simulations and of what is made of them.

    Arguments:
        bundle: The bundle.
        recipe: Site, sensor and rate.
        test: Held-out rows.

    Returns:
        ``refused`` with the shares; nothing for a bundle without a domain model.

    Example:
        >>> refused_of(bundle, recipe, Held(held_out, 0, 2000))["refused"]["simulated"]["n"]  # doctest: +SKIP
        2000
    """
    if not bundle.domain:
        return {}
    seed, most = recipe.test.seed, max(LEAST_REFUSAL_ROWS, REFUSAL_ROWS // _pairs(recipe))
    narrow, wide = (
        held_out_windows(test, recipe, bundle.outputs, seed=seed, width=width)[0][:most] for width in (1, 2)
    )
    return {"refused": refusals_of(bundle, narrow, wide)}


def _pairs(recipe: Recipe) -> int:
    """Pairs of channels, at least one: what is done for each channel by itself is shared among them."""
    return max(1, len(recipe.channels) // 2)


def _with_measures(bundle: Bundle, recipe: Recipe, measured: Mapping[str, Any]) -> Bundle:
    units = bundle.outputs.reported
    card = render_card(recipe.name, recipe.title, bundle.contract, bundle.training, measured, units)
    return dataclasses.replace(bundle, measured=measured, card=card)
