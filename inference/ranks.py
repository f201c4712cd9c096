r"""Processes that train one network together, started by torch's own launcher, ``torchrun``.

Every process, a rank, holds the same weights and draws the same batches. It takes its part of a batch's rows; gradients
are weighted by rows and added over the ranks: the step is that of one process with the whole batch. What decides
on the run (the clock, the validation loss, Ctrl-C) is agreed on, so that no rank waits for another in vain.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, nn

__all__ = ["Ranks", "join_ranks"]

LONGEST_WAIT = timedelta(days=2)
"""Longest time that ranks wait for one that simulates; a rank that dies ends the others through the launcher."""


@dataclass(frozen=True)
class Ranks:
    r"""This process among those that train together; alone by default.

    Arguments:
        rank: Number of this process.
        size: Number of processes.
        device: Where this process computes: ``"cpu"``, or ``"cuda"`` with the number of its device.

    Example:
        >>> Ranks(1, 3).part(8)
        slice(2, 5, None)
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def is_first(self) -> bool:
        r"""Whether this process is the one that writes."""
        return self.rank == 0

    def part(self, n: int) -> slice:
        r"""Returns which of n rows this process takes: all of them if it is alone.

        Arguments:
            n: Number of rows.
        """
        return slice(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def add(self, tensors: Sequence[Tensor]) -> None:
        r"""Adds tensors over the ranks, in place and in one message.

        Arguments:
            tensors: Tensors of the same shapes in every rank.
        """
        if self.size == 1:
            return
        together = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(together)
        for tensor, part in zip(tensors, torch.split(together, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def agree(self, value: float) -> float:
        r"""Returns the first rank's value.

        Arguments:
            value: This rank's.
        """
        if self.size == 1:
            return value
        held = torch.tensor([value], dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(held, 0)
        return float(held)

    def any(self, value: bool) -> bool:
        r"""Tells whether it holds for any rank.

        Arguments:
            value: Whether it holds for this one.
        """
        held = torch.tensor([float(value)], device=self.device)
        self.add([held])
        return bool(held > 0)

    def spread(self, modules: Iterable[nn.Module]) -> None:
        r"""Gives every rank the first one's weights and scales.

        Arguments:
            modules: Networks of the same shape in every rank.
        """
        if self.size == 1:
            return
        for module in modules:
            for tensor in module.state_dict().values():
                if tensor.is_floating_point():
                    torch.distributed.broadcast(tensor, 0)

    def wait(self) -> None:
        r"""Waits until every rank is here."""
        self.any(False)


@contextmanager
def join_ranks(device: str = "cpu") -> Iterator[Ranks]:
    r"""Joins the processes that ``torchrun`` started; alone where there are none.

    Arguments:
        device: ``"cpu"`` (messages by gloo) or ``"cuda"`` (by NCCL, a device for each process of a machine).

    Yields:
        This process among them.

    Raises:
        ValueError: If CUDA is asked for and there is no device for this process.

    Example:
        >>> with join_ranks() as ranks:
        ...     ranks.size
        1
    """
    here = int(os.environ.get("LOCAL_RANK", "0"))
    if device == "cuda":
        if here >= torch.cuda.device_count():
            raise ValueError(
                f"device 'cuda' needs {here + 1} CUDA devices here, found {torch.cuda.device_count()}: start fewer "
                "processes, install the CUDA build of torch, or leave out --device"
            )
        torch.cuda.set_device(here)
    where = f"cuda:{here}" if device == "cuda" else "cpu"
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        yield Ranks(device=where)
        return
    torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=LONGEST_WAIT)
    try:
        yield Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size(), where)
    finally:
        torch.distributed.destroy_process_group()
