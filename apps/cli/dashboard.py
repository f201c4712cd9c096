r"""`pulsebayes dashboard`: the app in a browser, on this computer only."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from .errors import CommandError, ExitCode
from .infer import DEFAULT_MODEL
from .options import Settings, with_settings

__all__ = ["dashboard", "streamlit_command"]

_PATHS = Annotated[
    list[Path] | None, typer.Argument(metavar="[FILE]...", help="Waveform files or folders that the app may open.")
]
_PORT = Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 for a free one.")]
_MODEL = Annotated[str, typer.Option(help="Shipped model, or the folder of a bundle.")]
_BROWSER = Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")]
_ENTRY = Path(__file__).parents[1] / "dashboard" / "entry" / "app.py"
_SERVER = f"{__package__.rpartition('.')[0]}.dashboard.serve"


@with_settings
def dashboard(
    files: _PATHS = None,
    port: _PORT = 8501,
    model: _MODEL = DEFAULT_MODEL,
    browser: _BROWSER = True,
    *,
    settings: Settings,
) -> None:
    r"""Open the dashboard in a browser, on 127.0.0.1, without telemetry.

    The app can open its samples, what is dropped on it, and the files and folders named here, nothing else. Ctrl-C
    ends it. Research use only. Not a medical device.

    Arguments:
        files: Waveform files or folders that the app may open.
        port: Port on 127.0.0.1.
        model: Name of a shipped model, or the folder of a bundle.
        browser: Whether a browser is opened.
        settings: The shared options.

    Raises:
        CommandError: If a file does not exist or Streamlit is not installed.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["dashboard", "no-such-file.csv"])
        3
    """
    for path in files or ():
        if not path.exists() and not path.with_name(path.name + ".hea").is_file():
            raise CommandError(
                f"{path.name}: no such file or folder", code="not-found", hint="name one", exit_code=ExitCode.UNREADABLE
            )
    if find_spec("streamlit") is None or find_spec("plotly") is None:
        raise CommandError(
            "the dashboard needs Streamlit and Plotly", code="not-installed", hint="pip install 'pulsebayes[app]'"
        )
    from ...inference.bundle import find_bundle, reads_several

    folder = find_bundle(model)
    if reads_several(folder):
        raise CommandError(
            f"the dashboard takes models of one channel, {folder.name} reads several", code="several-channels",
            hint=f"pulsebayes infer FILE --model {folder.name}", exit_code=ExitCode.BUNDLE,
        )  # fmt: skip
    port = port or _free_port()
    environment = {**os.environ, "PULSEBAYES_DASHBOARD_MODEL": str(folder)}
    environment["PULSEBAYES_DASHBOARD_OPENED"] = os.pathsep.join(str(path.absolute()) for path in files or ())
    address = f"http://127.0.0.1:{port}/"
    settings.talk(f"{address}\nResearch use only. Not a medical device. Ctrl-C ends it.")
    process = subprocess.Popen(streamlit_command(port), env=environment)
    if browser and _answers(port, process):
        import webbrowser

        webbrowser.open(address)
    raise typer.Exit(_wait(process))


def streamlit_command(port: int) -> list[str]:
    r"""The command that serves the app: on 127.0.0.1, no telemetry, no file watching, uploads capped.

    Arguments:
        port: Port on 127.0.0.1.

    Returns:
        The words of the command.

    Example:
        >>> "--browser.gatherUsageStats=false" in streamlit_command(8501)
        True
    """
    options = {
        "server.address": "127.0.0.1",
        "server.port": port,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "runner.postScriptGC": "false",  # walks through all that Torch and JAX hold, after every click
        "server.maxUploadSize": 50,
        "server.enableStaticServing": "false",
        "browser.gatherUsageStats": "false",
        "browser.serverAddress": "127.0.0.1",
        "client.showSidebarNavigation": "false",
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "logger.level": "error",
        "theme.light.primaryColor": "#1f4e9e",
        "theme.dark.primaryColor": "#7cb7ff",
        "theme.light.textColor": "#1a1f27",
        "theme.dark.backgroundColor": "#0e1117",
        "theme.dark.secondaryBackgroundColor": "#1b212c",
        "theme.dark.textColor": "#e8eaed",
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", _SERVER, "run", str(_ENTRY), *words]


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int, process: subprocess.Popen[bytes], *, seconds: float = 20.0) -> bool:
    r"""Whether the server answers before long."""
    import socket
    import time

    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
        except OSError:
            time.sleep(0.1)
            continue
        return True
    return False


def _wait(process: subprocess.Popen[bytes]) -> int:
    r"""Wait for the server; Ctrl-C ends it and is no failure, and who ends this process ends it too."""
    import signal

    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        return max(process.wait(), 0)
    except KeyboardInterrupt:
        process.terminate()
        process.wait(10)
        return 0
