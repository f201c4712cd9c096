r"""A bundle with its calibration layers: what ``infer`` asks before it answers.

A RoPE layer replaces the posterior; then conformal regions are made from the posterior that is answered, with the
estimator's marginals where it was measured to be the better, as when they were calibrated; cross-fitted regions are
made from the posteriors without each fold. A conformal layer carries the hash of the RoPE layer beside it. Either may
be absent. Regions of pooled answers go with the pools that they were calibrated in and with no others.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from ..inference.answer import Answer, Prior
from ..inference.answering import AnsweredWindow, Question
from ..inference.bundle import Bundle, BundleError
from ..inference.patient.layer import PATIENT, PatientLayer, load_patient
from ..inference.pooling.answering import Pool
from ..inference.pooling.layer import POOLING, PoolingLayer, load_pooling
from .conformal.layer import ConformalLayer, load_layer
from .rope.fit import RoPE
from .rope.folds import region_draws
from .rope.layer import RoPELayer, load_rope

__all__ = ["Calibrated", "load_calibrated", "seal_layers"]


@dataclass(frozen=True)
class Calibrated:
    r"""A bundle and its layers.

    Arguments:
        bundle: The bundle.
        rope: Its RoPE layer, if it has one.
        conformal: Its conformal layer, if it has one.
        pooling: Its pooling layer, if it has one.
        patient: Its patient layer, if it has one.

    Example:
        >>> from pulsebayes.inference.bundle import find_bundle
        >>> load_calibrated(find_bundle("radial-abp")).rope is None
        True
    """

    bundle: Bundle
    rope: RoPELayer | None = None
    conformal: ConformalLayer | None = None
    pooling: PoolingLayer | None = None
    patient: PatientLayer | None = None

    @property
    def offered_pools(self) -> tuple[Pool | Literal["window"], ...]:
        r"""Pools that windows can be answered in, the usual one of a file first; of a layer its own."""
        if self.layered:
            layer = self.conformal
            return ("window",) if layer is None or layer.pools is None else (layer.pools.pool,)
        return ("window",) if self.pooling is None else ("recording", "causal", "window")

    def why_not(self, pool: str, *, anchored: bool = False) -> str:
        r"""Why windows cannot be answered in a pool; empty where they can.

        Arguments:
            pool: ``window``, ``causal`` or ``recording``.
            anchored: Whether reference values are known.
        """
        if pool in self.offered_pools and not (anchored and (self.layered or self.pooling is None)):
            return ""
        if self.layered and self.offered_pools != ("window",):
            return (
                f"its regions were calibrated with --pool {self.offered_pools[0]}" + ", without references" * anchored
            )
        return "its calibration was measured window by window" if self.layered else "it has no pooling layer"

    def for_question(self, question: Question) -> Calibrated:
        r"""The model for a question: without regions where these were calibrated in pools of other windows.

        Arguments:
            question: Which windows are asked for.
        """
        return dataclasses.replace(self, conformal=None) if self.mismatch(question) else self

    def mismatch(self, question: Question) -> str:
        r"""How the pools that regions were calibrated in differ from those of a question; empty where they do not.

        Arguments:
            question: Which windows are asked for.
        """
        pools = None if self.conformal is None else self.conformal.pools
        if pools is None:
            return ""
        whole = pools.pool == "causal" or math.isinf(question.end_s)
        if question.start_s == 0.0 and whole and question.every_s == pools.every_s:
            return ""
        what = "recordings from their start" if pools.pool == "causal" else "whole recordings"
        return f"they are for {what}, a window every {pools.every_s:g} s"

    @property
    def layered(self) -> bool:
        r"""Whether a calibration was laid over the estimator."""
        return self.rope is not None or self.conformal is not None

    def finish(self, answered: AnsweredWindow, prior: Prior, *, seed: int) -> AnsweredWindow:
        r"""Puts the layers on an answered window; a refusal stays as it is.

        Arguments:
            answered: The window and the estimator's answer.
            prior: Prior of the bundle's quantities.
            seed: Seed of the draws.
        """
        own = answered.result
        if not isinstance(own, Answer):
            return answered
        answer = own
        if self.rope is not None:
            answer = self.rope.answer(self.bundle, own, answered.values, prior, seed=seed)
        if self.conformal is None:
            return dataclasses.replace(answered, result=answer)
        if not self._of_its_pools(own):
            return dataclasses.replace(answered, result=answer)
        scored = self._scored(own, answer, answered.values, seed)
        answer = dataclasses.replace(answer, regions=self.conformal.regions(scored or answer.draws))
        return dataclasses.replace(answered, result=answer, scored=scored)

    def _of_its_pools(self, answer: Answer) -> bool:
        """Whether an answer was made in a pool of the kind that regions were calibrated in."""
        pools = None if self.conformal is None else self.conformal.pools
        mode = None if answer.pool is None else answer.pool["mode"]
        return mode == (None if pools is None else pools.pool)

    @cached_property
    def folds(self) -> tuple[RoPE, ...]:
        r"""Mixtures fitted without each fold, where regions were cross-fitted."""
        if self.conformal is None or self.rope is None:
            return ()
        return tuple(fold.rope(self.rope.rope) for fold in self.conformal.folds)

    def _scored(
        self, own: Answer, answer: Answer, window: Float[np.ndarray, " T"], seed: int
    ) -> Mapping[str, Float[np.ndarray, "*fold draw"]]:
        """Draws that regions are made from, one row for each fold; none where they are the answer's."""
        if self.rope is None or self.conformal is None:
            return {}
        if not self.conformal.folds:
            return region_draws(answer.draws, own.draws, self.rope.sharper) if self.rope.sharper else {}
        made = []
        for rope, fold in zip(self.folds, self.conformal.folds, strict=True):
            found = RoPELayer(rope, self.rope.measured).draws(self.bundle, window, own.start_s, len_of(own), seed=seed)
            made.append(region_draws(found, own.draws, fold.sharper))
        return {name: np.stack([draws[name] for draws in made]) for name in made[0]}


