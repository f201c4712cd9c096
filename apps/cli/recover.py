r"""`pulsebayes recover`: from trajectories in a table to ranked symbolic equations."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import CommandError, ExitCode
from .options import Settings, with_settings

if TYPE_CHECKING:
    from ...inference.symbolic.posterior import EquationPosterior

__all__ = ["recover"]


class Written(StrEnum):
    r"""How equations are printed.

    Example:
        >>> Written("latex").value
        'latex'
    """

    sympy = "sympy"
    latex = "latex"


@with_settings
def recover(
    file: Annotated[Path, typer.Argument(help="Table (CSV) with a time column and a column for every state.")],
    dims: Annotated[
        str, typer.Option(help="State columns by name, comma-separated, or how many of the first; all if empty.")
    ] = "",
    time: Annotated[str, typer.Option(help="Time column; `time` or `t` or the first if empty.")] = "",
    inputs: Annotated[str, typer.Option("--inputs", help="Columns of exogenous inputs, comma-separated.")] = "",
    group: Annotated[str, typer.Option(help="Column that tells several trajectories apart.")] = "",
    candidates: Annotated[int, typer.Option(min=1, help="Most candidates to show.")] = 10,
    refit: Annotated[bool, typer.Option("--refit/--no-refit", help="Refit constants through the integrator.")] = True,
    proposers: Annotated[
        str, typer.Option(help="Some of weak, sindy, transformer, operon; what is installed, but operon, if empty.")
    ] = "",
    model: Annotated[
        str, typer.Option(help="Weights of the transformer by name or folder: symbolic-ode, symbolic-scalar.")
    ] = "symbolic-ode",
    written: Annotated[Written, typer.Option("--as", help="How equations are printed.")] = Written.sympy,
    *,
    settings: Settings,
) -> None:
    r"""Recover symbolic differential equations from trajectories.

    The answer is a posterior over equations: candidates with weight, error on held-out samples and length, the share of
    the posterior that agrees on each term, and a verdict, which may be that no equation explains the samples.

    Arguments:
        file: Table with a time column.
        dims: State columns, or how many.
        time: Time column.
        inputs: Columns of exogenous inputs.
        group: Column that tells trajectories apart.
        candidates: Most candidates to show.
        refit: Whether constants are refitted.
        proposers: Who proposes.
        model: Weights of the transformer; `symbolic-scalar` knows scalar equations without input only.
        written: SymPy or LaTeX.
        settings: The shared options.

    Raises:
        CommandError: If the table cannot be used.
        BundleError: If the model's weights or its description were changed.

    Example:
        >>> from pathlib import Path
        >>> from math import exp
        >>> from pulsebayes.apps.cli.main import run
        >>> rows = [f"{0.1 * i:.1f},{4 / (1 + 3 * exp(-0.1 * i)):.6f}" for i in range(80)]
        >>> _ = Path("yeast.csv").write_text("time,cells" + chr(10) + chr(10).join(rows))
        >>> run(["recover", "yeast.csv", "--proposers", "weak", "--candidates", "1"])  # doctest: +ELLIPSIS
        yeast.csv: ...
        0
    """
    from ...inference.bundle import BundleError
    from ...inference.symbolic.recover import RecoverConfig, recover_equations
    from ._trajectories import left_out, read_trajectories

    table = read_trajectories(file, dims=dims, time=time, inputs=inputs, group=group)
    config = RecoverConfig(proposers=_chosen(proposers), n_candidates=candidates, refit=refit, model=_known(model))
    settings.talk(f"{len(table.trajectories)} trajectory(ies) of {', '.join(table.names)}{left_out(table)}")
    try:
        found = recover_equations(
            table.trajectories, names=table.names, inputs=table.inputs, config=config, seed=settings.seed
        )
    except BundleError:
        raise
    except ValueError as error:
        raise CommandError(
            f"{file.name}: {error}",
            code="trajectories",
            hint="--dims NAME,NAME --time NAME --group NAME",
            exit_code=ExitCode.UNREADABLE,
        ) from error
    report = found.to_json()
    text = json.dumps(report, allow_nan=False) if settings.json else _page(file.name, found, written)
    if settings.json:
        settings.talk(f"{file.name}: {found.verdict}: {found.reason}")
    if settings.has_out:
        _write(settings, json.dumps(report, indent=1, allow_nan=False) + "\n")
    typer.echo(text)


def _chosen(proposers: str) -> tuple[str, ...]:
    from ...inference.symbolic.proposers import PROPOSERS, installed

    usable = installed()
    if not proposers:
        return tuple(p for p in usable if p != "operon")
    asked = tuple(dict.fromkeys(p.strip() for p in proposers.split(",") if p.strip()))
    if not asked or set(asked) - set(PROPOSERS):
        raise CommandError(
            f"--proposers must be some of {', '.join(PROPOSERS)}, got {proposers!r}", code="usage",
            hint=f"here: --proposers {','.join(usable)}",
        )  # fmt: skip
    absent = [p for p in asked if p not in usable]
    if absent:
        raise CommandError(
            f"the proposer {absent[0]!r} is not installed", code="usage",
            hint="pip install 'pulsebayes[symbolic]'" if absent[0] != "transformer" else "no weights are shipped",
        )  # fmt: skip
    return asked


def _known(model: str) -> str:
    """The model, if it is a shipped one or a folder."""
    if model != "symbolic-ode":
        from ...inference.bundle import BundleError
        from ...inference.symbolic.weights import find_symbolic_model, read_symbolic_info

        try:
            read_symbolic_info(find_symbolic_model(Path(model)))
        except BundleError:
            raise
        except ValueError as error:
            raise CommandError(str(error), code="model", hint="--model symbolic-scalar") from error
    return model


def _write(settings: Settings, text: str) -> None:
    if settings.out.exists() and not settings.force:
        raise CommandError(f"{settings.out.name} exists", code="exists", hint="--force")
    beside = settings.out.with_name(settings.out.name + ".part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(settings.out)


def _page(name: str, found: EquationPosterior, written: Written) -> str:
    lines = [f"{name}: {found.verdict}: {found.reason}"]
    for rank, candidate in enumerate(found.candidates):
        lines.append(
            f"{rank + 1:3d}.  weight {candidate.weight:6.3f}  held-out error {candidate.error_heldout:8.3g} SD"
            f"  length {candidate.length:3d}  from {candidate.source}"
        )
        lines += [f"        {text}" for text in _equations(found, rank, written)]
    lines.append("agreement: share of the posterior with a term")
    for state, shares in found.agreement.items():
        shown: list[Any] = [f"{term} {share:.2f}" for term, share in shares.items() if share >= 0.01]
        lines.append(f"  d{state}/dt: {', '.join(shown) or 'no term'}")
    return "\n".join(lines)


def _equations(found: EquationPosterior, rank: int, written: Written) -> list[str]:
    if written is Written.latex:
        return list(found.latex(rank))
    return [f"d{n}/dt = {e}" for n, e in zip(found.names, found.expressions(rank), strict=True)]
