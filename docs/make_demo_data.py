r"""Make the recording that the package ships: a simulated patient, as WFDB and CSV, marked as simulated.

Two minutes of radial pressure from the linear network under an aperiodic inflow, seen through a catheter line. The
truth stands in `simulated_patient.json` beside the files. Run it from the repository root:
`python docs/make_demo_data.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import wfdb

from pulsebayes.simulators.network import LinearNetwork, linear, rhythm
from pulsebayes.simulators.sensors import SensorModel

FOLDER = Path(__file__).resolve().parents[1] / "apps" / "cli" / "demo_data"
NAME = "simulated_patient"
FS, LENGTH_S, SETTLE_S, SEED = 125.0, 120.0, 8.0, 7
# An adult of 58 years under anaesthesia, ventilated; whatever is not named is at the population's median.
PATIENT = {
    "age": 58.0,
    "height": 1.74,
    "heart_rate": 72.0,
    "mean_pressure": 84.0,
    "venous_pressure": 7.0,
    "respiration_rate": 14.0,
    "rate_swing": 0.01,
    "stroke_swing": 0.05,
    "venous_swing": 1.5,
    "irregularity": 0.008,
    "ectopy": 0.0,
}


def simulate() -> tuple[np.ndarray, dict[str, float], str]:
    r"""Radial pressure [mmHg] with shape (T,), the true quantities, and a line on the simulator."""
    # One long window without repeats: the network is made for windows of 8 s, so its limits are widened here: beats,
    # lines up to 30 Hz, and a grid as fine as that of 8 s.
    linear._FINE, rhythm.N_BEATS = 1 << 16, 512
    total_s = LENGTH_S + SETTLE_S
    network = LinearNetwork(duration_s=total_s, fs=FS, n_frequencies=int(30 * total_s))
    object.__setattr__(network, "window_s", total_s)
    theta = network.space.sample_quantiles(np.full((1, network.space.dim), 0.5))
    for name, value in PATIENT.items():
        theta[0, network.space.index(name)] = value
    result = network.simulate(theta, SEED)
    if result.status[0] != 0:
        raise RuntimeError(f"the patient could not be simulated: status {result.status[0]}")
    truth = {n: round(float(v), 4) for n, v in zip(network.quantity_names, result.quantities[0], strict=True)}
    wave = result.waves[:, list(network.sites).index("Radial")]
    seen = SensorModel.radial_line().apply(wave, np.random.default_rng(SEED), fs=FS, out_samples=int(LENGTH_S * FS))
    return np.asarray(seen[0], dtype=np.float64), truth, f"{network.name}, seed {SEED}"


def main() -> None:
    r"""Write the three files."""
    wave, truth, simulator = simulate()
    FOLDER.mkdir(parents=True, exist_ok=True)
    comments = ["SIMULATED: not a recording of a person", f"pulsebayes {simulator}; truth in {NAME}.json"]
    wfdb.wrsamp(
        NAME,
        fs=FS,
        units=["mmHg"],
        sig_name=["ABP"],
        p_signal=wave[:, None],
        fmt=["16"],
        adc_gain=[20.0],
        baseline=[0],
        comments=comments,
        write_dir=str(FOLDER),
    )
    rows = "".join(f"{i / FS:.3f},{value:.2f}\n" for i, value in enumerate(wave))
    (FOLDER / f"{NAME}.csv").write_text("time [s],ABP [mmHg]\n" + rows, encoding="utf-8")
    about = {"note": comments[0], "simulator": simulator, "patient": PATIENT, "truth": truth}
    (FOLDER / f"{NAME}.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
