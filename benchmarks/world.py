r"""What the freedoms of the clinical population buy: how near real recordings come, and what is known of an adult.

Each variant takes a group of freedoms from the population (its parameters held at their medians), or doubles it, or
samples heart rate otherwise. Nearness is the distance of a real window to its nearest simulations in the pulse shape
of the domain verdict, over that of windows of the clinical population itself, in one metric for all variants: the
median over the windows of a recording, then over recordings. Contraction is the share of log variance that
gradient-boosted trees on the same pulse shapes remove on held-out simulations of the variant: a floor, alike for all;
`radial-abp` reaches more. Real recordings need `$PULSEBAYES_DATA` or `../shared/data`; without them, no nearness.

python -m benchmarks.world [--quick] [--json] [--out DIR]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial

import numpy as np

from pulsebayes.inference._nearness import Nearness, reduce_view, views_of
from pulsebayes.inference.pulse_shape import PulseShape, pulse_shape
from pulsebayes.inference.recipe import find_recipe
from pulsebayes.simulators.registry import build
from pulsebayes.simulators.sensors import SensorModel
from pulsebayes.simulators.status import usable
from pulsebayes.waveforms.quality import assess

from .nonsense import FS, SAMPLES, good_pressure, real_folder
from .rows import Row, run

SEED = 311
"""Of parameters, simulations and sensors; no recipe uses it."""
GROUPS = {
    "arm": ("arm_resistance", "arm_compliance"),
    "terminals": ("terminal_impedance", "bed_compliance"),
    "viscosity": ("wall_viscosity", "blood_viscosity"),
    "stiffening": ("small_vessel_stiffness",),
    "inflow shape": ("peak_time_fraction", "reverse_fraction", "deceleration_exponent"),
}
FREEDOMS = tuple(name for names in GROUPS.values() for name in names)
SWINGS = {"rate_swing": 0.02, "stroke_swing": 0.03, "irregularity": 0.02}
"""Least variability of the variant that cannot be calm."""
TOLD = ("SV", "CO", "SVR", "LVET", "PWV", "C")

Change = Callable[[dict[str, np.ndarray], dict[str, np.ndarray]], None]


def held(names: tuple[str, ...], theta: dict[str, np.ndarray], median: dict[str, np.ndarray]) -> None:
    """Puts parameters at their medians."""
    for name in names:
        theta[name][:] = median[name]


def doubled(names: tuple[str, ...], theta: dict[str, np.ndarray], median: dict[str, np.ndarray]) -> None:
    """Squares the ratio of factors to their medians."""
    for name in names:
        theta[name][:] = theta[name] ** 2 / median[name]


def never_calm(theta: dict[str, np.ndarray], median: dict[str, np.ndarray]) -> None:
    """Gives every heart a variability of its own."""
    for name, least in SWINGS.items():
        theta[name][:] = np.maximum(theta[name], least)


def lognormal_rate(theta: dict[str, np.ndarray], median: dict[str, np.ndarray]) -> None:
    """Puts most heart rates near 75 /min."""
    draws = np.random.default_rng(SEED).standard_normal(len(theta["heart_rate"]))
    theta["heart_rate"][:] = np.clip(75 * np.exp(0.2 * draws), 35, 160)


CLINICAL, WIDE = "clinical", "clinical-wide"
VARIANTS: dict[str, Change | None] = {
    CLINICAL: None,
    **{f"{group} held": partial(held, names) for group, names in GROUPS.items()},
    "all five held": partial(held, FREEDOMS),
    "arm doubled": partial(doubled, GROUPS["arm"]),
    "terminals doubled": partial(doubled, GROUPS["terminals"]),
    "wall viscosity doubled": partial(doubled, ("wall_viscosity",)),
    "terminal impedance doubled": partial(doubled, ("terminal_impedance",)),
    WIDE: partial(doubled, ("wall_viscosity", "terminal_impedance")),
    "stiffening doubled": partial(doubled, GROUPS["stiffening"]),
    "never calm": never_calm,
    "heart rate lognormal": lognormal_rate,
}


def shape_of(window: np.ndarray) -> PulseShape | None:
    """Shape of the pulses of a window that the gate lets pass."""
    return pulse_shape(window, FS) if assess(window, FS).usable else None


@cache
def simulated(variant: str, n: int) -> tuple[list[PulseShape], np.ndarray]:
    """Pulse shapes of a variant, and the logarithms of what made them (N, 6)."""
    recipe = find_recipe("radial-abp")
    simulator = build(recipe.simulate.model, **recipe.simulate.config)
    names = simulator.space.names
    columns = dict(zip(names, simulator.space.sample(np.random.default_rng(SEED), n).T.copy(), strict=True))
    middle = simulator.space.sample_quantiles(np.full((1, simulator.space.dim), 0.5))[0]
    if (change := VARIANTS[variant]) is not None:
        change(columns, dict(zip(names, middle, strict=True)))
    quantities = [str(name) for name in simulator.quantity_names]
    theta, sensor = np.stack([columns[name] for name in names], axis=1), SensorModel()
    shapes, told = [], []
    for i in range(0, n, 256):
        part = simulator.simulate(theta[i : i + 256], SEED + i)
        good = usable(np.asarray(part.status))
        waves = np.asarray(part.waves)[good, 0]
        seen = sensor.apply(waves, np.random.default_rng(SEED + i), fs=FS, out_samples=SAMPLES)
        values = np.log(np.asarray(part.quantities)[good][:, [quantities.index(name) for name in TOLD]])
        for window, row in zip(seen, values, strict=True):
            if (shape := shape_of(window)) is not None:
                shapes.append(shape)
                told.append(row)
    return shapes, np.array(told)


@cache
def real_shapes() -> dict[str, list[PulseShape]]:
    """Pulse shapes of good real windows, by recording."""
    folder = real_folder()
    found = {} if folder is None else good_pressure(folder)
    shapes = {name: [s for w in windows if (s := shape_of(w)) is not None] for name, windows in found.items()}
    return {name: some for name, some in shapes.items() if some}


@cache
def distances(variant: str, view: str, n: int) -> np.ndarray:
    """Distance of each real recording to the variant over that of the clinical population to itself, in one view."""
    reference = views_of(simulated(CLINICAL, n)[0])[view]
    points = views_of(simulated(variant, n)[0])[view]
    half = len(reference) // 2
    plain = Nearness.of({f"{view}/{k}": value for k, value in reduce_view(view, reference[:half]).items()}, view)
    usual = float(np.median(plain.distances(reference[half:])))
    inner = (points[:half] - plain.centre) / plain.scale @ plain.basis
    near = plain._replace(points=inner, norms=(inner**2).sum(axis=1))
    return np.array([np.median(near.distances(views_of(some)[view])) / usual for some in real_shapes().values()])


def nearness(variant: str, n: int) -> Iterator[tuple[str, float]]:
    """What the distances of real recordings say of a variant."""
    for view in ("pulse", "upstroke"):
        here, first = distances(variant, view, n), distances(CLINICAL, view, n)
        yield f"{view}, median recording", float(np.median(here))
        yield f"{view}, farthest recording", float(here.max())
        yield f"{view}, recordings nearer by 2 % than the clinical population", float((here < 0.98 * first).sum())
        yield f"{view}, recordings farther by 2 %", float((here > 1.02 * first).sum())


def contraction(variant: str, n: int) -> dict[str, float]:
    """Share of log variance that boosted trees on the pulse shapes remove, on every fourth window held out."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    shapes, told = simulated(variant, n)
    x = np.array([np.concatenate([s.pulse, s.upstroke, s.traits]) for s in shapes])
    out = np.arange(len(x)) % 4 == 0
    removed = {}
    for name, y in zip(TOLD, told.T, strict=True):
        trees = HistGradientBoostingRegressor(max_iter=200, random_state=0).fit(x[~out], y[~out])
        removed[name] = 1 - float(np.mean((trees.predict(x[out]) - y[out]) ** 2) / np.var(y[out]))
    return removed


def rows_of(variant: str, quick: bool) -> Iterator[Row]:
    """One variant's rows."""
    n = 1024 if quick else 4096
    if real_shapes():
        setting = f"{n} simulations, {len(real_shapes())} recordings"
        for measure, value in nearness(variant, n):
            yield Row("nearness", variant, setting, measure, value)
    for name, value in contraction(variant, n).items():
        yield Row("contraction", variant, f"{n} simulations", name, value)


PARTS: dict[str, Callable[[bool], Iterator[Row]]] = {
    name.replace(",", "").replace(" ", "-"): partial(rows_of, name) for name in VARIANTS
}

if __name__ == "__main__":
    run("world", PARTS)
