r"""Embedded recordings: what the patient-level posterior is trained on.

The window model's embedding is kept as it is; of every simulated window its context vector is what is trained on (256
bytes instead of 4,000), with the quantities and what its recording shares. Parts are files of their own, each with a
seed of its own: a kill loses the part in progress, and the same call goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float

from ...simulators.recorded import RARE_CHANGES, SensorChanges, SimulatedRecordings, SolvedRecordings, record
from ...waveforms.roles import PRESSURE_ROLES
from ..bundle import Bundle
from ..patient.info import measured_root

if TYPE_CHECKING:
    from ...simulators.channels import ChannelSensor
    from ...simulators.network.linear import LinearNetwork
    from ...simulators.network.nonlinear import NonlinearNetwork
    from ...simulators.recordings import Course
    from ...simulators.sensors import SensorModel

__all__ = ["EmbeddedRecordings", "draw_subjects", "embed_windows", "make_embedded"]

FAST, FINE = "linear-network", "network"
"""Simulators of recordings' waves."""
_FIELDS = (
    "context", "theta", "compliance", "wave_speed", "usable", "time_s", "change_s", "step_mmhg", "relined", "given",
)  # fmt: skip


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
        step_mmhg: By how much its offset changed then [mmHg].
        relined: Whether its frequency and damping changed.
        given: Which channels a window was embedded from; all of one where nothing is said.

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
    step_mmhg: Float[np.ndarray, " R"]
    relined: Bool[np.ndarray, " R"]
    given: Bool[np.ndarray, "R W C"] = field(default_factory=lambda: np.ones((0, 0, 1), bool))

    def __post_init__(self) -> None:
        if self.given.shape[:2] != self.usable.shape:
            object.__setattr__(self, "given", np.ones((*self.usable.shape, 1), bool))

    @classmethod
    def load(cls, paths: Sequence[Path]) -> EmbeddedRecordings:
        r"""Reads parts, in order.

        Arguments:
            paths: Files that ``make_embedded`` wrote.

        Raises:
            ValueError: If there are none.
        """
        if not paths:
            raise ValueError("paths must name at least one part, got none: make recordings first")
        parts = [np.load(path, allow_pickle=False) for path in paths]
        return cls(**{name: np.concatenate([part[name] for part in parts]) for name in _FIELDS if name in parts[0]})

    def rows(self, keep: slice) -> EmbeddedRecordings:
        r"""Some of the recordings.

        Arguments:
            keep: Which.
        """
        return EmbeddedRecordings(*(getattr(self, name)[keep] for name in _FIELDS))


@torch.no_grad()
def embed_windows(
    bundle: Bundle, windows: Float[np.ndarray, "N *C T"], *, batch: int = 512
) -> Float[np.ndarray, "N c"]:
    r"""Context vectors of windows.

    Arguments:
        bundle: The window model.
        windows: Windows in the units and at the rate of its contract; of several channels NaN where one is missing.
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
    still_share: float = 0.0,
    solved: Path | None = None,
    given: Sequence[str] = (),
    changes: SensorChanges = RARE_CHANGES,
    model: str = FAST,
    progress: Callable[[int], None] = lambda _: None,
) -> EmbeddedRecordings:
    r"""Simulates, records and embeds recordings, or goes on with a folder of them.

    Waves of the fast simulator are read without the window model's adapter, as those that its flow learned from.

    Solved waves are kept beside what was embedded, each under a name that holds what it depends on: a new window model
    or sensor embeds the same waves anew, a new population solves anew, and nothing stale is taken.

    Arguments:
        bundle: The window model, of radial pressure or of several channels.
        folder: Where the parts are kept.
        recordings: Number of recordings.
        windows: Windows of each.
        seed: Seed; a part's recordings depend on it and on the part's number.
        longest_s: Longest recording [s]; windows of the shortest follow each other every 8 s.
        part: Recordings of a part.
        still_share: Share of recordings of patients who hardly move.
        solved: Folder of the solved waves, where another set has made them; ``folder`` where None.
        given: Channels given in every window; as drawn where none is named.
        changes: How often and how much sensors change.
        model: Simulator of the waves: ``"linear-network"``, or ``"network"`` for walls that stiffen.
        progress: Called with the number of recordings made after each part.

    Raises:
        ValueError: If the window model reads other channels than pressures and clips, or a clip alone, or the simulator
            is another.

    Example:
        >>> make_embedded.__kwdefaults__["part"]
        32
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    simulator, sensor = _world(bundle, model)
    if model == FAST:
        bundle = bundle.without_adapter()
    plan = _Plan(windows, seed, longest_s, part, still_share)
    waves_key = _key(plan, simulator.config, repr(simulator.space))
    key = _key(waves_key, sensor.to_json(), asdict(changes), _weights(bundle), *([list(given)] if given else []))
    paths = []
    for number, first in enumerate(range(0, recordings, part)):
        n = min(part, recordings - first)
        paths.append(folder / f"part-{number:05d}-{n}-{key}.npz")
        if not paths[-1].is_file():
            waves = (solved or folder) / f"solved-{number:05d}-{n}-{waves_key}.npz"
            made = _solved(simulator, plan, number, n, waves, steps=_steps(bundle))
            shown = _shown(bundle, made, sensor, np.random.default_rng([plan.seed_of(number), 1]), changes, given)
            _save(paths[-1], _embedded(bundle, simulator.quantity_names, shown))
        progress(first + n)
    return EmbeddedRecordings.load(paths)


