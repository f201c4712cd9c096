r"""Inference: windows alone, pooled over the recording, causal, with anchors; against simpler ways and rules.

Simulated recordings of half an hour with drift and events, in-distribution and of a shifted reality; spliced
recordings; the time of a day; and what each channel tells. Run `python -m benchmarks.inference --out DIR`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from . import inference_rivals as rivals
from .inference_atlas import atlas
from .inference_day import days, timed, updates
from .inference_repair import repaired
from .rows import Row, run

MODEL = "radial-abp"
N_DRAWS = 300
SEED = 101
HALF_HOUR = 1800.0


@dataclass(frozen=True)
class Recordings:
    """Windows of simulated recordings with their truth, contexts and times."""

    waves: np.ndarray
    theta: np.ndarray
    context: np.ndarray
    time_s: np.ndarray
    usable: np.ndarray
    slow: np.ndarray
    """Logarithms of compliance and wave speed at 90 mmHg, (R, W, 2)."""
    change: np.ndarray
    """When the sensor changed [s], by how much its offset [mmHg] and whether its line, (R, 3)."""


@cache
def _model() -> tuple[Any, Any]:
    import torch

    from pulsebayes.inference.bundle import Bundle, find_bundle
    from pulsebayes.inference.pooling import load_pooling

    torch.set_num_threads(1)
    folder = find_bundle(MODEL)
    bundle = Bundle.load(folder)
    return bundle, load_pooling(folder, bundle)


def simulated(
    n: int,
    windows: int,
    seed: int,
    *,
    shifted: bool = False,
    length_s: float = HALF_HOUR,
    liveliness: float = 1.0,
    changes: Any = None,
) -> Recordings:
    """Recordings; shifted: arteries of one length, other walls, inflow and beds, sensors twice as bad."""
    from pulsebayes.inference.pooling import embed_windows
    from pulsebayes.simulators.network.linear import LinearNetwork
    from pulsebayes.simulators.photoplethysmograph import sensor_from_json
    from pulsebayes.simulators.recorded import RARE_CHANGES
    from pulsebayes.simulators.recordings import draw_courses
    from pulsebayes.simulators.sensors import Gain, Offset

    bundle, _ = _model()
    rng = np.random.default_rng(seed)
    own_population = bundle.training.get("simulator_config", {}).get("population", "clinical")
    population = "clinical-fixed-lengths" if shifted else own_population
    simulator = LinearNetwork(population=population, sites=("Radial",), duration_s=9.5)
    times = np.repeat(np.linspace(0.0, length_s - 8.0, windows)[None], n, axis=0)
    course = draw_courses(simulator, rng, times, liveliness=liveliness)
    sensor: Any = sensor_from_json(bundle.training.get("sensor", {}))
    if shifted:
        space, theta = simulator.space, course.theta.copy()
        for name, factor in (("small_vessel_stiffness", 1.5), ("wall_viscosity", 2.0), ("peak_time_fraction", 1.2),
                             ("deceleration_exponent", 1.3), ("terminal_impedance", 1.4)):  # fmt: skip
            d = space.index(name)
            theta[..., d] = np.clip(theta[..., d] * factor, space.low[d], space.high[d])
        course = replace(course, theta=theta)
        sensor = replace(sensor, gain=Gain(0.02), offset=Offset(5.0))
    own = (simulator, course, sensor, changes or RARE_CHANGES, seed)
    step = max(1, 900 // windows)  # as many windows at a time whatever their recordings: compiled once
    parts = [_recorded(*own, slice(i, i + step)) for i in range(0, n, step)]
    waves, quantities, usable, slow, change = (np.concatenate(p) for p in zip(*parts, strict=True))
    columns = dict(zip(simulator.quantity_names, np.moveaxis(quantities, -1, 0), strict=True))
    theta = bundle.outputs.encode({k: v.reshape(-1) for k, v in columns.items()})
    flat = np.where(usable.reshape(-1, 1), waves.reshape(-1, waves.shape[-1]), 90.0)
    context = embed_windows(bundle.without_adapter(), flat).reshape(n, windows, -1)  # waves of the fast simulator
    return Recordings(waves, theta.reshape(n, windows, -1), context, times, usable, slow, change)


def _recorded(simulator: Any, course: Any, sensor: Any, changes: Any, seed: int, rows: slice) -> tuple[np.ndarray, ...]:
    from pulsebayes.simulators.recordings import simulate_recordings

    part = replace(course, theta=course.theta[rows], time_s=course.time_s[rows])
    made = simulate_recordings(simulator, part, site="Radial", sensor=sensor, seed=seed + rows.start, changes=changes)
    slow = np.stack([made.compliance, np.broadcast_to(made.wave_speed[:, None], made.compliance.shape)], -1)
    change = np.stack([made.change_s, made.step_mmhg, made.relined], -1)
    return made.waves, made.quantities, made.usable.astype(bool), np.log(slow), change


def _windows_alone(context: np.ndarray, seed: int) -> np.ndarray:
    """Draws of the window model, (W, n, D)."""
    from pulsebayes.inference.pooling.held_pools import window_draws

    return window_draws(_model()[0], context, N_DRAWS, seed=seed)


def _pooled(
    context: np.ndarray, time_s: np.ndarray, seed: int, *, causal: bool, n: int = N_DRAWS, **asked: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draws of what pools share and of every window asked for given its pool, (W, n, .)."""
    from pulsebayes.inference.pooling.held_pools import pooled_draws

    return pooled_draws(*_model(), context, time_s, n, causal=causal, seed=seed, **asked)


