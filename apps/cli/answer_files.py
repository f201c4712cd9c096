r"""Answer waveform files one after another: what `infer` and `demo` do once their options are read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import typer

from ...calibration.load import Calibrated, load_calibrated
from ...inference.answer import Answer, Prior, Refusal
from ...inference.answering import AnsweredWindow, Question, answer_recording, answer_windows, followed_windows
from ...inference.bundle import find_bundle
from ...inference.patient.info import Patient
from ...inference.patient.layer import PatientEvidence
from ...inference.pooling.anchors import Anchor
from ...inference.pooling.answering import answer_pooled, follow_pooled
from ...inference.workers import Processes, Workers
from ...waveforms.following import Patience
from ...waveforms.recording import Recording, RecordingError
from .errors import CommandError, ExitCode, Failure, describe, tell
from .fitting_models import fitting_models
from .infer_output import NOTICE, JSONPage, Page, ResultFiles, TablePage
from .options import Settings
from .recording_options import Labels
from .run_record import RECORD, hash_input, write_run_record

if TYPE_CHECKING:
    from ...inference.bundle import Bundle
    from ...inference.exact import ExactAnswers

__all__ = ["Known", "answer_files"]

_MANY_WINDOWS = 1000
"""From here on processes, which take some three seconds to start, answer sooner than threads."""


@dataclass(frozen=True)
class Known:
    r"""What is known beside the window that is answered: other windows, reference values, the patient.

    Arguments:
        pool: ``window``, ``causal`` or ``recording``; empty for ``recording``, ``causal`` where the file is followed,
            ``window`` where the model cannot pool, and that of its regions where it has such.
        anchors: Reference values at given times.
        patient: What is known of the patient.
        follow: How a growing file is waited for; None to read what is there.

    Example:
        >>> from pulsebayes.apps.cli.answer_files import Known
        >>> Known().pool
        ''
    """

    pool: str = ""
    anchors: tuple[Anchor, ...] = ()
    patient: Patient | None = None
    follow: Patience | None = None


@dataclass
class _Outcome:
    r"""What came of all files: how many windows were answered, and why not."""

    answered: int = 0
    reasons: set[str] = field(default_factory=set)
    failed: ExitCode = ExitCode.DONE
    unused: bool = False
    last_start_s: float = 0.0

    def count(self, result: Answer | Refusal) -> None:
        self.last_start_s = result.start_s
        if isinstance(result, Refusal):
            self.reasons.add(result.reason)
        else:
            self.answered += 1

    def fail(self, failure: Failure) -> None:
        self.failed = self.failed or failure.exit_code
        self.unused |= failure.code == "anchor-alone"  # its answers lack what was asked to be used

    @property
    def exit_code(self) -> int:
        if self.answered and not self.unused:
            return int(ExitCode.DONE)
        if self.failed:
            return int(self.failed)
        return int(ExitCode.OUTSIDE if self.reasons == {"outside"} else ExitCode.REFUSED)


def answer_files(
    files: Sequence[Path],
    model: str,
    question: Question,
    *,
    labels: Labels,
    settings: Settings,
    keep_uninformative: bool = False,
    command: str = "infer",
    known: Known = Known(),
    exact: str = "",
) -> int:
    r"""Answer files, print what was found, and write it where `--out` says.

    Arguments:
        files: Waveform files.
        model: Name of a shipped model, or the folder of a bundle.
        question: What is asked of each.
        labels: Roles, units and rate that the command line states.
        settings: The shared options.
        keep_uninformative: Whether numbers of uninformative quantities are shown.
        command: The verb, for the run record.
        known: What is known beside the windows themselves.
        exact: ``nuts`` or ``refine`` to answer from the likelihood of a reference model.

    Returns:
        The exit code: 0 if any window was answered.

    Raises:
        CommandError: If results stand at `--out` already.
        BundleError: If the model cannot be used.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["infer", "none.csv", "--model", "no-such-model", "--json"])  # doctest: +ELLIPSIS
        {"error": {"code": "model-unknown", ...}}
        6
    """
    stems = _stems(files, settings)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = settings.threads or min(cores, 8)
    desk = _Desk(find_bundle(model), question, settings, keep_uninformative, workers, known, exact)
    outcome = _Outcome()
    try:
        for path, stem in zip(files, stems, strict=True):
            desk.answer(path, stem, labels, outcome)
    finally:
        if settings.has_out and outcome.answered + len(outcome.reasons):
            config = {"files": list(files), "model": Path(model).name, **_shown(question), **_shown(labels)}
            config |= {"pool": desk.pool, "anchors": [a.text for a in known.anchors]}
            config |= {"patient": known.patient.text} if known.patient is not None else {}
            config |= {"exact": exact} if exact else {}
            written = [p.name for s in stems if s for p in _results(s) if p.exists()]
            inputs = [find_bundle(model)]
            inputs += [p for p in files if p.is_file() or p.with_name(p.name + ".hea").is_file()]
            write_run_record(
                settings.out, command=command, config=config, inputs=inputs, outputs=written, seed=question.seed
            )
        if settings.json:
            settings.talk(NOTICE)
    return outcome.exit_code


class _Desk:
    r"""A loaded model and how its answers are to be told."""

    def __init__(
        self,
        folder: Path,
        question: Question,
        settings: Settings,
        keep: bool,
        workers: int,
        known: Known,
        exact: str,
    ) -> None:
        torch.set_num_threads(1)
        self._calibrated = load_calibrated(folder)
        self._bundle = self._calibrated.bundle
        self._prior = Prior.of(self._bundle)
        layer = self._calibrated.conformal
        if mismatch := self._calibrated.mismatch(question):
            settings.talk(f"no conformal regions: {mismatch}")
        elif layer is not None and question.n_draws < layer.n_draws:
            settings.talk(f"no conformal regions: they take {layer.n_draws} draws, --draws is {question.n_draws}")
        self._exact: ExactAnswers | None = None
        if exact and known != Known():
            hint = "leave --pool, --anchor, --patient and --follow out"
            raise CommandError("a likelihood answers window by window, from the wave alone", code="usage", hint=hint)
        if exact:
            self._exact = _exact_answers(self._bundle, exact, question)
            settings.talk(self._exact.describe())
        self._stem: Path | None = None
        self._growing: Recording | None = None
        self._hashes = {f"sha256_{n.replace('.', '_')}": h for n, h in hash_input(folder).items()}
        self._question, self._settings, self._keep, self._workers = question, settings, keep, workers
        self.pool = "window" if exact else _pool_of(self._calibrated, known, folder.name)
        self._anchors, self._patience = known.anchors, known.follow
        self._evidence = _evidence_of(self._calibrated, known)
        self._finishing = self._calibrated.for_question(question)

    def answer(self, path: Path, stem: Path | None, labels: Labels, outcome: _Outcome) -> None:
        r"""Answer one file; its failure is told and counted, and the next file goes on."""
        recording: Recording | None = None
        try:
            if self._patience is None:
                recording = labels.open_aloud(path)
                windows = self._windows(recording)
            else:
                windows = self._followed(path, labels, self._patience)
            name = path.name if recording is None else recording.name
            pages = self._pages(name, stem)
        except (ValueError, OSError) as error:
            failure = self._explain(error, recording)
            tell(failure, as_json=self._settings.json)
            outcome.fail(failure)
            return
        end: Failure | None = None
        self._stem = stem
        try:
            for answered in windows:
                self._take(answered, pages, outcome)
        except (ValueError, OSError) as error:
            end = self._explain(error, recording or self._growing)
            outcome.fail(end)
            if not self._settings.json:
                tell(end, as_json=False)
        except KeyboardInterrupt:
            stop = _interrupted(name, outcome.last_start_s)
            end = describe(stop)
            if self._settings.json:  # its page tells it
                raise typer.Exit(int(end.exit_code)) from None
            raise stop from None
        finally:
            for page in pages:
                page.close(end)

    def _windows(self, recording: Recording) -> Iterator[AnsweredWindow]:
        layer = self._calibrated.pooling
        if self.pool == "window" or layer is None:
            return answer_recording(
                self._bundle,
                recording,
                self._question,
                prior=self._prior,
                workers=self._crew(recording),
                evidence=self._evidence,
            )
        return answer_pooled(
            self._bundle,
            layer,
            recording,
            self._question,
            pool="causal" if self.pool == "causal" else "recording",
            anchors=self._anchors,
            prior=self._prior,
            evidence=self._evidence,
            workers=self._crew(recording),
        )

    def _crew(self, recording: Recording) -> Workers:
        r"""Threads, or for many windows processes."""
        seconds = min(self._question.end_s, recording.duration_s) - self._question.start_s
        many = seconds / self._question.every_s >= _MANY_WINDOWS
        return Processes(self._workers) if many and self._workers > 1 else self._workers

    def _followed(self, path: Path, labels: Labels, patience: Patience) -> Iterator[AnsweredWindow]:
        r"""A growing file, window by window; says when it has ended."""
        question, first = self._question, [labels.open_aloud]

        def opened(part: Path) -> Recording:
            self._growing = (first.pop() if first else labels.open)(part)
            return self._growing

        windows = followed_windows(self._bundle, path, opened, question, patience)
        layer = self._calibrated.pooling
        if self.pool == "window" or layer is None:
            yield from answer_windows(self._bundle, windows, question, prior=self._prior, evidence=self._evidence)
        else:
            yield from follow_pooled(
                self._bundle,
                layer,
                windows,
                question,
                file=path.name,
                anchors=self._anchors,
                prior=self._prior,
                evidence=self._evidence,
            )
        self._settings.talk(f"{path.name} has ended: --end was reached, or it did not grow for {patience.idle_s:g} s")

    def _take(self, answered: AnsweredWindow, pages: list[Page], outcome: _Outcome) -> None:
        if self._exact is not None:
            answered = self._exact.finish(answered, self._prior, stem=self._stem)
        else:
            answered = self._finishing.finish(answered, self._prior, seed=self._question.seed)
        outcome.count(answered.result)
        for page in pages:
            page.write(answered)

    def _pages(self, name: str, stem: Path | None) -> list[Page]:
        pages: list[Page] = []
        if stem is not None:
            stem.parent.mkdir(parents=True, exist_ok=True)
            attributes: dict[str, Any] = {"file": name, "seed": self._question.seed, **self._hashes}
            pages.append(
                ResultFiles(
                    stem,
                    self._bundle,
                    self._question,
                    prior=self._prior,
                    attributes=attributes,
                    keep_uninformative=self._keep,
                )
            )
        kind = JSONPage if self._settings.json else TablePage
        pages.append(kind(name, self._bundle, self._question, keep_uninformative=self._keep))
        return pages

    def _explain(self, error: Exception, recording: Recording | None) -> Failure:
        r"""A missing channel is told with what the model needs and which shipped models fit."""
        failure = describe(error)
        if recording is None or not (isinstance(error, RecordingError) and error.code == "channel-missing"):
            return failure
        fitting, contract = fitting_models(recording), self._bundle.contract
        fits = f"models that fit: {', '.join(fitting)}" if fitting else "no shipped model fits"
        reads = "any of these channels" if contract.several else contract.reads
        message = f"{failure.message}; model {self._bundle.name} reads {reads}; {fits}"
        hint = f"--model {fitting[0]}" if fitting else failure.hint
        return Failure(failure.exit_code, failure.code, message, hint)


def _pool_of(calibrated: Calibrated, known: Known, name: str) -> str:
    r"""The pool that a model answers with, or why it cannot answer with the one asked for."""
    usual, following = calibrated.offered_pools[0], known.follow is not None
    pool = known.pool or ("causal" if following and usual == "recording" else usual)
    if why := calibrated.why_not(pool, anchored=bool(known.anchors)):
        hint = f"--pool {usual}" + (", without --anchor" if known.anchors else "")
        if following and usual == "recording":
            hint = "calibrate conformal --pool causal makes regions for --follow"
        what = "answer with references" if pool in calibrated.offered_pools else f"answer with --pool {pool}"
        what = "pool windows" if usual == "window" else what
        raise CommandError(f"model {name} cannot {what}: {why}", code="pool", hint=hint)
    if known.anchors and pool == "window":
        raise CommandError("--anchor needs windows that inform each other", code="usage", hint="--pool recording")
    reported = tuple(calibrated.bundle.outputs.reported)
    unknown = next((a for a in known.anchors if a.name not in reported), None)
    if unknown is not None:
        message = f"no quantity {unknown.name!r} to anchor: model {name} gives {', '.join(reported)}"
        example = "CO=4.2" if "CO" in reported else f"{reported[0]}=VALUE"
        hint = (
            f"--patient {unknown.name.lower()}={unknown.value:g}"
            if unknown.is_personal
            else f"--anchor {example}@{unknown.time_s:g}s"
        )
        raise CommandError(message, code="anchor-unknown", hint=hint)
    if known.patient is not None and calibrated.pooling is not None and pool != "window":
        lacking = calibrated.pooling.lacks(known.patient)
        if lacking:
            message = f"the pooling layer of model {name} cannot use {lacking}"
            can_alone = calibrated.patient is not None and not calibrated.patient.heads.lacks(known.patient)
            hint = (
                "--pool window" + (", without --anchor" if known.anchors else "")
                if can_alone
                else "leave it out of --patient"
            )
            raise CommandError(message, code="patient", hint=hint, exit_code=ExitCode.BUNDLE)
    if known.follow is not None and pool == "recording":
        raise CommandError("--follow answers before the recording is over", code="usage", hint="--pool causal")
    return pool


def _evidence_of(calibrated: Calibrated, known: Known) -> PatientEvidence | None:
    r"""What is known of the patient, with the layer that can use it, or why a model cannot."""
    if known.patient is None:
        return None
    if calibrated.patient is None or calibrated.layered:
        why = "its calibration was measured without" if calibrated.layered else "it has no patient layer"
        message = f"model {calibrated.bundle.name} cannot use what is known of a patient: {why}"
        raise CommandError(message, code="patient", hint="leave --patient out", exit_code=ExitCode.BUNDLE)
    if lacking := calibrated.patient.heads.lacks(known.patient):
        message = f"model {calibrated.bundle.name} cannot use {lacking}: its patient layer has not learned it"
        raise CommandError(message, code="patient", hint="leave it out of --patient", exit_code=ExitCode.BUNDLE)
    return PatientEvidence(calibrated.patient, known.patient)


def _exact_answers(bundle: Bundle, method: str, question: Question) -> ExactAnswers:
    from ...inference.exact import ExactAnswers

    try:
        found = ExactAnswers(bundle, method, question.n_draws, question.seed)
        found.describe()  # what a bundle cannot be a reference for shows here
        return found
    except ValueError as error:
        raise CommandError(
            str(error),
            code="no-likelihood",
            hint="pulsebayes train --recipe radial-abp-reference --out BUNDLE",
            exit_code=ExitCode.BUNDLE,
        ) from error


def _interrupted(file: str, last_start_s: float) -> CommandError:
    message = f"interrupted in {file}; what was answered until then is kept"
    hint = f"--start {last_start_s:g}s goes on from the last window"
    return CommandError(message, code="interrupted", hint=hint, exit_code=ExitCode.INTERRUPTED)


def _shown(options: Any) -> dict[str, Any]:
    return {name: (None if value == float("inf") else value) for name, value in vars(options).items()}


def _stems(files: Sequence[Path], settings: Settings) -> list[Path | None]:
    r"""Where each file's results go, without suffix; None for all without `--out`."""
    if not settings.has_out:
        return [None] * len(files)
    if settings.out.is_file():
        raise CommandError(f"--out {settings.out.name} is a file", code="exists", hint="--out FOLDER")
    stems: list[Path] = []
    for path in files:
        name = path.stem if path.suffix else path.name
        taken = {stem.name for stem in stems}
        free = next(n for n in (name, *(f"{name}-{i}" for i in range(2, len(files) + 2))) if n not in taken)
        stems.append(settings.out / free)
    inputs = {path.resolve() for path in files}
    lost = [p.name for s in stems for p in _results(s) if p.resolve() in inputs]
    if lost:
        raise CommandError(f"results would replace the input {lost[0]}", code="exists", hint="--out ANOTHER-FOLDER")
    there = [p.name for s in stems for p in _results(s) if p.exists()]
    there += [RECORD] if (settings.out / RECORD).exists() else []
    if there and not settings.force:
        raise CommandError(
            f"{settings.out.name} holds {', '.join(there[:3])} already", code="exists", hint="--force, or another --out"
        )
    return list(stems)


def _results(stem: Path) -> list[Path]:
    return [stem.with_name(stem.name + suffix) for suffix in ResultFiles.SUFFIXES]
