r"""First step of a flow that starts from a computed guess of the posterior: a bent normal law about its mode.

A standardised unconstrained output $u$ grows without limit near the bounds of its interval, where its parameter hardly
changes. So the guess is made of $n(u) = v(u) + 0.02\,u$, with $v$ the share of the interval that lies below, centred
and scaled. With mode $m$, rotation $R$, lower triangular $L$ and bend $h$,

$$
w = L^{-1} R\,(n(u) - m), \qquad t_i = 2 \sinh^{-1} \tfrac12 \big(w_i + h_i(w_1, \dots, w_{i-1})\big),
$$

$h_i$ a polynomial without constant and linear term: a bijection whatever its coefficients are, which come from
[`HarmonicGuess`][pulsebayes.inference.harmonic_guess.HarmonicGuess]. The inverse hyperbolic sine leaves what is near
alone and brings in what is far: a guess that is wrong by many of its widths has a price, not a veto.
"""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Transform, constraints

from .clinical_law import PRESSURE, SPEED, ClinicalLaw

__all__ = ["GuessCentring", "bend_places", "bounded", "guess_size", "solved", "unbounded"]

_SLOPE = 0.02  # of the part that grows without limit
_WIDEST = 4.0  # standard deviations at which a bend ends
_HALVINGS = 45
_TAIL = 0.5  # inverse distance from which tails are drawn in


def bounded(u: Float[Tensor, "*batch D"], place: Float[Tensor, "D 4"]) -> Float[Tensor, "*batch D"]:
    r"""Centred share of its interval that lies below each output.

    Arguments:
        u: Standardised unconstrained outputs.
        place: Mean and standard deviation of unconstrained outputs, then of the shares.

    Example:
        >>> bounded(torch.zeros(1, 1), torch.tensor([[0.0, 1.0, 0.5, 0.25]])).tolist()
        [[0.0]]
    """
    return (torch.sigmoid(u * place[:, 1] + place[:, 0]) - place[:, 2]) / place[:, 3]


def unbounded(v: Float[Tensor, "*batch D"], place: Float[Tensor, "D 4"]) -> tuple[Tensor, Tensor]:
    r"""The coordinate that a guess is made of, and its slope, from the centred share.

    Arguments:
        v: Centred shares; those at the ends of the interval count as just inside.
        place: See ``bounded``.

    Example:
        >>> [float(part) for part in unbounded(torch.zeros(1), torch.tensor([[0.0, 1.0, 0.5, 0.25]]))]
        [0.0, 1.0199999809265137]
    """
    share = (v * place[:, 3] + place[:, 2]).clamp(1e-6, 1 - 1e-6)
    u = (torch.logit(share) - place[:, 0]) / place[:, 1]
    return v + _SLOPE * u, 1 + _SLOPE * place[:, 3] / (place[:, 1] * share * (1 - share))


def solved(n: Float[Tensor, "*batch D"], place: Float[Tensor, "D 4"]) -> Float[Tensor, "*batch D"]:
    r"""Standardised unconstrained outputs from the coordinate that a guess is made of, by bisection.

    Arguments:
        n: The coordinate.
        place: See ``bounded``.

    Example:
        >>> place = torch.tensor([[0.0, 1.0, 0.5, 0.25]]).double()
        >>> abs(float(solved(torch.tensor([0.51]).double(), place))) > 0.4
        True
    """
    ends = torch.maximum(place[:, 2], 1 - place[:, 2]) / place[:, 3]
    reach = (n.abs() + ends) / _SLOPE
    low, high = -reach, reach
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        above = bounded(middle, place) + _SLOPE * middle > n
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return 0.5 * (low + high)


@cache
def bend_places(dim: int) -> tuple[list[int], list[int]]:
    r"""Term and axis of every coefficient of a bend: squares, cubes and products of coordinates before the axis.

    Arguments:
        dim: Number of outputs.

    Example:
        >>> bend_places(2)
        ([0, 1], [1, 1])
    """
    wide = range(dim - 1)
    last = [*wide, *wide, *(j for i in wide for j in wide if j > i)]
    found = [(term, axis) for term, most in enumerate(last) for axis in range(most + 1, dim)]
    return [term for term, _ in found], [axis for _, axis in found]


def guess_size(dim: int) -> int:
    r"""Length of a guess: mode, log widths, slants and bends.

    Arguments:
        dim: Number of outputs.

    Example:
        >>> guess_size(6)
        77
    """
    return 2 * dim + dim * (dim - 1) // 2 + len(bend_places(dim)[0])


