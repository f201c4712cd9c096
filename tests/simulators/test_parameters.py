r"""Parameter spaces: maps that undo one another, never leave the bounds, and carry the right volume factor."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pulsebayes.simulators.parameters import (
    Beta,
    LogUniform,
    Parameter,
    ParameterSpace,
    TruncatedLogNormal,
    TruncatedNormal,
    Uniform,
)

SPACE = ParameterSpace(
    (
        Parameter("HR", "1/min", 35.0, 160.0, Uniform(), scale="log", description="Heart rate.", source="Table 1"),
        Parameter("MAP", "mmHg", 40.0, 140.0, TruncatedNormal(85.0, 20.0)),
        Parameter("E", "Pa", 1e-3, 1e9, LogUniform(), scale="log"),
        Parameter("shift", "mmHg", -0.1, 0.3, TruncatedNormal(0.0, 0.1)),
        Parameter("gamma", "1", 0.0, 1.0, Beta(2.0, 3.0)),
        Parameter("C", "mL/mmHg", 0.1, 6.0, TruncatedLogNormal(1.2, 0.5), scale="log"),
        Parameter("far", "1", 1e6, 1e6 + 1.0),
    )
)
BOUNDS = st.floats(-1e6, 1e6, allow_nan=False)


@st.composite
def spaces(draw: st.DrawFn) -> ParameterSpace:
    parameters = []
    for i in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            low = draw(st.floats(1e-6, 1e5))
            parameters.append(Parameter(f"p{i}", "1", low, low * draw(st.floats(1.01, 1e6)), LogUniform(), scale="log"))
        else:
            low = draw(BOUNDS)
            parameters.append(Parameter(f"p{i}", "1", low, low + draw(st.floats(1.0, 1e6)), Uniform()))
    return ParameterSpace(parameters)


@settings(max_examples=100, deadline=None)
@given(spaces(), st.integers(0, 2**32 - 1))
def test_constrain_undoes_unconstrain(space: ParameterSpace, seed: int) -> None:
    theta = space.sample(np.random.default_rng(seed), 16)
    back = space.constrain(space.unconstrain(theta))
    # A few units in the last place of the larger bound.
    np.testing.assert_allclose(back, theta, rtol=1e-9, atol=1e-12 * np.abs([space.low, space.high]).max())


@settings(max_examples=200, deadline=None)
@given(arrays(np.float64, (3, SPACE.dim), elements=st.floats(allow_nan=False, allow_infinity=True)))
def test_no_float_leaves_the_bounds(z: np.ndarray) -> None:
    theta = SPACE.constrain(z)
    for values in (theta, theta.astype(np.float32).astype(np.float64)):
        assert np.all((values > SPACE.low) & (values < SPACE.high))
    assert np.all(np.isfinite(SPACE.unconstrain(theta)))
    assert np.all(np.isfinite(SPACE.log_prior(theta)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_extremes_of_every_float_stay_inside(dtype: type[np.floating]) -> None:
    info = np.finfo(dtype)
    extremes = np.array([info.min, info.max, info.tiny, -info.tiny, np.inf, -np.inf, 0, 36.7, 37, 709, 710, 746], dtype)
    theta = SPACE.constrain(np.repeat(extremes[:, None], SPACE.dim, axis=1))
    assert np.all((theta > SPACE.low) & (theta < SPACE.high))


def test_constrain_grows_with_z_and_meets_the_middle() -> None:
    z = np.repeat(np.linspace(-12, 12, 97)[:, None], SPACE.dim, axis=1)[:, :6]
    space = SPACE.subset(SPACE.names[:6])
    assert np.all(np.diff(space.constrain(z), axis=0) > 0)
    middle = space.constrain(np.zeros(6))
    assert middle[1] == pytest.approx(90.0)
    assert middle[0] == pytest.approx(np.sqrt(35 * 160))


def test_not_a_number_stays_one() -> None:
    assert np.isnan(SPACE.constrain(np.full(SPACE.dim, np.nan))).all()


def test_jacobian_is_that_of_finite_differences() -> None:
    space = SPACE.subset(SPACE.names[:6])
    z, step = np.random.default_rng(0).normal(0, 2, (50, space.dim)), 1e-6
    slope = np.stack(
        [
            (space.constrain(z + step * unit) - space.constrain(z - step * unit))[:, d] / (2 * step)
            for d, unit in enumerate(np.eye(space.dim))
        ],
        axis=-1,
    )
    np.testing.assert_allclose(space.log_abs_det_jacobian(z), np.log(slope).sum(-1), atol=1e-6)


def test_density_over_z_integrates_to_one() -> None:
    z = np.linspace(-40, 40, 20_001)
    for name in SPACE.names[:6]:
        space = SPACE.subset([name])
        density = np.exp(space.log_prior(space.constrain(z[:, None])) + space.log_abs_det_jacobian(z[:, None]))
        assert np.trapezoid(density, z) == pytest.approx(1.0, abs=1e-4), name


def test_log_prior_is_minus_infinity_outside_and_sums_over_parameters() -> None:
    theta = SPACE.sample(np.random.default_rng(1), 5)
    parts = [SPACE.subset([name]).log_prior(theta[:, [d]]) for d, name in enumerate(SPACE.names)]
    np.testing.assert_allclose(SPACE.log_prior(theta), np.sum(parts, axis=0))
    theta[0, 0] = 34.9
    assert SPACE.log_prior(theta)[0] == -np.inf
    assert SPACE.contains(theta).tolist() == [False, True, True, True, True]


def test_quantiles_of_draws_undo_the_quantile_transform() -> None:
    u = np.random.default_rng(2).random((200, 6))
    space = SPACE.subset(SPACE.names[:6])
    np.testing.assert_allclose(space.quantiles(space.sample_quantiles(u)), u, atol=1e-6)
    corners = space.sample_quantiles(np.array([np.zeros(6), np.ones(6)]))
    assert space.contains(corners.astype(np.float32)).all()


def test_draws_depend_on_the_generator_only() -> None:
    first, second = (SPACE.sample(np.random.default_rng(7), 10) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, SPACE.sample(np.random.default_rng(8), 10))
    assert SPACE.contains(first).all()


def test_batch_axes_come_first() -> None:
    z = np.random.default_rng(3).normal(size=(2, 3, SPACE.dim))
    assert SPACE.constrain(z).shape == (2, 3, SPACE.dim)
    assert SPACE.log_abs_det_jacobian(z).shape == (2, 3)
    assert SPACE.contains(SPACE.constrain(z)).shape == (2, 3)


def test_json_brings_back_the_same_space() -> None:
    text = json.dumps(SPACE.to_json(), allow_nan=False)
    assert ParameterSpace.from_json(text) == SPACE
    assert ParameterSpace.from_json(json.loads(text)).to_json() == SPACE.to_json()


def test_unknown_keys_are_type_errors() -> None:
    data = SPACE.to_json()
    with pytest.raises(TypeError, match="'parameters' only"):
        ParameterSpace.from_json({**data, "colour": 1})
    parameter = SPACE.parameters[0].to_json()
    with pytest.raises(TypeError, match="colour"):
        Parameter.from_json({**parameter, "colour": 1})
    with pytest.raises(TypeError, match="skew"):
        Parameter.from_json({**parameter, "prior": {"kind": "Uniform", "skew": 1}})
    with pytest.raises(ValueError, match="prior kind must be one of"):
        Parameter.from_json({**parameter, "prior": {"kind": "Cauchy"}})


def test_subset_keeps_the_order_asked_for() -> None:
    part = SPACE.subset(["C", "HR"])
    assert part.names == ("C", "HR")
    assert part.units == ("mL/mmHg", "1/min")
    assert part.low.tolist() == [0.1, 35.0]
    assert SPACE.index("gamma") == 4


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"low": 2.0, "high": 1.0}, "finite bounds low < high"),
        ({"low": np.nan}, "finite bounds"),
        ({"high": np.inf}, "finite bounds"),
        ({"low": -1.0, "scale": "log"}, "positive lower bound on a log scale"),
        ({"scale": "cubic"}, "scale must be 'linear' or 'log', got 'cubic'"),
        ({"low": 1.0, "high": 1.0 + 1e-9}, "float32 can tell apart"),
        ({"prior": LogUniform()}, "LogUniform needs a positive lower bound"),
        ({"name": ""}, "name must not be empty"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(bad: dict[str, object], match: str) -> None:
    fields: dict[str, object] = {"name": "x", "unit": "1", "low": 0.0, "high": 2.0, **bad}
    with pytest.raises(ValueError, match=match):
        Parameter(**fields)  # type: ignore[arg-type]


def test_misuse_of_a_space_names_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"theta must have shape \(\*, 7\).*got \(3,\)"):
        SPACE.contains(np.zeros(3))
    theta = SPACE.sample(np.random.default_rng(0), 2)
    theta[1, 0] = 30.0
    with pytest.raises(ValueError, match=r"HR = 30.0 1/min outside \[35.0, 160.0\] in row \(1,\)"):
        SPACE.unconstrain(theta)
    with pytest.raises(ValueError, match="C = nan"):
        SPACE.subset(["C"]).unconstrain(np.array([np.nan]))
    with pytest.raises(ValueError, match=r"u must lie in \[0, 1\]"):
        SPACE.sample_quantiles(np.full(SPACE.dim, 1.5))
    with pytest.raises(ValueError, match="name must be one of"):
        SPACE.index("SV")
    with pytest.raises(ValueError, match=r"\['HR'\] more than once"):
        SPACE.subset(["HR", "HR"])
    with pytest.raises(ValueError, match="at least one parameter"):
        ParameterSpace(())
