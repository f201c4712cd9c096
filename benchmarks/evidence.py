r"""Evidence: every number of the shipped models' cards, measured again from nothing and compared within its spread.

`python -m benchmarks.evidence --out DIR [-n N] [--check] [--only MODEL ...]`, or `make evidence`. For each bundle the
held-out simulations of its recipe are made again, or N others; each equation model reads its held-out systems again.
What was measured stays in DIR, so that a run that was stopped goes on. `--check` ends with 8 where a number misses.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_ALL_POOLS = 50_000
"""Number of `-n` at which all recordings would be taken."""
MISSED = 8
"""Exit code where a number does not come out again."""


def bundle_findings(folder: Path, work: Path, n: int) -> list[Any]:
    """Numbers of a bundle's card."""
    from pulsebayes.calibration.evidence import measure_again, validation_again
    from pulsebayes.calibration.evidence_layers import patients_again
    from pulsebayes.calibration.evidence_pools import pools_again
    from pulsebayes.inference.bundle import Bundle

    bundle = Bundle.load(folder)
    print(f"{bundle.name}: {n or 'the card’s'} held-out simulations", file=sys.stderr, flush=True)
    found = measure_again(bundle, work, n=n, progress=lambda i: _tell(bundle.name, i))
    found += validation_again(bundle, work, n=n)
    found += patients_again(folder, work, n=n, tell=_say)
    return found + pools_again(folder, work, share=n / _ALL_POOLS if n else 1.0, tell=_say)


def equation_findings(folder: Path, work: Path) -> list[Any]:
    """Recall of an equation model, on the systems of the shard that it was never trained on."""
    from pulsebayes.calibration.evidence import share_again
    from pulsebayes.inference.symbolic.measure import measure
    from pulsebayes.inference.symbolic.recipe import find_symbolic_recipe
    from pulsebayes.inference.symbolic.weights import load_symbolic_model
    from pulsebayes.simulators.odes.shards import make_shards, shard_paths

    recipe = find_symbolic_recipe(folder.name)
    if recipe is None:
        raise ValueError(f"{folder.name} has no recipe")
    print(f"{folder.name}: random systems, then decoding", file=sys.stderr, flush=True)
    shards = work / f"{folder.name}-shards"
    make_shards(shards, 1, recipe.shard_config)
    net = load_symbolic_model(folder).eval()
    found = measure(net, shard_paths(shards)[0], n=recipe.test, seed=recipe.training.seed)
    card = json.loads((folder / "symbolic.json").read_text())["measured"]
    return [
        share_again(f"{key}, {name}", old[key], dataclasses.asdict(found[name])[key], old["n"], found[name].n)
        for name, old in card.items()
        for key in ("greedy", "sampled")
    ]


def collect(out: Path, n: int, only: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Findings of every model, from DIR where they are there already and are of these weights."""
    from pulsebayes.inference.bundle import shipped_bundles
    from pulsebayes.inference.symbolic.weights import shipped_symbolic_models

    bundles, equations = shipped_bundles(), shipped_symbolic_models()
    found = {}
    for name, folder in {**bundles, **equations}.items():
        if only and name not in only:
            continue
        kept = out / f"{name}-{n or 'all'}-{_hash(folder)}.json"
        if not kept.is_file():
            rows = bundle_findings(folder, out, n) if name in bundles else equation_findings(folder, out)
            out.mkdir(parents=True, exist_ok=True)
            partial = kept.with_suffix(".partial")
            partial.write_text(json.dumps([row._asdict() for row in rows], indent=1))
            partial.replace(kept)
        found[name] = json.loads(kept.read_text())
    return found


def report(found: dict[str, list[dict[str, Any]]]) -> str:
    """A table of all numbers, misses marked, and how many there are."""
    lines = [f"{'model':22}{'number':46}{'card':>11}{'again':>11}{'spread':>11}"]
    for model, rows in found.items():
        for row in rows:
            spread = "verdict" if math.isnan(row["spread"]) else f"{row['spread']:.3g}"
            line = f"{model:22}{row['number']:46}{row['card']:11.4g}{row['again']:11.4g}{spread:>11}"
            lines.append(line + ("" if row["holds"] else "  MISSED"))
    missed = [row for rows in found.values() for row in rows if not row["holds"]]
    total = sum(map(len, found.values()))
    return "\n".join([*lines, f"{total - len(missed)} of {total} numbers come out again within their spread"])


def _hash(folder: Path) -> str:
    import hashlib

    files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _tell(name: str, windows: int) -> None:
    if windows % 1000 == 0:
        print(f"{name}: {windows} windows", file=sys.stderr, flush=True)


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("evidence"), help="folder of sets and findings [evidence]")
    parser.add_argument("-n", type=int, default=0, help="held-out simulations of a bundle; 0: the card's own")
    parser.add_argument("--only", nargs="+", default=[], help="models [all]")
    parser.add_argument("--check", action="store_true", help=f"end with {MISSED} where a number misses")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    options = parser.parse_args(words)
    found = collect(options.out, options.n, options.only)
    print(json.dumps(found, indent=1) if options.json else report(found))
    missed = any(not row["holds"] for rows in found.values() for row in rows)
    return MISSED if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