def draw_subjects(
    bundle: Bundle,
    *,
    recordings: int,
    windows: int,
    seed: int,
    longest_s: float = 86400.0,
    part: int = 32,
    still_share: float = 0.0,
) -> Float[np.ndarray, "R 3"]:
    r"""Whom simulated recordings are of, drawn once more as `make_embedded` draws.

    Arguments:
        bundle: The window model.
        recordings: Number of recordings.
        windows: Windows of each.
        seed: Seed.
        longest_s: Longest recording [s].
        part: Recordings of a part.
        still_share: Share of recordings of patients who hardly move.

    Returns:
        Ages [years], heights [m] and diameters of the aortic root without error, on the mean of both sexes [mm].

    Raises:
        ValueError: If the population has no ages and heights.

    Example:
        >>> from pulsebayes.inference.bundle import find_bundle
        >>> radial = Bundle.load(find_bundle("radial-abp"))
        >>> draw_subjects(radial, recordings=3, windows=2, seed=0).shape
        (3, 3)
    """
    import jax.numpy as jnp

    from ...simulators.network.linear import make_tubes, site_diameters

    simulator, _ = _fast_world(bundle)
    plan, names = _Plan(windows, seed, longest_s, part, still_share), list(simulator.space.names)
    if not {"age", "height"} <= set(names):
        raise ValueError(f"the population must have ages and heights, got {', '.join(names)}")
    columns = [names.index("age"), names.index("height")]
    parts = [
        _courses(simulator, plan, number, min(part, recordings - first)).theta[:, 0]
        for number, first in enumerate(range(0, recordings, part))
    ]
    theta = np.concatenate(parts)
    (roots,) = np.asarray(site_diameters(make_tubes(simulator.subjects(jnp.asarray(theta))[0]), ("AorticRoot",)))
    return np.concatenate([theta[:, columns], measured_root(roots)[:, None]], axis=1)


@dataclass(frozen=True)
class _Plan:
    """What the solved waves of a set depend on, beside the population."""

    windows: int
    seed: int
    longest_s: float
    part: int
    still_share: float

    def seed_of(self, number: int) -> int:
        return (self.seed * 1_000_003 + number) % 2**31


def _world(bundle: Bundle, model: str) -> tuple[LinearNetwork | NonlinearNetwork, SensorModel | ChannelSensor]:
    """A simulator of a window model's population, and the sensors it learned from."""
    from ...simulators.network.nonlinear import NonlinearNetwork

    fast, sensor = _fast_world(bundle)
    if model not in (FAST, FINE):
        raise ValueError(f"model must be {FAST!r} or {FINE!r}, got {model!r}")
    if model == FAST:
        return fast, sensor
    shape = {name: getattr(fast, name) for name in ("population", "sites", "duration_s", "fs")}
    return NonlinearNetwork(**shape), sensor


def _fast_world(bundle: Bundle) -> tuple[LinearNetwork, SensorModel | ChannelSensor]:
    """The simulator and the sensors that a window model learned from."""
    from ...simulators.channels import ChannelSensor, any_sensor_from_json
    from ...simulators.network.linear import LinearNetwork
    from ...simulators.sensors import SensorModel

    config, contract = bundle.training.get("simulator_config", {}), bundle.contract
    population = str(config.get("population", "clinical"))
    sensor = any_sensor_from_json(bundle.training.get("sensor", {}))
    alien = [c.role for c in contract.channels if c.role not in (*PRESSURE_ROLES, "PLETH")]
    if alien or not isinstance(sensor, SensorModel | ChannelSensor):
        what = alien[0] if alien else type(sensor).__name__
        raise ValueError(f"recordings are simulated of pressures, with or without clips, got {what}")
    if not contract.several:
        return LinearNetwork(population=population, sites=("Radial",), duration_s=9.5, fs=contract.fs), sensor
    sites = tuple(str(row["site"]) for row in bundle.training["recipe"]["channels"])
    simulator = LinearNetwork(
        population=population, sites=sites, duration_s=float(config["duration_s"]), fs=contract.fs
    )
    return simulator, sensor


