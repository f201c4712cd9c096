r"""What knowing the patient is worth to pools of held-out simulated recordings, and whether intervals hold it.

How much of it is used is found on other such recordings (``fit_exponent``): a likelihood that is right where the truth
is given narrows draws whose own errors it knows nothing of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from ..bundle import Bundle
from ..patient.info import Patient, draw_measured, draw_sex_and_weight, root_of_sex, telling
from ..patient.layer import LEAST_EFFECTIVE
from ..patient.recipe import KNOWN, part_of
from ..weighting import effective_share, normalised
from .features import EmbeddedRecordings
from .held_pools import HeldPool, anchored_ranks, coverage_of, standard_errors
from .layer import PoolingLayer
from .measure import SIZES
from .network import SLOW
from .patients import PoolPatients

__all__ = ["fit_exponent", "measure_informed"]

_Subjects = Sequence[Float[np.ndarray, "R 3"]]
_SIZES = (2, *SIZES[1:])
_KNOWN = ("", *dict.fromkeys(telling(known) for known in KNOWN))
_EXPONENTS = (0.5, 0.6, 0.7, 0.8)  # with more, 90 % intervals of compliance hold 85 to 86 % of ``abp-ppg``'s tests
_FITTED = ("age", "height", "age+height")
_CARRIERS = 8  # effective number of recordings from which the error of a ratio of means can be told
_HELD = 0.89  # share that 90 % intervals must hold on the mean of all quantities


def measure_informed(
    bundle: Bundle,
    layer: PoolingLayer,
    sets: Sequence[EmbeddedRecordings],
    subjects: _Subjects,
    *,
    draws: int = 400,
    seed: int = 5,
) -> dict[str, Any]:
    r"""Coverage and spread in pools of 2, 10, 64 and 200 windows whose patient is known.

    Arguments:
        bundle: The window model.
        layer: The pooling layer, with likelihoods of age, height and aortic root.
        sets: Held-out recordings, each set with its own number of windows.
        subjects: Ages [years], heights [m] and aortic roots on the mean of both sexes [mm] of their patients.
        draws: Draws of each window.
        seed: Seed of pools, sexes, weights and errors of diameters.

    Returns:
        JSON-able, by what is known, joined by ``+``, and empty where nothing is (where the height is known weight is
        left out, and but beside a root sex, as they tell nothing then): by windows of the pool
        ``coverage_by_pool``, ``recordings_by_pool``, ``spread``, the root mean posterior variance over that where
        nothing is known (of the logarithm where positive), ``effective``, the mean effective share of draws, and
        ``refused``, the share of pools that do not go with their patient; and ``anchored``, the coverage where one
        cardiac output of 10 % error is known besides, in the longest pool of recordings of 64 windows and more, with
        ``n`` windows and ``recordings``; and the ``standard_error`` of each, over recordings, but of
        ``spread`` None where fewer than eight recordings carry the variance.

    Raises:
        ValueError: If the layer cannot use what is known of a patient.

    Example:
        >>> measure_informed.__kwdefaults__["draws"]
        400
    """
    exponent = _required(layer).exponent
    found = {known: _Found() for known in _KNOWN}
    ways = [(known, exponent) for known in found]
    for asked, rng in _asked(bundle, layer, sets, subjects, ways, sizes=_SIZES, draws=draws, seed=seed):
        asked.add(list(found.values()))
        if asked.is_whole:
            asked.add_anchored(rng, list(found.values()))
    return {known: one.told(found[""]) for known, one in found.items()}


def fit_exponent(
    bundle: Bundle,
    layer: PoolingLayer,
    sets: Sequence[EmbeddedRecordings],
    subjects: _Subjects,
    *,
    draws: int = 200,
    seed: int = 6,
    tell: Callable[[str], None] = lambda _: None,
) -> float:
    r"""The largest exponent with which 90 % intervals hold at least 89 % on the mean of all quantities.

    At every size of pool, whether age, height or both are known; of .5, .6, .7 and .8, the least where none does.
    The aortic root is used with the same.

    Arguments:
        bundle: The window model.
        layer: The pooling layer, with likelihoods of age, height and aortic root.
        sets: Recordings that were not trained on.
        subjects: Ages [years], heights [m] and aortic roots on the mean of both sexes [mm] of their patients.
        draws: Draws of each window.
        seed: Seed of the pools.
        tell: Told what intervals hold with each.

    Raises:
        ValueError: If the layer cannot use what is known of a patient.

    Example:
        >>> fit_exponent.__annotations__["return"]
        'float'
    """
    _required(layer)
    found = {(known, exponent): _Found() for exponent in _EXPONENTS for known in _FITTED}
    for asked, _ in _asked(bundle, layer, sets, subjects, list(found), sizes=_SIZES[1:], draws=draws, seed=seed):
        asked.add(list(found.values()))
    least = {exponent: min(found[known, exponent].least for known in _FITTED) for exponent in _EXPONENTS}
    enough = [exponent for exponent, held in least.items() if held >= _HELD]
    told = ", ".join(f"{100 * held:.1f} % at {e:g}" for e, held in least.items())
    tell(f"90 % intervals hold {told}" + ("" if enough else f": none {100 * _HELD:g} %, the least is taken"))
    return max(enough, default=min(_EXPONENTS))


def _required(layer: PoolingLayer) -> PoolPatients:
    if layer.patients is None:
        raise ValueError("layer must hold likelihoods of age, height and aortic root, got none: train them")
    return layer.patients


def _asked(
    bundle: Bundle,
    layer: PoolingLayer,
    sets: Sequence[EmbeddedRecordings],
    subjects: _Subjects,
    ways: Sequence[tuple[str, float]],
    *,
    sizes: Sequence[int],
    draws: int,
    seed: int,
) -> Iterator[tuple[_Asked, np.random.Generator]]:
    """Pools of every size of every recording, with what is known of its patient in each way."""
    for number, (data, told) in enumerate(zip(sets, subjects, strict=True)):
        apart = np.random.default_rng([seed, number])
        male, weight = draw_sex_and_weight(told[:, 1], apart)
        aorta, error = draw_measured(root_of_sex(told[:, 2], male), apart)
        for r, (age, height, _) in enumerate(told.tolist()):
            whole: dict[str, Any] = {"age": age, "sex": "m" if male[r] else "f"}
            whole |= {"height": height, "weight": float(weight[r]), "aorta": float(aorta[r])}
            known = [(part_of(whole, names, float(error[r])), exponent) for names, exponent in ways]
            rng = np.random.default_rng([seed, number, r])
            for size in (size for size in sizes if size <= data.context.shape[1]):
                pool = HeldPool.draw(rng, data, bundle, r=r, size=size)
                yield _Asked(bundle, layer, data, pool, size, known, draws), rng


@dataclass
class _Found:
    """By windows of the pool ranks, variances, shares; and ranks where a reference is known besides."""

    ranks: dict[str, list[Mapping[str, np.ndarray]]] = field(default_factory=dict)
    variances: dict[str, list[Mapping[str, float]]] = field(default_factory=dict)
    effective: dict[str, list[float]] = field(default_factory=dict)
    bears: dict[str, list[bool]] = field(default_factory=dict)
    anchored: list[Mapping[str, np.ndarray]] = field(default_factory=list)

    @property
    def least(self) -> float:
        """What 90 % intervals hold on the mean of all quantities, in pools of the size in which it is least."""
        return min(float(np.mean(list(coverage_of(rows)["0.9"].values()))) for rows in self.ranks.values())

    def told(self, alone: _Found) -> dict[str, Any]:
        """What was found, beside where nothing is known."""
        spread = {
            size: {
                name: round(float(np.sqrt(_mean(rows, name) / _mean(alone.variances[size], name))), 3)
                for name in rows[0]
            }
            for size, rows in self.variances.items()
        }
        return {
            "recordings_by_pool": {size: len(rows) for size, rows in self.ranks.items()},
            "coverage_by_pool": {size: coverage_of(rows) for size, rows in self.ranks.items()},
            "spread": spread,
            "effective": {size: round(float(np.mean(own)), 3) for size, own in self.effective.items()},
            "refused": {size: round(1.0 - float(np.mean(own)), 4) for size, own in self.bears.items()},
            "anchored": {
                "n": sum(len(part["SV"]) for part in self.anchored),
                "recordings": len(self.anchored),
                "coverage": coverage_of(self.anchored),
            },
            "standard_error": self._errors(alone),
        }

    def _errors(self, alone: _Found) -> dict[str, Any]:
        """Standard errors over recordings; of a root ratio of means half that of the ratio, over the root."""
        return {
            "coverage_by_pool": {size: standard_errors(rows, 1) for size, rows in self.ranks.items()},
            "spread": {
                size: {name: _error_of_ratio(rows, alone.variances[size], name) for name in rows[0]}
                for size, rows in self.variances.items()
            },
            "effective": {size: _error(own) for size, own in self.effective.items()},
            "refused": {size: _error(own) for size, own in self.bears.items()},
            "anchored": standard_errors(self.anchored, 1),
        }


@dataclass(frozen=True)
class _Asked:
    """A pool, and what is known of its patient in each way."""

    bundle: Bundle
    layer: PoolingLayer
    data: EmbeddedRecordings
    pool: HeldPool
    size: int
    known: Sequence[tuple[Patient, float]]
    draws: int

    @property
    def is_whole(self) -> bool:
        """Whether it is a long pool, and the longest of its recording."""
        longest = max(size for size in SIZES if size <= self.data.context.shape[1])
        return self.size == longest and self.size > SIZES[1]

    @torch.no_grad()
    def _log_likelihoods(self, shared: Float[np.ndarray, "n S"]) -> list[Float[np.ndarray, " n"]]:
        context = self.pool.known(self.bundle, self.layer, self.data)
        patients = [patient for patient, _ in self.known]
        return _required(self.layer).log_likelihoods(patients, torch.from_numpy(shared), context)

    def _log_weights(self, shared: Float[np.ndarray, "n S"]) -> list[Float[np.ndarray, " n"]]:
        logs = self._log_likelihoods(shared)
        return [exponent * log for (_, exponent), log in zip(self.known, logs, strict=True)]

    def add(self, found: Sequence[_Found]) -> None:
        """Adds the pool to what is found in each way."""
        layer, data, pool = self.layer, self.data, self.pool
        shared, made = pool.answered(self.bundle, layer, data, draws=2 * self.draws)
        slow = dict(zip(SLOW, layer.npe.slow(torch.from_numpy(shared)).T[:, None], strict=True))
        scaled = {name: self._scaled(name, values) for name, values in made.items()} | slow
        for one, whole, (_, exponent) in zip(found, self._log_likelihoods(shared), self.known, strict=True):
            weights, log = normalised(exponent * whole), exponent * whole
            one.bears.setdefault(str(self.size), []).append(effective_share(whole) >= LEAST_EFFECTIVE)
            one.ranks.setdefault(str(self.size), []).append(pool.ranks(layer, data, shared, made, weights))
            one.effective.setdefault(str(self.size), []).append(effective_share(log))
            one.variances.setdefault(str(self.size), []).append({k: _variance(v, weights) for k, v in scaled.items()})

    def add_anchored(self, rng: np.random.Generator, found: Sequence[_Found]) -> None:
        """Adds where one reference is known besides."""
        ranks = anchored_ranks(
            self.bundle, self.layer, self.data, pool=self.pool, rng=rng, draws=self.draws, told=self._log_weights
        )
        for one, own in zip(found, ranks, strict=True):
            one.anchored.append(own)

    def _scaled(self, name: str, values: Float[np.ndarray, "K n"]) -> Float[np.ndarray, "K n"]:
        """On the logarithm where the quantity is positive."""
        floor = self.bundle.outputs.floors[name]
        return np.log(np.maximum(values, floor)) if floor > 0 else values


def _mean(rows: Sequence[Mapping[str, float]], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def _error(values: Sequence[float]) -> float:
    """Standard error of a mean."""
    return float(f"{np.std(values) / np.sqrt(len(values)):.3g}")


def _error_of_ratio(
    rows: Sequence[Mapping[str, float]], alone: Sequence[Mapping[str, float]], name: str
) -> float | None:
    """Standard error of the root of a ratio of means, by linearisation; None where too few recordings carry it."""
    over, under = (np.array([row[name] for row in both]) for both in (rows, alone))
    if under.sum() ** 2 < _CARRIERS * np.square(under).sum():
        return None
    ratio = over.mean() / under.mean()
    return _error(((over - ratio * under) / (2.0 * np.sqrt(ratio) * under.mean())).tolist())


def _variance(values: Float[np.ndarray, "K n"], weights: Float[np.ndarray, " n"]) -> float:
    """Mean over windows of the weighted variance."""
    return float(np.mean((values - (values @ weights)[:, None]) ** 2 @ weights))
