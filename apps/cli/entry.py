r"""Where the program `pulsebayes` begins: nothing heavy is imported before an interrupt can be told."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    r"""Run the command line of this process and exit; an interrupt while it is loaded is told like any other.

    Example:
        >>> from pulsebayes.apps.cli.entry import main
        >>> callable(main)
        True
    """
    try:
        from .main import main as run_commands
    except KeyboardInterrupt:
        if "--json" in sys.argv:
            sys.stdout.write('{"error": {"code": "interrupted", "message": "interrupted", "hint": null}}\n')
        else:
            sys.stderr.write("error: interrupted\n")
        sys.exit(130)
    run_commands()
