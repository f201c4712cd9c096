r"""The card of a patient layer: what knowing a patient is worth, beside the card of the window model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..card import markdown_table
from ..coverage import missed_coverage
from .info import MEASURED_ERRORS

__all__ = ["render_patient_card", "worth_of"]


def render_patient_card(name: str, measured: Mapping[str, Any]) -> str:
    r"""Writes the card as Markdown.

    Arguments:
        name: Name of the bundle.
        measured: What the layer keeps as measured.

    Example:
        >>> render_patient_card("tiny", {}).splitlines()[0]
        '# tiny: what is known of the patient'
    """
    parts = [
        f"# {name}: what is known of the patient\n\n"
        "`infer --patient` takes age, sex, height, weight and the diameter of the aortic root, any of them; without\n"
        "it windows are answered as on the card. Spread: root mean variance of the posterior over that of the wave\n"
        "alone (of the logarithm for positive quantities but pressures). Then the mean effective share of draws, the\n"
        "windows refused because wave and patient do not go together, and the least and most that 50 and 90 %\n"
        "intervals hold of any quantity. Held-out simulations of the simulator of the model's card, each with its own\n"
        "age, sex, height and weight, and a root measured with an error of its own, {:g} to {:g} mm; all shares in\n"
        "per cent.".format(*MEASURED_ERRORS)
    ]
    sets = list(dict.fromkeys(given for row in measured.values() for given in row.get("given", {})))
    if measured:
        parts.append(worth_of("All windows" if sets else "Worth", measured))
    for given in sets:
        parts.append(worth_of(f"Given {given}", {known: row["given"][given] for known, row in measured.items()}))
    return "\n\n".join(parts) + "\n"


def worth_of(title: str, measured: Mapping[str, Mapping[str, Any]], *, what: str = "windows") -> str:
    r"""Spread and coverage by what is known, of some windows or pools, and what misses.

    Arguments:
        title: Title of the part.
        measured: By what is known ``n``, ``spread``, ``coverage``, ``effective`` and ``refused``.
        what: What there are ``n`` of.

    Example:
        >>> row = {"n": 8, "spread": {"SV": 0.9}, "effective": 0.5, "refused": 0.0}
        >>> row["coverage"] = {level: {"SV": float(level)} for level in ("0.5", "0.9")}
        >>> print(worth_of("Worth", {"age": row}).splitlines()[-1])
        | age | 0.900 | 50 | 0.0 | 50.0 to 50.0 | 90.0 to 90.0 |
    """
    names = list(next(iter(measured.values()))["spread"])
    rows = [
        [
            known.replace("+", ", ") or "nothing",
            *(f"{row['spread'][name]:.3f}" for name in names),
            f"{100 * row['effective']:.0f}",
            f"{100 * row['refused']:.1f}",
            *(_ends(row["coverage"][level]) for level in ("0.5", "0.9")),
        ]
        for known, row in measured.items()
    ]
    table = markdown_table(["known", *names, "effective", "refused", "50 %", "90 %"], rows)
    missed = [
        f"- {quantity} is not calibrated where {known.replace('+', ', ')} is known: {told}."
        for known, row in measured.items()
        for quantity, told in missed_coverage(row["coverage"]).items()
        if known
    ]
    text = f"## {title}\n\n{next(iter(measured.values()))['n']} {what}.\n\n{table}"
    return text + ("\n\n" + "\n".join(missed) if missed else "")


def _ends(coverage: Mapping[str, float]) -> str:
    return f"{100 * min(coverage.values()):.1f} to {100 * max(coverage.values()):.1f}"
