r"""What a model refuses: shares of windows turned away by the quality gate and by the domain verdict.

Held-out simulations must pass, also through a sensor twice as wide as in training; the same windows reversed in time,
inverted, at half speed or doubled show what is caught. Half speed and double pressure are possible patients in part.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from ..inference.bundle import Bundle
from ..inference.channel_domain import ChannelDomains
from ..inference.domain import DomainModel
from ..waveforms.quality import assess

__all__ = ["refusals_of", "refused_shares", "simulated_cases"]


def refusals_of(
    bundle: Bundle, narrow: Float[np.ndarray, "N *window"], wide: Float[np.ndarray, "M *window"]
) -> dict[str, dict[str, float]]:
    r"""Shares refused of held-out simulations and what is made of them; of several channels, of each by itself.

    Arguments:
        bundle: A model with a domain verdict.
        narrow: Held-out windows through the sensor, NaN where a channel is missing.
        wide: Held-out windows through the sensor with twice its prior width.

    Example:
        >>> refusals_of(bundle, narrow, wide)["simulated"]["outside"]  # doctest: +SKIP
        0.004
    """
    fs = bundle.contract.fs
    if not bundle.contract.several:
        return refused_shares(DomainModel.from_arrays(bundle.domain), simulated_cases(narrow, wide), fs=fs)
    shares: dict[str, dict[str, float]] = {}
    for name, model in ChannelDomains.of(bundle).models.items():
        place = bundle.contract.names.index(name)
        cases = simulated_cases(*(x[np.isfinite(x[:, place]).all(-1), place] for x in (narrow, wide)))
        shares |= {f"{name}: {case}": row for case, row in refused_shares(model, cases, fs=fs).items()}
    return shares


def simulated_cases(
    windows: Float[np.ndarray, "N T"], wide: Float[np.ndarray, "M T"]
) -> dict[str, Float[np.ndarray, "K T"]]:
    r"""Held-out simulations and what is made of them.

    Arguments:
        windows: Held-out windows through the sensor [mmHg].
        wide: Held-out windows through the sensor with twice its prior width [mmHg].

    Returns:
        Windows by name.

    Example:
        >>> sorted(simulated_cases(np.ones((2, 4)), np.ones((2, 4))))[:2]
        ['simulated', 'simulated, doubled']
    """
    return {
        "simulated": windows,
        "simulated, sensor twice as wide": wide,
        "simulated, reversed in time": windows[:, ::-1],
        "simulated, inverted": 2 * windows.mean(axis=1, keepdims=True) - windows,
        "simulated, half speed": np.repeat(windows, 2, axis=1)[:, : windows.shape[1]],
        "simulated, doubled": 2 * windows,
    }


def refused_shares(
    model: DomainModel, cases: Mapping[str, Float[np.ndarray, "N T"]], *, fs: float
) -> dict[str, dict[str, float]]:
    r"""Shares of windows refused by the gate, outside the domain, and shifted.

    Arguments:
        model: The domain model.
        cases: Windows by name [mmHg].
        fs: Sampling rate [Hz].

    Returns:
        For each name `n`, `gate`, `outside`, `refused` (either) and `shifted`, shares of all its windows.

    Example:
        >>> refused_shares(None, {"flat": np.full((2, 1000), 90.0)}, fs=125.0)["flat"]["gate"]  # type: ignore
        1.0
    """
    role = "ART" if model is None else model.role
    unit = "mmHg" if role == "ART" else None
    shares = {}
    for name, windows in cases.items():
        passed = [window for window in windows if assess(window, fs, role=role, unit=unit).usable]
        verdicts = [model.assess(window).verdict for window in passed]
        n = len(windows)
        gate, outside, shifted = n - len(passed), verdicts.count("outside"), verdicts.count("shifted")
        shares[name] = {
            "n": n,
            "gate": round(gate / n, 4),
            "outside": round(outside / n, 4),
            "refused": round((gate + outside) / n, 4),
            "shifted": round(shifted / n, 4),
        }
    return shares
