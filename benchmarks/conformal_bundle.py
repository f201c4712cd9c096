r"""Credible and conformal regions of a shipped model in a reality that its simulator does not hold.

Reality is the linear network with walls of small arteries stiffer and more viscous, arm beds tighter and an
over-damped, badly levelled pressure line, mildly and strongly; or the mild one solved by the non-linear network.
Each part is new patients, new simulations and new fits of its own seed. Credible regions of the model are compared with
conformal regions of the same posterior, of RoPE posteriors and of what regions of a RoPE bundle are made from (RoPE's
marginals where they are better, by ranked score on tuning patients held out by halves). RoPE is tuned on other patients
than the limit is taken from, so the promise of the limit is exact. Coverage and volume are means over random splits of
the other patients into those of the limit and new ones; the last score takes its shape from the tuning patients.

python -m benchmarks.conformal_bundle [--quick] [--json] [--out DIR]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from pulsebayes.calibration.conformal import (
    Coordinates,
    NormGauge,
    PosteriorResidual,
    Prediction,
    ResidualScore,
    TunedRank,
    sharper_marginals,
    split_conformal,
)
from pulsebayes.calibration.rope.folds import region_draws

from .rows import Row, run

SETS = (("CO", "SVR"), ("HR", "CO", "SVR", "LVET"))
DRAWS = 400
SPLITS = 50
SEEDS = (12,)
"""Of patients, simulations and fits; 1, 2 and 11 were looked at while what regions are made from was chosen."""


@dataclass(frozen=True)
class Reality:
    """Factors on the population's parameters; transducer error [mmHg], gain [1] and corner of the damped line [Hz]."""

    name: str
    factors: Mapping[str, float]
    offset: float
    gain: float
    corner: float
    model: str = "linear-network"


MILD = {"small_vessel_stiffness": 1.6, "wall_viscosity": 2.5, "arm_resistance": 1.5}
REALITIES = {
    r.name: r
    for r in (
        Reality("mild", MILD, 5.0, 0.95, 6.0),
        Reality(
            "strong", {"small_vessel_stiffness": 2.0, "wall_viscosity": 3.0, "arm_resistance": 2.0}, 8.0, 0.85, 3.0
        ),
        Reality("non-linear", MILD, 5.0, 0.95, 6.0, "network"),
    )
}
_BLOCK = 64


def windows(n: int, seed: int, reality: Reality | None) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Windows of simulated or real patients and what is true of them."""
    from scipy.signal import butter, sosfiltfilt

    from pulsebayes.inference.recipe import find_recipe
    from pulsebayes.simulators.registry import build
    from pulsebayes.simulators.sensors import SensorModel
    from pulsebayes.simulators.status import usable

    recipe = find_recipe("radial-abp")
    simulator = build(reality.model if reality else recipe.simulate.model, **recipe.simulate.config)
    names = [*simulator.space.names, *simulator.quantity_names]
    rng = np.random.default_rng([seed, reality is not None])
    waves, table = [], []
    while sum(len(w) for w in waves) < n:
        theta = simulator.space.sample(rng, _BLOCK)
        for name, factor in reality.factors.items() if reality else ():
            theta[:, simulator.space.index(name)] *= factor
        rows = simulator.simulate(theta, int(rng.integers(2**31)))
        good = usable(np.asarray(rows.status))
        waves.append(np.asarray(rows.waves)[good, 0])
        table.append(np.concatenate([theta[good], np.asarray(rows.quantities)[good]], axis=1))
    wave = np.concatenate(waves)[:n]
    x = SensorModel.radial_line().apply(wave, rng, fs=125.0, out_samples=1000)
    if reality:
        x = reality.gain * sosfiltfilt(butter(2, reality.corner, fs=125.0, output="sos"), x, axis=1) + reality.offset
    return x.astype(np.float32), dict(zip(names, np.concatenate(table)[:n].T, strict=True))


@cache
def simulations(n: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Windows of the model's own simulator, made once for all realities of a seed."""
    return windows(n, seed, None)


