r"""Conformal regions side by side: coverage, volume, evenness over the features, and time.

python -m benchmarks.conformal [--quick] [--json] [--out DIR] from the root; with --out a run goes on from the parts
that are there. Sets from the data folder ($PULSEBAYES_DATA/multitarget) are left out where it is absent, and said so;
rivals that are not installed give a row that says so.
"""

from __future__ import annotations

from functools import partial

from .conformal_coverage import coverage, patients
from .conformal_predictors import scores_on
from .conformal_scores import slow_volumes, speed, tuned_volumes, volumes
from .conformal_sets import REAL, SYNTHETIC
from .rows import run

PARTS = {
    "speed": speed,
    "patients": patients,
    "coverage": coverage,
    "volumes": volumes,
    "tuned-volumes": partial(tuned_volumes, range(100)),
    **{name: partial(scores_on, name) for name in (*SYNTHETIC, *REAL)},
    "slow-volumes": slow_volumes,
    "more-tuned-volumes": partial(tuned_volumes, range(100, 400)),
}

if __name__ == "__main__":
    run("conformal", PARTS)
