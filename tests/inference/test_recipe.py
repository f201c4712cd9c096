"""Recipes are read strictly, and the card says what was measured."""

from __future__ import annotations

import pytest

from pulsebayes.inference.bundle import InputContract
from pulsebayes.inference.card import render_card
from pulsebayes.inference.npe import PRESETS
from pulsebayes.inference.outputs import INDEPENDENT, OutputSpace
from pulsebayes.inference.recipe import Recipe, find_recipe, shipped_recipes
from pulsebayes.inference.training import TrainConfig
from pulsebayes.simulators.registry import build


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_can_be_built(name):
    recipe = find_recipe(name)
    assert recipe.name == name
    assert recipe.preset in PRESETS
    TrainConfig(**recipe.train)
    OutputSpace.from_names(recipe.outputs, extra=build(recipe.simulate.model, **recipe.simulate.config).space)
    assert recipe.simulate.seed != recipe.test.seed


def test_radial_abp_meets_its_size():
    recipe = find_recipe("radial-abp")
    assert recipe.simulate.n >= 50_000
    assert recipe.outputs == INDEPENDENT
    assert (recipe.samples / recipe.fs, recipe.role, recipe.unit) == (8.0, "ART", "mmHg")


def test_unknown_key_is_a_type_error():
    with pytest.raises(TypeError, match="epoch"):
        Recipe.from_toml('name = "a"\nepoch = 3')
    with pytest.raises(TypeError, match="rows"):
        Recipe.from_toml('name = "a"\n[simulate]\nrows = 3')


def test_test_set_must_have_another_seed():
    with pytest.raises(ValueError, match="must differ, got 1 for both"):
        Recipe.from_toml('name = "a"\n[simulate]\nseed = 1\n[test]\nseed = 1')


def test_a_recipe_sets_what_is_uninformative():
    assert find_recipe("finger-ppg").uninformative == 0.6
    with pytest.raises(ValueError, match="uninformative must be a positive share"):
        Recipe("mine", uninformative=0.0)


def test_unknown_recipe_is_told():
    with pytest.raises(ValueError, match="recipe must be one of"):
        find_recipe("no-such")


def test_card_shows_what_was_measured():
    names = {"CO": "L/min", "MAP": "mmHg"}
    row = dict.fromkeys(names, 0.5)
    measured = {
        "n": 2000, "draws": 1000, "coverage": {"0.5": row, "0.9": {"CO": 0.894, "MAP": 0.91}}, "sbc": row,
        "sbc_holm": row, "contraction": row, "median_error": {"CO": 0.15, "MAP": 0.02},
        "median_error_mmHg": {"MAP": 1.9}, "interval": row, "prior_range": {"CO": [2.0, 9.0], "MAP": [55.0, 120.0]},
    }  # fmt: skip
    counts = {"rows": 10, "kept": 7, "outside bounds": 3}
    card = render_card("m", "Title", InputContract(), {"counts": counts}, measured, names)
    assert "Research use only. Not a medical device." in card
    assert "| CO [L/min] | 2 to 9 | 0.50 | 15.0 % | 0.5 | 50.0 % | 89.4 % |" in card
    assert "1.9 mmHg" in card
    assert "outside the outputs' bounds: 3" in card


def test_finer_training_is_read_kept_and_checked():
    text = 'name = "a"\n[test]\nseed = 5\n[finer.simulate]\nmodel = "network"\nseed = 3\n[finer.train]\nepochs = 2'
    recipe = Recipe.from_toml(text)
    assert recipe.finest.model == "network"
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert "finer" not in Recipe("b").to_json() and Recipe("b").finest == Recipe("b").simulate
    with pytest.raises(ValueError, match=r"finer.simulate.seed and test.seed must differ, got 3 for both"):
        Recipe.from_toml(text.replace("seed = 5", "seed = 3"))
