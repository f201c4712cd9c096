r"""What the gate and the domain verdict refuse together: nonsense, held-out simulations, good real recordings.

Run as `python -m benchmarks.domain [--quick] [--teeth] [--json] [--model BUNDLE]`. The domain model is that of the
bundle; where there is none, one is fitted on fresh simulations. Real recordings need `$PULSEBAYES_DATA` or
`../shared/data`.

Half or double speed *of no patient*: windows whose heart rate and ejection time, so played, no simulated adult has,
neither among the draws of the bundle's prior nor among the simulations that the tempo was fitted on. What ejection time
a real window has is not known; the model's tempo reads it from the window at its own speed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import NamedTuple

import numpy as np

from pulsebayes.calibration.produce import sensor_of
from pulsebayes.calibration.tempo import fit_tempo, of_no_patient, played
from pulsebayes.inference.domain import DomainModel, fit_domain
from pulsebayes.inference.pulse_shape import TRAITS, pulse_shape
from pulsebayes.inference.recipe import Recipe, find_recipe
from pulsebayes.inference.tempo import tempo_features
from pulsebayes.simulators.network.quantities import QUANTITY_UNITS
from pulsebayes.simulators.registry import build
from pulsebayes.simulators.status import usable
from pulsebayes.waveforms.quality import assess

from .nonsense import (
    FS,
    SAMPLES,
    as_arterial,
    breathing,
    distorted,
    good_pressure,
    leads,
    made_up,
    oximetry,
    pulmonary,
    real_folder,
    teeth_and_breaths,
)
from .rows import Row

SEED = 2211
"""Of the held-out simulations and of all that is made up; no recipe uses it."""
LONG_S = 18.5
"""A simulation from which a window of 16 s is cut wherever the line has settled [s]."""
COLUMNS = ("gate refused", "outside", "refused in all", "shifted")
ABSENT = "real recordings absent: set PULSEBAYES_DATA; rows from simulations and made-up signals only"


class Simulated(NamedTuple):
    """Fresh simulations: pressures of 18.5 s [mmHg], heart rates [1/min], ejection times [ms]."""

    waves: np.ndarray
    rates: np.ndarray
    ejections: np.ndarray


def simulated(recipe: Recipe, n: int, seed: int) -> Simulated:
    """Usable radial pressures of a recipe's population, long enough to be played twice as fast."""
    simulator = build(recipe.simulate.model, **{**recipe.simulate.config, "duration_s": LONG_S})
    theta = simulator.space.sample(np.random.default_rng(seed), n)
    parts = [simulator.simulate(theta[i : i + 256], seed + i) for i in range(0, n, 256)]
    kept = [usable(np.asarray(p.status)) for p in parts]
    waves = np.concatenate([np.asarray(p.waves)[k, 0] for p, k in zip(parts, kept, strict=True)])
    known = np.concatenate([np.asarray(p.quantities)[k] for p, k in zip(parts, kept, strict=True)])
    rate, ejection = (list(QUANTITY_UNITS).index(name) for name in ("HR", "LVET"))
    return Simulated(waves, known[:, rate], known[:, ejection])


class World(NamedTuple):
    """A domain model, where it comes from, the recipe of its simulations, their heart rates and ejection times."""

    model: DomainModel
    origin: str
    recipe: Recipe
    rates: np.ndarray
    ejections: np.ndarray


def load_world(name: str, quick: bool) -> World:
    """The world of a bundle, its domain model fitted here if it has none."""
    from pulsebayes.calibration.validation import recipe_of
    from pulsebayes.inference.bundle import Bundle, BundleError, find_bundle

    recipe = find_recipe("radial-abp")
    try:
        bundle = Bundle.load(find_bundle(name))
    except BundleError as error:
        print(f"{error}: fitting a domain model on fresh simulations", file=sys.stderr)
    else:
        if bundle.domain:
            known = recipe_of(bundle)
            known = dataclasses.replace(known, sensor=bundle.training.get("sensor") or known.sensor)
            prior = dict(zip(bundle.outputs.names, bundle.prior.T, strict=True))
            return World(DomainModel.from_arrays(bundle.domain), bundle.name, known, prior["HR"], prior["LVET"])
        print(f"{name} has no domain model: fitting one on fresh simulations", file=sys.stderr)
    found = simulated(recipe, 2000 if quick else 16000, SEED + 1_000_000)
    sensor = sensor_of(recipe)
    model = fit_domain(found.waves, sensor, fs=FS)
    tempo = fit_tempo(*found, sensor, fs=FS, domain=model)
    return World(model.with_tempo(tempo), "fitted here", recipe, found.rates, found.ejections)


