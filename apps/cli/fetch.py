r"""`pulsebayes fetch`: recordings from open data sources, into a cache of your own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import CommandError, ExitCode
from .options import Settings, help_of, with_settings

if TYPE_CHECKING:
    from ...waveforms.vitaldb.client import Outcome, VitalDB

__all__ = ["fetch", "parse_cases"]

fetch = typer.Typer(no_args_is_help=True, help="Fetch recordings from open data sources.")

_CASES = Annotated[str, typer.Option(metavar="1,4-7", help="Numbers of cases [those that have the tracks].")]
_MOST = Annotated[int, typer.Option("--number", "-n", min=1, help="How many of the cases that have the tracks.")]
_TRACKS = Annotated[
    str, typer.Option(metavar="A,B|C", help="Tracks a case must have: A, and B or C [an arterial wave, and an output].")
]
_CACHE = Annotated[Path, typer.Option(help="Folder of the cache [the user's].", show_default=False)]
_BASE = Annotated[str, typer.Option(help="Address of the web interface [VitalDB's].", show_default=False)]
_ACCEPT = Annotated[bool, typer.Option("--accept-terms", help="You have read the licence and the data use agreement.")]
_OFFLINE = Annotated[bool, typer.Option("--offline", help="Ask only the cache; check what is there.")]
_PARALLEL = Annotated[int, typer.Option(min=1, max=4, help="Files at a time.")]
_ATTEMPTS = Annotated[int, typer.Option(min=1, help="Attempts at each file.")]
_WAIT = Annotated[float, typer.Option(min=0.0, help="Wait after a first failure [s]; doubled after each.")]
_TIMEOUT = Annotated[float, typer.Option(min=0.05, help="Longest silence of the server [s].")]
_LIST = Annotated[bool, typer.Option("--list", help="Only list the cases that have the tracks.")]
_LABS = Annotated[bool, typer.Option("--labs", help="Fetch the table of laboratory values too.")]


@fetch.callback()
@with_settings
def fetch_group(*, settings: Settings) -> None:
    """Fetch recordings from open data sources."""


@with_settings
def vitaldb(
    cases: _CASES = "",
    number: _MOST = 5,
    tracks: _TRACKS = "",
    cache: _CACHE = Path(),
    base_url: _BASE = "",
    accept_terms: _ACCEPT = False,
    offline: _OFFLINE = False,
    parallel: _PARALLEL = 2,
    attempts: _ATTEMPTS = 5,
    wait: _WAIT = 1.0,
    timeout: _TIMEOUT = 30.0,
    list_only: _LIST = False,
    labs: _LABS = False,
    *,
    settings: Settings,
) -> None:
    r"""Fetch cases of VitalDB as .vital files, with the tables of cases and tracks.

    Files go to a cache outside the repository ($PULSEBAYES_VITALDB_CACHE, else the user's cache folder): whole and
    checked or not at all, with their SHA-256 in index.json; what is there is not fetched again, and a run that was
    stopped goes on where it was. The folder is a cohort: `pulsebayes cohort build FOLDER`. The address is --base-url,
    else $PULSEBAYES_VITALDB_URL, else VitalDB's. Exit code 7 when something could not be fetched.

    Arguments:
        cases: Numbers of cases.
        number: How many of the cases that have the tracks.
        tracks: Tracks a case must have.
        cache: Folder of the cache.
        base_url: Address of the web interface.
        accept_terms: Whether the terms are accepted.
        offline: Whether only the cache is asked.
        parallel: Files at a time.
        attempts: Attempts at each file.
        wait: Wait after a first failure [s].
        timeout: Longest silence of the server [s].
        list_only: Whether cases are only listed.
        labs: Whether laboratory values are fetched too.
        settings: The shared options.

    Raises:
        CommandError: If the terms are not accepted, or an option cannot be read.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["fetch", "vitaldb", "--cases", "1", "--json"])  # doctest: +ELLIPSIS
        {"error": {"code": "terms", "message": "VitalDB is licensed CC BY-NC-SA 4.0 ...
        2
    """
    from ...waveforms.vitaldb.cache import Cache, default_cache
    from ...waveforms.vitaldb.client import TERMS, VitalDB
    from ...waveforms.vitaldb.tracks import Tracks
    from ...waveforms.vitaldb.transfer import Patience

    if not (accept_terms or offline):
        raise CommandError(TERMS, code="terms", hint="--accept-terms, once you have read and accept them")
    asked = parse_cases(cases)
    wanted = Tracks.parse(tracks) if tracks else Tracks.usual()
    patience = Patience(attempts=attempts, wait_s=wait, timeout_s=timeout)
    place = cache if cache != Path() else default_cache()
    source = VitalDB(Cache(place), base_url, offline, patience)
    if not offline:
        settings.talk("VitalDB: CC BY-NC-SA 4.0 and a data use agreement; terms accepted")
    tables = _tables(source, labs, settings, needed=bool(list_only or not asked))
    chosen = asked or source.choose(wanted)
    if not chosen:
        raise CommandError("no case has these tracks", code="no-case", hint="--tracks", exit_code=ExitCode.SOURCE)
    if list_only:
        _list(chosen, settings)
        return
    chosen = chosen if asked else chosen[:number]
    with _shown(settings, len(chosen)) as (done, progress):
        try:
            outcomes = source.fetch_all(chosen, parallel=parallel, done=done, progress=progress)
        except KeyboardInterrupt:
            hint = "the same command goes on where it stopped"
            raise CommandError(
                "interrupted; whole files are kept", code="interrupted", hint=hint, exit_code=ExitCode.INTERRUPTED
            ) from None
    _tell(outcomes, tables, source, settings)


fetch.command("vitaldb", help=help_of(vitaldb))(vitaldb)


def parse_cases(text: str) -> list[int]:
    r"""Reads numbers of cases: `1,4-7`.

    Arguments:
        text: What was given; empty for none.

    Returns:
        The numbers, each once, in the order given.

    Raises:
        CommandError: If a part is no number or range.

    Example:
        >>> parse_cases("1,4-6")
        [1, 4, 5, 6]
    """
    found: list[int] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        match = re.fullmatch(r"(\d{1,7})(?:-(\d{1,7}))?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not 1 <= first <= last:
            raise CommandError(f"--cases takes numbers from 1, got {part!r}", code="usage", hint="--cases 1,4-7")
        found += range(first, last + 1)
    return list(dict.fromkeys(found))


def _tables(source: VitalDB, labs: bool, settings: Settings, *, needed: bool) -> list[str]:
    """The tables that are kept beside the cases; cases that were named can be had without the table of cases."""
    from ...waveforms.vitaldb.errors import SourceError

    names = ["trks"] if needed else []
    names += ["labs"] if labs else []
    for name in names:
        source.table(name)
    try:
        source.table("cases")
    except SourceError as error:
        if needed:
            raise
        settings.talk(f"no table of cases ({error.message}): every case will count as a subject of its own")
        return names
    return ["cases", *names]


def _list(chosen: Sequence[int], settings: Settings) -> None:
    if settings.json:
        typer.echo(json.dumps({"cases": list(chosen)}))
        return
    typer.echo(f"{len(chosen)} cases: {', '.join(map(str, chosen))}")


@contextmanager
def _shown(
    settings: Settings, n: int
) -> Iterator[tuple[Callable[[Outcome], None], Callable[[int, int, int], None] | None]]:
    """One bar over all cases where a person watches; a line for each failure."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[said]}"))
    with Progress(*columns, console=Console(stderr=True), disable=not settings.progress, transient=True) as bar:
        task = bar.add_task("fetching", total=n, said="")

        def done(outcome: Outcome) -> None:
            bar.update(task, advance=1)
            if outcome.error is not None and not settings.progress:
                settings.talk(f"failed: {outcome.error.message}")

        def progress(case: int, at: int, of: int) -> None:
            share = f" of {of / 1e6:.1f}" if of else ""
            bar.update(task, said=f"case {case}: {at / 1e6:.1f}{share} MB")

        yield done, progress if settings.progress else None


