r"""The verdict on posteriors: named tests with one correction for all of them, and effect sizes that bind.

Tests tell whether a fault is there, at a family-wise false-alarm rate that Holm's correction keeps; with enough
simulations they find faults too small to matter. Effect sizes tell whether it matters: a quantity whose intervals hold
the truth more than 3 points off their level overall, or more than 5 points off in a subgroup of at least 200, is *not
calibrated*. What these rules cost a calibrated posterior is computed and kept beside the verdict: at n = 2,000 three
points at 50 % are missed by chance in .7 % of quantities, at 90 % in less than one in 100,000; five points at 50 % in a
group of 200 in 16 %, in one of 800 in .5 %. Validate on enough simulations.

| test | what it finds | on |
|---|---|---|
| `finite` | values that are not numbers; never a false alarm | everything |
| `sbc` | ranks that are not uniform (Kolmogorov-Smirnov) | each quantity |
| `ecdf` | ranks that leave a simultaneous band, in the tails too | each quantity |
| `width` | too narrow or too wide | each quantity |
| `bias` | too low or too high | each quantity |
| `prior` | posteriors that do not average to the prior | each estimated output |
| `swap` | two outputs taken for each other | all pairs |
| `tarp` | all outputs together, by random points | all |
| `density` | all outputs together, by regions of highest density | all |
| `local_c2st` | windows at which latents are not normal | all |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ...inference.coverage import LARGEST_MISS
from .groups import Subgroup
from .intervals import density_levels
from .local import local_c2st
from .moments import bias_test, prior_test, swap_test, width_test
from .points import tarp
from .rank_tests import ecdf_band, holm, ranks, spread_ranks

__all__ = ["Finding", "Judgement", "Miss", "Samples", "chance_of_miss", "judge"]

LEVELS = (0.5, 0.9)
"""Levels at which coverage binds."""
TOLERANCE, GROUP_TOLERANCE = LARGEST_MISS, 0.05
LEAST_GROUP = 200
"""Rows from which on a subgroup binds."""
MOST_LOCAL = 3000
"""Most simulations the local classifier test is given."""


@dataclass(frozen=True)
class Samples:
    r"""Posterior draws of many simulations, and the truth.

    Arguments:
        names: Reported quantities.
        draws: Draws by quantity.
        truth: What was simulated, by quantity.
        outputs: Estimated outputs.
        z: Draws of the outputs on an unbounded, standardised scale; fewer will do.
        z_truth: What was simulated, on that scale.
        log_draws: Log density at some of the draws; empty where there is none.
        log_truth: Log density at the truth.
        latent: Latents of the truth; empty where there are none.
        context: Context of each window.

    Raises:
        ValueError: If names and arrays do not fit.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> z, t = rng.normal(size=(300, 99, 1)), rng.normal(size=(300, 1))
        >>> Samples(("a",), {"a": z[..., 0]}, {"a": t[:, 0]}, ("a",), z, t).n
        300
    """

    names: tuple[str, ...]
    draws: Mapping[str, Float[np.ndarray, "N S"]]
    truth: Mapping[str, Float[np.ndarray, " N"]]
    outputs: tuple[str, ...]
    z: Float[np.ndarray, "N S D"]
    z_truth: Float[np.ndarray, "N D"]
    log_draws: Float[np.ndarray, "N K"] = field(default_factory=lambda: np.zeros((0, 0)))
    log_truth: Float[np.ndarray, " N"] = field(default_factory=lambda: np.zeros(0))
    latent: Float[np.ndarray, "N D"] = field(default_factory=lambda: np.zeros((0, 0)))
    context: Float[np.ndarray, "N C"] = field(default_factory=lambda: np.zeros((0, 0)))

    def __post_init__(self) -> None:
        if set(self.names) - set(self.draws) or set(self.names) - set(self.truth):
            raise ValueError(f"draws and truth must hold {list(self.names)}, got {list(self.draws)}")
        if self.z.shape[::2] != self.z_truth.shape or self.z.shape[2] != len(self.outputs):
            raise ValueError(f"z and z_truth must fit {list(self.outputs)}, got {self.z.shape}, {self.z_truth.shape}")

    @property
    def n(self) -> int:
        r"""Simulations."""
        return len(self.z)

    @property
    def n_draws(self) -> int:
        r"""Draws of each quantity."""
        return int(self.draws[self.names[0]].shape[1])

    def good(self) -> Bool[np.ndarray, " N"]:
        r"""Simulations of which every draw and every truth is a number."""
        good = np.isfinite(self.z).all((1, 2)) & np.isfinite(self.z_truth).all(1)
        for name in self.names:
            good &= np.isfinite(self.draws[name]).all(1) & np.isfinite(self.truth[name])
        return np.asarray(good)

    def rows(self, keep: Bool[np.ndarray, " N"]) -> Samples:
        r"""Some of the simulations.

        Arguments:
            keep: Which.
        """

        def part(values: np.ndarray) -> np.ndarray:
            return values[keep] if len(values) == self.n else values

        return Samples(
            self.names, {k: part(v) for k, v in self.draws.items()}, {k: part(v) for k, v in self.truth.items()},
            self.outputs, part(self.z), part(self.z_truth), part(self.log_draws), part(self.log_truth),
            part(self.latent), part(self.context),
        )  # fmt: skip


@dataclass(frozen=True)
class Finding:
    r"""Outcome of one test.

    Arguments:
        name: Which test.
        of: Quantity, pair of outputs, or ``all``.
        statistic: What it measured.
        p: P-value.
        holm: P-value corrected for all tests of the bundle.

    Example:
        >>> Finding("width", "SV", 0.04, 1e-6, 1e-4).trips(0.01)
        True
    """

    name: str
    of: str
    statistic: float
    p: float
    holm: float = 1.0

    def trips(self, alpha: float = 0.01) -> bool:
        r"""Tells whether the fault is found.

        Arguments:
            alpha: Family-wise false-alarm rate.
        """
        return self.holm < alpha


@dataclass(frozen=True)
class Miss:
    r"""Coverage off its level by more than the tolerance.

    Arguments:
        quantity: Which quantity.
        level: Nominal level.
        coverage: Share of the truths held.
        n: Simulations.
        group: Which of them; empty for all.

    Example:
        >>> str(Miss("SV", 0.9, 0.84, 612, "age 65 years and above"))
        '90 % intervals held 84.0 % of 612 (age 65 years and above)'
    """

    quantity: str
    level: float
    coverage: float
    n: int
    group: str = ""

    def __str__(self) -> str:
        where = f" ({self.group})" if self.group else ""
        return f"{100 * self.level:.0f} % intervals held {100 * self.coverage:.1f} % of {self.n}{where}"


@dataclass(frozen=True)
class Judgement:
    r"""All tests and effect sizes.

    Arguments:
        n: Simulations that were judged.
        lost: Simulations left out because a value was not a number.
        findings: Every test.
        misses: Coverage that is too far off.
        groups: Coverage by subgroup: by, label, n and coverage by level and quantity.
        curves: Ranks with their band, and coverage of regions of all outputs together.
        chance: Misses that a calibrated posterior would have, on average.

    Example:
        >>> Judgement(100, 0, (Finding("sbc", "HR", 0.1, 0.5),), (), (), {}, 0.0).passes()
        True
    """

    n: int
    lost: int
    findings: tuple[Finding, ...]
    misses: tuple[Miss, ...]
    groups: tuple[Mapping[str, Any], ...]
    curves: Mapping[str, Any]
    chance: float

    def tripped(self, alpha: float = 0.01) -> tuple[Finding, ...]:
        r"""Tests that found something.

        Arguments:
            alpha: Family-wise false-alarm rate.
        """
        return tuple(found for found in self.findings if found.trips(alpha))

    def not_calibrated(self) -> dict[str, str]:
        r"""Quantities that miss, with the worst of what they miss."""
        worst: dict[str, Miss] = {}
        for miss in self.misses:
            before = worst.get(miss.quantity)
            if before is None or _gap(miss) > _gap(before):
                worst[miss.quantity] = miss
        return {name: str(miss) for name, miss in worst.items()}

    def passes(self, alpha: float = 0.01) -> bool:
        r"""Tells whether all values are numbers, SBC and TARP pass, and no effect size is missed.

        Arguments:
            alpha: Family-wise false-alarm rate.
        """
        binding = {"finite", "sbc", "tarp"}
        return not self.misses and not any(found.name in binding for found in self.tripped(alpha))


def judge(samples: Samples, groups: Sequence[Subgroup] = (), *, seed: int = 0) -> Judgement:
    r"""Judges posteriors.

    Arguments:
        samples: Draws and truth.
        groups: Subgroups whose coverage is judged too.
        seed: Seed of what is spread and drawn in the tests.

    Returns:
        Every test, corrected together, and the effect sizes.

    Raises:
        ValueError: If fewer than 200 simulations hold numbers throughout.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> t = rng.normal(size=(600, 1))
        >>> x = t + rng.normal(size=(600, 1))
        >>> z = 0.5 * x[:, None] + np.sqrt(0.5) * rng.normal(size=(600, 99, 1))
        >>> judge(Samples(("a",), {"a": z[..., 0]}, {"a": t[:, 0]}, ("a",), z, t)).passes()
        True
    """
    good = samples.good()
    if good.sum() < LEAST_GROUP:
        raise ValueError(
            f"at least {LEAST_GROUP} simulations must hold numbers throughout, got {int(good.sum())} of {samples.n}"
        )
    kept = samples if good.all() else samples.rows(good)
    lost = int(samples.n - kept.n)
    raw = np.stack([ranks(kept.draws[q][..., None], kept.truth[q][:, None])[:, 0] for q in kept.names], axis=1)
    u = spread_ranks(raw, n_draws=kept.n_draws, seed=seed)
    findings, curves = _tests(kept, u, seed)
    p = holm(np.array([found.p for found in findings]))
    corrected = [Finding(f.name, f.of, f.statistic, f.p, float(h)) for f, h in zip(findings, p, strict=True)]
    corrected.insert(0, Finding("finite", "all", float(lost), *((0.0, 0.0) if lost else (1.0, 1.0))))
    misses, rows, chance = _coverages(kept.names, raw, [g._replace(rows=g.rows[good]) for g in groups])
    return Judgement(kept.n, lost, tuple(corrected), tuple(misses), tuple(rows), curves, chance)


def chance_of_miss(n: int, level: float, tolerance: float) -> float:
    r"""How often a calibrated posterior misses its coverage by more than a tolerance.

    Arguments:
        n: Simulations.
        level: Nominal level.
        tolerance: Greatest difference that passes.

    Example:
        >>> round(chance_of_miss(2000, 0.5, 0.03), 4)
        0.0068
    """
    from scipy import stats

    low, high = np.ceil((level - tolerance) * n - 1e-9), np.floor((level + tolerance) * n + 1e-9)
    return float(stats.binom.cdf(low - 1, n, level) + stats.binom.sf(high, n, level))


def _tests(kept: Samples, u: Float[np.ndarray, "N Q"], seed: int) -> tuple[list[Finding], dict[str, Any]]:
    from scipy import stats

    band = ecdf_band(u)
    area, p_width = width_test(u)
    shift, p_bias = bias_test(u)
    found = []
    for i, name in enumerate(kept.names):
        ks = stats.kstest(u[:, i], "uniform")
        found += [
            Finding("sbc", name, float(ks.statistic), float(ks.pvalue)),
            Finding("ecdf", name, float(np.abs(band.values[:, i] - band.grid).max()), float(band.p[i])),
            Finding("width", name, float(area[i]), float(p_width[i])),
            Finding("bias", name, float(shift[i]), float(p_bias[i])),
        ]
    t, p_prior = prior_test(kept.z[:, 0], kept.z_truth)
    found += [Finding("prior", name, float(t[d]), float(p_prior[d])) for d, name in enumerate(kept.outputs)]
    swapped = swap_test(kept.z.mean(1), kept.z_truth)
    found.append(Finding("swap", " and ".join(kept.outputs[d] for d in swapped.pair), 0.0, swapped.p))
    points = tarp(kept.z, kept.z_truth, seed=seed)
    found.append(Finding("tarp", "all", float(np.mean(points.u) - 0.5), points.p))
    curves: dict[str, Any] = {"band": band, "tarp": points.u}
    if len(kept.log_truth):
        level = density_levels(kept.log_draws, kept.log_truth)
        spread = spread_ranks(level[:, None], n_draws=kept.log_draws.shape[1], seed=seed)[:, 0]
        found.append(
            Finding("density", "all", float(level.mean() - 0.5), float(stats.kstest(spread, "uniform").pvalue))
        )
        curves["density"] = level
    if len(kept.latent):
        local = local_c2st(kept.latent[:MOST_LOCAL], kept.context[:MOST_LOCAL], seed=seed)
        found.append(Finding("local_c2st", "all", float(local.statistic.mean()), local.p))
        curves["local"] = local
    return found, curves


def _coverages(
    names: tuple[str, ...], raw: Float[np.ndarray, "N Q"], groups: Sequence[Subgroup]
) -> tuple[list[Miss], list[dict[str, Any]], float]:
    held = {level: np.abs(raw - 0.5) <= level / 2 for level in LEVELS}
    misses, rows, chance = [], [], 0.0
    for by, label, inside in (("", "", np.ones(len(raw), bool)), *groups):
        n = int(inside.sum())
        if not n:
            continue
        tolerance = GROUP_TOLERANCE if by else TOLERANCE
        shares = {level: held[level][inside].mean(0) for level in LEVELS}
        table = {f"{level:g}": dict(zip(names, share.tolist(), strict=True)) for level, share in shares.items()}
        binding = not by or n >= LEAST_GROUP
        rows.append({"by": by, "label": label, "n": n, "binding": binding, "coverage": table})
        if by and n < LEAST_GROUP:
            continue
        for level, share in shares.items():
            chance += len(names) * chance_of_miss(n, level, tolerance)
            group = f"{by} {label}".strip()
            misses += [
                Miss(name, level, float(c), n, group)
                for name, c in zip(names, share, strict=True)
                if abs(c - level) > tolerance + 1e-12
            ]
    return misses, rows, chance


def _gap(miss: Miss) -> float:
    return abs(miss.coverage - miss.level) / (GROUP_TOLERANCE if miss.group else TOLERANCE)
