r"""Measure the table and draw the figures of verification.md.

PULSEBAYES_DATA=... python docs/make_verification.py
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from pulsebayes.simulators.network.files import load_network
from pulsebayes.simulators.network.nonlinear import NetworkSolution, solve_model

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "simulators" / "network" / "nonlinear"))
IMAGES = ROOT / "docs" / "images"
LABELS = {"cca": "common-carotid", "uta": "thoracic-aorta"}


def relative(ours: NetworkSolution, reference: NetworkSolution) -> tuple[np.ndarray, np.ndarray]:
    """RMS error of pressure over its mean and of flow over its peak, the worst of five positions of each vessel."""
    found = []
    for mine, theirs, scale in (
        (ours.pressure, reference.pressure, reference.pressure.mean(-1)),
        (ours.flow, reference.flow, np.abs(reference.flow).max(-1)),
    ):
        found.append((np.sqrt(((mine - theirs) ** 2).mean(-1)) / scale).max(1))
    return found[0], found[1]


def references() -> None:
    """Single vessels against two other programs."""
    from references import errors, openbf_waves, svoned_waves

    figure, axes = plt.subplots(2, 2, figsize=(9, 5), sharex="col", layout="constrained")
    for column, (key, name) in enumerate(LABELS.items()):
        solution = solve_model(load_network(name), dx_mm=5.0, tolerance_mmHg=0.01)
        period = solution.time[-1]
        for rival, (time, pressure, flow) in (
            ("openBF", openbf_waves(key)),
            ("svOneDSolver", (lambda w, t=period: (w[0] * t, *w[1:]))(svoned_waves(key))),
        ):
            p, q = errors(solution, time, pressure, flow)
            print(f"| {name} against {rival}: pressure, flow | {100 * p:.2f} %, {100 * q:.2f} % of peak |")
            order = np.argsort(time % period)
            style = {"openBF": "o", "svOneDSolver": "x"}[rival]
            for row, wave in enumerate((pressure[2], flow[2])):
                axes[row, column].plot((time % period)[order], wave[order], style, ms=4, mfc="none", label=rival)
        for row, wave in enumerate((solution.pressure[0, 2], solution.flow[0, 2])):
            axes[row, column].plot(solution.time, wave, "k-", lw=1, label="pulsebayes")
        axes[0, column].set_title(f"{name}, middle")
        axes[1, column].set_xlabel("time [s]")
    axes[0, 0].set_ylabel("pressure [mmHg]")
    axes[1, 0].set_ylabel("flow [mL/s]")
    axes[0, 0].legend(frameon=False)
    figure.savefig(IMAGES / "verification-references.png", dpi=110)


def order() -> None:
    """The manufactured solution on a cone."""
    from test_order import error

    cells = np.array([20, 40, 80, 160])
    figure, axis = plt.subplots(figsize=(5, 4), layout="constrained")
    for factor, style in ((1.05, "o-"), (3.0, "s--")):
        found = np.array([error(int(n), round(factor * n)) for n in cells])
        rates = np.log2(found[-2] / found[-1])
        print(
            f"| manufactured solution, {factor:g} steps a cell: order of u, of wall | {rates[0]:.2f}, {rates[1]:.2f} |"
        )
        for k, name in enumerate(("velocity [m/s]", "wall stretch")):
            axis.loglog(cells, found[:, k], style, label=f"{name}, {factor:g} steps a cell")
    axis.loglog(cells, 2e-3 * (cells[0] / cells) ** 2.0, "k:", label="second order")
    axis.set(xlabel="cells", ylabel="RMS error")
    axis.legend(frameon=False)
    figure.savefig(IMAGES / "verification-order.png", dpi=110)


def grids() -> None:
    """ADAN56 on four grids and in single precision."""
    model = load_network("adan56")
    finest = solve_model(model, dx_mm=2.0, tolerance_mmHg=0.005)
    figure, axis = plt.subplots(figsize=(5, 4), layout="constrained")
    shown = []
    for dx in (20.0, 10.0, 5.0):
        p, q = relative(solve_model(model, dx_mm=dx, tolerance_mmHg=0.005), finest)
        shown.append((dx, p.mean(), p.max(), q.mean()))
        print(
            f"| ADAN56, {dx:g} mm cells against 2 mm: pressure mean, worst vessel; flow mean, worst | "
            f"{100 * p.mean():.3f} %, {100 * p.max():.3f} %; {100 * q.mean():.2f} %, {100 * q.max():.2f} % |"
        )
    for k, name in ((1, "pressure, mean"), (2, "pressure, worst vessel"), (3, "flow, mean")):
        axis.loglog([s[0] for s in shown], [100 * s[k] for s in shown], "o-", label=name)
    axis.set(xlabel="cell [mm]", ylabel="error against 2 mm [%]")
    axis.legend(frameon=False)
    figure.savefig(IMAGES / "verification-grid.png", dpi=110)
    ten = solve_model(model, dx_mm=10.0, tolerance_mmHg=0.02)
    single, _ = relative(solve_model(model, dx_mm=10.0, tolerance_mmHg=0.02, precision="float32"), ten)
    print(f"| ADAN56, float32 against float64: pressure, worst vessel | {100 * single.max():.4f} % |")
    print(f"| ADAN56: mean outflow over mean inflow, less 1 | {ten.mass_balance:.1e} |")
    print(f"| ADAN56, 10 mm: periods, bound of the error left | {ten.cycles}, {ten.bound:.3f} mmHg |")


def limit() -> None:
    """Small waves against the linear network."""
    from test_linear_limit import adult, linear_response, scaled_response

    for viscosity, name in ((0.0, "elastic"), (1.0, "viscous")):
        subject = adult(viscosity)
        linear = linear_response(subject)
        for amplitude in (1.0, 0.1, 0.001):
            found = scaled_response(subject, amplitude, 10.0)
            error = np.sqrt(np.mean((found - linear) ** 2, axis=1)) / np.ptp(linear, axis=1)
            share = 100 * error.max()
            print(f"| 116 segments, {name}, {amplitude:g} of the flow, against linear | {share:.2f} % of the swing |")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for part in (references, order, grids, limit):
        part()
