r"""What the physics of the training set matters to which quantity: trained on linear, on non-linear, on both.

All estimators are tested on the same held-out adults of the non-linear network, seen through the sensor model: those
of the recipe `radial-abp`. *linear* is the shipped model without its adapter, *adapter* the shipped one; *all weights*
goes on from *linear* with the adapter's rows; *non-linear* has the same shape and starts from nothing;
*linear, as few* is trained as *non-linear* is, on the same adults of the linear network, so that physics and number of
rows can be told apart. Run as `python -m benchmarks.fidelities --out DIR`; the simulated sets stay in DIR, as those of
`pulsebayes train --recipe radial-abp` do beside its bundle.
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
import torch

from pulsebayes.calibration.evaluate import draw_quantities, measure
from pulsebayes.calibration.produce import Held, held_out_windows, read_rows
from pulsebayes.inference.bundle import Bundle, find_bundle
from pulsebayes.inference.npe import NPE
from pulsebayes.inference.recipe import find_recipe
from pulsebayes.inference.training import TrainConfig, train
from pulsebayes.simulators.dataset import make_training_set
from pulsebayes.simulators.training_set import TrainingSet

from .rows import Row, run

QUICK_ROWS, QUICK_HELD = 128, 128
ARMS = ("linear", "adapter", "all weights", "non-linear", "linear, as few")
SHOWN = ("HR", "SV", "CO", "SVR", "MAP", "LVET", "PWV", "C", "SBP", "DBP")
SCRATCH = TrainConfig(epochs=24, batch=256, rate=1.5e-3, averaging=0.99, patience=24, seed=1)
TUNED = replace(SCRATCH, epochs=8, rate=3e-4, warmup=50)


def main() -> None:
    """Runs the parts."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--out", type=Path)
    out = parser.parse_known_args()[0].out
    with tempfile.TemporaryDirectory() as scratch:
        home = out or Path(scratch)
        run("fidelities", {name: partial(_part, name, home) for name in ARMS})


def _set(home: Path, name: str, quick: bool, model: str = "network") -> TrainingSet:
    """A set of the recipe, or the same adults of another network; made where it is absent, gone on with otherwise."""
    recipe = find_recipe("radial-abp")
    spec = recipe.finest
    n, seed = (recipe.test.n, recipe.test.seed) if name == "test" else (spec.n, spec.seed)
    n = min(n, QUICK_HELD if name == "test" else QUICK_ROWS) if quick else n
    path = home / f"{'quick-' * quick}{name}{'' if model == 'network' else '-linear'}.zarr"
    sizes = {"shard_size": min(n, spec.shard_size), "batch_size": spec.batch_size}
    make_training_set((model, dict(spec.config)), n, path, seed=seed, resume=True, **sizes)
    return TrainingSet.open(path)


def _estimator(name: str, bundle: Bundle, training: Held, quick: bool) -> NPE:
    """The estimator of a row of the table."""
    linear = bundle.npe.without_adapter()
    if name in ("linear", "adapter"):
        return linear if name == "linear" else bundle.npe
    config = replace(TUNED if name == "all weights" else SCRATCH, **({"epochs": 2} if quick else {}))
    start = linear if name == "all weights" else None
    data = read_rows(training, find_recipe("radial-abp"))

    def tell(progress: Any) -> None:
        if progress.epoch_done:
            print(name, progress.epoch, round(progress.validation_loss, 3), file=sys.stderr, flush=True)

    return train(data, bundle.outputs, linear.config, config, start=start, progress=tell).npe


def _part(name: str, home: Path, quick: bool) -> Iterator[Row]:
    recipe, bundle = find_recipe("radial-abp"), Bundle.load(find_bundle("radial-abp"))
    learned = _set(home, "finer", quick, "linear-network" if name == "linear, as few" else "network")
    found = _set(home, "test", quick)
    npe = _estimator(name, bundle, Held(learned, 0, learned.n), quick)
    x, theta = held_out_windows(Held(found, 0, found.n), recipe, bundle.outputs, seed=recipe.test.seed)
    measured = measure(npe, x, theta, bundle.prior, n_draws=500)
    density = float(np.mean([_density(npe, x[i : i + 256], theta[i : i + 256]) for i in range(0, len(x), 256)]))
    yield Row(f"tested on non-linear, n = {len(x)}", name, "all outputs", "loss [nats]", round(density, 3))
    signed = _bias(npe, x, theta)
    for quantity in SHOWN:
        for key, value in (
            ("contraction", measured["contraction"][quantity]),
            ("median error [%]", 100 * measured["median_error"][quantity]),
            ("coverage of 90 % [%]", 100 * measured["coverage"]["0.9"][quantity]),
            ("median signed error [%]", signed[quantity]),
        ):
            yield Row(f"tested on non-linear, n = {len(x)}", name, quantity, key, round(value, 3))


def _density(npe: NPE, x: np.ndarray, theta: np.ndarray) -> float:
    """What training minimises, on some windows."""
    z = torch.from_numpy(npe.outputs.space.unconstrain(theta).astype(np.float32))
    with torch.no_grad():
        return float(npe.loss(z, torch.from_numpy(np.float32(x))))


def _bias(npe: NPE, x: np.ndarray, theta: np.ndarray) -> dict[str, float]:
    """Median over windows of the posterior median's signed error, relative to the truth [%]."""
    draws, truth = draw_quantities(npe, x, n_draws=200), npe.outputs.derive(theta)
    return {q: 100 * float(np.median(np.median(draws[q], axis=1) / truth[q] - 1)) for q in SHOWN}


if __name__ == "__main__":
    main()
