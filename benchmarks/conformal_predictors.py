r"""Every score around one predictor: a conditional flow, whose draws give mean, covariance, quantiles and density."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

from pulsebayes.calibration.conformal import (
    HPD,
    PCP,
    BoxGauge,
    EntropicRank,
    ExactRank,
    LatentNorm,
    LearnedScale,
    NeighbourRank,
    NormGauge,
    PlainResidual,
    PosteriorResidual,
    Prediction,
    QuantileBox,
    ResidualScore,
    TunedRank,
    conformal_limit,
    split_conformal,
    split_rows,
    worst_slab_coverage,
)
from pulsebayes.calibration.conformal.score import AbstractScore

from .conformal_rivals import MISSING, ott_name, ott_scores, pot_scores
from .conformal_sets import SYNTHETIC, Table, folder, real
from .rows import Row

DRAWS = 200
_SLOW = ("HPD", "OT-CP, exact", "OT-CP+", "OTCP, tuned", "latent norm")
VOLUME_ROWS = 150
MOST_D = 6
"""Above this Monte Carlo volumes of level sets and unions of balls are too noisy to report."""

SCORES: dict[str, AbstractScore] = {
    "ellipsoid": ResidualScore(PlainResidual(), NormGauge()),
    "box": ResidualScore(PlainResidual(), BoxGauge()),
    "OTCP, eps .1": ResidualScore(PlainResidual(), EntropicRank(0.1)),
    "OTCP, tuned": ResidualScore(PlainResidual(), TunedRank()),
    "OT-CP, exact": ResidualScore(PlainResidual(), ExactRank(most=500)),
    "OT-CP+": NeighbourRank(),
    "learned ellipsoid": ResidualScore(LearnedScale(), NormGauge()),
    "learned scale, OT rank (default, point)": ResidualScore(LearnedScale(), TunedRank()),
    "Mahalanobis": ResidualScore(PosteriorResidual(), NormGauge()),
    "posterior-whitened OT rank (default)": ResidualScore(PosteriorResidual(), TunedRank()),
    "quantile box": QuantileBox(),
    "HPD": HPD(most=DRAWS),
    "latent norm": LatentNorm(),
    "PCP": PCP(),
}


class Flow:
    """A conditional spline flow of standardised targets given features: sampled, evaluated and inverted."""

    def __init__(self, x: np.ndarray, y: np.ndarray, *, seed: int, epochs: int) -> None:
        import torch
        import zuko

        torch.manual_seed(seed)
        self.torch = torch
        self.flow = zuko.flows.NSF(y.shape[1], x.shape[1], bins=8, transforms=3, hidden_features=(64, 64))
        data = [torch.from_numpy(v).float() for v in (x, y)]
        cut = max(20, len(x) // 8)
        held, own = [v[:cut] for v in data], [v[cut:] for v in data]
        optimiser = torch.optim.AdamW(self.flow.parameters(), lr=2e-3, weight_decay=1e-4)
        best, kept, since = float("inf"), self.flow.state_dict(), 0
        for _ in range(epochs):
            for rows in torch.randperm(len(own[0])).split(256):
                optimiser.zero_grad()
                loss = -self.flow(own[0][rows]).log_prob(own[1][rows]).mean()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.flow.parameters(), 5.0)
                optimiser.step()
            with torch.no_grad():
                error = -float(self.flow(held[0]).log_prob(held[1]).mean())
            since += 1
            if error < best - 1e-3:
                best, since = error, 0
                kept = {k: v.clone() for k, v in self.flow.state_dict().items()}
            if since >= 15:
                break
        self.flow.load_state_dict(kept)
        self.flow.eval()

    def sample(self, x: np.ndarray, seed: int) -> np.ndarray:
        """Draws (N, S, d)."""
        self.torch.manual_seed(seed)
        with self.torch.no_grad():
            parts = [self.flow(c).sample((DRAWS,)) for c in self.torch.from_numpy(x).float().split(500)]
        return self.torch.cat(parts, dim=1).transpose(0, 1).clamp(-50, 50).double().numpy()

    def on(self, x: np.ndarray) -> FlowDensity:
        """The density at some cases."""
        return FlowDensity(self, x)


class FlowDensity:
    """Density of the flow given the features of numbered cases."""

    def __init__(self, flow: Flow, x: np.ndarray) -> None:
        self.flow, self.x = flow, x

    def _each(self, rows: np.ndarray, y: np.ndarray, work: Callable) -> np.ndarray:
        torch = self.flow.torch
        made = []
        with torch.no_grad():
            for c, own in zip(torch.from_numpy(self.x[rows]).float().split(40), torch.from_numpy(y).float().split(40)):
                made.append(work(self.flow.flow(c[:, None].expand(-1, own.shape[1], -1)), own).double().numpy())
        return np.concatenate(made)

    def log_prob(self, rows: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Log density (N, m)."""
        return self._each(rows, y, lambda given, own: given.log_prob(own))

    def latent(self, rows: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Latent coordinates (N, m, d)."""
        return self._each(rows, y, lambda given, own: given.transform(own))


def tables(name: str, quick: bool) -> Iterator[tuple[int, Table]]:
    """A set for each seed."""
    for seed in range(2 if name in SYNTHETIC and not quick else 1):
        rng = np.random.default_rng(seed)
        if name in SYNTHETIC:
            yield seed, SYNTHETIC[name](rng, 3000 if quick else 9000)
        elif (home := folder()) is not None:
            yield seed, real(name, home, rng)


def normal_scores(train: np.ndarray, every: np.ndarray) -> np.ndarray:
    """Quantile normalisation fitted on the training rows."""
    from sklearn.preprocessing import QuantileTransformer

    made = QuantileTransformer(output_distribution="normal", n_quantiles=min(1000, len(train)), random_state=0)
    return np.asarray(made.fit(train).transform(every))


def scores_on(name: str, quick: bool) -> Iterator[Row]:
    """Coverage, volume, worst slab, ERT and times of every score on one set."""
    found: dict[str, dict[str, list[float]]] = {}
    if quick and name != "heteroscedastic":
        return
    d = p = n = 0
    for seed, table in tables(name, quick):
        n, p, d = len(table.x), table.x.shape[1], table.y.shape[1]
        shares = (0.25, 0.15, 0.15, 0.45) if name in SYNTHETIC else (0.5, 0.2, 0.15, 0.15)
        parts = split_rows(n, shares, seed=seed)
        plain = name in SYNTHETIC
        x = table.x if plain else normal_scores(table.x[parts[0]], table.x)
        y = (table.y - table.y[parts[0]].mean(0)) / table.y[parts[0]].std(0)
        y = y if plain else normal_scores(table.y[parts[0]], table.y)
        z = (x - x[parts[0]].mean(0)) / np.maximum(x[parts[0]].std(0), 1e-9)
        flow = Flow(z[parts[0]], y[parts[0]], seed=seed, epochs=20 if quick else 60)
        prediction = Prediction.from_draws(flow.sample(z, seed), x=z, density=flow.on(z))
        for score, values in _each_score(prediction, y, parts, seed, quick).items():
            for measure, value in values.items():
                found.setdefault(score, {}).setdefault(measure, []).append(value)
    if not found:
        print(f"{name}: no data folder, set PULSEBAYES_DATA; its rows are left out", file=sys.stderr)
        return
    setting = f"n = {n}, p = {p}, d = {d}, alpha = 0.1, {len(next(iter(found['ellipsoid'].values())))} seeds"
    for score, values in found.items():
        for measure, numbers in values.items():
            yield Row(name, score, setting, measure, float(np.mean(numbers)), float(np.std(numbers)))
    if ott_name() not in found:
        yield Row(name, ott_name(), setting, "coverage", MISSING)


def _each_score(
    prediction: Prediction, y: np.ndarray, parts: tuple[np.ndarray, ...], seed: int, quick: bool
) -> dict[str, dict[str, float]]:
    _, second, third, test = parts
    made: dict[str, dict[str, float]] = {}
    d = y.shape[1]
    for name, score in SCORES.items():
        if (quick and name in _SLOW) or (d > 8 and "OT" in name and "default" not in name):
            continue
        begun = time.perf_counter()
        fitted = score.fit(prediction[second], y[second], seed=seed)
        rule = split_conformal(fitted, prediction[third], y[third])
        fit_s = time.perf_counter() - begun
        begun = time.perf_counter()
        regions = rule.regions(prediction[test])
        hit = regions.contains(y[test])
        predict_s = time.perf_counter() - begun
        made[name] = _evenness(prediction.x[test], hit) | {"fit [s]": fit_s, "predict [s]": predict_s}
        rows = test if isinstance(score, ResidualScore | QuantileBox) else test[:VOLUME_ROWS]
        if d <= MOST_D or isinstance(score, ResidualScore | QuantileBox):
            volumes = rule.regions(prediction[rows]).volumes(n=1000 if len(rows) < len(test) else 20000)
            made[name]["vol^(1/d)"] = float(np.mean(volumes ** (1 / d)))
            made[name]["mean volume"] = float(np.mean(volumes))
    made |= _rivals(prediction, y, parts, seed)
    return made


def _rivals(
    prediction: Prediction, y: np.ndarray, parts: tuple[np.ndarray, ...], seed: int
) -> dict[str, dict[str, float]]:
    """Rivals on the same plain residuals, each with its own threshold; volumes by uniform points in a padded box."""
    _, second, third, test = parts
    r = y - prediction.mean
    made: dict[str, dict[str, float]] = {}
    makers = {
        ott_name(): lambda: ott_scores(r[second], n_target=4096),
        "POT, plain OT-CP": lambda: pot_scores(r[second[:600]], seed),
    }
    d = y.shape[1]
    low, high = r.min(0) - 0.2 * np.ptp(r, axis=0), r.max(0) + 0.2 * np.ptp(r, axis=0)
    points = np.random.default_rng(seed).uniform(low, high, size=(20000, d))
    for name, make in makers.items():
        begun = time.perf_counter()
        score = make()
        fit_s = time.perf_counter() - begun
        if score is None:
            continue
        own = score(r[third])
        limit = np.quantile(own, 0.9) if name.startswith("ott") else conformal_limit(own, 0.1)
        begun = time.perf_counter()
        hit = score(r[test]) <= limit
        made[name] = _evenness(prediction.x[test], hit)
        made[name] |= {"fit [s]": fit_s, "predict [s]": time.perf_counter() - begun}
        if d <= 4:
            volume = float(np.prod(high - low) * (score(points) <= limit).mean())
            made[name] |= {"vol^(1/d)": volume ** (1 / d), "mean volume": volume}
    return made


def _evenness(x: np.ndarray, hit: np.ndarray) -> dict[str, float]:
    found = {"coverage": float(hit.mean())}
    found["worst-slab coverage"] = worst_slab_coverage(x, hit, directions=300 if x.shape[1] > 1 else 1)
    try:
        from covmetrics import ERT
        from sklearn.ensemble import HistGradientBoostingClassifier
    except ImportError:
        return found
    if 0 < hit.mean() < 1:
        model = ERT(HistGradientBoostingClassifier, max_iter=40, max_leaf_nodes=8, learning_rate=0.1)
        rows = np.random.default_rng(0).permutation(len(x))[:3000]
        losses = model.evaluate_multiple_losses(x[rows], hit[rows].astype(float), 0.1, n_splits=3)
        found["ERT (L1)"] = float(
            next(v for k, v in losses.items() if k.startswith("ERT_L1") and "_over" not in k and "_under" not in k)
        )
    return found
