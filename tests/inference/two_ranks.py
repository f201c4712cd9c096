r"""What each process of `test_ranks` runs: a short training for each limit of time, weights in folders of its name."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from pulsebayes.inference.checkpoint import Checkpoint
from pulsebayes.inference.embedding import EmbeddingConfig
from pulsebayes.inference.npe import NPEConfig
from pulsebayes.inference.outputs import OutputSpace
from pulsebayes.inference.ranks import join_ranks
from pulsebayes.inference.streaming import ArraySource, WholeWindow
from pulsebayes.inference.training import TrainConfig, TrainData, train

ROWS, SAMPLES = 700, 24


def data() -> TrainData:
    rng = np.random.default_rng(0)
    rate = rng.uniform(40, 120, ROWS)
    waves = np.sin(rate[:, None] * np.arange(SAMPLES) / 120) + rng.normal(0, 0.1, (ROWS, SAMPLES))
    return TrainData(ArraySource(waves.astype(np.float32)), {"HR": rate}, WholeWindow(), np.zeros(ROWS, int))


def main(folder: Path, *limits: str) -> None:
    torch.set_num_threads(1)
    shape = NPEConfig(
        EmbeddingConfig("dense", samples=SAMPLES, hidden=16, context=4), transforms=2, bins=4, hidden=(16,)
    )
    with join_ranks() as ranks:
        for limit in limits:
            config = TrainConfig(epochs=4, batch=65, warmup=5, rate=0.003, precision="float32", max_time=float(limit))
            out = folder / limit
            out.mkdir(exist_ok=True)
            kept = Checkpoint(out / f"checkpoint-{ranks.rank}-of-{ranks.size}")
            result = train(data(), OutputSpace.from_names(("HR",)), shape, config, ranks=ranks, checkpoint=kept)
            weights = {name: value.numpy() for name, value in result.npe.state_dict().items()}
            losses = np.array([row["validation"] for row in result.history])
            np.savez(out / f"{ranks.rank}-of-{ranks.size}.npz", losses_=losses, kept_=kept.exists, **weights)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
