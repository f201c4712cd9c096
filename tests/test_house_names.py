r"""Public names: lazy, resolvable, documented, with examples that run."""

from __future__ import annotations

import doctest
import inspect
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOPS = ("waveforms", "simulators", "inference", "calibration", "apps")


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("pulsebayes", *(parts[:-1] if parts[-1] == "__init__" else parts)))


FILES = sorted(p for top in TOPS for p in (ROOT / top).rglob("*.py"))
FOLDERS = [dotted(p) for p in FILES if p.name == "__init__.py"]
MODULES = [dotted(p) for p in FILES if p.name != "__init__.py"]


def loaded_after(code: str) -> set[str]:
    r"""The top-level modules that a fresh interpreter has loaded after running some code."""
    code += "\nimport sys; print('LOADED', *sorted({name.split('.')[0] for name in sys.modules}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.strip().splitlines()[-1].split()[1:])


def test_importing_any_folder_loads_no_heavy_library() -> None:
    loaded = loaded_after("\n".join(f"import {name}" for name in FOLDERS))
    assert not loaded & {"torch", "jax", "numpyro", "sbi", "zuko", "scipy", "pandas", "xarray", "numpy"}


def test_no_help_loads_a_numerical_library() -> None:
    code = (
        "import typer\nfrom pulsebayes.apps.cli.main import app, run\nimport sys\n"
        "def walk(words, command):\n"
        "    assert run([*words, '--help']) == 0, words\n"
        "    heavy = {'numpy', 'torch', 'jax', 'pandas', 'scipy', 'xarray', 'zarr', 'matplotlib'} & set(sys.modules)\n"
        "    assert not heavy, (words, heavy)\n"
        "    for name, child in getattr(command, 'commands', {}).items():\n"
        "        walk([*words, name], child)\n"
        "walk([], typer.main.get_command(app))"
    )
    assert "typer" in loaded_after(code)


@pytest.mark.parametrize("name", FOLDERS)
def test_folder_lists_its_names_sorted_and_they_resolve(name: str) -> None:
    folder = import_module(name)
    assert (folder.__doc__ or "").strip().endswith(".")
    assert list(folder.__all__) == sorted(folder.__all__)
    assert set(folder._HOMES) == set(folder.__all__)
    for public in folder.__all__:
        assert getattr(folder, public) is not None
        assert public in dir(folder)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = folder.no_such_name


def test_every_public_name_has_a_place_in_the_docs() -> None:
    text = "\n".join(p.read_text(encoding="utf-8") for p in sorted((ROOT / "docs").rglob("*.md")))
    missing = [f"{f}.{n}" for f in FOLDERS for n in import_module(f).__all__ if f"`{n}" not in text]
    assert not missing


@pytest.mark.parametrize("name", MODULES)
def test_every_public_object_has_an_example_and_it_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module(name)
    monkeypatch.chdir(tmp_path)
    if not name.rpartition(".")[2].startswith("_"):
        for public in getattr(module, "__all__", ()):
            member = getattr(module, public)
            if (inspect.isclass(member) or inspect.isfunction(member)) and member.__module__ == name:
                assert ">>> " in (member.__doc__ or ""), f"{public} has no Example"
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.testmod(module, optionflags=flags)
    assert result.failed == 0


def test_command_line_page_is_what_the_help_says() -> None:
    script = ROOT / "docs" / "generate_cli.py"
    result = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert result.returncode == 0, result.stderr
