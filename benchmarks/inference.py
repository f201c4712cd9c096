r"""Inference: windows alone, pooled over the recording, causal, with anchors; against simpler ways and rules.

Simulated recordings of half an hour with drift and events, in-distribution and of a shifted reality; spliced
recordings; and the time of a day. Run `python -m benchmarks.inference --out DIR`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from . import inference_rivals as rivals
from .rows import Row, run

MODEL = "radial-abp"
N_DRAWS = 400
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


@cache
def _model() -> tuple[Any, Any]:
    import torch

    from pulsebayes.inference.bundle import Bundle, find_bundle
    from pulsebayes.inference.pooling import load_pooling

    torch.set_num_threads(1)
    folder = find_bundle(MODEL)
    bundle = Bundle.load(folder)
    return bundle, load_pooling(folder, bundle)


def simulated(n: int, windows: int, seed: int, *, shifted: bool = False) -> Recordings:
    """Half-hour recordings; shifted: arteries of one length, other walls, inflow and beds, sensors twice as bad."""
    from pulsebayes.inference.pooling import embed_windows
    from pulsebayes.simulators.network.linear import LinearNetwork
    from pulsebayes.simulators.recordings import draw_courses
    from pulsebayes.simulators.sensors import Gain, Offset, SensorModel

    bundle, _ = _model()
    rng = np.random.default_rng(seed)
    population = "clinical-fixed-lengths" if shifted else "clinical"
    simulator = LinearNetwork(population=population, sites=("Radial",), duration_s=9.5)
    times = np.repeat(np.linspace(0.0, HALF_HOUR - 8.0, windows)[None], n, axis=0)
    course = draw_courses(simulator, rng, times)
    sensor = SensorModel.radial_line()
    if shifted:
        space, theta = simulator.space, course.theta.copy()
        for name, factor in (("small_vessel_stiffness", 1.5), ("wall_viscosity", 2.0), ("peak_time_fraction", 1.2),
                             ("deceleration_exponent", 1.3), ("terminal_impedance", 1.4)):  # fmt: skip
            d = space.index(name)
            theta[..., d] = np.clip(theta[..., d] * factor, space.low[d], space.high[d])
        course = replace(course, theta=theta)
        sensor = replace(sensor, gain=Gain(0.02), offset=Offset(5.0))
    parts = [_recorded(simulator, course, sensor, slice(i, i + 4), seed) for i in range(0, n, 4)]
    waves, quantities, usable = (np.concatenate(p) for p in zip(*parts, strict=True))
    columns = dict(zip(simulator.quantity_names, np.moveaxis(quantities, -1, 0), strict=True))
    theta = bundle.outputs.encode({k: v.reshape(-1) for k, v in columns.items()})
    flat = np.where(usable.reshape(-1, 1), waves.reshape(-1, waves.shape[-1]), 90.0)
    context = embed_windows(bundle, flat).reshape(n, windows, -1)
    return Recordings(waves, theta.reshape(n, windows, -1), context, times, usable)


def _recorded(simulator: Any, course: Any, sensor: Any, rows: slice, seed: int) -> tuple[np.ndarray, ...]:
    from pulsebayes.simulators.recordings import simulate_recordings

    part = replace(course, theta=course.theta[rows], time_s=course.time_s[rows])
    made = simulate_recordings(simulator, part, site="Radial", sensor=sensor, seed=seed + rows.start)
    return made.waves, made.quantities, made.usable.astype(bool)


def _windows_alone(context: np.ndarray, seed: int) -> np.ndarray:
    """Draws of the window model, (W, n, D)."""
    from pulsebayes.inference.pooling.measure import window_draws

    return window_draws(_model()[0], context, N_DRAWS, seed=seed)


def _pooled(context: np.ndarray, time_s: np.ndarray, seed: int, *, causal: bool) -> tuple[np.ndarray, np.ndarray]:
    """Slow and fast draws of every window given its pool, (W, n, .)."""
    from pulsebayes.inference.pooling.measure import pooled_draws

    return pooled_draws(*_model(), context, time_s, N_DRAWS, causal=causal, seed=seed)


def _rivals(alone: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Simpler pooling of the windows' own draws: product by importance weights, and a smoother of stroke volume."""
    bundle, _ = _model()
    names = bundle.outputs.names
    c, p, v = (names.index(name) for name in ("C", "MAP", "SV"))
    log_c, pressure = np.log(alone[..., c]), np.maximum(alone[..., p], 20.0)
    reference = log_c + rivals.PRESSURE_POWER * np.log(pressure / 90.0)
    prior = np.log(bundle.prior[:, c]) + rivals.PRESSURE_POWER * np.log(np.maximum(bundle.prior[:, p], 20.0) / 90.0)
    target = rivals.product(log_c, pressure, float(prior.mean()), float(prior.std()))
    rng = np.random.default_rng(seed)
    weighted = np.stack([rivals.reweighted(rng, d, r, target) for d, r in zip(alone, reference, strict=True)])
    log_v = np.log(alone[..., v])
    mean, sd = rivals.smoothed(log_v.mean(1), log_v.std(1))
    drawn = alone.copy()
    drawn[..., v] = np.exp(mean[:, None] + sd[:, None] * rng.standard_normal(log_v.shape))
    return {"product over the prior": weighted, "random-walk smoother": drawn}


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
    names = _model()[0].outputs.names
    scores: dict[str, _Score] = {}
    ranks: dict[str, list[float]] = {}
    for r in range(len(data.context)):
        ok = np.flatnonzero(data.usable[r])
        truth, context, time_s = data.theta[r, ok], data.context[r, ok], data.time_s[r, ok]
        alone = _windows_alone(context, r)
        answers = {"window": alone, **_rivals(alone, r)}
        answers["causal"] = _pooled(context, time_s, r, causal=True)[1]
        answers["recording"] = _pooled(context, time_s, r, causal=False)[1]
        for name, draws in answers.items():
            scores.setdefault(name, _Score.empty()).add(draws, truth)
        for name, rank in _rule_ranks(data.waves[r, ok], truth).items():
            ranks.setdefault(name, []).append(rank)
    setting = f"{len(data.context)} recordings of 30 min, {data.context.shape[1]} windows"
    for name, score in scores.items():
        yield from score.rows(task, name, setting, names)
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
    yield from _compare("in-distribution", simulated(2 if quick else 60, 20 if quick else 75, SEED))


