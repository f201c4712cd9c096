"""Every reader on damaged files: a recording or a `RecordingError` with the file, never anything else.

`pytest -m slow tests/waveforms/readers/test_fuzz.py` damages each format five hundred times.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import random
import signal
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulsebayes.waveforms import RecordingError, read


def _load_makers() -> Any:
    spec = importlib.util.spec_from_file_location("file_makers", Path(__file__).parents[1] / "file_makers.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["file_makers"] = module
    spec.loader.exec_module(module)
    return module


MADE = _load_makers()
TEXT = ("csv", "csv, a second a row", "labchart")
PROBED = ("hdf5", "netcdf 4", "matlab 7.3")  # looked through by a process of its own: slower
LONGEST_S = 20


@contextmanager
def no_hang() -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError(f"not done after {LONGEST_S} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LONGEST_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(path: Path, options: dict) -> str:
    """`read`, or the code of the refusal; anything else escapes."""
    with no_hang():
        try:
            recording = read(path, **options)
            for channel in recording.channels:
                for start in np.arange(0.0, min(recording.duration_s, 40.0), 4.0):
                    wave = recording.values(channel.name, start, start + 4.0)
                    assert wave.dtype == np.float32
                    assert not np.isinf(wave).any()
        except RecordingError as error:
            named = bool(error.file) and str(error).startswith(error.file) and "Traceback" not in str(error)
            return error.code if named else f"without a place: {error}"
    return "read"


def parts(name: str, path: Path) -> list[Path]:
    """The files that one recording consists of."""
    if name == "wfdb":
        return [path.with_suffix(".dat"), path]
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Flipped, zeroed, doubled, removed, inserted or cut bytes, in the middle, at the head or at the tail."""
    data = bytearray(content)
    n = len(data)
    at = rng.choice([rng.randrange(n), rng.randrange(min(n, 600)), n - 1 - rng.randrange(min(n, 600))])
    width = rng.choice([1, 1, 2, 4, 8, 64])
    how = rng.choice(["flip", "flip", "zero", "ones", "double", "remove", "insert", "cut"])
    noise = bytes(rng.randrange(256) for _ in range(width))
    if how == "cut":
        return bytes(data[:at])
    if how == "insert":
        data[at:at] = noise
    elif how == "double":
        data[at:at] = data[at : at + 100]
    elif how == "remove":
        del data[at : at + width]
    else:
        data[at : at + width] = {"flip": noise, "zero": bytes(width), "ones": b"\xff" * width}[how]
    return bytes(data)


@pytest.fixture(params=list(MADE.MAKERS))
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, dict]:
    if request.param in MADE.NEEDS:
        pytest.importorskip(MADE.NEEDS[request.param])
    return (request.param, *MADE.make_file(request.param, tmp_path))


