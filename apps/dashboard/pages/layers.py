r"""What calibration with patients adds to Trust: conformal regions with slices, and the couplings of RoPE."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import streamlit as st

from ....calibration.conformal.layer import ConformalSet, predict
from ....calibration.conformal.region import Region
from ....calibration.load import Calibrated
from ....inference.answer import Answer
from ....inference.answering import AnsweredWindow
from ...figures.calibrated import couplings, region_slice
from ...figures.estimates import quantity_of
from ...figures.marks import number, percent
from .. import look

__all__ = ["conformal_regions", "rope_couplings"]

_COUPLED = ("CO", "SVR", "MAP", "HR")


def conformal_regions(layers: Calibrated, answered: AnsweredWindow | None) -> None:
    r"""Show the conformal regions of the window, set by set, or say why there is none.

    Arguments:
        layers: The model.
        answered: The picked window, if there is one.

    Example:
        >>> conformal_regions.__name__
        'conformal_regions'
    """
    layer = layers.conformal
    if layer is None:
        look.absent(
            "Conformal region",
            "Regions with a promised coverage for new patients, and slices through them.",
            "This model carries none, so its intervals are those of the simulations: "
            "`pulsebayes calibrate conformal` makes regions from labelled recordings of patients.",
        )
        return
    st.markdown("##### Conformal region")
    names = [", ".join(one.coordinates.names) for one in layer.sets]
    chosen = st.selectbox("Quantities that are covered together", names) if len(names) > 1 else names[0]
    one = layer.sets[names.index(chosen)]
    st.write(f"**Promise:** {one.guarantee}. Score: {one.score_name}.")
    if layer.pools is not None:
        st.info(f"This window was answered alone. `pulsebayes infer` gives these regions: {layer.pools.told}.")
        return
    if answered is None or not isinstance(answered.result, Answer):
        st.info("This window has no answer, and a region is made from one.")
        return
    if not np.isfinite(one.limit):
        st.warning(
            f"{one.n_patients} patients are too few for a coverage of {percent(1 - one.alpha)}: it is unbounded."
        )
        return
    region = one.region(predict(answered.scored or answered.result.draws, one.coordinates, layer.n_draws))
    _slice(one, region, answered.result)


def _slice(one: ConformalSet, region: Region, answer: Answer) -> None:
    draws = answer.draws
    planes = [f"{a} and {b}" for a, b in combinations(one.coordinates.names, 2)]
    wanted = st.pills("Slice", planes, default=planes[0], key="slice") if len(planes) > 1 else planes[0]
    first, _, second = (wanted or planes[0]).partition(" and ")
    given: dict[str, float] = {}
    others = [n for n in one.coordinates.names if n not in (first, second)]
    for name, column in zip(others, st.columns(max(len(others), 1)), strict=False):
        q, middle = quantity_of(name), float(np.median(draws[name]))
        given[name] = column.number_input(
            f"at {q.name} [{q.unit}]",
            value=round(middle, q.decimals),
            step=10.0**-q.decimals,
            format=f"%.{q.decimals}f",
        )
    plane = region.slice((first, second), at=given)
    if not plane.inside.any():
        st.info("The region has no part in this plane: set the other quantities nearer to the estimate.")
        return
    look.picture(region_slice(plane, draws, one.alpha))
    st.caption(
        "The outline is a conformal region: a promise about new patients like those it was calibrated on. The dots are "
        "draws of the posterior: what the simulator makes of this window."
    )


def rope_couplings(layers: Calibrated, answered: AnsweredWindow | None) -> None:
    r"""Show which simulations stand for the window, and how the robust posterior did on held-out patients.

    Arguments:
        layers: The model.
        answered: The picked window, if there is one.

    Example:
        >>> rope_couplings.__name__
        'rope_couplings'
    """
    layer = layers.rope
    if layer is None:
        look.absent(
            "Couplings (RoPE)",
            "Which simulated beats stand for this patient's, and with what weight.",
            "This model carries no robust posterior: `pulsebayes calibrate rope` makes one from a few labelled "
            "recordings.",
        )
        return
    st.markdown("##### Couplings (RoPE)")
    held = "; ".join(
        f"the {percent(float(level))} interval held {', '.join(f'{n} in {percent(s)}' for n, s in shares.items())}"
        for level, shares in layer.measured.get("coverage", {}).items()
    )
    st.write(f"On {layer.measured['patients']} held-out patients: {held}.")
    if answered is None or not isinstance(answered.result, Answer):
        st.info("This window has no answer, so nothing stands for it.")
        return
    weights = layer.rope.weights(answered.values[None])[0]
    parts = layer.rope.components
    middle = parts.space.constrain(np.median(parts.z, axis=1).astype(np.float64))
    values = layers.bundle.outputs.derive(middle.astype(np.float32))
    names = [n for n in _COUPLED if n in values]
    names += [n for n in values if n not in names][: max(0, 2 - len(names))]
    effective = 1 / float((weights**2).sum())
    st.write(
        f"As if **{number(effective, 0)} of {len(weights)}** simulated beats stood for this one with equal weight; the "
        "nearer to all of them, the less this window tells."
    )
    look.picture(couplings(weights, {n: np.asarray(values[n]) for n in names}))
