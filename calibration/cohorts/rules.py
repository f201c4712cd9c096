r"""Pulse-pressure methods: cardiac output from the numbers of a pulse, right up to one factor of the patient.

With systolic, diastolic and mean pressure $S, D, \bar P$ [mmHg], pulse $S - D$, rate $\mathrm{HR}$, period $T$ and the
area under the systolic part above the foot $A_s$,

- Liljestrand and Zander: $\mathrm{SV} \propto \dfrac{S - D}{S + D}$;
- systolic area with impedance: $\mathrm{SV} \propto A_s\,(163 + \mathrm{HR} - 0.48\,\bar P)$;
- windkessel time constant: $\mathrm{SV} \propto (S - D) + \bar P\,T/\tau$, $\tau$ the constant of the diastolic fall.

References:
    Liljestrand G., Zander E. (1928), Z Gesamte Exp Med 59, 105-122; Wesseling K.H. et al. (1983), Medisch Technische
    systeem 1, 5-14 (systolic area with impedance correction); Mukkamala R. et al. (2006), IEEE Trans Biomed Eng 53,
    459-467 (time constant). Sun J.X. et al. (2009), Crit Care Med 37, 72-80 compares such methods in intensive care.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float

from ...waveforms.beats import detect_beats

__all__ = ["RULES", "pulse_rules"]

RULES = ("Liljestrand-Zander", "systolic area with impedance", "windkessel time constant")
r"""The methods, by name."""
_SHORTEST_S = 0.25


def pulse_rules(wave: Float[np.ndarray, " T"], fs: float) -> dict[str, float]:
    r"""Cardiac output of a window by each method, up to a factor of the patient.

    Arguments:
        wave: Arterial pressure [mmHg].
        fs: Sampling rate [Hz].

    Returns:
        Values by method, in units of their own; empty where no beat is found.

    Example:
        >>> phase = (np.arange(1000) / 125) % 0.75
        >>> found = pulse_rules(70 + 60 * np.exp(-phase / 0.3) * np.minimum(phase / 0.1, 1), 125.0)
        >>> list(found) == list(RULES), all(value > 0 for value in found.values())
        (True, True)
    """
    rows = []
    for begin, end in pairwise((detect_beats(np.asarray(wave, np.float64), fs).onsets_s * fs).tolist()):
        beat = np.asarray(wave[int(begin) : int(end)], np.float64)
        if len(beat) >= _SHORTEST_S * fs:
            rows.append(_one(beat, fs))
    if not rows:
        return {}
    rate, systolic, diastolic, mean, area, tau = np.median(np.array(rows), axis=0).tolist()
    pulse, period = systolic - diastolic, 60.0 / rate
    volumes = (
        pulse / max(systolic + diastolic, 1.0),
        area * (163.0 + rate - 0.48 * mean),
        pulse + mean * period / tau,
    )
    return {name: float(rate * volume) for name, volume in zip(RULES, volumes, strict=True)}


def _one(beat: Float[np.ndarray, " t"], fs: float) -> tuple[float, ...]:
    """Rate, pressures, systolic area and diastolic time constant of one beat."""
    top, low = int(np.argmax(beat)), float(beat[0])
    closed = min(int(0.16 * fs + 0.2 * len(beat)), len(beat) - 3)  # a rough end of ejection
    fall = beat[max(closed, top + 1) :]
    tau = 1.5
    if len(fall) > 3:
        logs = np.log(np.maximum(fall - 0.5 * low, 1.0))
        slope = float(np.polyfit(np.arange(len(fall)) / fs, logs, 1)[0])
        tau = -1.0 / min(slope, -0.1)
    area = float(np.maximum(beat[:closed] - low, 0.0).sum() / fs)
    return 60.0 * fs / len(beat), float(beat.max()), low, float(beat.mean()), area, tau