def test_files_cut_at_ten_places_are_refused(made: tuple[str, Path, dict]) -> None:
    name, path, options = made
    for part in parts(name, path):
        content = part.read_bytes()
        for tenth in range(10):
            part.write_bytes(content[: len(content) * tenth // 10 + (3 if tenth else 0)])
            found = outcome(path, options)
            if name in TEXT and found == "read":  # cut between two rows, or in a last number: then it is told
                notes = " ".join([*read(path, **options).findings, *read(path, **options).channels[0].findings])
                assert content[: part.stat().st_size].endswith(b"\n") or "line" in notes or "rows" in notes, notes
            elif part.suffix != ".json" and part.suffix != ".hea":
                assert found != "read", f"{part.name} cut after {tenth} tenths"
        part.write_bytes(content)


def _fuzz(name: str, path: Path, options: dict, seed: int) -> None:
    rng = random.Random(seed)
    part = rng.choice(parts(name, path))
    content = part.read_bytes()
    part.write_bytes(damaged(content, rng))
    try:
        assert not outcome(path, options).startswith("without")
    finally:
        part.write_bytes(content)


def test_damaged_files_are_read_or_refused(made: tuple[str, Path, dict]) -> None:
    name, path, options = made

    @settings(
        max_examples=8 if name in PROBED else 40, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.integers(0, 2**32))
    def every_damage(seed: int) -> None:
        _fuzz(name, path, options, seed)

    every_damage()


@pytest.mark.slow
def test_files_damaged_five_hundred_times_are_read_or_refused(made: tuple[str, Path, dict]) -> None:
    name, path, options = made
    for seed in range(500):
        _fuzz(name, path, options, seed)


@pytest.mark.parametrize("path", sorted((Path(__file__).parent / "corpus").iterdir()), ids=lambda p: p.name)
def test_inputs_that_once_failed_are_refused(path: Path) -> None:
    assert outcome(path, {}) == "corrupt"


def _edf_lies(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[236:244] = b"99999999"
    path.write_bytes(data)


def _wfdb_lies(path: Path) -> None:
    path.write_text(path.read_text().replace(" 1250", " 999999999", 1))


def _npy_lies(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"(1250,)", b"(9**9,)").replace(b"9**9", b"9999", 1))


def _mat_lies(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[132:136] = struct.pack("<I", 0xFFFFFFF0)
    path.write_bytes(data)


def _netcdf_lies(path: Path) -> None:
    data = bytearray(path.read_bytes())
    at = data.index(b"time") + 4
    data[at : at + 4] = struct.pack(">i", 2_000_000_000)
    path.write_bytes(data)


def _zarr_lies(path: Path) -> None:
    meta = path / "ABP" / "zarr.json"
    held = json.loads(meta.read_text())
    held["shape"] = [2**40]
    meta.write_text(json.dumps(held))
    root = json.loads((path / "zarr.json").read_text())
    root.pop("consolidated_metadata", None)
    (path / "zarr.json").write_text(json.dumps(root))


LIES: dict[str, Callable[[Path], None]] = {
    "edf": _edf_lies, "bdf": _edf_lies, "wfdb": _wfdb_lies, "npy": _npy_lies, "matlab 5": _mat_lies,
    "netcdf 3": _netcdf_lies, "zarr": _zarr_lies,
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_headers_that_lie_about_length_are_refused(tmp_path: Path, name: str) -> None:
    if name in MADE.NEEDS:
        pytest.importorskip(MADE.NEEDS[name])
    path, options = MADE.make_file(name, tmp_path)
    LIES[name](path)
    assert outcome(path, options) in ("truncated", "corrupt")


def _gzip_bomb(path: Path) -> None:
    """Two gigabytes of zeros under the sign of a Vital Recorder file."""
    zeros = gzip.compress(bytes(1 << 26), 9)
    head = b"VITA" + struct.pack("<IH", 3, 10) + bytes(10) + struct.pack("<BI", 10, 1 << 26)
    with path.open("wb") as stream:
        stream.write(gzip.compress(head))
        for _ in range(32):
            stream.write(zeros)


def _records_bomb(path: Path) -> None:
    """Four gigabytes of true records."""

    def text(value: str) -> bytes:
        return struct.pack("<I", len(value)) + value.encode()

    track = struct.pack("<HBB", 1, 1, 2) + text("ABP") + text("mmHg") + struct.pack("<ffIfdd", 0, 1, 0, 1e5, 1, 0)
    count = 1 << 22
    head = struct.pack("<HdHI", 10, 1.5e9, 1, count)
    record = gzip.compress(struct.pack("<BI", 1, len(head) + 8 * count) + head + bytes(8 * count), 9)
    with path.open("wb") as stream:
        stream.write(gzip.compress(b"VITA" + struct.pack("<IH", 3, 10) + bytes(10)))
        stream.write(gzip.compress(struct.pack("<BI", 0, len(track)) + track))
        for _ in range(128):
            stream.write(record)


def _zip_bomb(path: Path) -> None:
    """A member that unpacks to eight times what its array holds, and one that says it holds 80 GB."""
    head = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000,), }"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("ABP.npy", head.ljust(127) + b"\n" + bytes(1 << 24))


def _zlib_bomb(path: Path) -> None:
    """A MATLAB variable that announces four gigabytes."""
    packed = zlib.compress(struct.pack("<II", 14, 0xFFFFFFF0) + bytes(1 << 24), 9)
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x100) + b"IM"
    path.write_bytes(head + struct.pack("<II", 15, len(packed)) + packed)


def _line_bomb(path: Path) -> None:
    with path.open("wb") as stream:
        stream.write(b"ABP [mmHg],PLETH\n80,1\n81,2\n")
        for _ in range(64):
            stream.write(b"8" * (1 << 24))


def _chunk_bomb(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        made = file.create_dataset("ABP", shape=(1 << 33,), chunks=(1 << 28,), dtype="f4", compression="gzip")
        made.attrs["fs"] = 125.0


def _table_bomb(path: Path) -> None:
    """A row group of forty million equal rows."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    column = pa.table({"ABP": np.full(40_000_000, 80.0)})
    with pq.ParquetWriter(path, column.schema, compression="zstd") as writer:
        writer.write_table(column, row_group_size=40_000_000)


def _store_bomb(path: Path) -> None:
    import zarr

    made = zarr.open_group(str(path), mode="w").create_array("ABP", shape=(1 << 31,), chunks=(1 << 31,), dtype="f4")
    made.attrs.update({"fs": 1000.0, "units": "mmHg"})
    (path / "ABP" / "c").mkdir(exist_ok=True)
    (path / "ABP" / "c" / "0").write_bytes(bytes(4096))


BOMBS = {
    "a.vital": _gzip_bomb, "records.vital": _records_bomb, "a.npz": _zip_bomb, "a.mat": _zlib_bomb, "a.csv": _line_bomb,
    "a.h5": _chunk_bomb, "a.parquet": _table_bomb, "a.zarr": _store_bomb,
}  # fmt: skip
CHILD = """
import sys
from pathlib import Path
from pulsebayes.waveforms import RecordingError, read
try:
    print(read(sys.argv[1], units={"ART": "mmHg"}).duration_s)
except RecordingError as error:
    print(error.code)
# not ru_maxrss: a child begins with its parent's
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)
"""


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n == "records.vital" else ()) for n in BOMBS]
)
def test_bombs_stay_under_a_gigabyte(tmp_path: Path, name: str) -> None:
    BOMBS[name](tmp_path / name)
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path / name)], capture_output=True, text=True, timeout=60, check=True
    )
    code, megabytes = child.stdout.split()
    assert code in ("corrupt", "too-large", "layout", "truncated")
    assert 20 < int(megabytes) < 1024


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    st.lists(st.floats(width=32) | st.sampled_from([np.nan, np.inf, -np.inf, 1e38]), min_size=2, max_size=60),
    st.sampled_from([".csv", ".nc", ".hea", ".bdf"]),
)
def test_any_numbers_survive_or_are_missing(tmp_path_factory: Any, values: list[float], suffix: str) -> None:
    """NaN and infinities are missing samples; every other float32 comes back within the format's step."""
    from pulsebayes.waveforms import Recording
    from pulsebayes.waveforms.writers import compare, write

    wave = np.array(values, dtype=np.float32)
    wave[np.abs(wave) > 1e6] = np.inf
    wave[np.abs(wave) < 1e-3] = 0.0
    wave[~np.isfinite(wave)] = np.nan
    wave[[0, -1]] = 80.0  # a table column that holds one number, at its top, is a setting and no channel
    recording = Recording.from_arrays("made", {"ABP": wave}, fs=125, units={"ABP": "mmHg"})
    folder = tmp_path_factory.mktemp("numbers")
    paths = write(recording, folder / f"out{suffix}")
    found = compare(recording, [read(paths[0])])
    assert not [text for text in found.differences if "missing" in text]
    assert found.errors["ABP"] <= 1e-6 * max(found.spans["ABP"], 1e-30)


@settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=2, max_size=40), st.booleans(), st.integers(0, 9)
)
def test_any_times_are_even_or_refused(tmp_path_factory: Any, times: list[float], ordered: bool, copies: int) -> None:
    """Unsorted, duplicate, missing and uneven times: an even grid that keeps every value, or a refusal."""
    stamps = np.array(sorted(times) if ordered else times)
    stamps[: min(copies, len(stamps))] = stamps[0]
    path = tmp_path_factory.mktemp("times") / "a.npz"
    np.savez(path, time=stamps, ABP=np.arange(len(stamps), dtype=float))
    code = outcome(path, {"units": {"ART": "mmHg"}})
    if code == "read":
        assert np.isfinite(stamps).all()
        assert (np.diff(stamps) >= 0).all()
    else:
        assert code in ("time-stamps", "no-data", "bad-rate")


@pytest.mark.parametrize(("fs", "start_s"), [(1e-9, 0.0), (1e9, 0.0), (125.0, 1e9), (125.0, -5.0)])
def test_rates_and_starts_that_would_never_end_are_refused(tmp_path: Path, fs: float, start_s: float) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("ABP", data=np.full(1250, 80.0))
        made.attrs["fs"], made.attrs["start_s"] = fs, start_s
    assert outcome(tmp_path / "a.h5", {}) in ("bad-rate", "header")
