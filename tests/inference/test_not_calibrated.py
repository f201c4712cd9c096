"""A quantity that missed its coverage is marked in every answer, however it is written."""

from __future__ import annotations

import dataclasses
import io

import numpy as np

from pulsebayes.inference.answer import Answer, Prior, answer_window
from pulsebayes.inference.netcdf import NetCDFWriter
from pulsebayes.inference.table import CSVWriter

WHY = "90 % intervals held 84.0 % of 2000"


def answered(bundle, window, measured=None) -> Answer:
    model = dataclasses.replace(bundle, measured={**bundle.measured, **(measured or {})})
    result = answer_window(model, window, start_s=0.0, end_s=8.0, prior=Prior.of(model), n_draws=40)
    assert isinstance(result, Answer)
    return result


def test_mark_stands_in_json_sources_and_table(bundle, window):
    result = answered(bundle, window, {"not_calibrated": {"CO": WHY}})
    rows = result.to_json()["quantities"]
    assert rows["CO"]["not_calibrated"] == WHY
    assert "not_calibrated" not in rows["HR"]
    assert result.to_json()["calibration"]["not_calibrated"] == {"CO": WHY}
    assert f"Not calibrated: CO ({WHY})." in result.sources()["calibration"]
    stream = io.StringIO()
    CSVWriter(stream).write(result)
    lines = {line.split(",")[4]: line for line in stream.getvalue().splitlines()[1:]}
    assert lines["CO"].endswith(WHY) and lines["HR"].endswith(",")


def test_mark_stands_in_the_netcdf_file(bundle, window, tmp_path):
    import h5netcdf

    with NetCDFWriter(tmp_path / "r.nc", bundle, Prior.of(bundle), n_draws=40) as writer:
        writer.write(answered(bundle, window, {"not_calibrated": {"CO": WHY}}), window)
    with h5netcdf.File(tmp_path / "r.nc") as file:
        assert file["posterior"]["CO"].attrs["not_calibrated"] == WHY
        assert "not_calibrated" not in file["posterior"]["HR"].attrs


def test_nothing_is_marked_where_nothing_missed(bundle, window):
    result = answered(bundle, window)
    assert result.not_calibrated == {}
    assert "Not calibrated" not in result.sources()["calibration"]
    assert all("not_calibrated" not in row for row in result.to_json()["quantities"].values())
    assert np.isfinite(result.draws["CO"]).all()


def test_what_misses_is_read_from_the_coverage_where_a_model_was_not_validated(bundle, window):
    coverage = {"0.5": {"CO": 0.546, "HR": 0.51}, "0.9": {"CO": 0.925, "HR": 0.9}}
    result = answered(bundle, window, {"coverage": coverage, "n": 2048})
    assert result.not_calibrated == {"CO": "50 % intervals hold 54.6 %"}
    assert answered(bundle, window, {"coverage": coverage, "not_calibrated": {}}).not_calibrated == {}