def posteriors(reality: Reality, seed: int, quick: bool) -> Mapping[str, Any]:
    """Draws of the model and of RoPE, and the truth, for tuning, limit and test patients and for simulations."""
    import torch

    from pulsebayes.inference.bundle import Bundle, find_bundle

    torch.set_num_threads(1)
    bundle = Bundle.load(find_bundle("radial-abp"))
    sizes = {"tune": 50, "limit": 50, "test": 60} if quick else {"tune": 100, "limit": 100, "test": 200}
    x, columns = windows(sum(sizes.values()), seed, reality)
    sim_x, sim_columns = simulations(128 if quick else 1536, seed)
    outputs, generator = bundle.outputs, torch.Generator().manual_seed(seed)
    theta, sim_theta = outputs.encode(columns), outputs.encode(sim_columns)
    ends = np.cumsum([0, *sizes.values()])
    where = {name: slice(a, b) for name, a, b in zip(sizes, ends[:-1], ends[1:], strict=True)}
    n_fit = min(384, len(sim_x))
    simulated = bundle.npe.without_adapter().sample(torch.from_numpy(sim_x[:n_fit]), DRAWS, generator)
    npe = bundle.npe.sample(torch.from_numpy(x), DRAWS, generator)
    rope, held_out = _rope(bundle, (sim_x, sim_theta), (x[where["tune"]], theta[where["tune"]]), x, quick)
    own = {"NPE": npe, "RoPE": rope, "held out": held_out}
    return gathered({name: outputs.derive(d) for name, d in own.items()}, outputs.derive(theta)) | {
        "simulated": (outputs.derive(simulated), outputs.derive(sim_theta[:n_fit])),
        "limit": sizes["limit"],
    }


