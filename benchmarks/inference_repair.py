r"""What a shifted reality takes from the coverage of pooled answers, and what a conformal limit gives back.

Patients of the shifted reality are split again and again: those of the limit, a few labelled windows of each, and
others, of whom it is counted how often credible intervals and regions hold the truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .rows import Row

N_DRAWS = 1000
SETS = (("HR",), ("SV",), ("CO",), ("LVET",), ("MAP",), ("SVR",), ("PWV",), ("C",), ("CO", "SVR"),
        ("HR", "CO", "SVR", "LVET"))  # fmt: skip


def repaired(quick: bool) -> Iterator[Row]:
    """Half hours of the shifted reality: coverage of credible intervals, and of regions from so many patients."""
    from .inference import SEED, simulated

    patients, windows, splits = (16, 4, 3) if quick else (240, 20, 200)
    data = simulated(patients, windows, SEED + 11, shifted=True)
    setting = f"{patients} shifted patients, {windows} windows in 30 min"
    for pool in ("window", "causal", "recording"):
        cases = _answered(data, pool)
        for names in SETS:
            yield from _coverage(pool, setting, names, cases, (10,) if quick else (20, 40, 100), splits)


def _answered(data: Any, pool: str) -> tuple[list[dict[str, np.ndarray]], dict[str, np.ndarray], np.ndarray]:
    """Draws and truth of every usable window, and whose it is."""
    from pulsebayes.inference.pooling.held_pools import pooled_draws, window_draws

    from .inference import _model

    bundle, layer = _model()
    draws, truth, subject = list[dict[str, np.ndarray]](), list[np.ndarray](), list[int]()
    for r in range(len(data.context)):
        ok = np.flatnonzero(data.usable[r])
        context, time_s = data.context[r, ok], data.time_s[r, ok]
        if pool == "window":
            found = window_draws(bundle, context, N_DRAWS, seed=r)
        else:
            found = pooled_draws(bundle, layer, context, time_s, N_DRAWS, causal=pool == "causal", seed=r)[1]
        draws += [bundle.outputs.derive(own) for own in found]
        truth.append(data.theta[r, ok])
        subject += [r] * len(ok)
    return draws, bundle.outputs.derive(np.concatenate(truth)), np.array(subject)


def _coverage(
    pool: str, setting: str, names: tuple[str, ...], cases: Any, sizes: tuple[int, ...], splits: int
) -> Iterator[Row]:
    """Coverage of one set: over all patients, and over the others of random splits."""
    from pulsebayes.calibration.conformal.bundles import Fitter, gather
    from pulsebayes.calibration.conformal.patients import hierarchical_limit
    from pulsebayes.calibration.conformal.split import scored

    from .inference import SEED, _model

    draws, truth, subject = cases
    fitter = Fitter(_model()[0], "mahalanobis", 0.1, 0, SEED)
    coordinates, what = fitter.coordinates(names), ", ".join(names)
    prediction, labels = gather(draws, coordinates), np.stack([truth[name] for name in names], axis=1)
    _, scores = scored(fitter.fit(coordinates), prediction, labels, coordinates)
    low, high = np.quantile(prediction.draws, [0.05, 0.95], axis=1)
    z = coordinates.transform(labels)
    if len(names) == 1:
        shares = _by_patient((z >= low) & (z <= high), subject)
        yield _row(pool, "credible", setting, what, shares.mean(), shares.std() / np.sqrt(len(shares)))
    rng, everyone = np.random.default_rng(SEED), np.unique(subject)
    for n in sizes:
        held, limits = list[float](), list[float]()
        for _ in range(splits):
            own = np.isin(subject, rng.choice(everyone, n, replace=False))
            limits.append(hierarchical_limit(scores[own], subject[own], 0.1))
            held.append(_by_patient(scores[~own] <= limits[-1], subject[~own]).mean())
        yield _row(pool, f"conformal, {n} patients", setting, what, np.mean(held), np.std(held))
        if len(names) == 1:
            wider = float(np.median(limits) * np.median(2 * prediction.factor[:, 0, 0] / (high - low)[:, 0]))
            measure = f"times as wide as credible, {what}"
            yield Row("repaired", f"{pool}, conformal, {n} patients", setting, measure, wider)


def _row(pool: str, method: str, setting: str, what: str, share: float, spread: float) -> Row:
    measure = f"coverage at 90 %, {what} [%]"
    return Row("repaired", f"{pool}, {method}", setting, measure, 100 * float(share), 100 * float(spread))


def _by_patient(hits: np.ndarray, subject: np.ndarray) -> np.ndarray:
    """Share of each patient's windows."""
    return np.array([hits[subject == one].mean() for one in np.unique(subject)])
