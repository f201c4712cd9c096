r"""Flow at sites, volumes behind arteries that go on, and diameters, as the linear network gives them."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from pulsebayes.simulators.network import LinearNetwork, adult_network, make_outlets, make_tubes
from pulsebayes.simulators.network.flow import place_gauges, tissue_volume
from pulsebayes.simulators.network.sites import place_sites, terminal_of
from pulsebayes.simulators.network.transmission import cut_segments
from pulsebayes.simulators.population import healthy_subject
from pulsebayes.simulators.registry import Simulated

SITES = ("AorticRoot:flow", "Carotid", "Carotid:flow", "Digital:flow", "Femoral:flow", "SuperficialTemporal:ppg")
BASELINE = np.array([[25.0, 0, 0, 0, 0, 0, 0], [75.0, 0, 0, 0, 0, 0, 0]])


@pytest.fixture(scope="module")
def simulator() -> LinearNetwork:
    return LinearNetwork(
        population="healthy", beat="periodic", sites=SITES, n_frequencies=80, diameters=("AorticRoot", "Femoral")
    )


@pytest.fixture(scope="module")
def rows(simulator: LinearNetwork) -> Simulated:
    return simulator.simulate(BASELINE, seed=1)


def test_flow_at_the_root_is_the_inflow(simulator: LinearNetwork, rows: Simulated) -> None:
    flow = rows.waves[:, 0]
    columns = dict(zip(simulator.quantity_names, rows.quantities.T, strict=True))
    # 2 cm of aorta resist by .01 mmHg in all, of which single precision at 90 mmHg leaves three digits
    np.testing.assert_allclose(flow.mean(-1), columns["HR"] * columns["SV"] / 60, rtol=1e-2)
    assert flow[0].max() == pytest.approx(422, abs=6)  # published: 422 mL/s at 79 ms, here without lines above 97 Hz
    assert flow[0].min() == pytest.approx(-51, abs=6)


def test_flow_into_a_bed_obeys_its_resistance(rows: Simulated) -> None:
    pressure = LinearNetwork(population="healthy", beat="periodic", sites=("Digital",), n_frequencies=80)
    drop = pressure.simulate(BASELINE, seed=1).waves[:, 0].mean(-1) - 33.2
    adult = healthy_subject(jnp.asarray(BASELINE, "float32"))
    outlets = make_outlets(adult, make_tubes(adult))
    k = terminal_of(adult_network(), "Digital")
    np.testing.assert_allclose(rows.waves[:, 3].mean(-1), drop / np.asarray((outlets.r1 + outlets.r2)[k]), rtol=5e-3)


def test_flow_falls_away_from_the_heart_and_pulses(rows: Simulated) -> None:
    root, _, carotid, finger, leg, _ = np.moveaxis(rows.waves, 1, 0)
    for flow in (carotid, leg):
        assert np.all((flow.mean(-1) > 1) & (flow.mean(-1) < 0.15 * root.mean(-1)))
        assert np.all(flow.max(-1) > 2 * flow.mean(-1))
    assert np.all(finger.mean(-1) < leg.mean(-1))


def test_a_place_is_cut_once_for_its_pressure_and_its_flow(rows: Simulated) -> None:
    nodes, splits = place_sites(adult_network(), ["Carotid", "Carotid", "Femoral"])
    assert (nodes, {len(cuts) for cuts in splits.values()}) == ((109, 109, 110), {1})
    alone = LinearNetwork(population="healthy", beat="periodic", sites=("Carotid",), n_frequencies=80)
    np.testing.assert_allclose(rows.waves[:, 1], alone.simulate(BASELINE, seed=1).waves[:, 0], rtol=1e-4)


def test_an_ear_has_a_photoplethysmogram(rows: Simulated) -> None:
    ear = rows.waves[:, 5]
    np.testing.assert_allclose([ear.min(), ear.max()], [0.0, 1.0], atol=1e-6)
    assert np.all(ear[:, 0] == 0.0)
    assert np.all(ear.argmax(-1) < 0.6 * ear.shape[-1])  # a pulse that rises faster than it falls


def test_the_volume_behind_a_site_is_what_has_not_flowed_out() -> None:
    n, period = 256, 0.8
    phase = 2 * np.pi * np.arange(n) / n
    pressure, flow = 90 + 20 * np.sin(phase), 5 + 3 * np.cos(phase - 0.4)
    p, q = (jnp.asarray(np.fft.rfft(v)[None, :10] / n) for v in (pressure, flow))
    drain = jnp.zeros_like(p).at[:, 0].set(30.0)
    found = tissue_volume(q, p, drain, 2 * jnp.pi * jnp.arange(10)[None] / period)
    volume = np.fft.irfft(np.asarray(found[0]), n) * n
    change = np.gradient(np.tile(volume, 3), period / n)[n : 2 * n]
    np.testing.assert_allclose(change, flow - (pressure - 30) * 5 / 60, atol=2e-3)


def test_diameters_are_quantities_where_they_are_asked_for(simulator: LinearNetwork, rows: Simulated) -> None:
    assert simulator.quantity_names[-2:] == ("D_AorticRoot", "D_Femoral")
    assert simulator.units["D_Femoral"] == "mm"
    root = rows.quantities[:, -2]
    assert root[1] / root[0] == pytest.approx(1.18265, abs=1e-4)  # the published widening from 25 to 75 years
    assert "diameters" not in LinearNetwork().config
    with pytest.raises(ValueError, match="got 'Toe'"):
        LinearNetwork(diameters=("Toe",))


def test_gauges_find_the_piece_beside_a_site() -> None:
    nodes, splits = place_sites(adult_network(), ["Carotid", "Radial"])
    pieces = cut_segments(adult_network(), splits)
    gauges = place_gauges(pieces, ["Carotid", "Radial"])
    assert gauges.at_outlet == (False, True)
    assert (gauges.nodes[0][0], gauges.nodes[1][1]) == nodes
    assert len(gauges.pieces.segment) == 2
