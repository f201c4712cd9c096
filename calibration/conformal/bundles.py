r"""Calibrate a bundle with labelled windows of real patients: a fitted score, a limit that counts patients, an outline.

The score is fitted on simulations of the bundle's own simulator, of which there are as many as one likes; every real
patient goes into the limit. So with n answered patients the promise is exact: one window of a new patient,
exchangeable with them and answered, is in its region with probability at least $1 - \alpha$. Nothing is promised
about windows that are refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from ...inference.answer import Answer, Prior, Refusal, answer_window
from ...inference.answering import domain_model
from ...inference.bundle import Bundle
from ..pairs import Pairs, hash_subject
from ..rope.checks import labelled_pairs
from ..rope.folds import region_draws
from ..rope.layer import RoPELayer
from .draws import PCP, QuantileBox
from .gauge import BoxGauge, NormGauge
from .layer import ConformalLayer, ConformalSet, Pools, predict
from .order import fewest
from .prediction import Prediction
from .region import Coordinates
from .residual import FittedResidualScore, PosteriorResidual, ResidualScore, outline_of
from .score import AbstractFittedScore, AbstractScore
from .split import patient_conformal
from .tuned import TunedRank

__all__ = ["DEFAULT_SETS", "N_DRAWS", "SCORES", "calibrate_bundle", "conformal_sets"]

DEFAULT_SETS = (("CO", "SVR"), ("HR", "CO", "SVR", "LVET"))
"""Joint sets that are calibrated where the pairs label them."""

N_DRAWS = 1000
"""Posterior draws that a region is made from."""

SCORES: Mapping[str, Callable[[float], AbstractScore]] = {
    "otcp": lambda alpha: ResidualScore(PosteriorResidual(), TunedRank(alpha, largest=1024)),
    "mahalanobis": lambda alpha: ResidualScore(PosteriorResidual(), NormGauge(whiten=False)),
    "box": lambda alpha: ResidualScore(PosteriorResidual(), BoxGauge()),
    "quantiles": lambda alpha: QuantileBox(),
    "pcp": lambda alpha: PCP(),
}
"""Scores that a bundle can keep, by name: ``otcp`` is the optimal-transport rank of the posterior-whitened residual."""

Answerer = Callable[[Pairs], list[Answer | Refusal]]
"""From labelled windows to what each is answered."""

_BLOCK = 64


def answerer(bundle: Bundle, *, rope: RoPELayer | None = None, seed: int = 0) -> Answerer:
    """Answers windows one by one, with a RoPE layer if the bundle has one; draws are those of its regions."""
    prior, domain = Prior.of(bundle), domain_model(bundle)

    def alone(window: Float[np.ndarray, " T"], start_s: float) -> Answer | Refusal:
        place = None if domain is None else domain.assess(window)
        end_s = start_s + bundle.contract.window_s
        found = answer_window(
            bundle, window, start_s=start_s, end_s=end_s, prior=prior, n_draws=N_DRAWS, seed=seed, domain=place
        )
        if rope is None or isinstance(found, Refusal):
            return found
        answered = rope.answer(bundle, found, window, prior, seed=seed)
        return dataclasses.replace(answered, draws=region_draws(answered.draws, found.draws, rope.sharper))

    def answer(pairs: Pairs) -> list[Answer | Refusal]:
        starts = pairs.start_s if len(pairs.start_s) else np.zeros(len(pairs))
        return [alone(x, float(start)) for x, start in zip(pairs.x, starts, strict=True)]

    return answer


def conformal_sets(pairs: Pairs, wanted: Sequence[Sequence[str]] = ()) -> list[tuple[str, ...]]:
    r"""The joint sets to calibrate: those asked for, else the default sets that the pairs label.

    Arguments:
        pairs: Labelled windows.
        wanted: Sets asked for; empty for the default.

    Raises:
        ValueError: If a quantity is not labelled.

    Example:
        >>> pairs = Pairs(np.zeros((1, 9)), {"CO": np.ones(1), "SVR": np.ones(1)}, np.array(["a"]))
        >>> conformal_sets(pairs)
        [('CO', 'SVR')]
    """
    labelled = {name for name, values in pairs.labels.items() if np.isfinite(values).any()}
    if wanted:
        missing = sorted({name for names in wanted for name in names} - labelled)
        if missing:
            raise ValueError(f"quantities must be labelled in the pairs, got {missing}; there are {sorted(labelled)}")
        return [tuple(names) for names in wanted]
    found: list[tuple[str, ...]] = [names for names in DEFAULT_SETS if labelled.issuperset(names)]
    if not found and labelled:
        found = [tuple(name for name in pairs.labels if name in labelled)[:4]]
    if not found:
        raise ValueError("the pairs have no labels: give columns such as 'CO [L/min]'")
    return found


def calibrate_bundle(
    bundle: Bundle,
    pairs: Pairs,
    *,
    alpha: float = 0.1,
    score: str = "otcp",
    wanted: Sequence[Sequence[str]] = (),
    answer: Answerer | tuple[()] = (),
    used: Sequence[str] = (),
    pools: Pools | None = None,
    simulations: int = 384,
    seed: int = 0,
) -> ConformalLayer:
    r"""Calibrates a bundle.

    Arguments:
        bundle: The bundle.
        pairs: Labelled windows of real patients.
        alpha: Share of new patients whose window may be missed.
        score: Name of the score, one of ``SCORES``.
        wanted: Joint sets; the default ones that the pairs label where empty.
        answer: How windows are answered; one by one with the base bundle where an empty tuple is given.
        used: Hashes of patients that the answers were tuned on, as by RoPE; none of them may serve the limit.
        pools: Pools that the windows are answered in, where they do not stand alone.
        simulations: Simulations the score is fitted on.
        seed: Seed of draws, simulations and fits.

    Returns:
        The layer.

    Raises:
        ValueError: If the score is unknown, a label is missing, a patient tuned the answers, or the answered patients
            are too few for alpha.

    Example:
        >>> layer = calibrate_bundle(bundle, pairs, alpha=0.1)  # doctest: +SKIP
    """
    fitter = Fitter(bundle, score, alpha, simulations, seed)
    sets = conformal_sets(pairs, wanted)
    fitter.check(sets)
    pairs = labelled_pairs(pairs, bundle.outputs, bundle.prior)
    _check_unused(pairs, used)
    answers = (answer or answerer(bundle, seed=seed))(pairs)
    draws = [a.draws if isinstance(a, Answer) else None for a in answers]
    made = []
    for names in sets:
        labels = np.stack([pairs.labels[name] for name in names], axis=1)
        rows = [i for i, own in enumerate(draws) if own is not None and np.isfinite(labels[i]).all()]
        n = len(set(pairs.subjects[rows].tolist()))
        if n < fewest(alpha):
            raise ValueError(
                f"alpha {alpha:g} needs {fewest(alpha)} patients with an answered window and labels of "
                f"{', '.join(names)}, got {n}: give more, or --alpha {_possible(n)}"
            )
        own_draws = [d for i in rows if (d := draws[i]) is not None]
        one = _calibrated(fitter, names, own_draws, labels[rows], pairs.subjects[rows])
        made.append(one if pools is None else dataclasses.replace(one, guarantee=f"{one.guarantee}; {pools.told}"))
    patients = tuple(sorted({hash_subject(str(s)) for s in pairs.subjects.tolist()}))
    return ConformalLayer(tuple(made), N_DRAWS, patients, pools=pools)


def simulate_posteriors(
    bundle: Bundle, n: int, *, seed: int = 0
) -> tuple[list[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """Posterior draws for fresh simulations of the bundle's own simulator and sensor, and what was simulated."""
    import torch

    from ...simulators.photoplethysmograph import sensor_from_json
    from ...simulators.registry import build
    from ...simulators.sensors import SensorModel
    from ...simulators.status import usable

    recipe: Mapping[str, Any] = bundle.training.get("recipe", {}).get("simulate", {})
    if not recipe.get("model"):
        raise ValueError(
            f"bundle {bundle.name} names no simulator to fit this score on: use --score mahalanobis, which needs none"
        )
    simulator = build(str(recipe["model"]), **recipe.get("config", {}))
    rng = np.random.default_rng([seed, 9])
    waves, columns = [], []
    for start in range(0, n, _BLOCK):
        theta = simulator.space.sample(rng, _BLOCK)
        rows = simulator.simulate(theta, seed + 90_000 + start)
        good = usable(np.asarray(rows.status))
        waves.append(np.asarray(rows.waves)[good, 0])
        columns.append(np.concatenate([theta[good], np.asarray(rows.quantities)[good]], axis=1))
    table = np.concatenate(columns)[:n]
    named = dict(zip([*simulator.space.names, *simulator.quantity_names], table.T, strict=True))
    sensor = sensor_from_json(bundle.training["sensor"]) if bundle.training.get("sensor") else SensorModel.ideal()
    contract = bundle.contract
    x = sensor.apply(np.concatenate(waves)[:n], rng, fs=contract.fs, out_samples=contract.samples)
    truth = bundle.outputs.derive(bundle.outputs.encode(named))
    generator = torch.Generator().manual_seed(seed)
    npe = bundle.npe.without_adapter()  # windows are of the fast simulator
    theta_draws = npe.sample(torch.from_numpy(np.asarray(x, dtype=np.float32)), N_DRAWS, generator)
    return [bundle.outputs.derive(own) for own in theta_draws], truth


