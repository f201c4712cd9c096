r"""Tapering viscoelastic tubes as transmission lines: fourth-order Magnus two-ports that never subtract.

Linearised one-dimensional flow in a tube of local lumen area $A_0(x)$,

$$\frac{dP}{dx} = -Z\,Q,\quad \frac{dQ}{dx} = -Y\,P,\qquad
  Z = \frac{8\pi\mu}{A_0^2} + i\omega\frac{\rho}{A_0},\quad
  Y = \frac{i\omega C}{1 + i\omega C\,\Gamma A_0^{-3/2}},\quad C = \frac{A_0}{\rho c_0^2}.$$

Over one element with Gauss points 1 and 2, $z = (Z_1+Z_2)h/2$, $y = (Y_1+Y_2)h/2$,
$e = \tfrac{\sqrt3}{12}h^2(Z_1Y_2 - Z_2Y_1)$ and $s^2 = e^2 + zy$, the fourth-order Magnus propagator is

$$\begin{pmatrix}P\\Q\end{pmatrix}_{in} =
  \Big[\cosh s\,I + \frac{\sinh s}{s}\begin{pmatrix}e&z\\y&-e\end{pmatrix}\Big]
  \begin{pmatrix}P\\Q\end{pmatrix}_{out}.$$

Chains are kept as $(A-1, B, C, D-1)$, so that the small parts survive in single precision; cosh and sinh come as
power series in $s^2$. For a uniform tube an element of any length is exact.

References:
    Blanes S. et al. (2009), The Magnus expansion and some of its applications, Phys Rep 470:151, eq. 253;
    Flores J. et al. (2016), Ann Biomed Eng 44:3047 (vessel impedance). Units: mmHg, mL, s for pressure, flow and
    time; geometry in SI. Pressure over flow is scaled to mmHg s/mL because SI impedances overflow single precision.
"""

from __future__ import annotations

import dataclasses
from math import factorial, sqrt
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from ...waveforms.units import PA_PER_MMHG
from .geometry import Network

IMPEDANCE_UNIT = PA_PER_MMHG * 1e6  # Pa s/m3 in one mmHg s/mL
_GAUSS = 0.5 - sqrt(3.0) / 6.0
_TERMS = 10  # series terms: 4e-8 relative at |s| = 3, beyond the largest element at 32 Hz


class Chain(NamedTuple):
    r"""Two-ports $\begin{pmatrix}1+a&b\\c&1+d\end{pmatrix}$ from outlet to inlet; b [mmHg s/mL], c its inverse unit.

    Example:
        >>> Chain._fields
        ('a', 'b', 'c', 'd')
    """

    a: Complex[Array, "*shape"]
    b: Complex[Array, "*shape"]
    c: Complex[Array, "*shape"]
    d: Complex[Array, "*shape"]


class Tubes(NamedTuple):
    r"""Physical description of every segment of a batch of subjects, each field of shape (S, B).

    `length`, `inlet_radius`, `outlet_radius` [m]; `k1` and `k3` [Pa], `viscosity` [Pa s], wall viscosity
    `b0` [kg/s] and `b1` [kg m/s] of $\Gamma = b_1/D + b_0$.

    Example:
        >>> len(Tubes._fields)
        8
    """

    length: Float[Array, "S B"]
    inlet_radius: Float[Array, "S B"]
    outlet_radius: Float[Array, "S B"]
    k1: Float[Array, "S B"]
    k3: Float[Array, "S B"]
    viscosity: Float[Array, "S B"]
    b0: Float[Array, "S B"]
    b1: Float[Array, "S B"]


@dataclasses.dataclass(frozen=True, eq=False)
class Pieces:
    r"""How segments are cut: pieces between nodes (split at interior sites), pieces into elements.

    Pieces are sorted by their number of elements, largest first, and elements are laid out position by position, so
    that chains multiply slice by slice without a gather.

    Arguments:
        segment: Segment of each piece, shape (P,).
        start: Where the piece begins along its segment, 0..1, shape (P,).
        end: Where it ends, shape (P,).
        inlet: Node at its inlet, shape (P,).
        outlet: Node at its outlet, shape (P,).
        n_elements: Elements of each piece, descending, shape (P,).

    Example:
        >>> from pulsebayes.simulators.network.geometry import adult_network
        >>> len(cut_segments(adult_network(), {}).segment)
        116
    """

    segment: Int[np.ndarray, " P"]
    start: Float[np.ndarray, " P"]
    end: Float[np.ndarray, " P"]
    inlet: Int[np.ndarray, " P"]
    outlet: Int[np.ndarray, " P"]
    n_elements: Int[np.ndarray, " P"]

    @property
    def layers(self) -> list[int]:
        """How many pieces have a first, second, third ... element."""
        return [int((self.n_elements > k).sum()) for k in range(int(self.n_elements.max()))]


