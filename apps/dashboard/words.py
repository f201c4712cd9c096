r"""The five questions at the bedside, answered in plain words from an answer or a refusal.

Is the signal good? What is the cardiac output? How sure? Why so unsure? Can I trust the model here? Every sentence
follows from numbers of the answer: the gate's findings, the posterior, its companions, the measured coverage and the
domain verdict.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ...inference.answer import Answer, Refusal
from ...inference.explain import chance_below, companions
from ...waveforms.quality import REASONS
from ..figures.estimates import quantity_of
from ..figures.marks import number, percent, typeset

__all__ = ["Said", "five_questions", "on_screen"]


@dataclass(frozen=True)
class Said:
    r"""One question and its answer.

    Arguments:
        question: The question.
        answer: A few words.
        detail: One or two sentences on why.
        state: `good`, `caution`, `bad` or `none`.

    Example:
        >>> Said("Is the signal good?", "Yes", "10 beats.", "good").mark
        '✓'
    """

    question: str
    answer: str
    detail: str
    state: str

    @property
    def mark(self) -> str:
        r"""The state as a sign, so that colour is never alone."""
        return {"good": "✓", "caution": "!", "bad": "✕", "none": "–"}[self.state]


def five_questions(result: Answer | Refusal, *, name: str = "CO") -> list[Said]:
    r"""Answers the five questions.

    Arguments:
        result: Answer or refusal of the picked window.
        name: Quantity that the second question asks for.

    Returns:
        The answers, in order.

    Example:
        >>> [said.state for said in five_questions(Refusal(0.0, 8.0, "flat", "check the line"))]
        ['bad', 'none', 'none', 'none', 'bad']
    """
    if isinstance(result, Refusal):
        return _refused(result, name)
    return [_signal(result), _value(result, name), _sure(result, name), _why(result, name), _trust(result)]


def on_screen(hint: str) -> str:
    r"""A hint as it is said on a page, where a window is picked and no option is typed.

    Arguments:
        hint: The hint.

    Example:
        >>> on_screen("use --start and --end to choose a stretch without gaps")
        'pick a window without gaps'
    """
    hint = hint.replace("use --start and --end to choose another stretch", "pick another window")
    hint = hint.replace("use --start and --end to choose a stretch", "pick a window")
    hint = hint.replace("pass a longer stretch, or move --start and --end", "pick another window")
    return re.sub(r" ?\(--[^)]*\)", "", hint)


def _what(name: str) -> str:
    return f"What is the {quantity_of(name).name}?"


def _refused(result: Refusal, name: str) -> list[Said]:
    outside = result.reason == "outside"
    meaning = "it does not look like any simulated pressure" if outside else REASONS.get(result.reason, result.reason)
    hint = f" Try: {on_screen(result.hint)}." if result.hint and not outside else ""
    beats = result.signal.get("beats", 0)
    if outside:
        signal = Said("Is the signal good?", "It passed the gate", f"{beats} beats were found, no fault.", "good")
        trust = f"No: this window lies outside what the model was trained on ({result.hint}). No number is given."
    else:
        signal = Said("Is the signal good?", "No", f"Refused: {meaning}.{hint}", "bad")
        trust = "The model is not asked about a signal that the gate refuses."
    none = "No number is given for this window: pick another one."
    return [
        signal,
        Said(_what(name), "Not answered", none, "none"),
        Said("How sure?", "Not estimated", "Nothing was estimated.", "none"),
        Said("Why so unsure?", "Nothing to go by", f"Because {meaning}.", "none"),
        Said("Can I trust the model here?", "No", trust, "bad"),
    ]


def _signal(answer: Answer) -> Said:
    signal = answer.signal
    findings = list(signal.get("findings", ()))
    rate = signal.get("heart_rate")
    if not signal:
        return Said("Is the signal good?", "It passed the gate", "What the gate found was not kept.", "good")
    seen = f"{signal.get('beats', 0)} beats" + (f" at {rate:.0f} /min" if rate else "")
    if not findings:
        return Said("Is the signal good?", "Yes", f"{seen}; the quality gate found no fault.", "good")
    messages = "; ".join(dict.fromkeys(str(f["message"]) for f in findings))
    messages = messages[:1].upper() + messages[1:]
    marks = sorted({str(mark) for f in findings for mark in f["marks"]})
    less = f" Less certain: {', '.join(marks)}." if marks else ""
    return Said("Is the signal good?", "Usable, with findings", f"{seen}. {messages}.{less}", "caution")


def _value(answer: Answer, name: str) -> Said:
    e, q = answer.estimates[name], quantity_of(name)
    if e.uninformative:
        return Said(_what(name), "Not told by this signal", "The estimate is hardly narrower than a guess.", "none")
    value = f"about {number(e.median, q.decimals)} {typeset(e.unit)}"
    if q.usual_low is None or q.usual_high is None:
        return Said(_what(name), value, "No usual range is cited for it.", "good")
    usual = f"usual at rest {q.usual_low:g} to {q.usual_high:g}"
    if e.q05 > q.usual_high or e.q95 < q.usual_low:
        side = "above" if e.q05 > q.usual_high else "below"
        return Said(_what(name), value, f"Very likely {side} the {usual} (sources differ).", "caution")
    low = chance_below(answer.draws[name], q.usual_low)
    high = 1 - chance_below(answer.draws[name], q.usual_high)
    parts = f"chance of being lower {percent(low)}, of being higher {percent(high)}"
    inside = q.usual_low <= e.median <= q.usual_high
    return Said(_what(name), value, f"{usual.capitalize()} (sources differ): {parts}.", "good" if inside else "caution")


def _sure(answer: Answer, name: str) -> Said:
    e, q = answer.estimates[name], quantity_of(name)
    if e.uninformative:
        return Said("How sure?", "Not at all", "The signal adds next to nothing to what was known before.", "none")
    share = 0.5 * (e.q95 - e.q05) / abs(e.median) if e.median else float("inf")
    word, state = "Very rough", "caution"
    for limit, said, level in (
        (0.05, "Very sure", "good"),
        (0.15, "Fairly sure", "good"),
        (0.35, "Roughly", "caution"),
    ):
        if share <= limit:
            word, state = said, level
            break
    span = f"{number(e.q05, q.decimals)} and {number(e.q95, q.decimals)}"
    prior = f"{number(e.prior_q05, q.decimals)} to {number(e.prior_q95, q.decimals)}"
    detail = f"9 in 10 chance that it lies between {span} {typeset(e.unit)}. Before the signal was seen: {prior}."
    return Said("How sure?", f"{word}: ± {percent(share)}", detail, state)


_HELPS: Mapping[str, str] = {
    "C": "how stiff and large this patient's arteries are cannot be seen in one pressure wave",
    "PWV": "how fast the pulse travels in this patient is not known from one site",
    "LVET": "the ejection time is not sharp in this wave",
    "MAP": "the level of the transducer is uncertain by a few mmHg",
    "CVP": "venous pressure leaves hardly a trace in an arterial wave",
    "HR": "the rhythm is irregular",
}


def _why(answer: Answer, name: str) -> Said:
    others = companions(answer.draws, name)
    question = "Why so unsure?"
    if answer.estimates[name].uninformative:
        return Said(question, "Nothing here tells it", _silent(answer), "none")
    if not others:
        return Said(question, "–", "Only one quantity was estimated.", "none")
    first, share = next(iter(others.items()))
    told = answer.estimates.get(first)
    if share < 0.15:
        return Said(question, "No single reason", "The doubt goes along with no other quantity in particular.", "good")
    q = quantity_of(first)
    text = f"{percent(share)} of the doubt goes along with {q.name} ({first})"
    if told is not None:
        text += f", here {number(told.q05, q.decimals)} to {number(told.q95, q.decimals)} {typeset(told.unit)}"
    reason = _HELPS.get(first) if first != "HR" or _uneven(answer) else None
    return Said(question, f"Mostly {q.name}", text + (f": {reason}." if reason else "."), "caution")


def _silent(answer: Answer) -> str:
    weighed = answer.calibration or {}
    text = "Every value that was thought possible still fits this window."
    if "effective_size" in weighed:
        size, n = weighed["effective_size"], weighed["simulations"]
        text += f" After calibration with patients, {size:.0f} of {n} simulated beats stand for it alike."
    return text


def _uneven(answer: Answer) -> bool:
    return any(f.get("code") in ("irregular", "premature", "alternans") for f in answer.signal.get("findings", ()))


def _trust(answer: Answer) -> Said:
    question = "Can I trust the model here?"
    calibration, real = answer.calibration, False
    if calibration is None:
        measured = "how often its intervals hold the truth was never measured"
    else:
        share = list(calibration["coverage"].values())
        n, level = calibration["n"], calibration["level"]
        real = calibration["method"] == "rope"
        who = "patients whose measurements were held out" if real else "simulated patients"
        ends = list(dict.fromkeys([percent(min(share)), percent(max(share))]))
        measured = f"its {percent(level)} intervals held the truth in {' to '.join(ends)} of {n} {who}"
    patients = "it has not been checked against measurements in patients"
    if real:
        patients = "what was measured holds for patients like these"
    elif answer.regions:
        n = answer.regions[0]["n_patients"]
        patients = f"only its conformal regions were calibrated with measurements, of {n} patients"
    if answer.domain is None:
        return Said(
            question,
            "Not assessed",
            f"The model cannot say whether this beat is like its training; {measured}.",
            "caution",
        )
    if answer.domain.verdict == "shifted":
        detail = f"This wave is unlike most simulations: {answer.domain.reason}. "
        detail += f"{measured.capitalize()}, but not on waves like this."
        return Said(question, "Little", detail, "bad")
    detail = f"The wave looks like the simulations (p = {answer.domain.p:.2f}); {measured}; {patients}."
    return Said(question, "As a research estimate", detail, "caution")
