r"""Look through an HDF5 file in a process of its own: the library can loop or fall over on a damaged file.

Run as a script with the path of the file, its source given to `python -c`. Touches what the reader will touch: groups,
attributes, the index of all chunks, and the first and last values of every dataset. Ends with 0 if all went well, with
3 and a line of text if the library refused the file; anything else is a crash.
"""

from __future__ import annotations

import sys
from typing import Any

MOST_OBJECTS, DEEPEST, LARGEST = 4096, 8, 1 << 28


def look(group: Any, depth: int, seen: list[int]) -> None:
    """Touch everything below a group."""
    import h5py

    for name in group:
        seen[0] += 1
        if depth > DEEPEST or seen[0] > MOST_OBJECTS:
            raise ValueError(f"more than {MOST_OBJECTS} objects, or groups deeper than {DEEPEST}")
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
            continue
        item = group[name]
        dict(item.attrs)
        if isinstance(item, h5py.Group):
            look(item, depth + 1, seen)
        elif isinstance(item, h5py.Dataset):
            touch(item)


def touch(item: Any) -> None:
    """The chunk index, and the first and last values, of a dataset."""
    if item.external or item.is_virtual or item.shape is None or 0 in item.shape:
        return
    size = item.dtype.itemsize
    for n in item.chunks or ():
        size *= n
    if size > LARGEST:
        return  # the reader refuses it
    if item.chunks:
        item.id.get_num_chunks()
    if item.shape:
        for place in (0, -1):
            item[tuple(slice(0, 1) if place == 0 else slice(n - 1, n) for n in item.shape)]
    else:
        item[()]


def main(path: str) -> int:
    """Exit code for one file."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    except (ImportError, ValueError, OSError):
        pass
    import h5py

    try:
        with h5py.File(path, "r") as file:
            dict(file.attrs)
            look(file, 0, [0])
    except Exception as error:
        sys.stdout.write(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
