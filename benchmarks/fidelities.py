r"""What the physics of the training set matters to which quantity: trained on linear, on non-linear, on both.

All estimators are tested on the same held-out adults of the non-linear network, seen through the sensor model.
*linear* is the shipped `radial-abp`; *non-linear* has the same shape and starts from nothing; *both* starts from the
weights of `radial-abp`; *linear, as few* is trained as *non-linear* is, on the same adults of the linear network, so
that physics and number of rows can be told apart. Run as `python -m benchmarks.fidelities --out DIR`; the simulated
sets stay in DIR.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pulsebayes.calibration.evaluate import draw_quantities, measure
from pulsebayes.calibration.produce import Held, held_out_windows, read_rows
from pulsebayes.inference.bundle import Bundle, find_bundle
from pulsebayes.inference.npe import NPE
from pulsebayes.inference.recipe import find_recipe
from pulsebayes.inference.training import TrainConfig, train
from pulsebayes.simulators.dataset import make_training_set
from pulsebayes.simulators.training_set import TrainingSet

from .rows import Row, run

SEED = 11
"""Of the non-linear set; no recipe uses it."""
ROWS, HELD = 4096, 896
QUICK_ROWS, QUICK_HELD = 160, 110
SHOWN = ("HR", "SV", "CO", "SVR", "MAP", "LVET", "PWV", "C", "SBP", "DBP")
SCRATCH = TrainConfig(epochs=24, batch=256, rate=1.5e-3, averaging=0.99, patience=24, seed=1)
TUNED = replace(SCRATCH, epochs=8, rate=3e-4, warmup=50)


def main() -> None:
    """Runs the five parts."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--out", type=Path)
    out = parser.parse_known_args()[0].out
    with tempfile.TemporaryDirectory() as scratch:
        home = out or Path(scratch)
        parts = {name: partial(_part, name, home) for name in ("linear", "both", "non-linear", "linear, as few")}
        run("fidelities", {"at-home": _at_home, **parts})


def _set(home: Path, quick: bool, model: str = "network") -> TrainingSet:
    """A set, the non-linear one if not told: made where it is absent, gone on with where it is not whole."""
    name, n = ("quick", QUICK_ROWS) if quick else ("radial", ROWS)
    path = home / f"{name}{'' if model == 'network' else '-linear'}.zarr"
    config = {**dict(find_recipe("radial-abp").simulate.config)}
    make_training_set((model, config), n, path, seed=SEED, shard_size=min(n, 1024), batch_size=256, resume=True)
    return TrainingSet.open(path)


def _estimator(name: str, bundle: Bundle, training: Held, quick: bool) -> NPE:
    """The estimator of a row of the table."""
    if name == "linear":
        return bundle.npe
    config = replace(TUNED if name == "both" else SCRATCH, **({"epochs": 2} if quick else {}))
    start = bundle.npe if name == "both" else None
    data = read_rows(training, find_recipe("radial-abp"))

    def tell(progress: Any) -> None:
        if progress.epoch_done:
            print(name, progress.epoch, round(progress.validation_loss, 3), file=sys.stderr, flush=True)

    return train(data, bundle.outputs, bundle.npe.config, config, start=start, progress=tell).npe


def _at_home(quick: bool) -> Iterator[Row]:
    """What the card says of the shipped model on its own, linear, physics."""
    measured = Bundle.load(find_bundle("radial-abp")).measured
    for quantity in SHOWN:
        for key, unit, value in (
            ("contraction", "", measured["contraction"][quantity]),
            ("median error", " [%]", 100 * measured["median_error"][quantity]),
            ("coverage of 90 %", " [%]", 100 * measured["coverage"]["0.9"][quantity]),
        ):
            yield Row("tested on linear (card)", "linear", quantity, key + unit, round(value, 3))


def _part(name: str, home: Path, quick: bool) -> Iterator[Row]:
    recipe, bundle = find_recipe("radial-abp"), Bundle.load(find_bundle("radial-abp"))
    rows, held = (QUICK_ROWS, QUICK_HELD) if quick else (ROWS, HELD)
    found = _set(home, quick)
    learned = _set(home, quick, "linear-network") if name == "linear, as few" else found
    npe = _estimator(name, bundle, Held(learned, 0, rows - held), quick)
    x, theta = held_out_windows(Held(found, rows - held, rows), recipe, bundle.outputs, seed=SEED)
    prior = bundle.outputs.encode(read_rows(Held(found, 0, rows), recipe).columns)
    measured = measure(npe, x, theta, prior[np.isfinite(prior).all(-1)], n_draws=500)
    signed = _bias(npe, x, theta)
    for quantity in SHOWN:
        for key, value in (
            ("contraction", measured["contraction"][quantity]),
            ("median error [%]", 100 * measured["median_error"][quantity]),
            ("coverage of 90 % [%]", 100 * measured["coverage"]["0.9"][quantity]),
            ("median signed error [%]", signed[quantity]),
        ):
            yield Row(f"tested on non-linear, n = {len(x)}", name, quantity, key, round(value, 3))


def _bias(npe: NPE, x: np.ndarray, theta: np.ndarray) -> dict[str, float]:
    """Median over windows of the posterior median's signed error, relative to the truth [%]."""
    draws, truth = draw_quantities(npe, x, n_draws=200), npe.outputs.derive(theta)
    return {q: 100 * float(np.median(np.median(draws[q], axis=1) / truth[q] - 1)) for q in SHOWN}


if __name__ == "__main__":
    main()
