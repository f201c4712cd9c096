r"""Work in the background: progress, cancel, failure, and finding it again."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from pulsebayes.apps.dashboard.desk import MOST_TASKS, Desk, Task


def test_cancel_keeps_what_was_found() -> None:
    gate = threading.Event()

    def work() -> Iterator[int]:
        yield 1
        gate.wait(5)
        yield 2
        yield 3

    task = Task(3).start(work)
    task.cancel()
    gate.set()
    assert task.wait(5) and task.state == "cancelled"
    assert 3 not in task.results and task.results[0] == 1


def test_failure_is_kept_with_what_came_before() -> None:
    def work() -> Iterator[int]:
        yield 1
        raise ValueError("damaged at 12 s")

    task = Task(2).start(work)
    assert task.wait(5) and task.state == "failed"
    assert task.results == [1] and "12 s" in str(task.error) and task.progress == 0.5


def test_the_same_question_finds_the_same_work() -> None:
    desk, calls = Desk(), []

    def work() -> Iterator[int]:
        calls.append(1)
        return iter([1])

    first = desk.task("a", 1, work)
    first.wait(5)
    assert desk.task("a", 1, work) is first and len(calls) == 1
    desk.forget("a")
    assert desk.known("a") is None and desk.task("a", 1, work) is not first


def test_old_work_is_forgotten_and_stopped() -> None:
    desk = Desk()
    for i in range(MOST_TASKS + 3):
        desk.task(i, 1, lambda: iter([1]))
    assert desk.known(0) is None and desk.known(MOST_TASKS + 2) is not None
    for i in range(100):
        desk.keep(i, lambda i=i: i, most=10)
    assert len(desk._kept) == 10
