r"""A guess of the posterior from the harmonics of a steady beat: mode, spread and bend, which a flow starts from.

Where many harmonics are seen through little noise, a posterior is a thin, bent sheet, which a network that reads the
harmonics finds only to a fraction of its own width. Here an [`Emulator`][pulsebayes.inference.emulator.Emulator] $f$,
fitted to the training rows, predicts the mean and harmonics of a beat from its rate and outputs. With features $y$,

$$
y = f(v) + \epsilon, \qquad \operatorname{Cov} \epsilon = \operatorname{diag}(s^2) + \gamma^2 y y^\top
+ \tau^2 q q^\top ,
$$

$s$ noise, offset and error of the emulator, $\gamma$ the gain, $q$ what a turn of the first harmonic's phase does to
the others, $v$ the outputs on a bounded scale of unit variance. Gauss-Newton steps, at first with the noise
thirty-fold so that phases do not wind, lead to the mode; curvature there gives a covariance; second and third
differences of $f$ along its axes say how the sheet bends. All of it is computed, nothing of it is learned with the
flow.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .emulator import Emulator
from .guess_centring import bend_places, bounded, unbounded

__all__ = ["HarmonicGuess"]

_NOISES = (30.0, 10.0, 4.0, 2.0, 1.0, 1.0, 1.0)  # times the noise, step by step
_LONGEST, _FARTHEST = 1.5, 3.2  # of a step and from the prior's mean, in its standard deviations
_APART = 1.5  # standard deviations between the places of differences
_BLOCK = 2048
_EPOCHS = 60
_HELD = 0.08  # share of the rows that the noise is measured on
_TYPICAL = 0.98  # share of the rows that count for that
_SOME = 4096


class HarmonicGuess(nn.Module):
    r"""Guesses the posterior of outputs from features of a beat.

    Arguments:
        dim: Number of outputs D.
        harmonics: Number of harmonics K; features are the log rate, the mean, the first harmonic's amplitude, and real
            and imaginary parts of the others, turned by the first one's phase.

    Example:
        >>> guess = HarmonicGuess(2, 4)
        >>> guess.read(torch.rand(3, 9)).shape
        torch.Size([3, 8])
    """

    rate: Tensor
    place: Tensor
    rotation: Tensor
    variance: Tensor
    gain: Tensor
    turn: Tensor

    def __init__(self, dim: int, harmonics: int) -> None:
        super().__init__()
        self.dim, self.harmonics = dim, harmonics
        features = 2 * harmonics
        self.emulator = Emulator(1 + dim, features)
        self.register_buffer("rate", torch.tensor([0.0, 1.0]))
        self.register_buffer("place", torch.tensor([[0.0, 1.0, 0.5, 0.25]]).repeat(dim, 1).double())
        self.register_buffer("rotation", torch.eye(dim).double())
        self.register_buffer("variance", torch.ones(features).double())
        self.register_buffer("gain", torch.zeros(()).double())
        self.register_buffer("turn", torch.zeros(()).double())

    def fit(
        self, u: Float[Tensor, "N D"], known: Float[Tensor, "N F"], mean: Float[Tensor, " D"], sd: Float[Tensor, " D"]
    ) -> None:
        r"""Fits the emulator and measures noise, gain and the typical posterior.

        Arguments:
            u: Standardised unconstrained outputs.
            known: Features of the same rows.
            mean: Mean of the unconstrained outputs.
            sd: Their standard deviation.
        """
        share = torch.sigmoid(u.double() * sd + mean)
        spread = torch.stack((mean, sd, share.mean(0), share.std(0)), 1)
        self.place.copy_(spread)
        self.rate.copy_(torch.stack((known[:, 0].mean(), known[:, 0].std())))
        v, y = bounded(u.double(), self.place), known[:, 1:].double()
        held = max(1, int(_HELD * len(u)))
        unit = torch.full((y.shape[1],), float(y[:, 1].std()) / 100, dtype=torch.float64)
        unit[0] = 0.1 * y[:, 0].std()
        x = torch.cat((self._rate(known)[:, None], v), 1)
        self.emulator.fit(x[:-held], y[:-held], unit, epochs=_EPOCHS)
        self._measure(x[-held:], y[-held:])
        some = known[-_SOME:].double()
        centre, precision, _ = self._mode(some)
        width = self._covariance(centre, precision)
        values, axes = torch.linalg.eigh(width)
        typical = ((axes * values.log()[:, None]) @ axes.transpose(1, 2)).mean(0)
        self.rotation.copy_(torch.linalg.eigh(typical)[1].T.flip(0))

    def read(self, known: Float[Tensor, "N F"]) -> Float[Tensor, "N G"]:
        r"""Mode, log widths, slants and bends of the posterior, then the misfit at the mode.

        Arguments:
            known: Features of windows.
        """
        return torch.cat([self._read(part.double()) for part in known.split(_BLOCK)]).to(known.dtype)  # type: ignore[no-untyped-call]

    def _read(self, known: Tensor) -> Tensor:
        mode, precision, misfit = self._mode(known)
        width = self.rotation @ self._covariance(mode, precision) @ self.rotation.T
        factor = torch.linalg.cholesky(width)
        diagonal = factor.diagonal(dim1=1, dim2=2)
        low = torch.tril_indices(self.dim, self.dim, -1)
        slant = (factor / diagonal[:, :, None])[:, low[0], low[1]]
        bends = self._bends(known, mode, self.rotation.T @ factor)
        return torch.cat((unbounded(mode, self.place)[0], diagonal.log(), slant, bends, misfit[:, None]), 1)

    def _rate(self, known: Tensor) -> Tensor:
        return ((known[:, 0] - self.rate[0]) / self.rate[1]).double()

    def _emulated(self, known: Tensor, v: Tensor, wanted: int = 0) -> tuple[Tensor, Tensor]:
        values, slopes = self.emulator(torch.cat((self._rate(known)[:, None], v), 1), wanted)
        return values, slopes

    def _turned(self, y: Tensor) -> Tensor:
        """What a turn of the first harmonic by one mmHg does to the others."""
        k, order = self.harmonics, torch.arange(2, self.harmonics + 1, dtype=y.dtype, device=y.device)
        real, imaginary = y[:, 2 : k + 1], y[:, k + 1 :]
        still = torch.zeros_like(y[:, :2])
        return torch.cat((still, -order * imaginary, order * real), 1) / y[:, 1:2].clamp_min(1e-3)

    def _root(self, y: Tensor, larger: float) -> Tensor:
        """Lower triangular factor of the covariance of the features' noise."""
        variance = torch.cat((self.variance[:1], self.variance[1:] * larger**2))
        turned = self._turned(y)
        gain, turn = self.gain**2 * y[:, :, None] * y[:, None], self.turn**2 * turned[:, :, None] * turned[:, None]
        root: Tensor = torch.linalg.cholesky(torch.diag(variance) + gain + turn)
        return root

    def _measure(self, x: Tensor, y: Tensor) -> None:
        """Noise, gain and turn from rows that the emulator was not fitted to."""
        off = y - self.emulator(x, 0)[0]
        rows = torch.stack((y, self._turned(y)), 2)[:, 1:]
        found = torch.linalg.lstsq(rows, off[:, 1:, None]).solution
        left = off[:, 1:] - (rows @ found)[:, :, 0]
        count = max(1, int(_TYPICAL * len(y)))
        squares = torch.cat((off[:, :1], left), 1).square().sort(0).values[:count].mean(0)
        self.gain.copy_(1.4826 * found[:, 0, 0].abs().median())
        self.turn.copy_(1.4826 * found[:, 1, 0].abs().median())
        squares[0] = (squares[0] - (self.gain * y[:, 0].mean()) ** 2).clamp_min(0.1 * squares[0])
        self.variance.copy_(squares.clamp_min(1e-12))

    def _mode(self, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mode on the bounded scale, precision there, and half the log of the misfit."""
        y, v = known[:, 1:], torch.zeros(len(known), self.dim, dtype=torch.float64, device=known.device)
        one = torch.eye(self.dim, dtype=torch.float64, device=known.device)
        for larger in _NOISES:
            root = self._root(y, larger)
            value, slopes = self._emulated(known, v, self.dim)
            off, pull = self._whitened(root, y - value)[:, :, 0], self._whitened(root, slopes)
            precision = pull.transpose(1, 2) @ pull + one
            step = torch.linalg.solve(precision, (pull.transpose(1, 2) @ off[:, :, None])[:, :, 0] - v)
            length = step.abs().amax(1, keepdim=True).clamp_min(1e-12)
            v = (v + step * (_LONGEST / length).clamp(max=1.0)).clamp(-_FARTHEST, _FARTHEST)
        value, slopes = self._emulated(known, v, self.dim)
        off, pull = self._whitened(root, y - value)[:, :, 0], self._whitened(root, slopes)
        return v, pull.transpose(1, 2) @ pull + one, 0.5 * off.square().sum(1).log1p()

    def _nearby(self, v: Tensor, centre: Tensor, n: Tensor) -> Tensor:
        """Bounded scale from the flow's, the two of which differ by little and slowly."""
        there = v + n - centre
        for _ in range(4):
            there = (there + n - unbounded(there, self.place)[0]).clamp(-_FARTHEST, _FARTHEST)
        return there

    @staticmethod
    def _whitened(root: Tensor, off: Tensor) -> Tensor:
        right = off if off.ndim == 3 else off[:, :, None]
        solution: Tensor = torch.linalg.solve_triangular(root, right, upper=False)
        return solution

    def _covariance(self, v: Tensor, precision: Tensor) -> Tensor:
        """Covariance on the unbounded scale of the flow."""
        slope = unbounded(v, self.place)[1]
        found = torch.linalg.inv(precision) * slope[:, :, None] * slope[:, None]
        covariance: Tensor = 0.5 * (found + found.transpose(1, 2))
        return covariance

    def _bends(self, known: Tensor, v: Tensor, axes: Tensor) -> Tensor:
        """How far each axis moves with squares, cubes and products of the coordinates of wider ones."""
        root, centre = self._root(known[:, 1:], 1.0), unbounded(v, self.place)[0]
        value, slopes = self._emulated(known, v, self.dim)
        scaled = axes / unbounded(v, self.place)[1][:, :, None]
        pull = self._whitened(root, slopes @ scaled)

        def off(*along: tuple[int, float]) -> Tensor:
            step = torch.zeros(self.dim, dtype=torch.float64, device=v.device)
            for axis, far in along:
                step[axis] = far
            there = self._nearby(v, centre, centre + axes @ step)
            moved = self._whitened(root, self._emulated(known, there)[0] - value)
            found = pull.transpose(1, 2) @ moved + scaled.transpose(1, 2) @ (there - v)[:, :, None]
            return (found[:, :, 0] - step).clamp(-20.0, 20.0)

        wide = range(self.dim - 1)
        up, down = [off((i, _APART)) for i in wide], [off((i, -_APART)) for i in wide]
        even = [(up[i] + down[i]) / (2 * _APART**2) for i in wide]
        odd = [(up[i] - down[i]) / (2 * _APART**3) for i in wide]
        mixed = [
            (off((i, _APART), (j, _APART)) - up[i] - up[j]) / _APART**2 for i in wide for j in wide if j > i
        ]  # fmt: skip
        every = torch.stack((*even, *odd, *mixed), 1).clamp(-3.0, 3.0)
        term, axis = bend_places(self.dim)
        return every[:, term, axis]
