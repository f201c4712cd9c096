r"""Which shipped models can answer a recording, matched as their contracts match channels."""

from __future__ import annotations

import json

from ...inference.bundle import shipped_bundles
from ...inference.channel_answering import channels_of
from ...inference.contract import InputContract
from ...waveforms.recording import Recording, RecordingError
from ...waveforms.roles import PRESSURE_ROLES

__all__ = ["fitting_models"]


def fitting_models(recording: Recording) -> list[str]:
    r"""Names of the shipped models that find a channel of theirs: one channel first, pressure first.

    Reference models are left out: they are exact on simulations of their own, not made for recordings.

    Arguments:
        recording: The recording.

    Returns:
        Names, each fit for `--model`.

    Example:
        >>> import numpy as np
        >>> fitting_models(Recording.from_arrays("demo", {"PPG": np.ones(500)}, fs=125))
        ['finger-ppg', 'abp-ppg']
    """
    fits = {name: contract for name, contract in _contracts().items() if _finds(contract, recording)}
    return sorted(fits, key=lambda name: (len(fits[name].channels), fits[name].role not in PRESSURE_ROLES))


def _contracts() -> dict[str, InputContract]:
    r"""What each shipped model reads, without loading its weights."""
    found = {}
    for name, folder in shipped_bundles().items():
        info = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
        if not info["training"].get("simulator", "").startswith("reference-"):
            found[name] = InputContract.from_json(info["input"])
    return found


def _finds(contract: InputContract, recording: Recording) -> bool:
    try:
        channels_of(contract, recording)
    except RecordingError:
        return False
    return True
