r"""Exit codes, and every failure told in one form: what happened, a short code, and what to try.

Under `--json` a failure is one line on stdout, `{"error": {"code", "message", "hint"}}`; otherwise it is two short
lines on stderr. Nobody sees a traceback unless `PULSEBAYES_TRACEBACK=1` asks for it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import IntEnum

import typer

__all__ = ["CommandError", "ExitCode", "Failure", "describe", "tell"]

TRACEBACK_VARIABLE = "PULSEBAYES_TRACEBACK"


class ExitCode(IntEnum):
    r"""What a finished command says to the shell.

    Example:
        >>> from pulsebayes.apps.cli.errors import ExitCode
        >>> int(ExitCode.UNREADABLE)
        3
    """

    DONE = 0
    INTERNAL = 1
    USAGE = 2
    UNREADABLE = 3
    REFUSED = 4
    OUTSIDE = 5
    BUNDLE = 6
    SOURCE = 7
    TARGET_MISSED = 8
    INTERRUPTED = 130


_RECORDING_CODES = {
    "channel-missing": ExitCode.BUNDLE,
    "unknown-role": ExitCode.USAGE,
    "unknown-unit": ExitCode.USAGE,
}


class CommandError(Exception):
    r"""A failure that a command foresaw.

    Arguments:
        message: What was expected and what was found.
        code: Short slug for programs.
        hint: What to try, or an empty string.
        exit_code: Exit code of the process.

    Example:
        >>> from pulsebayes.apps.cli.errors import CommandError, ExitCode
        >>> CommandError("out.nc exists", code="exists", hint="--force", exit_code=ExitCode.USAGE).hint
        '--force'
    """

    def __init__(self, message: str, *, code: str, hint: str = "", exit_code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint
        self.exit_code = exit_code


@dataclass(frozen=True)
class Failure:
    r"""A failure as it is told: exit code, slug, message and hint.

    Arguments:
        exit_code: Exit code of the process.
        code: Short slug for programs.
        message: One sentence for people.
        hint: What to try, or an empty string.

    Example:
        >>> from pulsebayes.apps.cli.errors import ExitCode, Failure
        >>> Failure(ExitCode.USAGE, "usage", "no such option", "").to_json()
        {'error': {'code': 'usage', 'message': 'no such option', 'hint': None}}
    """

    exit_code: ExitCode
    code: str
    message: str
    hint: str

    def to_json(self) -> dict[str, dict[str, str | None]]:
        r"""The failure as the object printed under `--json`.

        Returns:
            A JSON-able dictionary; a missing hint is None.
        """
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint or None}}


def describe(error: BaseException) -> Failure:
    r"""Tell any exception as a failure.

    Arguments:
        error: What was raised.

    Returns:
        The exit code, slug, message and hint to show.

    Example:
        >>> from pulsebayes.apps.cli.errors import describe
        >>> describe(ValueError("expected 1, got 2")).exit_code.name
        'USAGE'
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    text = " ".join(str(getattr(error, "message", "") or error).split()) or type(error).__name__
    code = str(getattr(error, "code", "") or "")
    hint = str(getattr(error, "hint", "") or "")
    if isinstance(error, CommandError):
        return Failure(error.exit_code, error.code, error.message, error.hint)
    if "RecordingError" in names:
        exit_code = _RECORDING_CODES.get(code, ExitCode.UNREADABLE)
        return Failure(exit_code, code, text, hint)
    if "BundleError" in names:
        return Failure(ExitCode.BUNDLE, code or "bundle", text, hint)
    if "SourceError" in names or "ClusterError" in names:
        return Failure(ExitCode.SOURCE, code or "source", text, hint)
    if "ClickException" in names:
        return Failure(ExitCode.USAGE, "usage", _usage_text(error), hint or "add --help to see what it takes")
    if isinstance(error, KeyboardInterrupt) or "Abort" in names:
        return Failure(ExitCode.INTERRUPTED, "interrupted", "interrupted", hint)
    if isinstance(error, ChildProcessError):
        return Failure(ExitCode.INTERNAL, "worker", text, hint or "--threads 1, which takes less memory")
    if isinstance(error, OSError):
        name = str(error.filename).replace("\\", "/").rsplit("/", 1)[-1] if error.filename else ""
        return Failure(ExitCode.UNREADABLE, "file", f"{name}: {error.strerror or text}".lstrip(": "), hint)
    if isinstance(error, ImportError):
        return Failure(ExitCode.USAGE, "not-installed", text, hint or "pip install 'pulsebayes[all]'")
    if isinstance(error, MemoryError):
        return Failure(ExitCode.INTERNAL, "memory", "out of memory", "ask for fewer windows or draws at a time")
    if isinstance(error, ValueError):
        return Failure(ExitCode.USAGE, code or "value", text, hint or f"set {TRACEBACK_VARIABLE}=1 to see where")
    message = f"{type(error).__name__}: {text} (this is a fault of pulsebayes)"
    return Failure(ExitCode.INTERNAL, "internal", message, f"set {TRACEBACK_VARIABLE}=1 to see where, and report it")


def tell(failure: Failure, *, as_json: bool) -> int:
    r"""Say a failure: one JSON line on stdout, or what happened and what to try on stderr.

    Arguments:
        failure: What failed.
        as_json: Whether `--json` was given.

    Returns:
        The exit code.

    Example:
        >>> from pulsebayes.apps.cli.errors import ExitCode, Failure, tell
        >>> tell(Failure(ExitCode.USAGE, "usage", "no such option", ""), as_json=True)
        {"error": {"code": "usage", "message": "no such option", "hint": null}}
        2
    """
    if as_json:
        typer.echo(json.dumps(failure.to_json()))
        return int(failure.exit_code)
    typer.echo(f"error: {failure.message}", err=True)
    if failure.hint:
        typer.echo(f"try:   {failure.hint}", err=True)
    return int(failure.exit_code)


def _usage_text(error: BaseException) -> str:
    format_message = getattr(error, "format_message", None)
    text = format_message() if callable(format_message) else str(error)
    return " ".join(str(text).split())
