r"""Posterior-predictive checks in the space of the sensor: do simulations of the posterior look like the window?

A few draws of each window's posterior go through the simulator and the sensor model again. What the estimator does not
estimate is drawn from the prior, so for a model with many such parameters the replicates vary more than an exact
posterior predictive would, and the check is lenient. Of each replicate and the window, features are compared that do
not depend on where in a beat the window starts.

Truth and draw are exchangeable under the exact posterior, and so are window and replicate: the paired difference of a
feature has mean zero, which is what ``p`` tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ..inference.bundle import Bundle
from ..simulators.channels import ChannelSensor, any_sensor_from_json
from ..simulators.registry import Simulator, build
from ..simulators.sensors import SensorModel
from ..simulators.status import usable
from ..waveforms.roles import PRESSURE_ROLES
from .misspecification import predictive_discrepancy

__all__ = ["FEATURES", "predictive_check", "relative_windows", "window_features"]

FEATURES = (
    "mean [mmHg]", "standard deviation [mmHg]", "5 % [mmHg]", "95 % [mmHg]", "skewness", "steepest rise [mmHg/s]",
    "power above 3 Hz",
)  # fmt: skip
"""Features of a window."""


def window_features(x: Float[np.ndarray, "N T"], *, fs: float) -> Float[np.ndarray, "N F"]:
    r"""Features of windows that do not depend on the phase they start at.

    Arguments:
        x: Windows [mmHg].
        fs: Sampling rate [Hz].

    Returns:
        One column for each of ``FEATURES``.

    Example:
        >>> window_features(90 + np.random.default_rng(0).normal(size=(3, 1000)), fs=125.0).shape
        (3, 7)
    """
    x = np.asarray(x, dtype=np.float64)
    mean, sd = x.mean(1), x.std(1)
    low, high = np.quantile(x, [0.05, 0.95], axis=1)
    centred = x - mean[:, None]
    skew = (centred**3).mean(1) / np.maximum(sd, 1e-9) ** 3
    gap = max(1, round(0.04 * fs))
    rise = np.quantile((x[:, gap:] - x[:, :-gap]) * fs / gap, 0.995, axis=1)
    power = np.abs(np.fft.rfft(centred, axis=1)) ** 2
    high_share = power[:, np.fft.rfftfreq(x.shape[1], 1 / fs) > 3.0].sum(1) / np.maximum(power.sum(1), 1e-12)
    return np.stack([mean, sd, low, high, skew, rise, high_share], axis=1)


def predictive_check(
    bundle: Bundle,
    x: Float[np.ndarray, "N *window"],
    draws: Mapping[str, Float[np.ndarray, "N S"]],
    *,
    n: int = 48,
    replicates: int = 8,
    seed: int = 0,
) -> dict[str, Any]:
    r"""Checks windows against simulations from their posteriors.

    Arguments:
        bundle: The model, which says what it was trained on.
        x: Held-out windows [mmHg, or the wave's own unit].
        draws: Posterior draws of every quantity and output.
        n: Most windows.
        replicates: Simulations of each.
        seed: Seed of draws, nuisance parameters and sensors.

    Returns:
        ``n``, ``replicates``, ``discrepancy`` (median root mean square of the standardised features) and for each
        feature the share of windows ``inside`` the range of their replicates (calibrated: (R - 1)/(R + 1)), and ``p``,
        of several channels for each over the windows that hold it, with the largest discrepancy;
        empty where the simulator cannot be asked for the quantities.

    Raises:
        ValueError: If the bundle does not say what it was trained on.

    Example:
        >>> predictive_check(bundle, windows, draws)["inside"]  # doctest: +SKIP
    """
    training = bundle.training
    if not training.get("simulator"):
        raise ValueError(f"bundle {bundle.name} does not say which simulator it was trained on")
    simulator = build(str(training["simulator"]), **dict(training.get("simulator_config") or {}))
    rng = np.random.default_rng([seed, 6])
    n = min(n, len(x))
    count = len(next(iter(draws.values()))[0])
    at = rng.integers(count, size=(n, replicates))
    asked = {name: np.take_along_axis(values[:n], at, 1).ravel() for name, values in draws.items()}
    found = _simulated(simulator, asked, n * replicates, rng)
    if found is None:
        return {}
    waves, good = found
    sensor = any_sensor_from_json(training["sensor"]) if training.get("sensor") else SensorModel.radial_line()
    if isinstance(sensor, ChannelSensor):
        return _checked_channels(bundle, sensor, np.asarray(x[:n]), waves, good, simulator.sites, rng)
    fs, samples = bundle.contract.fs, bundle.contract.samples
    site = simulator.sites.index(str((training.get("recipe") or {}).get("site", simulator.sites[0])))
    seen = sensor.apply(np.where(good[:, None], waves[:, site], 0.0), rng, fs=fs, out_samples=samples)
    return _checked(np.asarray(x[:n]), seen, good, bundle.contract.role, fs)


def _checked_channels(
    bundle: Bundle,
    sensor: ChannelSensor,
    x: Float[np.ndarray, "n C T"],
    waves: Float[np.ndarray, "K sites W"],
    good: Bool[np.ndarray, " K"],
    sites: Sequence[str],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Each channel by itself, over the windows that hold it; replicates hold what their window holds."""
    contract = bundle.contract
    found: dict[str, dict[str, Any]] = {}
    places = [sites.index(channel["site"]) for channel in bundle.training["recipe"]["channels"]]
    given = np.repeat(np.isfinite(x).all(-1), len(good) // len(x), axis=0)
    clean = np.where(good[:, None, None], waves[:, places], 0.0)
    seen = sensor.observe(clean, rng, given, fs=contract.fs, out_samples=contract.samples)
    for c, channel in enumerate(contract.channels):
        own = np.isfinite(x[:, c]).all(-1)
        table = (
            _checked(x[own, c], seen[given[:, c], c], good[given[:, c]], channel.role, contract.fs) if own.any() else {}
        )
        found |= {channel.name: table} if table else {}
    if not found:
        return {}
    first = next(iter(found.values()))
    features = {f"{name}: {key}": row for name, table in found.items() for key, row in table["features"].items()}
    worst = max(table["discrepancy"] for table in found.values())
    return {**first, "n": len(x), "discrepancy": worst, "features": features}


def _checked(
    x: Float[np.ndarray, "n T"], seen: Float[np.ndarray, "K T"], good: Bool[np.ndarray, " K"], role: str, fs: float
) -> dict[str, Any]:
    """Windows of one channel against their replicates."""
    names: tuple[str, ...] = FEATURES
    start = 0
    if role not in PRESSURE_ROLES:  # no unit: windows of mean 0 and standard deviation 1
        seen, x = relative_windows(seen), relative_windows(x)
        names, start = tuple(name.replace("mmHg", "1") for name in FEATURES[2:]), 2
    features = window_features(seen, fs=fs)[:, start:].reshape(len(x), len(seen) // len(x), -1)
    features = np.where(good.reshape(*features.shape[:2], 1), features, np.nan)
    return _compared(window_features(x, fs=fs)[:, start:], features, names)


def relative_windows(x: Float[np.ndarray, "N T"]) -> Float[np.ndarray, "N T"]:
    r"""Windows of a wave without a unit, each scaled to mean 0 and standard deviation 1.

    Arguments:
        x: Windows, in any unit.

    Example:
        >>> relative_windows(np.array([[1.0, 3.0]])).tolist()
        [[-1.0, 1.0]]
    """
    x = np.asarray(x, dtype=np.float64)
    sd = np.maximum(x.std(axis=1, keepdims=True), 1e-12)
    scaled: Float[np.ndarray, "N T"] = (x - x.mean(axis=1, keepdims=True)) / sd
    return scaled


def _simulated(
    simulator: Simulator, asked: Mapping[str, Float[np.ndarray, " K"]], rows: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray] | None:
    """Waves of given quantities with everything else from the prior; None where they cannot be asked for."""
    base = simulator.space.sample(rng, rows)
    seed = int(rng.integers(2**31))
    known = [name for name in simulator.space.names if name in asked]
    if known:
        for name in known:
            base[:, simulator.space.index(name)] = asked[name]
        found = simulator.simulate(base, seed)
    else:
        from ..simulators.network.linear import LinearNetwork
        from ..simulators.patient import SETTABLE, simulate_adults

        wanted = {name: asked[name] for name in SETTABLE if name in asked}
        if (
            not isinstance(simulator, LinearNetwork)
            or simulator.population not in ("clinical", "clinical-wide")
            or not wanted
        ):
            return None
        found = simulate_adults(simulator, wanted, base, seed=seed)
    waves = np.asarray(found.waves)
    return waves, usable(np.asarray(found.status)) & np.isfinite(waves).all((1, 2))


def _compared(
    seen: Float[np.ndarray, "n F"], replicas: Float[np.ndarray, "n R F"], names: Sequence[str]
) -> dict[str, Any]:
    from scipy import stats

    whole = np.isfinite(replicas).all((1, 2))
    seen, replicas = seen[whole], replicas[whole]
    if len(seen) < 8:
        return {}
    inside = ((seen >= replicas.min(1)) & (seen <= replicas.max(1))).mean(0)
    gap = seen - replicas.mean(1)
    p = stats.ttest_1samp(gap, 0.0, axis=0).pvalue
    rows = {
        name: {"inside": round(float(i), 4), "p": round(float(v), 6)}
        for name, i, v in zip(names, inside, p, strict=True)
    }
    discrepancy = float(np.median(predictive_discrepancy(seen, replicas)))
    expected = (replicas.shape[1] - 1) / (replicas.shape[1] + 1)
    return {
        "n": len(seen), "replicates": int(replicas.shape[1]), "discrepancy": round(discrepancy, 4),
        "inside_expected": round(expected, 4), "features": rows,
    }  # fmt: skip
