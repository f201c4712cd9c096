r"""The published age trends of healthy adults reappear in the simulator that the atlas is made with."""

from __future__ import annotations

import numpy as np

from pulsebayes.calibration.identifiability.trends import PUBLISHED, PUBLISHED_WAVE_SPEED, age_trends


def test_the_published_age_trends_reappear() -> None:
    found = age_trends()
    np.testing.assert_allclose(found["PWV"], PUBLISHED_WAVE_SPEED, rtol=0.002)
    for name, rtol in (("HR", 1e-3), ("SV", 1e-3), ("MAP", 0.025)):  # of the root: upstream of losses
        np.testing.assert_allclose(found[name], PUBLISHED[name][1], rtol=rtol)
    # a solver of the same equations, 80 lines: pulse pressures from 25 to 75 years, amplification in the arm
    np.testing.assert_allclose([found["PP_aorta"][i] for i in (0, -1)], [25.4, 44.9], atol=0.5)
    np.testing.assert_allclose([found["PP_radial"][i] for i in (0, -1)], [47.7, 57.4], atol=0.5)
    np.testing.assert_allclose([found["amplification"][i] for i in (0, -1)], [1.50, 1.13], atol=0.05)
    for name, sign in (("PP_aorta", 1), ("D_AorticRoot", 1), ("C", -1), ("SV", -1), ("amplification", -1)):
        assert (sign * np.diff(found[name]) > 0).all()
