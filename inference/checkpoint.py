r"""Checkpoints of a training run: tensors as safetensors, the rest as JSON, replaced in one step.

Training draws no random numbers but those of (seed, epoch, batch), so weights, averaged weights, the optimiser's
moments and the position are all there is to keep: a resumed run equals one that never stopped, bit for bit, unless a
time limit sets its schedule.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Checkpoint", "CheckpointError"]

_FILE = "checkpoint.safetensors"


class CheckpointError(ValueError):
    r"""A checkpoint is missing or belongs to another run.

    Example:
        >>> issubclass(CheckpointError, ValueError)
        True
    """


@dataclass(frozen=True)
class Checkpoint:
    r"""A place where a training run is kept.

    Arguments:
        folder: Folder of the checkpoint.

    Example:
        >>> import tempfile
        >>> Checkpoint(Path(tempfile.mkdtemp())).exists
        False
    """

    folder: Path

    @property
    def exists(self) -> bool:
        r"""Whether there is something to resume."""
        return (self.folder / _FILE).is_file()

    def remove(self) -> None:
        r"""Removes the checkpoint, once the run is over."""
        (self.folder / _FILE).unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def save(self, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        r"""Writes a checkpoint in one step: a kill leaves the last one whole.

        Arguments:
            modules: Networks by name.
            optimizer: Optimiser of the first of them.
            state: What else is needed, JSON-able.
        """
        from safetensors.torch import save_file

        tensors = {f"{name}/{k}": v for name, m in modules.items() for k, v in m.state_dict().items()}
        moments = optimizer.state_dict()["state"]
        tensors |= {f"optimizer/{i}/{k}": torch.as_tensor(v) for i, row in moments.items() for k, v in row.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"{_FILE}.partial"
        save_file(
            {k: v.clone(memory_format=torch.contiguous_format) for k, v in tensors.items()},
            partial,
            metadata={"state": json.dumps(state)},
        )
        os.replace(partial, self.folder / _FILE)

    def load(self, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        r"""Restores networks and optimiser in place.

        Arguments:
            modules: Networks by name, as saved.
            optimizer: Optimiser of the first of them.

        Returns:
            The state saved beside them.

        Raises:
            CheckpointError: If there is no checkpoint, or it is of another network.
        """
        from safetensors import safe_open

        if not self.exists:
            raise CheckpointError(f"no checkpoint to resume in {self.folder.name}: start without --resume")
        with safe_open(self.folder / _FILE, framework="pt") as file:
            state: dict[str, Any] = json.loads(file.metadata()["state"])
            tensors: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        try:
            for name, module in modules.items():
                own = {k[len(name) + 1 :]: v for k, v in tensors.items() if k.startswith(f"{name}/")}
                module.load_state_dict(own)
        except RuntimeError as error:
            raise CheckpointError(
                f"the checkpoint in {self.folder.name} is of another network: use the same preset and outputs"
            ) from error
        groups = optimizer.state_dict()["param_groups"]
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer/"):
                _, i, field = key.split("/")
                moments.setdefault(int(i), {})[field] = value
        optimizer.load_state_dict({"state": moments, "param_groups": groups})
        return state
