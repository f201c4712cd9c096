"""Recipes of pooling layers: what they name is there, before hours are spent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pulsebayes.inference.pooling.recipe import _changing, find_pooling_recipe
from pulsebayes.simulators.recorded import SensorChanges


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"age": "fit-b20"}, "fit must hold the set 'fit-b20'"),
        ({"also": ["fit-b200", "test-64"]}, "fit must hold the set 'test-64'"),
        (
            {"alike": ["fit-64"]},
            "test must hold the set 'fit-64' that the recipe names, got test-200, test-10",
        ),
        ({"changes": [{"of": "shrt"}]}, "recordings must hold the set 'shrt'"),
        ({"changes": []}, "changes must hold a set whose sensors change"),
    ],
)
def test_a_set_that_is_not_there_is_refused_before_anything_is_made(wrong: dict[str, Any], told: str) -> None:
    """Before, some were left out without a word, and one ended the recipe after the training."""
    recipe = find_pooling_recipe("abp-ppg-pooled")
    assert recipe is not None
    with pytest.raises(ValueError, match=told):
        replace(recipe, **wrong)


def test_sets_whose_sensors_change_are_of_their_own_or_of_waves_that_are_there() -> None:
    recipe = find_pooling_recipe("radial-abp-pooled")
    assert recipe is not None
    own, hours, again = (_changing(recipe, row) for row in recipe.changes)
    assert own["changes"] == hours["changes"] == again["changes"] == SensorChanges(1.0, 4.0)
    assert (own["name"], own["recordings"], "of" in own) == ("changing", 1400, False)
    assert (hours["windows"], hours["held"]) == (450, 16)
    (short,) = (row for row in recipe.recordings if row["name"] == "short")
    assert again | {"name": "short"} == {**short, "of": "short", "changes": SensorChanges(1.0, 4.0)}
