r"""`pulsebayes recover`: what it prints, and what bad tables get."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pulsebayes.apps.cli.main import run
from pulsebayes.inference.symbolic.weights import find_symbolic_model

T = np.linspace(0.0, 8.0, 90)
CELLS = 4.0 / (1.0 + 3.0 * np.exp(-T))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "yeast.csv"
    rows = [f"{t:.4f},{x:.6f},{i}" for i, (t, x) in enumerate(zip(T, CELLS))]
    path.write_text("clock [h],cells [1/mL],row\n" + "\n".join(rows))
    return path


def test_json_holds_the_equations_in_the_names_of_the_file(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["recover", str(table), "--dims", "cells", "--time", "clock [h]", "--proposers", "weak", "--json", "-q"]
    assert run(line) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"candidates", "agreement", "verdict"}
    first = found["candidates"][0]
    assert set(first) == {"equations", "latex", "weight", "error_heldout", "length"}
    assert first["equations"] == ["dcells/dt = -0.25*cells**2 + cells"]
    assert first["latex"][0].startswith(r"\frac{d cells}{dt}")
    assert found["agreement"]["cells"]["cells**2"] > 0.4


def test_latex_is_printed_and_json_is_written(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "answer.json"
    line = ["recover", str(table), "--dims", "1", "--time", "clock", "--as", "latex", "--proposers", "weak"]
    assert run([*line, "--candidates", "1", "--out", str(out)]) == 0
    assert r"\frac{d cells}{dt}" in capsys.readouterr().out
    assert len(json.loads(out.read_text())["candidates"]) == 1
    assert run([*line, "--out", str(out)]) == 2
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("time,x\n0,1\n1,2\n", [], "at least 8 samples"),
        ("time,x\n" + "\n".join(f"{i},3" for i in range(20)), [], "constant at 3"),
        ("time,x\n" + "\n".join(f"{20 - i},{i}" for i in range(20)), [], "rising times"),
        ("time,x\n0,one\n", [], "line 2, column 'x': expected a number, got 'one'"),
        ("0,1\n1,2\n", [], "expected names of columns"),
        ("time,x\n0,1,2\n", [], "expected 2 cells, line 2"),
        ("time,x\n0,1\n", ["--dims", "y"], "no column 'y'"),
        ("time,x\n0,1\n", ["--dims", "3"], "--dims asks for 3 states"),
        ("time\n0\n", [], "got one column"),
        ("time,x\n0,1\n", [], "got 1 of 1"),
        ("time,x\n" + "\n".join(f"{i // 2},{i}" for i in range(20)), [], "got 0 twice, at samples 1 and 2"),
        ("time,x,y\n" + "\n".join(f"{i},{i},nan" for i in range(20)), [], "0 of 20 (state y has 0)"),
        (
            "time,x\n" + "\n".join(f"{i},{1e9 + i % 3}" for i in range(20)),
            [],
            "state x changes by 2 only, around 1e+09",
        ),
        ("time,x\n" + "\n".join(f"{i},{1e300 * i}" for i in range(20)), [], "state x reaches 1.9e+301: too large"),
        ("time,x\n" + "\n".join(f"{i},{1e7 if i == 9 else i}" for i in range(20)), [], "state x is 1e+07 at time 9"),
        ("time,x\n0,1\n", ["--dims", "time"], "'time' is the time column"),
        ("time,x\n0,1\n", ["--dims", "x,x"], "asked for twice"),
        ("time,x\n0,1\n", ["--dims", "x", "--inputs", "x"], "asked for twice"),
        ("time,x,x\n0,1,2\n", [], "more than one column is called 'x'"),
        ("time,x,x\n0,1,2\n", ["--dims", "x"], "more than one column is called 'x'"),
        ("", [], "a header and rows"),
    ],
)
def test_bad_tables_exit_three_with_the_place(
    text: str, options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    assert run(["recover", str(path), *options]) == 3
    assert message in capsys.readouterr().err


def test_units_tell_columns_of_one_name_apart_and_commas_may_be_decimal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "two.csv"
    rows = [f"{t:.4f};{x:.6f};{2.0 * x:.6f}".replace(".", ",") for t, x in zip(T, CELLS)]
    path.write_text("t;n [mg];n [mL]\n" + "\n".join(rows))
    assert run(["recover", str(path), "--proposers", "weak", "--json", "-q", "--candidates", "1"]) == 0
    assert set(json.loads(capsys.readouterr().out)["agreement"]) == {"n_mg", "n_mL"}


@pytest.mark.parametrize("proposers", ["oracle", ",", "weak,oracle"])
def test_unknown_proposers_are_a_usage_error(proposers: str, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recover", str(table), "--proposers", proposers]) == 2
    told = capsys.readouterr().err
    assert "--proposers must be some of weak, sindy, transformer, operon" in told
    assert "try:   here: --proposers weak" in told


def test_the_sentence_of_the_verdict_is_talk_under_json(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recover", str(table), "--dims", "cells", "--time", "clock", "--proposers", "weak", "--json"]) == 0
    seen = capsys.readouterr()
    assert json.loads(seen.out)["verdict"] in seen.err


def test_a_missing_file_exits_three(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recover", str(tmp_path / "none.csv")]) == 3
    assert "none.csv" in capsys.readouterr().err


def test_the_scalar_mode_has_weights_of_its_own(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["recover", str(table), "--time", "clock [h]", "--proposers", "transformer", "--model"]
    assert run([*line, "symbolic-scalar", "--dims", "cells", "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["candidates"][0]["equations"] == ["dcells/dt = -0.25*cells**2 + cells"]
    assert run([*line, "symbolic-scalar", "--dims", "cells,row"]) == 3
    assert "knows one state and no input, got 2 and 0; use symbolic-ode" in capsys.readouterr().err
    assert run([*line, "nowhere", "--dims", "cells"]) == 2
    assert "model must be one of" in capsys.readouterr().err


def test_changed_weights_are_refused(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "edited"
    shutil.copytree(find_symbolic_model(Path("symbolic-scalar")), folder)
    assert run(["models", "verify", str(folder)]) == 0
    held = bytearray((folder / "weights.safetensors").read_bytes())
    held[len(held) // 2] ^= 1
    (folder / "weights.safetensors").write_bytes(held)
    line = ["recover", str(table), "--time", "clock [h]", "--dims", "cells", "--proposers", "transformer"]
    for words in ([*line, "--model", str(folder)], ["models", "verify", str(folder)], ["models", "show", str(folder)]):
        assert run(words) == 6
        assert "the model edited was edited: weights.safetensors" in capsys.readouterr().err


def test_rows_that_are_left_out_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gaps.csv"
    cells = [f"{np.exp(-0.05 * i):.8f}" for i in range(80)]
    cells[7], cells[20] = "nan", "inf"
    path.write_text("t,x\n" + "\n".join(f"{0.1 * i:.1f},{cell}" for i, cell in enumerate(cells)))
    assert run(["recover", str(path), "--proposers", "weak"]) == 0
    assert "2 of 80 rows left out: a value is missing or infinite" in capsys.readouterr().err
