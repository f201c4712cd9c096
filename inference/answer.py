r"""What a window is answered: a posterior with its sources, or a refusal with its reason.

An [`Answer`][pulsebayes.inference.answer.Answer] holds the posterior's draws and says where they come from in four
lines: *signal* (what the gate found), *model* (how far the posterior contracts against the prior), *calibration* (how
often such intervals held the truth, and where that was measured) and *domain* (how near the window is to the
simulations). Contraction is

$$
1 - \frac{\operatorname{Var}[s(\theta) \mid x]}{\operatorname{Var}[s(\theta)]}
$$

with $s$ the logarithm for quantities on a log scale. A quantity whose interval is wider than the bundle's share of the
prior's (on the same scale) is *uninformative*: its numbers are withheld unless they are asked for.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Float

from ._source_lines import calibration_line, domain_line, model_line, patient_line, pool_line, regions_line, signal_line
from .bundle import Bundle
from .contract import joined
from .coverage import missed_coverage

if TYPE_CHECKING:
    from .patient.layer import PatientEvidence

__all__ = ["Answer", "Estimate", "Prior", "Refusal", "VerdictLike", "answer_window", "report", "summarise_windows"]

_QUANTILES = ("median", "q05", "q25", "q75", "q95", "low", "high")

Draws = Mapping[str, Float[np.ndarray, " draw"]]


class VerdictLike(Protocol):
    r"""What a domain verdict offers.

    Example:
        >>> from types import SimpleNamespace
        >>> verdict: VerdictLike = SimpleNamespace(verdict="inside", p=0.4, distance=1.0, reason=None)
    """

    @property
    def verdict(self) -> str:
        r"""``inside``, ``shifted`` or ``outside``."""

    @property
    def p(self) -> float:
        r"""Conformal p-value against held-out simulations."""

    @property
    def reason(self) -> str | None:
        r"""What does not fit."""


@dataclass(frozen=True)
class Estimate:
    r"""Summary of one quantity in one window.

    Arguments:
        unit: Its unit.
        median: Posterior median.
        q05: Posterior 5 % quantile; likewise ``q25``, ``q75``, ``q95``.
        low: Lower end of the central interval at the level asked for; likewise ``high``.
        prior_q05: Prior 5 % quantile; likewise ``prior_q95``.
        contraction: Share of the prior's variance that the window removes.
        uninformative: Whether the interval is nearly as wide as the prior's.

    Example:
        >>> Estimate("L/min", 5.0, 4.0, 4.6, 5.4, 6.0, 4.0, 6.0, 2.0, 9.0, 0.7).uninformative
        False
    """

    unit: str
    median: float
    q05: float
    q25: float
    q75: float
    q95: float
    low: float
    high: float
    prior_q05: float
    prior_q95: float
    contraction: float
    uninformative: bool = False

    def to_json(self, *, keep_uninformative: bool = False) -> dict[str, Any]:
        r"""Returns the summary as a JSON-able dictionary.

        Arguments:
            keep_uninformative: Whether the numbers of an uninformative quantity are shown.
        """
        row: dict[str, Any] = {"unit": self.unit}
        hidden = self.uninformative and not keep_uninformative
        for name in _QUANTILES:
            row[name] = None if hidden else _number(getattr(self, name))
        for name in ("prior_q05", "prior_q95", "contraction"):
            row[name] = _number(getattr(self, name))
        return {**row, "uninformative": self.uninformative}


@dataclass(frozen=True)
class Prior:
    r"""What is known of each quantity before a window is seen, computed once for a bundle.

    Arguments:
        draws: Prior draws by quantity.
        units: Unit by quantity.
        floors: Least value whose logarithm is taken, for quantities on a log scale; minus infinity for the others.

    Example:
        >>> prior = Prior({"CO": np.array([3.0, 5.0, 8.0])}, {"CO": "L/min"}, {"CO": 0.2})
        >>> round(prior.contraction("CO", np.array([5.0, 5.1, 4.9])), 2)
        1.0
    """

    draws: Draws
    units: Mapping[str, str]
    floors: Mapping[str, float]

    @classmethod
    def of(cls, bundle: Bundle) -> Prior:
        r"""Computes the prior of a bundle's quantities.

        Arguments:
            bundle: The bundle.
        """
        outputs = bundle.outputs
        return cls(outputs.derive(bundle.prior), outputs.reported, outputs.floors)

    def contraction(self, name: str, draws: Float[np.ndarray, " draw"]) -> float:
        r"""Share of the prior's variance that draws remove.

        Arguments:
            name: Quantity.
            draws: Posterior draws, in its unit.
        """
        before = self._variance[name]
        return 1.0 - float(np.var(self._scaled(name, draws))) / before if before > 0 else math.nan

    def estimates(self, draws: Draws, *, level: float, uninformative: float) -> dict[str, Estimate]:
        r"""Summarises the posterior draws of a window.

        Arguments:
            draws: Posterior draws by quantity.
            level: Level of the intervals.
            uninformative: Share of the prior's interval above which a quantity is uninformative.
        """
        names = list(draws)
        tail = 0.5 * (1.0 - level)
        wanted = [0.5, 0.05, 0.25, 0.75, 0.95, tail, 1 - tail]
        after = np.quantile(np.stack([draws[name] for name in names]), wanted, axis=1).T
        before = self._intervals(level)
        rows = {}
        for name, numbers in zip(names, after, strict=True):
            prior_q05, prior_q95, low, high = before[name]
            own, full = (np.diff(self._scaled(name, np.array(ends)))[0] for ends in (numbers[5:], (low, high)))
            shown = dict(zip(_QUANTILES, (float(v) for v in numbers), strict=True))
            rows[name] = Estimate(
                self.units[name],
                **shown,
                prior_q05=float(prior_q05),
                prior_q95=float(prior_q95),
                contraction=self.contraction(name, draws[name]),
                uninformative=bool(own > uninformative * full),
            )
        return rows

    def _intervals(self, level: float) -> dict[str, Float[np.ndarray, "4"]]:
        if level not in self._cache:
            tail = 0.5 * (1.0 - level)
            wanted = [0.05, 0.95, tail, 1 - tail]
            self._cache[level] = {name: np.quantile(values, wanted) for name, values in self.draws.items()}
        return self._cache[level]

    @cached_property
    def _cache(self) -> dict[float, dict[str, Float[np.ndarray, "4"]]]:
        return {}

    @cached_property
    def _variance(self) -> dict[str, float]:
        return {name: float(np.var(self._scaled(name, values))) for name, values in self.draws.items()}

    def _scaled(self, name: str, values: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        floor = self.floors[name]
        return np.log(np.maximum(values, np.float32(floor))) if floor > 0 else values


@dataclass(frozen=True)
class Answer:
    r"""Posterior of one window.

    Arguments:
        start_s: Start of the window [s].
        end_s: End of the window [s].
        draws: Posterior draws by quantity; in each of them CO = HR SV/1000.
        estimates: Summary by quantity.
        level: Level of the intervals.
        signal: What the quality gate found.
        calibration: How often such intervals held the truth, measured on what; None if it was not measured.
        domain: Verdict on the window's distance to the simulations; None if the bundle has no domain model.
        regions: Conformal regions of joint sets of quantities, if the bundle was calibrated for any.
        pool: Which windows informed the slow quantities, and what is known of those; None where windows stand alone.
        patient: What was known of the patient, and how many of the draws bear it; None where nothing was.

    Example:
        >>> Answer(0.0, 8.0, {}, {}, 0.9).to_json()["status"]
        'answered'
    """

    start_s: float
    end_s: float
    draws: Draws
    estimates: Mapping[str, Estimate]
    level: float
    signal: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] | None = None
    domain: VerdictLike | None = None
    regions: Sequence[Mapping[str, Any]] = ()
    pool: Mapping[str, Any] | None = None
    patient: Mapping[str, Any] | None = None

    @property
    def not_calibrated(self) -> dict[str, str]:
        r"""Quantities whose coverage missed its level when the model was validated, each with what it missed."""
        return dict((self.calibration or {}).get("not_calibrated") or {})

    def sources(self) -> dict[str, str]:
        r"""Says in four lines where the numbers come from."""
        return {
            "signal": signal_line(self.signal),
            "model": model_line(self.estimates) + pool_line(self.pool) + patient_line(self.patient),
            "calibration": calibration_line(self.calibration, self.level) + regions_line(self.regions),
            "domain": domain_line(self.domain),
        }

    def to_json(self, *, keep_uninformative: bool = False) -> dict[str, Any]:
        r"""Returns the answer as a JSON-able dictionary.

        Arguments:
            keep_uninformative: Whether the numbers of uninformative quantities are shown.
        """
        rows = {k: e.to_json(keep_uninformative=keep_uninformative) for k, e in self.estimates.items()}
        for name, missed in self.not_calibrated.items():
            rows.get(name, {})["not_calibrated"] = missed
        return {
            "start_s": self.start_s,
            "end_s": self.end_s,
            "status": "answered",
            "reason": None,
            "hint": None,
            "quantities": rows,
            "region": dict(self.regions[0]) if self.regions else None,
            "regions": [dict(region) for region in self.regions],
            "signal": dict(self.signal),
            "calibration": None if self.calibration is None else dict(self.calibration),
            "domain": _domain_json(self.domain),
            **({} if self.pool is None else {"pool": dict(self.pool)}),
            **({} if self.patient is None else {"patient": dict(self.patient)}),
        }


@dataclass(frozen=True)
class Refusal:
    r"""Why a window has no number.

    Arguments:
        start_s: Start of the window [s].
        end_s: End of the window [s].
        reason: Short slug: one of the gate's, or ``outside``.
        hint: What to try; None if nothing helps.
        signal: What the quality gate found.
        domain: Verdict on the window's distance to the simulations; None if the gate refused first.

    Example:
        >>> Refusal(0.0, 8.0, "flat", None).to_json()["status"]
        'refused'
    """

    start_s: float
    end_s: float
    reason: str
    hint: str | None = None
    signal: Mapping[str, Any] = field(default_factory=dict)
    domain: VerdictLike | None = None

    def to_json(self, *, keep_uninformative: bool = False) -> dict[str, Any]:
        r"""Returns the refusal as a JSON-able dictionary.

        Arguments:
            keep_uninformative: Not used.
        """
        return {
            "start_s": self.start_s,
            "end_s": self.end_s,
            "status": "refused",
            "reason": self.reason,
            "hint": self.hint,
            "quantities": {},
            "region": None,
            "regions": [],
            "signal": dict(self.signal),
            "calibration": None,
            "domain": _domain_json(self.domain),
        }


def answer_window(
    bundle: Bundle,
    window: Float[np.ndarray, "*C T"],
    *,
    start_s: float,
    end_s: float,
    prior: Prior,
    level: float = 0.9,
    n_draws: int = 2000,
    seed: int = 0,
    signal: Mapping[str, Any] | None = None,
    domain: VerdictLike | None = None,
    evidence: PatientEvidence | None = None,
) -> Answer | Refusal:
    r"""Answers a window that passed the gate.

    Arguments:
        bundle: The trained estimator.
        window: Samples in the units and at the rate of the bundle's contract; of several channels (C, T), those that
            are missing NaN.
        start_s: Start of the window [s].
        end_s: End of the window [s].
        prior: Prior of the bundle's quantities, from ``Prior.of``.
        level: Level of the intervals.
        n_draws: Number of posterior draws.
        seed: Seed; a window's draws depend on it and on where the window starts, not on other windows.
        signal: What the gate found.
        domain: Verdict of the bundle's domain model; ``outside`` makes a refusal.
        evidence: What is known of the patient, with the layer that can use it.

    Returns:
        The answer, or a refusal if the window lies outside the simulations or does not go with the patient.

    Raises:
        ValueError: If the window has another length, is not finite, or level or draws are out of range.

    Example:
        >>> from pulsebayes.inference.npe import NPE, PRESETS
        >>> from pulsebayes.inference.outputs import OutputSpace
        >>> outputs = OutputSpace.from_names(("HR", "SV"))
        >>> drawn = np.array([[60.0, 70.0], [80.0, 60.0]], np.float32)
        >>> bundle = Bundle("tiny", NPE(outputs, PRESETS["small"]), drawn)
        >>> window = 90 + 20 * np.sin(np.arange(1000) / 15)
        >>> answer = answer_window(bundle, window, start_s=0.0, end_s=8.0, prior=Prior.of(bundle), n_draws=50)
        >>> bool(np.allclose(answer.draws["CO"], answer.draws["HR"] * answer.draws["SV"] / 1000))
        True
    """
    import torch

    window = np.asarray(window, dtype=np.float32)
    bundle.contract.check(window)
    given = bundle.contract.given(window)
    if not 0 < level < 1 or n_draws < 2:
        raise ValueError(f"level must lie in (0, 1) and n_draws be at least 2, got {level} and {n_draws}")
    signal = dict(signal or {})
    if domain is not None and domain.verdict == "outside":
        hint = domain.reason or "the window does not look like a simulated pressure: check channel, unit and rate"
        return Refusal(start_s, end_s, "outside", hint, signal, domain)
    generator = torch.Generator().manual_seed(window_seed(seed, start_s))
    rows = torch.from_numpy(window)[None]
    informed = None if evidence is None else evidence.draw(bundle.npe, rows, n_draws, generator)
    theta = bundle.npe.sample(rows, n_draws, generator)[0] if informed is None else informed.theta
    if evidence is not None and informed is not None and not informed.agrees:
        hint = f"this wave and a patient with {evidence.patient.text} do not go together: check what --patient says"
        return Refusal(start_s, end_s, "patient", hint, signal, domain)
    if not np.isfinite(theta).all():
        hint = "the network gives no numbers here: the window is far from every simulation"
        return Refusal(start_s, end_s, "outside", hint, signal, domain)
    draws = bundle.outputs.derive(theta)
    share = bundle.contract.uninformative(given, bundle.uninformative)
    estimates = prior.estimates(draws, level=level, uninformative=share)
    measured = {**bundle.measured, **bundle.measured.get("given", {}).get(joined(given), {})}
    if evidence is not None:
        measured = evidence.measured(bundle.measured, joined(given))
    told = None
    if evidence is not None and informed is not None:
        told = {"known": evidence.patient.text, "effective_draws": round(informed.effective)}
    coverage = cited_coverage(measured, level, domain)
    return Answer(start_s, end_s, draws, estimates, level, signal, coverage, domain, patient=told)


def summarise_windows(windows: Iterable[Answer | Refusal]) -> dict[str, Any]:
    r"""Counts answers and refusals by reason.

    Arguments:
        windows: Answers and refusals.

    Example:
        >>> summarise_windows([Refusal(0.0, 8.0, "flat"), Refusal(8.0, 16.0, "flat")])
        {'answered': 0, 'refused': 2, 'by_reason': {'flat': 2}}
    """
    reasons = [w.reason if isinstance(w, Refusal) else None for w in windows]
    refused = Counter(r for r in reasons if r is not None)
    return {"answered": reasons.count(None), "refused": sum(refused.values()), "by_reason": dict(refused)}


def report(
    file: str,
    bundle: Bundle,
    windows: Iterable[Mapping[str, Any]],
    summary: Mapping[str, Any],
    *,
    level: float,
) -> dict[str, Any]:
    r"""Assembles the object that ``infer --json`` prints for a file.

    Arguments:
        file: Name of the file, without its folder.
        bundle: The model.
        windows: ``to_json`` of each answer and refusal.
        summary: Counts, from ``summarise_windows``.
        level: Level of the intervals.

    Example:
        >>> from types import SimpleNamespace
        >>> model = SimpleNamespace(name="tiny", contract=SimpleNamespace(window_s=8.0))
        >>> row = Refusal(0.0, 8.0, "flat")
        >>> report("abp.csv", model, [row.to_json()], summarise_windows([row]), level=0.9)["summary"]["refused"]
        1
    """
    return {
        "schema": 1,
        "file": file,
        "model": bundle.name,
        "level": level,
        "window_s": bundle.contract.window_s,
        "windows": [dict(w) for w in windows],
        "summary": dict(summary),
    }


def window_seed(seed: int, start_s: float) -> int:
    r"""Seed of a window's draws: of the question's and of where the window starts.

    Arguments:
        seed: Seed of the question.
        start_s: Start of the window [s].

    Example:
        >>> window_seed(0, 8.0) == window_seed(0, 16.0)
        False
    """
    state = np.random.SeedSequence([seed, round(abs(start_s) * 1000), int(start_s < 0)]).generate_state(2, np.uint32)
    return int(state[0]) << 31 ^ int(state[1])


def cited_coverage(measured: Mapping[str, Any], level: float, domain: VerdictLike | None) -> dict[str, Any] | None:
    r"""Coverage measured on held-out simulations at the nearest level, if it was measured.

    Arguments:
        measured: What was measured: ``coverage`` by level and quantity, and ``n``; ``not_calibrated`` where it was
            validated, else what misses is read from the coverage; ``recordings`` and windows of a ``pool`` if known.
        level: Level of the intervals.
        domain: Verdict on the window.

    Example:
        >>> cited_coverage({"coverage": {"0.9": {"HR": 0.9}}, "n": 10}, 0.8, None)["level"]
        0.9
    """
    coverage = measured.get("coverage")
    if not coverage:
        return None
    nearest = min(coverage, key=lambda key: abs(float(key) - level))
    uncalibrated = domain is not None and domain.verdict == "shifted"
    missed = measured["not_calibrated"] if "not_calibrated" in measured else missed_coverage(coverage)
    return {
        "method": "uncalibrated" if uncalibrated else "simulations",
        "n": int(measured.get("n", 0)),
        **{key: int(measured[key]) for key in ("recordings", "pool") if key in measured},
        "level": float(nearest),
        "coverage": dict(coverage[nearest]),
        "not_calibrated": dict(missed or {}),
    }


def _domain_json(domain: VerdictLike | None) -> dict[str, Any]:
    if domain is None:
        return {"verdict": None, "p": None}
    return {"verdict": domain.verdict, "p": _number(domain.p)}


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
