r"""The options every verb takes, before the verb or after it.

A command asks for them with one parameter, `settings: Settings`, and the decorator `with_settings`: the decorator puts
the seven options on the command, and merges what stands after the verb over what stands before it. `--device cuda` is
refused by verbs that would not use it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from .errors import CommandError

__all__ = ["Device", "Settings", "help_of", "with_settings"]

_GIVEN = "pulsebayes.given"


class Device(StrEnum):
    r"""Where to compute.

    Example:
        >>> from pulsebayes.apps.cli.options import Device
        >>> Device("cpu").value
        'cpu'
    """

    cpu = "cpu"
    cuda = "cuda"


@dataclass(frozen=True)
class Settings:
    r"""The options shared by every verb.

    Arguments:
        seed: Seed of everything random.
        device: Where to compute.
        threads: Threads or processes to use; 0 leaves the choice to the verb.
        json: Print strict JSON on stdout.
        quiet: Say nothing on stderr but warnings and errors; results are printed all the same.
        out: Where results are written; an empty path leaves the choice to the verb.
        force: Write over what is there.

    Example:
        >>> from pulsebayes.apps.cli.options import Settings
        >>> Settings(seed=3).has_out
        False
    """

    seed: int = 0
    device: Device = Device.cpu
    threads: int = 0
    json: bool = False
    quiet: bool = False
    out: Path = Path()
    force: bool = False

    @property
    def has_out(self) -> bool:
        r"""Whether `--out` was given."""
        return self.out != Path()

    def talk(self, text: str) -> None:
        r"""Say something to the person, on stderr, unless `--quiet`.

        Arguments:
            text: What to say.
        """
        if not self.quiet:
            typer.echo(text, err=True)

    def require_cpu(self, what: str) -> None:
        r"""Refuse `--device cuda`, rather than leave it without effect.

        Arguments:
            what: What runs on the processor only.

        Raises:
            CommandError: If another device was asked for.
        """
        if self.device is not Device.cpu:
            hint = f"leave --device out; {', '.join(_CUDA)} take it"
            raise CommandError(f"{what} runs on the processor only", code="device", hint=hint)

    @property
    def progress(self) -> bool:
        r"""Whether a progress bar may be drawn: stderr is a terminal and `--quiet` is not given."""
        return not self.quiet and sys.stderr.isatty()


_SEED = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of everything random [0].", show_default=False)]
_CUDA = ("simulate", "solve", "train")  # verbs that read `Settings.device`; the others refuse what they would not use
_DEVICE = Annotated[
    Device | None,
    typer.Option("--device", help=f"Where to compute; cuda: {', '.join(_CUDA)} [cpu].", show_default=False),
]
_THREADS = Annotated[
    int | None, typer.Option("--threads", min=0, help="Threads to use; 0: the verb's choice [0].", show_default=False)
]
_JSON = Annotated[bool | None, typer.Option("--json", help="Print strict JSON on stdout.", show_default=False)]
_QUIET = Annotated[
    bool | None, typer.Option("--quiet", "-q", help="No talk on stderr: only warnings and errors.", show_default=False)
]
_OUT = Annotated[Path | None, typer.Option("--out", "-o", help="Where to write.", show_default=False)]
_FORCE = Annotated[bool | None, typer.Option("--force", "-f", help="Write over what is there.", show_default=False)]
_SHARED = {
    "seed": _SEED, "device": _DEVICE, "threads": _THREADS, "json": _JSON, "quiet": _QUIET, "out": _OUT, "force": _FORCE,
}  # fmt: skip


def with_settings(function: Callable[..., None]) -> Callable[..., None]:
    r"""Give a command the shared options, merged, as its parameter `settings`.

    Arguments:
        function: A Typer command or group callback with a parameter `settings: Settings`.

    Returns:
        The command Typer registers.

    Example:
        >>> from pulsebayes.apps.cli.options import Settings, with_settings
        >>> @with_settings
        ... def hello(name: str, settings: Settings) -> None:
        ...     '''Say hello.'''
        >>> from inspect import signature
        >>> "seed" in signature(hello).parameters
        True
    """
    hints = get_type_hints(function, include_extras=True)
    own = [p.replace(annotation=hints[p.name]) for p in signature(function).parameters.values() if p.name != "settings"]
    context = Parameter("ctx", Parameter.KEYWORD_ONLY, annotation=typer.Context)
    shared = [Parameter(n, Parameter.KEYWORD_ONLY, default=None, annotation=a) for n, a in _SHARED.items()]

    @wraps(function)
    def command(*, ctx: typer.Context, **given: Any) -> None:
        settings = _merge(ctx, {name: given.pop(name) for name in _SHARED})
        verb = _verb(ctx)
        if verb and verb not in _CUDA:
            settings.require_cpu(verb)
        function(**given, settings=settings)

    own = [p.replace(kind=Parameter.KEYWORD_ONLY) for p in own]
    command.__signature__ = Signature([context, *own, *shared])  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in [context, *own, *shared]}
    del command.__wrapped__
    return command


def help_of(command: Callable[..., None]) -> str:
    r"""The part of a command's docstring that its `--help` shows: everything before the first section.

    Arguments:
        command: A Typer command.

    Returns:
        The help text.

    Example:
        >>> from pulsebayes.apps.cli.doctor import doctor
        >>> from pulsebayes.apps.cli.options import help_of
        >>> help_of(doctor).splitlines()[0]
        'Say what this machine has and holds.'
    """
    lines = (command.__doc__ or "").strip().splitlines()
    ends = [i for i, line in enumerate(lines) if line.strip() in {"Arguments:", "Raises:", "Example:"}]
    return "\n".join(line.strip() for line in lines[: ends[0] if ends else None]).strip()


def _verb(ctx: typer.Context) -> str:
    """The words after the program's name."""
    words: list[str] = []
    at: Any = ctx
    while at.parent is not None:
        words.insert(0, at.info_name or "")
        at = at.parent
    return " ".join(words)


def _merge(ctx: typer.Context, given: dict[str, Any]) -> Settings:
    known: dict[str, Any] = ctx.meta.setdefault(_GIVEN, {})
    known.update({name: value for name, value in given.items() if value is not None})
    return Settings(**{field.name: known[field.name] for field in fields(Settings) if field.name in known})
