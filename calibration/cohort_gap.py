r"""How far recordings are from the simulations, each by itself: three looks that need no reference device.

1. *Rate.* Heart rate of the pressure's own beats, and the model's, against the electrocardiogram's R peaks.
2. *Ejection time.* The model's LVET against the time from foot to dicrotic notch: in a peripheral artery the notch is
   not the valve's closing, so a constant difference is expected and its spread and trend are what counts.
3. *Embedding.* Distance of the model's context vector from the mean of fresh simulations in their own covariance, as
   a share of simulations that lie nearer: one half on average if the recording were simulated, near 1 if it is unlike.
   And the domain verdict, which has its own eyes.

Each look is within one window, or between numbers of whole windows: no time between channels, whose clocks may differ,
is used.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ..inference.answering import domain_model, question_windows
from ..inference.bundle import Bundle
from ..waveforms.beats import detect_beats
from ..waveforms.ecg import detect_r_peaks
from ..waveforms.recording import Recording

if TYPE_CHECKING:
    from ..inference.answering import Question

__all__ = ["GapModel", "RecordingGap", "recording_gap"]

_FEWEST_BEATS = 3
_MOST_STRAYING = 0.1


@dataclass(frozen=True)
class GapModel:
    r"""Embeddings of fresh simulations, to which windows are compared.

    Arguments:
        mean: Their mean.
        factor: Inverse square root of their covariance, slightly shrunk.
        distances: Distances of other simulations, sorted.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> model = GapModel.fit(rng.standard_normal((400, 3)))
        >>> near, far = model.shares(np.array([[0.0, 0.0, 0.1], [9.0, 9.0, 9.0]])).tolist()
        >>> near < 0.2, far
        (True, 1.0)
    """

    mean: Float[np.ndarray, " k"]
    factor: Float[np.ndarray, "k k"]
    distances: Float[np.ndarray, " n"]

    @classmethod
    def fit(cls, embedded: Float[np.ndarray, "n k"], *, shrink: float = 0.02) -> GapModel:
        r"""Fits mean and covariance on one half of simulations and keeps the distances of the other.

        Arguments:
            embedded: Context vectors of simulations.
            shrink: Share of the mean variance that is added to every direction.

        Raises:
            ValueError: If there are fewer than 40 simulations.
        """
        if len(embedded) < 40:
            raise ValueError(f"a gap is measured against 40 simulations or more, got {len(embedded)}")
        half = len(embedded) // 2
        first, second = np.asarray(embedded[:half], np.float64), np.asarray(embedded[half:], np.float64)
        covariance = np.cov(first.T)
        covariance += shrink * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        values, vectors = np.linalg.eigh(covariance)
        factor = vectors / np.sqrt(values)
        distances = np.linalg.norm((second - first.mean(0)) @ factor, axis=1)
        return cls(first.mean(0), factor, np.sort(distances))

    def shares(self, embedded: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " n"]:
        r"""Share of simulations that lie nearer than each window.

        Arguments:
            embedded: Context vectors of windows.
        """
        far = np.linalg.norm((np.asarray(embedded, np.float64) - self.mean) @ self.factor, axis=1)
        return np.asarray(np.searchsorted(self.distances, far) / len(self.distances))


@dataclass(frozen=True)
class RecordingGap:
    r"""What is seen of one recording; NaN where it cannot be.

    Arguments:
        windows: Windows looked at.
        usable: Windows that the gate let through.
        rate: Median heart rate of the pressure's beats less that of the electrocardiogram [1/min].
        rate_model: The same of the model's heart rate.
        rate_windows: Windows in which both could be told.
        ejection: Median LVET of the model less the time from foot to notch [ms].
        ejection_spread: Half the range of the middle 68 % of that difference [ms].
        ejection_windows: Windows with notches.
        embedding: Median share of simulations that lie nearer.
        verdicts: Windows by domain verdict.
        context: Mean context vector; empty where no window was usable.

    Example:
        >>> RecordingGap(0, 0).embedding
        nan
    """

    windows: int
    usable: int
    rate: float = math.nan
    rate_model: float = math.nan
    rate_windows: int = 0
    ejection: float = math.nan
    ejection_spread: float = math.nan
    ejection_windows: int = 0
    embedding: float = math.nan
    verdicts: tuple[tuple[str, int], ...] = ()
    context: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        r"""The gap as a JSON-able dictionary; None where it could not be told."""

        def number(value: float, digits: int) -> float | None:
            return round(value, digits) if math.isfinite(value) else None

        return {
            "windows": self.windows,
            "usable": self.usable,
            "rate_against_ecg": {
                "beats": number(self.rate, 2),
                "model": number(self.rate_model, 2),
                "unit": "1/min",
                "windows": self.rate_windows,
            },
            "ejection_against_notch": {
                "difference": number(self.ejection, 1),
                "spread": number(self.ejection_spread, 1),
                "unit": "ms",
                "windows": self.ejection_windows,
            },
            "embedding": {"share_of_simulations_nearer": number(self.embedding, 3)},
            "domain": dict(self.verdicts),
        }


def recording_gap(bundle: Bundle, model: GapModel, recording: Recording, question: Question) -> RecordingGap:
    r"""Looks at one recording.

    Arguments:
        bundle: The model.
        model: Embeddings of its simulations.
        recording: The recording.
        question: Which windows, how many draws.

    Raises:
        RecordingError: If the channel is missing or without a unit, or more than half of it is missing.

    Example:
        >>> recording_gap.__name__
        'recording_gap'
    """
    from ..inference.pooling.features import embed_windows

    domain = domain_model(bundle)
    kept: list[np.ndarray] = []
    looks: list[tuple[float, ...]] = []
    verdicts: Counter[str] = Counter()
    windows = 0
    for window in question_windows(bundle, recording, question):
        windows += 1
        if not window.verdict.usable:
            continue
        values = window.values[0]
        kept.append(values)
        if domain is not None:
            verdicts[domain.assess(values).verdict] += 1
        looks.append((*_beats(values, bundle), _electrocardiogram(recording, window.start_s, window.end_s)))
    if not kept:
        return RecordingGap(windows, 0)
    context = embed_windows(bundle, np.stack(kept))
    medians = _medians(bundle, kept, question)
    rate, notch, lead = np.array(looks).T
    ejection = medians["LVET"] - notch
    known = ejection[np.isfinite(ejection)]
    spread = 0.5 * float(np.subtract(*np.quantile(known, [0.84, 0.16]))) if len(known) > 1 else math.nan
    return RecordingGap(
        windows,
        len(kept),
        _median(rate - lead),
        _median(medians["HR"] - lead),
        int(np.isfinite(rate - lead).sum()),
        _median(ejection),
        spread,
        len(known),
        float(np.median(model.shares(context))),
        tuple(sorted(verdicts.items())),
        tuple(context.mean(0).tolist()),
    )


def _beats(values: Float[np.ndarray, " T"], bundle: Bundle) -> tuple[float, float]:
    """Rate of the beats [1/min] and median time from foot to notch [ms]."""
    role = "PLETH" if bundle.contract.role == "PLETH" else "ART"
    beats = detect_beats(values.astype(np.float64), bundle.contract.fs, role=role)
    rate = 60.0 / beats.mean_interval_s if beats.n >= _FEWEST_BEATS else math.nan
    return rate, 1000 * _median(beats.notches_s - beats.onsets_s) if beats.n and role == "ART" else math.nan


def _electrocardiogram(recording: Recording, start_s: float, end_s: float) -> float:
    """Heart rate of the first electrocardiogram in a window; NaN where there is none or its beats are not told."""
    lead = next((c for c in recording.channels if c.role == "ECG" and c.fs >= 50), None)
    if lead is None:
        return math.nan
    wave = recording.values(lead.name, start_s, end_s)
    if not np.isfinite(wave).all() or np.ptp(wave) == 0:
        return math.nan
    steps = np.diff(detect_r_peaks(wave, lead.fs))
    if len(steps) < _FEWEST_BEATS or _median(np.abs(steps - np.median(steps))) > _MOST_STRAYING * np.median(steps):
        return math.nan
    return 60.0 / float(steps.mean())


def _medians(
    bundle: Bundle, windows: Sequence[Float[np.ndarray, " T"]], question: Question
) -> dict[str, Float[np.ndarray, " n"]]:
    """Posterior medians of heart rate and ejection time; NaN where the model has none."""
    import torch

    generator = torch.Generator().manual_seed(question.seed)
    found: dict[str, list[float]] = {"HR": [], "LVET": []}
    for draws in _draws(bundle, windows, question.n_draws, generator):
        for name, column in found.items():
            column.append(float(np.median(draws[name])) if name in draws else math.nan)
    return {name: np.array(column) for name, column in found.items()}


def _draws(
    bundle: Bundle, windows: Sequence[Float[np.ndarray, " T"]], n: int, generator: Any
) -> Iterator[dict[str, Float[np.ndarray, " n"]]]:
    import torch

    for window in windows:
        theta = bundle.npe.sample(torch.from_numpy(np.asarray(window, np.float32))[None], n, generator)[0]
        yield dict(bundle.outputs.derive(theta))


def _median(values: Float[np.ndarray, " n"]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else math.nan
