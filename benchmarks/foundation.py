r"""How fast is the foundation: the network simulator beside dense solves, `infer` in parts beside sbi, and training.

Run as `python -m benchmarks.foundation [--quick] [--json] [--out DIR]`.
"""

from __future__ import annotations

from .foundation_infer import answer, parts
from .foundation_network import accuracy, nodal, simulate, whole
from .foundation_training import training
from .rows import run

if __name__ == "__main__":
    run(
        "foundation",
        {
            "simulate": simulate,
            "whole": whole,
            "nodal": nodal,
            "accuracy": accuracy,
            "infer-parts": parts,
            "infer": answer,
            "training": training,
        },
    )
