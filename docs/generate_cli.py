r"""Write docs/cli.md from the help texts of the command line; with --check, only say whether it is up to date."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

import typer

from pulsebayes.apps.cli.errors import ExitCode
from pulsebayes.apps.cli.main import app

PAGE = Path(__file__).with_name("cli.md")
WIDTH = 96
HEAD = """# Command line

<!-- Written by docs/generate_cli.py from the help texts; do not edit. -->

The shared options (`--seed`, `--device`, `--threads`, `--json`, `--quiet`, `--out`, `--force`) stand before the verb or
after it; after it wins. Data goes to stdout; talk, and one progress bar where there is a terminal, to stderr.

A failure is two lines on stderr, what happened and what to try, or with `--json` one line on stdout:
`{"error": {"code", "message", "hint"}}`. `PULSEBAYES_TRACEBACK=1` shows where in the code an error arose.

## Exit codes

| code | meaning |
|---|---|
"""
MEANINGS = {
    ExitCode.DONE: "done; for `infer`: at least one window was answered",
    ExitCode.INTERNAL: "a fault of pulsebayes",
    ExitCode.USAGE: "the command line does not fit",
    ExitCode.UNREADABLE: "a file is unreadable or unfit",
    ExitCode.REFUSED: "nothing answered, some windows refused by the quality gate",
    ExitCode.OUTSIDE: "nothing answered, all windows outside the simulations",
    ExitCode.BUNDLE: "the model is damaged, unknown, or wrong for these channels",
    ExitCode.SOURCE: "a network or data source failed",
    ExitCode.TARGET_MISSED: "a validation target was missed",
    ExitCode.INTERRUPTED: "interrupted",
}


def help_text(words: list[str]) -> str:
    r"""The help of one command, at a fixed width."""
    page = io.StringIO()
    with contextlib.redirect_stdout(page):
        app(
            args=[*words, "--help"],
            prog_name="pulsebayes",
            standalone_mode=False,
            terminal_width=WIDTH,
            max_content_width=WIDTH,
        )
    return "\n".join(line.rstrip() for line in page.getvalue().strip().splitlines())


def commands() -> list[list[str]]:
    r"""The words of every command: the root, each verb, and each verb's own verbs."""
    found: list[list[str]] = [[]]
    stack: list[tuple[list[str], object]] = [([], typer.main.get_command(app))]
    while stack:
        words, command = stack.pop(0)
        for name, child in sorted(getattr(command, "commands", {}).items()):
            found.append([*words, name])
            stack.append(([*words, name], child))
    return sorted(found)


def page() -> str:
    r"""The whole page."""
    rows = "".join(f"| {int(code)} | {meaning} |\n" for code, meaning in MEANINGS.items())
    parts = [
        f"## pulsebayes {' '.join(words)}".strip() + f"\n\n```text\n{help_text(words)}\n```\n" for words in commands()
    ]
    return HEAD + rows + "\n" + "\n".join(parts)


if __name__ == "__main__":
    text = page()
    if "--check" in sys.argv[1:]:
        sys.exit(0 if PAGE.read_text(encoding="utf-8") == text else "docs/cli.md is old: run make docs")
    PAGE.write_text(text, encoding="utf-8")
