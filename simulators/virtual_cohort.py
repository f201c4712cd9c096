r"""A virtual VitalDB: folders of `.vital` files with VitalDB's track names, made from simulated operations.

A folder looks like a cache of `fetch vitaldb` (`1.vital`, ..., `cases.csv`, `trks.csv`, `index.json`), so whatever
reads one reads the other. Beside VitalDB's own tracks each file has `Truth/CO`, `Truth/SVR`, ...: what the simulator
knows, every 8 s, which nothing reads unless it is asked to. `events.csv` says when what happened. Cases are written one
by one, each from its own seed: the same seed gives the same bytes, in any order, and a stopped run goes on.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ..waveforms.quantities import QUANTITIES
from ..waveforms.vitaldb.cache import Cache
from ..waveforms.writers.vital import VitalNumbers, VitalWave, write_vital
from .clinical import CLINICAL
from .continuous import Continuous, simulate_continuous
from .operations import PHYSICS, Operation, draw_operation, shift_physics
from .registry import build
from .virtual_monitor import electrocardiogram, oximetry, record_pressure, thermodilution

__all__ = ["VirtualCase", "VirtualCohort", "make_case", "make_cohort"]

EVERY_S = 8.0
SENSORS = ("clean", "faulty")
_TRUE = ("HR", "SV", "CO", "MAP", "CVP", "SVR", "LVET", "PWV", "C", "SBP", "DBP")
_ECG_HZ = 250.0


@dataclass(frozen=True)
class VirtualCohort:
    r"""What is made.

    Arguments:
        cases: Number of cases.
        minutes: Length of each [min].
        physics: `training` (the training simulator's), `shifted` (arteries of one length whatever the height, other
            walls, beds and inflow), or `nonlinear` (the non-linear network with the shifted constants; slow).
        sensors: `clean` or `faulty`.
        seed: Seed of everything.

    Raises:
        ValueError: If a number is out of range or a name unknown.

    Example:
        >>> VirtualCohort(6, 10.0).physics
        'shifted'
    """

    cases: int = 60
    minutes: float = 60.0
    physics: str = "shifted"
    sensors: str = "clean"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every field."""
        if self.cases < 1 or not 5.0 <= self.minutes <= 24 * 60:
            raise ValueError(
                f"a virtual cohort needs a case or more of 5 to 1440 min, got {self.cases} of {self.minutes:g} min"
            )
        for name, value, known in (("physics", self.physics, PHYSICS), ("sensors", self.sensors, SENSORS)):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")


@dataclass(frozen=True)
class VirtualCase:
    r"""What one case is.

    Arguments:
        case: Its number.
        subject: Number of its patient.
        age: Age [years].
        height: Height [cm].
        events: Start [s], end [s] and name of each event and fault.
        variation: Standard deviation of cardiac output over its mean.

    Example:
        >>> VirtualCase(1, 1001, 60.0, 170.0, (), 0.15).case
        1
    """

    case: int
    subject: int
    age: float
    height: float
    events: tuple[tuple[float, float, str], ...]
    variation: float


def make_case(plan: VirtualCohort, case: int, path: Path) -> VirtualCase:
    r"""Writes one case.

    Arguments:
        plan: What is made.
        case: Its number, from 1.
        path: The file.

    Returns:
        What the case is.

    Raises:
        ValueError: If no window of the operation could be simulated.

    Example:
        >>> import tempfile
        >>> made = make_case(VirtualCohort(1, 5.0), 1, Path(tempfile.mkdtemp()) / "1.vital")
        >>> made.subject, made.events[0][2]
        (1001, 'induction')
    """
    rng = np.random.default_rng([plan.seed, case])
    operation = draw_operation(rng, np.arange(round(plan.minutes * 60 / EVERY_S)) * EVERY_S)
    theta = operation.theta if plan.physics == "training" else shift_physics(operation.theta)
    made = simulate_continuous(build_simulator(plan.physics), theta, every_s=EVERY_S, seed=1000 * plan.seed + case)
    waves, faults = _waves(rng, made, plan)
    write_vital(path, waves, _numbers(rng, made, operation))
    first = dict(zip(CLINICAL.names, operation.theta[0].tolist(), strict=True))
    events = [(round(at, 2), round(at, 2), name) for at, name in operation.events]
    truth = made.quantities["CO"][made.usable]
    return VirtualCase(
        case,
        1000 + case,
        round(first["age"], 1),
        round(100 * first["height"], 1),
        tuple(sorted([*events, *faults])),
        float(truth.std() / truth.mean()),
    )


@cache
def build_simulator(physics: str) -> Any:
    """The simulator of a kind of physics: 11 s of radial pressure and finger photoplethysmogram."""
    config: dict[str, object] = {"sites": ["Radial", "Digital:ppg"], "duration_s": 11.0}
    if physics == "nonlinear":
        return build("network", **config)
    population = "clinical" if physics == "training" else "clinical-fixed-lengths"
    return build("linear-network", population=population, **config)


