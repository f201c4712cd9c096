r"""`pulsebayes models`: the models that are there, what they read and say, and whether they are whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import describe, tell
from .options import Settings, help_of, with_settings

if TYPE_CHECKING:
    from ...inference.bundle import Bundle

__all__ = ["models"]

models = typer.Typer(no_args_is_help=True, help="List, show, check and seal models.")

_NAME = Annotated[str, typer.Argument(help="Name of a shipped model, or the folder of a bundle.")]
_NAMES = Annotated[list[str] | None, typer.Argument(help="Names or folders; none for every shipped model.")]

_FOLDERS = Annotated[list[str], typer.Argument(metavar="NAMES...", help="Names or folders of models.")]


@models.callback()
@with_settings
def models_group(*, settings: Settings) -> None:
    """List, show, check and seal models."""


@with_settings
def list_models(*, settings: Settings) -> None:
    """List the models that the package ships."""
    from ...inference.bundle import Bundle, shipped_bundles
    from ...inference.symbolic.weights import shipped_symbolic_models

    bundles = [Bundle.load(folder) for folder in shipped_bundles().values()]
    rows = [_row(bundle) for bundle in bundles]
    equations = list(shipped_symbolic_models())
    if settings.json:
        blank: dict[str, Any] = {"input": None, "window_s": None, "quantities": {}, "estimated": []}
        typer.echo(json.dumps(rows + [{"name": name, **blank} for name in equations], allow_nan=False))
        return
    for bundle, row in zip(bundles, rows, strict=True):
        typer.echo(f"{row['name']}: {bundle.contract.reads}, windows of {row['window_s']:g} s")
        typer.echo(f"  {', '.join(row['quantities'])}")
    for name in equations:
        typer.echo(f"{name}: equations from trajectories, for `pulsebayes recover`")
    if not rows:
        typer.echo("no models are shipped with this version")


@with_settings
def show(name: _NAME, *, settings: Settings) -> None:
    """Show the card of a model, and of the pooling and patient layers beside it."""
    from ...inference.bundle import Bundle, find_bundle
    from ...inference.patient.layer import CARD as PATIENT
    from ...inference.pooling.layer import CARD as POOLING
    from ...inference.symbolic.weights import read_symbolic_info

    equations = _equations(name)
    if equations is not None:
        measured = {"name": name, "measured": read_symbolic_info(equations)["measured"]}
        card = (equations / "card.md").read_text(encoding="utf-8").rstrip()
        typer.echo(json.dumps(measured, allow_nan=False) if settings.json else card)
        return
    folder = find_bundle(name)
    bundle = Bundle.load(folder)
    if settings.json:
        typer.echo(json.dumps({**_row(bundle), "measured": dict(bundle.measured)}, allow_nan=False))
        return
    typer.echo(bundle.card.rstrip() or f"{bundle.name} has no card")
    for card in (POOLING, PATIENT):
        if (folder / card).is_file():
            typer.echo("\n" + (folder / card).read_text(encoding="utf-8").rstrip())


@with_settings
def verify(names: _NAMES = None, *, settings: Settings) -> None:
    """Check models, and the layers beside them, against their hashes."""
    from ...inference.bundle import shipped_bundles
    from ...inference.symbolic.weights import shipped_symbolic_models

    exit_code = 0
    rows: list[dict[str, Any]] = []
    for name in names or [*shipped_bundles(), *shipped_symbolic_models()]:
        try:
            rows.append({"name": _checked(name), "whole": True})
        except ValueError as error:
            exit_code = tell(describe(error), as_json=settings.json)
    if settings.json:
        typer.echo(json.dumps(rows))
    elif rows or not exit_code:
        typer.echo("\n".join(f"{row['name']}: whole" for row in rows) or "nothing to check")
    raise typer.Exit(exit_code)


@with_settings
def seal(folders: _FOLDERS, *, settings: Settings) -> None:
    """Name the layers beside models in their bundle.json: after one was copied there, or removed on purpose."""
    from ...calibration.load import seal_layers
    from ...inference.bundle import find_bundle

    rows = [{"name": Path(name).name, "layers": seal_layers(find_bundle(name))} for name in folders]
    if settings.json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        typer.echo(f"{row['name']}: {', '.join(row['layers']) or 'no layers'}")


for _name, _verb in (("list", list_models), ("show", show), ("verify", verify), ("seal", seal)):
    models.command(_name, help=help_of(_verb))(_verb)


def _equations(name: str) -> Path | None:
    """Folder of an equation transformer, if that is what the name or folder means."""
    from ...inference.symbolic.weights import is_symbolic_model, shipped_symbolic_models

    folder = shipped_symbolic_models().get(name, Path(name))
    return folder if is_symbolic_model(folder) else None


def _checked(name: str) -> str:
    """Name of a model that was read whole, with its layers."""
    from ...calibration.load import load_calibrated
    from ...inference.bundle import find_bundle
    from ...inference.symbolic.weights import load_symbolic_model

    equations = _equations(name)
    if equations is None:
        return load_calibrated(find_bundle(name)).bundle.name
    load_symbolic_model(equations)
    return equations.name


def _row(bundle: Bundle) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "input": bundle.contract.to_json(),
        "window_s": bundle.contract.window_s,
        "quantities": dict(bundle.outputs.reported),
        "estimated": list(bundle.outputs.names),
    }
