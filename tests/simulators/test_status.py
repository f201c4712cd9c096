r"""Status codes: every code has a name and advice, and counting loses nothing."""

from __future__ import annotations

import numpy as np
import pytest

from pulsebayes.simulators.status import ADVICE, STATUS, count_status, usable, usable_names


def test_every_status_has_a_sentence_on_what_to_try() -> None:
    assert set(ADVICE) == set(STATUS) == set(range(5))
    assert all(sentence.endswith(".") for sentence in ADVICE.values())


def test_ok_and_terminal_mismatch_are_usable() -> None:
    codes = np.arange(5, dtype=np.uint8)
    assert {STATUS[int(code)] for code in codes[usable(codes)]} == set(usable_names()) == {"ok", "terminal-mismatch"}


def test_counts_add_up_and_name_each_status() -> None:
    codes = np.array([3, 0, 4, 3, 1], dtype=np.uint8)
    assert count_status(codes) == {"ok": 1, "diverged": 1, "unphysiological": 2, "terminal-mismatch": 1}
    assert count_status(codes[:0]) == {"ok": 0}


def test_unknown_codes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got \[9\]"):
        count_status(np.array([0, 9], dtype=np.uint8))
