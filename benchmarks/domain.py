r"""What the gate and the domain verdict refuse together: nonsense, held-out simulations, good real recordings.

Run as `python -m benchmarks.domain [--quick] [--json] [--model BUNDLE]`. The domain model is that of the bundle; where
there is none, one is fitted on fresh simulations. Real recordings need `$PULSEBAYES_DATA` or `../shared/data`.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

import numpy as np

from pulsebayes.inference.domain import DomainModel, fit_domain
from pulsebayes.inference.recipe import find_recipe
from pulsebayes.simulators.registry import build
from pulsebayes.simulators.sensors import SensorModel
from pulsebayes.simulators.status import usable
from pulsebayes.waveforms.quality import assess

from .nonsense import FS, as_arterial, distorted, good_pressure, leads, made_up, oximetry, pulmonary, real_folder
from .rows import Row

SEED = 77
"""Of the held-out simulations and of all that is made up; no recipe uses it."""
COLUMNS = ("gate refused", "outside", "refused in all", "shifted")
ABSENT = "real recordings absent: set PULSEBAYES_DATA; rows from simulations and made-up signals only"


def simulated(n: int, seed: int) -> np.ndarray:
    """Usable radial pressures (N, 1250) of the clinical population."""
    recipe = find_recipe("radial-abp")
    simulator = build(recipe.simulate.model, **recipe.simulate.config)
    theta = simulator.space.sample(np.random.default_rng(seed), n)
    parts = [simulator.simulate(theta[i : i + 256], seed + i) for i in range(0, n, 256)]
    return np.concatenate([np.asarray(p.waves)[usable(np.asarray(p.status)), 0] for p in parts])


def load_domain(name: str, quick: bool) -> tuple[DomainModel, str]:
    """The domain model of a bundle, or one fitted here, and where it comes from."""
    from pulsebayes.inference.bundle import Bundle, BundleError, find_bundle

    try:
        bundle = Bundle.load(find_bundle(name))
    except BundleError as error:
        print(f"{error}: fitting a domain model on fresh simulations", file=sys.stderr)
    else:
        if bundle.domain:
            return DomainModel.from_arrays(bundle.domain), bundle.name
        print(f"{name} has no domain model: fitting one on fresh simulations", file=sys.stderr)
    waves = simulated(2000 if quick else 16000, SEED + 1_000_000)
    return fit_domain(waves, SensorModel.radial_line(), fs=FS), "fitted here"


def cases(quick: bool) -> dict[str, np.ndarray]:
    """Windows by what they are."""
    rng = np.random.default_rng(SEED)
    n = 100 if quick else 500
    waves = simulated(256 if quick else 2200, SEED)
    sensor = SensorModel.radial_line()
    usual, wide = (sensor.apply(waves, rng, fs=FS, width=width) for width in (1.0, 2.0))
    found = {"simulated": usual, "simulated, sensor twice as wide": wide}
    found |= {f"simulated, {how}": windows for how, windows in distorted(usual[:n]).items()}
    found |= made_up(rng, n)
    real = real_folder()
    if real is None:
        print(ABSENT, file=sys.stderr)
        return found
    good = good_pressure(real)
    everything = np.concatenate(list(good.values()))
    pleth = {name: as_arterial(windows, rng) for name, windows in oximetry(real).items()}
    found |= {"real electrocardiograms, scaled": as_arterial(leads(real), rng)}
    found |= {f"real, {how}": windows for how, windows in distorted(everything).items()}
    found |= {"real oximetry, scaled": np.concatenate(list(pleth.values()))}
    found |= {f"- oximetry {name}": windows for name, windows in pleth.items()}
    found |= {"real pulmonary pressure": pulmonary(real), "real arterial pressure": everything}
    return found | {f"- arterial {name}": windows for name, windows in good.items()}


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
    parser.add_argument("--model", default="radial-abp", help="shipped model or folder of a bundle")
    options = parser.parse_args()
    model, origin = load_domain(options.model, options.quick)
    rows, lines = [], [f"| windows | n | {' % | '.join(COLUMNS)} % |", "|---|---|" + "---|" * len(COLUMNS)]
    for what, windows in cases(options.quick).items():
        found = shares(model, windows)
        rows += [asdict(Row("refusal", origin, f"{what}, n = {len(windows)}", f"{k} [%]", v)) for k, v in found.items()]
        lines.append(f"| {what} | {len(windows)} | {' | '.join(f'{value:.1f}' for value in found.values())} |")
    print(json.dumps(rows, indent=1) if options.json else "\n".join([f"Domain model: {origin}.", "", *lines]))


if __name__ == "__main__":
    main()
