"""Windows of 8 s at 125 Hz for the quality benchmark: clean simulated, behind lines, and good real ones."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pulsebayes.simulators.catheter import CatheterLine
from pulsebayes.simulators.network import LinearNetwork
from pulsebayes.simulators.sensors import SensorModel
from pulsebayes.simulators.status import usable
from pulsebayes.waveforms import cut_windows, read

from .nonsense import real_folder

FS = 125.0
SEED = 2026
ABSENT = "not measured: no real recordings"
LINES = ((40.0, 0.6), (25.0, 0.2), (15.0, 0.6), (15.0, 0.12), (12.0, 0.15), (10.0, 0.15), (8.0, 0.2), (6.0, 0.8),
         (4.0, 1.0), (3.0, 1.2), (2.5, 1.5))  # fmt: skip


@lru_cache(maxsize=4)
def radial(n: int) -> np.ndarray:
    """Simulated radial pressure of 10 s, before any sensor."""
    network = LinearNetwork(duration_s=10.0)
    parts = []
    for first in range(0, n, 512):
        count = min(512, n - first)
        theta = network.space.sample(np.random.default_rng(SEED + first), count)
        result = network.simulate(theta, seed=SEED + 1 + first)
        parts.append(result.waves[usable(result.status), network.sites.index("Radial")])
    return np.concatenate(parts)


def clean_windows(n: int) -> np.ndarray:
    """Simulated windows behind the sensor model."""
    return SensorModel.radial_line().apply(radial(n), np.random.default_rng(SEED), fs=FS, out_samples=1000)


def line_windows(n: int, used: int) -> dict[tuple[float, float], np.ndarray]:
    """Simulated windows behind lines of known natural frequency [Hz] and damping, with .3 mmHg of noise."""
    waves, rng = radial(n)[:used], np.random.default_rng(SEED)
    found = {}
    for frequency, damping in LINES:
        rows = np.full(len(waves), frequency, np.float32), np.full(len(waves), damping, np.float32)
        made = CatheterLine.transmit(waves, *rows, fs=FS)[:, 250:1250].astype(np.float64)
        found[frequency, damping] = made + 0.3 * rng.standard_normal(made.shape)
    return found


MMHG = {"units": {"ART": "mmHg"}}
# file, options of `read`, and where the good part begins [s]: told by eye, not by the gate. One window of
# test_data_demo (at 26 s) and one of 3975656_0015 (248 s) are disturbed and count all the same.
GOOD = {
    "041s": ("physionet_wfdb/041s.hea", {}, 0.0),
    "mixedsignals": ("physionet_wfdb/mixedsignals.hea", {}, 2.0),
    "3975656_0015": ("physionet_wfdb/3975656_0015.hea", {}, 20.0),
    "TestICU": ("mimic2_testicu/TestICU.hea", {"roles": {"col 3": "ART"}, **MMHG}, 0.0),
    "vital demo 1": ("vitalrecorder_demo/test_intellivue_demo1.vital", {}, 0.0),
    "vital demo 2": ("vitalrecorder_demo/test_intelliue_demo2.vital", {}, 0.0),
    "vital demo 3": ("vitalrecorder_demo/test_data_demo.vital", {}, 2.0),
    "csv 30 s": ("abp_short/cardiovascularmodels_abp_30s_125Hz.csv", MMHG, 0.0),
    "csv 40 s": ("abp_short/waveformtools_abp_40s_125Hz.csv", {"fs": 125.0, **MMHG}, 0.0),
    "uci 1": ("uci_cuffless/rec_1.npz", MMHG, 0.0),
    "uci 2": ("uci_cuffless/rec_2.npz", MMHG, 0.0),
    "uci 4": ("uci_cuffless/rec_4.npz", MMHG, 0.0),
    "uci 8": ("uci_cuffless/rec_8.npz", MMHG, 0.0),
}


def good_real_windows(every: int) -> dict[str, np.ndarray]:
    """Windows of the good stretches of real recordings, every so many; none where the folder is absent."""
    root = real_folder()
    found = {}
    for name, (file, options, start_s) in GOOD.items() if root is not None else ():
        windows = list(cut_windows(read(root / file, **options), fs=FS, start_s=start_s))
        found[name] = np.array([w.values[0] for w in windows if np.isfinite(w.values).all()][::every], np.float64)
    return found
