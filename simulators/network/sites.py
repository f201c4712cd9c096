r"""Measurement sites of the adult network: where along which segment a sensor sits, and what it measures there.

A site is asked for by its name, for pressure [mmHg], or with `:flow` for flow [mL/s] or `:ppg` for a
photoplethysmogram scaled to 0..1.

References:
    Charlton P.H. et al. (2019), Am J Physiol Heart Circ Physiol 317:H1062, supplement (measurement sites).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from .geometry import Network


@dataclasses.dataclass(frozen=True)
class Site:
    """A place on a segment (numbered from 1 as published), as a fraction of its length from the heart.

    Example:
        >>> SITES["Radial"]
        Site(segment=22, fraction=1.0)
    """

    segment: int
    fraction: float


SITES: dict[str, Site] = {
    "AorticRoot": Site(1, 0.0),
    "ThoracicAorta": Site(18, 1.0),
    "AbdominalAorta": Site(39, 0.0),
    "IliacBifurcation": Site(41, 1.0),
    "Carotid": Site(15, 0.5),
    "SuperficialTemporal": Site(87, 1.0),
    "SupMiddleCerebral": Site(72, 1.0),
    "Brachial": Site(21, 0.75),
    "Radial": Site(22, 1.0),
    "Digital": Site(112, 1.0),
    "CommonIliac": Site(44, 0.5),
    "Femoral": Site(46, 0.5),
    "AnteriorTibial": Site(49, 1.0),
}


SIGNALS = ("pressure", "flow", "ppg")


def parse_site(text: str, *, signals: Sequence[str] = SIGNALS) -> tuple[str, str]:
    """Splits a site's text into the name of the place and the signal that is measured there.

    Arguments:
        text: Name of a site, alone or with `:flow` or `:ppg`.
        signals: Signals that can be had.

    Returns:
        Name and signal.

    Raises:
        ValueError: The site is unknown, or has no such signal.

    Example:
        >>> parse_site("Digital:ppg"), parse_site("Radial")
        (('Digital', 'ppg'), ('Radial', 'pressure'))
    """
    name, _, signal = text.partition(":")
    if name not in SITES or (signal or "pressure") not in signals:
        others = " or ".join(f":{s}" for s in signals if s != "pressure")
        raise ValueError(f"site must be one of {', '.join(SITES)}, alone or with {others}, got {text!r}")
    return name, signal or "pressure"


def terminal_of(network: Network, name: str) -> int | None:
    """Finds the outlet that a site feeds.

    Arguments:
        network: The network.
        name: Name of a site.

    Returns:
        Place among the network's terminal segments, None where arteries go on.

    Example:
        >>> from pulsebayes.simulators.network.geometry import adult_network
        >>> terminal_of(adult_network(), "Digital"), terminal_of(adult_network(), "Radial")
        (42, None)
    """
    site, terminals = SITES[name], network.terminals.tolist()
    return terminals.index(site.segment - 1) if site.fraction == 1.0 and site.segment - 1 in terminals else None


def place_sites(network: Network, names: Sequence[str]) -> tuple[tuple[int, ...], dict[int, list[tuple[float, int]]]]:
    """Nodes of the sites, with a new node for each site inside a segment.

    Arguments:
        network: The network.
        names: Names of sites.

    Returns:
        Node of each site, and segment to its interior (fraction, node) pairs.

    Raises:
        ValueError: A site is unknown.

    Example:
        >>> from pulsebayes.simulators.network.geometry import adult_network
        >>> place_sites(adult_network(), ["AorticRoot", "Carotid"])
        ((0, 109), {14: [(0.5, 109)]})
    """
    nodes: list[int] = []
    splits: dict[int, list[tuple[float, int]]] = {}
    placed: dict[Site, int] = {}
    for name in names:
        if name not in SITES:
            raise ValueError(f"site must be one of {', '.join(SITES)}, got {name!r}")
        site = SITES[name]
        segment = site.segment - 1
        if site.fraction in (0.0, 1.0):
            nodes.append(int((network.inlet if site.fraction == 0.0 else network.outlet)[segment]))
            continue
        if site not in placed:  # asked for twice, as pressure and as flow, a place is cut once
            placed[site] = network.n_nodes + len(placed)
            splits.setdefault(segment, []).append((site.fraction, placed[site]))
        nodes.append(placed[site])
    return tuple(nodes), splits
