r"""Embedded recordings: what the patient-level posterior is trained on.

The window model's embedding is kept as it is; of every simulated window only its context vector is stored (256 bytes
instead of 4,000), with the quantities and what its recording shares. Parts are files of their own, each with a seed of
its own: a kill loses the part in progress, and the same call goes on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float

from ..bundle import Bundle

__all__ = ["EmbeddedRecordings", "embed_windows", "make_embedded"]

_FIELDS = ("context", "theta", "compliance", "wave_speed", "usable", "time_s", "change_s")


@dataclass(frozen=True)
class EmbeddedRecordings:
    r"""Recordings as the window model sees them.

    Arguments:
        context: Context vector of every window.
        theta: The window model's outputs of every window, each in its unit.
        compliance: Compliance at 90 mmHg [mL/mmHg].
        wave_speed: Wave speed at 90 mmHg [m/s].
        usable: Whether a window may be used.
        time_s: Start of every window [s].
        change_s: When the sensor changed [s]; NaN where it did not.

    Example:
        >>> EmbeddedRecordings.__dataclass_fields__["theta"].type
        "Float[np.ndarray, 'R W D']"
    """

    context: Float[np.ndarray, "R W context"]
    theta: Float[np.ndarray, "R W D"]
    compliance: Float[np.ndarray, "R W"]
    wave_speed: Float[np.ndarray, " R"]
    usable: Bool[np.ndarray, "R W"]
    time_s: Float[np.ndarray, "R W"]
    change_s: Float[np.ndarray, " R"]

    @classmethod
    def load(cls, folder: Path) -> EmbeddedRecordings:
        r"""Reads all parts of a folder, in order.

        Arguments:
            folder: Folder that ``make_embedded`` wrote.

        Raises:
            FileNotFoundError: If it holds no part.
        """
        parts = [np.load(path, allow_pickle=False) for path in sorted(folder.glob("part-*.npz"))]
        if not parts:
            raise FileNotFoundError(f"{folder.name} holds no embedded recordings: make them first")
        return cls(**{name: np.concatenate([part[name] for part in parts]) for name in _FIELDS})


@torch.no_grad()
def embed_windows(bundle: Bundle, windows: Float[np.ndarray, "N T"], *, batch: int = 512) -> Float[np.ndarray, "N c"]:
    r"""Context vectors of windows.

    Arguments:
        bundle: The window model.
        windows: Windows in the unit and at the rate of its contract.
        batch: Windows at a time.

    Example:
        >>> from pulsebayes.inference.bundle import find_bundle
        >>> embed_windows(Bundle.load(find_bundle("radial-abp")), np.full((2, 1000), 90.0)).shape
        (2, 64)
    """
    parts = [
        bundle.npe.embedding(torch.from_numpy(np.asarray(windows[i : i + batch], np.float32))).numpy()
        for i in range(0, len(windows), batch)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, bundle.npe.config.embedding.context), np.float32)


def make_embedded(
    bundle: Bundle,
    folder: Path,
    *,
    recordings: int,
    windows: int,
    seed: int,
    longest_s: float = 86400.0,
    part: int = 32,
    progress: Callable[[int], None] = lambda _: None,
) -> EmbeddedRecordings:
    r"""Simulates, records and embeds recordings, or goes on with a folder of them.

    Arguments:
        bundle: The window model of radial pressure.
        folder: Where the parts are kept.
        recordings: Number of recordings.
        windows: Windows of each.
        seed: Seed; a part's recordings depend on it and on the part's number.
        longest_s: Longest recording [s]; windows of the shortest follow each other every 8 s.
        part: Recordings of a part.
        progress: Called with the number of recordings made after each part.

    Example:
        >>> make_embedded.__kwdefaults__["part"]
        32
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for number in range(-(-recordings // part)):
        path = folder / f"part-{number:05d}.npz"
        if not path.is_file():
            n = min(part, recordings - number * part)
            made = _make_part(bundle, n, windows, seed=seed * 1_000_003 + number, longest_s=longest_s)
            partial = path.with_suffix(".partial")
            with partial.open("wb") as stream:
                np.savez(stream, **made)  # type: ignore[arg-type]
            os.replace(partial, path)
        progress(min(recordings, (number + 1) * part))
    return EmbeddedRecordings.load(folder)


def _make_part(bundle: Bundle, n: int, windows: int, *, seed: int, longest_s: float) -> dict[str, np.ndarray]:
    """One part: courses, waves, sensors, context vectors."""
    from ...simulators.network.linear import LinearNetwork
    from ...simulators.recordings import draw_courses, simulate_recordings, spread_times
    from ...simulators.sensors import SensorModel

    rng = np.random.default_rng(seed)
    simulator = LinearNetwork(sites=("Radial",), duration_s=9.5, fs=bundle.contract.fs)
    course = draw_courses(simulator, rng, spread_times(rng, n, windows, longest_s=longest_s))
    made = simulate_recordings(
        simulator,
        course,
        site="Radial",
        sensor=SensorModel.from_json(bundle.training.get("sensor", {})),
        seed=seed % 2**31,
        out_samples=bundle.contract.samples,
    )
    columns = dict(zip(simulator.quantity_names, np.moveaxis(made.quantities, -1, 0), strict=True))
    theta = bundle.outputs.encode({k: v.reshape(-1) for k, v in columns.items()})
    usable = made.usable.reshape(-1).astype(bool) & bundle.outputs.space.contains(theta)
    waves = np.where(usable[:, None], made.waves.reshape(-1, bundle.contract.samples), 90.0)
    return {
        "context": embed_windows(bundle, waves).reshape(n, windows, -1).astype(np.float32),
        "theta": theta.reshape(n, windows, -1).astype(np.float32),
        "compliance": made.compliance.astype(np.float32),
        "wave_speed": made.wave_speed.astype(np.float32),
        "usable": usable.reshape(n, windows),
        "time_s": made.time_s,
        "change_s": made.change_s,
    }
