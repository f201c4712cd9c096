r"""What is known of a patient beside the wave: age, sex, height, weight, aortic root; none of them wrong in silence.

The simulated population has ages and heights. Sex and weight enter through height, and tell as much as that:

$$
p(\text{male} \mid h) = \sigma\!\left(\frac{\Delta\,(h - \bar h)}{s^2}\right), \qquad
\ln \frac{w}{h^2} \sim \mathcal N(\ln b, \tau^2),
$$

$\Delta$ = .14 m between the sexes' mean heights, $s$ = .071 m within each (together the population's spread of .1 m
about $\bar h$ = 1.70 m), and a body mass index of median $b$ = 28.3 kg/m^2 and log spread $\tau$ = .22. What sex and
weight mean for the heart beyond height (and sex for the root, below) is not in the simulations, so nothing is claimed.

The aortic root is as echocardiography shows it at the sinuses of Valsalva at the end of diastole. Simulated roots are
wider than measured ones, by a factor of 1.19 on the mean of both sexes (1.17 to 1.20 from 25 to 80 years and 1.55 to
1.85 m, against the normal values of Devereux et al.), and have no sex; men's measure 2.47 mm more than those of women
of their age and height. So a measured diameter $d$ is an observation of the simulated one $D$,

$$
d = D / 1.19 \pm 1.235\,\text{mm} + \varepsilon, \qquad \varepsilon \sim \mathcal N(0, \sigma^2),
$$

plus for a man, minus for a woman: a root wider than those of others of its age, height and sex is one in the
simulations too.

References:
    Fryar C.D. et al. (2021), Vital Health Stat 3(46) (adults of the United States, 2015 to 2018: mean heights of 175.3
    and 161.3 cm, mean body mass indices of 29.4 and 29.8). Devereux R.B. et al. (2012), Am J Cardiol 110:1189 (1,207
    adults: 15.19 + .10 age + .10 height - 2.47 (1 for men, 2 for women) mm, years and cm). Muraru D. et al. (2014), Eur
    Heart J Cardiovasc Imaging 15:415 (leading or inner edges, end of diastole or of systole: 2 mm apart): hence an
    error of 2 mm where none is given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = [
    "AGE",
    "AORTA",
    "AORTA_ERROR",
    "HEIGHT",
    "MEASURED_ERRORS",
    "SEXES",
    "Patient",
    "PatientError",
    "draw_measured",
    "draw_sex_and_weight",
    "measured_root",
    "parse_patient",
    "root_of_sex",
    "telling",
]

AGE = (18.0, 90.0)
"""Ages of the population [years]."""
HEIGHT = (1.40, 2.05)
"""Heights of the population [m]."""
WEIGHT = (25.0, 350.0)
"""Weights that an adult can have [kg]."""
AORTA = (15.0, 60.0)
"""Diameters that the aortic root of an adult can have [mm]."""
AORTA_ERROR = 2.0
"""Standard deviation of the error of a measured diameter where none is given [mm]."""
MEASURED_ERRORS = (1.0, 4.0)
"""Errors of diameters for which it was measured what intervals hold [mm]."""
_AORTA_ERRORS = (1.0, 10.0)  # [mm]
_ROOT_RATIO, _ROOT_GAP = 1.19, 2.47  # simulated diameters over measured ones; between the sexes [mm]
_SEX_GAP, _WITHIN, _MIDDLE = 0.14, 0.071, 1.70
_INDEX, _INDEX_SD = 28.3, 0.22
SEXES = {"f": -1.0, "m": 1.0}
"""Sexes, as numbers."""
_SEXES = {"f": "f", "female": "f", "m": "m", "male": "m"}
_UNITS = {
    "age": {"": 1.0, "y": 1.0},
    "height": {"": 1.0, "m": 1.0, "cm": 0.01},
    "weight": {"": 1.0, "kg": 1.0},
    "aorta": {"": 1.0, "mm": 1.0, "cm": 10.0},
}
_MEASURED = re.compile(r"([.\d]+)\s*([a-z]*)\s*(?:(?:\+-|\+/-|±)\s*([.\d]+)\s*([a-z]*))?", re.ASCII)
_NAMES = ("age", "sex", "height", "weight", "aorta")
_EXAMPLE = "--patient age=63,sex=f,height=162cm,weight=70kg,aorta=33mm"


class PatientError(ValueError):
    r"""What is said of a patient cannot be used.

    Example:
        >>> PatientError("age must lie between 18 and 90 years, got 12").hint
        '--patient age=63,sex=f,height=162cm,weight=70kg,aorta=33mm'
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
        aorta: Diameter of the aortic root at the sinuses of Valsalva at the end of diastole [mm].
        aorta_error: Standard deviation of its error [mm].

    Raises:
        PatientError: If a value lies outside what the population holds, or the sex is neither.

    Example:
        >>> Patient(age=63, height=1.62, aorta=33).text
        'age 63 years, height 1.62 m, aortic root 33+-2 mm'
    """

    age: float | None = None
    sex: str | None = None
    height: float | None = None
    weight: float | None = None
    aorta: float | None = None
    aorta_error: float = AORTA_ERROR

    def __post_init__(self) -> None:
        limits = (
            ("age", self.age, AGE, "years"),
            ("height", self.height, HEIGHT, "m"),
            ("weight", self.weight, WEIGHT, "kg"),
            ("aorta", self.aorta, AORTA, "mm"),
            ("the error of aorta", self.aorta_error, _AORTA_ERRORS, "mm"),
        )
        for name, value, (low, high), unit in limits:
            if value is not None and not low <= value <= high:
                raise PatientError(f"{name} must lie between {low:g} and {high:g} {unit}, got {value:g}")
        if self.sex not in (None, "f", "m"):
            raise PatientError(f"sex must be f or m, got {self.sex!r}")

    @property
    def given(self) -> tuple[str, ...]:
        r"""Names of what is known."""
        return tuple(name for name in _NAMES if getattr(self, name) is not None)

    @property
    def text(self) -> str:
        r"""What is known, in words."""
        told = {"age": "age {:g} years", "sex": "sex {}", "height": "height {:g} m", "weight": "weight {:g} kg"}
        told |= {"aorta": f"aortic root {{:g}}+-{self.aorta_error:g} mm"}
        return ", ".join(told[name].format(getattr(self, name)) for name in self.given)

    def log_given_height(self, height: Float[np.ndarray, " H"]) -> Float[np.ndarray, " H"]:
        r"""Log probability of sex and weight at some heights, as far as they are known.

        Arguments:
            height: Heights [m].
        """
        height = np.asarray(height, dtype=np.float64)
        log = np.zeros_like(height)
        if self.sex is not None:
            log -= np.logaddexp(0.0, -SEXES[self.sex] * _SEX_GAP * (height - _MIDDLE) / _WITHIN**2)
        if self.weight is not None:
            log -= 0.5 * ((np.log(self.weight / height**2) - np.log(_INDEX)) / _INDEX_SD) ** 2
        return log


def telling(known: str) -> str:
    r"""What of that which is known tells anything: sex and weight do not where the height is known, but sex of roots.

    Arguments:
        known: What is known, joined by ``+``.

    Example:
        >>> telling("age+sex+height"), telling("age+sex"), telling("sex+height+aorta")
        ('age+height', 'age+sex', 'sex+height+aorta')
    """
    names = known.split("+")
    idle = {"weight"} if "aorta" in names else {"sex", "weight"}
    return "+".join(name for name in names if "height" not in names or name not in idle)


def measured_root(diameter: Float[np.ndarray, "*N"]) -> Float[np.ndarray, "*N"]:
    r"""Diameters of simulated aortic roots as echocardiography would show them, on the mean of both sexes [mm].

    Arguments:
        diameter: Lumen diameters of the simulated roots [mm].

    Example:
        >>> measured_root(np.array([40.0])).round(1).tolist()
        [33.6]
    """
    return np.asarray(diameter, np.float64) / _ROOT_RATIO


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


def root_of_sex(root: Float[np.ndarray, " N"], male: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    r"""Diameters of aortic roots [mm] of men and women.

    Arguments:
        root: Diameters on the mean of both sexes [mm].
        male: 1 for men, 0 for women.

    Example:
        >>> root_of_sex(np.array([34.0, 34.0]), np.array([1.0, 0.0])).round(1).tolist()
        [35.2, 32.8]
    """
    return np.asarray(root + _ROOT_GAP * (np.asarray(male) - 0.5))


def draw_measured(
    root: Float[np.ndarray, " N"], rng: np.random.Generator
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    r"""Measured diameters of aortic roots, and their errors [mm], log-uniform between 1 and 4 mm.

    Arguments:
        root: Diameters without error [mm].
        rng: Source of randomness.

    Example:
        >>> measured, error = draw_measured(np.full(1000, 34.0), np.random.default_rng(0))
        >>> bool(0.9 < ((measured - 34.0) / error).std() < 1.1)
        True
    """
    low, high = (math.log(end) for end in MEASURED_ERRORS)
    error = np.exp(rng.uniform(low, high, len(root)))
    measured = root + error * rng.standard_normal(len(root))
    return np.clip(measured, *AORTA), error  # one in 10^5 is clipped


def parse_patient(text: str) -> Patient:
    r"""Reads what the command line says of a patient: ``age=63,sex=f,height=162cm,aorta=33+-1mm``, any part of it.

    Arguments:
        text: The words.

    Raises:
        PatientError: If a part cannot be read, is named twice or lies outside the population.

    Example:
        >>> parse_patient("age=63,height=162cm").text
        'age 63 years, height 1.62 m'
        >>> parse_patient("aorta=3.3+-0.1cm").text
        'aortic root 33+-1 mm'
    """
    found: dict[str, float | str] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip().lower() for piece in part.partition("="))
        if not equals or name not in _NAMES:
            raise PatientError(f"a patient is told by age, sex, height, weight and aorta, got {part.strip()!r}")
        if name in found:
            raise PatientError(f"{name} is given twice")
        if name == "aorta":
            found |= _aorta(value)
        else:
            found[name] = _sex(value) if name == "sex" else _number(name, value, _UNITS[name])
    return Patient(**found)  # type: ignore[arg-type]


def _sex(value: str) -> str:
    if value not in _SEXES:
        raise PatientError(f"sex must be f or m, got {value!r}")
    return _SEXES[value]


def _aorta(value: str) -> dict[str, float | str]:
    """A diameter, with the error that it was measured with where that is given; a unit at the end serves both."""
    match = _MEASURED.fullmatch(value)
    diameter, unit, error, unit_of_error = ("",) * 4 if match is None else match.groups(default="")
    known = {unit, unit_of_error} <= {"", *_UNITS["aorta"]}
    if not diameter or not known or (error and unit and not unit_of_error):
        raise PatientError(f"aorta must be a diameter in mm or cm, like 33mm or 33mm+-1mm, got {value!r}")
    found: dict[str, float | str] = {"aorta": _number("aorta", diameter + (unit or unit_of_error), _UNITS["aorta"])}
    if error:
        found["aorta_error"] = _number("the error of aorta", error + unit_of_error, _UNITS["aorta"])
    return found


def _number(name: str, value: str, units: Mapping[str, float]) -> float:
    number = value.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = value[len(number) :].strip()
    try:
        if unit not in units:
            raise ValueError
        if not re.fullmatch(r"[-+]?[.\d]+", number.strip(), re.ASCII):  # float would read 6_3
            raise ValueError
        return round(float(number) * units[unit], 6)
    except ValueError:
        raise PatientError(f"{name} must be a number, got {value!r}") from None
