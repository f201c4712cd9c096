r"""Answers from several channels of which any may be missing: cut, gated and judged each by itself, answered together.

A window is answered from the channels that the recording has, that pass the quality gate there and that are not outside
the simulations' world; what was left out, and why, is said in its *signal* (``given``, ``left_out`` and ``channels``).
A window without a usable channel is refused for the reason of the first. Where in time a channel's clock stands is not
asked: the model was trained on clocks that disagree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ..waveforms.labelling import Channel, matching, unnamed_hint
from ..waveforms.quality import Verdict
from ..waveforms.recording import (
    MAX_MISSING,
    Recording,
    RecordingError,
    missing_share,
    require_data,
    require_pressure_unit,
)
from ..waveforms.roles import PRESSURE_ROLES, ROLES
from ..waveforms.windows import Window, cut_windows
from .answer import Prior, answer_window
from .answering import AnsweredWindow, Question, gate_refusal, question_end, signal_summary
from .bundle import Bundle
from .channel_domain import ChannelDomains
from .contract import InputContract, joined
from .domain import DomainVerdict

if TYPE_CHECKING:
    from .patient.layer import PatientEvidence

__all__ = ["ChannelDesk", "Chosen", "Laid", "channel_windows", "channels_of", "readable_channels"]

NOT_RECORDED = "not recorded"


def channels_of(contract: InputContract, recording: Recording) -> dict[str, str]:
    r"""Finds a model's channels in a recording.

    A channel is found by its name, or by its role where no other channel of the model has it.

    Arguments:
        contract: What the model reads.
        recording: The recording.

    Returns:
        What each channel that is there is called in the recording, in the model's order.

    Raises:
        RecordingError: If none is there, or one could be several.

    Example:
        >>> from pulsebayes.inference.contract import ChannelContract
        >>> contract = InputContract(several=(ChannelContract(), ChannelContract("PLETH", "1")))
        >>> channels_of(contract, Recording.from_arrays("demo", {"PPG": np.ones(500)}, fs=125))
        {'PLETH': 'PLETH'}
    """
    roles = [channel.role for channel in contract.channels]
    found = {}
    for channel in contract.channels:
        own = [channel.name, *([channel.role] if roles.count(channel.role) == 1 else [])]
        key = next((key for key in own if _meant(recording.channels, key)), None)
        if key is not None:
            recording.channel(key)
            found[channel.name] = key
    if not found:
        raise _none_found(contract, recording)
    return found


def readable_channels(contract: InputContract, recording: Recording) -> dict[str, str]:
    r"""Finds a model's channels in a recording, and refuses a pressure without a unit.

    Arguments:
        contract: What the model reads.
        recording: The recording.

    Returns:
        As `channels_of`.

    Raises:
        RecordingError: As `channels_of`, or if a pressure has no unit.

    Example:
        >>> from pulsebayes.inference.contract import ChannelContract
        >>> contract = InputContract(several=(ChannelContract(), ChannelContract("PLETH", "1")))
        >>> readable_channels(contract, Recording.from_arrays("demo", {"PPG": np.ones(500)}, fs=125))
        {'PLETH': 'PLETH'}
    """
    found = channels_of(contract, recording)
    for channel in contract.channels:
        if channel.name in found and channel.role in PRESSURE_ROLES:
            require_pressure_unit(recording, found[channel.name])
    return found


def _meant(channels: Sequence[Channel], key: str) -> bool:
    """Whether a name or role means a channel; one that was given another role is not meant."""
    return any(key not in ROLES or channels[i].role in (None, key) for i in matching(channels, key))


def _none_found(contract: InputContract, recording: Recording) -> RecordingError:
    r"""Says by which names and roles a model's channels are found, and what is there instead."""
    roles = [channel.role for channel in contract.channels]
    keys = [
        c.name if c.name == c.role or roles.count(c.role) > 1 else f"{c.name} (or of role {c.role})"
        for c in contract.channels
    ]
    alone = next((role for role in roles if roles.count(role) == 1), roles[0])
    if recording.channels and not any(channel.named for channel in recording.channels):
        what = f"expected a channel {alone}, but the file does not name its {len(recording.channels)} channels"
        hint = unnamed_hint(recording.channels, alone)
        return RecordingError(what, code="unnamed-channels", file=recording.name, hint=hint)
    there = ", ".join(f"{c.name} ({c.role or 'role unknown'}, {c.fs:g} Hz)" for c in recording.channels) or "none"
    spare = next((c for c in recording.channels if c.role is None), None)
    hint = f'--channel "{spare.name}={alone}", if that is what it is' if spare is not None else ""
    what = f"expected a channel {', '.join(keys[:-1])}{' or ' if keys[:-1] else ''}{keys[-1]}, found {there}"
    return RecordingError(what, code="channel-missing", file=recording.name, hint=hint or None)