def shifted(quick: bool) -> Iterator[Row]:
    """A reality unlike the training's."""
    yield from _compare("shifted reality", simulated(2 if quick else 40, 20 if quick else 75, SEED + 1, shifted=True))


def pool_sizes(quick: bool) -> Iterator[Row]:
    """Coverage of slow and fast quantities with 1, 10 and 200 windows."""
    names = _model()[0].outputs.names
    data = simulated(2 if quick else 40, 20 if quick else 200, SEED + 2)
    rng = np.random.default_rng(SEED)
    for size in (1, 10, 20 if quick else 200):
        score = _Score.empty()
        for r in range(len(data.context)):
            ok = np.flatnonzero(data.usable[r])
            for _ in range(1 if size > 10 else 40 // size):
                rows = np.sort(rng.choice(ok, min(size, len(ok)), replace=False))
                draws = _pooled(data.context[r, rows], data.time_s[r, rows], r, causal=False)[1]
                low, l5, h5, high = np.quantile(draws, [0.05, 0.25, 0.75, 0.95], axis=1)
                truth = data.theta[r, rows]
                score.held90.append((truth >= low) & (truth <= high))
                score.held50.append((truth >= l5) & (truth <= h5))
        for level, held in ((90, score.held90), (50, score.held50)):
            for name, share in zip(names, np.concatenate(held).mean(0), strict=True):
                yield Row(
                    "pool size", "recording", f"{size} windows", f"coverage at {level} %, {name} [%]", 100 * share
                )


def anchors(quick: bool) -> Iterator[Row]:
    """One thermodilution of 10 % error in the middle of the recording: error of the other windows."""
    from pulsebayes.inference.pooling.anchors import Anchor, SlowLikelihood

    bundle, _ = _model()
    data = simulated(2 if quick else 30, 20, SEED + 3)
    rng = np.random.default_rng(SEED)
    errors: dict[str, list[float]] = {"recording": [], "recording, one anchor": []}
    held: list[np.ndarray] = []
    for r in range(len(data.context)):
        ok = np.flatnonzero(data.usable[r])
        slow, fast = _pooled(data.context[r, ok], data.time_s[r, ok], r, causal=False)
        truth = data.theta[r, ok, 0] * data.theta[r, ok, 1] / 1000
        at = len(ok) // 2
        anchor = Anchor("CO", float(truth[at] * np.exp(0.1 * rng.standard_normal())), 0.0, 0.1 * float(truth[at]))
        one = SlowLikelihood.of(anchor, slow[at], bundle.outputs.derive(fast[at]))
        for i in range(len(ok)):
            if i == at:
                continue
            output = fast[i, :, 0] * fast[i, :, 1] / 1000
            weights = np.exp(one.log(slow[i]))
            again = output[rng.choice(len(output), len(output), p=weights / weights.sum())]
            errors["recording"].append(abs(float(np.log(np.median(output) / truth[i]))))
            errors["recording, one anchor"].append(abs(float(np.log(np.median(again) / truth[i]))))
            held.append((truth[i] >= np.quantile(again, 0.05)) & (truth[i] <= np.quantile(again, 0.95)))
    setting = f"{len(data.context)} recordings, 20 windows"
    for name, values in errors.items():
        yield Row("anchors", name, setting, "CO median |log error|", float(np.median(values)))
    yield Row("anchors", "recording, one anchor", setting, "coverage at 90 %, CO [%]", float(100 * np.mean(held)))


def splices(quick: bool) -> Iterator[Row]:
    """Two recordings joined: share split within three windows; splits an hour where nothing was joined."""
    import torch

    from pulsebayes.inference.pooling import split_pool

    _, layer = _model()
    data = simulated(4 if quick else 60, 20 if quick else 225, SEED + 4)
    unit = layer.npe.unit(torch.from_numpy(data.context))
    hours = data.usable.sum() * 8.0 / 3600
    recordings = zip(unit, data.usable, data.time_s, strict=True)
    false = sum(len(split_pool(layer.detector, u[k], t[k])) - 1 for u, k, t in recordings)
    yield Row("splices", "detector", f"{len(unit)} recordings of 30 min", "false splits [1/h]", float(false / hours))
    rng, found, total = np.random.default_rng(SEED), 0, 100 if quick else 1000
    for _ in range(total):
        a, b = rng.choice(len(unit), 2, replace=False)
        n, m = rng.integers(8, len(data.time_s[a]) - 4, 2)
        joined = torch.cat((unit[a][:n], unit[b][m : m + 4]))
        time_s = np.arange(n + 4) * 8.0
        found += int(n in split_pool(layer.detector, joined, time_s))
    yield Row("splices", "detector", f"{total} splices", "split within three windows [%]", 100 * found / total)


def day(quick: bool) -> Iterator[Row]:
    """Processor time of a day of windows, window by window and pooled, from contexts to draws of 1,000."""
    _, layer = _model()
    windows = 200 if quick else 10800
    context = np.random.default_rng(0).standard_normal((windows, layer.npe.config.inputs)).astype(np.float32)
    time_s = 8.0 * np.arange(windows)
    seconds = {}
    for name, work in (("window", lambda: _windows_alone(context, 0)),
                       ("recording", lambda: _pooled(context, time_s, 0, causal=False)),
                       ("causal", lambda: _pooled(context, time_s, 0, causal=True))):  # fmt: skip
        begun = time.process_time()
        work()
        seconds[name] = time.process_time() - begun
        yield Row("a day", name, f"{windows} windows, {N_DRAWS} draws", "processor time [s]", seconds[name])
    yield Row("a day", "recording / window", f"{windows} windows", "ratio", seconds["recording"] / seconds["window"])


if __name__ == "__main__":
    run("inference", {"in-distribution": in_distribution, "shifted": shifted, "pool-sizes": pool_sizes,
                      "anchors": anchors, "splices": splices, "day": day})  # fmt: skip