@dataclass
class _Score:
    """Coverage and trends of one method, recording by recording."""

    held90: list[np.ndarray]
    held50: list[np.ndarray]
    trend: list[tuple[float, float]]
    rank: list[float]
    within: list[float]

    @classmethod
    def empty(cls) -> _Score:
        return cls([], [], [], [], [])

    def add(self, draws: np.ndarray, truth: np.ndarray) -> None:
        low, l5, h5, high = np.quantile(draws, [0.05, 0.25, 0.75, 0.95], axis=1)
        self.held90.append((truth >= low) & (truth <= high))
        self.held50.append((truth >= l5) & (truth <= h5))
        output, true = np.median(draws[..., 0] * draws[..., 1], axis=1), truth[:, 0] * truth[:, 1]
        volume = np.log(np.median(draws[..., 1], axis=1) / truth[:, 1])
        self.trend.append((float(np.std(volume)), float(np.std(np.log(output / true)))))
        self.rank.append(_spearman(output, true))
        self.within.append(float(np.mean(np.abs(volume))))

    def rows(self, task: str, method: str, setting: str, names: tuple[str, ...]) -> Iterator[Row]:
        volume, output = np.median(np.array(self.trend), axis=0)
        yield Row(task, method, setting, "SV trend error [SD of log]", float(volume))
        yield Row(task, method, setting, "CO trend error [SD of log]", float(output))
        yield Row(task, method, setting, "CO Spearman within patients, median", float(np.median(self.rank)))
        yield Row(task, method, setting, "SV mean |log error|", float(np.mean(self.within)))
        for level, held in ((90, self.held90), (50, self.held50)):
            shares = np.concatenate(held).mean(0)
            for name, share in zip(names, shares, strict=True):
                yield Row(task, method, setting, f"coverage at {level} %, {name} [%]", float(100 * share))


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def _compare(task: str, data: Recordings) -> Iterator[Row]:
    bundle, _ = _model()
    distinct: list[int] = []
    scores: dict[str, _Score] = {}
    ranks: dict[str, list[float]] = {}
    for r in range(len(data.context)):
        ok = np.flatnonzero(data.usable[r])
        truth, context, time_s = data.theta[r, ok], data.context[r, ok], data.time_s[r, ok]
        alone = _windows_alone(context, r)
        answers = {"window": alone, **rivals.pooled(alone, bundle.prior, bundle.outputs.names, r)}
        distinct += [len(np.unique(one)) for one in answers["importance re-weighting"][..., 1]]
        answers["causal"] = _pooled(context, time_s, r, causal=True)[1]
        answers["recording"] = _pooled(context, time_s, r, causal=False)[1]
        for name, draws in answers.items():
            scores.setdefault(name, _Score.empty()).add(draws, truth)
        for name, rank in _rule_ranks(data.waves[r, ok], truth).items():
            ranks.setdefault(name, []).append(rank)
    setting = f"{len(data.context)} recordings of 30 min, {data.context.shape[1]} windows"
    for name, score in scores.items():
        yield from score.rows(task, name, setting, bundle.outputs.names)
    measure = f"distinct draws of {N_DRAWS}, median"
    yield Row(task, "importance re-weighting", setting, measure, float(np.median(distinct)))
    for name, values in ranks.items():
        yield Row(task, name, setting, "CO Spearman within patients, median", float(np.median(values)))


