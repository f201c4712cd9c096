r"""`pulsebayes loop`: pressure-volume loops of the closed circulation, as numbers and as a picture."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import CommandError
from .options import Settings, with_settings
from .run_record import write_run_record

if TYPE_CHECKING:
    from ...simulators.closed_loop.loops import EndSystolicLine, Loop
    from ...simulators.parameters import ParameterSpace

__all__ = ["loop"]

_CHAMBERS = {"LV": "left ventricle", "RV": "right ventricle"}
_MOST = 24


@with_settings
def loop(
    vary: Annotated[str, typer.Option(metavar="NAME=A,B,...", help="A parameter and its values, a loop each.")] = "",
    assign: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter of all loops [the median's].")
    ] = None,
    chamber: Annotated[str, typer.Option(help="LV or RV.")] = "LV",
    diseased: Annotated[
        bool, typer.Option("--diseased", help="Let valves be narrow and leak: more parameters.")
    ] = False,
    septum: Annotated[bool, typer.Option("--septum", help="Let the ventricles feel each other.")] = False,
    *,
    settings: Settings,
) -> None:
    r"""Draw pressure-volume loops of the heart in the closed circulation.

    The adult is the median of the prior of `simulate closed-loop`, with what --set and --vary change. Quantities of
    each loop are printed; --out loops.svg (or .png) draws them. Loops that differ in filling or load share an
    end-systolic line, whose slope is printed too.

    Arguments:
        vary: A parameter and its values.
        assign: Parameters of all loops.
        chamber: Whose loops.
        diseased: Whether valves may be sick.
        septum: Whether the ventricles feel each other.
        settings: The shared options.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["loop", "--help"])  # doctest: +ELLIPSIS
        Usage: ...
    """
    if settings.has_out and settings.out.suffix not in (".svg", ".png"):
        raise CommandError(f"{settings.out.name} must end in .svg or .png", code="usage", hint="--out loops.svg")
    if settings.has_out and settings.out.exists() and not settings.force:
        raise CommandError(f"{settings.out.name} exists", code="exists", hint="--force, or another name")
    common = dict(_numbers(text, single=True) for text in assign or [])
    changes = _changes(vary, common)
    from ...simulators.closed_loop.loops import end_systolic_line, solve_loops
    from ...simulators.closed_loop.simulator import ClosedLoop

    simulator = ClosedLoop(valves="diseased" if diseased else "sound", septum=septum)
    unknown = {name for change in changes.values() for name in change} - set(simulator.space.names)
    if unknown:
        hint = "one of " + ", ".join(simulator.space.names)
        raise CommandError(f"the closed loop has no parameter {sorted(unknown)[0]!r}", code="usage", hint=hint)
    _check_bounds(simulator.space, changes, vary)
    try:
        found = dict(zip(changes, solve_loops(simulator, list(changes.values()), chamber=chamber), strict=True))
    except ValueError as error:
        raise CommandError(str(error), code="usage", hint="a value within the bounds") from None
    elastances = {f"{side}_{part}" for side in ("lv", "rv") for part in ("elastance", "rest_volume")}
    shares = len(found) > 1 and vary.partition("=")[0].strip() not in elastances
    line = end_systolic_line(list(found.values())) if shares else None
    if settings.has_out:
        _draw(found, line, chamber, settings)
    typer.echo(json.dumps(_as_json(found, line)) if settings.json else _as_text(found, line))


def _check_bounds(space: ParameterSpace, changes: dict[str, dict[str, float]], vary: str) -> None:
    bounds = {p.name: p for p in space.parameters}
    for name, value in [item for change in changes.values() for item in change.items()]:
        p = bounds[name]
        if p.low <= value <= p.high:
            continue
        varied = name == vary.partition("=")[0].strip()
        within = sorted({min(max(c[name], p.low), p.high) for c in changes.values()})
        hint = f"{'--vary' if varied else '--set'} {name}={','.join(f'{v:g}' for v in within)}"
        message = f"{name} must lie between {p.low:g} and {p.high:g} {p.unit}, got {value:g}"
        raise CommandError(message, code="usage", hint=hint)


def _changes(vary: str, common: dict[str, float]) -> dict[str, dict[str, float]]:
    if not vary:
        return {"the median adult" if not common else "as set": common}
    name, values = _numbers(vary, single=False)
    if len(values) > _MOST:
        raise CommandError(f"--vary takes at most {_MOST} values, got {len(values)}", code="usage", hint="fewer values")
    return {f"{name} {value:g}": {**common, name: value} for value in values}


def _numbers(text: str, *, single: bool) -> tuple[str, Any]:
    name, separator, values = text.partition("=")
    try:
        numbers = [float(part) for part in values.split(",")]
    except ValueError:
        numbers = []
    if not (name.strip() and separator and numbers and all(map(math.isfinite, numbers))) or (
        single and len(numbers) > 1
    ):
        option, form = ("--set", "NAME=VALUE") if single else ("--vary", "NAME=A,B,...")
        raise CommandError(f"{option} must be {form}, got {text!r}", code="usage", hint="lv_elastance=2.4")
    return name.strip(), numbers[0] if single else numbers


def _draw(found: dict[str, Loop], line: EndSystolicLine | None, chamber: str, settings: Settings) -> None:
    from ..figures.loops import pressure_volume
    from ..figures.static import draw_static

    picture = pressure_volume(found, line, chamber=_CHAMBERS[chamber])
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    settings.out.write_bytes(draw_static(picture, form=settings.out.suffix[1:]))
    write_run_record(
        settings.out.parent, command="loop", config={"chamber": chamber, "loops": list(found)},
        outputs=(settings.out.name,), seed=settings.seed,
    )  # fmt: skip


def _as_json(found: dict[str, Loop], line: EndSystolicLine | None) -> dict[str, object]:
    from ...simulators.status import STATUS

    return {
        "loops": {
            name: {"status": STATUS[one.status], **{k: round(v, 4) for k, v in one.quantities.items()}}
            for name, one in found.items()
        },
        "end_systolic_line": None
        if line is None
        else {"elastance_mmHg_per_mL": round(line.elastance, 4), "rest_volume_mL": round(line.rest_volume, 3)},
    }


def _as_text(found: dict[str, Loop], line: EndSystolicLine | None) -> str:
    from ...simulators.status import ADVICE, STATUS
    from ..figures.loops import pressure_volume

    table = pressure_volume(found).table
    cells = [table.columns, *table.rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(table.columns))]
    lines = ["  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
             for row in cells]  # fmt: skip
    lines += [f"{name}: {STATUS[one.status]}. {ADVICE[one.status]}" for name, one in found.items() if one.status]
    if line is not None:
        lines.append(f"end-systolic line: {line.elastance:.2f} mmHg/mL, meets the axis at {line.rest_volume:.1f} mL")
    return "\n".join(lines)
