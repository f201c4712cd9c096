r"""Answers as CSV, one row a window and quantity, written as they come."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from .answer import Answer, Refusal

__all__ = ["COLUMNS", "CSVWriter"]

_NUMBERS = ("median", "q05", "q25", "q75", "q95", "low", "high", "prior_q05", "prior_q95", "contraction")

_REGION = ("region_low", "region_high", "region_set", "region_alpha")

_ABOUT = ("uninformative", "domain", *_REGION, "not_calibrated")

COLUMNS = ("start_s", "end_s", "status", "reason", "quantity", "unit", *_NUMBERS, *_ABOUT)
"""Columns of the table."""


class CSVWriter:
    r"""Writes answers and refusals as rows of a table; a refused window has one row without numbers.

    A quantity's conformal region is the first joint set that holds it: its extent along the quantity, the set and its
    alpha; an open end is empty. Further sets that hold it are in the netCDF file and in ``infer --json``.

    Arguments:
        stream: Text stream, opened with ``newline=""``.
        keep_uninformative: Whether the numbers of uninformative quantities are written.
        given: Whether there is a column of the channels that a window was answered from.

    Example:
        >>> import io
        >>> stream = io.StringIO()
        >>> CSVWriter(stream).write(Refusal(0.0, 8.0, "flat"))
        >>> stream.getvalue().splitlines()[1][:21]
        '0.0,8.0,refused,flat,'
    """

    def __init__(self, stream: TextIO, *, keep_uninformative: bool = False, given: bool = False) -> None:
        self._keep, self._given = keep_uninformative, given
        columns = (*COLUMNS, "given", "left_out") if given else COLUMNS
        self._writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
        self._writer.writeheader()

    def write(self, result: Answer | Refusal) -> None:
        r"""Appends a window.

        Arguments:
            result: Its answer or refusal.
        """
        row = result.to_json(keep_uninformative=self._keep)
        shared: dict[str, Any] = {name: row[name] for name in ("start_s", "end_s", "status", "reason")}
        shared["domain"] = row["domain"]["verdict"]
        if self._given:
            shared |= {name: result.signal.get(name, "") for name in ("given", "left_out")}
        if isinstance(result, Refusal):
            self._writer.writerow(shared)
        for name, numbers in row["quantities"].items():
            self._writer.writerow({**shared, "quantity": name, **numbers, **_region(row["regions"], name)})


def _region(regions: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """The first set that holds a quantity."""
    for region in regions:
        if name in region["ranges"]:
            ends = region["ranges"][name]
            names = " ".join(region["quantities"])
            return dict(zip(_REGION, (ends["low"], ends["high"], names, region["alpha"]), strict=True))
    return {}
