"""Files that grow: the windows of the finished file, each as soon as it is whole, and what happens when they shrink."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pulsebayes.waveforms.following import Patience, follow_channels
from pulsebayes.waveforms.readers import read
from pulsebayes.waveforms.recording import Recording, RecordingError, require_pressure_unit
from pulsebayes.waveforms.windows import Window, cut_windows

FS = 125
Step = Callable[[], None]


def _line(recording: Recording) -> dict[str, str]:
    require_pressure_unit(recording, recording.channel("ART").name)
    return {"ART": "ART"}


def _pulse(seconds: float, fs: int = FS) -> np.ndarray:
    phase = (np.arange(round(seconds * fs)) / fs * 1.2) % 1
    return np.round(80 + 45 * np.exp(-phase / 0.45) * np.minimum(phase / 0.12, 1), 3)


def _rows(wave: np.ndarray, fs: int, gap: tuple[float, float] = (0.0, 0.0)) -> list[str]:
    times = np.arange(len(wave)) / fs
    return [f"{t:.4f},{v:.3f}\n" for t, v in zip(times, wave, strict=True) if not gap[0] <= t < gap[1]]


def _follow(path: Path, steps: Iterator[Step], *, every_s: float = 8.0, **options: float) -> Iterator[Window]:
    """Windows of a file to which every wait does the next step; once there is none it no longer grows."""

    def sleep(_: float) -> None:
        next(steps, lambda: None)()

    patience = Patience(idle_s=3.0, poll_s=1.0, sleep=sleep)
    return follow_channels(path, _line, read, length_s=8.0, every_s=every_s, fs=FS, patience=patience, **options)


def _append(path: Path, texts: list[str]) -> Iterator[Step]:
    def step(text: str) -> Step:
        def work() -> None:
            with path.open("a", encoding="utf-8", newline="") as stream:
                stream.write(text)

        return work

    return (step(text) for text in texts)


def _pieces(rows: list[str], seed: int = 0) -> list[str]:
    """The text cut anywhere, in the middle of rows too."""
    text = "".join(rows)
    cuts = np.sort(np.random.default_rng(seed).integers(0, len(text), 40))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def _same(found: list[Window], recording: Recording, **options: float) -> None:
    expected = list(cut_windows(recording, fs=FS, **options))
    assert [w.start_s for w in found] == pytest.approx([w.start_s for w in expected])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=1e-3)
        assert one.verdict.reason == other.verdict.reason


@pytest.mark.parametrize(("fs", "gap"), [(125, (0.0, 0.0)), (100, (0.0, 0.0)), (125, (70.0, 73.0))])
def test_a_growing_table_gives_the_windows_of_the_finished_one(
    tmp_path: Path, fs: int, gap: tuple[float, float]
) -> None:
    path = tmp_path / "abp.csv"
    path.write_text("time [s],ABP [mmHg]\n")
    rows = _rows(_pulse(200, fs), fs, gap)
    found = list(_follow(path, _append(path, _pieces(rows))))
    _same(found, read(path))


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_a_column_that_falls_silent_stays_a_channel_and_comes_back(tmp_path: Path, delimiter: str) -> None:
    """Before, the end of such a file was never answered: a held part without the column was refused."""
    path, both = tmp_path / "two.csv", {"line": "ART", "clip": "PLETH"}
    head = delimiter.join(("time [s]", "ABP [mmHg]", "PLETH")) + "\n"
    path.write_text(head)
    wave, silent = _pulse(400), [(80.0, 300.0), (150.0, 390.0)]
    cells = [
        ["" if start <= i / FS < end else f"{scale * v:.4f}" for i, v in enumerate(wave)]
        for scale, (start, end) in zip((1.0, 0.01), silent, strict=True)
    ]
    rows = [delimiter.join((f"{i / FS:.4f}", *row)) + "\n" for i, row in enumerate(zip(*cells, strict=True))]
    steps = _append(path, _pieces(rows))
    patience = Patience(idle_s=3.0, poll_s=1.0, sleep=lambda _: next(steps, lambda: None)())
    options = {"length_s": 8.0, "every_s": 8.0, "fs": FS, "patience": patience}
    found = list(follow_channels(path, lambda _: both, read, **options))
    expected = list(cut_windows(read(path), ("ART", "PLETH"), fs=FS))
    assert [w.start_s for w in found] == pytest.approx([w.start_s for w in expected])
    for one, other in zip(found, expected, strict=True):
        assert one.channels == ("line", "clip")
        np.testing.assert_allclose(one.values, other.values, atol=1e-3)
        assert [v.reason for v in one.verdicts] == [v.reason for v in other.verdicts]


def test_overlapping_windows_come_in_order(tmp_path: Path) -> None:
    path = tmp_path / "abp.csv"
    path.write_text("ABP [mmHg],fs\n")
    rows = [f"{v:.3f},125\n" for v in _pulse(60)]
    found = list(_follow(path, _append(path, _pieces(rows)), every_s=4.0, start_s=4.0, end_s=40.0))
    whole = tmp_path / "whole.csv"  # the followed one is not read to its end
    whole.write_text("ABP [mmHg],fs\n" + "".join(rows))
    _same(found, read(whole), every_s=4.0, start_s=4.0, end_s=40.0)
    assert found[-1].end_s == 40.0


def test_a_window_comes_before_the_file_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "abp.csv"
    rows = _rows(_pulse(40), FS)
    path.write_text("time [s],ABP [mmHg]\n" + "".join(rows[:1500]))
    more = _append(path, ["".join(rows[1500:])])
    windows = _follow(path, more)
    assert next(windows).start_s == 0.0
    assert next(more, None) is not None  # not yet written


def test_a_record_whose_signal_file_grows_is_followed(tmp_path: Path) -> None:
    import wfdb

    wfdb.wrsamp("abp", FS, ["mmHg"], ["ABP"], _pulse(40)[:, None], fmt=["16"], write_dir=str(tmp_path))
    header, signal = tmp_path / "abp.hea", tmp_path / "abp.dat"
    lines = header.read_text().splitlines()
    fields = lines[1].split()
    header.write_text(f"abp 1 {FS}\n" + " ".join([*fields[:5], "0", "0", "0", *fields[8:]]) + "\n")
    whole = signal.read_bytes()
    signal.write_bytes(whole[:3001])  # half a sample more than 1,500

    def grow() -> None:
        signal.write_bytes(whole)

    found = list(_follow(tmp_path / "abp", iter([grow])))
    assert [w.start_s for w in found] == [0.0, 8.0, 16.0, 24.0, 32.0]
    _same(found, read(header))


@pytest.mark.parametrize("how", ["shorter", "gone"])
def test_a_file_that_shrinks_or_disappears_is_told(tmp_path: Path, how: str) -> None:
    path = tmp_path / "abp.csv"
    path.write_text("time [s],ABP [mmHg]\n" + "".join(_rows(_pulse(10), FS)))

    def shrink() -> None:
        path.write_text("time [s],ABP [mmHg]\n") if how == "shorter" else path.unlink()

    windows = _follow(path, iter([shrink]))
    assert next(windows).start_s == 0.0
    with pytest.raises(RecordingError, match=r"shrank|disappeared") as caught:
        next(windows)
    assert caught.value.code == "shrunk"


def test_a_longer_table_put_in_its_place_is_told(tmp_path: Path) -> None:
    path = tmp_path / "abp.csv"
    path.write_text("time [s],ABP [mmHg]\n" + "".join(_rows(_pulse(10), FS)))

    def put() -> None:
        other = tmp_path / "other.csv"
        other.write_text("time [s],ABP [mmHg]\n" + "".join(_rows(_pulse(30) + 0.002, FS)))
        other.replace(path)

    windows = _follow(path, iter([put]))
    assert next(windows).start_s == 0.0
    with pytest.raises(RecordingError, match="was replaced") as caught:
        next(windows)
    assert caught.value.code == "replaced"


def test_what_ended_before_a_window_was_whole_is_too_short(tmp_path: Path) -> None:
    path = tmp_path / "abp.csv"
    path.write_text("time [s],ABP [mmHg]\n")
    (only,) = _follow(path, _append(path, _pieces(_rows(_pulse(5), FS))))
    assert (only.start_s, only.verdict.reason) == (0.0, "too-short")
    _same([only], read(path))
    with pytest.raises(RecordingError, match="ended at 5 s, the first window starts at 9 s"):
        list(_follow(path, iter(()), start_s=9.0))
    with pytest.raises(RecordingError, match="no window of 8 s lies between 2 and 7 s"):
        list(_follow(path, iter(()), start_s=2.0, end_s=7.0))


@pytest.mark.parametrize("text", ["", "time [s],ABP [mmHg]\n", "time [s],ABP [mmHg]\n0,80\n"])
def test_what_ended_with_next_to_nothing_is_told_as_the_reader_does(tmp_path: Path, text: str) -> None:
    """Before, such a file ended without a word."""
    path = tmp_path / "abp.csv"
    path.write_text(text)
    with pytest.raises(RecordingError) as told:
        read(path)
    with pytest.raises(RecordingError) as followed:
        list(_follow(path, iter(())))
    assert (followed.value.code, str(followed.value)) == (told.value.code, str(told.value))


def test_what_cannot_be_followed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "abp.edf"
    path.write_bytes(b"0" + bytes(500))
    with pytest.raises(RecordingError, match="a text table or"):
        next(_follow(path, iter([])))
    with pytest.raises(RecordingError, match="no such file"):
        next(_follow(tmp_path / "none.csv", iter([])))
    with pytest.raises(ValueError, match="positive"):
        Patience(idle_s=0)
