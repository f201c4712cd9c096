r"""Likelihoods of a patient's age, height and aortic root given a posterior draw and the window: mixture networks.

Bayes' rule turns a draw of the window's posterior into one that knows the patient,

$$
p(\theta \mid x, a, h, d, \dots) \propto p(\theta \mid x)\; p(a \mid \theta, x)\; p(h \mid \theta, x, a)\;
p(d \mid \theta, x, a, h, \text{sex})\; \dots,
$$

so the draws are weighted by the last factors and nothing else changes: without a word on the patient all weights are
one. The first two factors are mixtures of truncated normals whose parameters a network gives from the draw's
standardised coordinates and the window's context; what is said of sex and weight is averaged over heights. That of the
diameter $d$ of the aortic root is a mixture of normals for the true diameter, each widened by the variance of the error
with which it was measured: whatever that error is, and whatever of age, height and sex is known, one network serves.
What weight tells of the root through the height is left out.

References:
    Mixture density networks (Bishop, 1994), https://publications.aston.ac.uk/id/eprint/373/
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..perceptron import perceptron
from .info import AGE, HEIGHT, SEXES, Patient, draw_sex_and_weight, root_of_sex

__all__ = ["KNOWN_SHARE", "NormalMixture", "PatientHeads", "TruncatedMixture", "persons"]

KNOWN_SHARE = 0.5
"""Share of ages, of heights and of sexes that are known where the likelihood of the aortic root is learned."""

_AGE_SCALE, _HEIGHT_SCALE = 20.0, 0.1
_AORTA_MIDDLE, _AORTA_SCALE = 34.0, 5.0  # [mm]
_HEIGHTS = np.linspace(*HEIGHT, 66)
_WIDEST, _NARROWEST = 2.0, -5.0
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_LEAST = 1e-30


def _parts(net: nn.Module, given: Float[Tensor, "M inputs"]) -> tuple[Tensor, Tensor, Tensor]:
    """Log weights, means and log standard deviations of the parts of a mixture, from what it depends on."""
    logits, mean, log_sd = net(given).chunk(3, dim=-1)
    return logits.log_softmax(-1), mean, log_sd.clamp(_NARROWEST, _WIDEST)


def persons(subjects: Float[np.ndarray, "N 3"], rng: np.random.Generator) -> Float[Tensor, "N 4"]:
    r"""What is told of simulated patients: ages [years], heights [m], sexes (1 for male, -1 for female), roots [mm].

    Arguments:
        subjects: Ages [years], heights [m] and diameters of aortic roots on the mean of both sexes [mm].
        rng: Source of randomness of the sexes.

    Example:
        >>> persons(np.array([[60.0, 1.95, 34.0]]), np.random.default_rng(0))[0].tolist()
        [60.0, 1.9500000476837158, 1.0, 35.23500061035156]
    """
    age, height, root = np.asarray(subjects, np.float64).T
    male, _ = draw_sex_and_weight(height, rng)
    return torch.from_numpy(np.stack([age, height, 2.0 * male - 1.0, root_of_sex(root, male)], -1)).float()


class TruncatedMixture(nn.Module):
    r"""Density of one number in an interval: a mixture of normals, each truncated to it.

    Arguments:
        inputs: Length of what it depends on.
        interval: The interval.
        scale: What the number is divided by, after its middle is taken off.
        parts: Parts of the mixture.
        hidden: Width of the two hidden layers.

    Example:
        >>> one = TruncatedMixture(3, (0.0, 2.0), 1.0)
        >>> grid = torch.linspace(0.0, 2.0, 2001)
        >>> with torch.no_grad():
        ...     total = one.log_prob(grid, torch.zeros(2001, 3)).exp().mean() * 2.0
        >>> round(float(total), 2)
        1.0
    """

    def __init__(
        self, inputs: int, interval: tuple[float, float], scale: float, *, parts: int = 4, hidden: int = 128
    ) -> None:
        super().__init__()
        self.middle, self.scale = 0.5 * sum(interval), scale
        self.low, self.high = ((end - self.middle) / scale for end in interval)
        self.net = perceptron(inputs, hidden, 3 * parts)

    def unit(self, value: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        r"""The number on the network's scale.

        Arguments:
            value: In its unit.
        """
        return (value - self.middle) / self.scale

    def log_prob(self, value: Float[Tensor, " M"], given: Float[Tensor, "M inputs"]) -> Float[Tensor, " M"]:
        r"""Log density per unit.

        Arguments:
            value: Numbers.
            given: What they depend on.
        """
        log_peak, mean, sd = self._bells(given)
        z = (self.unit(value)[:, None] - mean) / sd
        return torch.logsumexp(log_peak - 0.5 * z**2, -1)

    def log_sum(
        self, values: Float[Tensor, " H"], weights: Float[Tensor, " H"], given: Float[Tensor, "M inputs"]
    ) -> Float[Tensor, " M"]:
        r"""Logarithm of the weighted sum of the densities of several numbers.

        Arguments:
            values: Numbers, the same for every row of `given`.
            weights: Their weights.
            given: What they depend on.
        """
        log_peak, mean, sd = self._bells(given)
        z = (self.unit(values) - mean[..., None]) / sd[..., None]
        total = z.square_().mul_(-0.5).exp_() @ weights
        return torch.logsumexp(log_peak + total.clamp_min(_LEAST).log(), -1)

    def _bells(self, given: Float[Tensor, "M inputs"]) -> tuple[Tensor, Tensor, Tensor]:
        """Parts of the mixture: logarithms of their peaks per unit, means and standard deviations."""
        logits, mean, log_sd = _parts(self.net, given)
        sd = log_sd.exp()
        inside = torch.special.ndtr((self.high - mean) / sd) - torch.special.ndtr((self.low - mean) / sd)
        return logits - log_sd - _HALF_LOG_2PI - inside.clamp_min(1e-6).log() - math.log(self.scale), mean, sd


class NormalMixture(nn.Module):
    r"""Density of one number that is measured with a normal error: a mixture of normals, each widened by the error.

    Arguments:
        inputs: Length of what it depends on.
        middle: What is taken off the number.
        scale: What it is divided by then.
        parts: Parts of the mixture.
        hidden: Width of the two hidden layers.

    Example:
        >>> one = NormalMixture(3, 34.0, 5.0)
        >>> with torch.no_grad():
        ...     sure, unsure = (one.log_prob(torch.tensor([90.0]), torch.zeros(1, 3), error) for error in (0.0, 10.0))
        >>> bool(sure < unsure)
        True
    """

    def __init__(self, inputs: int, middle: float, scale: float, *, parts: int = 4, hidden: int = 128) -> None:
        super().__init__()
        self.middle, self.scale = middle, scale
        self.net = perceptron(inputs, hidden, 3 * parts)

    def log_prob(
        self, value: Float[Tensor, " M"], given: Float[Tensor, "M inputs"], error: float = 0.0
    ) -> Float[Tensor, " M"]:
        r"""Log density per unit, of the true number where the error is none.

        Arguments:
            value: Numbers as they were measured.
            given: What they depend on.
            error: Standard deviation of the error.
        """
        logits, mean, log_sd = _parts(self.net, given)
        variance = (2.0 * log_sd).exp() + (error / self.scale) ** 2
        squares = ((value[:, None] - self.middle) / self.scale - mean) ** 2 / variance
        return torch.logsumexp(logits - 0.5 * (squares + variance.log()) - _HALF_LOG_2PI, -1) - math.log(self.scale)


class PatientHeads(nn.Module):
    r"""The likelihoods.

    Arguments:
        dim: Number of coordinates of a draw: the window model's outputs, or what a pool shares that is told of.
        context: Length of the context vector.
        aorta: Whether there is one of the aortic root.
        beside: How many coordinates come before those outputs, for the aortic root alone.

    Example:
        >>> heads = PatientHeads(9, 64)
        >>> heads.log_weights(Patient(age=50.0), torch.zeros(5, 9), torch.zeros(64)).shape
        (5,)
    """

    def __init__(self, dim: int, context: int, *, aorta: bool = True, beside: int = 0) -> None:
        super().__init__()
        self.beside = beside
        self.age = TruncatedMixture(dim + context, AGE, _AGE_SCALE)
        self.height = TruncatedMixture(dim + context + 2, HEIGHT, _HEIGHT_SCALE)
        inputs = beside + dim + context + 6
        self.aorta = NormalMixture(inputs, _AORTA_MIDDLE, _AORTA_SCALE) if aorta else None

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor], dim: int, context: int) -> PatientHeads:
        r"""Likelihoods with weights; those of layers before diameters hold none of the aortic root.

        Arguments:
            state: Weights by name.
            dim: Number of coordinates of a draw.
            context: Length of the context vector.
        """
        first = state.get("aorta.net.0.weight")
        beside = 0 if first is None else first.shape[1] - dim - context - 6
        heads = cls(dim, context, aorta=first is not None, beside=beside)
        heads.load_state_dict(dict(state))
        return heads.eval()

    @property
    def root(self) -> NormalMixture:
        r"""The likelihood of the aortic root.

        Raises:
            ValueError: If there is none.
        """
        if self.aorta is None:
            raise ValueError("these likelihoods cannot use the diameter of the aortic root: they hold none of it")
        return self.aorta

    def lacks(self, patient: Patient) -> str:
        r"""What of that which is known of a patient these likelihoods cannot use, in words; empty where they can.

        Arguments:
            patient: What is known.
        """
        return "the diameter of the aortic root" if patient.aorta is not None and self.aorta is None else ""

    def with_age(self, given: Float[Tensor, "N c"], age: Float[Tensor, " N"] | None) -> Float[Tensor, "N c+2"]:
        r"""What the height depends on: also on the age, where that is known.

        Arguments:
            given: Draws and context.
            age: Ages [years], or None.
        """
        two = given.new_zeros(len(given), 2)
        if age is not None:
            two[:, 0], two[:, 1] = self.age.unit(age), 1.0
        return torch.cat((given, two), dim=-1)

    def with_person(
        self, given: Float[Tensor, "N c"], person: Float[Tensor, "N 3"], known: Bool[Tensor, "N 3"]
    ) -> Float[Tensor, "N c+6"]:
        r"""What the diameter of the aortic root depends on: also on age, height and sex, where they are known.

        Arguments:
            given: Draws and context.
            person: Ages [years], heights [m] and sexes (1 for male, -1 for female).
            known: Which of them are known; what is not is not looked at.
        """
        age, height, sex = person.unbind(-1)
        units = torch.stack((self.age.unit(age), self.height.unit(height), sex), -1)
        return torch.cat((given, torch.where(known, units, 0.0), known.to(given.dtype)), dim=-1)

    def loss(
        self, given: Float[Tensor, "N c"], told: Float[Tensor, "N 4"], known: Bool[Tensor, "N 3"]
    ) -> Float[Tensor, ""]:
        r"""Negative log density of ages, of heights with the age known and unknown alike, and of aortic roots [nats].

        Arguments:
            given: Draws and context.
            told: Ages [years], heights [m], sexes (1 for male, -1 for female) and diameters without error [mm].
            known: Which of age, height and sex are known where the root is told.
        """
        age, height, _, aorta = told.unbind(-1)
        own = given[:, self.beside :]
        with_age, without = (self.height.log_prob(height, self.with_age(own, one)) for one in (age, None))
        root = self.root.log_prob(aorta, self.with_person(given, told[:, :3], known))
        return -(self.age.log_prob(age, own) + 0.5 * (with_age + without) + root).mean()

    def held_out_loss(self, given: Float[Tensor, "N c"], told: Float[Tensor, "N 4"]) -> Float[Tensor, ""]:
        r"""The mean loss over all eight ways in which age, height and sex can be known [nats].

        Arguments:
            given: Draws and context.
            told: As for the loss.
        """
        ways = product((True, False), repeat=3)
        return torch.stack([self.loss(given, told, torch.tensor([way]).expand(len(told), 3)) for way in ways]).mean()

    def log_weights(
        self, patient: Patient, z: Float[Tensor, "N D"], context: Float[Tensor, " context"]
    ) -> Float[np.ndarray, " N"]:
        r"""Log likelihood of what is known of a patient, for each draw of a window's posterior.

        Arguments:
            patient: What is known.
            z: Standardised unconstrained outputs of the draws, after the coordinates for the root alone.
            context: Context vector of the window.
        """
        return self.log_weights_each([patient], z, context)[0]

    @torch.no_grad()
    def log_weights_each(
        self, patients: Sequence[Patient], z: Float[Tensor, "N D"], context: Float[Tensor, " context"]
    ) -> list[Float[np.ndarray, " N"]]:
        r"""The same of several patients; densities that they share are computed once.

        Arguments:
            patients: What is known, of each.
            z: Standardised unconstrained outputs of the draws, after the coordinates for the root alone.
            context: Context vector of the window.

        Raises:
            ValueError: If a diameter is known and there is no likelihood of it.
        """
        densities = _Densities(self, torch.cat((z, context.expand(len(z), -1)), dim=-1))
        return [densities.log_weights(one).double().numpy() for one in patients]


class _Densities:
    """Densities of what is known of patients, for each draw, each computed once."""

    def __init__(self, heads: PatientHeads, given: Float[Tensor, "N c"]) -> None:
        self.heads, self.whole, self.given = heads, given, given[:, heads.beside :]
        self._found: dict[tuple[object, ...], Tensor] = {}
        self._grid = torch.from_numpy(_HEIGHTS).float()

    def log_weights(self, patient: Patient) -> Float[Tensor, " N"]:
        age, height = patient.age, patient.height
        log = torch.zeros(len(self.given)) if age is None else self._once(self._age, age)
        if height is not None:
            log = log + self._once(self._height, height, age)  # sex and weight tell nothing that the height does not
        elif patient.sex is not None or patient.weight is not None:
            log = log + self._once(self._told_of_height, age, patient.sex, patient.weight)
        if patient.aorta is not None:
            log = log + self._once(self._root, patient.aorta, patient.aorta_error, age, height, patient.sex)
        return log

    def _once(self, density: Callable[..., Tensor], *values: float | str | None) -> Tensor:
        key = (density.__name__, *values)
        if key not in self._found:
            self._found[key] = density(*values)
        return self._found[key]

    def _full(self, value: float) -> Float[Tensor, " N"]:
        return torch.full((len(self.given),), float(value))

    def _with_age(self, age: float | None) -> Float[Tensor, "N c+2"]:
        return self.heads.with_age(self.given, None if age is None else self._full(age))

    def _age(self, age: float) -> Float[Tensor, " N"]:
        return self.heads.age.log_prob(self._full(age), self.given)

    def _height(self, height: float, age: float | None) -> Float[Tensor, " N"]:
        return self.heads.height.log_prob(self._full(height), self._with_age(age))

    def _told_of_height(self, age: float | None, sex: str | None, weight: float | None) -> Float[Tensor, " N"]:
        log = torch.from_numpy(Patient(sex=sex, weight=weight).log_given_height(_HEIGHTS))
        told = torch.logsumexp(log, 0)
        return self.heads.height.log_sum(self._grid, (log - told).exp().float(), self._with_age(age)) + float(told)

    def _root(
        self, aorta: float, error: float, age: float | None, height: float | None, sex: str | None
    ) -> Float[Tensor, " N"]:
        person = (age, height, None if sex is None else SEXES[sex])
        values = torch.tensor([[0.0 if one is None else one for one in person]]).expand(len(self.given), 3)
        known = torch.tensor([[one is not None for one in person]]).expand(len(self.given), 3)
        return self.heads.root.log_prob(self._full(aorta), self.heads.with_person(self.whole, values, known), error)
