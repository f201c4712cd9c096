r"""The gate's operating curve, and the beats against truth: what is kept, what is caught, what is found.

Run as `python -m benchmarks.quality [--quick] [--json] [--out DIR]`. Parts: `beats` (sensitivity, positive predictivity
and onset error), `kept` (share of clean simulated and good real windows kept), `caught` (share of each planted fault
refused or told, by severity, on simulated and real windows), `line` (ringing and damped lines), `curve` (share of
faults caught at equal shares of good windows kept, beside the indices of NeuroKit2 and HeartPy where they install).
Real recordings need `$PULSEBAYES_DATA` or `../shared/data`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pulsebayes.waveforms.quality import assess

from .quality_beats import beat_rows
from .quality_faults import FAULTS, SEVERITIES
from .quality_rivals import curve_rows
from .quality_windows import ABSENT, FS, clean_windows, good_real_windows, line_windows
from .rows import Row, run

METHOD = "pulsebayes gate"


def kept(quick: bool) -> Iterable[Row]:
    """Clean simulated and good real windows that pass."""
    sets = {"simulated, sensor model": clean_windows(96 if quick else 1024)}
    real = good_real_windows(2 if quick else 1)
    sets |= {"real, all": np.concatenate(list(real.values()))} if real else {}
    sets |= {f"real, {name}": windows for name, windows in real.items()}
    for name, windows in sets.items():
        share = float(np.mean([assess(wave, FS).usable for wave in windows]))
        yield Row("kept", METHOD, f"{name}, n = {len(windows)}", "windows kept [%]", 100 * share)
    if not real:
        yield Row("kept", METHOD, "real", "windows kept [%]", ABSENT)


def caught(quick: bool) -> Iterable[Row]:
    """Every fault at three severities, on windows that are good without it: refused, or told as a finding."""
    sets = {"simulated": clean_windows(96 if quick else 1024)[: 64 if quick else 300]}
    real = good_real_windows(8 if quick else 2)
    if real:
        sets["real"] = np.concatenate(list(real.values()))
    for kind, windows in sets.items():
        good = [wave for wave in windows if assess(wave, FS).usable]
        for name, fault in FAULTS.items():
            for severity, size in zip(SEVERITIES, fault.sizes, strict=True):
                rng = np.random.default_rng(7)
                verdicts = [assess(fault.make(wave, size, rng), FS) for wave in good]
                found = np.mean([not v.usable or any(f.code in fault.told for f in v.findings) for v in verdicts])
                refused = np.mean([not v.usable for v in verdicts])
                setting = f"{kind}, {name}, {severity} ({fault.spelled(size)}), n = {len(good)}"
                yield Row("caught", METHOD, setting, "refused or told [%]", float(100 * found))
                yield Row("caught", METHOD, setting, "refused [%]", float(100 * refused))


def line(quick: bool) -> Iterable[Row]:
    """Warnings of a ringing or damped line, by natural frequency and damping."""
    for (frequency, damping), windows in line_windows(96 if quick else 1024, 32 if quick else 200).items():
        codes = [{f.code for f in assess(wave, FS).findings} for wave in windows]
        setting = f"{frequency:g} Hz, damping {damping:g}, n = {len(windows)}"
        for code in ("ringing", "damped"):
            yield Row("line", METHOD, setting, f"{code} [%]", float(100 * np.mean([code in one for one in codes])))


if __name__ == "__main__":
    run("quality", {"beats": beat_rows, "kept": kept, "caught": caught, "line": line, "curve": curve_rows})
