r"""One contract for every score, and the regions they make."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pulsebayes.calibration.conformal import (
    HPD,
    PCP,
    BoxGauge,
    Coordinates,
    LatentNorm,
    NormGauge,
    PlainResidual,
    PosteriorResidual,
    Prediction,
    QuantileBox,
    Region,
    ResidualScore,
    split_conformal,
)
from pulsebayes.calibration.conformal.score import AbstractFittedScore, AbstractScore

SCORES: dict[str, AbstractScore] = {
    "ellipsoid": ResidualScore(PlainResidual(), NormGauge()),
    "box": ResidualScore(PlainResidual(), BoxGauge()),
    "mahalanobis": ResidualScore(PosteriorResidual(), NormGauge(whiten=False)),
    "posterior box": ResidualScore(PosteriorResidual(), BoxGauge()),
    "quantile box": QuantileBox(),
    "hpd": HPD(),
    "pcp": PCP(),
    "latent norm": LatentNorm(),
}


class Gaussian:
    r"""Density of the cases below, with a latent space."""

    def __init__(self, mean: np.ndarray, factor: np.ndarray) -> None:
        self.mean, self.factor = mean, factor

    def latent(self, rows: np.ndarray, y: np.ndarray) -> np.ndarray:
        gap = y - self.mean[rows][:, None]
        return np.linalg.solve(self.factor[rows], gap.transpose(0, 2, 1)).transpose(0, 2, 1)

    def log_prob(self, rows: np.ndarray, y: np.ndarray) -> np.ndarray:
        z = self.latent(rows, y)
        logs = np.log(np.einsum("nii->ni", self.factor[rows])).sum(1)[:, None]
        return -0.5 * (z**2).sum(-1) - logs - 0.5 * z.shape[-1] * math.log(2 * math.pi)


def cases(n: int, seed: int, d: int = 2, draws: int = 300) -> tuple[Prediction, np.ndarray]:
    r"""Cases with their own centre and shape, posterior draws and a truth from the posterior."""
    rng = np.random.default_rng(seed)
    mean = 3 * rng.normal(size=(n, d))
    factor = np.tril(0.4 * rng.normal(size=(n, d, d)), -1) + np.eye(d) * rng.uniform(0.5, 2, size=(n, d, 1))
    made = mean[:, None] + np.einsum("nij,nsj->nsi", factor, rng.normal(size=(n, draws + 1, d)))
    return Prediction.from_draws(made[:, 1:], x=mean, density=Gaussian(mean, factor)), made[:, 0]


@pytest.fixture(scope="module", params=list(SCORES))
def fitted(request: pytest.FixtureRequest) -> AbstractFittedScore:
    return SCORES[request.param].fit(*cases(300, seed=1), seed=0)


def region_of(score: AbstractFittedScore, d: int = 2) -> Region:
    prediction, y = cases(100, seed=2, d=d)
    return split_conformal(score, prediction, y).region(prediction[3])


def test_score_has_one_value_for_each_candidate(fitted: AbstractFittedScore) -> None:
    prediction, y = cases(6, seed=3)
    many = np.stack([y, y + 0.5, y - 2.0], axis=1)
    values = fitted.evaluate(prediction, many)
    assert values.shape == (6, 3) and np.isfinite(values).all()
    assert values[:, 0] == pytest.approx(fitted.score(prediction, y))
    assert fitted.evaluate(prediction[2:4], many[2:4]) == pytest.approx(values[2:4])


def test_score_grows_without_bound_far_away(fitted: AbstractFittedScore) -> None:
    prediction, y = cases(5, seed=4)
    far = y[:, None] + np.array([30.0, 60.0, 120.0])[None, :, None]
    values = fitted.evaluate(prediction, far)
    assert (np.diff(values, axis=1) > 0).all()
    assert (values[:, 0] > fitted.score(prediction, y)).all()


def test_coverage_is_nominal(fitted: AbstractFittedScore) -> None:
    found = []
    for seed in range(20):
        prediction, y = cases(120, seed=100 + seed)
        rule = split_conformal(fitted, prediction[:60], y[:60])
        found.append(rule.regions(prediction[60:]).contains(y[60:]).mean())
    # 55/61 = .902, s.e. of the mean over 20 sets: about .012
    assert 0.865 < np.mean(found) < 0.94


def test_volume_is_that_of_a_fine_grid(fitted: AbstractFittedScore) -> None:
    region = region_of(fitted)
    ends = np.array([(r.low, r.high) for r in region.ranges()])
    pad = 0.15 * (ends[:, 1] - ends[:, 0])
    axes = [np.linspace(low - p, high + p, 220) for (low, high), p in zip(ends, pad, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    exact = region.contains(grid).mean() * np.prod([a[-1] - a[0] for a in axes])
    volume = region.volume(n=20000)
    assert abs(volume.value - exact) < 5 * volume.error + 0.02 * exact
    many = region.score.volumes(region.prediction, np.array([region.limit]), n=20000)[0]
    assert many == pytest.approx(exact, rel=0.06)


def test_ranges_enclose_the_members_and_are_reached(fitted: AbstractFittedScore) -> None:
    region = region_of(fitted)
    members = region.sample(4000, seed=1)
    assert region.contains(members).all()
    for j, r in enumerate(region.ranges()):
        width = r.high - r.low
        assert r.low <= members[:, j].min() + 0.01 * width and members[:, j].max() - 0.01 * width <= r.high
        assert members[:, j].max() > r.high - 0.1 * width and members[:, j].min() < r.low + 0.1 * width


def test_contours_enclose_the_area(fitted: AbstractFittedScore) -> None:
    region = region_of(fitted)
    plane = region.slice(("y1", "y2"), grid=151)
    assert plane.kind == "region"
    assert plane.area == pytest.approx(region.volume(n=20000).value, rel=0.06)
    lines = plane.contours()
    shoelace = sum(
        0.5 * abs(np.sum(c[:-1, 0] * c[1:, 1] - c[1:, 0] * c[:-1, 1])) for c in lines if np.allclose(c[0], c[-1])
    )
    assert shoelace >= 0.9 * plane.area


def test_projection_holds_the_shadow_of_every_member_and_a_slice_does_not() -> None:
    prediction, y = cases(200, seed=5, d=3)
    score = ResidualScore(PosteriorResidual(), NormGauge()).fit(prediction, y)
    region = split_conformal(score, prediction[:100], y[:100]).region(prediction[7])
    shadow, cut = region.projection(("y1", "y3")), region.slice(("y1", "y3"))
    assert (shadow.kind, cut.kind) == ("projection", "slice")
    members = region.sample(800)
    a = np.abs(shadow.axes[0][:, None] - members[:, 0]).argmin(0)
    b = np.abs(shadow.axes[1][:, None] - members[:, 2]).argmin(0)
    near = [shadow.inside[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].any() for i, j in zip(a, b, strict=True)]
    assert np.all(near)
    # An ellipsoid's shadow is the ellipse of the projected covariance.
    factor = region.score.residual.factors(region.prediction)[0] @ region.score.gauge.whitening.factor
    exact = math.pi * region.limit**2 * math.sqrt(np.linalg.det((factor @ factor.T)[np.ix_([0, 2], [0, 2])]))
    assert shadow.area == pytest.approx(exact, rel=0.05)
    assert cut.area < shadow.area
    at_edge = region.slice(("y1", "y3"), at={"y2": region.ranges()[1].high * 1.5 + 10})
    assert not at_edge.inside.any()


def test_ranges_of_a_joint_region_are_wider_than_marginal_intervals() -> None:
    prediction, y = cases(400, seed=6)
    score = SCORES["mahalanobis"].fit(prediction, y)
    region = split_conformal(score, prediction, y).region(prediction[0])
    draws = prediction.draws[0]
    for j, r in enumerate(region.ranges()):
        low, high = np.quantile(draws[:, j], [0.05, 0.95])
        assert r.high - r.low > 1.15 * (high - low)


def test_logarithmic_targets_stay_positive_and_volumes_are_in_their_units() -> None:
    rng = np.random.default_rng(7)
    c = Coordinates(("CO", "SVR"), ("L/min", "dyn s cm^-5"), (True, True))
    z = np.log([5.0, 1200.0]) + 0.2 * rng.normal(size=(400, 2))
    prediction = Prediction(np.tile(np.log([5.0, 1200.0]), (200, 1)))
    score = ResidualScore(PlainResidual(), NormGauge()).fit(prediction, z[:200])
    rule = split_conformal(score, prediction, np.exp(z[200:]), coordinates=c)
    region = rule.region(prediction[:1])
    assert region.contains(np.array([[5.0, 1200.0], [-5.0, 1200.0], [0.0, 0.0]])).tolist() == [True, False, False]
    members = region.sample(500)
    assert (members > 0).all() and region.contains(members).all()
    plane = region.slice(("CO", "SVR"), grid=201)
    assert region.volume().value == pytest.approx(plane.area, rel=0.03)
    assert [r.unit for r in region.ranges()] == ["L/min", "dyn s cm^-5"]
    assert not rule.regions(prediction[:1]).contains(np.array([[-1.0, 2.0]]))[0]


def test_volumes_in_sixteen_dimensions_match_the_closed_form() -> None:
    rng = np.random.default_rng(8)
    y = rng.normal(size=(500, 16))
    score = ResidualScore(PlainResidual(), NormGauge()).fit(Prediction(np.zeros(y.shape)), y)
    region = Region(score, Prediction(np.zeros((1, 16))), 4.5, Coordinates.plain(16), 0.1)
    exact = score.volumes(region.prediction, np.array([4.5]))[0]
    found = region.volume(n=5000)
    assert found.value == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize(
    ("score", "needs"),
    [
        (PCP(), "posterior draws"),
        (HPD(), "posterior draws"),
        (QuantileBox(), "posterior draws"),
        (LatentNorm(), "a density"),
        (ResidualScore(PosteriorResidual(), NormGauge()), "a covariance for each case"),
    ],
)
def test_score_says_what_it_needs(score: AbstractScore, needs: str) -> None:
    with pytest.raises(ValueError, match=needs):
        score.fit(Prediction(np.zeros((5, 2))), np.zeros((5, 2)))


@pytest.mark.parametrize(
    ("mean", "named", "message"),
    [
        (np.zeros(3), {}, r"mean must be finite with shape \(N, d\)"),
        (np.full((2, 1), np.nan), {}, "mean must be finite"),
        (np.zeros((2, 2)), {"draws": np.zeros((3, 5, 2))}, "draws must have shape"),
        (np.zeros((2, 2)), {"factor": np.zeros((2, 3, 3))}, "factor must have shape"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(mean: np.ndarray, named: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Prediction(mean, **named)


def test_candidates_of_another_shape_are_refused(fitted: AbstractFittedScore) -> None:
    prediction, y = cases(4, seed=9)
    with pytest.raises(ValueError, match=r"y must have shape \(4, m, 2\)"):
        fitted.evaluate(prediction, y[:3, None])