class GuessCentring(nn.Module):
    r"""First step of a flow: outputs measured from a computed guess, which is the last part of the context.

    Arguments:
        dim: Number of outputs.
        law: Whether the wave speed is counted from nothing, see
            [`ClinicalLaw`][pulsebayes.inference.clinical_law.ClinicalLaw].

    Example:
        >>> step = GuessCentring(2)(torch.zeros(3, 9))
        >>> u = torch.randn(3, 2)
        >>> torch.allclose(step.inv(step(u)), u, atol=1e-5)
        True
    """

    place: Tensor
    rotation: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(self, dim: int, law: bool = False) -> None:
        super().__init__()
        self.dim = dim
        self.law = ClinicalLaw() if law else None
        self.register_buffer("place", torch.tensor([[0.0, 1.0, 0.5, 0.25]]).repeat(dim, 1).double())
        self.register_buffer("rotation", torch.eye(dim).double())
        self.register_buffer("shift", torch.zeros(guess_size(dim)))
        self.register_buffer("scale", torch.ones(guess_size(dim)))

    def fit(
        self, place: Tensor, rotation: Tensor, shift: Tensor, scale: Tensor, law: ClinicalLaw | None = None
    ) -> None:
        r"""Takes over the scales of a guess.

        Arguments:
            place: See ``bounded``.
            rotation: Typical axes of a posterior, the widest first.
            shift: Mean of each number of the guess.
            scale: Standard deviation of each.
            law: What the guess counts the wave speed by.
        """
        if self.law is not None and law is not None:
            self.law.load_state_dict(law.state_dict())
        for own, given in zip((self.place, self.rotation, self.shift, self.scale), (place, rotation, shift, scale)):
            own.copy_(given)

    def forward(self, context: Float[Tensor, "*batch context"]) -> Transform:
        r"""Gives the step of a context.

        Arguments:
            context: Contexts; the last part is the standardised guess.
        """
        guess = (context[..., -len(self.shift) :].detach() * self.scale + self.shift).double()
        return _Bent(guess, self.place, self.rotation, self.law)


class _Bent(Transform):
    """The step of one batch of contexts."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, guess: Tensor, place: Tensor, rotation: Tensor, law: ClinicalLaw | None) -> None:
        super().__init__()
        dim = len(place)
        low = torch.tril_indices(dim, dim, -1, device=guess.device)
        sizes = (dim, dim, low.shape[1], len(bend_places(dim)[0]))
        self.mode, self.log_widths, slant, bends = guess.split(sizes, -1)  # type: ignore[no-untyped-call]
        factor = torch.zeros(*guess.shape[:-1], dim, dim, dtype=guess.dtype, device=guess.device)
        factor[..., low[0], low[1]] = slant
        self.factor = (factor + torch.eye(dim, dtype=guess.dtype)) * self.log_widths.exp()[..., :, None]
        self.bends = bends
        self.place, self.rotation, self.law = place, rotation, law

    def _risen(self, law: ClinicalLaw, u: Tensor) -> Tensor:
        """What mean pressure adds to the coordinate of the wave speed, as a last column."""
        mean, sd = self.place[PRESSURE, 0], self.place[PRESSURE, 1]
        return law.shift(torch.sigmoid(u[..., PRESSURE : PRESSURE + 1] * sd + mean))[0] / self.place[SPEED, 3]

    def _call(self, x: Tensor) -> Tensor:
        n = bounded(x.double(), self.place) + _SLOPE * x
        if self.law is not None:
            n = torch.cat(
                (n[..., :SPEED], n[..., SPEED : SPEED + 1] + self._risen(self.law, x.double()), n[..., SPEED + 1 :]), -1
            )
        off = ((n - self.mode) @ self.rotation.T)[..., None]
        w = torch.linalg.solve_triangular(self.factor, off, upper=False)[..., 0]
        return (torch.asinh(_TAIL * (w + self._bend(w))) / _TAIL).to(x.dtype)

    def _inverse(self, y: Tensor) -> Tensor:
        t = torch.sinh(_TAIL * y.double()) / _TAIL
        w = t
        for axis in range(1, t.shape[-1]):
            w = torch.cat((w[..., :axis], (t - self._bend(w))[..., axis : axis + 1], t[..., axis + 1 :]), -1)
        n = self.mode + (self.factor @ w[..., None])[..., 0] @ self.rotation
        u = solved(n, self.place)
        if self.law is not None:
            level = n[..., SPEED : SPEED + 1] - self._risen(self.law, u)
            own = solved(level, self.place[SPEED : SPEED + 1])
            u = torch.cat((u[..., :SPEED], own, u[..., SPEED + 1 :]), -1)
        return u.to(y.dtype)

    def _bend(self, w: Tensor) -> Tensor:
        dim = w.shape[-1]
        near = w[..., :-1].clamp(-_WIDEST, _WIDEST)
        products = [near[..., i] * near[..., j] for i in range(dim - 1) for j in range(i + 1, dim - 1)]
        terms = torch.cat((near**2, near**3, *(p[..., None] for p in products)), -1)
        term, axis = bend_places(dim)
        total = torch.zeros_like(w)
        return total.index_add(-1, torch.tensor(axis, device=w.device), terms[..., term] * self.bends)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        share = torch.sigmoid(x.double() * self.place[:, 1] + self.place[:, 0])
        slope = _SLOPE + share * (1 - share) * self.place[:, 1] / self.place[:, 3]
        drawn_in = torch.cosh(_TAIL * y.double()).log()
        total: Tensor = (slope.log() - self.log_widths - drawn_in).sum(-1).to(x.dtype)
        return total
