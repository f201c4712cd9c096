r"""Answers as netCDF in ArviZ's schema, written window by window.

Groups ``posterior`` (chain = 1, draw, window), ``prior`` (chain = 1, draw) and ``observed_data`` (window, time; refused
windows with their reasons beside them, conformal regions as ``region0_CO (window, end)`` with what they promise in the
attribute ``regions``), as ``arviz.from_netcdf`` reads them. A model of several channels has a wave of each, NaN where a
window was not answered from it, and what it was answered from in ``given``. Each answer is written as it comes, so
memory does not grow with the recording.
"""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float

from .answer import Answer, Prior, Refusal
from .bundle import Bundle

__all__ = ["NetCDFWriter"]

_BLOCK = 16
"""Answers written together: a write costs about as much for one window as for all of these."""


class NetCDFWriter:
    r"""Writes answers and refusals of one recording to a netCDF file; a context manager.

    Arguments:
        path: File to write; replaced if it exists.
        bundle: The model, for names, units and the input's contract.
        prior: Prior of the bundle's quantities.
        n_draws: Posterior draws of each window.
        attributes: What else to keep (command, seeds, hashes); strings and numbers.

    Raises:
        ValueError: If an answer has another number of draws.

    Example:
        >>> from pulsebayes.inference.npe import NPE, PRESETS
        >>> from pulsebayes.inference.outputs import OutputSpace
        >>> import tempfile
        >>> outputs = OutputSpace.from_names(("HR",))
        >>> bundle = Bundle("tiny", NPE(outputs, PRESETS["small"]), np.array([[60.0], [80.0]], np.float32))
        >>> path = Path(tempfile.mkdtemp()) / "result.nc"
        >>> with NetCDFWriter(path, bundle, Prior.of(bundle), n_draws=10) as writer:
        ...     writer.write(Refusal(0.0, 8.0, "flat"), np.zeros(1000, np.float32))
        >>> path.is_file()
        True
    """

    def __init__(
        self, path: Path, bundle: Bundle, prior: Prior, *, n_draws: int, attributes: Mapping[str, Any] | None = None
    ) -> None:
        import h5netcdf

        self._n_draws = n_draws
        self._units = dict(prior.units)
        path.touch()  # says what is wrong with the folder, where HDF5 only says that something is
        self._file = h5netcdf.File(path, "w")
        shared = {"model": bundle.name, "inference_library": "pulsebayes", "sampling_time": 0.0, **(attributes or {})}
        for group in ("posterior", "prior", "observed_data"):
            self._file.create_group(group).attrs.update(shared)
        self._write_prior(prior)
        self._file["posterior"].attrs["uninformative"] = bundle.uninformative
        self._start_posterior(n_draws)
        self._start_observed(bundle)
        self._answered = self._refused = 0
        self._waiting: list[tuple[Answer, Float[np.ndarray, "*C T"]]] = []

    def __enter__(self) -> NetCDFWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        r"""Closes the file."""
        self._flush()
        self._file.close()

    def write(self, result: Answer | Refusal, window: Float[np.ndarray, "*C T"]) -> None:
        r"""Appends a window.

        Arguments:
            result: Its answer or refusal.
            window: Its samples, (T,) or (C, T) of several channels; kept for answers only.

        Raises:
            ValueError: If the answer has another number of draws than the file.
        """
        if isinstance(result, Refusal):
            self._write_refusal(result)
            return
        wrong = {name: len(v) for name, v in result.draws.items() if len(v) != self._n_draws}
        if wrong:
            raise ValueError(f"answers must have {self._n_draws} draws, got {wrong}")
        self._waiting.append((result, window))
        if len(self._waiting) == _BLOCK:
            self._flush()

    def _flush(self) -> None:
        """Writes the answers that wait: one write a variable for all of them."""
        if not self._waiting:
            return
        posterior, observed = self._file["posterior"], self._file["observed_data"]
        results = [result for result, _ in self._waiting]
        at = slice(self._answered, self._answered + len(results))
        for group in (posterior, observed):
            group.resize_dimension("window", at.stop)
            group["window"][at] = np.arange(at.start, at.stop)
            group["start_s"][at] = [r.start_s for r in results]
            group["end_s"][at] = [r.end_s for r in results]
        for name, missed in ChainMap(*(r.not_calibrated for r in results)).items():
            posterior[name].attrs["not_calibrated"] = missed
        for name in self._units:
            posterior[name][0, :, at] = np.stack([r.draws[name] for r in results], axis=-1).astype(np.float32)
        waves = np.stack([np.atleast_2d(window) for _, window in self._waiting])
        for c, name in enumerate(self._names):
            observed[name][at] = waves[:, c]
        if "given" in observed:
            given = [tuple(str(r.signal.get("given", "")).split("+")) for r in results]
            observed["given"][at] = np.array(["+".join(names) for names in given], dtype=object)
            observed["uninformative"][at] = [self._share(names) for names in given]
        domains = [r.domain for r in results]
        observed["domain"][at] = np.array(["not assessed" if d is None else d.verdict for d in domains], dtype=object)
        observed["domain_p"][at] = [np.nan if d is None else d.p for d in domains]
        observed["about"][at] = np.array([_about(r) for r in results], dtype=object)
        self._write_regions(results, at)
        self._answered = at.stop
        self._waiting.clear()

    def _write_regions(self, results: Sequence[Answer], at: slice) -> None:
        """Ends of each conformal region; what does not change from window to window stands in one attribute."""
        group = self._file["observed_data"]
        if "regions" not in group.attrs:
            first = next((r.regions for r in results if r.regions), ())
            if not first:
                return
            group.attrs["regions"] = json.dumps([_promise(region) for region in first])
            group.dimensions["end"] = 2
            for i, region in enumerate(first):
                for name, ends in region["ranges"].items():
                    variable = group.create_variable(
                        f"region{i}_{name}", ("window", "end"), np.float64, chunks=(256, 2), fillvalue=np.nan
                    )
                    variable.attrs["units"] = ends["unit"]
        for k, result in enumerate(results):
            for i, region in enumerate(result.regions):
                for name, ends in region["ranges"].items():
                    row = [-np.inf if ends["low"] is None else ends["low"], ends["high"]]
                    group[f"region{i}_{name}"][at.start + k] = [row[0], np.inf if row[1] is None else row[1]]

    def _write_prior(self, prior: Prior) -> None:
        group = self._file["prior"]
        n = len(next(iter(prior.draws.values())))
        _index(group, "chain", 1)
        _index(group, "draw", n)
        for name, values in prior.draws.items():
            variable = group.create_variable(name, ("chain", "draw"), data=values[None].astype(np.float32))
            variable.attrs["units"] = self._units[name]

    def _start_posterior(self, n_draws: int) -> None:
        group = self._file["posterior"]
        _index(group, "chain", 1)
        _index(group, "draw", n_draws)
        _grow(group, "window")
        for name, unit in self._units.items():
            variable = group.create_variable(
                name, ("chain", "draw", "window"), np.float32, chunks=(1, n_draws, 1), fillvalue=np.float32(np.nan)
            )
            variable.attrs["units"] = unit
        _spans(group, "window")

    def _start_observed(self, bundle: Bundle) -> None:
        group, contract = self._file["observed_data"], bundle.contract
        self._names, self._share = contract.names, partial(contract.uninformative, share=bundle.uninformative)
        _grow(group, "window")
        _spans(group, "window")
        group.dimensions["time"] = contract.samples
        time = group.create_variable("time", ("time",), data=np.arange(contract.samples) / contract.fs)
        time.attrs["units"] = "s"
        for channel in contract.channels:
            wave = group.create_variable(
                channel.name, ("window", "time"), np.float32, chunks=(1, contract.samples), fillvalue=np.float32(np.nan)
            )
            wave.attrs["units"] = channel.unit
        if contract.several:
            group.create_variable("given", ("window",), _text(), chunks=(256,))
            group.create_variable("uninformative", ("window",), np.float64, chunks=(256,))
        group.create_variable("domain", ("window",), _text(), chunks=(256,))
        group.create_variable("domain_p", ("window",), np.float64, chunks=(256,), fillvalue=np.nan)
        group.create_variable("about", ("window",), _text(), chunks=(256,))
        _grow(group, "refusal")
        for name in ("refused_start_s", "refused_end_s"):
            group.create_variable(name, ("refusal",), np.float64, chunks=(256,)).attrs["units"] = "s"
        group.create_variable("refused_reason", ("refusal",), _text(), chunks=(256,))
        group.create_variable("refused_about", ("refusal",), _text(), chunks=(256,))

    def _write_refusal(self, result: Refusal) -> None:
        group, at = self._file["observed_data"], self._refused
        group.resize_dimension("refusal", at + 1)
        group["refusal"][at] = at
        group["refused_start_s"][at], group["refused_end_s"][at] = result.start_s, result.end_s
        group["refused_reason"][at] = result.reason
        group["refused_about"][at] = json.dumps({"hint": result.hint, **_told(result)})
        self._refused += 1


