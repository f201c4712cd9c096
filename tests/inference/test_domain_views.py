"""Distances in one view: neighbours among components, and what the components leave over."""

from __future__ import annotations

import numpy as np

from pulsebayes.inference._nearness import COMPONENTS, Nearness, reduce_view
from pulsebayes.inference.domain import DomainModel
from pulsebayes.inference.pulse_shape import TRAITS


def references(rng: np.random.Generator, n: int = 400) -> np.ndarray:
    """Pulses that vary along three directions of 49."""
    return rng.standard_normal((n, 3)) @ np.linalg.qr(rng.standard_normal((49, 3)))[0].T


def test_what_the_components_leave_over_counts_in_full():
    rng = np.random.default_rng(0)
    values = references(rng)
    view = Nearness.of({f"pulse/{k}": v for k, v in reduce_view("pulse", values).items()}, "pulse")
    off = rng.standard_normal(49)
    off -= view.basis @ (view.basis.T @ off)
    off /= np.linalg.norm(off)
    near = view.distances(values[:1])[0]
    far = view.distances(values[:1] + 3 * off)[0]
    # References are kept in half precision: 3 digits.
    np.testing.assert_allclose(far, np.hypot(near, 3), rtol=1e-2)


def test_distance_grows_away_from_the_references():
    values = references(np.random.default_rng(1))
    view = Nearness.of({f"pulse/{k}": v for k, v in reduce_view("pulse", values).items()}, "pulse")
    along = view.distances(values[:1] + np.arange(0, 12, 4)[:, None] * view.basis[:, 0])
    assert along[0] < along[1] < along[2]


def test_every_trait_can_be_named_as_the_reason():
    words = [sentence for pair in TRAITS.values() for sentence in pair]
    assert len(set(words)) == 2 * len(TRAITS)
    assert COMPONENTS["traits"] == len(TRAITS)
    assert DomainModel.__dataclass_fields__.keys() == {"arrays"}
