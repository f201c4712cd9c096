r"""Random differential equations: usable systems per CPU-second, by dimension, and what is rejected.

CPU time of the process is counted, everything included: drawing, integrating with both steps, rejecting, writing in
canonical form, comparing with the excluded skeletons. Compilation is a row of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from .rows import Row, run

KINDS = ((1, 0, "scalar"), (2, 0, "two states"), (3, 0, "three states"), (4, 0, "four states"), (1, 1, "driven scalar"))


def generator(quick: bool) -> Iterator[Row]:
    """Usable systems per CPU-second, one trajectory each."""
    import jax

    from pulsebayes.simulators.odes import Generator

    device = str(jax.devices()[0].platform)
    for states, inputs, name in KINDS[:1] if quick else KINDS:
        found = Generator(dimension=states, n_inputs=inputs)
        rng = np.random.default_rng(0)
        began = time.process_time()
        _ = found.draw(rng, 4 * found.batch_size)
        first = time.process_time() - began
        rounds, usable, seconds = (4 if quick else 12), [], []
        for _ in range(rounds):
            began = time.process_time()
            usable.append(len(found.draw(rng, 4 * found.batch_size)))
            seconds.append(time.process_time() - began)
        each = np.array(usable) / np.array(seconds)
        setting = f"{name}, batches of {found.batch_size}, 512 steps, {device}"
        yield Row(
            "generate", "pulsebayes", setting, "usable [1/CPU-s]", sum(usable) / sum(seconds), float(np.ptp(each))
        )
        yield Row("generate", "pulsebayes", setting, "usable share", sum(usable) / (rounds * 4 * found.batch_size))
        yield Row("generate", "pulsebayes", setting, "first round, with compilation [CPU-s]", first)


if __name__ == "__main__":
    run("odes", {"generator": generator})
