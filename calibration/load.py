r"""A bundle with its calibration layers: what ``infer`` asks before it answers.

A RoPE layer replaces the posterior; then conformal regions are made from the posterior that is answered, as when they
were calibrated: a conformal layer carries the hash of the RoPE layer beside it. Either may be absent.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from ..inference.answer import Answer, Prior
from ..inference.answering import AnsweredWindow
from ..inference.bundle import Bundle
from .conformal.layer import ConformalLayer, load_layer
from .rope.layer import RoPELayer, load_rope

__all__ = ["Calibrated", "load_calibrated"]


@dataclass(frozen=True)
class Calibrated:
    r"""A bundle and its layers.

    Arguments:
        bundle: The bundle.
        rope: Its RoPE layer, if it has one.
        conformal: Its conformal layer, if it has one.

    Example:
        >>> from pulsebayes.inference.bundle import find_bundle
        >>> load_calibrated(find_bundle("radial-abp")).rope is None
        True
    """

    bundle: Bundle
    rope: RoPELayer | None = None
    conformal: ConformalLayer | None = None

    def finish(self, answered: AnsweredWindow, prior: Prior, *, seed: int) -> AnsweredWindow:
        r"""Puts the layers on an answered window; a refusal stays as it is.

        Arguments:
            answered: The window and the estimator's answer.
            prior: Prior of the bundle's quantities.
            seed: Seed of the draws.
        """
        answer = answered.result
        if not isinstance(answer, Answer):
            return answered
        if self.rope is not None:
            answer = self.rope.answer(self.bundle, answer, answered.values, prior, seed=seed)
        if self.conformal is not None:
            answer = dataclasses.replace(answer, regions=self.conformal.regions(answer.draws))
        return dataclasses.replace(answered, result=answer)


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
    return Calibrated(bundle, load_rope(folder, bundle), load_layer(folder))
