r"""The house stays as docs/architecture.md draws it: packages, floors, sizes, paths, weights."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = {"waveforms": 1, "simulators": 2, "inference": 3, "calibration": 4, "apps": 5}
NEVER = {
    "waveforms": {"torch", "zuko", "sbi", "jax", "diffrax"},
    "simulators": {"torch", "zuko", "sbi"},
    "inference": {"typer", "streamlit"},
    "calibration": {"typer", "streamlit"},
}
ENTRY = ROOT / "apps" / "dashboard" / "entry" / "app.py"  # Streamlit's entry script cannot import relatively
LONGEST_FILE = 500
LONGEST_FUNCTION = 40
MODULES = sorted(p for folder in FLOORS for p in (ROOT / folder).rglob("*.py"))


def tracked_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("pulsebayes", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def imports(path: Path) -> list[tuple[int, str, int]]:
    r"""Every import of a file as (level, absolute name, line)."""
    package = dotted(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found: list[tuple[int, str, int]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(0, alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            found.append((node.level, ".".join([*base, *filter(None, [node.module])]), node.lineno))
    return found


def test_packages_in_pyproject_are_the_folders() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = {dotted(p) for p in MODULES if p.name == "__init__.py"} | {"pulsebayes"}
    assert set(settings["tool"]["setuptools"]["packages"]) == folders
    strays = {p.parent for p in MODULES} - {p.parent for p in MODULES if p.name == "__init__.py"}
    assert not strays, "folders with modules but without an __init__.py are absent from the wheel"


def test_every_data_file_of_a_package_is_in_the_wheel() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    shipped = set()
    for package, patterns in settings["package-data"].items():
        folder = ROOT.joinpath(*package.split(".")[1:])
        shipped |= {path for pattern in patterns for path in folder.glob(pattern)}
    data = {p for p in tracked_files() if p.suffix != ".py" and p.relative_to(ROOT).parts[0] in FLOORS}
    assert data <= shipped


def test_the_root_holds_one_python_file() -> None:
    assert [p.name for p in ROOT.glob("*.py")] == ["__init__.py"]


def test_imports_of_ours_are_relative_and_point_down() -> None:
    wrong = []
    for path in MODULES:
        floor = FLOORS[path.relative_to(ROOT).parts[0]]
        for level, name, line in imports(path):
            ours = name.split(".")[0] == "pulsebayes"
            top = name.split(".")[1] if ours and "." in name else ""
            if ours and path != ENTRY and (level == 0 or FLOORS.get(top, 0) > floor):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong


def test_no_floor_imports_what_it_must_never_know() -> None:
    wrong = []
    for path in MODULES:
        never = NEVER.get(path.relative_to(ROOT).parts[0], set())
        wrong += [
            f"{path.relative_to(ROOT)}:{line} {name}" for _, name, line in imports(path) if name.split(".")[0] in never
        ]
    assert not wrong


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]


def test_files_and_functions_are_short() -> None:
    long = []
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        if text.count("\n") >= LONGEST_FILE:
            long.append(f"{path.relative_to(ROOT)} has {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and body_lines(node) > LONGEST_FUNCTION:
                long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {body_lines(node)} lines")
    assert not long


def test_no_assert_in_the_library() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assert)
    ]
    assert not wrong


def test_no_tracked_file_names_a_machine() -> None:
    # Built from pieces, so that this file does not match itself.
    folders = "|".join(["work", "root", "home", "Users"])
    hosts = "|".join([r"pypi\." + "org", "pythonhosted" + r"\.org", r"registry\." + "npmjs", r"deb\." + "debian"])
    pattern = re.compile(rf"(?<![\w.~\-:/*])/(?:{folders})/\w|{hosts}")
    wrong = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        wrong += [f"{path.relative_to(ROOT)}: {match.group()}" for match in pattern.finditer(text)]
    assert not wrong


def test_weights_stay_under_sixty_megabytes() -> None:
    weights = [p for p in tracked_files() if p.suffix == ".safetensors"]
    assert sum(p.stat().st_size for p in weights) < 60e6


def test_no_pickle_is_tracked() -> None:
    assert not [p for p in tracked_files() if p.suffix in {".pkl", ".pickle", ".pt", ".pth", ".joblib"}]
