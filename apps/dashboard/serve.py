r"""Start Streamlit, and load what the pages need beside it: the first visitor finds it loaded.

Run as `python -m pulsebayes.apps.dashboard.serve run ENTRY OPTIONS`, which is what `pulsebayes dashboard` does.
"""

from __future__ import annotations

import threading

__all__ = ["serve", "warm_up"]


def warm_up() -> None:
    r"""Load the libraries of the pages and the model.

    Example:
        >>> warm_up.__name__
        'warm_up'
    """
    from . import session
    from .pages import estimates, monitor, open  # noqa: F401

    session.library()
    session.model()


def serve() -> None:
    r"""Run Streamlit's own command line with the words after the module's name.

    Example:
        >>> serve.__name__
        'serve'
    """
    from streamlit.web import cli

    threading.Thread(target=warm_up, daemon=True, name="warm-up").start()
    cli.main(prog_name="streamlit")


if __name__ == "__main__":
    serve()
