r"""Write docs/api.md, the index of public names by folder, from the docstrings; with --check, only compare."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path

PAGE = Path(__file__).with_name("api.md")
ROOT = PAGE.parents[1]
FLOORS = ("waveforms", "simulators", "inference", "calibration", "apps")
FOLDERS = [
    ".".join(p.parent.relative_to(ROOT).parts) for floor in FLOORS for p in sorted((ROOT / floor).rglob("__init__.py"))
]
HEAD = """# Public names

<!-- Written by docs/generate_api.py from the docstrings; do not edit. -->

Each folder loads a name on first use: `from pulsebayes.waveforms import read`. The docstring of each has its equations,
shapes, units, errors and an example that the tests run.
"""


def first_line(owner: object) -> str:
    r"""First sentence of a docstring; the kind of object where it has none of its own."""
    if isinstance(owner, type) or callable(owner):
        return re.sub(r"\[`(\w+)`\]\[[\w.]+\]", r"`\1`", (owner.__doc__ or "").strip().split("\n")[0]).replace(
            "|", r"\|"
        )
    return f"A constant ({type(owner).__name__})."


def page() -> str:
    r"""The whole page."""
    parts = [HEAD]
    for name in FOLDERS:
        folder = import_module(f"pulsebayes.{name}")
        if not folder.__all__:
            continue
        rows = [
            f"| `{public}` | `{folder._HOMES[public].lstrip('.')}` | {first_line(getattr(folder, public))} |"
            for public in folder.__all__
        ]
        title = f"\n## pulsebayes.{name}\n\n{(folder.__doc__ or '').strip()}\n\n"
        title += "| name | module | what it is |\n|---|---|---|\n"
        parts.append(title + "\n".join(rows) + "\n")
    return "".join(parts)


if __name__ == "__main__":
    text = page()
    if "--check" in sys.argv[1:]:
        sys.exit(0 if PAGE.read_text(encoding="utf-8") == text else "docs/api.md is old: run make docs")
    PAGE.write_text(text, encoding="utf-8")
