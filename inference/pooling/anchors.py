r"""Reference values at given times as observations of the same model: `CO=4.2@600s`.

At the window $k$ of the anchors $a$ with errors $\sigma$, the joint draws give $\ln Q_k \approx b_0 + B s$ with
residuals of covariance $R$, $Q$ the anchored quantities and $s$ the slow ones. The likelihood of the slow quantities is
then

$$
L(s) = \mathcal N\!\left(\ln a \mid b_0 + B s,\; \mathrm{diag}\,\sigma^2 + R + \alpha V\right),
$$

with $\alpha$ from 0 to 1 growing with the time between the anchors' window and the one that is answered, and $V$ what
$R$ grows by far away (``aging``), and every window's joint draws are weighted by it and resampled; those of the
anchors' own window by $\mathcal N(\ln a \mid \ln Q_k, \mathrm{diag}\,\sigma^2)$. Anchors of one window share what it
has of its own, so that five of them do not tell of the other windows what those of five windows would. Nothing is
rescaled afterwards: what an anchor teaches passes through the slow quantities, with all that they do not explain left
uncertain. Pressures that may be negative take the value itself instead of its logarithm. Where fewer than one in eighty
of the draws bear an anchor, waves and reference contradict each other, and the windows it counts for are refused.

References:
    Stetz C.W. et al. (1982), Am Rev Respir Dis 126:1001 (thermodilution: differences of less than 10 to 15 % are not
    told apart): hence 10 % where no error is given.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
from jaxtyping import Float

from ...waveforms.errors import RecordingError
from ...waveforms.times import read_time
from ..patient.layer import LEAST_EFFECTIVE
from ..weighting import effective_share

__all__ = [
    "REACH_S",
    "Anchor",
    "SlowLikelihood",
    "against_the_waves",
    "contradictions",
    "parse_anchor",
    "refuse_unused",
    "require_known",
]

_NUMBER = r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf)\s*"
_PATTERN = re.compile(rf"([A-Za-z][A-Za-z0-9-]*)={_NUMBER}(?:(?:\+-|±){_NUMBER})?@\s*(-?)(.+)")
_SHARE = 0.1  # error where none is given, as a share of the value
_ABSOLUTE = {"MAP": 2.0, "CVP": 2.0}  # [mmHg]: these may be negative, or their error does not grow with them
_LEAST = 0.005  # least error, as a share: of some thousand draws too few would be left
_LEAST_ABSOLUTE = 0.05  # [mmHg]
_MOST = 1e6
_APART = 3.0  # standard deviations of their difference from which references contradict each other
_PERSONAL = ("age", "height", "weight", "aorta")  # what is told of a patient, and at no time
REACH_S = 60.0
"""An anchor is taken for an answered window within this time of it [s]."""


@dataclass(frozen=True)
class Anchor:
    r"""A reference value of one quantity at a time.

    Arguments:
        name: The quantity.
        value: Its value, in the quantity's unit.
        time_s: When it was measured [s].
        error: Standard deviation of its error, in the quantity's unit.

    Raises:
        ValueError: If a number is not finite, the time negative, the error or the value of a positive quantity not
            positive, or the error under half a per cent of the value (MAP and CVP: .05 mmHg).

    Example:
        >>> Anchor("CO", 4.2, 600.0, 0.42).text
        'CO=4.2+-0.42@600s'
    """

    name: str
    value: float
    time_s: float
    error: float

    def __post_init__(self) -> None:
        if not np.isfinite([self.value, self.time_s, self.error]).all():
            raise ValueError(f"value, time and error of an anchor must be numbers, got {self.text}")
        if max(abs(self.value), self.error) > _MOST or 0 < abs(self.value) < 1 / _MOST:
            raise ValueError(f"no quantity is as large or small as {self.text} says")
        if self.is_log and not self.value > 0:
            raise ValueError(f"{self.name} of an anchor must be positive, got {self.value:g}")
        if self.time_s < 0:
            raise ValueError(f"an anchor must have been measured at 0 s or later, got {self.time_s:g} s")
        if not self.error > 0:
            raise ValueError(f"the error of an anchor of {self.name} must be positive, got {self.error:g}")
        least = _LEAST * self.value if self.is_log else _LEAST_ABSOLUTE
        if self.error < least:
            what = f"the error of an anchor of {self.name} must be at least {least:g}, got {self.error:g}"
            raise ValueError(f"{what}: draws tell no finer, and hardly one would bear it")

    @property
    def is_log(self) -> bool:
        r"""Whether its error is one of the logarithm."""
        return self.name not in _ABSOLUTE

    @property
    def is_personal(self) -> bool:
        r"""Whether its quantity is one that is told of a patient, and at no time."""
        return self.name.lower() in _PERSONAL

    @property
    def text(self) -> str:
        r"""The anchor as it is written on the command line."""
        return f"{self.name}={self.value:g}+-{self.error:g}@{self.time_s:.9g}s"

    def misfit(self, draws: Mapping[str, Float[np.ndarray, " draw"]]) -> tuple[Float[np.ndarray, " draw"], float]:
        r"""Draws of the quantity less the anchor, on the scale of its error, and that error.

        Arguments:
            draws: Draws by quantity.
        """
        values = np.asarray(draws[self.name], np.float64)
        if not self.is_log:
            return values - self.value, self.error
        return np.log(np.maximum(values, 1e-6) / self.value), self.error / self.value

    def is_due(self, start_s: float, until_s: float) -> bool:
        r"""Whether an answered window is the one that an anchor belongs to where only the past is known.

        Arguments:
            start_s: Start of the window [s]; those before it that were answered did not take the anchor.
            until_s: Time until the window ends or the next begins, whichever is sooner [s].

        Example:
            >>> one = Anchor("CO", 5.0, 30.0, 0.5)
            >>> one.is_due(16.0, 8.0), one.is_due(24.0, 8.0), one.is_due(80.0, 8.0), one.is_due(96.0, 8.0)
            (False, True, True, False)
        """
        return start_s - REACH_S <= self.time_s < start_s + until_s

    def nearest(self, start_s: Float[np.ndarray, " W"], window_s: float) -> int | None:
        r"""The window that an anchor belongs to: the nearest, if it lies within a minute, or None.

        Arguments:
            start_s: Starts of the windows [s].
            window_s: Their length [s].
        """
        if not len(start_s):
            return None
        apart = np.abs(np.asarray(start_s) + 0.5 * window_s - self.time_s)
        best = int(np.argmin(apart))
        return best if apart[best] <= REACH_S + 0.5 * window_s else None


def parse_anchor(text: str) -> Anchor:
    r"""Reads an anchor: ``CO=4.2@600s``, or with its error ``CO=4.2+-0.5@10:00``.

    Arguments:
        text: The anchor.

    Raises:
        ValueError: If it cannot be read.

    Example:
        >>> parse_anchor("CO=4.2@600s")
        Anchor(name='CO', value=4.2, time_s=600.0, error=0.42000000000000004)
    """
    found = _PATTERN.fullmatch(text.strip())
    time_s = read_time(found[5]) if found else None
    if found is None or time_s is None:
        raise ValueError(f"an anchor is written NAME=VALUE@TIME, got {text!r}: for example CO=4.2@600s")
    value = float(found[2])
    time_s = -time_s if found[4] else time_s
    return Anchor(found[1], value, time_s, float(found[3]) if found[3] else _ABSOLUTE.get(found[1], _SHARE * value))


def contradictions(anchors: Sequence[Anchor]) -> list[str]:
    r"""Pairs of references to one quantity within a minute that lie more than three standard deviations apart.

    Both are used all the same, as one of them may be right; who gave them is to be told.

    Arguments:
        anchors: The references.

    Returns:
        A text for each pair.

    Example:
        >>> contradictions([parse_anchor(text) for text in ("CO=5@10s", "CO=9@12s", "CO=5.5@15s", "SV=70@10s")])
        ['CO=5+-0.5@10s and CO=9+-0.9@12s', 'CO=9+-0.9@12s and CO=5.5+-0.55@15s']
    """
    found = []
    for one, other in combinations(sorted(anchors, key=lambda a: (a.time_s, a.text)), 2):
        if one.name == other.name and abs(one.time_s - other.time_s) <= REACH_S:
            apart, error = other.misfit({other.name: np.array([one.value])})
            own = one.error / one.value if one.is_log else one.error
            if abs(float(apart[0])) > _APART * np.hypot(error, own):
                found.append(f"{one.text} and {other.text}")
    return found


def require_known(anchors: Sequence[Anchor], reported: Collection[str], file: str) -> None:
    r"""Refuses references of what a model does not give, and warns of those that contradict each other.

    Arguments:
        anchors: The references.
        reported: Quantities that the model gives.
        file: Name of the recording.

    Raises:
        RecordingError: If the model does not give the quantity of one.

    Example:
        >>> require_known([parse_anchor("CO=5@10s")], ["HR", "CO"], "demo")
    """
    unknown = [a.name for a in anchors if a.name not in reported]
    if unknown:
        raise RecordingError(
            f"no quantity {unknown[0]!r} to anchor: the model gives {', '.join(reported)}",
            code="anchor-unknown",
            file=file,
            hint="--anchor CO=4.2@600s",
        )
    for pair in contradictions(anchors):
        warnings.warn(f"{file}: the references {pair} contradict each other", stacklevel=3)


def refuse_unused(anchors: Sequence[Anchor], file: str) -> None:
    r"""Refuses a reference that belongs to no answered window.

    Arguments:
        anchors: References that none took.
        file: Name of the recording.

    Raises:
        RecordingError: If there is one.

    Example:
        >>> refuse_unused([], "demo")
    """
    if anchors:
        raise RecordingError(
            f"no answered window takes the reference {anchors[0].text}: none lies within a minute of it, or in a "
            "causal pool none from its time on",
            code="anchor-alone",
            file=file,
            hint="give the time at which it was measured, counted from the start of the recording",
        )


@dataclass(frozen=True)
class SlowLikelihood:
    r"""What the anchors of one window say of the slow quantities.

    Arguments:
        offset: The misfits where the slow quantities are at their mean.
        slope: Their slopes in them.
        centre: Mean of the slow quantities.
        covariance: Covariance of the errors and of what the slow quantities leave open.
        share: Effective share of the joint draws of the window once weighted by an anchor, by that which leaves least.
        excess: By how much the covariance is larger far away from the anchors' window.

    Example:
        >>> one = SlowLikelihood(np.zeros(1), np.ones((1, 1)), np.zeros(1), np.eye(1))
        >>> one.log(np.array([[0.0], [2.0]])).tolist()
        [-0.0, -2.0]
    """

    offset: Float[np.ndarray, " K"]
    slope: Float[np.ndarray, "K S"]
    centre: Float[np.ndarray, " S"]
    covariance: Float[np.ndarray, "K K"]
    share: float = 1.0
    excess: Float[np.ndarray, "#K #K"] = field(default_factory=lambda: np.zeros((1, 1)))

    @property
    def agrees(self) -> bool:
        r"""Whether enough draws of the window bear its anchors; what they teach the others is else an extrapolation."""
        return self.share >= LEAST_EFFECTIVE

    @classmethod
    def of(
        cls,
        anchors: Sequence[Anchor],
        slow: Float[np.ndarray, "draw S"],
        draws: Mapping[str, Float[np.ndarray, " draw"]],
        far: Mapping[str, Float[np.ndarray, " draw"]] | None = None,
    ) -> SlowLikelihood:
        r"""Regresses the misfits at the anchors' window on the slow quantities.

        Arguments:
            anchors: The anchors of one window.
            slow: Logarithms of the slow quantities, in joint draws of the window.
            draws: Quantities in the same draws.
            far: The same with own errors as large as they are far away, where references grow old.
        """
        misfits, error = _misfits(anchors, draws)
        centre = slow.mean(0)
        rows = np.concatenate((np.ones((len(slow), 1)), slow - centre), axis=1)
        solution, left = _regressed(rows, misfits)
        share = min(effective_share(one) for one in -0.5 * ((misfits / error) ** 2).T)
        own = cls(solution[0], solution[1:].T, centre, left + np.diag(error**2), share)
        if far is None:
            return own
        values, axes = np.linalg.eigh(_regressed(rows, _misfits(anchors, far)[0])[1] - left)
        return replace(own, excess=(axes * np.maximum(values, 0.0)) @ axes.T)

    def shifted(self, by: Float[np.ndarray, " D"]) -> SlowLikelihood:
        r"""The likelihood where the quantities that carry the first coordinates are told higher by a given amount.

        Arguments:
            by: The amount, in the coordinates' unit.

        Example:
            >>> one = SlowLikelihood(np.zeros(1), np.array([[1.0, 0.5]]), np.zeros(2), np.eye(1))
            >>> one.shifted(np.array([2.0])).offset.tolist()
            [2.0]
        """
        return replace(self, offset=self.offset + self.slope[:, : len(by)] @ np.asarray(by, np.float64))

    def aged(self, age: float) -> SlowLikelihood:
        r"""The likelihood for a window at some time from the anchors'.

        Arguments:
            age: How old the anchors are there, $\alpha$ from 0 to 1.

        Example:
            >>> one = SlowLikelihood(np.zeros(1), np.ones((1, 1)), np.zeros(1), np.eye(1), excess=np.eye(1))
            >>> float(one.aged(0.5).covariance[0, 0]), float(one.aged(0.0).covariance[0, 0])
            (1.5, 1.0)
        """
        return replace(self, covariance=self.covariance + age * self.excess)

    def log(self, slow: Float[np.ndarray, "draw S"]) -> Float[np.ndarray, " draw"]:
        r"""Log likelihood of slow quantities, up to a constant.

        Arguments:
            slow: Their logarithms.
        """
        misfits = self.offset + (slow - self.centre) @ self.slope.T
        return np.asarray(-0.5 * (misfits @ np.linalg.inv(self.covariance) * misfits).sum(1))


def against_the_waves(
    told: Sequence[tuple[Sequence[Anchor], SlowLikelihood, float]], age: Callable[[float], float] = lambda _: 0.0
) -> list[str]:
    r"""Pairs of references to one quantity, of different windows, that contradict each other by what the waves say.

    Waves tell how much higher a quantity is in one window than in another, far better than how high it is. References
    that are both right are off by the same, $b_{0,i} \approx b_{0,k}$, within three standard deviations of the errors
    of both and of what the two windows have of their own.

    Arguments:
        told: References of each window, what they say of the slow quantities, and when the window begins [s].
        age: How old a reference is after some time [s], from 0 to 1.

    Returns:
        A text for each pair.

    Example:
        >>> one = SlowLikelihood(np.zeros(1), np.ones((1, 1)), np.zeros(1), 0.01 * np.eye(1))
        >>> low, high = (parse_anchor(text) for text in ("CO=4@40s", "CO=8@900s"))
        >>> against_the_waves([((low,), one, 40.0), ((high,), one, 896.0)])  # the waves say that output doubled
        []
        >>> against_the_waves([((low,), one, 40.0), ((high,), replace(one, offset=np.array([-0.7])), 896.0)])
        ['CO=4+-0.4@40s and CO=8+-0.8@900s']
    """
    found = []
    each = [(a, one, k, at) for own, one, at in told for k, a in enumerate(own)]
    for (a, one, i, at), (b, other, k, then) in combinations(sorted(each, key=lambda e: (e[0].time_s, e[0].text)), 2):
        if a.name == b.name and one is not other:
            far = age(abs(at - then))
            open_ = one.aged(far).covariance[i, i] + other.aged(far).covariance[k, k]
            bent = np.square(one.slope[i] - other.slope[k]).sum()  # what is shared has a standard deviation of one
            if abs(one.offset[i] - other.offset[k]) > _APART * np.sqrt(open_ + bent):
                found.append(f"{a.text} and {b.text}")
    return found


def _misfits(
    anchors: Sequence[Anchor], draws: Mapping[str, Float[np.ndarray, " draw"]]
) -> tuple[Float[np.ndarray, "draw K"], Float[np.ndarray, " K"]]:
    """Misfits of all anchors of a window, and their errors."""
    found = [anchor.misfit(draws) for anchor in anchors]
    return np.stack([misfit for misfit, _ in found], axis=1), np.array([error for _, error in found])


def _regressed(
    rows: Float[np.ndarray, "draw P"], values: Float[np.ndarray, "draw K"]
) -> tuple[Float[np.ndarray, "P K"], Float[np.ndarray, "K K"]]:
    """Least squares, and the covariance of what it leaves."""
    solution, *_ = np.linalg.lstsq(rows, values, rcond=None)
    left = values - rows @ solution
    left -= left.mean(0)
    return solution, left.T @ left / len(left)
