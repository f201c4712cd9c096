r"""What is known of a patient beside the wave: age, sex, height, weight; any of them, none of them wrong in silence.

The simulated population has ages and heights. Sex and weight enter through height, and tell as much as that:

$$
p(\text{male} \mid h) = \sigma\!\left(\frac{\Delta\,(h - \bar h)}{s^2}\right), \qquad
\ln \frac{w}{h^2} \sim \mathcal N(\ln b, \tau^2),
$$

$\Delta$ = .14 m between the sexes' mean heights, $s$ = .071 m within each (together the population's spread of .1 m
about $\bar h$ = 1.70 m), and a body mass index of median $b$ = 28.3 kg/m^2 and log spread $\tau$ = .22. What sex and
weight mean for the heart beyond height is not in the simulations, so nothing is claimed from it.

References:
    Fryar C.D. et al. (2021), Vital Health Stat 3(46) (adults of the United States, 2015 to 2018: mean heights of 175.3
    and 161.3 cm, mean body mass indices of 29.4 and 29.8).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["AGE", "HEIGHT", "Patient", "PatientError", "draw_sex_and_weight", "parse_patient", "telling"]

AGE = (18.0, 90.0)
"""Ages of the population [years]."""
HEIGHT = (1.40, 2.05)
"""Heights of the population [m]."""
WEIGHT = (25.0, 350.0)
"""Weights that an adult can have [kg]."""
_SEX_GAP, _WITHIN, _MIDDLE = 0.14, 0.071, 1.70
_INDEX, _INDEX_SD = 28.3, 0.22
_SEXES = {"f": "f", "female": "f", "m": "m", "male": "m"}
_UNITS = {"age": {"": 1.0, "y": 1.0}, "height": {"": 1.0, "m": 1.0, "cm": 0.01}, "weight": {"": 1.0, "kg": 1.0}}
_EXAMPLE = "--patient age=63,sex=f,height=162cm,weight=70kg"


class PatientError(ValueError):
    r"""What is said of a patient cannot be used.

    Example:
        >>> PatientError("age must lie between 18 and 90 years, got 12").hint
        '--patient age=63,sex=f,height=162cm,weight=70kg'
    """

    code = "patient"
    hint = _EXAMPLE


@dataclass(frozen=True)
class Patient:
    r"""What is known of a patient; None where it is not.

    Arguments:
        age: Age [years].
        sex: ``"f"`` or ``"m"``.
        height: Height [m].
        weight: Weight [kg].

    Raises:
        PatientError: If a value lies outside what the population holds, or the sex is neither.

    Example:
        >>> Patient(age=63, height=1.62).text
        'age 63 years, height 1.62 m'
    """

    age: float | None = None
    sex: str | None = None
    height: float | None = None
    weight: float | None = None

    def __post_init__(self) -> None:
        limits = (("age", AGE, "years"), ("height", HEIGHT, "m"), ("weight", WEIGHT, "kg"))
        for name, (low, high), unit in limits:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise PatientError(f"{name} must lie between {low:g} and {high:g} {unit}, got {value:g}")
        if self.sex not in (None, "f", "m"):
            raise PatientError(f"sex must be f or m, got {self.sex!r}")

    @property
    def given(self) -> tuple[str, ...]:
        r"""Names of what is known."""
        return tuple(name for name, value in asdict(self).items() if value is not None)

    @property
    def text(self) -> str:
        r"""What is known, in words."""
        units = {"age": " years", "height": " m", "weight": " kg", "sex": ""}
        values = asdict(self)
        shown = {name: values[name] if name == "sex" else f"{values[name]:g}" for name in self.given}
        return ", ".join(f"{name} {shown[name]}{units[name]}" for name in self.given)

    def log_given_height(self, height: Float[np.ndarray, " H"]) -> Float[np.ndarray, " H"]:
        r"""Log probability of sex and weight at some heights, as far as they are known.

        Arguments:
            height: Heights [m].
        """
        height = np.asarray(height, dtype=np.float64)
        log = np.zeros_like(height)
        if self.sex is not None:
            sign = 1.0 if self.sex == "m" else -1.0
            log -= np.logaddexp(0.0, -sign * _SEX_GAP * (height - _MIDDLE) / _WITHIN**2)
        if self.weight is not None:
            log -= 0.5 * ((np.log(self.weight / height**2) - np.log(_INDEX)) / _INDEX_SD) ** 2
        return log


def telling(known: str) -> str:
    r"""What of that which is known tells anything: sex and weight do not where the height is known.

    Arguments:
        known: What is known, joined by ``+``.

    Example:
        >>> telling("age+sex+height"), telling("age+sex")
        ('age+height', 'age+sex')
    """
    names = known.split("+")
    return "+".join(name for name in names if "height" not in names or name in ("age", "height"))


def draw_sex_and_weight(
    height: Float[np.ndarray, " N"], rng: np.random.Generator
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    r"""Sexes (1 for male) and weights [kg] of simulated patients of some heights.

    Arguments:
        height: Heights [m].
        rng: Source of randomness.

    Example:
        >>> male, weight = draw_sex_and_weight(np.full(1000, 1.70), np.random.default_rng(0))
        >>> bool(0.45 < male.mean() < 0.55 and 70 < np.median(weight) < 90)
        True
    """
    male = rng.random(len(height)) < 1.0 / (1.0 + np.exp(-_SEX_GAP * (height - _MIDDLE) / _WITHIN**2))
    weight = height**2 * _INDEX * np.exp(_INDEX_SD * rng.standard_normal(len(height)))
    return male.astype(np.float64), weight


def parse_patient(text: str) -> Patient:
    r"""Reads what the command line says of a patient: ``age=63,sex=f,height=162cm,weight=70kg``, any part of it.

    Arguments:
        text: The words.

    Raises:
        PatientError: If a part cannot be read, is named twice or lies outside the population.

    Example:
        >>> parse_patient("age=63,height=162cm")
        Patient(age=63.0, sex=None, height=1.62, weight=None)
    """
    found: dict[str, float | str] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip().lower() for piece in part.partition("="))
        if not equals or name not in (*_UNITS, "sex"):
            raise PatientError(f"a patient is told by age, sex, height and weight, got {part.strip()!r}")
        if name in found:
            raise PatientError(f"{name} is given twice")
        found[name] = _sex(value) if name == "sex" else _number(name, value, _UNITS[name])
    return Patient(**found)  # type: ignore[arg-type]


def _sex(value: str) -> str:
    if value not in _SEXES:
        raise PatientError(f"sex must be f or m, got {value!r}")
    return _SEXES[value]


def _number(name: str, value: str, units: Mapping[str, float]) -> float:
    number = value.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = value[len(number) :].strip()
    try:
        if unit not in units:
            raise ValueError
        return round(float(number) * units[unit], 6)
    except ValueError:
        raise PatientError(f"{name} must be a number, got {value!r}") from None
