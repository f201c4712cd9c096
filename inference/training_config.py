r"""How long and how fast an estimator is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["TrainConfig"]


@dataclass(frozen=True)
class TrainConfig:
    r"""How long and how fast to train.

    Arguments:
        epochs: Most epochs.
        max_time: Most seconds of training [s].
        batch: Rows in a batch.
        rate: Highest learning rate.
        warmup: Steps of linear warm-up.
        cycles: Times that the rate falls from its highest, half as high every time, to nothing (Loshchilov and Hutter
            2017, "SGDR"), the epochs being shared evenly.
        weight_decay: Decoupled weight decay.
        clip: Largest norm of the gradient.
        averaging: Decay of the averaged weights.
        validation: Share of the rows held out, at most ``validation_rows``.
        validation_rows: Most rows held out.
        patience: Epochs without a better validation loss before stopping early.
        seed: Seed of weights, order and sensors.
        precision: ``"auto"`` takes bfloat16 convolutions where the processor is fast at them.
        exact: Last epochs, always in float32: what bfloat16 rounds away is otherwise learned as noise, and the
            sharpest quantities (heart rate) come out too wide.
        fresh: Epochs with fresh draws of the sensors, which later epochs take again in turn; 0 for all. Only of an
            embedding of kind `harmonic`, which then reads each draw once.
        joined: Last epochs in which of several channels only their joining and the flow learn, the convolutions that
            read each channel being left as they are.
        settle: Epochs after those, in which the flow alone learns, from the best weights on and at a tenth of the
            rate: how wide its narrowest posteriors are it learns last.
        whole: Epochs at the end, in which the flow alone learns, as in settling, from windows that have all channels:
            all together leave the narrowest posteriors, and few windows have them all.
        sets: Sets of its channels that are learned from each window beside all it has, see
            [`drawn_sets`][pulsebayes.inference.channel_sets.drawn_sets]; of several channels only.
        sizes: Weights with which such a set has one, two, ... channels; empty for any alike.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> TrainConfig(epochs=5).batch
        512
    """

    epochs: int = 40
    max_time: float = math.inf
    batch: int = 512
    rate: float = 1e-3
    warmup: int = 300
    cycles: int = 1
    weight_decay: float = 1e-3
    clip: float = 5.0
    averaging: float = 0.998
    validation: float = 0.04
    validation_rows: int = 4096
    patience: int = 15
    seed: int = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    exact: int = 2
    fresh: int = 0
    joined: int = 0
    settle: int = 0
    whole: int = 0
    sets: int = 0
    sizes: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("epochs", "max_time", "batch", "rate", "cycles", "clip", "validation_rows", "patience"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 < self.validation < 1 or not 0 <= self.averaging < 1:
            raise ValueError(
                f"validation must lie in (0, 1) and averaging in [0, 1), got {self.validation} and {self.averaging}"
            )
        for name in ("exact", "fresh", "joined", "settle", "whole", "sets"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"precision must be 'auto', 'float32' or 'bfloat16', got {self.precision!r}")
