r"""Whether conformal regions keep their promise: mean coverage and its law over calibration sets, counting patients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from pulsebayes.calibration.conformal import (
    BoxGauge,
    EntropicRank,
    ExactRank,
    NormGauge,
    conformal_limit,
    coverage_law,
    hierarchical_limit,
    one_window_limit,
)

from .conformal_rivals import MISSING, ott_scores
from .conformal_sets import three_gaussians
from .rows import Row

CELLS = [(n, 0.1) for n in (10, 20, 50, 100, 1000)] + [(n, 0.05) for n in (20, 50, 100, 1000)]
NEW = 200


def coverage(quick: bool) -> Iterator[Row]:
    """Mean coverage over repeats beside k/(n + 1), and Kolmogorov-Smirnov p-values against the Beta-binomial."""
    repeats = 100 if quick else 1000
    fit_on = three_gaussians(np.random.default_rng(0), 600)
    methods: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "ellipsoid": NormGauge().fit(fit_on),
        "box": BoxGauge().fit(fit_on),
        "OTCP": EntropicRank().fit(fit_on),
        "OT-CP": ExactRank().fit(fit_on),
    }
    for n, alpha in CELLS[:4] if quick else CELLS:
        law = coverage_law(n, alpha)
        for place, (name, gauge) in enumerate(methods.items()):
            rng = np.random.default_rng([n, int(1000 * alpha), place])
            hits = np.empty(repeats, dtype=int)
            for i in range(repeats):
                values = gauge(three_gaussians(rng, n + NEW))
                hits[i] = (values[n:] <= conformal_limit(values[:n], alpha)).sum()
            error = math.sqrt((law.sd**2 * (1 - 1 / NEW) + law.mean * (1 - law.mean) / NEW) / repeats)
            setting = f"n = {n}, alpha = {alpha}, k/(n + 1) = {law.mean:.4f}"
            yield Row("coverage", name, setting, "mean coverage", float(hits.mean() / NEW), error)
            yield Row("coverage", name, setting, "KS p against the Beta-binomial", law.ks(hits, NEW))
    yield Row("coverage", "every score", "n = 10, alpha = 0.05", "limit", str(conformal_limit(np.ones(10), 0.05)))
    yield from _ott(repeats, fit_on)


def _ott(repeats: int, fit_on: np.ndarray) -> Iterator[Row]:
    """The same with ott's map and its plain quantile."""
    score = ott_scores(fit_on, n_target=1024)
    if score is None:
        yield Row("coverage", "ott.tools.conformal.OTCP", "", "mean coverage", MISSING)
        return
    for n in (10, 20, 50, 100):
        rng = np.random.default_rng([n, 77])
        values = score(three_gaussians(rng, repeats * (n + 100))).reshape(repeats, n + 100)
        limit = np.quantile(values[:, :n], 0.9, axis=1)
        found = (values[:, n:] <= limit[:, None]).mean(1)
        setting = f"n = {n}, alpha = 0.1, k/(n + 1) = {coverage_law(n, 0.1).mean:.4f}"
        error = float(found.std() / math.sqrt(repeats))
        yield Row("coverage", "ott.tools.conformal.OTCP", setting, "mean coverage", float(found.mean()), error)


def patients(quick: bool) -> Iterator[Row]:
    """20 patients x 100 windows, intraclass correlation .8: counting windows against counting patients."""
    repeats, n, windows, icc = (200 if quick else 1000), 20, 100, 0.8
    rng = np.random.default_rng(1)
    own = np.repeat(np.arange(n), windows)
    found: dict[str, list[float]] = {"window-wise": [], "one window each": [], "hierarchical": []}
    for _ in range(repeats):
        level = rng.normal(size=n + 400)
        scores = math.sqrt(icc) * level[:n, None] + math.sqrt(1 - icc) * rng.normal(size=(n, windows))
        new = math.sqrt(icc) * level[n:] + math.sqrt(1 - icc) * rng.normal(size=400)
        flat = scores.ravel()
        limits = (
            conformal_limit(flat, 0.1),
            one_window_limit(flat, own, 0.1, rng),
            hierarchical_limit(flat, own, 0.1),
        )
        for name, limit in zip(found, limits, strict=True):
            found[name].append(float((new <= limit).mean()))
    for name, shares in found.items():
        setting = "20 patients x 100 windows, alpha = 0.1"
        error = float(np.std(shares) / math.sqrt(repeats))
        yield Row("patients", name, setting, "mean coverage", float(np.mean(shares)), error)
        yield Row("patients", name, setting, "5 % quantile of coverage", float(np.quantile(shares, 0.05)))
    promised = coverage_law(n * windows, 0.1).quantile(0.05)
    yield Row("patients", "window-wise", "promised for n = 2,000", "5 % quantile of coverage", promised)
    promised = coverage_law(n, 0.1).quantile(0.05)
    yield Row("patients", "one window each", "promised for n = 20", "5 % quantile of coverage", promised)
