r"""Fitting a tempo: simulations at their own speed against the same played too slowly or too fast.

Every simulated window is observed by the sensor, at its usual width or twice that, and described at its own speed and
played at another, a factor of .4 to 2.5 of time, often exactly one half or two. A factor multiplies the ejection
time and divides the rate; whether any simulated adult has the two is read off the simulations themselves
([`of_no_patient`][pulsebayes.calibration.tempo.of_no_patient]). The networks learn to tell windows whose rate and
ejection nobody has from those at their own speed; from played windows that somebody could have they learn the ejection
time only. The limit comes from other simulations at their own speed, the sensor at twice its width: of all, .2 % may
lie beyond that neither the quality gate nor the distances of the domain model refuse.

Of a pressure by itself a second kind of network learns from more rows, with convolutions
([`tempo_network`][pulsebayes.calibration.tempo_network]), and both have to agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float

from ..inference.domain import DomainModel
from ..inference.pulse_shape import pulse_shape
from ..inference.tempo import CLIP, LAYERS, SECOND, Tempo, tempo_features
from ..simulators.channels import ChannelSensor
from ..waveforms.quality import assess
from .tempo_network import train_networks

if TYPE_CHECKING:
    from ..inference.domain import Sensor
    from ..inference.outputs import OutputSpace
    from ..inference.recipe import Recipe
    from ..inference.training import TrainData

__all__ = ["TempoFit", "add_tempo", "fit_tempo", "of_no_patient", "played"]

ROWS = {"ART": 40_000, "PLETH": 20_000}
"""Most training rows that a tempo is fitted on, by the roles of the channels that get one."""
PRESSURE_ROWS = 72_000
"""The same of arterial pressure by itself."""
LEAST_ROWS = 2000
REFUSED_SHARE = 0.002
"""Share of simulations with the sensor at twice its width beyond the limit; as many as the distances may refuse."""
SLOWEST, FASTEST = 2.5, 0.4
"""Factors of time."""
NEAR = 0.1
"""Adults whose log heart rate differs by less than this have the same rate."""
FEWEST = 0.0024
"""Share of the simulations near a rate below which nobody has it."""
TAILS = (0.001, 0.999)
"""Quantiles of the ejection time near a rate between which somebody has it."""
N_EDGES = 40
HELD, MOST_HELD = 0.3, 12_000
"""Share of the simulations from which the limit comes, and how many at most."""
HIDDEN = (64, 32)
MEMBERS = 3
EPOCHS, BATCH, RATE, DECAY = 15, 256, 3e-3, 1e-3
EJECTION_WEIGHT = 0.3
"""Weight of the ejection time beside the odds."""
SHORTEST = 450
"""Fewest samples of a window at its own speed, so that the network cannot go by how many beats there are."""


def of_no_patient(
    rate: Float[np.ndarray, " N"],
    ejection: Float[np.ndarray, " N"],
    rates: Float[np.ndarray, " M"],
    ejections: Float[np.ndarray, " M"],
) -> Bool[np.ndarray, " N"]:
    r"""Whether no simulated adult has these heart rates and ejection times together.

    Nobody has a rate near which there are fewer than .24 % of the simulations, and an ejection time beyond the .1 and
    99.9 % quantiles of those within 10 % of the rate.

    Arguments:
        rate: Heart rates [1/min].
        ejection: Ejection times [ms].
        rates: Simulated heart rates [1/min].
        ejections: Simulated ejection times [ms].

    Example:
        >>> rates = np.linspace(40, 120, 1000)
        >>> of_no_patient(np.array([60.0, 60.0, 20.0]), np.array([300.0, 600.0, 400.0]), rates, 420 - 2 * rates)
        array([False,  True,  True])
    """
    order = np.argsort(rates)
    log_rates, sorted_ejections = np.log(rates[order]), ejections[order]
    starts = np.searchsorted(log_rates, np.log(rate) - NEAR)
    stops = np.searchsorted(log_rates, np.log(rate) + NEAR)
    found = np.ones(len(rate), bool)
    for i in np.flatnonzero(stops - starts >= max(FEWEST * len(rates), 20)):
        low, high = np.quantile(sorted_ejections[starts[i] : stops[i]], TAILS)
        found[i] = not low <= ejection[i] <= high
    return found


def played(window: Float[np.ndarray, " T"], slower: float) -> Float[np.ndarray, " S"]:
    r"""A window as if played slower, no longer than it was.

    Arguments:
        window: Samples.
        slower: Factor of all times.

    Example:
        >>> played(np.arange(4.0), 2.0)
        array([0. , 0.5, 1. , 1.5])
        >>> played(np.arange(4.0), 0.5)
        array([0., 2.])
    """
    n = min(len(window), int(len(window) * slower))
    found: Float[np.ndarray, " S"] = np.interp(np.arange(n) / slower, np.arange(len(window)), window)
    return found


def add_tempo(
    domain: Mapping[str, np.ndarray], data: TrainData, recipe: Recipe, outputs: OutputSpace
) -> Mapping[str, np.ndarray]:
    r"""Gives the domain models of a bundle a tempo, or another one; none where rows are few or tell no ejection time.

    Of several channels each of arterial pressure and each photoplethysmogram gets its own, from its share of the rows.

    Arguments:
        domain: Arrays of the domain model, or of those of several channels.
        data: Training rows.
        recipe: Channels, rate, samples and seed.
        outputs: Outputs of the bundle, which say what rows can be used.

    Returns:
        The arrays with those of the tempo.

    Example:
        >>> domain = add_tempo(bundle.domain, read_rows(held, recipe), recipe, bundle.outputs)  # doctest: +SKIP
    """
    roles = [channel.role for channel in recipe.channels] or [recipe.role]
    most = max((_most_rows(recipe, role) for role in roles if role in ROWS), default=0)
    keep = np.flatnonzero(data.usable(outputs)[0])[:most]
    if not {"HR", "LVET"} <= set(data.columns) or len(keep) < LEAST_ROWS:
        return domain
    rates, ejections = (np.asarray(data.columns[name], np.float64)[keep] for name in ("HR", "LVET"))
    known = rates, ejections
    waves = data.source.rows(0, int(keep[-1]) + 1)[keep]
    if not isinstance(data.sensor, ChannelSensor):
        return _with_tempo(domain, waves, known, data.sensor, recipe, recipe.role)
    arrays = dict(domain)
    for c, (channel, own) in enumerate(zip(recipe.channels, data.sensor.channels, strict=True)):
        prefix = f"{channel.name}:"
        part = {name.removeprefix(prefix): array for name, array in domain.items() if name.startswith(prefix)}
        if part and channel.role in ROWS:
            found = _with_tempo(part, waves[:, c], known, own.sensor, recipe, channel.role)
            arrays |= {prefix + name: array for name, array in found.items()}
    return arrays


def _most_rows(recipe: Recipe, role: str) -> int:
    return PRESSURE_ROWS if _alone(recipe) else ROWS[role] // max(1, len(recipe.channels))


def _alone(recipe: Recipe) -> bool:
    """Whether a model reads arterial pressure and nothing else."""
    return recipe.role == "ART" and not recipe.channels


def _with_tempo(
    domain: Mapping[str, np.ndarray],
    waves: Float[np.ndarray, "N T"],
    known: tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]],
    sensor: Sensor,
    recipe: Recipe,
    role: str,
) -> Mapping[str, np.ndarray]:
    """The arrays of one domain model with those of its tempo."""
    model = DomainModel.from_arrays(domain).with_tempo(None)
    some = slice(_most_rows(recipe, role))
    rates, ejections = known
    tempo = fit_tempo(
        waves[some], rates[some], ejections[some], sensor,
        fs=recipe.fs, samples=recipe.samples, seed=recipe.simulate.seed, domain=model, role=role,
        convolved=_alone(recipe),
    )  # fmt: skip
    return model.with_tempo(tempo).to_arrays()


class TempoFit(NamedTuple):
    r"""Windows on which a tempo is fitted, a row each.

    Arguments:
        features: What the network reads.
        nobody: Whether rate and ejection are of no simulated adult.
        own: Whether at its own speed.
        log_ejection: Logarithm of the ejection time [log ms].

    Example:
        >>> TempoFit(np.zeros((2, 248)), np.zeros(2, bool), np.ones(2, bool), np.zeros(2)).own.tolist()
        [True, True]
    """

    features: Float[np.ndarray, "N F"]
    nobody: Bool[np.ndarray, " N"]
    own: Bool[np.ndarray, " N"]
    log_ejection: Float[np.ndarray, " N"]


def fit_tempo(
    waves: Float[np.ndarray, "N T"],
    rates: Float[np.ndarray, " N"],
    ejections: Float[np.ndarray, " N"],
    sensor: Sensor,
    *,
    fs: float,
    samples: int = 1000,
    seed: int = 0,
    domain: DomainModel | None = None,
    role: str = "ART",
    convolved: bool = False,
) -> Tempo:
    r"""Fits a tempo to simulated waveforms and the sensor that will observe such.

    Arguments:
        waves: Simulated waves of usable rows, longer than a window.
        rates: Their heart rates [1/min].
        ejections: Their ejection times [ms].
        sensor: The sensor model.
        fs: Sampling rate [Hz].
        samples: Samples of a window.
        seed: Seed of sensors, factors and weights.
        domain: The domain model that the tempo will stand beside; what it refuses does not count.
        role: ``"ART"``, or ``"PLETH"`` for waves without a unit.
        convolved: Whether networks with convolutions have to agree.

    Returns:
        The tempo.

    Raises:
        ValueError: If fewer than 100 windows are left for the limit.

    Example:
        >>> tempo = fit_tempo(waves, hr, lvet, SensorModel.radial_line(), fs=125.0)  # doctest: +SKIP
    """
    arrays: dict[str, np.ndarray] = {}
    for second in (False, True) if convolved else (False,):
        rng = np.random.default_rng([seed, 11])
        most = len(waves) if second else ROWS[role]
        some = waves[:most]
        n = len(some) - min(round(len(some) * HELD), MOST_HELD)
        rows = _rows(_observed(some[:n], sensor, rng, fs, samples), rates[:most], ejections[:most], rng, fs, role)
        fitted = _train(rows, seed, convolved=second)
        arrays |= {SECOND * second + name: array for name, array in fitted.items()}
    wide = sensor.apply(some[n:], rng, fs=fs, out_samples=samples, width=2.0)
    shapes = [pulse_shape(window, fs, role=role) for window in wide]
    found = [i for i, shape in enumerate(shapes) if shape is not None]
    if len(found) < 100:
        raise ValueError(f"a tempo needs 100 windows with beats for its limit, got {len(found)}: simulate more")
    held = np.array([tempo_features(shape) for shape in shapes if shape is not None], np.float32)
    start = {"limit": np.zeros(1), "calibration": np.zeros(1), "edges": _edges(rates, ejections)}
    tempo = Tempo({**start, **arrays})
    return _limited(tempo, held, wide[found], fs, domain, role)


def _edges(rates: Float[np.ndarray, " N"], ejections: Float[np.ndarray, " N"]) -> Float[np.ndarray, "3 K"]:
    """Log rates that somebody has, and least and greatest ejection there [ms]."""
    logs = np.log(rates)
    first, last = np.quantile(logs, TAILS)
    grid = np.linspace(first, last, N_EDGES)
    near = [ejections[np.abs(logs - at) < NEAR] for at in grid]
    return np.column_stack([[at, *np.quantile(some, TAILS)] for at, some in zip(grid, near, strict=True)])


def _limited(
    tempo: Tempo,
    held: Float[np.ndarray, "K F"],
    windows: Float[np.ndarray, "K T"],
    fs: float,
    domain: DomainModel | None,
    role: str,
) -> Tempo:
    """The tempo with its limit: from the greatest odds down, so that only few windows are put to gate and domain."""
    odds, unit = tempo.read(held).odds, None if role == "PLETH" else "mmHg"
    allowed, limit = int(REFUSED_SHARE * len(held)), -np.inf
    for i in np.argsort(-odds):
        if not assess(windows[i], fs, role=role, unit=unit).usable:
            continue
        if domain is not None and domain.assess(windows[i]).verdict == "outside":
            continue
        if allowed == 0:
            limit = odds[i]
            break
        allowed -= 1
    found = {"limit": np.array([limit]), "calibration": np.sort(odds).astype(np.float32)}
    return Tempo({**tempo.arrays, **found})


def _observed(
    waves: Float[np.ndarray, "N T"], sensor: Sensor, rng: np.random.Generator, fs: float, samples: int
) -> Float[np.ndarray, "N S"]:
    """Windows, every second one through a sensor twice as wide."""
    windows = np.empty((len(waves), samples), np.float32)
    for k in (0, 1):
        windows[k::2] = sensor.apply(waves[k::2], rng, fs=fs, out_samples=samples, width=1.0 + k)
    return windows


def _rows(
    windows: Float[np.ndarray, "N S"],
    rates: Float[np.ndarray, " M"],
    ejections: Float[np.ndarray, " M"],
    rng: np.random.Generator,
    fs: float,
    role: str,
) -> TempoFit:
    """Every window at its own speed, half of them cut shorter, and at another; those without beats are left out."""
    n = len(windows)
    slower = np.exp(rng.uniform(np.log(FASTEST), np.log(SLOWEST), n))
    slower = np.where(rng.random(n) < 0.5, rng.choice([0.5, 2.0], n), slower)
    features, kept = [], []
    for i, (times, window) in enumerate(_speeds(windows, slower, rng)):
        shape = pulse_shape(window, fs, role=role)
        if shape is not None:
            features.append(tempo_features(shape))
            kept.append((i // 2, times))
    row, factor = np.array([k for k, _ in kept]), np.array([f for _, f in kept])
    rate, ejection = rates[row] / factor, ejections[row] * factor
    nobody = of_no_patient(rate, ejection, rates, ejections)
    return TempoFit(np.array(features, np.float32), nobody, factor == 1.0, np.log(ejection))


def _speeds(
    windows: Float[np.ndarray, "N S"], slower: Float[np.ndarray, " N"], rng: np.random.Generator
) -> Iterator[tuple[float, Float[np.ndarray, " T"]]]:
    for window, factor in zip(windows.astype(np.float64), slower, strict=True):
        n = int(rng.integers(SHORTEST, len(window) + 1)) if rng.random() < 0.5 else len(window)
        first = int(rng.integers(0, len(window) - n + 1))
        yield 1.0, window[first : first + n]
        yield float(factor), played(window, float(factor))


def _train(rows: TempoFit, seed: int, *, convolved: bool) -> dict[str, np.ndarray]:
    """Centre and scale of the features, and the layers of all networks, each with weights and biases."""
    asked = rows.own | rows.nobody
    centre = rows.features[asked].mean(0)
    scale = rows.features[asked].std(0) + 1e-4
    level, spread = rows.log_ejection.mean(), rows.log_ejection.std()
    scaled = np.clip((rows.features - centre) / scale, -CLIP, CLIP)
    truth = np.column_stack([rows.nobody, asked, (rows.log_ejection - level) / spread])
    members = (train_networks if convolved else _dense)(scaled, truth, seed)
    arrays = {name: np.stack([member[name] for member in members]) for name in members[0]}
    last, factor = LAYERS - 1, np.array([1.0, spread])  # the second output in log ms
    arrays[f"w{last}"] = arrays[f"w{last}"] * factor
    arrays[f"b{last}"] = arrays[f"b{last}"] * factor + np.array([0.0, level])
    kept = {name: array.astype(np.float16 if "w" in name else np.float32) for name, array in arrays.items()}
    return {"centre": centre.astype(np.float32), "scale": scale.astype(np.float32), **kept}


def _dense(
    features: Float[np.ndarray, "N F"], truth: Float[np.ndarray, "N 3"], seed: int
) -> list[dict[str, np.ndarray]]:
    """Networks of dense layers alone."""
    x, y = (torch.from_numpy(np.float32(part)) for part in (features, truth))
    members = []
    with torch.random.fork_rng():
        for member in range(MEMBERS):
            torch.manual_seed(seed + member)
            layers = _descended(x, y)
            weights = {f"w{i}": layer.weight.detach().numpy().T for i, layer in enumerate(layers)}
            members.append(weights | {f"b{i}": layer.bias.detach().numpy() for i, layer in enumerate(layers)})
    return members


def _descended(x: torch.Tensor, truth: torch.Tensor) -> list[torch.nn.Linear]:
    """The layers of a trained network."""
    sizes = (x.shape[1], *HIDDEN, 2)
    layers = [torch.nn.Linear(a, b) for a, b in pairwise(sizes)]
    network = torch.nn.Sequential(layers[0], torch.nn.SiLU(), layers[1], torch.nn.SiLU(), layers[2])
    steps = EPOCHS * (len(x) // BATCH)
    adam = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    pace = torch.optim.lr_scheduler.OneCycleLR(adam, RATE, total_steps=max(steps, 2))
    odds_loss = torch.nn.functional.binary_cross_entropy_with_logits
    for _ in range(EPOCHS):
        order = torch.randperm(len(x))
        for batch in order[: len(x) // BATCH * BATCH].reshape(-1, BATCH):
            told, (nobody, asked, ejection) = network(x[batch]), truth[batch].unbind(1)
            loss = (asked * odds_loss(told[:, 0], nobody, reduction="none")).mean()
            loss = loss + EJECTION_WEIGHT * torch.nn.functional.smooth_l1_loss(told[:, 1], ejection)
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            pace.step()
    return layers
