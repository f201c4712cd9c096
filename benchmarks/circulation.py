r"""The windkessel law recovered from aortic pressure and flow, and what it says of R and C beside the posterior.

The same adults in two worlds: `linear`, the network that the shipped model `radial-abp` was trained on, in a steady
rhythm; `non-linear`, with its own aorta and beats that vary. Recovered from 4 s at the aortic root at 125 Hz, given the
central venous pressure; the posterior reads 8 s of the radial pressure and nothing else. Run as
`python -m benchmarks.circulation [--quick] [--json] [--out DIR]`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from pulsebayes.calibration.evaluate import draw_quantities
from pulsebayes.inference.bundle import Bundle, find_bundle
from pulsebayes.inference.symbolic.circulation import WindkesselLaw, windkessel_law
from pulsebayes.simulators.network import LinearNetwork
from pulsebayes.simulators.network.nonlinear import NonlinearNetwork
from pulsebayes.simulators.patient import typical_parameters

from .rows import Row, run

FS, SEED = 125.0, 5
DYN = 80.0 / 60.0 * 1000.0
"""A resistance of 1 mmHg s/mL in dyn s cm^-5, as quantities are defined (SVR = 80 (MAP - CVP) / CO in L/min)."""


@dataclass(frozen=True)
class Adults:
    """What was simulated: 8 s of aortic pressure [mmHg], flow [mL/s] and radial pressure [mmHg], and the truth."""

    pressure: np.ndarray
    flow: np.ndarray
    radial: np.ndarray
    quantities: dict[str, np.ndarray]


def parameters(n: int) -> np.ndarray:
    """A typical adult, and others drawn from the clinical population."""
    space = LinearNetwork().space
    return np.concatenate([typical_parameters(1), space.sample(np.random.default_rng(SEED), n - 1)])


def nonlinear(n: int) -> Adults:
    """Windows of the non-linear network."""
    network = NonlinearNetwork(sites=("AorticRoot", "AorticRoot:flow", "Radial"), fs=FS)
    found = network.simulate(parameters(n), SEED)
    kept = found.status == 0
    truth = dict(zip(network.quantity_names, found.quantities[kept].T.astype(float), strict=True))
    pressure, flow, radial = np.moveaxis(found.waves[kept].astype(float), 1, 0)
    return Adults(pressure, flow, radial, truth)


def linear(n: int) -> Adults:
    """Steady beats of the linear network, repeated; the flow is what is injected at its root."""
    import jax
    import jax.numpy as jnp

    from pulsebayes.simulators.network.inflow import flow_coefficients, window_samples
    from pulsebayes.simulators.network.rhythm import steady_beat

    theta = parameters(n)
    network = LinearNetwork(beat="periodic", n_phases=512)
    found = network.simulate(theta, SEED)
    subject, _ = network.subjects(jnp.asarray(theta, jnp.float32))
    train = jax.vmap(steady_beat)(subject)
    phases = train.period[:, None] * jnp.arange(512) / 512
    coefficients = jax.vmap(partial(flow_coefficients, n_frequencies=network.n_frequencies, n_samples=4096))
    flow = jax.vmap(partial(window_samples, oversampling=4096))(
        coefficients(subject, train)[:, None], train.period, phases
    )[:, 0]
    kept = found.status == 0
    period = np.asarray(train.period, dtype=float)[kept]
    waves = np.concatenate([found.waves, np.asarray(flow)[:, None]], axis=1)[kept]
    repeated = np.stack([_repeated(w, p) for w, p in zip(waves, period, strict=True)])
    truth = dict(zip(network.quantity_names, found.quantities[kept].T.astype(float), strict=True))
    return Adults(repeated[:, 0], repeated[:, 2], repeated[:, 1], truth)


def _repeated(beat: np.ndarray, period: float) -> np.ndarray:
    """Channels of one beat, (K, phases), repeated over 8 s: (K, T)."""
    from scipy.interpolate import CubicSpline

    closed = np.column_stack([beat, beat[:, 0]]).astype(float)
    spline = CubicSpline(np.linspace(0.0, period, closed.shape[1]), closed, axis=1, bc_type="periodic")
    return spline(np.arange(round(8.0 * FS)) / FS % period)


def laws(adults: Adults, elements: int) -> list[WindkesselLaw]:
    """The recovered law of every adult."""
    t = np.arange(round(4.0 * FS)) / FS
    return [
        windkessel_law(t, p[: len(t)], q[: len(t)], elements=elements, outflow=float(cvp))
        for p, q, cvp in zip(adults.pressure, adults.flow, adults.quantities["CVP"], strict=True)
    ]


def world(name: str, quick: bool) -> Iterator[Row]:
    """Rows of one world."""
    adults = (linear if name == "linear" else nonlinear)(3 if quick else 17)
    truth = adults.quantities
    resistance, compliance = truth["SVR"] / DYN, truth["C"]
    setting = f"{name}, n {len(compliance)}"
    npe = Bundle.load(find_bundle("radial-abp")).npe
    draws = draw_quantities(npe.without_adapter() if name == "linear" else npe, adults.radial, seed=SEED)
    interval = {q: np.percentile(draws[q], [5.0, 50.0, 95.0], axis=1) for q in ("SVR", "C")}
    for elements in (2, 3):
        found = laws(adults, elements)
        law = f"law of {elements} elements"
        total = np.array([x.resistance + x.impedance for x in found])
        c = np.array([x.compliance for x in found])
        yield from _errors(law, setting, total, resistance, c, compliance)
        yield Row("circulation", law, setting, "misfit of the pressure, median [mmHg]",
                  float(np.median([x.misfit for x in found])))  # fmt: skip
        yield Row("circulation", law, setting, "share of the posterior over equations, mean",
                  float(np.mean([x.weight for x in found])))  # fmt: skip
        for quantity, values in (("SVR", total * DYN), ("C", c)):
            low, _, high = interval[quantity]
            inside = float(np.mean((values > low) & (values < high)))
            yield Row("circulation", law, setting, f"{quantity} inside the posterior's 90 % interval, share", inside)
        yield Row("circulation", law, setting, "typical adult: R + Z [mmHg s/mL]", float(total[0]))
        yield Row("circulation", law, setting, "typical adult: C [mL/mmHg]", float(c[0]), found[0].compliance_error)
    yield from _errors(
        "radial-abp", setting, interval["SVR"][1] / DYN, resistance, interval["C"][1], compliance
    )  # fmt: skip
    for quantity, scale, unit in (("SVR", DYN, "mmHg s/mL"), ("C", 1.0, "mL/mmHg")):
        low, middle, high = interval[quantity][:, 0] / scale
        text = f"typical adult: {quantity} [{unit}] ({low:.2f}-{high:.2f})"
        yield Row("circulation", "radial-abp", setting, text, float(middle))
    yield Row("circulation", "truth", setting, "typical adult: SVR [mmHg s/mL]", float(resistance[0]))
    yield Row("circulation", "truth", setting, "typical adult: C [mL/mmHg]", float(compliance[0]))


def _errors(
    method: str, setting: str, r: np.ndarray, r_true: np.ndarray, c: np.ndarray, c_true: np.ndarray
) -> Iterator[Row]:
    for name, got, true in (("R", r, r_true), ("C", c, c_true)):
        error = 100.0 * (got / true - 1.0)
        spread = float(np.percentile(np.abs(error), 90))
        yield Row(
            "circulation", method, setting, f"{name}: absolute error, median (90 %) [%]",
            float(np.median(np.abs(error))), spread,
        )  # fmt: skip
        yield Row("circulation", method, setting, f"{name}: bias, median [%]", float(np.median(error)))


def main() -> None:
    run("circulation", {name: partial(_part, name) for name in ("linear", "non-linear")})


def _part(name: str, quick: bool) -> Iterator[Row]:
    yield from world(name, quick)


if __name__ == "__main__":
    main()
