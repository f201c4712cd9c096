r"""Training in several processes: the weights of one process with the same batch, in every rank, written once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pulsebayes.inference.ranks import Ranks, join_ranks

SCRIPT = Path(__file__).parent / "two_ranks.py"


def launch(*words: str, ranks: int = 2) -> None:
    r"""What `torchrun --standalone --nproc-per-node RANKS` does, with this interpreter."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch_module: pytest.MonkeyPatch) -> Path:
    r"""What two ranks leave, without and with a limit of time, and what this process alone leaves."""
    folder = tmp_path_factory.mktemp("ranks")
    launch(str(SCRIPT), str(folder), "inf", "0.05")
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch_module.delenv(name, raising=False)
    monkeypatch_module.syspath_prepend(str(SCRIPT.parent))
    import two_ranks

    two_ranks.main(folder, "inf")
    return folder


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def trained(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    return {path.stem: dict(np.load(path)) for path in (folder / "inf").glob("*.npz")}


def test_both_ranks_end_with_the_same_weights(trained: dict[str, dict[str, np.ndarray]]) -> None:
    assert set(trained) == {"0-of-1", "0-of-2", "1-of-2"}
    first, second = trained["0-of-2"], trained["1-of-2"]
    assert len(first) > 8
    assert all(np.array_equal(first[name], second[name]) for name in first if name != "kept_")


def test_two_ranks_learn_what_one_process_learns_from_the_same_batches(
    trained: dict[str, dict[str, np.ndarray]],
) -> None:
    one, two = trained["0-of-1"], trained["0-of-2"]
    assert one["losses_"][-1] < one["losses_"][0] - 0.1, "something was learned"
    # Sums over 65 rows in another order: float32 differs in the last bits, and 36 steps of Adam carry them on.
    np.testing.assert_allclose(two["losses_"], one["losses_"], rtol=0, atol=1e-4)
    for name in one:
        if not name.endswith("_"):
            np.testing.assert_allclose(two[name], one[name], rtol=1e-3, atol=2e-4, err_msg=name)


def test_only_the_first_rank_keeps_a_checkpoint(trained: dict[str, dict[str, np.ndarray]]) -> None:
    assert bool(trained["0-of-2"]["kept_"]) and not bool(trained["1-of-2"]["kept_"])


def test_a_time_limit_ends_all_ranks_together(folder: Path) -> None:
    both = [dict(np.load(folder / "0.05" / f"{rank}-of-2.npz")) for rank in (0, 1)]
    assert len(both[0]["losses_"]) == len(both[1]["losses_"])
    assert np.array_equal(both[0]["losses_"], both[1]["losses_"])


@pytest.mark.parametrize(("n", "size"), [(65, 2), (7, 3), (4, 4)])
def test_parts_cover_a_batch_once(n: int, size: int) -> None:
    rows = [row for rank in range(size) for row in range(n)[Ranks(rank, size).part(n)]]
    assert rows == list(range(n))


def test_alone_nothing_is_sent_or_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_ranks() as ranks:
        ranks.wait()
        assert (ranks.agree(2.5), ranks.any(True), ranks.any(False)) == (2.5, True, False)
        assert ranks == Ranks()


def test_cuda_without_a_device_says_so() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ValueError, match="device 'cuda' needs 1 CUDA devices here, found 0"), join_ranks("cuda"):
        pass
