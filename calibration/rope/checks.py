r"""What pairs and recordings must be before a layer is made from them: labelled, possible, of enough patients."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ...inference.outputs import OutputSpace
from ..pairs import Pairs
from .fit import FEWEST_SUBJECTS

__all__ = ["check_patients", "labelled_pairs"]

FEWEST_LABELLED = 5
"""Fewest patients with labels: folds of one or two, and an embedding tuned on the others."""


def labelled_pairs(pairs: Pairs, outputs: OutputSpace, prior: Float[np.ndarray, "M D"]) -> Pairs:
    r"""Windows with a label that the model reports; a label that no patient has is refused.

    Impossible is a label farther outside the prior's range than half its width, on a logarithm where the quantity is
    positive: a factor of a thousand between units is, a patient in shock is not.

    Arguments:
        pairs: Windows with labels.
        outputs: Outputs of the estimator and what follows from them.
        prior: Draws of the prior.

    Returns:
        The windows that have one.

    Raises:
        ValueError: If no window has a label that the model reports, or a label is impossible; names the rows.

    Example:
        >>> outputs = OutputSpace.from_names(("HR", "SV"))
        >>> prior = np.random.default_rng(0).uniform([50.0, 40.0], [120.0, 110.0], (500, 2))
        >>> pairs = Pairs(np.zeros((2, 9)), {"CO": np.array([5.0, np.nan])}, np.array(["a", "b"]))
        >>> len(labelled_pairs(pairs, outputs, prior))
        1
    """
    values = outputs.derive(prior)
    known = [name for name in pairs.labels if name in outputs.reported and np.isfinite(pairs.labels[name]).any()]
    if not known:
        found = [name for name in pairs.labels if np.isfinite(pairs.labels[name]).any()]
        raise ValueError(f"pairs must label some of {list(outputs.reported)}, got {found or 'no label'}")
    rows = pairs.rows if len(pairs.rows) else np.arange(len(pairs))
    for name in known:
        low, high = _possible(values[name])
        bad = (pairs.labels[name] < low) | (pairs.labels[name] > high)
        if bad.any():
            where = "row " if bad.sum() == 1 else "rows "
            where += ", ".join(str(row + 1) for row in rows[bad][:5]) + (", ..." if bad.sum() > 5 else "")
            raise ValueError(
                f"{name} must lie between {low:.3g} and {high:.3g} {outputs.reported[name]}, got "
                f"{pairs.labels[name][bad][0]:.3g} in {where}: check the unit in the header, or leave it empty"
            )
    has = np.isfinite(np.stack([pairs.labels[name] for name in known])).any(0)
    return pairs if has.all() else pairs.take(has)


def check_patients(labelled: Pairs, unlabelled: Pairs, tau: float) -> None:
    r"""Refuses too few patients.

    Arguments:
        labelled: Windows with labels.
        unlabelled: Windows without labels, or the same.
        tau: Greatest hardness of the simulations' marginal that may be taken.

    Raises:
        ValueError: If there are fewer than five patients with labels, or than twenty for a tau above .5.

    Example:
        >>> few = Pairs(np.zeros((2, 9)), {}, np.array(["a", "b"]))
        >>> check_patients(few, few, 0.5)
        Traceback (most recent call last):
        ...
        ValueError: pairs must be of at least 5 patients, got 2: label more
    """
    if tau > 0.5 and unlabelled.n_subjects < FEWEST_SUBJECTS:
        raise ValueError(
            f"tau above .5 needs recordings of at least {FEWEST_SUBJECTS} patients, got {unlabelled.n_subjects}: "
            "give more by --unlabelled, or --tau .5"
        )
    if labelled.n_subjects < FEWEST_LABELLED:
        raise ValueError(f"pairs must be of at least {FEWEST_LABELLED} patients, got {labelled.n_subjects}: label more")


def _possible(draws: Float[np.ndarray, " M"]) -> tuple[float, float]:
    low, high = (float(v) for v in np.quantile(draws, (0.001, 0.999)))
    if low > 0:
        margin = (high / low) ** 0.5
        return low / margin, high * margin
    margin = 0.5 * (high - low)
    return low - margin, high + margin
