"""Answers say what was asked, in strict JSON, netCDF and CSV; refusals have no number."""

from __future__ import annotations

import csv
import io
import json
import math
import tracemalloc
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest

from pulsebayes.inference.answer import Answer, Prior, Refusal, answer_window, report, summarise_windows
from pulsebayes.inference.netcdf import NetCDFWriter
from pulsebayes.inference.result import read_result
from pulsebayes.inference.table import COLUMNS, CSVWriter


@dataclass(frozen=True)
class Verdict:
    verdict: str
    p: float = 0.2
    distance: float = 1.0
    reason: str | None = None


@pytest.fixture(scope="module")
def prior(bundle):
    return Prior.of(bundle)


@pytest.fixture
def ask(bundle, prior, window):
    def answer(**options):
        given = {"start_s": 0.0, "end_s": 8.0, "prior": prior, "n_draws": 400, **options}
        return answer_window(given.pop("bundle", bundle), given.pop("window", window), **given)

    return answer


def test_answer_holds_every_quantity_in_order(ask, bundle):
    answer = ask()
    assert list(answer.estimates) == list(bundle.outputs.reported)
    np.testing.assert_allclose(answer.draws["CO"], answer.draws["HR"] * answer.draws["SV"] / 1000, rtol=1e-6)
    for name, e in answer.estimates.items():
        assert e.q05 <= e.q25 <= e.median <= e.q75 <= e.q95, name


def test_interval_follows_the_level(ask):
    narrow, wide = ask(level=0.5).estimates["HR"], ask(level=0.98).estimates["HR"]
    assert (narrow.low, narrow.high) == (narrow.q25, narrow.q75)
    assert wide.low < wide.q05 < wide.q95 < wide.high


def test_json_is_strict_and_as_documented(ask, bundle):
    windows = [ask(domain=Verdict("inside")), Refusal(8.0, 16.0, "flat", "look at the line")]
    rows = [w.to_json() for w in windows]
    text = json.dumps(report("a.csv", bundle, rows, summarise_windows(windows), level=0.9), allow_nan=False)
    found = json.loads(text)
    assert set(found) == {"schema", "file", "model", "level", "window_s", "windows", "summary"}
    keys = {
        "start_s",
        "end_s",
        "status",
        "reason",
        "hint",
        "quantities",
        "region",
        "regions",
        "signal",
        "calibration",
        "domain",
    }
    assert all(set(row) == keys for row in found["windows"])
    shown = [
        "unit",
        "median",
        "q05",
        "q25",
        "q75",
        "q95",
        "low",
        "high",
        "prior_q05",
        "prior_q95",
        "contraction",
        "uninformative",
    ]
    assert list(found["windows"][0]["quantities"]["HR"]) == shown
    assert found["windows"][0]["domain"] == {"verdict": "inside", "p": 0.2}
    assert found["windows"][1]["quantities"] == {}
    assert found["summary"] == {"answered": 1, "refused": 1, "by_reason": {"flat": 1}}


def test_uninformative_quantity_is_withheld_unless_asked_for(ask, bundle):
    blind = ask(bundle=replace(bundle, uninformative=1e-6)).to_json()["quantities"]["SV"]
    assert blind["uninformative"]
    assert blind["median"] is None
    assert blind["prior_q05"] is not None
    kept = ask(bundle=replace(bundle, uninformative=1e-6)).to_json(keep_uninformative=True)["quantities"]["SV"]
    assert kept["uninformative"]
    assert kept["median"] > 0
    assert not ask(bundle=replace(bundle, uninformative=1e6)).estimates["SV"].uninformative


def test_contraction_is_measured_on_the_quantitys_scale(prior):
    rng = np.random.default_rng(0)
    full = rng.choice(prior.draws["CO"], 4000)
    assert abs(prior.contraction("CO", full)) < 0.1
    middle = np.exp(np.log(prior.draws["CO"]).mean())
    half = np.exp(np.log(middle) + 0.5 * (np.log(full) - np.log(middle)))
    assert prior.contraction("CO", half) == pytest.approx(0.75, abs=0.03)


def test_contraction_takes_the_logarithm_above_the_floor_only_where_asked():
    draws = np.exp(np.random.default_rng(0).normal(size=20_000))
    halved = np.sqrt(draws)
    logs = Prior({"a": draws}, {"a": "1"}, {"a": 1e-6})
    assert logs.contraction("a", halved) == pytest.approx(0.75, abs=0.01)
    plain = Prior({"a": draws}, {"a": "1"}, {"a": -np.inf})
    assert plain.contraction("a", halved) > 0.9
    assert np.isfinite(logs.contraction("a", np.append(halved, -3.0)))


def test_draws_depend_on_seed_and_start_only(ask):
    one, again, later, other = ask(), ask(level=0.5), ask(start_s=8.0), ask(seed=1)
    np.testing.assert_array_equal(one.draws["HR"], again.draws["HR"])
    assert not np.array_equal(one.draws["HR"], later.draws["HR"])
    assert not np.array_equal(one.draws["HR"], other.draws["HR"])


def test_window_outside_the_simulations_gets_no_number(ask):
    refused = ask(domain=Verdict("outside", 0.0, 9.0, "no beat looks like this"))
    assert isinstance(refused, Refusal)
    assert (refused.reason, refused.hint) == ("outside", "no beat looks like this")
    assert refused.to_json()["quantities"] == {}


def test_draws_that_are_no_numbers_make_a_refusal_and_no_silent_nulls(ask, bundle, monkeypatch):
    monkeypatch.setattr(bundle.npe, "sample", lambda x, n, generator: np.full((1, n, 9), np.nan))
    refused = ask()
    assert isinstance(refused, Refusal) and refused.reason == "outside" and "no numbers" in refused.hint