def cases(world: World, quick: bool) -> dict[str, np.ndarray]:
    """Windows by what they are."""
    rng = np.random.default_rng(SEED)
    n = 100 if quick else 500
    fresh = simulated(world.recipe, 256 if quick else 2200, SEED)
    sensor = sensor_of(world.recipe)
    usual, wide = (sensor.apply(fresh.waves, rng, fs=FS, width=width) for width in (1.0, 2.0))
    found = {"simulated": usual, "simulated, sensor twice as wide": wide}
    found |= {f"simulated, {how}": windows for how, windows in distorted(usual[:n]).items()}
    long = sensor.apply(fresh.waves, rng, fs=FS, out_samples=2 * SAMPLES)
    for slower, how, source in ((2.0, "half speed", usual), (0.5, "double speed", long)):
        nobody = _nobody(world, fresh.rates / slower, fresh.ejections * slower)
        found[f"simulated, {how}, of no patient"] = _all_played(source[nobody], slower)
    found |= made_up(rng, n) | teeth(n)
    real = real_folder()
    if real is None:
        print(ABSENT, file=sys.stderr)
        return found
    good = good_pressure(real)
    everything = np.concatenate(list(good.values()))
    pleth = {name: as_arterial(windows, rng) for name, windows in oximetry(real).items()}
    found |= {"real electrocardiograms, scaled": as_arterial(leads(real), rng)}
    found |= {f"real, {how}": windows for how, windows in distorted(everything).items()}
    found |= _real_of_no_patient(world, everything)
    found |= {"real oximetry, scaled": np.concatenate(list(pleth.values()))}
    found |= {f"- oximetry {name}": windows for name, windows in pleth.items()}
    found |= {"real pulmonary pressure": pulmonary(real), "real arterial pressure": everything}
    return found | {f"- arterial {name}": windows for name, windows in good.items()}


def teeth(n: int) -> dict[str, np.ndarray]:
    """Sawtooths and respiration, which need no simulations; their draws are their own."""
    rng = np.random.default_rng(SEED + 1)
    found = teeth_and_breaths(rng, n)
    real = real_folder()
    return found if real is None else found | {"real respiration, scaled": as_arterial(breathing(real), rng)}


def _nobody(world: World, rates: np.ndarray, ejections: np.ndarray) -> np.ndarray:
    """Whether no patient has heart rates and ejection times, those that the tempo knows of included."""
    nobody = of_no_patient(rates, ejections, world.rates, world.ejections)
    if world.model.tempo is None:
        return nobody
    known, least, greatest = world.model.tempo.arrays["edges"]
    logs = np.log(rates)
    low, high = np.interp(logs, known, least), np.interp(logs, known, greatest)
    held = (logs >= known[0]) & (logs <= known[-1]) & (ejections >= low) & (ejections <= high)
    return np.asarray(nobody & ~held)


def _all_played(windows: np.ndarray, slower: float) -> np.ndarray:
    return np.array([played(window, slower)[:SAMPLES] for window in windows])


def _real_of_no_patient(world: World, windows: np.ndarray) -> dict[str, np.ndarray]:
    """Real windows played at half and twice the speed; at twice, 4 s are left of each."""
    if world.model.tempo is None:
        return {}
    shapes = [(w, s) for w in windows if (s := pulse_shape(w, FS)) is not None]
    rates = np.exp([s.traits[list(TRAITS).index("rate")] for _, s in shapes])
    ejections = world.model.tempo.read(np.array([tempo_features(s) for _, s in shapes])).ejection
    known, found = np.array([w for w, _ in shapes]), {}
    for slower, how in ((2.0, "half speed"), (0.5, "double speed")):
        nobody = _nobody(world, rates / slower, ejections * slower)
        found[f"real, {how}, of no patient"] = _all_played(known[nobody], slower)
    return found


def shares(model: DomainModel, windows: np.ndarray) -> dict[str, float]:
    """Shares of all windows [%]: refused by the gate, outside, either, shifted."""
    passed = [window for window in windows if assess(window, FS).usable]
    verdicts = [verdict.verdict for verdict in model.assess_many(np.array(passed))]
    outside = verdicts.count("outside")
    gate = len(windows) - len(passed)
    counts = (gate, outside, gate + outside, verdicts.count("shifted"))
    return {name: 100 * count / len(windows) for name, count in zip(COLUMNS, counts, strict=True)}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.domain")
    parser.add_argument("--quick", action="store_true", help="fewer simulations")
    parser.add_argument("--json", action="store_true", help="print a list of rows")
    parser.add_argument("--teeth", action="store_true", help="only sawtooths and respiration")
    parser.add_argument("--model", default="radial-abp", help="shipped model or folder of a bundle")
    options = parser.parse_args()
    world = load_world(options.model, options.quick)
    rows, lines = [], [f"| windows | n | {' % | '.join(COLUMNS)} % |", "|---|---|" + "---|" * len(COLUMNS)]
    asked = teeth(100 if options.quick else 500) if options.teeth else cases(world, options.quick)
    for what, windows in asked.items():
        found = shares(world.model, windows)
        rows += [
            dataclasses.asdict(Row("refusal", world.origin, f"{what}, n = {len(windows)}", f"{k} [%]", v))
            for k, v in found.items()
        ]
        lines.append(f"| {what} | {len(windows)} | {' | '.join(f'{value:.1f}' for value in found.values())} |")
    print(json.dumps(rows, indent=1) if options.json else "\n".join([f"Domain model: {world.origin}.", "", *lines]))


if __name__ == "__main__":
    main()
