r"""`pulsebayes evaluate`: a model on a cohort, beside baselines, with intervals by subject."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cohort_build import COHORT
from .errors import CommandError, ExitCode
from .options import Settings, with_settings
from .recording_options import CHANNEL, FS, UNIT, Labels, parse_interval
from .run_record import hash_input, write_run_record

if TYPE_CHECKING:
    from ...calibration.cohorts.answers import AnswerPlan
    from ...waveforms.cohort_table import CohortTable

__all__ = ["evaluate"]

_POOLED = {"window": "", "causal": ", pooled up to each", "recording": ", pooled over each recording"}
_PLAN, _RESULT, _PAGE, _ANSWERS = "plan.json", "evaluation.json", "evaluation.html", "answers"
_MODEL = Annotated[str, typer.Option(help="Shipped model, or the folder of a bundle.")]
_DRAWS = Annotated[int, typer.Option(min=50, help="Posterior draws a window.")]
_POOL = Annotated[
    str, typer.Option(help="Windows of its recording that inform each: window (none), causal or recording.")
]
_QUANTITIES = Annotated[str, typer.Option(metavar="A,B", help="Quantities [all labelled and estimated].")]
_BIN = Annotated[str, typer.Option("--bin", help="Windows are averaged over this time before they are compared.")]
_STATED = Annotated[float, typer.Option(min=0.0, help="Median error at which the rejection curve sets the rule.")]
_BOOTSTRAP = Annotated[int, typer.Option(min=0, help="Times that subjects are drawn for intervals.")]
_RULE = Annotated[
    Path, typer.Option("--rule-out", help="Write the model with the rule found here.", show_default=False)
]


@with_settings
def evaluate(
    cohort: COHORT,
    model: _MODEL = "radial-abp",
    draws: _DRAWS = 400,
    pool: _POOL = "window",
    quantities: _QUANTITIES = "",
    bin_length: _BIN = "60s",
    stated_error: _STATED = 0.2,
    bootstrap: _BOOTSTRAP = 200,
    rule_out: _RULE = Path(),
    channel: CHANNEL = None,
    unit: UNIT = None,
    fs: FS = 0.0,
    *,
    settings: Settings,
) -> None:
    r"""Measure a model on a cohort with references.

    Every window of the cohort is answered, streamed to --out/answers; a stopped run goes on where it was. Then error,
    bias and limits of agreement, percentage error, correlations, trending, direction over five minutes, coverage,
    error against predicted uncertainty and subgroups are measured by subject, before and after calibration with one
    reference value, beside the cohort mean, the last calibrated value and three pulse-pressure methods. Writes
    evaluation.json and evaluation.html.

    Arguments:
        cohort: Table of a cohort.
        model: Name of a shipped model, or the folder of a bundle.
        draws: Posterior draws a window.
        pool: Windows of its recording that inform each; references inform none.
        quantities: Quantities.
        bin_length: Time over which windows are averaged.
        stated_error: Median error at which the rejection curve sets the rule.
        bootstrap: Times that subjects are drawn.
        rule_out: Where the model with the rule found is written.
        channel: Roles by channel name.
        unit: Units by channel name or role.
        fs: Sampling rate [Hz] where the file states none.
        settings: The shared options.

    Raises:
        CommandError: If an option cannot be read, or `--out` is missing or holds another evaluation.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["evaluate", "none.csv", "--out", "result"])
        3
    """
    if not settings.has_out:
        raise CommandError("evaluate writes a folder", code="usage", hint="--out FOLDER")
    labels, bin_s = Labels.parse(channel, unit, fs), parse_interval("--bin", bin_length)
    import torch

    from ...calibration.cohorts.answers import load_answers
    from ...calibration.cohorts.evaluation import evaluate_cohort
    from ...calibration.load import load_calibrated
    from ...inference.bundle import find_bundle, of_one_channel
    from ...waveforms.cohort_table import find_cohort, read_cohort_table

    path = find_cohort(cohort)
    table = read_cohort_table(path)
    folder = find_bundle(model)
    calibrated = load_calibrated(folder)
    of_one_channel(calibrated.bundle, "evaluate")
    _check_table(calibrated, table)
    plan = _plan(calibrated, folder.name, draws, pool, settings)
    torch.set_num_threads(1)
    _claim(settings, path, folder, plan)
    _answer(calibrated, table, plan, labels, settings)
    wanted = [name.strip() for name in quantities.split(",") if name.strip()]
    answers = load_answers(table, settings.out / _ANSWERS)
    found, pairs = evaluate_cohort(
        table, answers, quantities=wanted, bin_s=bin_s, bootstrap=bootstrap, stated_error=stated_error,
        seed=settings.seed,
    )  # fmt: skip
    found = {"schema": 1, "model": calibrated.bundle.name, "cohort": path.name, "pool": pool, **found}
    outputs = _write(found, pairs, settings.out)
    config = {"model": Path(model).name, "draws": draws, "bin_s": bin_s, "stated_error": stated_error, "pool": pool}
    config |= {"cohort": path, "quantities": wanted, "bootstrap": bootstrap}
    write_run_record(settings.out, command="evaluate", config=config, inputs=[path, folder], outputs=outputs,
                     seed=settings.seed)  # fmt: skip
    if rule_out != Path():
        _write_rule(calibrated, found, rule_out, settings)
    typer.echo(json.dumps(found, allow_nan=False) if settings.json else _page(found))


def _plan(calibrated: Any, name: str, draws: int, pool: str, settings: Settings) -> AnswerPlan:
    from ...calibration.cohorts.answers import AnswerPlan

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        plan = AnswerPlan(draws, settings.seed, settings.threads or min(cores, 8), pool)
    except ValueError as error:
        raise CommandError(str(error), code="usage", hint="--pool causal") from error
    if why := calibrated.why_not(pool):
        usual = calibrated.offered_pools[0]
        what = "pool windows" if usual == "window" else f"answer with --pool {pool}"
        raise CommandError(f"{name} cannot {what}: {why}", code="no-pool", hint=f"--pool {usual}")
    return plan


def _check_table(calibrated: Any, table: CohortTable) -> None:
    """Refuses a cohort without labels, and subjects that the model or its layers learned from."""
    from ...calibration.pairs import hash_subject

    if not table.labels:
        raise CommandError("the cohort has no labels", code="no-labels", hint="cohort build finds references")
    learned = {
        "weights": calibrated.bundle.training.get("hybrid", {}).get("subjects", ()),
        "RoPE layer": calibrated.rope.patients if calibrated.rope is not None else (),
        "regions": calibrated.conformal.patients if calibrated.conformal is not None else (),
    }
    hashes = {hash_subject(subject) for subject in table.subjects}
    for what, seen in learned.items():
        shared = hashes & set(seen)
        if shared:
            raise CommandError(
                f"{len(shared)} of {len(hashes)} subjects also served the model's {what}",
                code="subjects-seen",
                hint="evaluate on others: cohort split makes two tables",
            )


def _claim(settings: Settings, path: Path, folder: Path, plan: AnswerPlan) -> None:
    """A folder holds one evaluation: what decides on its answers is written first and compared afterwards."""
    own = {
        "cohort": hashlib.sha256(path.read_bytes()).hexdigest(),
        "model": hash_input(folder),
        "draws": plan.n_draws,
        "seed": plan.seed,
        **({} if plan.pool == "window" else {"pool": plan.pool}),
    }
    target = settings.out / _PLAN
    if target.is_file() and json.loads(target.read_text(encoding="utf-8")) != own:
        if not settings.force:
            raise CommandError(
                f"{settings.out.name} holds the evaluation of another cohort, model, seed, pool or number of draws",
                code="exists",
                hint="--force, or another --out",
            )
        shutil.rmtree(settings.out / _ANSWERS, ignore_errors=True)
    settings.out.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(own, indent=1) + "\n", encoding="utf-8")


def _answer(calibrated: Any, table: CohortTable, plan: AnswerPlan, labels: Labels, settings: Settings) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from ...calibration.cohorts.answers import answer_cohort

    columns = (TextColumn("windows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not settings.progress, transient=True) as bar:
        task = bar.add_task("windows", total=len(table))
        try:
            answer_cohort(
                calibrated, table, settings.out / _ANSWERS, plan,
                opened=labels.open_aloud, progress=lambda done: bar.update(task, completed=done),
            )  # fmt: skip
        except KeyboardInterrupt:
            raise CommandError(
                "interrupted; every window answered so far is kept",
                code="interrupted",
                hint="the same command goes on",
                exit_code=ExitCode.INTERRUPTED,
            ) from None


def _write(found: dict[str, Any], pairs: dict[str, Any], out: Path) -> list[str]:
    from ..report.evaluation import evaluation_page

    pages = {_RESULT: json.dumps(found, indent=1, allow_nan=False) + "\n", _PAGE: evaluation_page(found, pairs)}
    for name, text in pages.items():
        draft = out / f".{name}.part"
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, out / name)
    return list(pages)


def _write_rule(calibrated: Any, found: dict[str, Any], target: Path, settings: Settings) -> None:
    """The model with the threshold of its rejection curve as the rule of what is uninformative."""
    import dataclasses

    rules = {name: row.get("uninformative_rule") or {} for name, row in found["quantities"].items()}
    shares = {name: rule["share_of_prior"] for name, rule in rules.items() if rule.get("share_of_prior")}
    chosen = "CO" if "CO" in shares else next(iter(shares), None)
    if chosen is None:
        raise CommandError("no share of the windows has the stated error", code="no-rule", hint="--stated-error 0.3")
    if calibrated.rope is not None or calibrated.conformal is not None:
        message = "the rule goes into the base model: its calibration layers are tied to the one they were made with"
        raise CommandError(message, code="layers", hint="--model BASE, then calibrate the new one")
    measured = {**calibrated.bundle.measured, "uninformative_rule": {**rules[chosen], "quantity": chosen}}
    bundle = dataclasses.replace(calibrated.bundle, uninformative=float(shares[chosen]), measured=measured)
    try:
        bundle.save(target, force=settings.force)
    except FileExistsError as error:
        raise CommandError(str(error), code="exists", hint="--force, or another --rule-out") from None
    settings.talk(f"{chosen}: uninformative above {shares[chosen]:.3f} of the prior's interval; model in {target.name}")


def _page(found: dict[str, Any]) -> str:
    windows = found["windows"]
    lines = [
        f"{windows['answered']} of {windows['rows']} windows of {windows['subjects']} subjects answered by "
        f"{found['model']}{_POOLED[found['pool']]}"
    ]
    for one in found["references"]:
        kind = one["kind"] or "kind not stated"
        lines.append(f"reference {one['device'] or 'table'} ({kind}): {one['windows']} windows")
    for name, row in found["quantities"].items():
        lines.append(f"{name} [{row['unit']}], {row['bins']} bins of {found['bin_s']:g} s")
        for title, key in (("as estimated", "methods"), ("after one reference value", "one_point")):
            lines += [f"  {title}, {method}: {_words(m)}" for method, m in row[key].items()]
        for method, apart in row["one_point_less_model"].items():
            if apart["low"] is not None:
                lines.append(
                    f"  mean error of {method} less the model's: {100 * apart['value']:+.1f} points "
                    f"({100 * apart['low']:+.1f} to {100 * apart['high']:+.1f})"
                )
        held = row["coverage"]["0.9"]
        if held["coverage"] is not None:
            lines.append(
                f"  90 % interval holds {100 * held['coverage']:.0f} % ({100 * held['low']:.0f} to "
                f"{100 * held['high']:.0f}) of references"
            )
        if row.get("rejection"):
            curve = row["rejection"]
            word = "monotone" if curve["monotone_within_interval"] else "not monotone"
            lines.append(
                f"  error of all {100 * curve['error'][0]:.0f} %, of the surest half {100 * curve['error'][5]:.0f} %; "
                f"rejection curve {word} within its interval; rank correlation {curve['spearman']:.2f}; the "
                f"surest tenth are windows of effectively {curve['subjects'][-1]:.0f} subjects"
            )
    for names, held in found["regions"].items():
        lines.append(
            f"region of {names} holds {100 * held['coverage']:.0f} % ({100 * held['low']:.0f} to "
            f"{100 * held['high']:.0f}) of references"
        )
    return "\n".join(lines)


def _words(measures: dict[str, dict[str, float | None]]) -> str:
    def percent(name: str) -> str:
        value, low, high = (measures[name][key] for key in ("value", "low", "high"))
        if value is None:
            return "–"
        ends = "" if low is None or high is None else f" ({100 * low:.0f} to {100 * high:.0f})"
        return f"{100 * value:.0f} %{ends}"

    rank = measures["spearman_within"]["value"]
    said = "–" if rank is None else f"{rank:.2f}"
    return (
        f"error {percent('error')}, percentage error {percent('percentage_error')}, Spearman within {said}, direction "
        f"{percent('direction')}"
    )