def channel_windows(bundle: Bundle, recording: Recording, question: Question) -> Iterator[Window]:
    r"""The windows of a recording, with every channel of the model that it has.

    Arguments:
        bundle: A model of several channels.
        recording: The recording; must hold one of them.
        question: Which windows.

    Returns:
        Windows whose ``channels`` are named as in the model.

    Raises:
        RecordingError: If no channel is there, one could be several, a pressure has no unit, more than half of every
            channel is missing, or the question starts beyond the recording's end.

    Example:
        >>> channel_windows.__annotations__["return"]
        'Iterator[Window]'
    """
    contract = bundle.contract
    found = readable_channels(contract, recording)
    end_s = question_end(recording, question)
    if all(missing_share(recording, key, question.start_s, end_s) > MAX_MISSING for key in found.values()):
        require_data(recording, next(iter(found.values())), question.start_s, end_s)
    cut = cut_windows(
        recording,
        tuple(found.values()),
        length_s=contract.window_s,
        every_s=question.every_s,
        fs=contract.fs,
        start_s=question.start_s,
        end_s=end_s,
    )
    return (replace(window, channels=tuple(found)) for window in cut)


@dataclass(frozen=True)
class Chosen:
    r"""What a window is answered from.

    Arguments:
        waves: Samples of the channels given, by name; none where the gate refuses all.
        left_out: Why the others are left out, by name.
        verdict: Domain verdict on the channels given; None where there is none.

    Example:
        >>> Chosen({}, {"ART": "flat"}, None).left_out
        {'ART': 'flat'}
    """

    waves: Mapping[str, Float[np.ndarray, " T"]]
    left_out: Mapping[str, str]
    verdict: DomainVerdict | None


@dataclass(frozen=True)
class Laid:
    r"""A window as a model of several channels is asked about it.

    Arguments:
        values: Samples in the model's order, NaN where a channel is not given.
        signal: What it is answered from, what was left out, and what the gate found.
        verdict: Domain verdict on the channels given; None where there is none.

    Example:
        >>> Laid(np.zeros((2, 1000)), {"given": "ART+PLETH"}, None).signal["given"]
        'ART+PLETH'
    """

    values: Float[np.ndarray, "*C T"]
    signal: Mapping[str, Any]
    verdict: DomainVerdict | None


