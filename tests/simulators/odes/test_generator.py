r"""Random systems: usable, reproducible, never a skeleton of ODEBench; and what measuring does to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pulsebayes.simulators.odes import Corruption, Generator, Prior, ShardConfig, System, make_shards, unpack
from pulsebayes.simulators.odes.corruption import interpolate
from pulsebayes.simulators.odes.exclusions import Exclusions, odebench_exclusions
from pulsebayes.simulators.odes.generator import RandomSystem
from pulsebayes.simulators.odes.integration import Stepping
from pulsebayes.simulators.odes.shards import read_shard


@pytest.fixture(scope="module")
def drawn() -> list[RandomSystem]:
    return Generator(dimension=1, n_starts=1, batch_size=128).draw(np.random.default_rng(0), 512)


def test_a_third_or_more_of_what_is_drawn_can_be_used(drawn: list[RandomSystem]) -> None:
    assert len(drawn) > 512 / 3


def test_trajectories_solve_their_own_system_in_their_own_units(drawn: list[RandomSystem]) -> None:
    t = np.linspace(0, 10, 257)
    for found in drawn[:100]:
        x = found.x[0].astype(float)
        assert np.abs(x).max() == pytest.approx(1.0, abs=1e-5)
        middle = (x[2:] - x[:-2]) / (t[2] - t[0])
        slope = found.system.evaluate(x[1:-1])
        # Central differences are wrong by h^2/6 of the third derivative: compared where the slope is nearly even.
        even = np.abs(np.gradient(slope[:, 0])) < 0.02 * np.abs(slope).max()
        assert np.abs(middle - slope)[even].max(initial=0.0) < 0.05 * np.abs(slope).max()


def test_no_skeleton_of_odebench_is_drawn(drawn: list[RandomSystem]) -> None:
    assert not [f.system for f in drawn if f.system in odebench_exclusions()]


def test_without_the_list_such_skeletons_would_be_drawn() -> None:
    generator = Generator(dimension=1, batch_size=128, exclusions=Exclusions(frozenset(), frozenset()))
    found = generator.draw(np.random.default_rng(0), 512)
    assert [f for f in found if f.system in odebench_exclusions()]


def test_renamed_states_are_excluded_too() -> None:
    pair = System.from_sympy(["y", "-x - y*(x**2 - 1)"], ["x", "y"])
    assert pair in odebench_exclusions()
    assert pair.permuted([1, 0]) in odebench_exclusions()


@pytest.mark.parametrize(("dimension", "n_inputs"), [(1, 0), (2, 0), (3, 0), (4, 0), (1, 1), (2, 1)])
def test_the_prior_draws_canonical_systems_of_every_kind(dimension: int, n_inputs: int) -> None:
    packed = Prior().draw(np.random.default_rng(1), 64, dimension=dimension, n_inputs=n_inputs)
    systems = [unpack(packed, i) for i in range(64)]
    assert {(s.dimension, s.n_inputs) for s in systems} == {(dimension, n_inputs)}
    assert all(s == s.canonical() for s in systems)


@pytest.mark.parametrize(("dimension", "least"), [(1, 1.0), (2, 0.8)])
def test_most_driven_systems_hold_their_input(dimension: int, least: float) -> None:
    packed = Prior().draw(np.random.default_rng(1), 4000, dimension=dimension, n_inputs=1)
    held = (packed.coefficient != 0)[..., None] & (packed.weight[..., dimension:] != 0).any(-1)
    # With two states second-order systems (one in five) overwrite one of the two equations and exchanges some terms:
    # 87 % of the draws hold their input, with a standard error of half a point.
    assert held.any((1, 2, 3)).mean() >= least


def test_the_same_seed_draws_the_same_systems() -> None:
    generator = Generator(dimension=1, batch_size=128)
    one, two = (generator.draw(np.random.default_rng(3), 64) for _ in range(2))
    assert [f.system for f in one] == [f.system for f in two]


def test_shards_resume_and_depend_on_seed_and_number_only(tmp_path: Path) -> None:
    config = ShardConfig(kinds={"1+0": 6}, seed=5, batch_size=128)
    assert make_shards(tmp_path / "a", 2, config) == 2
    assert make_shards(tmp_path / "a", 2, config) == 0
    (tmp_path / "a" / "00000.npz").unlink()
    assert make_shards(tmp_path / "a", 2, config) == 1
    make_shards(tmp_path / "b", 2, config)
    for number in ("00000", "00001"):
        one, two = (list(read_shard(tmp_path / f / f"{number}.npz")) for f in "ab")
        np.testing.assert_array_equal(one[0].x, two[0].x)
        assert len(one[0].packed) == 6


@pytest.mark.parametrize("changes", [{"kinds": {"x": 1}}, {"kinds": {"0+0": 1}}, {"kinds": {"1+0": 0}}])
def test_kinds_that_cannot_be_read_are_refused(changes: dict[str, dict[str, int]]) -> None:
    with pytest.raises(ValueError, match=r"states\+inputs"):
        ShardConfig(**changes)


def test_measuring_keeps_values_when_there_is_no_noise() -> None:
    t = np.linspace(0, 10, 257)
    x = np.stack([np.sin(t), np.cos(2 * t)], -1)[None].repeat(5, 0)
    clean = Corruption(points=(60, 60), noise=0.0)
    seen = clean.observe(np.random.default_rng(0), x, np.zeros((5, 257, 0)))
    assert (np.diff(seen.t, axis=1) >= 0).all()
    np.testing.assert_allclose(seen.x[..., 0], np.sin(seen.t), atol=1e-5)
    np.testing.assert_allclose(seen.x[..., 1], np.cos(2 * seen.t), atol=1e-5)


def test_noise_has_the_size_asked_for() -> None:
    x = np.full((400, 257, 1), 2.0)
    noisy = Corruption(points=(200, 200), noise=0.1, clean=0.0, additive=0.0)
    seen = noisy.observe(np.random.default_rng(0), x, np.zeros((400, 257, 0)))
    sigma = seen.x.std(1)[:, 0]
    assert sigma.max() < 0.25 and abs(np.mean(sigma) - 0.1) < 0.01  # uniform up to 0.1 of 2: mean 0.1, 400 rows


def test_cubics_are_interpolated_exactly() -> None:
    t = np.linspace(0, 1, 17)
    s = np.random.default_rng(0).random((1, 50))
    np.testing.assert_allclose(interpolate((t**3)[None, :, None], s)[0, :, 0], s[0] ** 3, atol=1e-12)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="points must be"):
        Corruption(points=(2, 10))
    with pytest.raises(ValueError, match="drop must be in"):
        Corruption(drop=1.0)
    with pytest.raises(ValueError, match="dimension must be at least"):
        Generator(dimension=0)
    with pytest.raises(ValueError, match="add up to 1"):
        Prior(structures=(0.5, 0.2, 0.1, 0.1))
    with pytest.raises(ValueError, match="must be positive"):
        Stepping(horizon=0.0)
