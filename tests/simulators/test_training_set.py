r"""Reading training sets: every row comes once, in the order or the shuffle asked for."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from pulsebayes.simulators.dataset import TrainingSet, make_training_set

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def training_set(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        out = tmp_path_factory.mktemp("sets") / "set.zarr"
        make_training_set(("toy_simulator:DampedPulse", {}), 500, out, seed=1, shard_size=64, batch_size=64, workers=1)
    return TrainingSet.open(out)


def test_batches_in_order_hold_every_row_once(training_set: TrainingSet) -> None:
    rows = np.random.default_rng(0).permutation(500)[:333]
    batches = list(training_set.batches(rows, batch_size=40, shards_in_memory=2))
    assert [len(b.rows) for b in batches] == [40] * 8 + [13]
    assert np.array_equal(np.concatenate([b.rows for b in batches]), rows)
    for batch in batches:
        assert np.array_equal(batch.waves, training_set.waves[:][batch.rows])
        assert np.array_equal(batch.theta, training_set.theta[batch.rows])
        assert np.array_equal(batch.quantities, training_set.quantities[batch.rows])


def test_shuffled_batches_hold_every_row_once_and_mix_shards(training_set: TrainingSet) -> None:
    rows = training_set.usable_rows
    order = [
        np.concatenate(
            [
                b.rows
                for b in training_set.batches(rows, batch_size=32, rng=np.random.default_rng(s), shards_in_memory=4)
            ]
        )
        for s in (0, 0, 1)
    ]
    assert np.array_equal(order[0], order[1])
    assert not np.array_equal(order[0], order[2])
    assert np.array_equal(np.sort(order[0]), rows)
    assert len(np.unique(order[0][:32] // 64)) > 1


def test_drop_last_leaves_only_full_batches(training_set: TrainingSet) -> None:
    sizes = [len(b.rows) for b in training_set.batches(np.arange(500), batch_size=64, drop_last=True)]
    assert sizes == [64] * 7
    assert list(training_set.batches(np.arange(0), batch_size=64)) == []


def test_one_site_is_read_alone(training_set: TrainingSet) -> None:
    rows = np.array([499, 3, 3, 64])
    both = training_set.read_waves(rows)
    assert both.shape == (4, 2, 100)
    assert np.array_equal(training_set.read_waves(rows, site="femoral"), both[:, 1:])
    with pytest.raises(ValueError, match=r"site must be one of \['radial', 'femoral'\], got 'Radial'"):
        training_set.read_waves(rows, site="Radial")
    with pytest.raises(ValueError, match=r"rows must lie in \[0, 500\), got 3 to 500"):
        training_set.read_waves(np.array([3, 500]))


def test_batch_sizes_must_be_positive(training_set: TrainingSet) -> None:
    with pytest.raises(ValueError, match="must be positive, got 0, 8"):
        next(training_set.batches(np.arange(3), batch_size=0))


def test_xarray_and_zarr_open_it_without_complaint(training_set: TrainingSet) -> None:
    xarray = pytest.importorskip("xarray")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = xarray.open_zarr(training_set.path)
    assert dict(found.sizes) == {"simulation": 500, "parameter": 2, "site": 2, "time": 100, "quantity": 2}
    assert np.array_equal(found["theta"].values, training_set.theta)


def test_waves_are_cut_into_shards_of_chunks(training_set: TrainingSet) -> None:
    assert training_set.waves.shards == (64, 2, 100)
    assert training_set.waves.chunks == (64, 1, 100)


def test_what_is_no_set_or_not_finished_is_refused(training_set: TrainingSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing\.zarr must be a training set"):
        TrainingSet.open(tmp_path / "nothing.zarr")
    mark = training_set.path / "done" / "000002.json"
    hidden = mark.rename(tmp_path / "mark")
    try:
        with pytest.raises(ValueError, match=r"1 of its 8 shards are missing or damaged \(the first is 2\)"):
            TrainingSet.open(training_set.path)
    finally:
        hidden.rename(mark)