def cut_segments(network: Network, splits: dict[int, list[tuple[float, int]]], *, element_mm: float = 50.0) -> Pieces:
    """Cut a network into pieces at interior sites and pieces into elements.

    Arguments:
        network: The network.
        splits: Segment to its interior (fraction, node) pairs.
        element_mm: Longest element [mm]; an element also spans at most a fifth of its radius in taper.

    Returns:
        The pieces.

    Example:
        >>> from pulsebayes.simulators.network.geometry import adult_network
        >>> len(cut_segments(adult_network(), {14: [(0.5, 109)]}).segment)
        117
    """
    rows = []
    for s in range(len(network.names)):
        cuts = sorted(splits.get(s, []))
        places = [0.0, *[fraction for fraction, _ in cuts], 1.0]
        nodes = [int(network.inlet[s]), *[node for _, node in cuts], int(network.outlet[s])]
        taper = abs(network.inlet_radius[s] - network.outlet_radius[s]) / network.mean_radius[s]
        for i in range(len(places) - 1):
            share = places[i + 1] - places[i]
            n = max(1, int(np.ceil(share * network.length[s] / element_mm)), int(np.ceil(share * taper / 0.2)))
            rows.append((s, places[i], places[i + 1], nodes[i], nodes[i + 1], n))
    rows.sort(key=lambda row: -row[5])
    segment, start, end, inlet, outlet, n_elements = (np.array(column) for column in zip(*rows, strict=True))
    return Pieces(segment, start, end, inlet, outlet, n_elements)