def _rule_ranks(waves: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    found = [rivals.beats(wave.astype(float), 125.0) for wave in waves]
    known = [i for i, one in enumerate(found) if one is not None]
    volumes = [rivals.rules(found[i]) for i in known]  # type: ignore[arg-type]
    rate = np.array([found[i]["rate"] for i in known])  # type: ignore[index]
    true = (truth[:, 0] * truth[:, 1])[known]
    return {name: _spearman(rate * np.array([v[name] for v in volumes]), true) for name in volumes[0]}


def in_distribution(quick: bool) -> Iterator[Row]:
    """Drift and events as in training."""
    yield from _compare("in-distribution", simulated(2 if quick else 24, 20 if quick else 75, SEED))


def trends(quick: bool) -> Iterator[Row]:
    """Windows alone and pooled over the recording, on fresh half hours: trends and coverage, without rivals."""
    data = simulated(2 if quick else 24, 20 if quick else 75, SEED + 9)
    scores = {"window": _Score.empty(), "recording": _Score.empty()}
    for r in range(len(data.context)):
        ok = np.flatnonzero(data.usable[r])
        scores["window"].add(_windows_alone(data.context[r, ok], r), data.theta[r, ok])
        made = _pooled(data.context[r, ok], data.time_s[r, ok], r, causal=False)[1]
        scores["recording"].add(made, data.theta[r, ok])
    setting = f"{len(data.context)} recordings of 30 min, {data.context.shape[1]} windows"
    for name, score in scores.items():
        yield from score.rows("trends", name, setting, _model()[0].outputs.names)


def shifted(quick: bool) -> Iterator[Row]:
    """A reality unlike the training's."""
    yield from _compare("shifted reality", simulated(2 if quick else 16, 20 if quick else 75, SEED + 1, shifted=True))


def pool_sizes(quick: bool) -> Iterator[Row]:
    """Coverage of slow and fast quantities with 1, 10 and 200 windows; one window is the window model's own answer."""
    few = simulated(2 if quick else 200, 10, SEED + 2)
    many = simulated(2 if quick else 60, 20 if quick else 200, SEED + 6)
    for size, data in ((1, few), (10, few), (20 if quick else 200, many)):
        held: dict[str, list[np.ndarray]] = {}
        for r in range(len(data.context)):
            for name, one in _held_in_pool(data, r, size).items():
                held.setdefault(name, []).append(one)
        setting = f"{size} windows, {len(data.context)} patients"
        for i, level in enumerate((90, 50)):
            for name, parts in held.items():
                shares = [100 * part[:, i].mean() for part in parts]
                spread = float(np.std(shares) / np.sqrt(len(shares)))
                measure = f"coverage at {level} %, {name} [%]"
                yield Row("pool size", "recording", setting, measure, float(np.mean(shares)), spread)


def _held_in_pool(data: Recordings, r: int, size: int) -> dict[str, np.ndarray]:
    """Whether the 90 and 50 % intervals of some windows of a pool hold the truth, (windows, 2) by quantity."""
    import torch

    bundle, layer = _model()
    rng, ok = np.random.default_rng([SEED, r]), np.flatnonzero(data.usable[r])
    rows = np.sort(rng.choice(ok, min(size, len(ok)), replace=False))
    at = np.unique(np.linspace(0, len(rows) - 1, min(10, len(rows))).astype(int))
    truth, names = data.theta[r, rows[at]], list(bundle.outputs.names)
    if size == 1:
        draws = _windows_alone(data.context[r, rows], r)
    else:
        shared, draws = _pooled(data.context[r, rows], data.time_s[r, rows], r, causal=False, at=at)
    found = {name: _held(draws[..., d], truth[:, d]) for d, name in enumerate(names)}
    if size > 1:
        slow, own = layer.npe.slow(torch.from_numpy(shared[0])), data.slow[r, rows].mean(0)
        found |= {name: _held(slow[None, :, d], own[d : d + 1]) for d, name in enumerate(("C90", "PWV90"))}
    return found


def _held(draws: np.ndarray, truth: np.ndarray) -> np.ndarray:
    low, l5, h5, high = np.quantile(draws, [0.05, 0.25, 0.75, 0.95], axis=1)
    return np.stack([(truth >= low) & (truth <= high), (truth >= l5) & (truth <= h5)], -1)


def _anchored(context: np.ndarray, time_s: np.ndarray, seed: int, told: dict[int, float], error: float) -> np.ndarray:
    """Cardiac output of all windows (W, n) where it was told at some of them with a relative error."""
    from pulsebayes.inference.pooling.anchors import Anchor, SlowLikelihood

    aging, at = _model()[1].aging, list(told)
    ages = np.array([[aging.age(apart) for apart in t - time_s[at]] for t in time_s])
    growth = np.stack([aging.growth(age) for age in [*ages.min(1), *np.ones(len(at))]])
    asked = np.r_[np.arange(len(time_s)), at]  # windows of references once more, as they are told far away
    shared, fast = _pooled(context, time_s, seed, causal=False, growth=growth, at=asked, n=2 * N_DRAWS)
    wide, output = shared[0].astype(float), fast[..., 0] * fast[..., 1] / 1000
    named = [Anchor("CO", v, 0.0, error * v) for v in told.values()]
    pairs = zip(named, output[at], output[len(time_s) :], strict=True)
    known = [SlowLikelihood.of([anchor], wide, {"CO": own}, {"CO": far}) for anchor, own, far in pairs]
    evenly, made = (np.arange(len(wide)) + 0.5) / len(wide), np.empty((len(ages), len(wide)))
    for i, own in enumerate(ages):
        log = np.sum([one.aged(age).log(wide) for one, age in zip(known, own, strict=True)], axis=0)
        weights = np.cumsum(np.exp(log - log.max()))
        made[i] = output[i, np.searchsorted(weights / weights[-1], evenly)]
    return made


@dataclass
class _Known:
    """Cardiac output of one method in windows of all recordings: its errors, trends and what its intervals held."""

    errors: list[float]
    trends: list[float]
    held: list[np.ndarray]

    def add(self, output: np.ndarray, true: np.ndarray) -> None:
        median = np.log(np.median(output, axis=1) / true)
        self.errors += np.abs(median).tolist()
        self.trends.append(float(np.std(median)))
        low, high = np.quantile(output, [0.05, 0.95], axis=1)
        self.held.append((true >= low) & (true <= high))

    def rows(self, task: str, method: str, setting: str) -> Iterator[Row]:
        yield Row(task, method, setting, "CO median |log error|", float(np.median(self.errors)))
        yield Row(task, method, setting, "CO trend error [SD of log]", float(np.median(self.trends)))
        shares = [100 * one.mean() for one in self.held]
        spread = float(np.std(shares) / np.sqrt(len(shares)))
        yield Row(task, method, setting, "coverage at 90 %, CO [%]", float(np.mean(shares)), spread)


def _with_anchors(
    task: str, setting: str, data: Recordings, told: tuple[tuple[int, float], ...] = ((1, 0.1),)
) -> Iterator[Row]:
    """Windows alone, pooled, with so many thermodilutions of an error, one anywhere or evenly spread: other windows."""
    rng, known = np.random.default_rng(SEED), dict[str, _Known]()
    for r in range(len(data.context)):
        ok = np.flatnonzero(data.usable[r])
        context, theta, time_s = data.context[r, ok], data.theta[r, ok], data.time_s[r, ok]
        true, alone = theta[:, 0] * theta[:, 1] / 1000, _windows_alone(context, r)
        fast = _pooled(context, time_s, r, causal=False)[1]
        some, noise = int(rng.integers(len(ok))), rng.standard_normal()
        answers = {"window": alone[..., 0] * alone[..., 1] / 1000, "recording": fast[..., 0] * fast[..., 1] / 1000}
        for name, output in answers.items():
            known.setdefault(name, _Known([], [], [])).add(*(np.delete(one, some, 0) for one in (output, true)))
        for n, error in told:
            at = [some] if n == 1 else np.linspace(0, len(ok) - 1, n).astype(int).tolist()
            values = true[at] * np.exp(error * (noise if n == 1 else rng.standard_normal(n)))
            output = _anchored(context, time_s, r, dict(zip(at, values.tolist(), strict=True)), error)
            name = f"recording, {n} anchor{'s' * (n > 1)} of {100 * error:g} %"
            known.setdefault(name, _Known([], [], [])).add(*(np.delete(one, at, 0) for one in (output, true)))
    for name, one_of in known.items():
        yield from one_of.rows(task, name, setting)


def anchors(quick: bool) -> Iterator[Row]:
    """One thermodilution of 10 % error at some time of the recording: the other windows."""
    data = simulated(2 if quick else 120, 10, SEED + 3)
    yield from _with_anchors("anchors", f"{len(data.context)} recordings of 30 min, 10 windows", data)


def drift(quick: bool) -> Iterator[Row]:
    """Length of the recording, and how fast the patient moves: windows alone, pooled, with an anchor."""
    n, windows = (2, 6) if quick else (24, 30)
    cases = [(minutes, 1.0) for minutes in (10, 120, 1440)] + [(30, factor) for factor in (0.25, 0.5, 1.0, 2.0)]
    for minutes, factor in cases[:: 3 if quick else 1]:
        data = simulated(n, windows, SEED + 7, length_s=60.0 * minutes, liveliness=factor)
        setting = f"{n} recordings of {minutes} min, {windows} windows, drift x {factor:g}"
        yield from _with_anchors("length and drift", setting, data)


def ages(quick: bool) -> Iterator[Row]:
    """Days of many patients with one thermodilution and with several, of 10 and of 2 % error."""
    n, windows = (2, 6) if quick else (120, 30)
    data = simulated(n, windows, SEED + 10, length_s=86400.0)
    yield from _with_anchors(
        "days", f"{n} recordings of 24 h, {windows} windows", data, ((1, 0.1), (5, 0.1), (1, 0.02))
    )


def splices(quick: bool) -> Iterator[Row]:
    """Two recordings joined: share split within three windows; splits an hour where nothing was joined."""
    import torch

    from pulsebayes.inference.pooling import find_changes, split_pool

    _, layer = _model()
    data = simulated(4 if quick else 48, 20 if quick else 225, SEED + 4)
    signature = _signatures(data)
    hours, false = data.usable.sum() * 8.0 / 3600, {"patient": 0, "sensor": 0}
    for u, k, t, (change_s, *_) in zip(signature, data.usable, data.time_s, data.change, strict=True):
        for change in find_changes(layer.detector, u[k], t[k]):
            near = change.kind == "sensor" and abs(t[k][change.at] - change_s) < 24.0
            false[change.kind] += int(not near)
    setting = f"{len(signature)} recordings of 30 min"
    yield Row("splices", "detector", setting, "false splits [1/h]", false["patient"] / hours)
    yield Row("splices", "detector", setting, "false changes of the sensor [1/h]", false["sensor"] / hours)
    rng, at_once, found, total = np.random.default_rng(SEED), 0, 0, 100 if quick else 400
    for _ in range(total):
        a, b = rng.choice(len(signature), 2, replace=False)
        n, m = rng.integers(8, len(data.time_s[a]) - 4, 2)
        joined = torch.cat((signature[a][:n], signature[b][m : m + 4]))
        starts = split_pool(layer.detector, joined, np.arange(n + 4) * 8.0)
        at_once += int(n in starts)
        found += int(any(n <= start <= n + 2 for start in starts))
    yield Row("splices", "detector", f"{total} splices", "split within three windows [%]", 100 * found / total)
    yield Row("splices", "detector", f"{total} splices", "split at the splice [%]", 100 * at_once / total)


def sensors(quick: bool) -> Iterator[Row]:
    """Recordings of six minutes whose sensor changes: a new zero, some after a slip, or a new line."""
    from pulsebayes.inference.pooling import find_changes
    from pulsebayes.simulators.recorded import SensorChanges

    _, layer = _model()
    data = simulated(
        4 if quick else 160, 20 if quick else 45, SEED + 8, length_s=360.0, changes=SensorChanges(share=1.0, slip=4.0)
    )
    found, patients = dict[str, list[float]](), list[float]()
    for u, t, (change_s, step, line) in zip(_signatures(data), data.time_s, data.change, strict=True):
        at = int((t < change_s).sum())
        if not 3 <= at <= len(t) - 3:
            continue
        near = [c for c in find_changes(layer.detector, u, t) if abs(c.at - at) < 3]
        hit = float(any(c.kind == "sensor" for c in near))
        patients.append(float(any(c.kind == "patient" for c in near)))
        sizes = [f"zero by {a} to {b} mmHg" for a, b in ((1, 5), (5, 10), (10, 40)) if a <= abs(step) < b and not line]
        for kind in ("any", *(["line, new frequency and damping"] if line else []), *sizes):
            found.setdefault(kind, []).append(hit)
    measure = "found within three windows [%]"
    for kind, hits in found.items():
        yield Row("new sensor state", kind, f"{len(hits)} changes", measure, 100 * float(np.mean(hits)))
    share = 100 * float(np.mean(patients))
    yield Row("new sensor state", "any", f"{len(patients)} changes", "taken for a new patient [%]", share)


def _signatures(data: Recordings) -> Any:
    """What the detector sees of every window, (R, W, signature)."""
    import torch

    bundle, layer = _model()
    with torch.no_grad():
        flat = layer.npe.signature(layer.npe.unit(bundle.npe, torch.from_numpy(data.context).flatten(0, 1)))
    return flat.unflatten(0, data.context.shape[:2])


def day(quick: bool) -> Iterator[Row]:
    """Processor time of a day of 8 s windows, contexts to draws and samples to answers, and of a monitor's update."""
    bundle, layer = _model()
    windows = 200 if quick else 10800
    context = np.random.default_rng(0).standard_normal((windows, len(layer.npe.h_mean))).astype(np.float32)
    time_s = 8.0 * np.arange(windows)
    draws = {"window": lambda: _windows_alone(context, 0),
             "recording": lambda: _pooled(context, time_s, 0, causal=False),
             "causal": lambda: _pooled(context, time_s, 0, causal=True)}  # fmt: skip
    yield from timed(draws, f"a day of {windows} windows, {N_DRAWS} draws, contexts to draws")
    every_s = 4800.0 if quick else 64.0
    works = days(bundle, layer, every_s)
    yield from timed(works, f"24 h, a window every {every_s:g} s, 2,000 draws, samples to answers")
    yield from updates(bundle, layer, 20 if quick else 300)


if __name__ == "__main__":
    run("inference", {"in-distribution": in_distribution, "trends": trends, "shifted": shifted,
                      "repaired": repaired, "pool-sizes": pool_sizes, "anchors": anchors, "drift": drift, "ages": ages,
                      "splices": splices, "sensors": sensors, "day": day, "atlas": atlas})  # fmt: skip
