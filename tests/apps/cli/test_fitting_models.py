r"""Which shipped models are offered for a recording: those that would find a channel in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pulsebayes.apps.cli.fitting_models import fitting_models
from pulsebayes.inference.bundle import find_bundle, reads_several
from pulsebayes.waveforms import Recording


@pytest.mark.parametrize(
    ("names", "fits"),
    [
        (["PLETH", "ECG"], ["finger-ppg", "abp-ppg"]),
        (["ABP", "PLETH"], ["radial-abp", "finger-ppg", "abp-ppg"]),
        (["ABP"], ["radial-abp", "abp-ppg"]),
        (["AOP"], ["multi-site"]),
        (["radial"], ["radial-abp", "abp-ppg", "multi-site"]),
        (["ECG"], []),
        (["ABP", "IBP1"], []),  # which of the two is not guessed
    ],
)
def test_a_model_is_offered_where_it_finds_a_channel(names: list[str], fits: list[str]) -> None:
    assert fitting_models(Recording.from_arrays("demo", {name: np.ones(500) for name in names}, fs=125)) == fits


def test_reference_models_are_not_offered() -> None:
    assert find_bundle("radial-abp-reference")
    found = fitting_models(Recording.from_arrays("demo", {"ABP": np.ones(500)}, fs=125))
    assert not any("reference" in name for name in found)


def test_no_offer_of_a_missing_channel_is_a_model_that_fails_the_same_way(
    run: Callable[..., Any], tmp_path: Path, write_csv: Callable[..., Path], pulse: Callable[[float], np.ndarray]
) -> None:
    path = write_csv(tmp_path / "clip.csv", pulse(16), header="PLETH")
    ran = run("infer", path, "--fs", 125, "--model", "multi-site")
    assert ran.code == 6 and "--model finger-ppg" in ran.err
    assert "aorta (or of role AO), carotid" in ran.err and "or femoral-flow, found PLETH" in ran.err
    assert ran.err.split("models that fit: ")[1].splitlines()[0] == "finger-ppg, abp-ppg"
    assert reads_several(find_bundle("multi-site"))