def make_cohort(
    plan: VirtualCohort, folder: str | Path, *, progress: Callable[[int], None] | None = None
) -> list[VirtualCase]:
    r"""Writes a cohort; cases that are there, whole and of the same plan, are kept.

    Arguments:
        plan: What is made.
        folder: Where; a folder of another plan is refused.
        progress: Told the number of cases that are there.

    Returns:
        Every case.

    Raises:
        SourceError: If the folder lies in the source tree.
        ValueError: If the folder holds cases of another plan.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> [made.case for made in make_cohort(VirtualCohort(1, 5.0), folder)]
        [1]
        >>> sorted(path.name for path in folder.iterdir() if path.is_file())
        ['1.vital', 'cases.csv', 'events.csv', 'index.json', 'trks.csv', 'virtual.json']
    """
    store = Cache(Path(folder))
    known = _read_plan(store, plan)
    for case in range(1, plan.cases + 1):
        name = f"{case}.vital"
        if str(case) not in known or store.check(name):
            made = make_case(plan, case, store.partial(name))
            store.admit(name, url=f"virtual:{plan.seed}/{case}")
            known[str(case)] = {**asdict(made), "events": [list(event) for event in made.events]}
            _write(store, "virtual.json", _plan_text(plan, known))
        if progress is not None:
            progress(case)
    rows = [known[str(case)] for case in range(1, plan.cases + 1)]
    found = [VirtualCase(**{**row, "events": tuple(tuple(event) for event in row["events"])}) for row in rows]
    _write_tables(store, found)
    return found


def _read_plan(store: Cache, plan: VirtualCohort) -> dict[str, Any]:
    path = store.path("virtual.json")
    if not path.is_file():
        return {}
    info = json.loads(path.read_text(encoding="utf-8"))
    theirs, own = ({k: v for k, v in p.items() if k != "cases"} for p in (info["plan"], asdict(plan)))
    if theirs != own:
        raise ValueError(f"the folder holds a virtual cohort of another plan: {theirs}, asked for is {own}")
    return dict(info["cases"])


def _plan_text(plan: VirtualCohort, known: Mapping[str, Any]) -> str:
    return json.dumps({"schema": 1, "plan": asdict(plan), "cases": known}, indent=1, allow_nan=False) + "\n"


def _write(store: Cache, name: str, text: str) -> None:
    draft = store.partial(name)
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, store.path(name))


def _write_tables(store: Cache, cases: list[VirtualCase]) -> None:
    """The tables of VitalDB's web interface, and what happened when."""
    tracks = [*_track_names(), *(f"Truth/{name}" for name in _TRUE)]
    tables: dict[str, tuple[tuple[str, ...], list[tuple[object, ...]]]] = {
        "cases.csv": (
            ("caseid", "subjectid", "age", "height", "optype"),
            [(c.case, c.subject, c.age, c.height, "virtual") for c in cases],
        ),
        "trks.csv": (
            ("caseid", "tname", "tid"),
            [(c.case, name, f"virtual-{c.case}-{k}") for c in cases for k, name in enumerate(tracks)],
        ),
        "events.csv": (
            ("caseid", "start_s", "end_s", "event"),
            [(c.case, *event) for c in cases for event in c.events],
        ),
    }
    for name, (head, rows) in tables.items():
        page = io.StringIO()
        csv.writer(page, lineterminator="\n").writerows([head, *rows])
        if name == "events.csv":
            _write(store, name, page.getvalue())
            continue
        store.partial(name).write_text(page.getvalue(), encoding="utf-8")
        store.admit(name, url="virtual:")


def _track_names() -> tuple[str, ...]:
    return ("SNUADC/ART", "SNUADC/PLETH", "SNUADC/ECG_II", "Vigilance/CO", "Vigilance/SVR", "Solar8000/HR",
            "Solar8000/ART_MBP", "Solar8000/CVP")  # fmt: skip


def _waves(
    rng: np.random.Generator, made: Continuous, plan: VirtualCohort
) -> tuple[list[VitalWave], list[tuple[float, float, str]]]:
    radial, finger = made.waves["Radial"], made.waves["Digital:ppg"]
    pressure, faults = record_pressure(rng, np.asarray(radial, np.float64), made.fs, faulty=plan.sensors == "faulty")
    pleth = oximetry(rng, np.asarray(finger, np.float64), made.fs)
    lead = electrocardiogram(rng, made.beats_s, len(radial) / made.fs, _ECG_HZ)
    return [
        VitalWave("SNUADC/ART", pressure, made.fs, "mmHg"),
        VitalWave("SNUADC/PLETH", pleth, made.fs),
        VitalWave("SNUADC/ECG_II", lead, _ECG_HZ, "mV"),
    ], faults


def _numbers(rng: np.random.Generator, made: Continuous, operation: Operation) -> list[VitalNumbers]:
    middle = operation.time_s + 0.5 * EVERY_S
    q = {name: _filled(values, made.usable) for name, values in made.quantities.items()}
    read = thermodilution(rng, operation.time_s, q["CO"], q["MAP"], q["CVP"])
    often = np.arange(2.0, float(operation.time_s[-1]) + EVERY_S, 2.0)
    shown = {"HR": "HR", "ART_MBP": "MAP", "CVP": "CVP"}
    found = [VitalNumbers(f"Vigilance/{n}", read.times_s, v, QUANTITIES[n].unit) for n, v in read.values.items()]
    found += [
        VitalNumbers(f"Solar8000/{name}", often, np.interp(often, middle, q[symbol]).round(), QUANTITIES[symbol].unit)
        for name, symbol in shown.items()
    ]
    good = np.flatnonzero(made.usable)
    found += [VitalNumbers(f"Truth/{n}", middle[good], q[n][good], QUANTITIES[n].unit) for n in _TRUE]
    return found


def _filled(values: Float[np.ndarray, " W"], usable: np.ndarray) -> Float[np.ndarray, " W"]:
    """Values of failed windows replaced by those between their neighbours."""
    good = np.flatnonzero(usable)
    return np.asarray(np.interp(np.arange(len(values)), good, values[good]))