def len_of(answer: Answer) -> int:
    """Draws of an answer."""
    return len(next(iter(answer.draws.values())))


def load_calibrated(folder: Path) -> Calibrated:
    r"""Reads a bundle with its layers.

    Arguments:
        folder: Folder of the bundle.

    Raises:
        BundleError: If the bundle or a layer cannot be used.

    Example:
        >>> from pulsebayes.inference.bundle import find_bundle
        >>> load_calibrated(find_bundle("radial-abp")).bundle.name
        'radial-abp'
    """
    bundle = Bundle.load(folder)
    layers = load_rope(folder, bundle), load_layer(folder), load_pooling(folder, bundle), load_patient(folder, bundle)
    return Calibrated(bundle, *layers)


def seal_layers(folder: Path) -> list[str]:
    r"""Lets a bundle name the pooling and patient layers that lie beside it, and no others.

    Recipes name the layers that they lay; this is for one that was copied there or removed on purpose.

    Arguments:
        folder: Folder of the bundle.

    Returns:
        Names of the layers that are there.

    Raises:
        BundleError: If the bundle or a layer cannot be used, or the bundle was calibrated as it is; nothing is then
            changed.

    Example:
        >>> seal_layers(Path("mine"))  # doctest: +SKIP
        ['pooling', 'patient']
    """
    Bundle.load(folder)
    before = (folder / "bundle.json").read_bytes()
    there = [files.lies(folder) for files in (POOLING, PATIENT)]
    try:
        for files in (POOLING, PATIENT):
            files.seal(folder)
        load_calibrated(folder)
    except BundleError:
        (folder / "bundle.json").write_bytes(before)
        raise
    return [files.stem for files, lies in zip((POOLING, PATIENT), there, strict=True) if lies]
