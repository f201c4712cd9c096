r"""The report: one file, no network, nothing identifying, small; and the result it is made of."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from pulsebayes.apps.cli.main import run
from pulsebayes.apps.report.page import LARGEST_BYTES, report_page
from pulsebayes.inference.answer import Answer, Estimate, Refusal
from pulsebayes.inference.result import read_result

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "apps" / "cli" / "demo_data" / "simulated_patient.hea"
ESTIMATE = Estimate("L/min", 4.9, 3.8, 4.4, 5.4, 6.4, 3.8, 6.4, 2.0, 10.0, 0.8)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    r"""What `infer --out` wrote of the shipped sample."""
    folder = tmp_path_factory.mktemp("result")
    words = ["--quiet", "--draws", "300", "--end", "40s", "--pool", "window"]
    assert run(["infer", str(SAMPLE), "--out", str(folder), *words]) == 0
    return folder / "simulated_patient.nc"


def test_result_is_read_as_it_was_written(result: Path) -> None:
    found = read_result(result)
    assert found.model == "radial-abp" and found.role == "ART" and found.unit == "mmHg"
    assert [w.start_s for w in found.windows] == [0.0, 8.0, 16.0, 24.0, 32.0]
    answer = found.answers[0]
    assert np.allclose(answer.draws["CO"], answer.draws["HR"] * answer.draws["SV"] / 1000, rtol=1e-4)
    assert answer.estimates["CVP"].uninformative and not answer.estimates["CO"].uninformative
    assert answer.domain is not None and answer.domain.verdict == "inside"
    assert found.waves.shape == (5, 1000)


def test_result_keeps_what_stands_beside_its_numbers(result: Path) -> None:
    answer = read_result(result).answers[2]
    assert answer.signal["beats"] > 5 and "findings" in answer.signal
    assert answer.calibration is not None and answer.calibration["n"] > 1000
    run(["report", str(result), "--html", "--force"])
    text = result.with_suffix(".html").read_text(encoding="utf-8")
    assert "held the truth in" in text and "never measured" not in text and "none measured" not in text
    assert "<b>✓ Yes</b><br>0 beats" not in text
    assert "Windows are estimated one by one" in text


def test_pooled_result_says_so_in_its_report(tmp_path: Path) -> None:
    words = ["--draws", "50", "--end", "40s", "--pool", "recording", "--anchor", "CO=5@10s", "--quiet"]
    assert run(["infer", str(SAMPLE), "--out", str(tmp_path), *words]) == 0
    pool = read_result(tmp_path / "simulated_patient.nc").answers[0].pool
    assert pool is not None and pool["windows"] == 5
    run(["report", str(tmp_path / "simulated_patient.nc"), "--html"])
    text = (tmp_path / "simulated_patient.html").read_text(encoding="utf-8")
    assert "told by up to 5 windows together, 0 to 40 s, and by the reference CO=5+-0.5@10s" in text
    assert "estimated one by one" not in text


def test_results_without_these_words_are_read_too(result: Path, tmp_path: Path) -> None:
    import h5py

    old = tmp_path / "old.nc"
    old.write_bytes(result.read_bytes())
    with h5py.File(old, "r+") as file:
        del file["observed_data"]["about"], file["observed_data"]["refused_about"]
    assert read_result(old).answers[0].signal == {}
    assert run(["report", str(old), "--html"]) == 0
    assert "What the gate found was not kept" in old.with_suffix(".html").read_text(encoding="utf-8")


def test_report_is_one_small_file_that_needs_no_network(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = result.with_suffix(".html")
    assert run(["report", str(result), "--html", "--force"]) == 0
    text = page.read_text(encoding="utf-8")
    assert page.stat().st_size < LARGEST_BYTES
    assert "<script" not in text and "default-src 'none'" in text
    links = re.findall(r'(?:src|href)="([^"#][^"]*)"', text)
    assert all(link.startswith("data:") for link in links)
    assert "simulated_patient" not in text
    assert "Research use only. Not a medical device." in text
    assert text.count("<figure>") == text.count("as a table</summary>") >= 3
    assert len(re.findall(r'id="([^"]+)"', text)) == len(set(re.findall(r'id="([^"]+)"', text)))
    assert "5 windows" in capsys.readouterr().out


def test_report_is_not_written_over_without_force(result: Path) -> None:
    run(["report", str(result), "--html", "--force"])
    assert run(["report", str(result), "--html"]) == 2


def test_name_heads_the_report_on_request_only(result: Path, tmp_path: Path) -> None:
    assert run(["report", str(result), "--html", "--show-name", "--out", str(tmp_path / "named.html")]) == 0
    assert "simulated_patient" in (tmp_path / "named.html").read_text(encoding="utf-8")


def test_a_name_without_suffix_gets_one(result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(result), "--html", "--out", str(tmp_path / "rep")]) == 0
    assert (tmp_path / "rep.html").is_file() and not (tmp_path / "rep").exists()
    assert capsys.readouterr().out.startswith("rep.html: ")
    assert run(["report", str(result), "--html", "--out", str(tmp_path / "rep")]) == 2


@pytest.mark.parametrize("content", [b"", b"time,ABP\n", b"\x89HDF\r\n\x1a\n"])
def test_what_is_no_result_is_refused(tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.nc"
    path.write_bytes(content)
    assert run(["report", str(path), "--html"]) == 3
    assert "infer FILE --out" in capsys.readouterr().err


def test_names_and_reasons_are_escaped() -> None:
    page = report_page([Refusal(0.0, 8.0, "<script>x</script>", "<b>")], title="<img src=x>", model="<i>")
    assert "<script" not in page and "<img src=x" not in page and "<i>" not in page


def test_hours_of_windows_stay_under_the_limit() -> None:
    draws = {"CO": np.linspace(3, 7, 500), "C": np.linspace(1, 2, 500)}
    answers = [Answer(8.0 * i, 8.0 * i + 8, draws, {"CO": ESTIMATE, "C": ESTIMATE}, 0.9) for i in range(10800)]
    assert len(report_page(answers, title="a day", model="m").encode()) < LARGEST_BYTES
