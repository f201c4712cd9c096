r"""`pulsebayes demo`: the shipped simulated patient answered, beside the truth that only a simulation has."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import typer

from .infer import DEFAULT_MODEL
from .options import Settings, with_settings
from .run_record import add_output

__all__ = ["DEMO_NAME", "demo"]

DEMO_NAME = "simulated_patient"
_DATA = Path(__file__).with_name("demo_data")
_FOLDER = Path("pulsebayes-demo")


@with_settings
def demo(settings: Settings) -> None:
    r"""Answer the recording that is shipped, and plot it.

    The recording is simulated, so the truth is known and shown. Writes a table (CSV), the draws (netCDF) and a plot
    (PNG) into ./pulsebayes-demo, or the folder given with --out. Research use only. Not a medical device.

    Arguments:
        settings: The shared options.

    Raises:
        CommandError: If results stand at `--out` already.

    Example:
        >>> from pulsebayes.apps.cli.demo import DEMO_NAME
        >>> DEMO_NAME
        'simulated_patient'
    """
    from ...inference.answering import Question
    from .answer_files import answer_files
    from .demo_plot import plot_result
    from .recording_options import Labels

    own = replace(settings, out=settings.out if settings.has_out else _FOLDER)
    own = replace(own, force=settings.force or not settings.has_out)
    question = Question(seed=settings.seed)
    labels = Labels({}, {})
    recording = _DATA / f"{DEMO_NAME}.hea"
    code = answer_files([recording], DEFAULT_MODEL, question, labels=labels, settings=own, command="demo")
    truth = json.loads((_DATA / f"{DEMO_NAME}.json").read_text(encoding="utf-8"))["truth"]
    table = own.out / f"{DEMO_NAME}.csv"
    if not settings.json:
        _tell_truth(table, truth)
    if table.is_file():
        plot_result(recording, table, truth, own.out / f"{DEMO_NAME}.png")
        add_output(own.out, f"{DEMO_NAME}.png")
        settings.talk(f"written to {own.out.name}: {', '.join(sorted(p.name for p in own.out.iterdir()))}")
    raise typer.Exit(code)


def _tell_truth(table: Path, truth: dict[str, float]) -> None:
    r"""How often each quantity's interval holds the truth of the simulation."""
    with table.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["low"]]
    typer.echo(
        "\nThe recording is simulated, so the truth is known (means over all of it; windows have their own rates):"
    )
    for name, value in truth.items():
        own = [row for row in rows if row["quantity"] == name]
        if own:
            held = sum(float(row["low"]) <= value <= float(row["high"]) for row in own)
            typer.echo(f"  {name:4} {value:8.4g} {own[0]['unit']:12} in the interval of {held} of {len(own)} windows")
