r"""Training: windows per second through the whole loop and through its parts, at the size of the shipped model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from .rows import Row, best, rate

BATCH = 512


def training(quick: bool) -> Iterator[Row]:
    """Windows per second of the sensor model and of `train`: read, observe, step, average, validate."""
    import torch

    from pulsebayes.inference.npe import PRESETS
    from pulsebayes.inference.outputs import OutputSpace
    from pulsebayes.inference.training import TrainConfig, low_precision_pays, train
    from pulsebayes.simulators.sensors import SensorModel

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(cores)
    steps = 6 if quick else 60
    outputs = OutputSpace.from_names()
    data = _data(outputs, BATCH * steps)
    sensor, waves = SensorModel.radial_line(), data.source.rows(0, BATCH)
    rng = np.random.default_rng(0)
    seconds, spread, _ = best(lambda: sensor.apply(waves, rng, fs=125.0, out_samples=1000))
    setting = f"batches of {BATCH} windows of 1,000 samples, one thread"
    yield Row("train", "pulsebayes sensor model", setting, "windows [1/s]", *rate(BATCH, seconds, spread))
    for precision in ("float32", "bfloat16") if low_precision_pays() and not quick else ("auto",):
        config = TrainConfig(epochs=1 if quick else 3, batch=BATCH, validation=0.01, precision=precision, exact=0)
        history = train(data, outputs, PRESETS["base"], config).history
        rates = [epoch["rate"] for epoch in history]
        setting = f"preset base, batches of {BATCH}, {precision}, {cores} threads"
        spread_ = float(np.ptp(rates)) if len(rates) > 1 else None
        yield Row("train", "pulsebayes train", setting, "windows [1/s]", float(np.median(rates)), spread_)


def _data(outputs: Any, n: int) -> Any:
    """Windows of noise with outputs drawn from their prior: what they hold does not change how long a step takes."""
    from pulsebayes.inference.streaming import ArraySource
    from pulsebayes.inference.training import TrainData
    from pulsebayes.simulators.sensors import SensorModel

    rng = np.random.default_rng(0)
    n += n // 50
    beat = np.sin(2 * np.pi * np.arange(1250) / 100)
    waves = (90 + 20 * beat + rng.normal(0, 5, (n, 1250))).astype(np.float32)
    columns = outputs.derive(outputs.space.sample(rng, n))
    return TrainData(ArraySource(waves), columns, SensorModel.radial_line(), np.zeros(n, np.uint8))
