r"""What became of each simulated row: a status code, its name and what to try.

A row that fails is data, not an exception: simulators return one code per row beside the waveforms, training sets
keep every row with its code, and the share of usable rows is the acceptance that ``pulsebayes simulate`` prints.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

from jaxtyping import Bool, Integer

__all__ = [
    "ADVICE",
    "DIVERGED",
    "NOT_PERIODIC",
    "OK",
    "STATUS",
    "TERMINAL_MISMATCH",
    "UNPHYSIOLOGICAL",
    "count_status",
    "usable",
    "usable_names",
]

OK = 0
DIVERGED = 1
NOT_PERIODIC = 2
UNPHYSIOLOGICAL = 3
TERMINAL_MISMATCH = 4

STATUS: Mapping[int, str] = MappingProxyType(
    {
        OK: "ok",
        DIVERGED: "diverged",
        NOT_PERIODIC: "not periodic",
        UNPHYSIOLOGICAL: "unphysiological",
        TERMINAL_MISMATCH: "terminal-mismatch",
    }
)
"""Name of every status code."""

ADVICE: Mapping[int, str] = MappingProxyType(
    {
        OK: "Nothing to do.",
        DIVERGED: "The waves are not finite: solve in float64 or with a smaller time step, else narrow the prior.",
        NOT_PERIODIC: "Beats still differ at the end: solve for more beats, or start from a better initial pressure.",
        UNPHYSIOLOGICAL: "Pressures or flows are not those of a living adult: leave the row out, or narrow the prior.",
        TERMINAL_MISMATCH: (
            "A terminal's characteristic impedance exceeds its resistance, so it reflects negatively: "
            "usable, but look at that outlet's resistance and diameter."
        ),
    }
)
"""For every status code one sentence on what to try."""

_USABLE = (OK, TERMINAL_MISMATCH)


def usable(status: Integer[np.ndarray, "*batch"]) -> Bool[np.ndarray, "*batch"]:
    r"""Tells which rows may be trained on: ``ok``, and ``terminal-mismatch``, which is a flag only.

    Arguments:
        status: Status codes.

    Returns:
        True where the row is usable.

    Example:
        >>> usable(np.array([0, 1, 2, 3, 4], dtype=np.uint8)).tolist()
        [True, False, False, False, True]
    """
    return np.isin(status, _USABLE)


def usable_names() -> tuple[str, ...]:
    r"""Returns the names of the statuses that may be trained on.

    Example:
        >>> usable_names()
        ('ok', 'terminal-mismatch')
    """
    return tuple(STATUS[code] for code in _USABLE)


def count_status(status: Integer[np.ndarray, "*batch"]) -> dict[str, int]:
    r"""Counts the rows of each status by name.

    Arguments:
        status: Status codes.

    Returns:
        Name to number of rows, in the order of the codes; names that do not occur are left out, but ``ok`` never is.

    Raises:
        ValueError: If a code is unknown.

    Example:
        >>> count_status(np.array([0, 0, 3], dtype=np.uint8))
        {'ok': 2, 'unphysiological': 1}
    """
    codes, counts = np.unique(np.asarray(status), return_counts=True)
    found = dict(zip(codes.tolist(), counts.tolist(), strict=True))
    unknown = sorted(set(found) - set(STATUS))
    if unknown:
        raise ValueError(f"status must hold codes {sorted(STATUS)}, got {unknown}: was it written by a newer version?")
    return {name: found.get(code, 0) for code, name in STATUS.items() if code == OK or code in found}
