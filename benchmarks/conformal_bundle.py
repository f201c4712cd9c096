r"""Credible and conformal regions of a shipped model in a reality that its simulator does not hold.

Reality is the linear network with walls of small arteries stiffer and more viscous, arm beds tighter and an
over-damped, badly levelled pressure line, mildly and strongly. Credible regions of the model are compared with
conformal regions of the same posterior and of RoPE posteriors; RoPE is tuned on other patients than the limit is
taken from, so the promise of the limit is exact.

python -m benchmarks.conformal_bundle [--quick] [--json] [--out DIR]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pulsebayes.calibration.conformal import (
    Coordinates,
    NormGauge,
    PosteriorResidual,
    Prediction,
    ResidualScore,
    TunedRank,
    graft_marginals,
    sharper_marginals,
    split_conformal,
)

from .conformal_rivals import MISSING
from .rows import Row, run

SETS = (("CO", "SVR"), ("HR", "CO", "SVR", "LVET"))
DRAWS = 400


@dataclass(frozen=True)
class Reality:
    """Factors on the population's parameters; transducer error [mmHg], gain [1] and corner of the damped line [Hz]."""

    name: str
    factors: Mapping[str, float]
    offset: float
    gain: float
    corner: float


REALITIES = {
    r.name: r
    for r in (
        Reality("mild", {"small_vessel_stiffness": 1.6, "wall_viscosity": 2.5, "arm_resistance": 1.5}, 5.0, 0.95, 6.0),
        Reality(
            "strong", {"small_vessel_stiffness": 2.0, "wall_viscosity": 3.0, "arm_resistance": 2.0}, 8.0, 0.85, 3.0
        ),
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
    simulator = build(recipe.simulate.model, **recipe.simulate.config)
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


def posteriors(reality: Reality, quick: bool) -> Mapping[str, Any]:
    """Draws of the model and of RoPE, and the truth, for tuning, limit and test patients and for simulations."""
    import torch

    from pulsebayes.inference.bundle import Bundle, find_bundle

    torch.set_num_threads(1)
    bundle = Bundle.load(find_bundle("radial-abp"))
    sizes = {"tune": 50, "limit": 50, "test": 60} if quick else {"tune": 100, "limit": 100, "test": 200}
    x, columns = windows(sum(sizes.values()), 1, reality)
    sim_x, sim_columns = windows(128 if quick else 1536, 2, None)
    outputs, generator = bundle.outputs, torch.Generator().manual_seed(0)
    theta, sim_theta = outputs.encode(columns), outputs.encode(sim_columns)
    ends = np.cumsum([0, *sizes.values()])
    where = {name: slice(a, b) for name, a, b in zip(sizes, ends[:-1], ends[1:], strict=True)}
    draws = {"NPE": bundle.npe.sample(torch.from_numpy(x[where["limit"].start :]), DRAWS, generator)}
    n_fit = min(384, len(sim_x))
    simulated = bundle.npe.sample(torch.from_numpy(sim_x[:n_fit]), DRAWS, generator)
    tuned = _rope(bundle, (sim_x, sim_theta), (x[where["tune"]], theta[where["tune"]]), x, quick)
    derived = {name: outputs.derive(own) for name, own in draws.items()}
    if tuned is not None:
        first = where["limit"].start
        derived["RoPE"] = outputs.derive(tuned[first:])
        told = bundle.npe.sample(torch.from_numpy(x[where["tune"]]), DRAWS, generator)
        truth = outputs.derive(theta[where["tune"]])
        sharp = sharper_marginals(outputs.derive(tuned[:first]), outputs.derive(told), truth)
        derived["RoPE, NPE where sharper"] = graft_marginals(derived["RoPE"], derived["NPE"], sharp)
    n_limit = sizes["limit"]
    return {
        "draws": derived,
        "truth": outputs.derive(theta[where["limit"].start :]),
        "simulated": (outputs.derive(simulated), outputs.derive(sim_theta[:n_fit])),
        "limit": slice(0, n_limit),
        "test": slice(n_limit, None),
        "units": outputs.reported,
        "sharper": ", ".join(sharp) if tuned is not None else "",
    }


def _rope(bundle: Any, bank: tuple[Any, Any], pairs: tuple[Any, Any], x: np.ndarray, quick: bool) -> np.ndarray | None:
    """Draws of RoPE posteriors, tuned on pairs, for all patients; None where RoPE is absent."""
    try:
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
    except ImportError:
        return None
    npe, space = bundle.npe, bundle.outputs.space
    encoder = npe.embedding.eval()
    contexts = embed(encoder, bank[0])
    z, own = space.unconstrain(bank[1]), space.unconstrain(pairs[1])
    whitening = Whitening.fit(contexts, z)
    scale = z.std(0)
    targets = BankTargets(whitening(contexts), z / scale, own / scale, neighbours=8 if quick else 16)
    tuned = tune(encoder, whitening, pairs[0], targets, TuneConfig(steps=60 if quick else 200))
    components = Components.of(npe, contexts)
    prior = DrawnPrior(space, bundle.prior.astype(np.float64))
    rope = fit_rope(tuned, whitening, components, x, prior, RoPEConfig(gamma=0.02, bandwidth=0.05))
    return np.asarray(rope.posterior(x).sample(np.random.default_rng(0), DRAWS))


def measured(name: str, quick: bool) -> Iterator[Row]:
    """Coverage and volume of credible and conformal regions."""
    made = posteriors(REALITIES[name], quick)
    n_limit, n_test = made["limit"].stop, len(made["truth"]["CO"]) - made["limit"].stop
    setting = f"{name} reality, limit from {n_limit} patients, {n_test} new patients"
    if "RoPE" not in made["draws"]:
        yield Row("bundle", "RoPE", setting, "coverage", MISSING)
    yield Row("bundle", "RoPE, NPE where sharper", setting, "marginals from NPE", made["sharper"])
    for names in SETS:
        truth = np.log(np.stack([made["truth"][n] for n in names], axis=1))
        task = ", ".join(names)
        sim_draws, sim_truth = made["simulated"]
        fit_on = _predict(sim_draws, names)
        fit_y = np.log(np.stack([sim_truth[n] for n in names], axis=1))
        good = np.isfinite(fit_y).all(1)
        for posterior, draws in made["draws"].items():
            prediction = _predict(draws, names)
            yield from _credible((task, setting), posterior, prediction, truth, made["test"])
            scores = {"Mahalanobis": NormGauge(whiten=False), "OT rank": TunedRank(largest=1024)}
            for score, gauge in scores.items():
                fitted = ResidualScore(PosteriorResidual(), gauge).fit(fit_on[np.flatnonzero(good)], fit_y[good])
                rule = split_conformal(
                    fitted, prediction[made["limit"]], truth[made["limit"]], coordinates=Coordinates.plain(len(names))
                )
                regions = rule.regions(prediction[made["test"]])
                hit = regions.contains(truth[made["test"]])
                method, volume = f"{posterior}, conformal {score}", float(np.median(regions.volumes()))
                yield Row(task, method, setting, "coverage", float(hit.mean()), _error(hit))
                yield Row(task, method, setting, "median volume, log units", volume)


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
    run("conformal_bundle", {name: partial(measured, name) for name in REALITIES})