@dataclass(frozen=True)
class ChannelDesk:
    r"""Answers one window of several channels at a time; may be used from several threads.

    Arguments:
        bundle: A model of several channels.
        question: How many draws, which level.
        prior: Prior of the bundle's quantities.
        domains: Its domain verdicts.
        evidence: What is known of the patient besides.

    Example:
        >>> desk = ChannelDesk.of(bundle, Question(), Prior.of(bundle))  # doctest: +SKIP
    """

    bundle: Bundle
    question: Question
    prior: Prior
    domains: ChannelDomains
    evidence: PatientEvidence | None = None

    @classmethod
    def of(
        cls, bundle: Bundle, question: Question, prior: Prior, evidence: PatientEvidence | None = None
    ) -> ChannelDesk:
        r"""Makes the desk of a bundle.

        Arguments:
            bundle: A model of several channels.
            question: How many draws, which level.
            prior: Prior of the bundle's quantities.
            evidence: What is known of the patient besides.
        """
        return cls(bundle, question, prior, ChannelDomains.of(bundle), evidence)

    def __call__(self, window: Window) -> AnsweredWindow:
        r"""Answers a window.

        Arguments:
            window: The window, its channels named as in the model.
        """
        laid = self.lay(window)
        if isinstance(laid, AnsweredWindow):
            return laid
        result = answer_window(
            self.bundle,
            laid.values,
            start_s=window.start_s,
            end_s=window.end_s,
            prior=self.prior,
            level=self.question.level,
            n_draws=self.question.n_draws,
            seed=self.question.seed,
            signal=laid.signal,
            domain=laid.verdict,
            evidence=self.evidence,
        )
        return AnsweredWindow(laid.values, result)

    def lay(self, window: Window) -> Laid | AnsweredWindow:
        r"""Lays out what a window is answered from, or refuses it where the gate refuses all its channels.

        Arguments:
            window: The window, its channels named as in the model.
        """
        contract = self.bundle.contract
        verdicts, chosen = dict(zip(window.channels, window.verdicts, strict=True)), self.choose(window)
        values, given = contract.arrange(chosen.waves), [name for name in contract.names if name in chosen.waves]
        signal = _said(contract, given, chosen.left_out, verdicts)
        if not given:
            return AnsweredWindow(values, gate_refusal(window, signal_summary(window.verdict) | signal))
        return Laid(values, signal, chosen.verdict)

    def choose(self, window: Window) -> Chosen:
        r"""Chooses the channels that a window is answered from.

        Arguments:
            window: The window, its channels named as in the model.
        """
        verdicts = dict(zip(window.channels, window.verdicts, strict=True))
        waves = {
            name: wave
            for name, wave in zip(window.channels, window.values, strict=True)
            if verdicts[name].usable and np.isfinite(wave).all()
        }
        why = {name: NOT_RECORDED for name in self.bundle.contract.names if name not in verdicts}
        why |= {name: v.reason or "unusable" for name, v in verdicts.items() if name not in waves}
        if not waves:
            return Chosen(waves, why, None)
        place, out = self.domains.assess(waves, {name: verdicts[name].heart_rate for name in waves})
        if len(out) < len(waves):  # of channels that are all outside none is named apart: the window is
            why |= {name: f"outside: {verdict.reason}" for name, verdict in out.items()}
            waves = {name: wave for name, wave in waves.items() if name not in out}
        return Chosen(waves, why, place)


def _said(
    contract: InputContract, given: list[str], why: Mapping[str, str], verdicts: Mapping[str, Verdict]
) -> dict[str, Any]:
    """What a window was answered from, what was left out and why, and what the gate found on each channel."""
    rows = {name: {"given": name in given, **signal_summary(verdict)} for name, verdict in verdicts.items()}
    for name in set(rows) & set(why):
        rows[name]["left_out"] = why[name]
    if not given:
        return {"channels": rows}
    signal: dict[str, Any] = {"given": joined(given)}
    if why:
        signal["left_out"] = "; ".join(f"{name} ({reason})" for name, reason in why.items())
    pressures = [c.name for c in contract.channels if c.role in PRESSURE_ROLES and c.name in given]
    for key, names in (("beats", given), ("heart_rate", given), ("mean", pressures)):
        value = next((rows[name][key] for name in names if key in rows[name]), None)
        signal |= {} if value is None else {key: value}
    signal["findings"] = [
        found | {"channel": name, "marks": found["marks"] if name in pressures or not pressures else []}
        for name in given
        for found in rows[name]["findings"]
    ]
    return signal | {"channels": rows}
