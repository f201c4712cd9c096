r"""RoPE for a bundle: from labelled windows and fresh simulations to a layer, measured on held-out patients.

The layer itself is fitted on all patients; what is measured comes from folds by patient. Without a fold's patients the
embedding is tuned, the settings are chosen (by folds within the others) and the recordings are transported; then their
windows get inductive rows, as `infer` gives them. Below five hundred patients a separate test set would waste more than
it tells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from ...inference.bundle import Bundle
from ...simulators.channels import any_sensor_from_json
from ...simulators.registry import build
from ...simulators.sensors import SensorModel
from ...simulators.status import usable
from ..conformal.marginals import sharper_marginals
from ..diagnostics.intervals import coverage
from ..pairs import Pairs, hash_subject
from ..scores import acauc, lpp
from .checks import check_patients, labelled_pairs
from .components import Components, DrawnPrior
from .encoder import BankTargets, TuneConfig, Whitening, embed, tune
from .fit import FEWEST_SUBJECTS, RoPE, RoPEConfig, fit_rope
from .labels import LabelScore
from .layer import RoPELayer
from .mixture import Mixture
from .selection import Grid, folds_by_group, select

__all__ = ["Bank", "calibrate_rope", "simulate_bank"]

LEVELS = (0.5, 0.9)
"""Levels at which coverage on held-out patients is measured."""


@dataclass(frozen=True)
class Bank:
    r"""Fresh simulations, observed as the model's training set was.

    Arguments:
        x: Windows, of several channels those given drawn for each.
        columns: Quantities and parameters of each, by name.

    Example:
        >>> Bank(np.zeros((2, 1000)), {"HR": np.array([60.0, 70.0])}).x.shape
        (2, 1000)
    """

    x: Float[np.ndarray, "M *window"]
    columns: Mapping[str, Float[np.ndarray, " M"]]


def simulate_bank(
    bundle: Bundle, n: int, *, seed: int = 0, batch: int = 256, progress: Callable[[int], None] = lambda done: None
) -> Bank:
    r"""Simulates windows with the simulator and sensor that the bundle was trained on.

    Arguments:
        bundle: The bundle.
        n: Number of windows.
        seed: Seed; not one of the training set's.
        batch: Windows simulated at a time.
        progress: Called with the number of windows done.

    Raises:
        ValueError: If the bundle does not say what it was trained on.

    Example:
        >>> simulate_bank(bundle, 2000)  # doctest: +SKIP
    """
    training = bundle.training
    if "simulator" not in training or "simulator_config" not in training:
        raise ValueError(f"bundle {bundle.name} does not say which simulator it was trained on: give --simulations")
    simulator = build(str(training["simulator"]), **dict(training["simulator_config"]))
    sensor = any_sensor_from_json(training["sensor"]) if training.get("sensor") else SensorModel.radial_line()
    rng = np.random.default_rng([seed, 991])
    recipe = training.get("recipe", {})
    places = [simulator.sites.index(channel["site"]) for channel in recipe.get("channels", ())]
    site: Any = places or simulator.sites.index(str(recipe.get("site", simulator.sites[0])))
    windows, thetas, quantities, done = [], [], [], 0
    while done < n:
        theta = simulator.space.sample(rng, batch)
        rows = simulator.simulate(theta, int(rng.integers(2**31)))
        waves = rows.waves[:, site]
        good = usable(rows.status) & np.isfinite(waves).all(tuple(range(1, waves.ndim)))
        waves = waves[good]
        windows.append(sensor.apply(waves, rng, fs=bundle.contract.fs, out_samples=bundle.contract.samples))
        thetas.append(theta[good])
        quantities.append(rows.quantities[good])
        done += len(waves)
        progress(min(done, n))
    theta, found = np.concatenate(thetas)[:n], np.concatenate(quantities)[:n].astype(np.float64)
    columns = {name: theta[:, d] for d, name in enumerate(simulator.space.names)}
    columns |= {name: found[:, d] for d, name in enumerate(simulator.quantity_names)}
    return Bank(np.concatenate(windows)[:n], columns)


def calibrate_rope(
    bundle: Bundle,
    pairs: Pairs,
    bank: Bank,
    *,
    unlabelled: Pairs | None = None,
    config: RoPEConfig | None = None,
    grid: Grid | None = None,
    tuning: TuneConfig | None = None,
    n_components: int = 1000,
    folds: int = 4,
    seed: int = 0,
) -> RoPELayer:
    r"""Fits a RoPE layer and measures it on held-out patients.

    Arguments:
        bundle: The trained model.
        pairs: Labelled windows.
        bank: Fresh simulations; some become components, all are looked through for labels.
        unlabelled: Windows without labels, a sample of the population; None takes the pairs' windows.
        config: Settings; None chooses them on held-out patients, or takes the fixed ones for few.
        grid: What is tried.
        tuning: How the embedding is tuned.
        n_components: Most simulations that become components.
        folds: Folds of patients for what is measured.
        seed: Seed of splits and draws.

    Returns:
        The layer.

    Raises:
        ValueError: If there are too few patients or simulations, no label fits or one is impossible.

    Example:
        >>> calibrate_rope(bundle, pairs, simulate_bank(bundle, 4000))  # doctest: +SKIP
    """
    reference, pairs = unlabelled or pairs, labelled_pairs(pairs, bundle.outputs, bundle.prior)
    choice = config or _choice(grid or Grid(prior_share=(0.05,)), pairs.n_subjects)
    check_patients(pairs, reference, choice.tau if isinstance(choice, RoPEConfig) else max(choice.tau))
    setting = RoPESetting(bundle, pairs, bank, reference, tuning or TuneConfig(150, 3e-4, 32), n_components, seed)
    everyone = np.arange(len(pairs))
    chosen = setting.choose(choice, everyone)
    measured = setting.measure(choice, folds)
    encoder = setting.encoder(everyone)
    subjects = {*pairs.subjects.tolist(), *setting.reference.subjects.tolist()}
    return RoPELayer(setting.fit(encoder, chosen), measured, tuple(sorted(hash_subject(str(s)) for s in subjects)))


def _choice(grid: Grid, subjects: int) -> RoPEConfig | Grid:
    """The fixed settings for few patients, else a grid that is searched within every fold too."""
    return RoPEConfig() if subjects < grid.fewest else dataclasses.replace(grid, fewest=0)


class RoPESetting:
    """Everything that fitting, choosing and measuring share."""

    def __init__(
        self, bundle: Bundle, pairs: Pairs, bank: Bank, reference: Pairs, tuning: TuneConfig, most: int, seed: int
    ) -> None:
        self.bundle, self.pairs, self.reference, self.tuning, self.seed = bundle, pairs, reference, tuning, seed
        outputs, npe = bundle.outputs, bundle.npe
        theta = outputs.encode(bank.columns)
        good = outputs.space.contains(theta)
        if good.sum() < 100:
            raise ValueError(f"at least 100 simulations must lie inside the outputs' intervals, got {int(good.sum())}")
        h = embed(npe.without_adapter().embedding, bank.x[good])  # the bank is of the fast simulator
        self.whitening = Whitening.fit(h, outputs.space.unconstrain(theta[good]))
        self.white = self.whitening(h)
        few = np.random.default_rng([seed, 3]).permutation(len(h))[:most]
        self.components = Components.of(npe, h[few], seed=seed)
        self.prior = DrawnPrior(outputs.space, bundle.prior.astype(np.float64))
        self.score = LabelScore.of(outputs, self.components, bundle.prior, pairs.labels)
        known = outputs.derive(theta[good])
        self.scales = np.array([known[n].std() for n in self.score.names])
        self.quantities = np.stack([known[n] for n in self.score.names], -1) / self.scales
        self.kept: dict[bytes, nn.Module] = {}

    def encoder(self, rows: np.ndarray) -> nn.Module:
        """The embedding tuned on some pairs; each set of rows is tuned once."""
        key = np.sort(rows).tobytes()
        if key not in self.kept:
            targets = BankTargets(self.white, self.quantities, self.score.labels[rows] / self.scales)
            pairs = self.pairs.take(rows)
            config = dataclasses.replace(self.tuning, seed=self.seed)
            self.kept[key] = tune(
                self.bundle.npe.embedding, self.whitening, pairs.x, targets, config, groups=pairs.subjects
            )
        return self.kept[key]

    def others(self, without: np.ndarray) -> Pairs:
        """Recordings without labels, leaving out some subjects."""
        kept = self.reference.take(~np.isin(self.reference.subjects, without))
        if not len(kept):
            raise ValueError("all recordings without labels are of patients of one fold: give more by --unlabelled")
        return kept

    def fit(self, encoder: nn.Module, config: RoPEConfig, without: np.ndarray | tuple[()] = ()) -> RoPE:
        """The mixture from the recordings without labels, leaving out some subjects."""
        kept = self.others(np.asarray(without))
        return fit_rope(
            encoder, self.whitening, self.components, kept.x, self.prior, config, subjects=kept.subjects,
            fewest=1 if len(without) else FEWEST_SUBJECTS,
        )  # fmt: skip

    def choose(self, choice: RoPEConfig | Grid, rows: np.ndarray, without: np.ndarray | tuple[()] = ()) -> RoPEConfig:
        """The settings, from these rows of the pairs alone."""
        if isinstance(choice, RoPEConfig):
            return choice
        kept = self.others(np.asarray(without))

        def score(mixture: Mixture, some: np.ndarray) -> Float[np.ndarray, " N"]:
            return self.score(mixture.weights, rows[some], mixture.bandwidth, mixture.prior_share)

        return select(
            lambda some: self.encoder(rows[some]), self.whitening, self.components, self.pairs.x[rows],
            self.score.labels[rows], kept.x, self.prior, choice, groups=self.pairs.subjects[rows],
            subjects=kept.subjects, seed=self.seed, score=score,
        ).config  # fmt: skip

    def held_out(self, choice: RoPEConfig | Grid, held: np.ndarray) -> Mixture:
        """Posteriors of rows whose patients were seen nowhere else, neither their labels nor their recordings."""
        rows, without = np.setdiff1d(np.arange(len(self.pairs)), held), np.unique(self.pairs.subjects[held])
        config = self.choose(choice, rows, without)
        return self.fit(self.encoder(rows), config, without).posterior(self.pairs.x[held])

    def measure(self, choice: RoPEConfig | Grid, folds: int) -> dict[str, Any]:
        """Log probability, coverage and area between the curves for patients of whom nothing was seen."""
        n, names = len(self.pairs), self.score.names
        log_p, draws = np.full(n, np.nan), {name: np.full((n, 500), np.nan) for name in names}
        sizes = np.full(n, np.nan)
        rng = np.random.default_rng([self.seed, 4])
        for held in folds_by_group(self.pairs.subjects, folds, self.seed):
            mixture = self.held_out(choice, held)
            log_p[held] = self.score(mixture.weights, held, mixture.bandwidth, mixture.prior_share)
            sizes[held] = mixture.effective
            found = self.bundle.outputs.derive(mixture.sample(rng, 500))
            for name in names:
                draws[name][held] = found[name]
        by_name = {name: (draws[name][..., None], self.score.labels[:, [q]]) for q, name in enumerate(names)}
        known = {name: (d[np.isfinite(t[:, 0])], t[np.isfinite(t[:, 0])]) for name, (d, t) in by_name.items()}
        covered = {name: coverage(d, t, LEVELS)[:, 0] for name, (d, t) in known.items()}
        score = lpp(log_p)
        return {
            "patients": self.pairs.n_subjects,
            "windows": n,
            "reference_patients": self.reference.n_subjects,
            "coverage": {f"{p:g}": {name: _digits(covered[name][i]) for name in names} for i, p in enumerate(LEVELS)},
            "acauc": {name: _digits(acauc(d, t)[0]) for name, (d, t) in known.items()},
            "lpp": None if not np.isfinite(score.mean) else _digits(score.mean),
            "lpp_infinite": _digits(score.infinite),
            "lpp_prior": _digits(self._prior_score()),
            "effective_size": _digits(np.median(sizes)),
            "sharper": list(self._sharper(draws)),
            "simulations": self.components.n,
            "settings": "chosen in each fold" if isinstance(choice, Grid) else "fixed",
        }  # fmt: skip

    def _sharper(self, draws: Mapping[str, Float[np.ndarray, "N S"]]) -> tuple[str, ...]:
        """Quantities on which the estimator's own posterior has the smaller ranked score on the same patients."""
        generator = torch.Generator().manual_seed(self.seed)
        x = torch.from_numpy(np.asarray(self.pairs.x, dtype=np.float32))
        own = self.bundle.outputs.derive(np.asarray(self.bundle.npe.sample(x, 500, generator)))
        return sharper_marginals(draws, own, self.pairs.labels)

    def _prior_score(self) -> float:
        """The same log probability with the prior in place of every posterior."""
        weights = np.full((len(self.pairs), self.components.n), 1.0 / self.components.n)
        return float(self.score(weights, np.arange(len(self.pairs)), 0.17, 1.0 - 1e-9).mean())


def _digits(value: float | np.floating[Any]) -> float:
    return round(float(value), 4)