def _element_places(pieces: Pieces) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Segment, start and width (as shares of the segment) of every element, layer by layer."""
    segment, start, width = [], [], []
    for k, count in enumerate(pieces.layers):
        step = (pieces.end[:count] - pieces.start[:count]) / pieces.n_elements[:count]
        segment.append(pieces.segment[:count])
        start.append(pieces.start[:count] + k * step)
        width.append(step)
    return np.concatenate(segment), np.concatenate(start), np.concatenate(width)


def line_constants(tubes: Tubes, segment: Int[np.ndarray, " E"], place: Float[np.ndarray, " E"]) -> tuple[Array, ...]:
    r"""Series resistance, inertance, compliance and wall time constant per metre at places along segments.

    Arguments:
        tubes: The segments of each subject.
        segment: Segment of each place, shape (E,).
        place: Share of the segment, 0..1, shape (E,).

    Returns:
        Resistance and inertance [mmHg s/mL/m, mmHg s2/mL/m], compliance [mL/mmHg/m], time constant [s]; (E, B) each.

    Example:
        >>> one = jnp.ones((1, 1))
        >>> tubes = Tubes(0.1 * one, 0.01 * one, 0.01 * one, 0 * one, 1e5 * one, 3e-3 * one, 0 * one, 0 * one)
        >>> compliance = line_constants(tubes, np.array([0]), np.array([0.5]))[2]
        >>> round(float(compliance[0, 0]), 3)
        0.628
    """
    dtype = tubes.length.dtype
    x = jnp.asarray(place, dtype)[:, None]
    radius = tubes.inlet_radius[segment] * (1 - x) + tubes.outlet_radius[segment] * x
    area = jnp.pi * radius**2
    stiffness = tubes.k1[segment] * jnp.exp(-1350.0 * radius) + tubes.k3[segment]  # k2 = -13.5 1/cm
    compliance = 1.5 * area / stiffness  # A0/(rho c0^2), c0^2 = (2/3)(Eh/R)/rho
    gamma = tubes.b1[segment] / (2 * radius) + tubes.b0[segment]
    return (
        8 * jnp.pi * tubes.viscosity[segment] / area**2 / IMPEDANCE_UNIT,
        1060.0 / area / IMPEDANCE_UNIT,
        compliance * IMPEDANCE_UNIT,
        compliance * gamma / area**1.5,
    )


class _Lines(NamedTuple):
    """Line constants times element length at both Gauss points, each (B, E): r [..], l, c and the time constant."""

    resistance: tuple[Array, Array]
    inertance: tuple[Array, Array]
    compliance: tuple[Array, Array]
    lag: tuple[Array, Array]


def _element_lines(tubes: Tubes, pieces: Pieces) -> _Lines:
    segment, start, width = _element_places(pieces)
    length = tubes.length[segment] * jnp.asarray(width, tubes.length.dtype)[:, None]
    points = []
    for gauss in (_GAUSS, 1 - _GAUSS):
        resistance, inertance, compliance, lag = line_constants(tubes, segment, start + gauss * width)
        points.append(((length * resistance).T, (length * inertance).T, (length * compliance).T, lag.T))
    return _Lines(*zip(*points, strict=True))


def _elements(lines: _Lines, omega: Float[Array, " F"]) -> tuple[Array, ...]:
    """cosh s - 1, sinh(s)/s, z, y and e of every element of one subject, each with shape (E, F)."""
    z, y = [], []
    for r, l, c, lag in zip(*lines, strict=True):  # noqa: E741
        z.append(jax.lax.complex(jnp.broadcast_to(r[:, None], (len(r), len(omega))), l[:, None] * omega))
        turn = lag[:, None] * omega
        admittance = c[:, None] * omega / (1 + turn * turn)
        y.append(jax.lax.complex(admittance * turn, admittance))
    mean_z, mean_y = 0.5 * (z[0] + z[1]), 0.5 * (y[0] + y[1])
    e = sqrt(3.0) / 12.0 * (z[0] * y[1] - z[1] * y[0])
    s2 = e * e + mean_z * mean_y
    cosh1 = jnp.zeros_like(s2)
    sinhc = jnp.zeros_like(s2)
    for n in range(_TERMS - 1, 0, -1):
        cosh1 = (cosh1 + 1 / factorial(2 * n)) * s2
        sinhc = (sinhc + 1 / factorial(2 * n + 1)) * s2
    return cosh1, sinhc + 1, mean_z, mean_y, e


def compose(first: Chain, second: Chain) -> Chain:
    """Two two-ports in series, the first nearer the heart.

    Arguments:
        first: Upstream two-ports.
        second: Downstream two-ports.

    Returns:
        Their product, without a subtraction.

    Example:
        >>> half = Chain(*(jnp.asarray(v + 0j) for v in (0.0, 1.0, 0.0, 0.0)))
        >>> complex(compose(half, half).b)
        (2+0j)
    """
    (a1, b1, c1, d1), (a2, b2, c2, d2) = first, second
    return Chain(
        a1 + a2 + a1 * a2 + b1 * c2,
        b2 + a1 * b2 + b1 + b1 * d2,
        c1 + c1 * a2 + c2 + d1 * c2,
        d1 + d2 + d1 * d2 + c1 * b2,
    )


def _chains(elements: tuple[Array, ...], layers: list[int]) -> Chain:
    """Multiply the elements of every piece of one subject; fields of shape (P, F)."""
    cosh1, sinhc, z, y, e = elements
    every = Chain(cosh1 + e * sinhc, z * sinhc, y * sinhc, cosh1 - e * sinhc)
    bounds = np.cumsum([0, *layers])
    done: list[Chain] = []
    for k, count in enumerate(layers):  # pieces of exactly k + 1 elements lie behind those of more
        rows = slice(layers[k + 1] if k + 1 < len(layers) else 0, count)
        if rows.start == rows.stop:
            continue
        group = Chain(*(field[rows] for field in every))
        for layer in range(1, k + 1):
            at = slice(bounds[layer] + rows.start, bounds[layer] + rows.stop)
            group = compose(group, Chain(*(field[at] for field in every)))
        done.append(group)
    return Chain(*(jnp.concatenate(fields[::-1]) for fields in zip(*done, strict=True)))


def chain_pieces(elements: tuple[Array, ...], pieces: Pieces) -> Chain:
    """Two-ports of all pieces of one subject from its elements.

    Arguments:
        elements: What `element_series` returns for the subject, each of shape (E, F).
        pieces: How segments are cut.

    Returns:
        Chains with fields of shape (P, F).

    Example:
        >>> from pulsebayes.simulators.network.geometry import adult_network
        >>> one = jnp.ones((116, 1))
        >>> tubes = Tubes(0.1 * one, 0.01 * one, 0.01 * one, 0 * one, 1e5 * one, 3e-3 * one, 0 * one, 0 * one)
        >>> pieces = cut_segments(adult_network(), {})
        >>> elements = element_series(tubes, pieces, jnp.ones((1, 4)))
        >>> chain_pieces(tuple(field[0] for field in elements), pieces).a.shape
        (116, 4)
    """
    return _chains(elements, pieces.layers)


def element_series(tubes: Tubes, pieces: Pieces, omega: Float[Array, "B F"]) -> tuple[Complex[Array, "B E F"], ...]:
    r"""$\cosh s - 1$, $\sinh(s)/s$, $z$, $y$ and $e$ of every element of a batch of subjects.

    Arguments:
        tubes: The segments of each subject, fields of shape (S, B).
        pieces: How segments are cut.
        omega: Angular frequencies of each subject [rad/s], with shape (B, F).

    Returns:
        Five arrays of shape (B, E, F).

    Example:
        >>> from pulsebayes.simulators.network.geometry import adult_network
        >>> one = jnp.ones((116, 1))
        >>> tubes = Tubes(0.1 * one, 0.01 * one, 0.01 * one, 0 * one, 1e5 * one, 3e-3 * one, 0 * one, 0 * one)
        >>> len(element_series(tubes, cut_segments(adult_network(), {}), jnp.ones((1, 4))))
        5
    """
    series: tuple[Array, ...] = jax.lax.map(lambda args: _elements(*args), (_element_lines(tubes, pieces), omega))
    return series
