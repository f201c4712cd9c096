r"""Flow at sites of the linear network, and the photoplethysmogram of arteries that go on.

The two-port of the piece beside a site turns the pressures at its ends into flow there,

$$ Q_{in} = \frac{(P_{in} - P_{out}) + d\,P_{in}}{b}, \qquad Q_{out} = \frac{(P_{in} - P_{out}) - a\,P_{out}}{b}, $$

with the chain $(a, b, c, d)$ of `transmission`. Where an artery does not end in a bed, the tissue behind a site is
taken as one resistance $R = \sum (P - P_{out})/\sum Q$, and its blood volume is what flows in and has not flowed out,

$$ i\omega V = Q - (P - P_{out})/R . $$

References:
    Charlton P.H. et al. (2019), Am J Physiol Heart Circ Physiol 317:H1062 (photoplethysmogram away from terminals).
    Units: mmHg, mL, s.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from .sites import SITES
from .transmission import Pieces, Tubes, chain_pieces, element_series

__all__ = ["Gauges", "gauge_flow", "place_gauges", "tissue_volume"]


@dataclasses.dataclass(frozen=True, eq=False)
class Gauges:
    r"""Where flow is read: a piece for each site, and which of its ends.

    Arguments:
        pieces: The pieces, by themselves.
        order: Place of each site's piece among them.
        nodes: Nodes at the inlet and the outlet of each site's piece.
        at_outlet: Whether the site is at the piece's outlet.

    Example:
        >>> from pulsebayes.simulators.network.geometry import adult_network
        >>> from pulsebayes.simulators.network.transmission import cut_segments
        >>> place_gauges(cut_segments(adult_network(), {}), ["AorticRoot"]).nodes
        ((0, 1),)
    """

    pieces: Pieces
    order: tuple[int, ...]
    nodes: tuple[tuple[int, int], ...]
    at_outlet: tuple[bool, ...]


def place_gauges(pieces: Pieces, names: Sequence[str]) -> Gauges:
    """Finds the pieces beside sites.

    Arguments:
        pieces: How segments are cut, at these sites too.
        names: Names of sites.

    Returns:
        The gauges.

    Example:
        >>> from pulsebayes.simulators.network.geometry import adult_network
        >>> from pulsebayes.simulators.network.transmission import cut_segments
        >>> place_gauges(cut_segments(adult_network(), {14: [(0.5, 109)]}), ["Carotid"]).nodes[0][0]
        109
    """
    found = []
    for name in names:
        site = SITES[name]
        at = pieces.end if site.fraction == 1.0 else pieces.start
        found.append(int(np.flatnonzero((pieces.segment == site.segment - 1) & (at == site.fraction))[0]))
    kept = sorted(set(found))  # pieces stay in their order, largest first
    own = Pieces(*(getattr(pieces, field.name)[kept] for field in dataclasses.fields(pieces)))
    nodes = tuple((int(pieces.inlet[p]), int(pieces.outlet[p])) for p in found)
    ends = tuple(SITES[name].fraction == 1.0 for name in names)
    return Gauges(own, tuple(kept.index(p) for p in found), nodes, ends)


def gauge_flow(
    gauges: Gauges,
    tubes: Tubes,
    omega: Float[Array, "B F"],
    inlet: Complex[Array, "B G F"],
    outlet: Complex[Array, "B G F"],
) -> Complex[Array, "B G F"]:
    """Fourier coefficients of flow at the gauges [mL/s].

    Arguments:
        gauges: The gauges.
        tubes: Segments, fields of shape (S, B).
        omega: Angular frequencies [rad/s].
        inlet: Pressure at the inlet of each gauge's piece [mmHg].
        outlet: Pressure at its outlet [mmHg].

    Returns:
        Flow.

    Example:
        >>> gauge_flow.__name__
        'gauge_flow'
    """
    chains = jax.lax.map(
        lambda elements: chain_pieces(elements, gauges.pieces), element_series(tubes, gauges.pieces, omega)
    )
    a, b, d = (getattr(chains, name)[:, np.array(gauges.order)] for name in ("a", "b", "d"))
    own = jnp.where(np.array(gauges.at_outlet)[:, None], -a * outlet, d * inlet)
    flow: Array = (inlet - outlet + own) / b
    return flow


def tissue_volume(
    flow: Complex[Array, "B F"],
    pressure: Complex[Array, "B F"],
    outflow_pressure: Complex[Array, "B F"],
    omega: Float[Array, "B F"],
) -> Complex[Array, "B F"]:
    """Fourier coefficients of the blood volume behind a site where the artery goes on, without its mean.

    Arguments:
        flow: Flow at the site [mL/s].
        pressure: Pressure there [mmHg].
        outflow_pressure: Pressure to which the beds drain [mmHg].
        omega: Angular frequencies [rad/s], the first of them 0.

    Returns:
        Volume [mL].

    Example:
        >>> one = jnp.ones((1, 2)) + 0j
        >>> tissue_volume(2 * one, 90 * one, 80 * one, jnp.array([[0.0, 2.0]]))[0].tolist()
        [0j, 0j]
    """
    drop = pressure - outflow_pressure
    conductance = flow[:, :1].real / drop[:, :1].real
    turn = jnp.where(omega > 0, omega, 1.0)
    return jnp.where(omega > 0, (flow - drop * conductance) / (1j * turn), 0.0)
