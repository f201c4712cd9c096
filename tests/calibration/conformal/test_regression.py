r"""Regions around any predictor."""

from __future__ import annotations

import numpy as np
import pytest

from pulsebayes.calibration.conformal import (
    ConformalRegressor,
    NormGauge,
    PlainResidual,
    ResidualScore,
    default_score,
    split_rows,
)

SCORE = ResidualScore(PlainResidual(), NormGauge())


class Line:
    def fit(self, X: np.ndarray, Y: np.ndarray) -> Line:
        self.w = np.linalg.lstsq(np.c_[X, np.ones(len(X))], Y, rcond=None)[0]
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.c_[X, np.ones(len(X))] @ self.w


def data(n: int, d: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3))
    return X, X @ rng.normal(size=(3, d)) + rng.normal(size=(n, d)) * (1 + X[:, :1] ** 2)


def test_default_regions_of_a_line_cover() -> None:
    X, Y = data(1600)
    model = ConformalRegressor(Line(), names=("a", "b")).fit(X[:1000], Y[:1000])
    regions = model.predict_region(X[1000:])
    assert 0.84 < regions.contains(Y[1000:]).mean() < 0.96
    assert [r.name for r in regions[0].ranges()] == ["a", "b"]
    assert model.predict(X[:5]).shape == (5, 2)
    assert not hasattr(model.predictor, "w")


def test_one_target_and_a_predictor_that_returns_a_vector() -> None:
    X, Y = data(900, d=1)
    model = ConformalRegressor(Line(), score=SCORE).fit(X[:600], Y[:600, 0])
    assert model.predict_region(X[600:]).contains(Y[600:]).mean() > 0.81  # .9 less three standard deviations


def test_scikit_learn_predictor_serves() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from sklearn.ensemble import RandomForestRegressor

    X, Y = data(600)
    model = ConformalRegressor(RandomForestRegressor(20, random_state=0), score=SCORE).fit(X[:400], Y[:400])
    assert model.predict_region(X[400:]).contains(Y[400:]).mean() > 0.82


def test_too_few_rows_give_unbounded_regions() -> None:
    X, Y = data(24)
    model = ConformalRegressor(Line(), score=SCORE).fit(X, Y)
    assert not model.predict_region(X[:2])[0].bounded
    assert "too few" in model.rule.guarantee


def test_bad_input_is_refused() -> None:
    X, Y = data(40)
    with pytest.raises(ValueError, match="X and Y must be finite"):
        ConformalRegressor(Line(), score=SCORE).fit(X, Y[:39])
    with pytest.raises(ValueError, match="target 1 is 3 in every row"):
        ConformalRegressor(Line(), score=SCORE).fit(X, np.column_stack([Y[:, 0], np.full(40, 3.0)]))
    with pytest.raises(ValueError, match="call fit"):
        ConformalRegressor(Line(), score=SCORE).predict_region(X)
    fitted = ConformalRegressor(Line(), score=SCORE).fit(X, Y)
    with pytest.raises(ValueError, match="expected the 2 targets y1, y2, got shape"):
        fitted.predict_region(X[:1])[0].contains(np.zeros((3, 5)))
    with pytest.raises(ValueError, match="shares must be positive"):
        split_rows(10, (0.5, 0.6))
    with pytest.raises(ValueError, match="rows are too few"):
        split_rows(2, (0.9, 0.05, 0.05))
    assert default_score(2, posterior=False).residual.hidden == 64  # type: ignore[attr-defined]
