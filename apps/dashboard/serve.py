r"""Start Streamlit, and load what the pages need beside it: the first visitor finds it loaded.

Run as `python -m pulsebayes.apps.dashboard.serve run ENTRY OPTIONS`, which is what `pulsebayes dashboard` does.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from . import session, simulation

__all__ = ["serve", "warm_up"]

_COMPILE_AFTER_S = 4.0  # the first picture comes first
_LONGEST_S = 120.0


def warm_up() -> None:
    r"""Load the libraries of the pages and the model.

    Example:
        >>> warm_up.__name__
        'warm_up'
    """
    from .pages import about, compare, equations, estimates, monitor, open, trend, trust, what_if, why  # noqa: F401

    session.library()
    session.model()
    _settle()
    time.sleep(_COMPILE_AFTER_S)
    session.desk().task(("simulator",), 1, _compiled).wait(_LONGEST_S)
    session.desk().task(("heart",), 1, _heart_compiled)


def _settle() -> None:
    r"""Spare the collector what stays until the end: libraries and models are a million objects."""
    gc.collect()
    gc.freeze()


def _compiled() -> Iterator[bool]:
    simulation.warm()
    _settle()
    yield True


def _heart_compiled() -> Iterator[bool]:
    simulation.warm_heart()
    _settle()
    yield True


def serve() -> None:
    r"""Run Streamlit's own command line with the words after the module's name.

    Example:
        >>> serve.__name__
        'serve'
    """
    from streamlit.web import cli

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pulsebayes" / "compiled"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")
    threading.Thread(target=warm_up, daemon=True, name="warm-up").start()
    cli.main(prog_name="streamlit")


if __name__ == "__main__":
    serve()
