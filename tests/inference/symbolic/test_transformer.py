r"""The transformer: windows and hints, batches, training that resumes exactly, decoding; the shipped weights."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pulsebayes.inference.bundle import BundleError
from pulsebayes.inference.checkpoint import Checkpoint
from pulsebayes.inference.symbolic import Trajectory
from pulsebayes.inference.symbolic.decoding import decode, load_model
from pulsebayes.inference.symbolic.examples import load_examples, make_batch
from pulsebayes.inference.symbolic.hints import N_HINTS, hints
from pulsebayes.inference.symbolic.model import EquationTransformer, ModelConfig
from pulsebayes.inference.symbolic.points import N_FEATURES, windows
from pulsebayes.inference.symbolic.recipe import SymbolicRecipe, find_symbolic_recipe, shipped_symbolic_recipes
from pulsebayes.inference.symbolic.training import SymbolicTraining, _losses, train_symbolic
from pulsebayes.inference.symbolic.weights import (
    find_symbolic_model,
    load_symbolic_model,
    read_symbolic_info,
    save_symbolic_model,
)
from pulsebayes.simulators.odes import Corruption, ShardConfig, System, make_shards, odebench_exclusions, simulate_named
from pulsebayes.simulators.odes.packed import unpack
from pulsebayes.simulators.odes.shards import Systems, read_shard, shard_paths

SMALL = ModelConfig(width=16, heads=2, encoder_layers=1, decoder_layers=1, n_windows=16)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    make_shards(folder, 2, ShardConfig(kinds={"1+0": 40}, batch_size=128))
    return folder


def test_windows_hold_values_and_slopes() -> None:
    t = np.linspace(0, 10, 400)[None]
    seen = windows(t, np.stack([np.sin(t), np.cos(t)], -1), [0, 4])
    np.testing.assert_allclose(seen.slope[..., 0], seen.value[..., 4], atol=4e-3)  # of the third order
    assert np.abs(seen.value[..., 1:4]).max() == 0.0
    with pytest.raises(ValueError, match="at least 4 points"):
        windows(t[:, :3], np.ones((1, 3, 1)), [0])


def test_hints_name_the_terms_of_a_plain_equation() -> None:
    rng = np.random.default_rng(0)
    value = np.concatenate([rng.uniform(-1, 1, (1, 64, 2)), np.zeros((1, 64, 3))], axis=-1)
    slope = value * 0.0
    slope[..., 0] = 2.0 * value[..., 1] - 3.0 * value[..., 0] * value[..., 1]
    quadratic = 1 + 6 + 1 + np.arange(21)  # size; degree 1: coefficients and remainder; then degree 2
    found = np.sinh(hints(value, slope, 1)[0, 0, quadratic])
    names = [(), *[(i,) for i in range(5)], *[(i, j) for i in range(5) for j in range(i, 5)]]
    expected = {(1,): 2.0, (0, 1): -3.0}
    np.testing.assert_allclose(found, [expected.get(n, 0.0) for n in names], atol=2e-2)


def test_batches_write_constants_in_the_units_of_what_was_measured(shards: Path) -> None:
    examples = load_examples(shards / "00001.npz")
    batch = make_batch(np.random.default_rng(0), examples, 16, Corruption(), n_windows=16)
    assert batch.points.shape[:2] == (16, 16)
    assert batch.hints.shape[0] == batch.owner.shape[0] == batch.ids.shape[0] == 16
    assert torch.isfinite(batch.points).all() and torch.isfinite(batch.hints).all()
    assert (batch.fraction >= 0).all() and (batch.fraction <= 1).all()
    one_hot = make_batch(np.random.default_rng(0), examples, 16, Corruption(), n_windows=16, two_hot=False)
    assert (one_hot.fraction == 0).all()


@pytest.mark.parametrize("constants", ["two-hot", "one-hot"])
def test_training_lowers_the_loss(shards: Path, constants: str) -> None:
    torch.manual_seed(0)
    net = EquationTransformer(ModelConfig(**{**vars(SMALL), "constants": constants}))
    config = SymbolicTraining(batch_size=16, steps=40, rate=3e-3, warmup=5, check_every=20)
    report = train_symbolic(net, shards, config)
    assert report.finished and report.steps == 40
    assert report.history[-1]["loss"] < report.history[0]["loss"] < 6.0


def test_a_resumed_training_equals_one_that_never_stopped(shards: Path, tmp_path: Path) -> None:
    config = SymbolicTraining(batch_size=8, steps=6, warmup=2, check_every=2)
    nets = []
    for cut in (False, True):
        torch.manual_seed(1)
        net = EquationTransformer(SMALL)
        checkpoint = Checkpoint(tmp_path / str(cut))
        if cut:
            stop = iter([False, False, True]).__next__
            first = train_symbolic(net, shards, config, checkpoint=checkpoint, should_stop=stop)
            assert not first.finished
            net = EquationTransformer(SMALL)
        report = train_symbolic(net, shards, config, checkpoint=checkpoint, resume=cut)
        assert report.steps == 6
        nets.append(net)
    for one, two in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_the_parts_of_a_batch_hold_every_equation_once(shards: Path) -> None:
    batch = make_batch(np.random.default_rng(0), load_examples(shards / "00001.npz"), 16, Corruption(), n_windows=16)
    parts = list(batch.parts())
    assert len(parts) == 3 and sum(len(p.owner) for p in parts) == len(batch.owner)
    torch.testing.assert_close(torch.cat([p.owner for p in parts]), batch.owner)
    assert sum(int((p.targets != 0).sum()) for p in parts) == int((batch.targets != 0).sum())


def test_constants_weigh_what_the_training_says(shards: Path) -> None:
    torch.manual_seed(0)
    net, data = EquationTransformer(SMALL), load_examples(shards / "00001.npz")
    batch = make_batch(np.random.default_rng(0), data, 16, Corruption(), n_windows=16)
    even, least = (_losses(net, batch, SymbolicTraining(constants=weight)) for weight in (1.0, 1e-9))
    assert least["loss"].item() == pytest.approx(least["structure"].item(), rel=1e-5)
    low, high = sorted((even["structure"].item(), even["constants"].item()))
    assert low < even["loss"].item() < high


def test_attention_in_half_precision_agrees_with_single() -> None:
    torch.manual_seed(0)
    net = EquationTransformer(SMALL).eval()
    points, ids = torch.randn(3, 16, N_FEATURES), torch.tensor([[2, 14, 80, 1]]).expand(3, 4)
    rest = torch.zeros(3, N_HINTS), torch.arange(3), ids, torch.zeros(3, 4)
    present = torch.arange(16)[None] < torch.tensor([[16], [9], [4]])
    found = []
    for half in (False, True):
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            found.append(net(net.encode(points, present), *rest, present).float())
    torch.testing.assert_close(found[0], found[1], rtol=0.05, atol=0.05)


def test_steps_agree_with_the_whole_sequence() -> None:
    torch.manual_seed(0)
    net = EquationTransformer(SMALL).eval()
    points, regressed = torch.randn(1, 16, 37), torch.randn(1, 274)
    ids = torch.tensor([[2, 14, 80, 1]])
    with torch.inference_mode():
        memory = net.encode(points)
        whole = net(memory, regressed, torch.tensor([0]), ids, torch.zeros(1, 4))
        past, steps = None, []
        for k in range(4):
            logits, past = net.step(memory, net.advice(regressed), past, ids[:, k], torch.zeros(1), k)
            steps.append(logits)
    torch.testing.assert_close(torch.stack(steps, 1), whole, rtol=1e-4, atol=1e-4)


def test_even_an_untrained_network_writes_equations_in_the_files_units() -> None:
    torch.manual_seed(0)
    net = EquationTransformer(SMALL).eval()
    t, x, u = simulate_named("driven-duffing", n_points=65)
    found = decode(net, [Trajectory(t, 50 * x, u), Trajectory(t[:30], 50 * x[:30], u[:30])], n_samples=12, seed=3)
    assert len(found) == 2
    again = decode(net, [Trajectory(t, 50 * x, u), Trajectory(t[:30], 50 * x[:30], u[:30])], n_samples=12, seed=3)
    assert found == again
    for candidates in found:
        logs = [c.log_probability for c in candidates]
        assert logs == sorted(logs, reverse=True) and sum(c.count for c in candidates) <= 12


@pytest.mark.parametrize(
    ("t", "x", "message"),
    [
        ([0, 1, 2], [[1], [2], [3]], "at least 4 points"),
        ([0, 2, 1, 3], [[1], [2], [3], [4]], "times must increase"),
        ([0, 1, 2, 3], [[1], [np.nan], [3], [4]], "must be finite"),
        ([0, 1, 2, 3], [[1], [2], [3]], "must be"),
    ],
)
def test_trajectories_that_cannot_be_read_are_refused(t: list[float], x: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(EquationTransformer(SMALL), [Trajectory(np.array(t, float), np.array(x, float))])


def test_models_of_another_version_or_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no symbolic model"):
        load_symbolic_model(tmp_path)
    with pytest.raises(ValueError, match="model must be one of"):
        find_symbolic_model(tmp_path / "nowhere")


@pytest.mark.parametrize("file", ["weights.safetensors", "card.md", "symbolic.json"])
def test_a_model_that_was_edited_is_refused(tmp_path: Path, file: str) -> None:
    save_symbolic_model(EquationTransformer(SMALL), tmp_path / "mine", info={"name": "mine"}, card="What it does.")
    load_symbolic_model(tmp_path / "mine")
    held = bytearray((tmp_path / "mine" / file).read_bytes())
    held[-5] ^= 1
    (tmp_path / "mine" / file).write_bytes(held)
    with pytest.raises(BundleError, match=f"the model mine (was edited: {file}|has a damaged {file})"):
        load_symbolic_model(tmp_path / "mine")


def test_a_model_without_hashes_or_of_another_schema_is_refused(tmp_path: Path) -> None:
    save_symbolic_model(EquationTransformer(SMALL), tmp_path, info={}, card="")
    path = tmp_path / "symbolic.json"
    info = json.loads(path.read_text(encoding="utf-8"))
    for change, code in (({"schema": 1}, "bundle-version"), ({"hash": None}, "bundle-edited"), ({"files": {}}, "")):
        path.write_text(json.dumps({**info, **change}), encoding="utf-8")
        with pytest.raises(BundleError) as caught:
            read_symbolic_info(tmp_path)
        assert caught.value.code == code or not code


@pytest.mark.parametrize("name", shipped_symbolic_recipes())
def test_shipped_recipes_can_be_read(name: str) -> None:
    recipe = find_symbolic_recipe(name)
    assert recipe is not None and recipe.name == name


def test_recipes_with_unknown_or_senseless_settings_are_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword"):
        SymbolicRecipe.from_toml('name = "x"\n[train]\nspeed = 3')
    with pytest.raises(ValueError, match="at least 2"):
        SymbolicRecipe.from_toml('name = "x"\n[shards]\nn = 1')
    with pytest.raises(ValueError, match="one-hot"):
        SymbolicRecipe.from_toml('name = "x"\n[network]\nconstants = "hot"')


@pytest.mark.parametrize("name", ["symbolic-ode", "symbolic-scalar"])
def test_a_shipped_model_is_the_one_its_recipe_makes(name: str) -> None:
    info = read_symbolic_info(find_symbolic_model(Path(name)))
    recipe = find_symbolic_recipe(name)
    assert recipe is not None
    assert info["recipe"]["shards"] == json.loads(json.dumps(recipe.shards))
    assert info["recipe"]["network"] == dict(recipe.network)
    assert info["history"][-1]["structure"] < info["history"][0]["structure"]
    folder = find_symbolic_model(Path(name))
    assert "## Learning curve" in (folder / "card.md").read_text(encoding="utf-8")
    assert sum(p.stat().st_size for p in folder.iterdir()) < 20e6


def test_the_shipped_model_proposes_a_plain_skeleton_it_was_never_shown() -> None:
    t, x, _ = simulate_named("michaelis-menten", n_points=200)
    found = decode(load_model(), [Trajectory(t, x)], n_samples=64)[0]
    assert len(found) > 1
    assert all(System((c.terms,)).dimension == 1 for c in found)


def odebench_orbits() -> set[str]:
    r"""Skeletons of ODEBench from its own file: not through the list that the generator uses."""
    root = Path(os.environ.get("PULSEBAYES_DATA", Path(__file__).parents[4] / "shared" / "data"))
    path = root / "odebench" / "strogatz_extended.json"
    if not path.is_file():
        pytest.skip("ODEBench is not here: set PULSEBAYES_DATA")
    rows = json.loads(path.read_text(encoding="utf-8"))
    names = [[f"x_{i}" for i in range(row["dim"])] for row in rows]
    return {System.from_sympy(r["substituted"][0], n).orbit() for r, n in zip(rows, names, strict=True)}


def leaks(systems: Systems, rows: Iterable[int], orbits: set[str]) -> list[System]:
    found = [unpack(systems.packed, int(row)) for row in rows]
    return [s for s in found if s in odebench_exclusions() or s.orbit() in orbits]


def test_no_system_of_a_sample_of_the_shipped_recipe_is_one_of_odebench(shards: Path) -> None:
    orbits, rng = odebench_orbits(), np.random.default_rng(0)
    assert len(orbits) == 53
    kept = os.environ.get("PULSEBAYES_SHARDS")  # the recipe's shards, if they are at hand
    for path in shard_paths(Path(kept) if kept else shards)[:4]:
        for systems in read_shard(path):
            n = len(systems.packed)
            assert not leaks(systems, rng.choice(n, min(n, 60), replace=False), orbits)


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_symbolic_recipes())
def test_no_skeleton_of_a_shipped_recipe_is_one_of_odebench(name: str, tmp_path: Path) -> None:
    recipe, orbits = find_symbolic_recipe(name), odebench_orbits()
    assert recipe is not None
    kept = os.environ.get("PULSEBAYES_SHARDS")  # symbolic-ode's, of which symbolic-scalar's are a part
    folder = Path(kept) if kept else tmp_path
    make_shards(folder, recipe.n_shards, recipe.shard_config)
    for number in range(recipe.n_shards):
        for systems in read_shard(folder / f"{number:05d}.npz"):
            assert not leaks(systems, range(len(systems.packed)), orbits)