def _steps(bundle: Bundle) -> Float[np.ndarray, "*C 1"]:
    """Steps in which solved waves are kept: hundredths of a mmHg, ten thousandths of a clip's range."""
    steps = np.array([[1e4 if c.role == "PLETH" else 1e2] for c in bundle.contract.channels], np.float32)
    return steps if bundle.contract.several else steps[0]


def _shown(
    bundle: Bundle,
    made: SolvedRecordings,
    sensor: SensorModel | ChannelSensor,
    rng: np.random.Generator,
    changes: SensorChanges,
    given: Sequence[str],
) -> SimulatedRecordings:
    """Solved recordings through their sensors."""
    from ...simulators.recorded_channels import record_channels
    from ...simulators.sensors import SensorModel

    fs, samples = bundle.contract.fs, bundle.contract.samples
    if isinstance(sensor, SensorModel):
        return record(made, sensor, rng, fs=fs, out_samples=samples, changes=changes)
    return record_channels(made, sensor, rng, fs=fs, out_samples=samples, changes=changes, given=given)


def _solved(
    simulator: LinearNetwork | NonlinearNetwork,
    plan: _Plan,
    number: int,
    n: int,
    path: Path,
    *,
    steps: Float[np.ndarray, "*C 1"],
) -> SolvedRecordings:
    """Solved waves of a part, from its file if there is one."""
    from ...simulators.recordings import solve_courses

    if not path.is_file():
        site = simulator.sites[0] if steps.ndim == 1 else simulator.sites
        made = solve_courses(simulator, _courses(simulator, plan, number, n), site=site, seed=plan.seed_of(number))
        arrays = {name: getattr(made, name) for name in SolvedRecordings.__dataclass_fields__}
        whole = np.rint(steps * np.nan_to_num(made.waves, nan=0.0, posinf=0.0, neginf=0.0))
        _save(path, {**arrays, "waves": np.clip(whole, -32768, 32767).astype(np.int16)})
    with np.load(path, allow_pickle=False) as file:
        stored = dict(file)
    return SolvedRecordings(**{**stored, "waves": stored["waves"].astype(np.float32) / steps})


def _courses(simulator: LinearNetwork | NonlinearNetwork, plan: _Plan, number: int, n: int) -> Course:
    """Courses of a part's patients, some of whom hardly move."""
    from ...simulators.recordings import draw_courses, spread_times

    seed = plan.seed_of(number)
    rng = np.random.default_rng(seed)
    times = spread_times(rng, n, plan.windows, longest_s=plan.longest_s)
    still = np.random.default_rng([seed, 2]).random((2, n))
    lively = np.where(still[0] < plan.still_share, 0.1 * still[1] ** 3, 1.0)
    return draw_courses(simulator, rng, times, liveliness=lively)


def _embedded(bundle: Bundle, names: tuple[str, ...], shown: SimulatedRecordings) -> dict[str, np.ndarray]:
    """Context vectors and truth of recorded windows."""
    n, windows, *shape = shown.waves.shape
    columns = dict(zip(names, np.moveaxis(shown.quantities, -1, 0), strict=True))
    theta = bundle.outputs.encode({k: v.reshape(-1) for k, v in columns.items()})
    usable = shown.usable.reshape(-1).astype(bool) & bundle.outputs.space.contains(theta)
    waves = np.where(usable.reshape(-1, *(1 for _ in shape)), shown.waves.reshape(-1, *shape), 90.0)
    given = {"given": np.isfinite(shown.waves).all(-1)} if bundle.contract.several else {}
    return {
        **given,
        "context": embed_windows(bundle, waves).reshape(n, windows, -1).astype(np.float32),
        "theta": theta.reshape(n, windows, -1).astype(np.float32),
        "compliance": shown.compliance.astype(np.float32),
        "wave_speed": shown.wave_speed.astype(np.float32),
        "usable": usable.reshape(n, windows),
        "time_s": shown.time_s,
        "change_s": shown.change_s,
        "step_mmhg": shown.step_mmhg.astype(np.float32),
        "relined": shown.relined.astype(bool),
    }


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]
    os.replace(partial, path)


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:10]


def _weights(bundle: Bundle) -> str:
    """Hash of the embedding's weights."""
    state = bundle.npe.embedding.state_dict()
    return hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()
