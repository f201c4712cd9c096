r"""How many rows at a time: what the memory of a device holds.

A processor solves rows in small blocks that stay in its caches, whatever the batch. A CUDA device solves a whole batch
at once, and the larger it is the better, until its memory is full.
"""

from __future__ import annotations

import subprocess

__all__ = ["batch_for_memory", "cuda_memory"]

SHARE = 0.6
"""Share of a device's memory that a batch may take: JAX reserves three quarters, and buffers are not packed tightly."""
MOST = 65_536
"""Most rows at a time."""


def batch_for_memory(memory_bytes: int, row_bytes: int, *, share: float = SHARE, most: int = MOST) -> int:
    r"""Returns the largest power of two of rows that fits.

    Arguments:
        memory_bytes: Memory of the device [B].
        row_bytes: Memory that a row takes while it is simulated [B].
        share: Share of the memory that may be taken.
        most: Most rows.

    Raises:
        ValueError: If a number is not positive, or not even one row fits.

    Example:
        >>> batch_for_memory(16 * 2**30, 4_000_000)  # 16 GiB
        2048
    """
    if memory_bytes <= 0 or row_bytes <= 0 or not 0 < share <= 1 or most < 1:
        raise ValueError(
            f"memory_bytes, row_bytes and most must be positive and share lie in (0, 1], got {memory_bytes}, "
            f"{row_bytes}, {most} and {share}"
        )
    rows = min(most, int(memory_bytes * share) // row_bytes)
    if rows < 1:
        raise ValueError(
            f"a row takes {row_bytes / 1e6:.1f} MB, more than {share:.0%} of {memory_bytes / 1e6:.1f} MB: simulate "
            "fewer sites or frequencies, or on the processor"
        )
    return 1 << (rows.bit_length() - 1)


def cuda_memory() -> int:
    r"""Returns the memory of the smallest CUDA device [B], as ``nvidia-smi`` tells it.

    Raises:
        ValueError: If there is none.

    Example:
        >>> cuda_memory()  # doctest: +SKIP
        150754820096
    """
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, check=True, timeout=60).stdout
        return min(int(line) for line in told.split("\n") if line.strip()) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise ValueError(
            "device 'cuda' needs a CUDA device, found none (nvidia-smi): leave out --device, or give --batch-size"
        ) from error
