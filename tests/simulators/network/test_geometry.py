r"""The adult network as data, its sites, and the outlets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pulsebayes.simulators.clinical import CLINICAL, clinical_subject
from pulsebayes.simulators.network.elimination import plan_elimination
from pulsebayes.simulators.network.geometry import adult_network, inflow_knots, scaled_radii, vascular_beds
from pulsebayes.simulators.network.linear import make_tubes
from pulsebayes.simulators.network.outlets import make_outlets, outlet_admittance
from pulsebayes.simulators.network.sites import SITES, place_sites
from pulsebayes.simulators.population import healthy_subject


def healthy(*ages: float) -> Any:
    return jax.jit(healthy_subject)(jnp.zeros((len(ages), 7)).at[:, 0].set(jnp.array(ages)))


def test_the_adult_has_116_segments_109_nodes_46_ends_and_8_loops() -> None:
    network = adult_network()
    assert len(network.names) == 116
    assert network.n_nodes == 109
    assert len(network.terminals) == 46
    assert len(network.names) - network.n_nodes + 1 == 8
    assert network.length.sum() == pytest.approx(9.08e3, abs=5)
    assert network.length.min() == 4
    assert network.length.max() == 444
    assert (network.length <= 11).sum() == 26


def test_nodes_join_three_segments_at_most_and_eight_merge_two() -> None:
    network = adult_network()
    degree = np.bincount(network.inlet, minlength=109) + np.bincount(network.outlet, minlength=109)
    assert degree.max() == 3
    merging = np.flatnonzero(np.bincount(network.outlet, minlength=109) == 2) + 1
    assert merging.tolist() == [7, 60, 61, 69, 96, 97, 104, 105]
    assert set(np.flatnonzero(degree == 1).tolist()) == {0, *network.outlet[network.terminals].tolist()}


def test_beds_are_those_published_and_every_end_has_one() -> None:
    beds, network = vascular_beds(), adult_network()
    assert {network.bed[i] for i in network.terminals} == set(beds)
    published = {"brain": (62, 63, 69, 70, 72, 73, 74, 76, 93, 95), "right-arm": (10, 102, 103, 104, 105)}
    for name, segments in published.items():
        assert [i + 1 for i in network.terminals if network.bed[i] == name] == list(segments)
    parallel = 1 / sum(1 / bed.resistance for bed in beds.values())
    assert 0.8 < parallel < 1.2
    assert sum(bed.compliance for bed in beds.values()) == pytest.approx(0.534194, abs=1e-6)


def test_twenty_large_segments_widen_and_so_do_the_inlets_they_feed() -> None:
    network = adult_network()
    inlet, outlet = scaled_radii(network, np.asarray(1.1), np.asarray(1.0))
    wide_out = ~np.isclose(outlet, network.outlet_radius)
    assert wide_out.sum() == 20
    wide_in = ~np.isclose(inlet, network.inlet_radius)
    fed = np.isin(network.inlet, network.outlet[wide_out])
    assert (wide_in == (wide_out | fed)).all()
    inlet, outlet = scaled_radii(network, np.asarray(1.0), np.asarray(0.9))
    np.testing.assert_allclose([inlet, outlet], [0.9 * network.inlet_radius, 0.9 * network.outlet_radius])


def test_inflow_knots_start_and_end_where_phases_meet() -> None:
    knots = inflow_knots()
    for time, flow in knots.values():
        assert time[0] == 0
        assert time[-1] == 1
        assert (np.diff(time) > 0).all()
        assert np.abs(flow).max() <= 1
    assert knots["acceleration"][1][-1] == knots["deceleration"][1][0] == 1


@pytest.mark.parametrize("name", list(SITES))
def test_every_site_lies_on_its_segment(name: str) -> None:
    site, network = SITES[name], adult_network()
    nodes, splits = place_sites(network, [name])
    ends = {0.0: network.inlet, 1.0: network.outlet}
    if site.fraction in ends:
        assert nodes == (int(ends[site.fraction][site.segment - 1]),)
        assert not splits
    else:
        assert nodes == (109,)
        assert splits == {site.segment - 1: [(site.fraction, 109)]}


def test_an_unknown_site_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"site must be one of AorticRoot, .*Radial.*, got 'Elbow'"):
        place_sites(adult_network(), ["Elbow"])


def test_elimination_meets_no_node_of_degree_above_three_and_names_a_node_apart() -> None:
    network = adult_network()
    plan = plan_elimination(network.inlet, network.outlet, (0, 22))
    assert plan.first.near.shape[1] == 3
    nodes = sorted([*plan.first.node.tolist(), *plan.last.node.tolist()])
    assert nodes == list(range(1, 109))
    with pytest.raises(ValueError, match="every node must be connected to the root, got node"):
        plan_elimination(np.array([0, 2]), np.array([1, 3]), (0,))


def test_healthy_outlets_are_matched_and_together_make_the_peripheral_resistance(dense: SimpleNamespace) -> None:
    adults = healthy(25.0, 50.0, 75.0)
    outlets = make_outlets(adults, make_tubes(adults))
    total = 1 / (1 / (outlets.r1 + outlets.r2)).sum(0)
    np.testing.assert_allclose(total, adults.resistance, rtol=1e-5)
    for row in range(3):
        _, r1, r2, c = np.array(dense.outlets(adults, row, adult_network(), vascular_beds())).T
        np.testing.assert_allclose(outlets.r1[:, row], r1, rtol=2e-5)
        np.testing.assert_allclose(outlets.r2[:, row], r2, rtol=2e-5)
        np.testing.assert_allclose(outlets.compliance[:, row], c, rtol=2e-5)
    np.testing.assert_allclose(outlets.compliance.sum(0), 0.534194 * adults.compliance_factor, rtol=1e-5)


def test_outlets_without_room_for_their_impedance_are_flagged_and_stay_positive() -> None:
    theta = CLINICAL.sample(np.random.default_rng(0), 400)
    adults, _ = jax.jit(clinical_subject)(jnp.asarray(theta))
    outlets = jax.jit(lambda adults: make_outlets(adults, make_tubes(adults)))(adults)
    assert float(outlets.r1.min()) > 0
    assert float(outlets.r2.min()) > 0
    assert (outlets.r2 >= outlets.r1 * (1 - 1e-5)).all()
    mismatch = np.asarray(outlets.mismatch)
    assert 0.3 < mismatch.mean() < 0.6  # the facts page: about 40 %
    low = theta[:, CLINICAL.index("mean_pressure")] < 60
    assert mismatch[low].mean() > 0.6  # three quarters of those with a low pressure


def test_an_outlet_is_a_resistor_at_rest_and_its_impedance_at_high_frequency() -> None:
    adults = healthy(40.0)
    outlets = make_outlets(adults, make_tubes(adults))
    omega = jnp.array([[0.0, 1e6]])
    admittance, current = outlet_admittance(outlets, omega, jnp.array([[10.0, 0.0]]) + 0j)
    np.testing.assert_allclose(admittance[:, 0, 0], 1 / (outlets.r1 + outlets.r2)[:, 0], rtol=1e-6)
    np.testing.assert_allclose(admittance[:, 0, 1], 1 / outlets.r1[:, 0], rtol=1e-4)
    np.testing.assert_allclose(current[:, 0, 0], 10 * admittance[:, 0, 0], rtol=1e-6)
