r"""The gate beside the quality indices of NeuroKit2 and HeartPy, at equal shares of good windows kept.

Both rivals need other versions of pandas than this package, so they run in a Python of their own, named by
`$PULSEBAYES_RIVALS` (for example `rivals/bin/python` of a venv with neurokit2 and heartpy). They are made for
photoplethysmograms; on pressure they see the same windows. A window that a rival cannot process has quality 0.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pulsebayes.waveforms.quality import assess

from .quality_faults import FAULTS
from .quality_windows import FS, clean_windows, good_real_windows
from .rows import Row

MEDIUM = 1
KEPT = (99.0, 95.0, 90.0, 80.0)
SCRIPT = r"""
import json, sys, warnings
import numpy as np
warnings.simplefilter("ignore")
windows = np.load(sys.argv[1])
out = {}
try:
    import neurokit2 as nk
    def template(w):
        w = np.interp(np.arange(len(w)), np.flatnonzero(np.isfinite(w)), w[np.isfinite(w)])
        clean = nk.ppg_clean(w, sampling_rate=125)
        peaks = nk.ppg_findpeaks(clean, sampling_rate=125)["PPG_Peaks"]
        return float(np.nanmean(nk.ppg_quality(clean, peaks, sampling_rate=125, method="templatematch")))
    out["NeuroKit2 " + nk.__version__ + ", templatematch"] = template
except ImportError:
    pass
try:
    import heartpy as hp
    from importlib.metadata import version
    def accepted(w):
        w = np.interp(np.arange(len(w)), np.flatnonzero(np.isfinite(w)), w[np.isfinite(w)])
        working, measures = hp.process(hp.scale_data(w), 125.0)
        return 1.0 - len(working["removed_beats"]) / max(len(working["peaklist"]), 1)
    out["HeartPy " + version("heartpy") + ", share of beats accepted"] = accepted
except ImportError:
    pass
result = {}
for name, score in out.items():
    values = []
    for window in windows:
        try:
            value = score(window)
        except Exception:
            value = 0.0
        values.append(value if np.isfinite(value) else 0.0)
    result[name] = values
print(json.dumps(result))
"""


def curve_rows(quick: bool) -> Iterable[Row]:
    """Share of moderate faults caught at equal shares of good windows kept."""
    good = clean_windows(96 if quick else 1024)[: 64 if quick else 250]
    real = good_real_windows(16 if quick else 4)
    good = np.concatenate([good, *real.values()])
    rng = np.random.default_rng(7)
    bad = {name: np.array([f.make(w, f.sizes[MEDIUM], rng) for w in good]) for name, f in FAULTS.items()}
    kept = 100 * float(np.mean([assess(wave, FS).usable for wave in good]))
    ours = {}
    for name, windows in bad.items():
        verdicts = [assess(wave, FS) for wave in windows]
        ours[name] = 100 * float(
            np.mean([not v.usable or any(f.code in FAULTS[name].told for f in v.findings) for v in verdicts])
        )
    yield Row("curve", "pulsebayes gate", f"{kept:.1f} % kept", "moderate faults caught, mean [%]", _mean(ours))
    yield Row("curve", "pulsebayes gate", f"{kept:.1f} % kept", "moderate faults caught, worst [%]", min(ours.values()))
    scores = _rival_scores([good, *bad.values()])
    if not scores:
        yield Row("curve", "NeuroKit2, HeartPy", "-", "moderate faults caught, mean [%]", "not installed")
    for method, values in scores.items():
        yield from _curve(method, values, len(good), list(bad))


def _mean(shares: dict[str, float]) -> float:
    return float(np.mean(list(shares.values())))


def _curve(method: str, values: np.ndarray, n: int, names: list[str]) -> Iterable[Row]:
    good, rest = values[:n], values[n:].reshape(len(names), n)
    for kept in KEPT:
        limit = float(np.quantile(good, 1 - kept / 100))
        share = {name: 100 * float(np.mean(row < limit)) for name, row in zip(names, rest, strict=True)}
        yield Row("curve", method, f"{kept:g} % kept", "moderate faults caught, mean [%]", _mean(share))
        yield Row("curve", method, f"{kept:g} % kept", "moderate faults caught, worst [%]", min(share.values()))


def _rival_scores(sets: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Quality of every window by each rival that is installed."""
    python = os.environ.get("PULSEBAYES_RIVALS", sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "windows.npy"
        np.save(target, np.concatenate(sets))
        done = subprocess.run([python, "-c", SCRIPT, str(target)], capture_output=True, text=True, check=False)
    if done.returncode != 0 or not done.stdout.strip():
        return {}
    return {name: np.array(values) for name, values in json.loads(done.stdout).items()}
