r"""Samples that stay in their file: slices of arrays on disk, and a place for what a file holds packed.

Whatever a decoder throws while a stretch is read becomes a `RecordingError` with file, channel and second.
"""

from __future__ import annotations

import errno
import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Final, Protocol

import numpy as np
from jaxtyping import Float

from ..errors import RecordingError

__all__ = [
    "BLOCK",
    "MAX_UNPACKED",
    "Array",
    "Placed",
    "Sliced",
    "Spool",
    "column",
    "decoding",
    "finite",
    "refuse_absent",
    "unpack",
]

MAX_UNPACKED: Final = 1 << 31
"""Packed data that unpack to more than this are refused [bytes]: ten hours of five channels at 500 Hz take .7e9."""
BLOCK: Final = 1 << 20
_IN_MEMORY: Final = 1 << 24
_ABSENT: Final = frozenset({errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR})


class Array(Protocol):
    """What can be sliced like an array: NumPy, h5py, Zarr."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True)
class Sliced:
    """Source of a recording's values: one function of (first, stop) a channel, in the order of the channels."""

    file: str
    names: tuple[str, ...]
    rates: tuple[float, ...]
    readers: tuple[Callable[[int, int], Any], ...]

    def __call__(self, index: int, first: int, stop: int) -> Float[np.ndarray, " time"]:
        place = f"samples {first} to {stop}"
        with decoding(self.file, place, channel=self.names[index], at_s=first / self.rates[index]):
            values = finite(self.readers[index](first, stop))
            if len(values) != stop - first:
                raise ValueError(f"got {len(values)} samples")
            return values


@dataclass(frozen=True, eq=False)
class Placed:
    """Values held in memory, one array a channel."""

    waves: tuple[Float[np.ndarray, " _"], ...]

    def __call__(self, index: int, first: int, stop: int) -> Float[np.ndarray, " time"]:
        return self.waves[index][first:stop]


def finite(values: Any) -> Float[np.ndarray, " time"]:
    """Values as float32, with NaN for whatever is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        wave = np.array(values, dtype=np.float32)
    wave[~np.isfinite(wave)] = np.nan
    return wave


def column(data: Array, axis: int, index: int | None) -> Callable[[int, int], Any]:
    """A function of (first, stop) that reads along `axis`, at `index` of the other one where there are two."""
    shape = data.shape
    if index is None:
        others = [0 if k != axis else slice(None) for k in range(len(shape))]
    else:
        others = [index if k != axis and shape[k] > 1 else 0 if k != axis else slice(None) for k in range(len(shape))]

    def read(first: int, stop: int) -> Any:
        key = tuple(slice(first, stop) if k == axis else part for k, part in enumerate(others))
        return data[key]

    return read


@contextmanager
def decoding(
    file: str, what: str, *, channel: str | None = None, at_s: float | None = None, code: str = "corrupt"
) -> Iterator[None]:
    """Tell what a decoder throws as damage of the file."""
    try:
        yield
    except RecordingError:
        raise
    except Exception as error:  # decoders of other people throw anything at damaged bytes
        refuse_absent(error, file, channel=channel, at_s=at_s)
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise RecordingError(
            f"expected {what}, the file is damaged there ({type(error).__name__}: {text})",
            code=code,
            file=file,
            channel=channel,
            at_s=at_s,
            hint="copy or export the file again",
        ) from error


def refuse_absent(error: BaseException, file: str, *, channel: str | None = None, at_s: float | None = None) -> None:
    """Tell that a file is gone or must not be read: then it is not damaged, and its folder is nobody's business.

    Raises:
        RecordingError: If that is what the error says (`unreadable`).
    """
    if isinstance(error, OSError) and error.errno in _ABSENT:
        what = f"cannot be read ({error.strerror})"
        hint = "check that the file is there and may be read"
        raise RecordingError(what, code="unreadable", file=file, channel=channel, at_s=at_s, hint=hint) from error


def unpack(file: str, pieces: Iterator[bytes], wanted: int, what: str) -> np.ndarray:
    """Bytes unpacked piece by piece into memory, or into a nameless file where there are many; exactly `wanted`.

    Raises:
        RecordingError: If more or fewer bytes come than the file announces, or more than can be taken.
    """
    if wanted > MAX_UNPACKED:
        raise RecordingError(
            f"{what} unpacks to {wanted / 1e9:.3g} GB, at most {MAX_UNPACKED / 1e9:.3g} GB are read",
            code="too-large",
            file=file,
            hint="write the signals as float32 in several files, or not packed",
        )
    spool, total = Spool(file), 0
    for piece in pieces:
        total += len(piece)
        if total > wanted:
            break
        spool.write(piece)
    if total != wanted:
        raise RecordingError(
            f"{what} must unpack to {wanted} bytes, got {'more' if total > wanted else total}",
            code="corrupt" if total > wanted else "truncated",
            file=file,
            hint="copy or export the file again",
        )
    return spool.finish()


class Spool:
    """Bytes that come one after the other: in memory while they are few, then in a nameless file."""

    def __init__(self, file: str) -> None:
        self._file, self._size = file, 0
        self._stream: IO[bytes] = io.BytesIO()

    def write(self, piece: bytes) -> int:
        """Keep a piece, and say at which byte it begins."""
        if self._size <= _IN_MEMORY < self._size + len(piece):
            held = self._stream
            self._stream = tempfile.TemporaryFile()  # noqa: SIM115
            self._stream.write(held.getvalue() if isinstance(held, io.BytesIO) else b"")
        begin = self._size
        self._size += len(piece)
        if self._size > MAX_UNPACKED:
            raise RecordingError(
                f"the samples unpack to more than {MAX_UNPACKED / 1e9:.3g} GB", code="too-large", file=self._file
            )
        self._stream.write(piece)
        return begin

    def finish(self) -> np.ndarray:
        """All bytes, as an array that reads them from where they are."""
        if isinstance(self._stream, io.BytesIO):
            return np.frombuffer(self._stream.getvalue(), dtype=np.uint8)
        with self._stream as stream:
            stream.flush()
            return np.memmap(stream, dtype=np.uint8, mode="r", shape=(self._size,))