def _about(answer: Answer) -> str:
    """What stands beside the numbers of an answer, as JSON: what was found, measured, pooled and known."""
    calibration = None if answer.calibration is None else dict(answer.calibration)
    pool = None if answer.pool is None else dict(answer.pool)
    patient = None if answer.patient is None else dict(answer.patient)
    return json.dumps({**_told(answer), "calibration": calibration, "pool": pool, "patient": patient})


def _told(result: Answer | Refusal) -> dict[str, Any]:
    domain = result.domain
    found = None if domain is None else {"p": _finite(domain.p), "reason": domain.reason}
    return {"signal": dict(result.signal), "domain": found}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _promise(region: Mapping[str, Any]) -> dict[str, Any]:
    """A region without its ends."""
    return {key: value for key, value in region.items() if key not in ("ranges", "bounded")}


def _index(group: Any, name: str, size: int) -> None:
    group.dimensions[name] = size
    group.create_variable(name, (name,), data=np.arange(size))


def _grow(group: Any, name: str) -> None:
    """An axis without an end."""
    group.dimensions[name] = None
    group.create_variable(name, (name,), np.int64, chunks=(256,))


def _spans(group: Any, axis: str) -> None:
    group.attrs["coordinates"] = "start_s end_s"  # so that readers take them for coordinates, not for draws
    for name in ("start_s", "end_s"):
        variable = group.create_variable(name, (axis,), np.float64, chunks=(256,))
        variable.attrs["units"] = "s"


def _text() -> Any:
    import h5py

    return h5py.string_dtype()