def _tell(outcomes: Sequence[Outcome], tables: Sequence[str], source: VitalDB, settings: Settings) -> None:
    failed = [o for o in outcomes if o.error is not None]
    if settings.json:
        rows: list[dict[str, Any]] = [
            {
                "case": o.case,
                "file": o.path.name if o.path else None,
                "bytes": o.size or None,
                "sha256": o.sha256 or None,
                "status": "failed" if o.error else "fetched" if o.fetched else "cached",
                "error": {"code": o.error.code, "message": o.error.message, "hint": o.error.hint or None}
                if o.error
                else None,
            }
            for o in outcomes
        ]
        typer.echo(json.dumps({"cache": str(source.cache.folder), "tables": list(tables), "cases": rows}))
    else:
        for o in outcomes:
            word = "fetched" if o.fetched else "there, checked"
            text = (
                f"{word}, {o.size / 1e6:.1f} MB" if o.error is None else f"failed [{o.error.code}]: {o.error.message}"
            )
            typer.echo(f"case {o.case}: {text}")
        typer.echo(f"{len(outcomes) - len(failed)} of {len(outcomes)} cases in {source.cache.folder}")
    if failed:
        settings.talk(f"{len(failed)} cases could not be fetched; the same command tries them again")
        raise typer.Exit(int(ExitCode.SOURCE))
