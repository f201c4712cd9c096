r"""The estimator and its refinement beside exact posteriors: windows of a reference model, whose likelihood is known.

`python -m benchmarks.posteriors --out DIR` draws each window's posterior three times: by the network of the bundle, by
the same draws weighted to the exact posterior, and by NUTS; a classifier tries to tell the first two from the third
(C2ST: .5 is perfect). Where chains of NUTS do not agree, Metropolis chains stand in their place. `--bundle FOLDER`
takes another than the shipped `radial-abp-reference`. A window is a line of `DIR/posteriors.jsonl`, of a bundle trained
on the network of `DIR/posteriors-network.jsonl`; a run goes on after the last one, and `--windows` says how many there
shall be. Chains are kept in `DIR/chains`: lines of other weights do not count, but are made anew beside the same
chains, which depend on a bundle by where they started alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .rows import Row, run

WINDOWS = 100
DRAWS = 750
CHAINS = 3
WARMUP = 150
SEED = 555
START = 128
MEASURES = {
    "before": "C2ST before refinement",
    "after": "C2ST after refinement",
    "floor": "C2ST between chains of NUTS",
    "k": "Pareto k",
    "weight_ess": "effective draws of those weighted",
    "rhat": "R-hat of NUTS",
    "nuts_ess": "least effective draws of NUTS",
    "divergent": "divergent transitions of 750",
    "cpu_refine": "network and refinement [CPU s]",
    "cpu_nuts": "NUTS [CPU s]",
}


def chains_of(kept: Path, bundle: Any, reference: Any, sampler: Any, x: np.ndarray, seed: int) -> dict[str, Any]:
    """NUTS of one window: kept draws of that window, or fresh ones, which are kept."""
    import torch

    from pulsebayes.inference.mcmc import model_parameters

    if kept.is_file():
        with np.load(kept) as file:
            found = dict(file)
        if found["names"].tolist() == list(bundle.outputs.names) and np.array_equal(found["x"], x):
            return found
    begun = time.process_time()
    generator = torch.Generator().manual_seed(seed)
    drawn = bundle.npe.sample(torch.from_numpy(x[None]), START, generator)[0].astype(float)
    chains = sampler.sample(x, model_parameters(bundle, reference, drawn), seed=seed)
    found = {
        "x": x,
        "names": np.array(bundle.outputs.names),
        "draws": np.stack([chains.values[name] for name in bundle.outputs.names], axis=-1),
        "rhat": chains.rhat,
        "ess": chains.ess,
        "divergent": int(chains.diverging.sum()),
        "method": chains.method,
        "cpu": time.process_time() - begun,
    }
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.savez(kept, **found)
    return found


def window(bundle: Any, reference: Any, sampler: Any, x: np.ndarray, seed: int, kept: Path) -> dict[str, float]:
    """Measures of one window."""
    import torch

    from pulsebayes.calibration.c2st import c2st
    from pulsebayes.inference.importance import refine

    begun = time.process_time()
    generator = torch.Generator().manual_seed(seed)
    drawn = bundle.npe.sample(torch.from_numpy(x[None]), DRAWS, generator)[0].astype(float)
    refined = refine(bundle, reference, x, DRAWS, seed=seed)
    spent = time.process_time() - begun
    chains = chains_of(kept, bundle, reference, sampler, x, seed)
    exact = chains["draws"]
    space = bundle.outputs.space
    inside = [np.clip(v, space.low * (1 + 1e-6) + 1e-9, space.high * (1 - 1e-6)) for v in (exact, drawn, refined.theta)]
    nuts, before, after = (space.unconstrain(v.reshape(-1, v.shape[-1])) for v in inside)
    half = len(nuts) // 2
    return {
        "before": c2st(nuts, before, epochs=15, seed=seed),
        "after": c2st(nuts, after, epochs=15, seed=seed),
        "floor": c2st(nuts[:half], nuts[-half:], epochs=15, seed=seed),
        "k": refined.weights.k,
        "weight_ess": refined.weights.ess,
        "rhat": chains["rhat"],
        "nuts_ess": chains["ess"],
        "divergent": chains["divergent"],
        "cpu_refine": spent,
        "cpu_nuts": chains["cpu"],
    }


def model_of(folder: Path) -> str:
    """What the bundle was trained on: windkessel or network."""
    training = json.loads((folder / "bundle.json").read_text())["training"]
    return str(training["simulator"]).removeprefix("reference-")


def lines(folder: Path, out: Path, n: int) -> list[dict[str, float]]:
    """Measures of the first windows, from the file as far as it goes."""
    import jax
    import torch

    from pulsebayes.calibration.rope.bundles import simulate_bank
    from pulsebayes.inference.bundle import Bundle
    from pulsebayes.inference.mcmc import Sampler
    from pulsebayes.inference.reference import Reference

    model = model_of(folder)
    kept = out / ("posteriors.jsonl" if model == "windkessel" else f"posteriors-{model}.jsonl")
    weights = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()[:12]
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.is_file() else []
    found = [row for row in rows if row.get("weights", weights) == weights]
    if len(found) >= n:
        return found[:n]
    torch.set_num_threads(1)
    bundle = Bundle.load(folder)
    reference = Reference.of(bundle)
    with jax.enable_x64(True):  # what is traced at one width cannot be used at the other in one process
        bank = simulate_bank(bundle, WINDOWS * -(-n // WINDOWS), seed=SEED, batch=64)
    sampler = Sampler(reference, draws=DRAWS // CHAINS, warmup=WARMUP, chains=CHAINS)
    out.mkdir(parents=True, exist_ok=True)
    for i in range(len(found), n):
        place = out / "chains" / f"{model}-{i:03d}.npz"
        found.append(window(bundle, reference, sampler, bank.x[i], i, place))
        rounded = {name: round(float(v), 4) for name, v in found[-1].items()}
        with kept.open("a") as file:
            file.write(json.dumps({**rounded, "weights": weights}) + "\n")
    return found


def part(folder: Path, out: Path, n: int) -> Callable[[bool], Iterator[Row]]:
    """All windows."""

    def measure(quick: bool) -> Iterator[Row]:
        found, model = lines(folder, out, 1 if quick else n), model_of(folder)
        setting = f"{len(found)} windows, {DRAWS} draws"
        for key, name in MEASURES.items():
            values = np.array([row[key] for row in found])
            yield Row(model, folder.name, setting, f"{name}, mean", float(values.mean()), float(values.std()))
        warned = sum(row["k"] > 0.7 or row["weight_ess"] < 50 for row in found)
        yield Row(model, folder.name, setting, "windows that refinement warns of", warned)

    return measure


def main() -> None:
    """Reads the options that are this benchmark's own, then runs what is missing."""
    from pulsebayes.inference.bundle import find_bundle

    parser = argparse.ArgumentParser(prog="python -m benchmarks.posteriors", add_help=False)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--bundle", default="radial-abp-reference")
    parser.add_argument("--windows", type=int, default=WINDOWS)
    own, rest = parser.parse_known_args()
    folder = find_bundle(own.bundle)
    with tempfile.TemporaryDirectory() as fresh:
        out = own.out or Path(fresh)
        words = [*rest, *(["--out", str(own.out)] if own.out else [])]
        run("posteriors", {f"{own.windows}-windows": part(folder, out, own.windows)}, words)


if __name__ == "__main__":
    main()
