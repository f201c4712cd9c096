r"""Scores without features: volumes on three-Gaussian residuals, and time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from pulsebayes.calibration.conformal import (
    BoxGauge,
    EntropicRank,
    ExactRank,
    NormGauge,
    SemidiscreteRank,
    TunedRank,
    conformal_limit,
)
from pulsebayes.calibration.conformal.gauge import AbstractGauge
from pulsebayes.calibration.conformal.residual import residual_volume

from .conformal_rivals import MISSING, ott_name, ott_scores, pot_scores
from .conformal_sets import three_gaussians
from .rows import Row, best

TUNED = "OTCP, tuned (default)"
GAUGES: dict[str, AbstractGauge] = {
    "ellipsoid": NormGauge(),
    "box": BoxGauge(),
    "OTCP, eps .1": EntropicRank(0.1),
    "OTCP, eps .05": EntropicRank(0.05),
    "OTCP, eps .03": EntropicRank(),
    "OTCP, eps .03, radii of the ball": EntropicRank(radii="ball"),
    "OTCP, eps .01": EntropicRank(0.01),
    TUNED: TunedRank(),
    "OT-CP, exact": ExactRank(),
    "OT-CP, semidiscrete": SemidiscreteRank(),
}
SLOW = ("OT-CP, exact", "OT-CP, semidiscrete")
BOX = np.array([[-2.2, 2.2], [-2.2, 2.2]])
"""Padded box in which rivals' volumes are measured."""
_POINTS = np.random.default_rng(0).uniform(BOX[:, 0], BOX[:, 1], size=(20000, 2))
AREA = float(np.prod(BOX[:, 1] - BOX[:, 0]))


def volumes(quick: bool) -> Iterator[Row]:
    """Mean volume and coverage over draws of 750 scores for the fit and 250 for the limit, alpha .1."""
    gauges = {name: gauge for name, gauge in GAUGES.items() if name not in (TUNED, *SLOW)}
    yield from _volumes(gauges, range(3 if quick else 100))
    if not quick:
        yield from _volumes(gauges, range(100, 400))


def tuned_volumes(draws: range, quick: bool) -> Iterator[Row]:
    """The same for the default, whose tuning takes seconds a draw."""
    if not quick:
        yield from _volumes({name: GAUGES[name] for name in ("ellipsoid", TUNED)}, draws)


def slow_volumes(quick: bool) -> Iterator[Row]:
    """The same for other slow ranks and for rivals, on the first of these draws."""
    if not quick:
        yield from _volumes({name: GAUGES[name] for name in ("ellipsoid", *SLOW)}, range(20))
        yield from _rivals(20)


def _volumes(gauges: dict[str, AbstractGauge], draws: range) -> Iterator[Row]:
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in gauges}
    for seed in draws:
        y, new = _draw(seed)
        for name, gauge in gauges.items():
            own = gauge.fit(y[:750], seed=seed)
            limit = conformal_limit(own(y[750:]), 0.1)
            found[name].append((residual_volume(own, limit, 10000, seed), float((own(new) <= limit).mean())))
    yield from _told(found, f"draws {draws.start} to {draws.stop - 1}")
    ellipsoid = np.array(found["ellipsoid"])[:, 0]
    for name, pairs in found.items():
        if name.startswith("OTCP"):
            gap = ellipsoid - np.array(pairs)[:, 0]
            setting = f"draws {draws.start} to {draws.stop - 1}"
            yield Row("three Gaussians", name, setting, "volume below ellipsoid", float(gap.mean()), float(gap.std()))


def _rivals(draws: int) -> Iterator[Row]:
    found: dict[str, list[tuple[float, float]]] = {"POT, plain OT-CP": [], ott_name(): []}
    for seed in range(draws):
        y, new = _draw(seed)
        for name, score in (
            ("POT, plain OT-CP", pot_scores(y[:750], seed)),
            (ott_name(), ott_scores(y[:750], n_target=4096)),
        ):
            if score is not None:
                limit = conformal_limit(score(y[750:]), 0.1)
                volume = AREA * float((score(_POINTS) <= limit).mean())
                found[name].append((volume, float((score(new) <= limit).mean())))
    yield from _told(found, f"draws 0 to {draws - 1}")


def _draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    return three_gaussians(np.random.default_rng(seed), 1000), three_gaussians(np.random.default_rng([seed, 1]), 2000)


def _told(found: dict[str, list[tuple[float, float]]], which: str) -> Iterator[Row]:
    for name, pairs in found.items():
        if not pairs:
            yield Row("three Gaussians", name, "", "volume", MISSING)
            continue
        mean, spread = np.mean(pairs, axis=0), np.std(pairs, axis=0)
        setting = f"750 fit, 250 limit, alpha = 0.1, {which}"
        for k, measure in enumerate(("volume", "coverage")):
            yield Row("three Gaussians", name, setting, measure, float(mean[k]), float(spread[k]))


def speed(quick: bool) -> Iterator[Row]:
    """Fit on 1,000 residuals with 8,192 reference points; membership of 10,000 candidates."""
    r = three_gaussians(np.random.default_rng(0), 1000)
    candidates = three_gaussians(np.random.default_rng(1), 10_000)
    repeats = 1 if quick else 3
    for epsilon in (0.03,) if quick else (0.1, 0.03, 0.01):
        setting = f"n = 1,000, 8,192 reference points, eps {epsilon:g}"
        seconds, spread, rank = best(lambda e=epsilon: EntropicRank(e, 8192).fit(r), repeats)
        yield Row("speed", "OTCP", setting, "fit [s]", seconds, spread)
        seconds, spread, _ = best(lambda own=rank: own(candidates), repeats)
        yield Row("speed", "OTCP", setting, "membership of 10,000 [s]", seconds, spread)
        yield Row("speed", "OTCP", setting, "L1 error of the marginal", rank.error)
    if quick:
        return
    begun = time.perf_counter()
    TunedRank().fit(r)
    yield Row("speed", "OTCP, tuned", "n = 1,000", "fit with tuning [s]", time.perf_counter() - begun)
    begun = time.perf_counter()
    score = ott_scores(r)
    if score is None:
        yield Row("speed", ott_name(), "", "fit [s]", MISSING)
        return
    score(r)
    first = time.perf_counter() - begun
    seconds, spread, _ = best(lambda: ott_scores(r)(r), repeats)  # type: ignore[misc]
    yield Row(
        "speed", ott_name(), "n = 1,000, 8,192 points, eps .1", "fit and first scores, compiled [s]", seconds, spread
    )
    yield Row("speed", ott_name(), "n = 1,000, 8,192 points, eps .1", "the same, first call [s]", first)
    seconds, spread, _ = best(lambda: score(candidates), repeats)
    yield Row("speed", ott_name(), "n = 1,000, 8,192 points, eps .1", "membership of 10,000 [s]", seconds, spread)
