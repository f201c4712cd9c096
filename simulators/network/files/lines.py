r"""Faults of a network file, told with the line where they stand."""

from __future__ import annotations

import re

__all__ = ["LineMap", "NetworkFileError"]

_HEADER = re.compile(r"\s*(\[\[?)\s*([\w.-]+)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"\s*(?:([\w-]+)|\"([^\"]+)\")\s*=")


class NetworkFileError(ValueError):
    r"""A network file that cannot be used.

    Arguments:
        name: Name of the file.
        line: Line of the fault, 0 if it has none.
        message: What was expected and what is there.
        hint: What to try.

    Example:
        >>> str(NetworkFileError("a.toml", 3, "unknown key 'lenght_mm'", hint="length_mm"))
        "a.toml, line 3: unknown key 'lenght_mm'"
    """

    code = "network-file"

    def __init__(self, name: str, line: int, message: str, *, hint: str = "") -> None:
        super().__init__(f"{name}, line {line}: {message}" if line else f"{name}: {message}")
        self.line = line
        self.hint = hint


class LineMap:
    r"""Lines of the tables and keys of a TOML text.

    Arguments:
        text: The text, known to be valid TOML.

    Example:
        >>> lines = LineMap("name = 'a'\n[[vessel]]\nname = 'b'\n")
        >>> lines.find("vessel", 0, "name"), lines.find("", 0, "name")
        (3, 1)
    """

    def __init__(self, text: str) -> None:
        self._tables: dict[tuple[str, int], int] = {("", 0): 1}
        self._keys: dict[tuple[str, int, str], int] = {}
        counts: dict[str, int] = {}
        place = ("", 0)
        for number, line in enumerate(text.splitlines(), 1):
            header, key = _HEADER.match(line), _KEY.match(line)
            if header:
                name = header[2]
                place = (name, counts.get(name, 0))
                counts[name] = counts.get(name, 0) + 1
                self._tables.setdefault(place, number)
            elif key:
                self._keys.setdefault((*place, key[1] or key[2]), number)

    def find(self, table: str, entry: int, key: str = "") -> int:
        """Line of a key, or of its table's header where the key is not written.

        Arguments:
            table: Name of the table, empty for the top.
            entry: Number of the table among those of its name.
            key: Name of the key.

        Returns:
            Line, counted from 1.
        """
        return self._keys.get((table, entry, key), self._tables.get((table, entry), 0))
