"""Text tables: headers, units, delimiters, missing values, time stamps; and what is refused, with its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulsebayes.waveforms import Recording, RecordingError, missing_share, read, require_pressure_unit
from pulsebayes.waveforms.readers._table_layout import split_unit

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to(text: str, name: str = "a.csv") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return to


def wave(n: int = 1000, seed: int = 0) -> np.ndarray:
    return np.round(90 + 30 * np.sin(np.arange(n) / 20) + np.random.default_rng(seed).normal(0, 1, n), 3)


def table(stamps: np.ndarray, values: np.ndarray, head: str = "time [s],ABP [mmHg]", digits: int = 6) -> str:
    return head + "\n" + "".join(f"{t:.{digits}f},{v}\n" for t, v in zip(stamps, values, strict=True))


# Headers


@pytest.mark.parametrize(
    ("header", "name", "unit"),
    [
        ("ABP [mmHg]", "ABP", "mmHg"),
        ("ABP[kPa]", "ABP", "kPa"),
        ("ABP (mm Hg)", "ABP", "mmHg"),
        ("ABP_mmHg", "ABP", "mmHg"),
        ("ABP_0.1mmHg", "ABP", "0.1mmHg"),
        ('"ART (kPa)"', "ART", "kPa"),
        ("ECG_II", "ECG_II", None),
        ("FLOW_L", "FLOW_L", None),
        ("ECG_V", "ECG_V", None),
        ("ABP (left radial)", "ABP (left radial)", None),
        ("ABP []", "ABP", None),
        ("time_ms", "time", "ms"),
    ],
)
def test_headers_carry_names_and_units(header: str, name: str, unit: str | None) -> None:
    assert split_unit(header) == (name, unit)


@pytest.mark.parametrize("unit", ["mmHg", "kPa", "0.1 mmHg", "Pa", "cmH2O"])
def test_pressure_of_any_unit_comes_in_mmhg(write: Write, unit: str) -> None:
    recording = read(write(table(np.arange(500) / 125, wave(500), f"time [s],ABP [{unit}]")))
    assert require_pressure_unit(recording, "ART").unit == "mmHg"
    factor = {"mmHg": 1, "kPa": 7.50062, "0.1 mmHg": 0.1, "Pa": 0.00750062, "cmH2O": 0.735561}[unit]
    np.testing.assert_allclose(recording.values("ART"), wave(500) * factor, rtol=1e-5)


def test_a_second_header_row_may_hold_the_units(write: Write) -> None:
    rows = "".join(f"'0:{i / 125:06.3f}','{v}'\n" for i, v in enumerate(wave(500)))
    recording = read(write("'Elapsed time','ABP'\n'seconds','mmHg'\n" + rows))
    assert recording.channel("ART").unit == "mmHg"
    assert recording.channel("ART").fs == 125
    np.testing.assert_allclose(recording.values("ART"), wave(500), rtol=1e-6)


def test_an_unknown_unit_is_told_and_left_out(write: Write) -> None:
    (channel,) = read(write("ABP [furlong]\n80\n81\n"), fs=125).channels
    assert channel.unit is None
    assert "the unit 'furlong' in the file is not known and was left out" in channel.findings


def test_a_missing_unit_is_refused_with_the_option(write: Write, refused: Any) -> None:
    path = write(table(np.arange(500) / 125, wave(500), "time,ABP"))
    error = refused(require_pressure_unit, read(path), "ART")
    assert (error.code, error.hint) == ("unit-missing", "--unit ART=mmHg")
    assert require_pressure_unit(read(path, units={"ART": "kPa"}), "ART").source_unit == "kPa"


def test_columns_without_names_are_refused_with_the_options(write: Write, refused: Any) -> None:
    path = write("".join(f"{i},0,{v},1\n" for i, v in enumerate(wave(500))))
    recording = read(path, fs=125)
    assert [(c.name, c.role) for c in recording.channels] == [(f"col {k}", None) for k in (1, 2, 3, 4)]
    error = refused(recording.channel, "ART")
    assert (error.code, error.hint) == ("unnamed-channels", '--channel "col 3=ART" --unit ART=mmHg')
    assert refused(read, path, fs=125, units={"ART": "mmHg"}).code == "unnamed-channels"
    named = read(path, fs=125, roles={"col 3": "ART"}, units={"ART": "mmHg"})
    np.testing.assert_allclose(named.values("ART"), wave(500), rtol=1e-6)


def test_a_single_column_is_hinted_at_by_its_own_name(write: Write, refused: Any) -> None:
    error = refused(read(write("80\n81\n82\n"), fs=125).channel, "ART")
    assert error.hint == '--channel "col 1=ART" --unit ART=mmHg'


def test_two_candidates_are_refused_until_one_is_chosen(write: Write, refused: Any) -> None:
    path = write("ABP [mmHg],ART [mmHg]\n80,90\n81,91\n")
    assert refused(read(path, fs=1).channel, "ART").hint == '--channel "ABP=ART"'
    assert read(path, fs=1, roles={"ART": "ART"}).channel("ART").name == "ART"


# Rates


def test_no_rate_requires_the_option(write: Write, refused: Any) -> None:
    path = write("ABP_mmHg\n" + "".join(f"{v}\n" for v in wave()))
    error = refused(read, path)
    assert (error.code, error.hint) == ("no-rate", "--fs HZ, for example --fs 125")
    assert read(path, fs=125).duration_s == 8.0


@pytest.mark.parametrize("fs", [0, -125.0, float("nan"), float("inf")])
def test_an_impossible_rate_is_a_wrong_argument(write: Write, fs: float) -> None:
    with pytest.raises(ValueError, match="positive sampling rate"):
        read(write("ABP\n1\n2\n"), fs=fs)


@pytest.mark.parametrize(
    "text", ["# fs = 250 Hz\nABP [mmHg]\n80\n81\n", "Sampling Freq,ABP [mmHg]\n250,80\n,81\n,82\n,83\n"]
)
def test_a_stated_rate_is_taken(write: Write, refused: Any, text: str) -> None:
    assert read(write(text)).channel("ART").fs == 250
    assert refused(read, write(text), fs=125).code == "bad-rate"


@pytest.mark.parametrize(
    ("head", "scale"),
    [("time [s]", 1), ("t", 1), ("seconds", 1), ("Time (ms)", 1000), ("time_ms", 1000), ("ms", 1000), ("Timestamp", 1)],
)
def test_time_columns_are_known_by_name_and_unit(write: Write, head: str, scale: float) -> None:
    stamps = (5.0 + np.arange(500) / 125) * scale
    channel = read(write(table(stamps, wave(500), f"{head},ABP [mmHg]"))).channel("ART")
    assert (channel.fs, channel.start_s, channel.n_samples) == (125.0, 0.0, 500)


def test_a_time_column_may_be_named_by_the_user(write: Write) -> None:
    path = write("".join(f"{i / 125:.3f},{v}\n" for i, v in enumerate(wave(500))))
    recording = read(path, roles={"col 1": "TIME", "col 2": "ART"})
    assert recording.channel("ART").fs == 125.0
    assert len(recording.channels) == 1


@pytest.mark.parametrize("stamp", ["2024-02-29 23:59:58.{:03d}", "23:59:58.{:03d}", "2024/02/29T23:59:58.{:03d}Z"])
def test_clock_times_give_the_rate(write: Write, stamp: str) -> None:
    rows = "".join(f"{stamp.format(i * 8)},{v}\n" for i, v in enumerate(wave(100)))
    channel = read(write("timestamp,ABP [mmHg]\n" + rows)).channel("ART")
    assert channel.fs == 125.0


def test_midnight_does_not_go_back(write: Write) -> None:
    seconds = 86399.0 + np.arange(0, 2, 0.008)
    stamps = [f"{int(s // 3600) % 24:02d}:{int(s // 60) % 60:02d}:{s % 60:06.3f}" for s in seconds]
    rows = "".join(f"{t},{v}\n" for t, v in zip(stamps, wave(len(stamps)), strict=True))
    recording = read(write("time,ABP [mmHg]\n" + rows))
    assert recording.channel("ART").fs == 125.0
    assert recording.duration_s == 2.0


def test_time_without_unit_is_seconds_only_if_that_can_be(write: Write, refused: Any) -> None:
    path = write(table(np.arange(500) * 8.0, wave(500), "time,ABP [mmHg]"))
    error = refused(read, path)
    assert (error.code, error.hint) == ("time-stamps", "name the unit in the header: `time [ms]`")


def test_a_rate_against_the_time_column_is_refused(write: Write, refused: Any) -> None:
    error = refused(read, write(table(np.arange(500) / 125, wave(500))), fs=250)
    assert error.code == "bad-rate"
    assert "--fs says 250 Hz, the time column 125 Hz" in error.message


# Uneven time


@pytest.mark.parametrize("jitter", [0.0, 0.001, 0.004])
def test_jitter_under_one_percent_is_put_on_an_even_grid(write: Write, jitter: float) -> None:
    rng = np.random.default_rng(1)
    stamps = (np.arange(2000) + rng.uniform(-jitter, jitter, 2000)) / 125
    recording = read(write(table(stamps, wave(2000), digits=9)))
    assert recording.channel("ART").fs == pytest.approx(125.0, rel=1e-5)
    # values move by at most a hundredth of the largest step
    assert np.abs(recording.values("ART") - wave(2000)).max() <= 0.011 * np.abs(np.diff(wave(2000))).max()
    assert any("uneven" in finding for finding in recording.findings) == (jitter > 0)


def test_slowly_varying_clocks_are_resampled(write: Write) -> None:
    n = 4000
    stamps = np.cumsum(1 + 0.008 * np.sin(np.arange(n) / 300)) / 125  # each step within .8 %, in all by 2 samples
    true = 90 + 30 * np.sin(2 * np.pi * 1.2 * stamps)
    recording = read(write(table(stamps, true, digits=9)))
    times = recording.times("ART") + stamps[0]
    # linear interpolation of a 1.2 Hz sine at 125 Hz: error below (2 pi 1.2/125)^2/8 of its amplitude
    np.testing.assert_allclose(recording.values("ART"), 90 + 30 * np.sin(2 * np.pi * 1.2 * times), atol=0.02)


def test_jitter_beyond_one_percent_is_refused_with_the_worst_gap(write: Write, refused: Any) -> None:
    stamps = np.arange(1000) / 125
    stamps[500:] += 0.3 / 125
    error = refused(read, write(table(stamps, wave())))
    assert error.code == "time-stamps"
    assert error.at_s == pytest.approx(499 / 125)
    assert "The worst is 0.0104 s after line 501, where 0.008" in error.message


def test_rows_missing_from_an_even_grid_are_missing_samples(write: Write) -> None:
    keep = np.ones(1000, dtype=bool)
    keep[200:300] = keep[700] = False
    recording = read(write(table(np.arange(1000)[keep] / 125, wave()[keep])))
    values = recording.values("ART")
    assert np.flatnonzero(np.isnan(values)).tolist() == [*range(200, 300), 700]
    np.testing.assert_allclose(values[keep], wave()[keep], rtol=1e-6)
    assert any("101 samples are missing" in f and "0.808 s at 1.592 s" in f for f in recording.findings)


@pytest.mark.parametrize("fs", [300.0, 240.0, 62.4725, 124.945])
def test_stamps_rounded_to_milliseconds_are_even(write: Write, fs: float) -> None:
    recording = read(write(table(np.arange(2000) / fs, wave(2000), digits=3)))
    assert recording.channel("ART").fs == pytest.approx(fs, rel=1e-5)
    np.testing.assert_allclose(recording.values("ART"), wave(2000), rtol=1e-6)


def test_stamps_of_five_digits_need_a_stated_rate(write: Write, refused: Any) -> None:
    stamps = np.array([float(f"{i / 125:.5g}") for i in range(14000)])
    path = write(table(stamps, wave(14000), digits=3))
    error = refused(read, path)
    assert error.code == "time-stamps"
    assert "it repeats in line 125" in error.message
    recording = read(path, fs=125)
    assert recording.channel("ART").n_samples == 14000
    assert "rounded, to 0.01 s at worst" in recording.findings[0]
    assert refused(read, path, fs=124).code == "time-stamps"


def test_duplicate_rows_are_dropped_if_few_and_refused_if_many(write: Write, refused: Any) -> None:
    index = np.sort(np.r_[np.arange(1000), [100, 500]])
    recording = read(write(table(index / 125, wave()[index])))
    np.testing.assert_allclose(recording.values("ART"), wave(), rtol=1e-6)
    assert "2 repeated rows were dropped" in recording.findings
    twice = np.repeat(np.arange(500), 2)
    assert refused(read, write(table(twice / 125, wave()[twice]))).code == "time-stamps"


def test_time_that_repeats_with_other_values_or_goes_back_is_refused(write: Write, refused: Any) -> None:
    stamps = np.arange(1000) / 125
    stamps[500] = stamps[499]
    error = refused(read, write(table(stamps, wave())))
    assert "it repeats in line 502" in error.message
    stamps[500] = stamps[100]
    assert "it goes back in line 502" in refused(read, write(table(stamps, wave()))).message


def test_a_row_without_time_is_refused(write: Write, refused: Any) -> None:
    error = refused(read, write("time [s],ABP [mmHg]\n0,80\n,81\n0.016,82\n0.024,83\n"))
    assert "1 rows have no time, the first in line 3" in error.message


def test_an_empty_line_needs_a_time_column(write: Write, refused: Any) -> None:
    error = refused(read, write("ABP [mmHg]\n80\n\n82\n83\n"), fs=125)
    assert "line 3 is empty" in error.message
    assert read(write("ABP [mmHg]\n80\n81\n82\n\n\n"), fs=125).channel("ART").n_samples == 3
    rows = [f"{i / 125:.3f},{v}\n" for i, v in enumerate(wave(100))]
    rows[50] = "\n"
    assert np.isnan(read(write("time [s],ABP [mmHg]\n" + "".join(rows))).values("ART")[50])


# Delimiters, decimals, missing values


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", " ", " ; "])
def test_the_delimiter_is_found(write: Write, delimiter: str) -> None:
    rows = "".join(f"{i / 125:.3f}{delimiter}{v}{delimiter}{i}\n" for i, v in enumerate(wave(300)))
    recording = read(write(delimiter.join(["time_s", "ABP_mmHg", "n"]) + "\n" + rows))
    assert recording.channel("ART").fs == 125.0
    np.testing.assert_allclose(recording.values("ART"), wave(300), rtol=1e-6)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_decimal_commas_are_read(write: Write, delimiter: str) -> None:
    rows = "".join(f"{i / 125:.3f}{delimiter}{v}\n".replace(".", ",") for i, v in enumerate(wave(300)))
    recording = read(write(f"time [s]{delimiter}ABP [mmHg]\n" + rows))
    assert recording.channel("ART").fs == 125.0
    np.testing.assert_allclose(recording.values("ART"), wave(300), rtol=1e-6)


def test_a_comma_that_could_be_either_is_refused(write: Write, refused: Any) -> None:
    error = refused(read, write("ABP [mmHg]\n80,5\n81,5\n82,0\n"), fs=125)
    assert error.code == "layout"
    assert "two columns, or a decimal comma" in error.message


@pytest.mark.parametrize("missing", ["", "NA", "nan", "NaN", "null", "-", "--", "N/A", " ", '""'])
def test_missing_values_are_missing(write: Write, missing: str) -> None:
    rows = [f"{i / 125:.3f},{v},{v}\n" for i, v in enumerate(wave(300))]
    rows[50] = f"{50 / 125:.3f},{missing},1\n"
    values = read(write("time [s],ABP [mmHg],PLETH\n" + "".join(rows))).values("ART")
    assert np.flatnonzero(np.isnan(values)).tolist() == [50]


def test_a_channel_that_begins_with_a_long_gap_is_kept(write: Write) -> None:
    rows = "".join(f"{i / 125:.3f},{v if i >= 400 else ''},1\n" for i, v in enumerate(wave()))
    recording = read(write("time [s],ABP [mmHg],x\n" + rows))
    assert missing_share(recording, "ART") == pytest.approx(0.4)
    np.testing.assert_allclose(recording.values("ART")[400:], wave()[400:], rtol=1e-6)


def test_text_columns_are_left_out_and_told(write: Write) -> None:
    recording = read(write("ABP [mmHg],note\n80,start\n81,\n82,cough\n"), fs=125)
    assert [c.name for c in recording.channels] == ["ABP"]
    assert recording.findings == ("column 'note' holds text; left out",)


def test_a_byte_order_mark_and_windows_lines_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("\ufefftime [s],ABP [mmHg]\r\n0.0,80\r\n0.1,81\r\n0.2,82\r\n".encode())
    assert read(path).channel("ART").fs == 10.0


# Damage


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("ABP [mmHg]\n80\noops\n82\n83\n", "corrupt", "expected a number in line 3, column 1, got 'oops'"),
        ("time [s],ABP [mmHg]\n0,80\n0.1,81,7\n0.2,82\n", "corrupt", "expected 2 columns, line 3 has 3"),
        ("time [s],ABP [mmHg]\n0,80\n0.1,81\n0.2,82\n0.3", "truncated", "expected 2 columns, line 5 has 1"),
        ("a,b,c\n1,2\n3,4\n5,6\n", "layout", "the header in line 1 names 3 columns, line 2 has 2"),
        ("ABP [mmHg]\n", "empty", "expected rows of numbers under the header"),
        ("# nothing\n\n", "empty", "the file holds no table"),
        ("hello world\nthis is prose\nof some length\n", "layout", "expected a table of numbers"),
        ("time [furlong],ABP\n0,1\n1,2\n2,3\n", "unknown-unit", "the unit 'furlong' of the time column"),
        ("time [mV],ABP\n0,1\n1,2\n2,3\n", "unknown-unit", "expected a unit of time, got 'mV'"),
        ("time [s]\n0\n0.1\n0.2\n", "no-data", "expected at least one column of numbers beside the time"),
    ],
)
def test_damage_is_refused_with_its_line(write: Write, refused: Any, text: str, code: str, message: str) -> None:
    error = refused(read, write(text), fs=10)
    assert error.code == code
    assert message in error.message
    assert error.message.startswith("a.csv")


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path, refused: Any) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("ABP [mmHg],Größe\n80,1\n".encode("latin-1"))
    error = refused(read, path, fs=125)
    assert (error.code, error.hint) == ("encoding", "save the table as UTF-8")
    assert "byte 0xf6 in line 1" in error.message


def test_rows_of_a_second_each_are_one_channel(write: Write, refused: Any) -> None:
    def rows(seconds: list[int], width: int = 128) -> str:
        return "".join(
            f"2004-09-15 08:12:{s:02d}," + ",".join(str(400 + s) for _ in range(width)) + "\n" for s in seconds
        )

    recording = read(write(rows(list(range(20)))))
    assert [(c.name, c.fs, c.n_samples, c.unit) for c in recording.channels] == [("col 2", 128.0, 2560, None)]
    assert np.isnan(read(write(rows([0, 1, 2, 5, 6]))).values("col 2", 3.0, 5.0)).all()
    error = refused(read, write(rows([0, 1, 2, 2, 3])))
    assert error.code == "time-stamps"
    assert "after row 3 it rises by 0 s" in error.message
    assert refused(read, write(rows([0, 1, 2]) + rows([3], 60))).code == "truncated"
    assert refused(read, write(rows([0, 1]) + rows([2, 3], 60) + rows([4]))).code == "layout"
    torn = read(write(rows(list(range(11))) + rows([11], 127) + rows(list(range(12, 30)))))
    assert np.isnan(torn.values("col 2", 11.0, 12.0)).all()
    assert "1 rows hold another number of samples and count as missing" in torn.channels[0].findings


SECOND = ",".join(f"{80 + i % 20}" for i in range(125))


@pytest.mark.parametrize(
    ("head", "stamps"),
    [
        ("", ["23:59:58", "23:59:59", "00:00:00", "00:00:01"]),
        ("", [f"2004-09-15T08:12:3{k}+02:00" for k in range(4)]),
        ("time,ABP [mmHg]\n", [f"2004-09-15 08:12:3{k}" for k in range(4)]),
        ("time [s],ABP [mmHg]\n", ["0", "1", "2", "3"]),
        ("time [ms],ABP [mmHg]\n", ["1000", "2000", "3000", "4000"]),
    ],
)
def test_a_second_a_row_is_told_by_its_stamps_and_its_header(write: Write, head: str, stamps: list[str]) -> None:
    recording = read(write(head + "".join(f"{stamp},{SECOND}\n" for stamp in stamps)))
    name, unit = ("ABP", "mmHg") if head else ("col 2", None)
    assert [(c.name, c.unit, c.fs, c.n_samples) for c in recording.channels] == [(name, unit, 125.0, 500)]


@pytest.mark.parametrize(
    ("stamps", "code", "said"),
    [
        ([f"03/04/2004 08:12:3{k}" for k in range(4)], "time-stamps", "may be read in two ways"),
        (["0", "1", "2", "3"], "no-rate", "the header `time [s],ABP [mmHg]` above it"),
    ],
)
def test_a_second_a_row_of_an_uncertain_time_is_refused(
    write: Write, refused: Any, stamps: list[str], code: str, said: str
) -> None:
    error = refused(read, write("".join(f"{stamp},{SECOND}\n" for stamp in stamps)))
    assert error.code == code and said in str(error)


# Round trip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_written_is_read(write: Write, data: st.DataObject) -> None:
    fs = data.draw(st.sampled_from([50.0, 60.0, 100.0, 125.0, 124.945, 240.0, 500.0]))
    n, width = data.draw(st.integers(3, 60)), data.draw(st.integers(1, 4))
    cell = st.one_of(st.floats(-1e4, 1e4, width=32), st.just(float("nan")))
    rows = data.draw(st.lists(st.lists(cell, min_size=width, max_size=width), min_size=n, max_size=n))
    values = np.array(rows)
    values[0] = 1.0  # a column without any number is no channel
    values[1] = 2.0
    delimiter = data.draw(st.sampled_from([",", ";", "\t"]))
    comma = delimiter != "," and data.draw(st.booleans())
    timed = data.draw(st.booleans())
    blank = data.draw(st.sampled_from(["", "NA", "nan"]))
    lines = [delimiter.join([*(["time [s]"] if timed else []), *(f"CH{k} [mV]" for k in range(width))])]
    for index, row in enumerate(values):
        cells = [*([f"{index / fs:.9f}"] if timed else []), *(blank if np.isnan(v) else repr(float(v)) for v in row)]
        if width == 1 and not timed and cells == [""]:
            cells = ["nan"]  # an empty line is no row
        lines.append(delimiter.join(text.replace(".", ",") if comma else text for text in cells))
    if width == 1 and not timed and comma:
        return  # one column of decimal commas is ambiguous and has a test of its own
    recording = read(write("\n".join(lines) + "\n"), fs=None if timed else fs)
    assert len(recording.channels) == width
    for index, channel in enumerate(recording.channels):
        assert channel.fs == pytest.approx(fs, rel=1e-4)
        assert channel.unit == "mV"
        np.testing.assert_allclose(recording.values(channel.name), values[:, index].astype(np.float32), rtol=1e-6)


# Real files


def test_the_short_pressures_read_with_their_options(real_data: Path, refused: Any) -> None:
    folder = real_data / "abp_short"
    first = read(folder / "cardiovascularmodels_abp_30s_125Hz.csv", units={"ART": "mmHg"})
    assert (require_pressure_unit(first, "ART").fs, first.duration_s) == (125.0, 30.0)
    second = folder / "waveformtools_abp_40s_125Hz.csv"
    assert refused(read, second).hint == "--fs HZ, for example --fs 125"
    assert require_pressure_unit(read(second, fs=125), "ART").n_samples == 5000
    assert read(second, fs=125).duration_s == 40.0


def test_the_bidmc_table_takes_the_rate_it_states(real_data: Path) -> None:
    recording = read(real_data / "bidmc" / "bidmc_01_Signals.csv")
    assert {c.fs for c in recording.channels} == {125.0}
    raw = np.genfromtxt(real_data / "bidmc" / "bidmc_01_Signals.csv", delimiter=",", skip_header=1)
    np.testing.assert_allclose(recording.values("PLETH"), raw[:, 3], rtol=1e-6)


def test_reading_a_table_imports_no_pandas(tmp_path: Path) -> None:
    import subprocess
    import sys

    path = tmp_path / "a.csv"
    path.write_text("ABP [mmHg]\n1\n2\n")
    code = (
        f"import sys; from pulsebayes.waveforms import read; read({str(path)!r}, fs=125).values('ART');"
        "print(*{m.split('.')[0] for m in sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pandas", "wfdb", "xarray", "scipy", "torch", "jax"} & set(loaded)


def test_recordings_of_tables_are_equal_in_shape_to_arrays(write: Write) -> None:
    recording = read(write("ABP [mmHg]\n80\n81\n"), fs=125)
    assert isinstance(recording, Recording)
    assert recording.name == "a.csv"


def test_error_messages_name_no_folder(write: Write, tmp_path: Path, refused: Callable[..., RecordingError]) -> None:
    assert str(tmp_path) not in str(refused(read, write("ABP\n1\nx\n2\n3\n"), fs=1))
