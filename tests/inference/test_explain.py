r"""Chances, dots and companions against values that are known."""

from __future__ import annotations

import numpy as np
import pytest

from pulsebayes.inference.explain import chance_below, companions, quantile_dots

DRAWS = np.random.default_rng(0).normal(5.0, 1.0, 20000)


def test_chance_is_that_of_the_normal_law() -> None:
    assert chance_below(DRAWS, 4.0) == pytest.approx(0.1587, abs=0.01)  # four standard errors at 20,000 draws


@pytest.mark.parametrize("edge", [float("nan"), 4.0, 4.37, 1.0, 9.0])
def test_dots_are_as_many_as_asked_for_and_count_the_chance(edge: float) -> None:
    values, heights = quantile_dots(DRAWS, 100, edge=edge)
    assert len(values) == 100 and heights.min() == 1
    assert len({(round(v, 6), h) for v, h in zip(values, heights, strict=True)}) == 100
    if np.isfinite(edge):
        assert np.mean(values < edge) == pytest.approx(chance_below(DRAWS, edge), abs=0.011)


def test_one_value_makes_one_column() -> None:
    values, heights = quantile_dots(np.full(10, 3.0), 5)
    assert len(set(values)) == 1 and heights.tolist() == [1, 2, 3, 4, 5]


def test_companions_are_sorted_and_leave_out_what_follows() -> None:
    rng = np.random.default_rng(1)
    c = rng.lognormal(size=5000)
    draws = {"CO": c * rng.lognormal(0, 0.1, 5000), "C": c, "HR": rng.lognormal(size=5000), "SV": c, "SVR": 1 / c}
    found = companions(draws, "CO")
    assert list(found) == ["C", "HR"] and found["C"] > 0.9 > 0.05 > found["HR"]


def test_unknown_name_and_no_draws_are_refused() -> None:
    with pytest.raises(ValueError, match="name must be among"):
        companions({"CO": DRAWS}, "X")
    with pytest.raises(ValueError, match="must not be empty"):
        quantile_dots(np.zeros(0))
