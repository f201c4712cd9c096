r"""The periodic state of a batch: periods, corrections of the slow pressures, and a bound on what is left.

A period maps the state at phase 0 to the next. Its slow directions are those of the arteries and windkessels taken as
compartments ([`compartments`][pulsebayes.simulators.network.nonlinear.compartments]): they give the starting state, and
after each period the part of the change that would go on is added at once. The first periods are those of a coarse copy
([`coarse`][pulsebayes.simulators.network.nonlinear.coarse]) where that is cheap. A result is taken only from a plain
period of the wished grid (nothing corrected in it), and its error is bounded by the largest change of the two waves
over it, $|\Delta P| + \rho c|\Delta u|$, times $2 (1 + f)/(1-r)$. Here $f$ is the factor by which the rest of
the change (waves between reflecting ends) shrinks in a period, the slower of the last two seen (it swings where waves
ring, and a wave seen at phase 0 is then higher elsewhere in the period), and $r$ the slower of $f$ and that of the
compartments. Units: SI inside, mmHg for tolerances.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from ....waveforms.units import PA_PER_MMHG
from ...status import DIVERGED, NOT_PERIODIC, OK
from .coarse import coarse_physics, refined_state
from .compartments import Compartments, compliance_of_rows, make_compartments
from .cycle import Waves
from .grid import Grid, Physics, Probe
from .scheme import State, initial_state

__all__ = [
    "PeriodicSettings", "PeriodicSolution", "finite_rows", "needed_steps", "solve_periodic", "state_at_rest",
]  # fmt: skip

Cycle = Callable[..., tuple[State, Waves]]
_LARGEST_COURANT = 0.98
_MOST_STEPS = 400_000
_MOST_SAMPLES = 20_000
_SAFETY = 2.0  # a junction may pass on more pressure than it is given, and phase 0 need not see the largest
_UNSEEN, _SLOWEST = 0.9, 0.98  # factors of the waves: before a second period tells, and the largest believed
_FORGETS = 0.1  # factor of a period under which a start from rest is as good
_FEW = 0.1  # share of vessels of a wrong length above which a coarse copy starts no better than rest
_MOST_COARSE, _CHEAP, _ROUGH, _LOOKS = 6, 0.5, 1.0, 10  # coarse periods: most, cost, tolerance [mmHg], samples
_NOISE = 200.0  # changes of that many roundings say nothing of a factor


@dataclasses.dataclass(frozen=True)
class PeriodicSettings:
    r"""How far and how finely to solve.

    Arguments:
        tolerance_mmHg: Bound of the remaining error at which to stop [mmHg].
        max_cycles: Most periods.
        courant: Courant number to step at; the scheme is stable to 1.
        n_samples: Samples of a period.
        engine: `kernel` (compiled, CPU) or `jax`.
        block: Simulations stepped together; those of a block share the number of steps.

    Raises:
        ValueError: A value is out of range.

    Example:
        >>> PeriodicSettings(tolerance_mmHg=0.02).courant
        0.9
    """

    tolerance_mmHg: float = 0.1
    max_cycles: int = 30
    courant: float = 0.9
    n_samples: int = 100
    engine: str = "kernel"
    block: int = 16

    def __post_init__(self) -> None:
        if not self.tolerance_mmHg > 0:
            raise ValueError(f"tolerance_mmHg must be positive, got {self.tolerance_mmHg}")
        if not 0 < self.courant <= 0.95:
            raise ValueError(f"courant must lie in 0..0.95, got {self.courant}")
        if self.max_cycles < 1 or self.n_samples < 2 or self.block < 1:
            raise ValueError("max_cycles and block must be at least 1, n_samples at least 2")
        if self.n_samples > _MOST_SAMPLES:
            raise ValueError(f"n_samples must be at most {_MOST_SAMPLES:,}, got {self.n_samples:,}")
        if self.engine not in ("kernel", "jax"):
            raise ValueError(f"engine must be 'kernel' or 'jax', got {self.engine!r}")

    @property
    def cycle(self) -> Cycle:
        """The function that advances a batch by a period."""
        if self.engine == "kernel":
            from .packing import kernel_cycle

            return kernel_cycle
        from .cycle import jax_cycle

        return jax_cycle


class PeriodicSolution(NamedTuple):
    """Waves of the last period and how they came about.

    `bound`: largest error left [mmHg]; `courant`: largest Courant number of the last period; `status`: codes of
    `simulators.status`; `failed_vessel` and `failed_time` [s from the start of its period]: where and when a simulation
    failed, -1 and NaN if it did not.

    Example:
        >>> PeriodicSolution._fields[2]
        'steps'
    """

    waves: Waves
    state: State
    steps: Int[np.ndarray, " B"]
    cycles: Int[np.ndarray, " B"]
    bound: Float[np.ndarray, " B"]
    courant: Float[np.ndarray, " B"]
    status: UInt8[np.ndarray, " B"]
    failed_vessel: Int[np.ndarray, " B"]
    failed_time: Float[np.ndarray, " B"]


def solve_periodic(
    grid: Grid,
    physics: Physics,
    probes: tuple[Int[np.ndarray, "K 4"], Float[np.ndarray, "K 4"]],
    settings: PeriodicSettings | None = None,
) -> PeriodicSolution:
    """Periodic state of every simulation of a batch; a failed one has a status.

    Arguments:
        grid: The grid.
        physics: The numbers; their floating type is the one computed in.
        probes: Where to take waves: `Grid.interpolation`.
        settings: How far and how finely.

    Returns:
        Waves of the last period, and how they came about.

    Raises:
        ValueError: If no simulation of the batch has finite numbers, or all need too many steps.

    Example:
        >>> from pulsebayes.simulators.network.files import load_network
        >>> from pulsebayes.simulators.network.nonlinear.grid import Probe, make_grid
        >>> from pulsebayes.simulators.network.nonlinear.physics import model_physics
        >>> model = load_network("common-carotid")
        >>> grid = make_grid(model, dx_mm=20.0)
        >>> found = solve_periodic(grid, model_physics(model, grid), grid.interpolation([Probe(0, 0.5)]))
        >>> found.status.tolist(), bool(found.bound[0] < 0.1)
        ([0], True)
    """
    settings = settings or PeriodicSettings()
    physics, finite = finite_rows(Physics(*(np.asarray(a) for a in physics)))
    compartments = make_compartments(grid, physics)
    need = needed_steps(grid, physics, compartments, settings)
    if need[finite].min() > _MOST_STEPS:
        cell = int(np.argmin(grid.cells * 0 + physics.dx[:, finite].min(1)))
        raise ValueError(
            f"a period needs {need[finite].min():,.0f} steps, more than {_MOST_STEPS:,}: the cells of vessel "
            f"{grid.names[cell]!r} are too short or its wall too stiff"
        )
    order = np.argsort(need, kind="stable")
    found = []
    for start in range(0, len(order), settings.block):
        lanes = order[start : start + settings.block]
        block = Physics(*(a[..., lanes] for a in physics))
        slow = Compartments(*(a[lanes] for a in compartments))
        found.append(_solve_block(grid, block, slow, probes, settings, need[lanes].max()))
    solution = _join(found, np.argsort(order, kind="stable"))
    return solution._replace(
        status=np.where(finite, solution.status, DIVERGED).astype(np.uint8),
        bound=np.where(finite, solution.bound, np.inf),
        waves=solution.waves._replace(
            **{k: np.where(finite, getattr(solution.waves, k), np.nan) for k in ("pressure", "flow", "viscous")}
        ),
    )


def finite_rows(physics: Physics) -> tuple[Physics, Bool[np.ndarray, " B"]]:
    """A batch with a finite simulation in the place of every one that is not.

    Arguments:
        physics: The numbers.

    Returns:
        Finite numbers, and which simulations are their own.

    Raises:
        ValueError: If none is finite.

    Example:
        >>> numbers = Physics(*[np.array([[1.0, np.nan]])] * 15)
        >>> finite_rows(numbers)[1].tolist()
        [True, False]
    """
    finite = np.all([np.isfinite(a).reshape(-1, a.shape[-1]).all(0) for a in physics], axis=0)
    if not finite.any():
        raise ValueError("no simulation of the batch has finite numbers: look at its parameters")
    good = int(np.argmax(finite))
    return Physics(*(np.where(finite, a, a[..., good : good + 1]) for a in physics)), finite


def needed_steps(
    grid: Grid, physics: Physics, compartments: Compartments, settings: PeriodicSettings
) -> Float[np.ndarray, " B"]:
    """Steps of a period at the wished Courant number, with a systolic guess of pressure and speed.

    Arguments:
        grid: The grid.
        physics: The numbers.
        compartments: Their slow part.
        settings: How finely.

    Returns:
        Steps, not yet whole.

    Example:
        >>> needed_steps.__name__
        'needed_steps'
    """
    high = 1.35 * np.maximum(compartments.mean[:, 0], 0)
    alpha = 1 + np.maximum(high - physics.external[grid.vessel_of_row], 0) / physics.beta
    wave = np.sqrt(0.5 / grid.density * physics.beta * alpha)
    weight = grid.courant_weight[grid.vessel_of_row][:, None]
    rate = np.where(grid.is_cell[:, None], weight * (wave + 0.3) / physics.dx[grid.vessel_of_row], 0).max(0)
    return np.asarray(rate * physics.period / settings.courant, np.float64)


def _whole(steps: float, n_samples: int) -> int:
    return int(min(max(1, np.ceil(steps / n_samples)), _MOST_STEPS // n_samples)) * n_samples


def _solve_block(
    grid: Grid,
    physics: Physics,
    slow: Compartments,
    probes: tuple[np.ndarray, np.ndarray],
    settings: PeriodicSettings,
    need: float,
) -> PeriodicSolution:
    before, state = _start(grid, physics, slow, settings, need)
    left = dataclasses.replace(settings, max_cycles=settings.max_cycles - before)
    found = _iterate(grid, physics, slow, probes, left, state, _whole(need, settings.n_samples))
    return found._replace(cycles=found.cycles + before)


def _start(
    grid: Grid, physics: Physics, slow: Compartments, settings: PeriodicSettings, need: float
) -> tuple[int, State]:
    """Periods solved on a coarse copy, and the state to start from: theirs, or rest at the compartments' pressures."""
    rest = state_at_rest(grid, physics, slow)
    most = min(settings.max_cycles // 2, _MOST_COARSE)
    if most < 1 or slow.decay.max() < _FORGETS:
        return 0, rest
    coarse = grid.coarse
    numbers = coarse_physics(grid, physics, coarse)
    steps = needed_steps(coarse, numbers, slow, settings).max()
    wrong = (numbers.dx * coarse.cells[:, None] > 1.001 * physics.dx * grid.cells[:, None]).any(-1)
    if coarse.n_cells * steps > _CHEAP * grid.n_cells * need or wrong.mean() > _FEW:
        return 0, rest
    rough = dataclasses.replace(settings, tolerance_mmHg=_ROUGH, max_cycles=most, n_samples=_LOOKS)
    nowhere = coarse.interpolation([Probe(0, 0.0)])
    first = state_at_rest(coarse, numbers, slow)
    found = _iterate(coarse, numbers, slow, nowhere, rough, first, _whole(steps, _LOOKS))
    state = refined_state(coarse, numbers, found.state, grid, physics)
    sound = found.status != DIVERGED
    return int(found.cycles.max()), State(*(np.where(sound, a, b) for a, b in zip(state, rest, strict=True)))


def state_at_rest(grid: Grid, physics: Physics, slow: Compartments) -> State:
    """Networks at rest at the pressures that their compartments have at phase 0.

    Arguments:
        grid: The grid.
        physics: The numbers.
        slow: Their slow part.

    Returns:
        The state.

    Example:
        >>> state_at_rest.__name__
        'state_at_rest'
    """
    dtype = physics.period.dtype
    level = slow.start(physics.inflow)
    start = initial_state(grid, physics, level[:, 0].astype(dtype), level[:, 1:].T.astype(dtype))
    return State(*(np.asarray(a, dtype) for a in start))


def _iterate(
    grid: Grid,
    physics: Physics,
    slow: Compartments,
    probes: tuple[np.ndarray, np.ndarray],
    settings: PeriodicSettings,
    state: State,
    n_steps: int,
) -> PeriodicSolution:
    size = len(physics.period)
    level = slow.start(physics.inflow)[:, 0]
    weight = compliance_of_rows(grid, physics, level - physics.external[grid.vessel_of_row])
    weight = weight / weight.sum(0)
    cycles = np.zeros(size, np.int64)
    done = np.zeros(size, bool)
    row, sample = np.full(size, -1), np.zeros(size)
    seen = _Seen(np.full(size, np.nan), np.zeros(size))
    for number in range(1, settings.max_cycles + 1):
        after, waves = settings.cycle(grid, physics, state, probes, n_steps=n_steps, n_samples=settings.n_samples)
        after, waves = State(*map(np.asarray, after)), Waves(*map(np.asarray, waves))
        courant = np.asarray(after.cfl, np.float64)
        failed = (waves.failed_row >= 0) | ~np.isfinite(courant)
        worst = np.where(failed, 0, courant).max()
        if failed.any() and _may_refine(n_steps, number, settings):
            n_steps = _whole(1.5 * n_steps, settings.n_samples)
            continue  # from the same state with smaller steps
        fresh = failed & (row < 0)
        row, sample = np.where(fresh, waves.failed_row, row), np.where(fresh, waves.failed_sample, sample)
        change, bound, seen = _changes(grid, physics, slow, (state, after), weight, seen)
        good = ~failed & (bound <= settings.tolerance_mmHg) & (courant <= _LARGEST_COURANT)
        cycles[~done] = number
        done = good | failed
        if done.all() or number == settings.max_cycles:
            break
        n_steps = max(
            n_steps if worst <= _LARGEST_COURANT else 0, _whole(n_steps * worst / settings.courant, settings.n_samples)
        )
        state = _corrected(grid, physics, after, slow.correct(np.where(failed[:, None], 0, change)))
    status = np.where(failed, DIVERGED, np.where(good, OK, NOT_PERIODIC)).astype(np.uint8)
    vessel = np.where(failed, grid.vessel_of_row[np.maximum(row, 0)], -1)
    time = np.where(failed, sample * physics.period / settings.n_samples, np.nan)
    return PeriodicSolution(
        waves, after, np.full(size, n_steps), cycles, np.where(failed, np.inf, bound), courant, status, vessel, time
    )


def _may_refine(n_steps: int, number: int, settings: PeriodicSettings) -> bool:
    return number <= 3 and number < settings.max_cycles and 1.5 * n_steps <= _MOST_STEPS


class _Seen(NamedTuple):
    """Change of the waves over the last period, NaN before there was one, and the factor by which it had shrunk."""

    change: Float[np.ndarray, " B"]
    factor: Float[np.ndarray, " B"]


def _changes(
    grid: Grid,
    physics: Physics,
    slow: Compartments,
    states: tuple[State, State],
    weight: Float[np.ndarray, "R B"],
    seen: _Seen,
) -> tuple[Float[np.ndarray, "B n"], Float[np.ndarray, " B"], _Seen]:
    """Change of arterial and capacitor pressures over a period, bound on the error left [mmHg], what the waves did."""
    before, after = states
    old, new = (physics.beta * np.sqrt(s.area / physics.area) for s in states)
    rows = np.asarray(new - old, np.float64)
    capacitors = np.asarray(after.capacitor - before.capacitor, np.float64)
    mean = (weight * rows).sum(0)
    impedance = np.sqrt(0.5 * grid.density * physics.beta * np.sqrt(after.area / physics.area))  # rho c
    push = np.abs(np.asarray(impedance * (after.velocity - before.velocity), np.float64))
    largest = np.maximum((np.abs(rows) + push).max(0), np.abs(capacitors).max(0))
    waves = (np.abs(rows - mean) + push).max(0)
    first = np.isnan(seen.change)
    shrunk = np.where(first, 0, np.minimum(waves / np.where(first, 1, np.maximum(seen.change, 1e-30)), _SLOWEST))
    factor = np.where(first, _UNSEEN, np.maximum(shrunk, seen.factor))
    noise = _NOISE * np.finfo(physics.period.dtype).eps * np.asarray(new, np.float64).max(0)
    factor = np.where(waves > noise, factor, 0)
    bound = _SAFETY * (1 + factor) * largest / (1 - np.maximum(factor, slow.decay))
    return np.concatenate([mean[None], capacitors]).T, bound / PA_PER_MMHG, _Seen(waves, shrunk)


def _corrected(grid: Grid, physics: Physics, state: State, by: Float[np.ndarray, "B n"]) -> State:
    dtype = physics.period.dtype
    rise = by[:, 0].astype(dtype)
    alpha = np.sqrt(state.area / physics.area) + rise / physics.beta
    return state._replace(
        area=physics.area * np.maximum(alpha, 0.05) ** 2,
        capacitor=state.capacitor + by[:, 1:].T.astype(dtype),
        end_pressure=state.end_pressure + rise,
    )


def _join(parts: list[PeriodicSolution], order: Int[np.ndarray, " B"]) -> PeriodicSolution:
    def together(values: tuple[np.ndarray, ...]) -> np.ndarray:
        return np.concatenate(values, axis=-1)[..., order]

    waves, states, *rest = zip(*parts, strict=True)
    return PeriodicSolution(
        Waves(*(together(v) for v in zip(*waves, strict=True))),
        State(*(together(v) for v in zip(*states, strict=True))),
        *(together(v) for v in rest),
    )