def gathered(draws: Mapping[str, Mapping[str, np.ndarray]], truth: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Posteriors of every patient, RoPE's of the tuning patients held out, and what regions are made from."""
    n = len(next(iter(draws["held out"].values())))
    rope = {q: np.concatenate([draws["held out"][q], d[n:]]) for q, d in draws["RoPE"].items()}
    first = [{q: d[:n] for q, d in some.items()} for some in (rope, draws["NPE"], truth)]
    sharp = sharper_marginals(*first)
    joined = region_draws(rope, draws["NPE"], sharp)
    return {
        "draws": {"NPE": draws["NPE"], "RoPE": rope, "RoPE with NPE where sharper": joined},
        "truth": truth,
        "tune": n,
        "sharper": ", ".join(sharp),
    }


def _rope(
    bundle: Any, bank: tuple[Any, Any], pairs: tuple[Any, Any], x: np.ndarray, quick: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Draws of RoPE posteriors, tuned on pairs, for all patients; then for the pairs, tuned on the other half."""
    from pulsebayes.calibration.rope import (
        BankTargets,
        Components,
        DrawnPrior,
        RoPEConfig,
        TuneConfig,
        Whitening,
        embed,
        fit_rope,
        tune,
    )

    npe, space = bundle.npe, bundle.outputs.space
    encoder = npe.embedding.eval()
    contexts = embed(npe.without_adapter().embedding.eval(), bank[0])
    z, own = space.unconstrain(bank[1]), space.unconstrain(pairs[1])
    whitening = Whitening.fit(contexts, z)
    scale = z.std(0)
    components = Components.of(npe, contexts)
    prior = DrawnPrior(space, bundle.prior.astype(np.float64))

    def draws(rows: np.ndarray, others: np.ndarray, at: np.ndarray, steps: int) -> np.ndarray:
        targets = BankTargets(whitening(contexts), z / scale, own[rows] / scale, neighbours=8 if quick else 16)
        tuned = tune(encoder, whitening, pairs[0][rows], targets, TuneConfig(steps=steps))
        rope = fit_rope(tuned, whitening, components, others, prior, RoPEConfig(gamma=0.02, bandwidth=0.05))
        return np.asarray(rope.posterior(at).sample(np.random.default_rng(0), DRAWS))

    n = len(pairs[0])
    held_out = np.empty((n, DRAWS, space.dim))
    for half in range(2):
        held = np.arange(n) % 2 == half
        held_out[held] = draws(np.flatnonzero(~held), x[n:], pairs[0][held], 30 if quick else 100)
    return draws(np.arange(n), x, x, 60 if quick else 200), held_out


def measured(name: str, seed: int, quick: bool) -> Iterator[Row]:
    """Coverage and volume of credible and conformal regions."""
    yield from told(posteriors(REALITIES[name], seed, quick), name)


def told(made: Mapping[str, Any], name: str) -> Iterator[Row]:
    """Rows of one reality."""
    tune, n_limit = made["tune"], made["limit"]
    n_test = len(made["truth"]["CO"]) - tune - n_limit
    setting = f"{name} reality, limit from {n_limit} patients, {n_test} new patients"
    yield Row("bundle", "RoPE with NPE where sharper", setting, "marginals from NPE", made["sharper"])
    for names in SETS:
        truth = np.log(np.stack([made["truth"][n] for n in names], axis=1))
        task = ", ".join(names)
        fit_on, fit_y = _fit_on(made["simulated"], names)
        shared = {
            "Mahalanobis": ResidualScore(PosteriorResidual(), NormGauge(whiten=False)).fit(fit_on, fit_y),
            "OT rank": ResidualScore(PosteriorResidual(), TunedRank(largest=1024)).fit(fit_on, fit_y),
        }
        for posterior, draws in made["draws"].items():
            prediction = _predict(draws, names)
            yield from _credible((task, setting), posterior, prediction, truth, slice(tune, None))
            shaped = ResidualScore(PosteriorResidual(), NormGauge()).fit(prediction[:tune], truth[:tune])
            for score, own in {**shared, "Mahalanobis, shape of tuning patients": shaped}.items():
                found = np.array([_split(own, prediction[tune:], truth[tune:], n_limit, k) for k in range(SPLITS)])
                method = f"{posterior}, conformal {score}"
                for j, measure in enumerate(("coverage", "median volume, log units")):
                    yield Row(task, method, setting, measure, float(found[:, j].mean()), float(found[:, j].std()))


def _fit_on(simulated: tuple[Any, Any], names: tuple[str, ...]) -> tuple[Prediction, np.ndarray]:
    """Posteriors of simulations and what was simulated."""
    y = np.log(np.stack([simulated[1][n] for n in names], axis=1))
    good = np.flatnonzero(np.isfinite(y).all(1))
    return _predict(simulated[0], names)[good], y[good]


def _split(score: Any, prediction: Prediction, truth: np.ndarray, n_limit: int, seed: int) -> tuple[float, float]:
    """Coverage of new patients and median volume, for one split into patients of the limit and new ones."""
    rows = np.random.default_rng(seed).permutation(len(truth))
    limit, new = rows[:n_limit], rows[n_limit:]
    rule = split_conformal(score, prediction[limit], truth[limit], coordinates=Coordinates.plain(truth.shape[1]))
    regions = rule.regions(prediction[new])
    return float(regions.contains(truth[new]).mean()), float(np.median(regions.volumes()))


def _credible(
    place: tuple[str, str], posterior: str, prediction: Prediction, truth: np.ndarray, test: slice
) -> Iterator[Row]:
    """Coverage of the 90 % credible ellipsoid and of the marginal 90 % credible intervals."""
    task, setting = place
    draws, y = prediction.draws[test], truth[test]
    own = PosteriorResidual().residuals(prediction[test], np.concatenate([y[:, None], draws], axis=1))
    norms = np.linalg.norm(own, axis=-1)
    hit = norms[:, 0] <= np.quantile(norms[:, 1:], 0.9, axis=1)
    yield Row(task, f"{posterior}, credible ellipsoid", setting, "coverage", float(hit.mean()), _error(hit))
    d = y.shape[1]
    radius = np.quantile(norms[:, 1:], 0.9, axis=1)
    unit = np.pi ** (d / 2) / {2: 1.0, 4: 2.0}[d]
    volume = unit * radius**d * np.prod(np.einsum("nii->ni", prediction.factor[test]), axis=1)
    yield Row(task, f"{posterior}, credible ellipsoid", setting, "median volume, log units", float(np.median(volume)))
    low, high = np.quantile(draws, [0.05, 0.95], axis=1)
    for name, share in zip(task.split(", "), ((low <= y) & (y <= high)).mean(0), strict=True):
        yield Row(task, f"{posterior}, credible interval", setting, f"coverage of {name}", float(share))


def _predict(draws: Mapping[str, np.ndarray], names: tuple[str, ...]) -> Prediction:
    theta = np.stack([np.asarray(draws[n], dtype=np.float64) for n in names], axis=-1)
    return Prediction.from_draws(np.log(np.maximum(theta, 1e-3)))


def _error(hit: np.ndarray) -> float:
    return float(np.sqrt(hit.mean() * (1 - hit.mean()) / len(hit)))


if __name__ == "__main__":
    run("conformal_bundle", {f"{name}-{seed}": partial(measured, name, seed) for seed in SEEDS for name in REALITIES})