def test_sources_name_signal_model_calibration_and_domain(ask):
    lines = ask(signal={"HR": 72, "findings": []}, domain=Verdict("shifted", 0.01)).sources()
    assert list(lines) == ["signal", "model", "calibration", "domain"]
    assert "HR 72" in lines["signal"]
    assert "%" in lines["model"]
    assert "uncalibrated" in lines["calibration"]
    assert "shifted" in lines["domain"]


def test_posterior_wider_than_the_prior_removes_none_of_its_variance(ask):
    wide = replace(ask(), estimates={"CVP": replace(ask().estimates["CVP"], contraction=-0.06)})
    assert "CVP 0 %" in wide.sources()["model"]


def test_measured_coverage_is_cited_at_the_nearest_level(ask, bundle):
    cited = ask(level=0.88).calibration
    assert (cited["method"], cited["n"], cited["level"], cited["coverage"]["CO"]) == ("simulations", 2000, 0.9, 0.89)
    assert "89 to 91 %" in ask().sources()["calibration"]
    assert ask(bundle=replace(bundle, measured={})).calibration is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": np.zeros(999, np.float32)}, "1000 finite samples at 125 Hz, got shape"),
        ({"window": np.full(1000, np.nan, np.float32)}, "1000 not finite"),
        ({"level": 1.0}, "level must lie"),
        ({"n_draws": 1}, "n_draws be at least 2"),
    ],
)
def test_wrong_requests_are_refused(ask, options, message):
    with pytest.raises(ValueError, match=message):
        ask(**options)


def write(path, bundle, prior, answers, window, n_draws=400):
    with NetCDFWriter(path, bundle, prior, n_draws=n_draws, attributes={"seed": 0}) as writer:
        for answer in answers:
            writer.write(answer, window)


def test_arviz_reads_the_netcdf(ask, bundle, prior, window, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz
    answers = [ask(start_s=8.0 * i, end_s=8.0 * i + 8, domain=Verdict("inside")) for i in range(20)]
    write(tmp_path / "r.nc", bundle, prior, [*answers[:3], Refusal(800.0, 808.0, "flat"), *answers[3:]], window)
    data = arviz.from_netcdf(tmp_path / "r.nc")
    assert {"posterior", "prior", "observed_data"} <= set(data.groups())
    assert data.posterior["CO"].dims == ("chain", "draw", "window")
    assert set(data.posterior.data_vars) == set(bundle.outputs.reported)
    for i in (0, 15, 16, 19):
        np.testing.assert_array_equal(data.posterior["CO"][0, :, i], answers[i].draws["CO"].astype(np.float32))
    assert data.posterior["start_s"].values.tolist() == [a.start_s for a in answers]
    assert data.posterior["CO"].attrs["units"] == "L/min"
    np.testing.assert_allclose(data.prior["HR"][0], bundle.prior[:, 0], rtol=1e-6)
    np.testing.assert_array_equal(data.observed_data["ART"][7], window)
    assert data.observed_data["refused_reason"].values.tolist() == ["flat"]
    assert set(data.observed_data["domain"].values) == {"inside"}
    assert math.isfinite(float(arviz.summary(data.posterior.isel(window=0))["mean"]["CO"]))


def test_netcdf_without_any_answer_can_be_read(bundle, prior, window, tmp_path):
    import xarray

    write(tmp_path / "r.nc", bundle, prior, [Refusal(0.0, 8.0, "flat")], window)
    with xarray.open_dataset(tmp_path / "r.nc", group="posterior", engine="h5netcdf") as found:
        assert found.sizes["window"] == 0


def test_netcdf_refuses_another_number_of_draws(ask, bundle, prior, window, tmp_path):
    with pytest.raises(ValueError, match="answers must have 100 draws"):
        write(tmp_path / "r.nc", bundle, prior, [ask()], window, n_draws=100)


def test_a_result_remembers_what_its_model_calls_uninformative(ask, bundle, prior, window, tmp_path):
    strict = replace(bundle, uninformative=0.01)
    write(tmp_path / "r.nc", strict, prior, [ask(bundle=strict)], window)
    (answer,) = read_result(tmp_path / "r.nc").answers
    assert all(e.uninformative for e in answer.estimates.values())
    (answer,) = read_result(tmp_path / "r.nc", uninformative=100.0).answers
    assert not any(e.uninformative for e in answer.estimates.values())


def test_memory_does_not_grow_with_the_recording(ask, bundle, prior, window, tmp_path):
    answer = ask()
    with NetCDFWriter(tmp_path / "r.nc", bundle, prior, n_draws=400) as writer:
        for i in range(64):
            writer.write(replace(answer, start_s=float(i)), window)
        tracemalloc.start()
        for i in range(320):
            writer.write(replace(answer, start_s=float(i)), window)
        grown = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert grown < 320 * 400 * 12 * 4 / 4  # a quarter of what the draws alone would take


def test_csv_has_one_row_a_quantity(ask, bundle):
    stream = io.StringIO()
    writer = CSVWriter(stream, keep_uninformative=True)
    answer = ask(domain=Verdict("inside"))
    assert isinstance(answer, Answer)
    writer.write(answer)
    writer.write(Refusal(8.0, 16.0, "flat", domain=None))
    rows = list(csv.DictReader(io.StringIO(stream.getvalue())))
    assert tuple(rows[0]) == COLUMNS
    assert [row["quantity"] for row in rows] == [*bundle.outputs.reported, ""]
    assert float(rows[0]["median"]) == pytest.approx(answer.estimates["HR"].median, rel=1e-5)
    assert (rows[0]["domain"], rows[-1]["reason"], rows[-1]["median"]) == ("inside", "flat", "")
