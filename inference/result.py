r"""What `infer --out` wrote, read again: answers and refusals of a recording with their prior and windows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from .answer import Answer, Prior, Refusal
from .domain import DomainVerdict
from .outputs import OUTPUTS

__all__ = ["Result", "read_result"]


@dataclass(frozen=True)
class Result:
    r"""Answers of one recording.

    Arguments:
        model: Name of the model.
        file: Name of the recording.
        windows: Answers and refusals in order of time.
        waves: Samples of the answered windows, in order of time; of a model of several channels those of the one
            that most windows were answered from, NaN where a window was answered without it.
        times: Times of their samples from the window's start [s].
        role: Role of the channel that was read.
        unit: Its unit.

    Example:
        >>> Result("radial-abp", "a.csv", (), np.zeros((0, 1000)), np.zeros(1000), "ART", "mmHg").answers
        []
    """

    model: str
    file: str
    windows: tuple[Answer | Refusal, ...]
    waves: Float[np.ndarray, "window time"]
    times: Float[np.ndarray, " time"]
    role: str
    unit: str

    @property
    def answers(self) -> list[Answer]:
        r"""The answered windows."""
        return [w for w in self.windows if isinstance(w, Answer)]


def read_result(path: Path, *, level: float = 0.9, uninformative: float | None = None) -> Result:
    r"""Reads a netCDF file that `infer --out` wrote.

    Arguments:
        path: The file.
        level: Level of the intervals.
        uninformative: Share of the prior's interval above which a quantity is uninformative; None for the model's.

    Returns:
        The result.

    Raises:
        ValueError: If the file is no such result.

    Example:
        >>> read_result(Path("no-such-file.nc"))
        Traceback (most recent call last):
        ...
        ValueError: no-such-file.nc: expected a result that `pulsebayes infer --out FOLDER` wrote; there is no such file
    """
    import h5netcdf

    wanted = "expected a result that `pulsebayes infer --out FOLDER` wrote"
    if not path.is_file():
        raise ValueError(f"{path.name}: {wanted}; there is no such file")
    try:
        with h5netcdf.File(path, "r") as file:
            return _read(file, level, uninformative)
    except (OSError, KeyError, StopIteration) as error:
        raise ValueError(f"{path.name}: {wanted}; got another file ({type(error).__name__})") from error


def _read(file: Any, level: float, uninformative: float | None) -> Result:
    posterior, prior_group, observed = file["posterior"], file["prior"], file["observed_data"]
    names = [n for n, v in posterior.variables.items() if v.dimensions == ("chain", "draw", "window")]
    prior = _prior(prior_group, names)
    starts, ends = np.array(posterior["start_s"]), np.array(posterior["end_s"])
    shares = _shares(posterior, observed, len(starts), uninformative)
    draws = {name: np.array(posterior[name])[0] for name in names}
    verdicts, p = _words(observed, "domain", len(starts)), np.array(observed["domain_p"])
    about = [json.loads(text or "{}") for text in _words(observed, "about", len(starts))]
    windows: list[Answer | Refusal] = []
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        own = {name: values[:, i] for name, values in draws.items()}
        estimates = prior.estimates(own, level=level, uninformative=float(shares[i]))
        answer = Answer(
            float(start),
            float(end),
            own,
            estimates,
            level,
            about[i].get("signal", {}),
            about[i].get("calibration"),
            _domain(verdicts[i], float(p[i]), about[i]),
            regions=_regions(observed, i),
            pool=about[i].get("pool"),
            patient=about[i].get("patient"),
        )
        windows.append(answer)
    windows += _refusals(observed)
    roles = [n for n, v in observed.variables.items() if v.dimensions == ("window", "time")]
    role = next(iter(roles)) if len(roles) == 1 else max(roles, key=lambda n: int(np.isfinite(observed[n][:, 0]).sum()))
    return Result(
        str(posterior.attrs["model"]),
        str(posterior.attrs.get("file", "")),
        tuple(sorted(windows, key=lambda w: w.start_s)),
        np.array(observed[role]),
        np.array(observed["time"]),
        role,
        str(observed[role].attrs["units"]),
    )


def _shares(posterior: Any, observed: Any, n: int, asked: float | None) -> Float[np.ndarray, " window"]:
    """Share of the prior's interval above which each window's quantities are uninformative."""
    if asked is None and "uninformative" in observed:  # several channels: it depends on which were given
        return np.array(observed["uninformative"])
    return np.full(n, float(posterior.attrs.get("uninformative", 0.8)) if asked is None else asked)


def _regions(observed: Any, i: int) -> list[dict[str, Any]]:
    """Conformal regions of a window; none where the model had none."""
    found = []
    for k, promise in enumerate(json.loads(observed.attrs.get("regions", "[]"))):
        ranges = {}
        for name in promise["quantities"]:
            variable = observed[f"region{k}_{name}"]
            ends = np.asarray(variable[i])
            if np.isnan(ends).any():
                return []
            low, high = (float(v) if np.isfinite(v) else None for v in ends)
            ranges[name] = {"unit": str(variable.attrs["units"]), "low": low, "high": high}
        bounded = all(end is not None for row in ranges.values() for end in (row["low"], row["high"]))
        found.append({**promise, "bounded": bounded, "ranges": ranges})
    return found


def _prior(group: Any, names: list[str]) -> Prior:
    draws = {name: np.array(group[name])[0] for name in names}
    units = {name: str(group[name].attrs["units"]) for name in names}
    floors = {n: OUTPUTS[n].low if n in OUTPUTS and OUTPUTS[n].scale == "log" else -np.inf for n in names}
    return Prior(draws, units, floors)


def _refusals(observed: Mapping[str, Any]) -> list[Answer | Refusal]:
    starts, ends = np.array(observed["refused_start_s"]), np.array(observed["refused_end_s"])
    reasons = _words(observed, "refused_reason", len(starts))
    found: list[Answer | Refusal] = []
    for start, end, reason, text in zip(
        starts, ends, reasons, _words(observed, "refused_about", len(starts)), strict=True
    ):
        about = json.loads(text or "{}")
        p = (about.get("domain") or {}).get("p")
        domain = _domain("outside", float("nan") if p is None else float(p), about) if reason == "outside" else None
        found.append(Refusal(float(start), float(end), reason, about.get("hint"), about.get("signal", {}), domain))
    return found


def _words(group: Mapping[str, Any], name: str, n: int) -> list[str]:
    """A variable of texts; empty ones where a file of an earlier version has none."""
    if name not in group:
        return [""] * n
    return [text.decode() if isinstance(text, bytes) else str(text) for text in np.array(group[name])]


def _domain(verdict: str, p: float, about: Mapping[str, Any]) -> DomainVerdict | None:
    if verdict == "not assessed":
        return None
    told = about.get("domain") or {}
    return DomainVerdict(verdict, p, float("nan"), told.get("reason"))
