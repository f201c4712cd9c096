r"""The atlas of a model whose posteriors are known: information, gains, regimes, trade-offs, resuming, refusals."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from pulsebayes.calibration.identifiability import findings
from pulsebayes.calibration.identifiability.atlas import TABLE, atlas_of, table_rows
from pulsebayes.calibration.identifiability.cells import CellKey
from pulsebayes.calibration.identifiability.information import entropy, information
from pulsebayes.calibration.identifiability.plan import AtlasConfig, Measured, plan_cells, run_cells

from .toy_study import ToyStudy

CONFIG = AtlasConfig(n=300, draws=300, noise=(0.5, 2.0), given=(("first", "second"),))


@pytest.fixture(scope="module")
def measured() -> Measured:
    return run_cells(ToyStudy(), CONFIG)


@pytest.fixture(scope="module")
def atlas(measured: Measured) -> dict:
    return atlas_of(measured)


def cell_of(atlas: dict, *given: str, noise: float = 0.0) -> dict:
    return next(c for c in atlas["cells"] if c["given"] == list(given) and c["noise"] == noise)["quantities"]


def test_entropies_of_known_distributions_are_found() -> None:
    rng = np.random.default_rng(0)
    assert entropy(rng.normal(size=(200, 400))).mean() == pytest.approx(0.5 * np.log2(2 * np.pi * np.e), abs=0.04)
    assert entropy(rng.exponential(size=(200, 400))).mean() == pytest.approx(np.log2(np.e), abs=0.04)
    assert information(rng.normal(size=4000), rng.normal(size=(200, 400)))[0] == pytest.approx(0, abs=0.04)
    with pytest.raises(ValueError, match="at least ten"):
        entropy(np.zeros(5))


@pytest.mark.parametrize(
    ("given", "quantity", "bits"),
    [
        (("first",), "HR", 0.5 * np.log2(1 + 1 / 0.25)),
        (("second",), "SV", 0.5 * np.log2(1 + 1 / 1.0)),
        (("first",), "SV", 0.0),
        (("sum",), "HR", 0.5 * np.log2(2.04 / 1.04)),
        (("first", "second"), "HR", 0.5 * np.log2(1 + 1 / 0.25)),
    ],
)
def test_information_is_that_of_the_gaussian_channel(atlas: dict, given: tuple, quantity: str, bits: float) -> None:
    row = cell_of(atlas, *given)[quantity]
    # the grid's 0.067 and 300 draws leave some hundredths of a bit
    assert row["bits"] == pytest.approx(bits, abs=0.05)


def test_intervals_errors_and_coverage_are_those_of_the_posterior(atlas: dict) -> None:
    row = cell_of(atlas, "first")["HR"]
    sd = np.sqrt(0.25 / 1.25)
    assert row["interval"] == pytest.approx(2 * 1.645 * sd, rel=0.05)
    assert row["relative"] == pytest.approx(sd, rel=0.08)
    assert row["error"] == pytest.approx(0.6745 * sd, rel=0.2)
    assert row["coverage"]["0.9"] == pytest.approx(0.9, abs=3 * row["coverage_error"]["0.9"])
    loud, quiet = (cell_of(atlas, "first", noise=f)["HR"]["interval"] for f in (2.0, 0.5))
    assert loud > 1.5 * quiet


def test_the_best_channel_to_add_is_that_which_tells_most(atlas: dict) -> None:
    best = {(row["given"], row["quantity"]): row for row in atlas["next"]}
    assert best["second", "HR"]["add"] == "young"
    assert best["first", "SV"]["add"] == "sum"  # together they know SV, neither does alone
    assert best["first", "SV"]["bits"] > cell_of(atlas, "sum")["SV"]["bits"] + 0.2
    assert best["first+second", "SV"]["add"] == "sum"


def test_more_individuals_can_be_asked_for_the_tests(measured: Measured) -> None:
    config = AtlasConfig(n=120, draws=60, many=180, noise=(), sets="singles", given=(("first", "second"),))
    more = run_cells(ToyStudy(), config)
    sizes = {key.given: len(cell.log_prob) for key, cell in more.cells.items()}
    assert sizes["first",] == sizes[ToyStudy.channels] == 180 and sizes["first", "second"] == 120
    cell = next(c for c in atlas_of(more)["cells"] if c["given"] == ["first"])
    assert cell["quantities"]["HR"]["n"] == 180
    added = next(r for r in findings.gains(more) if (r["given"], r["add"], r["quantity"]) == ("first", "second", "SV"))
    assert added["bits"] == pytest.approx(0.5, abs=0.2)
    with pytest.raises(ValueError, match="at least n, 300, got 200"):
        AtlasConfig(n=300, many=200)


def test_two_regimes_are_told_from_one(atlas: dict) -> None:
    rows = {(row["given"], row["quantity"]): row for row in atlas["regimes"]}
    young = rows["young", "HR"]
    assert young["two"] and young["holm"] < 0.01
    assert young["separators"][0]["name"] == "age"
    assert young["separators"][0]["threshold"] == pytest.approx(50, abs=1.5)
    assert young["above"] / young["below"] > 4
    for one in (("first", "HR"), ("second", "SV"), ("sum", "HR")):
        assert not rows[one]["two"] and rows[one]["separators"] == []


def test_posteriors_with_two_modes_are_seen(atlas: dict) -> None:
    fold = cell_of(atlas, "fold")["HR"]
    assert fold["modal"] > 0.7 and fold["modal_p"] < 1e-6
    first = cell_of(atlas, "first")["HR"]
    assert first["modal"] < 0.03 and first["modal_p"] > 0.01


def test_what_a_sum_cannot_tell_apart_trades_off(atlas: dict) -> None:
    pairs = {(row["given"], row["first"], row["second"]): row for row in atlas["trade_offs"]}
    # two unknowns of variance 1 given their sum: -1 / (1 + 2 sd^2) ... -0.98
    assert pairs["sum", "HR", "SV"]["posterior"] == pytest.approx(-1 / 1.04, abs=0.02)
    assert abs(pairs["sum", "HR", "SV"]["prior"]) < 0.05
    assert ("first", "HR", "SV") not in pairs


def test_maps_say_on_whom_it_depends(atlas: dict) -> None:
    maps = {(m["given"], m["quantity"]): m for m in atlas["maps"]}
    age = maps["young", "HR"]["covariates"]["age"]
    assert age["rho"] > 0.7 and age["p"] < 1e-6
    assert age["widths"][-1] > 4 * age["widths"][0]
    assert maps["young", "HR"]["strongest"][0]["name"] == "age"
    assert maps["first", "HR"]["covariates"]["age"]["p"] > 0.05


def test_checks_hold_for_a_right_model_and_fail_for_a_wrong_one(atlas: dict) -> None:
    assert [row["name"] for row in atlas["checks"] if not row["holds"]] == []
    wrong = run_cells(ToyStudy(overconfident=3.0), AtlasConfig(n=200, draws=100, noise=(), sets="singles"))
    failed = {row["name"] for row in atlas_of(wrong)["checks"] if not row["holds"]}
    assert {
        "HR's 90 % interval covers in every channel",
        "all channels together are calibrated within 3 points",
    } <= failed


def test_losing_information_and_shrinking_with_noise_are_seen(measured: Measured, monkeypatch) -> None:
    cells = dict(measured.cells)
    one, both = CellKey(("first",)), CellKey(("first", "second"))
    cells[one], cells[both] = cells[both], cells[one]
    worse = CellKey(("sum",))
    from dataclasses import replace

    cells[worse] = replace(cells[worse], entropy=cells[worse].entropy - 5.0)
    loud = CellKey(("first",), 2.0)
    cells[loud] = replace(cells[loud], entropy=cells[loud].entropy - 5.0)
    broken = replace(measured, cells=cells)
    (wider,) = findings._never_wider(broken)
    assert not wider["holds"] and not wider["found"].startswith("0 of") and ", 0 of them" not in wider["found"]
    assert not findings._grows_with_noise(broken)["holds"]
    assert findings._never_wider(replace(measured, cells={one: cells[one]})) == []  # no addition was asked for


def test_a_loss_counts_where_chance_does_not_explain_it() -> None:
    rng = np.random.default_rng(0)
    n, error = np.full(840, 400.0), np.full(840, 0.01)
    alarms = [findings._below_zero(0.01 * rng.standard_normal(840), error, n)[0] > 0 for _ in range(400)]
    assert np.mean(alarms) < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)  # of 840 without a loss
    small, large = np.zeros(840), np.zeros(840)
    small[7], large[7] = -0.045, -0.06
    assert findings._below_zero(small, error, n) == (1, 0)  # 4.5 standard errors, less than .02 bit and three
    assert findings._below_zero(large, error, n) == (1, 1)
    assert findings._below_zero(large, 0.05 + 0 * error, n) == (0, 0)
    assert findings._below_zero(*np.zeros((3, 0))) == (0, 0)


def test_sets_of_channels_must_be_calibrated(measured: Measured, atlas: dict) -> None:
    title = "sets of channels are calibrated within 3 points"
    assert {row["name"]: row["holds"] for row in atlas["checks"]}[title]
    broken = run_cells(ToyStudy(overconfident=3.0), AtlasConfig(n=200, draws=100, noise=()))
    assert not findings._calibrated_sets(broken)[0]["holds"]
    alone = run_cells(ToyStudy(), AtlasConfig(n=100, draws=50, noise=(), sets="singles"))
    assert findings._calibrated_sets(alone) == []


def test_the_atlas_is_strict_json_and_a_table(atlas: dict) -> None:
    json.dumps(atlas, allow_nan=False)
    rows = table_rows(atlas)
    assert {len(row) for row in rows} == {len(TABLE)}
    assert len(rows) == 2 * len(atlas["cells"])


def test_a_stopped_run_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    config = AtlasConfig(n=100, draws=50, noise=(2.0,), sets="singles")

    class Stopped(Exception):
        pass

    def stop(text: str) -> None:
        if text.startswith("cell 4"):
            raise Stopped

    with pytest.raises(Stopped):
        run_cells(ToyStudy(), config, tmp_path, progress=stop)
    again = ToyStudy()
    resumed = run_cells(again, config, tmp_path)
    whole = run_cells(ToyStudy(), config)
    for key, cell in whole.cells.items():
        np.testing.assert_allclose(resumed.cells[key].entropy, cell.entropy, atol=1e-5)
    third = ToyStudy()
    run_cells(third, config, tmp_path)
    assert third.observed == []  # nothing is measured twice
    with pytest.raises(ValueError, match="another model"):
        run_cells(ToyStudy(), AtlasConfig(n=101, draws=50, noise=()), tmp_path)


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"between 0.125 and 8, .* got 20"):
        run_cells(ToyStudy(), AtlasConfig(n=100, noise=(20.0,)))
    with pytest.raises(ValueError, match="among first, second, sum, fold, young, got toe"):
        plan_cells(ToyStudy.channels, AtlasConfig(given=(("first", "toe"),)))
    with pytest.raises(ValueError, match="n of at least 100"):
        AtlasConfig(n=10)
    with pytest.raises(ValueError, match="each once"):
        AtlasConfig(noise=(1.0, 1.0))
    with pytest.raises(ValueError, match="'all' or 'singles'"):
        AtlasConfig(sets="some")  # type: ignore[arg-type]


def test_the_gallery_tells_what_was_found(atlas: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Path(findings.__file__).parents[2] / "docs" / "make_atlas.py"
    spec = importlib.util.spec_from_file_location("make_atlas", script)
    gallery = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gallery)
    monkeypatch.setattr(gallery, "PICTURES", tmp_path)
    text = "\n".join(gallery.page({"toy": atlas}, {"toy": "nothing"}))
    row = cell_of(atlas, "first")["HR"]
    assert f"| HR [u] | {row['relative']:.2f} |" in text
    assert "HR from young: intervals of" in text and "age separates them" in text
    assert all(f"| `toy` | {check['name']} | yes |" in text for check in atlas["checks"] if check["holds"])
    named = [part.split(")")[0] for part in text.split("](images/")[1:]]
    assert len(named) >= 5 and all(0 < (tmp_path / name).stat().st_size < gallery.MOST_BYTES for name in named)
