"""The same recording, ABP and PLETH at 125 Hz, written in every format that is read, each by its usual writer."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

FS = 125.0


def waves(seconds: float = 10.0) -> dict[str, np.ndarray]:
    """A pressure on a grid of 0.25 mmHg and an oximetry wave on a grid of 1/256."""
    phase = (np.arange(round(seconds * FS)) / FS) % 0.8
    pulse = np.exp(-phase / 0.3) * np.minimum(phase / 0.1, 1)
    return {"ABP": np.rint((70 + 60 * pulse) * 4) / 4, "PLETH": np.rint(pulse * 256) / 256}


def _csv(path: Path, held: dict[str, np.ndarray]) -> Path:
    rows = "".join(f"{i / FS:.3f},{a:.2f},{p:.8f}\n" for i, (a, p) in enumerate(zip(*held.values(), strict=True)))
    path.write_text("time [s],ABP [mmHg],PLETH\n" + rows)
    return path


def _seconds(path: Path, held: dict[str, np.ndarray]) -> Path:
    rows = held["ABP"].reshape(-1, 125)
    path.write_text("".join(f"12:59:{k + 30},{','.join(f'{v:.2f}' for v in row)}\n" for k, row in enumerate(rows)))
    return path


def _labchart(path: Path, held: dict[str, np.ndarray]) -> Path:
    head = "Interval=\t0.008 s\nExcelDateTime=\t4.0e4\t01/01/2009\nChannelTitle=\tABP\tPLETH\nRange=\t300 mmHg\t10 NU\n"
    rows = "".join(f"{i / FS:.3f}\t{a:.2f}\t{p:.8f}\n" for i, (a, p) in enumerate(zip(*held.values(), strict=True)))
    path.write_text(head + rows)
    return path


def _wfdb(path: Path, held: dict[str, np.ndarray]) -> Path:
    import wfdb

    wfdb.wrsamp(
        path.stem, FS, ["mmHg", "NU"], list(held), p_signal=np.column_stack(list(held.values())), fmt=["16", "16"],
        adc_gain=[4.0, 256.0], baseline=[0, 0], write_dir=str(path.parent),
    )  # fmt: skip
    return path


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<I", len(raw)) + raw


def _packet(kind: int, data: bytes) -> bytes:
    return struct.pack("<BI", kind, len(data)) + data


def _vital(path: Path, held: dict[str, np.ndarray]) -> Path:
    body = bytearray(b"VITA") + struct.pack("<IH", 3, 10) + bytes(10)
    for number, (name, wave) in enumerate(held.items(), 1):
        unit = "mmHg" if name == "ABP" else ""
        data = struct.pack("<HBB", number, 1, 1) + _text(name) + _text(unit)
        body += _packet(0, data + struct.pack("<ffIfddBI", 0, 200, 0, FS, 1.0, 0.0, 0, 0))
        for first in range(0, len(wave), 125):
            part = wave[first : first + 125].astype("<f4")
            stamp = 1.5e9 + first / FS
            body += _packet(1, struct.pack("<HdHI", 10, stamp, number, len(part)) + part.tobytes())
    path.write_bytes(gzip.compress(body, 1))
    return path


def _edf(path: Path, held: dict[str, np.ndarray]) -> Path:
    import pyedflib

    bdf = path.suffix == ".bdf"
    kind = pyedflib.FILETYPE_BDFPLUS if bdf else pyedflib.FILETYPE_EDFPLUS
    top = (1 << 23) - 1 if bdf else 32767
    with pyedflib.EdfWriter(str(path), len(held), file_type=kind) as writer:
        for index, (name, step) in enumerate(zip(held, (0.25, 1 / 256), strict=True)):
            limit = step * 2**13
            writer.setSignalHeader(
                index,
                {
                    "label": name, "dimension": "mmHg" if name == "ABP" else "", "sample_frequency": FS,
                    "physical_min": -limit, "physical_max": limit, "digital_min": -(2**13), "digital_max": 2**13,
                    "transducer": "", "prefilter": "",
                },
            )  # fmt: skip
        assert top > 2**13
        writer.writeSamples(list(held.values()))
    return path


def _mat(compressed: bool) -> Callable[[Path, dict[str, np.ndarray]], Path]:
    def make(path: Path, held: dict[str, np.ndarray]) -> Path:
        from scipy.io import savemat

        savemat(path, {**held, "fs": FS, "note": "made"}, do_compression=compressed)
        return path

    return make


def _mat73(path: Path, held: dict[str, np.ndarray]) -> Path:
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        for name, wave in {**held, "fs": np.array([FS])}.items():
            made = file.create_dataset(name, data=wave[None, :] if wave.size > 1 else wave[None])
            made.attrs["MATLAB_class"] = np.bytes_("double")
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(124) + b"\x00\x02IM")
    return path


def _hdf5(path: Path, held: dict[str, np.ndarray]) -> Path:
    import h5py

    with h5py.File(path, "w") as file:
        group = file.create_group("waves")
        group.attrs["fs"] = FS
        for name, wave in held.items():
            made = group.create_dataset(name, data=wave, chunks=(500,), compression="gzip")
            made.attrs["units"] = "mmHg" if name == "ABP" else ""
    return path


def _netcdf4(path: Path, held: dict[str, np.ndarray]) -> Path:
    _dataset(held).to_netcdf(path, engine="h5netcdf")
    return path


def _netcdf3(path: Path, held: dict[str, np.ndarray]) -> Path:
    _dataset(held).to_netcdf(path, engine="scipy", format="NETCDF3_CLASSIC")
    return path


def _dataset(held: dict[str, np.ndarray]):
    import xarray as xr

    time = ("time", np.arange(len(held["ABP"])) / FS, {"units": "s"})
    units = {"ABP": {"units": "mmHg"}, "PLETH": {}}
    return xr.Dataset({k: ("time", v, units[k]) for k, v in held.items()}, {"time": time})


def _npz(compressed: bool) -> Callable[[Path, dict[str, np.ndarray]], Path]:
    def make(path: Path, held: dict[str, np.ndarray]) -> Path:
        (np.savez_compressed if compressed else np.savez)(path, fs=FS, **held)
        return path

    return make


def _npy(path: Path, held: dict[str, np.ndarray]) -> Path:
    np.save(path, held["ABP"])
    return path


def _parquet(path: Path, held: dict[str, np.ndarray]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    time = np.datetime64("2024-01-01T00:00:00", "ns") + (np.arange(len(held["ABP"])) * 8_000_000).astype("m8[ns]")
    table = pa.table({"time": time, "ABP [mmHg]": held["ABP"], "PLETH": held["PLETH"]})
    pq.write_table(table, path, row_group_size=400, write_page_checksum=True)
    return path


def _zarr(path: Path, held: dict[str, np.ndarray]) -> Path:
    import zarr

    group = zarr.open_group(str(path), mode="w")
    group.attrs["fs"] = FS
    for name, wave in held.items():
        made = group.create_array(name, data=wave, chunks=(500,))
        made.attrs["units"] = "mmHg" if name == "ABP" else ""
    return path


# name: file name, maker, options of `read` that the format needs
MAKERS: dict[str, tuple[str, Callable[[Path, dict[str, np.ndarray]], Path], dict]] = {
    "csv": ("made.csv", _csv, {}),
    "csv, a second a row": ("ABP.csv", _seconds, {"units": {"ART": "mmHg"}}),
    "labchart": ("made.txt", _labchart, {}),
    "wfdb": ("made.hea", _wfdb, {}),
    "vital": ("made.vital", _vital, {}),
    "edf": ("made.edf", _edf, {}),
    "bdf": ("made.bdf", _edf, {}),
    "matlab 5": ("made5.mat", _mat(False), {"units": {"ART": "mmHg"}}),
    "matlab 5, packed": ("made5p.mat", _mat(True), {"units": {"ART": "mmHg"}}),
    "matlab 7.3": ("made73.mat", _mat73, {"units": {"ART": "mmHg"}}),
    "hdf5": ("made.h5", _hdf5, {}),
    "netcdf 4": ("made4.nc", _netcdf4, {}),
    "netcdf 3": ("made3.nc", _netcdf3, {}),
    "npz": ("made.npz", _npz(False), {"units": {"ART": "mmHg"}}),
    "npz, packed": ("madep.npz", _npz(True), {"units": {"ART": "mmHg"}}),
    "npy": ("ABP.npy", _npy, {"units": {"ART": "mmHg"}, "fs": FS}),
    "parquet": ("made.parquet", _parquet, {}),
    "zarr": ("made.zarr", _zarr, {}),
}
NEEDS = {"edf": "pyedflib", "bdf": "pyedflib", "parquet": "pyarrow"}


def make_file(name: str, folder: Path, seconds: float = 10.0) -> tuple[Path, dict]:
    """A file of the format, and the options to read it with."""
    file, maker, options = MAKERS[name]
    return maker(folder / file, waves(seconds)), options
