r"""The table of candidates as text: for the terminal and for a bundle's card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["table_lines", "with_section"]

_SECTION = "## Learning from real labels"
_COLUMNS = ("candidate", "log score", "gain", "CRPS", "90 % holds", "error", "one reading", "conformal 90 %")


def table_lines(found: Mapping[str, Any]) -> list[str]:
    r"""What was tried, what was chosen and why, as lines of plain text.

    Arguments:
        found: What ``learn`` found.

    Example:
        >>> table_lines({"subjects_n": 8, "windows": 90, "folds": 4, "quantities": ["CO"], "table": [], "cohort": "c",
        ...              "reference_error": 0.1, "why": "w", "one_reading": {"why": "o"}, "regions": "r"})[-1]
        'r'
    """
    rows = [list(_COLUMNS), *(_cells(row) for row in found["table"])]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    lines = [_head(found)]
    lines += ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*lines, found["why"], found["one_reading"]["why"], found["regions"]]


def with_section(card: str, found: Mapping[str, Any]) -> str:
    r"""A card with the table of candidates; an older one is replaced, nothing else changes.

    Arguments:
        card: Markdown.
        found: What ``learn`` found.

    Example:
        >>> found = {"subjects_n": 8, "windows": 90, "folds": 4, "quantities": ["CO"], "table": [], "cohort": "c",
        ...          "reference_error": 0.1, "why": "w", "one_reading": {"why": "o"}, "regions": "r"}
        >>> once = with_section("# a\n", found)
        >>> with_section(once, found) == once, once.count("## Learning")
        (True, 1)
    """
    head, _, rest = card.partition(_SECTION)
    after = rest.partition("\n## ")
    kept = head.rstrip() + ("\n\n## " + after[2].rstrip() if after[1] else "")
    rows = [_COLUMNS, ["---"] * len(_COLUMNS), *(_cells(row) for row in found["table"])]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    words = [f"{text[0].upper()}{text[1:]}." for text in (found["why"], found["one_reading"]["why"], found["regions"])]
    text = f"{_SECTION}\n\n{_head(found)}.\n\n{table}\n\n" + "\n".join(f"- {word}" for word in words)
    note = (
        "Scores are of readings of subjects that a candidate had not seen, in nats (higher is better; ± one standard\n"
        "error over subjects); the chosen one's is a little flattered by being chosen. One reading: after the first\n"
        "reading of a recording. Conformal: intervals widened by the other subjects' readings."
    )
    return f"{kept}\n\n{text}\n\n{note}\n"


def _head(found: Mapping[str, Any]) -> str:
    return (
        f"{found['subjects_n']} subjects, {found['windows']} windows of {found['cohort']} labelled with "
        f"{', '.join(found['quantities'])} (reference error {100 * found['reference_error']:.0f} %), {found['folds']} "
        "folds by subject"
    )


def _cells(row: Mapping[str, Any]) -> list[str]:
    one, regions = row["one_reading"], row["conformal"]
    gain = "" if row["candidate"] == "base" else f"{row['gain']:+.3f} ± {row['gain_se']:.3f}"
    held = "–" if regions is None else f"{100 * regions['coverage']:.0f} %, {regions['interval_score']:.2f}"
    return [
        row["candidate"],
        f"{row['log_score']:.3f}",
        gain,
        f"{row['crps']:.3f}",
        f"{100 * row['coverage']:.0f} %",
        _percent(row["error"]),
        f"{one['log_score']:.3f}, {_percent(one['error'])}",
        held,
    ]


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"
