r"""Work shared out: results come in order, whoever does the work, and nothing that was done is lost."""

import math
import os
import signal
from collections.abc import Iterator
from functools import partial

import pytest
import torch

from pulsebayes.inference.workers import Processes, in_order

WORKERS = [1, 3, pytest.param(Processes(2), id="processes")]


def numbers_then_damage(n: int) -> Iterator[float]:
    yield from map(float, range(n))
    raise ValueError("damaged from here on")


def first_row(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return weight * x[0]


def end_oneself(x: float) -> float:
    os.kill(os.getpid(), signal.SIGKILL)
    return x


@pytest.mark.parametrize("workers", WORKERS)
def test_results_come_in_order_and_those_before_a_damage_are_kept(workers):
    found: list[float] = []
    with pytest.raises(ValueError, match="damaged from here on"):
        found.extend(in_order(numbers_then_damage(21), math.sqrt, workers))
    assert found == [math.sqrt(x) for x in range(21)]


@pytest.mark.parametrize("workers", WORKERS)
def test_what_the_work_raises_is_raised(workers):
    results = in_order([4.0, 1.0, -1.0, 9.0], math.sqrt, workers)
    with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
        list(results)


def test_tensors_travel_without_the_storage_they_are_views_of():
    table = torch.arange(12.0).reshape(4, 3)
    rows = [table[i : i + 1] for i in range(4)]
    found = list(in_order(rows, partial(first_row, weight=table[1]), Processes(1)))
    assert all(torch.equal(one, table[1] * row[0]) for one, row in zip(found, rows, strict=True))
    assert {one.untyped_storage().nbytes() for one in found} == {12}


def test_a_process_that_is_killed_is_told():
    with pytest.raises(ChildProcessError, match="ended from outside"):
        list(in_order([1.0, 2.0], end_oneself, Processes(1)))


def test_there_must_be_somebody_to_work():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        in_order([1.0], math.sqrt, Processes(0))