@dataclass(frozen=True)
class Fitter:
    """Fits a score of a bundle on simulations, which are made once."""

    bundle: Bundle
    name: str
    alpha: float
    simulations: int
    seed: int

    def __post_init__(self) -> None:
        if self.name not in SCORES:
            raise ValueError(f"score must be one of {', '.join(SCORES)}, got {self.name!r}")

    def check(self, sets: Sequence[Sequence[str]]) -> None:
        """Refuses quantities that the bundle does not report."""
        reported = self.bundle.outputs.reported
        unknown = sorted({name for names in sets for name in names} - set(reported))
        if unknown:
            raise ValueError(
                f"quantities must be among those of {self.bundle.name}, got {unknown}; try {list(reported)}"
            )

    def coordinates(self, names: tuple[str, ...]) -> Coordinates:
        """Units and scales of some quantities."""
        units, logs = self.bundle.outputs.reported, self.bundle.outputs.log_scaled
        return Coordinates(names, tuple(units[n] for n in names), tuple(logs[n] for n in names))

    @cached_property
    def simulated(self) -> tuple[list[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
        """Posteriors of fresh simulations and what was simulated."""
        return simulate_posteriors(self.bundle, self.simulations, seed=self.seed)

    def fit(self, coordinates: Coordinates) -> AbstractFittedScore:
        """The score of a set: whatever it learns, it learns from simulations."""
        d = len(coordinates.names)
        if self.name == "mahalanobis":
            return SCORES[self.name](self.alpha).fit(Prediction(np.zeros((1, d)), np.eye(d)[None]), np.zeros((1, d)))
        posteriors, values = self.simulated
        truth = coordinates.transform(np.stack([values[name] for name in coordinates.names], axis=1))
        good = np.flatnonzero(np.isfinite(truth).all(1))
        prediction = gather([posteriors[int(i)] for i in good], coordinates)
        return SCORES[self.name](self.alpha).fit(prediction, truth[good], seed=self.seed)


def _calibrated(
    fitter: Fitter,
    names: tuple[str, ...],
    draws: Sequence[Mapping[str, np.ndarray]],
    labels: Float[np.ndarray, "N d"],
    subjects: np.ndarray,
) -> ConformalSet:
    coordinates = fitter.coordinates(names)
    fitted, alpha = fitter.fit(coordinates), fitter.alpha
    prediction = gather(draws, coordinates)
    rule = patient_conformal(fitted, prediction, labels, subjects, alpha=alpha, coordinates=coordinates)
    outline = np.zeros((0, len(names)))
    if isinstance(fitted, FittedResidualScore) and np.isfinite(rule.limit):
        outline = outline_of(fitted.gauge, rule.limit, seed=fitter.seed)
    return ConformalSet(
        fitter.name, fitted, coordinates, rule.limit, alpha, rule.n, len(labels), rule.guarantee, outline
    )


def gather(draws: Sequence[Mapping[str, np.ndarray]], coordinates: Coordinates) -> Prediction:
    """Posteriors of several windows as they are scored."""
    own = [predict(one, coordinates, N_DRAWS).draws[0] for one in draws]
    return Prediction.from_draws(np.stack(own))


def _check_unused(pairs: Pairs, used: Sequence[str]) -> None:
    """Refuses patients that tuned the posterior: its errors on them are smaller than on new ones."""
    hashes = [hash_subject(str(s)) for s in pairs.subjects.tolist()]
    shared = sorted(set(hashes) & set(used))
    if shared:
        rows = [int(pairs.rows[i]) + 1 if len(pairs.rows) else i + 1 for i, own in enumerate(hashes) if own in shared]
        shown = ", ".join(str(row) for row in rows[:6]) + (", ..." if len(rows) > 6 else "")
        raise ValueError(
            f"{len(shared)} of {len(set(hashes))} patients also served the bundle's RoPE layer (rows {shown}): a limit "
            "from them promises nothing; give other patients, or fit both with --cross-fit"
        )


def _possible(n: int) -> str:
    """The least alpha that so many patients can serve, rounded up."""
    return f"{np.ceil(100 / (n + 1)) / 100:.2f}" if n else "0.5 with at least one patient"
