r"""Write the shipped file of the adult network: the 25-year-old of the healthy population, from the package's tables.

python docs/make_adult_network.py > simulators/network/files/data/adult116.toml
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from pulsebayes.simulators.network.files import network_to_toml
from pulsebayes.simulators.network.geometry import adult_network
from pulsebayes.simulators.network.inflow import aortic_flow
from pulsebayes.simulators.network.linear import make_tubes
from pulsebayes.simulators.network.model import InflowWave, NetworkModel, Outlet, Vessel
from pulsebayes.simulators.network.outlets import make_outlets
from pulsebayes.simulators.network.rhythm import steady_beat
from pulsebayes.simulators.population import DENSITY, WALL_VISCOSITY, diastolic_pressure, healthy_subject

SOURCE = (
    "25-year-old of the Pulse Wave Database (Charlton et al. 2019, doi:10.1152/ajpheart.00218.2019, MIT), "
    "network after Mynard & Smolich 2015 (doi:10.1007/s10439-015-1313-8)"
)


def adult_model(age: float = 25.0) -> NetworkModel:
    """The healthy adult of an age as a described network."""
    theta = jnp.zeros((1, 7)).at[:, 0].set(age)
    subject = healthy_subject(theta)
    network, tubes = adult_network(), make_tubes(subject)
    outlets = make_outlets(subject, tubes)
    external = round(float(diastolic_pressure(jnp.asarray(age))), 3)
    vessels = []
    for s, name in enumerate(network.names):
        viscous = float(tubes.b0[s, 0]) > 0
        vessels.append(
            Vessel(
                name=f"{s + 1} {name}",
                inlet=str(int(network.inlet[s]) + 1),
                outlet=str(int(network.outlet[s]) + 1),
                length_mm=round(1e3 * float(tubes.length[s, 0]), 4),
                inlet_radius_mm=round(1e3 * float(tubes.inlet_radius[s, 0]), 4),
                outlet_radius_mm=round(1e3 * float(tubes.outlet_radius[s, 0]), 4),
                stiffness_kPa=(round(1e-3 * float(tubes.k1[s, 0]), 3), round(1e-3 * float(tubes.k3[s, 0]), 4)),
                external_pressure_mmHg=external,
                wall_viscosity=WALL_VISCOSITY if viscous else (0.0, 0.0),
            )
        )
    ends = [
        Outlet(
            str(int(network.outlet[s]) + 1),
            r1=round(float(outlets.r1[k, 0]), 5),
            r2=round(float(outlets.r2[k, 0]), 5),
            compliance=float(f"{float(outlets.compliance[k, 0]):.6g}"),
            pressure_mmHg=round(float(subject.outflow_pressure[0]), 3),
        )
        for k, s in enumerate(network.terminals)
    ]
    return NetworkModel(
        "adult116", tuple(vessels), tuple(ends), _inflow(subject), density=DENSITY,
        viscosity=round(float(subject.blood_viscosity[0]), 6), source=SOURCE,
    )  # fmt: skip


def _inflow(subject: Any) -> InflowWave:
    """The aortic flow of one beat, which carries the stroke volume."""
    time = np.linspace(0.0, 60.0 / float(subject.heart_rate[0]), 201)
    one = type(subject)(*(field[0] for field in subject))
    flow = np.asarray(aortic_flow(one, steady_beat(one), jnp.asarray(time[:-1])))
    flow = np.append(flow, flow[0])
    flow *= float(one.stroke_volume) / np.trapezoid(flow, time)
    return InflowWave("1", np.round(time, 6), np.round(flow, 4))


if __name__ == "__main__":
    print(network_to_toml(adult_model()), end="")
