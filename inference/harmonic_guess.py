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

from .clinical_law import PRESSURE, SPEED, ClinicalLaw
from .emulator import Emulator
from .guess_centring import bend_places, bounded, unbounded

__all__ = ["HarmonicGuess"]

_NOISES = (30.0, 10.0, 4.0, 2.0, 1.0, 1.0, 1.0)  # times the noise, step by step
_LONGEST, _FARTHEST = 1.5, 3.2  # of a step and from the prior's mean, in its standard deviations
_APART = 1.5  # standard deviations between the places of differences
_BLOCK = 2048
_EPOCHS, _NOISY_EPOCHS, _WIDTH = 100, 25, 256  # of the emulator
_HELD = 0.08  # share of the rows that the noise is measured on
_TYPICAL = 0.98  # share of the rows that count for that
_SOME = 4096


class HarmonicGuess(nn.Module):
    r"""Guesses the posterior of outputs from features of a beat.

    Arguments:
        dim: Number of outputs D.
        harmonics: Number of harmonics K; features are the log rate, the mean, the first harmonic's amplitude, and real
            and imaginary parts of the others, turned by the first one's phase.
        law: Whether the emulator reads what the outputs stand for, see
            [`ClinicalLaw`][pulsebayes.inference.clinical_law.ClinicalLaw].

    Example:
        >>> guess = HarmonicGuess(2, 4)
        >>> guess.read(torch.rand(3, 9)).shape
        torch.Size([3, 8])
    """

    span: Tensor
    rate: Tensor
    place: Tensor
    rotation: Tensor
    variance: Tensor
    gain: Tensor
    turn: Tensor

    def __init__(self, dim: int, harmonics: int, law: bool = False) -> None:
        super().__init__()
        self.dim, self.harmonics = dim, harmonics
        features = 2 * harmonics
        self.emulator = Emulator(1 + dim, features, _WIDTH) if law else Emulator(1 + dim, features)
        self.law = ClinicalLaw() if law else None
        if law:
            self.register_buffer("span", torch.tensor([[0.0], [1.0]]).repeat(1, dim).double())
        self.register_buffer("rate", torch.tensor([0.0, 1.0]))
        self.register_buffer("place", torch.tensor([[0.0, 1.0, 0.5, 0.25]]).repeat(dim, 1).double())
        self.register_buffer("rotation", torch.eye(dim).double())
        self.register_buffer("variance", torch.ones(features).double())
        self.register_buffer("gain", torch.zeros(()).double())
        self.register_buffer("turn", torch.zeros(()).double())

    def fit(
        self, u: Float[Tensor, "N D"], known: Float[Tensor, "N F"], mean: Float[Tensor, " D"], sd: Float[Tensor, " D"],
        clean: tuple[Float[Tensor, "M D"], Float[Tensor, "M F"]] | None = None,
    ) -> None:  # fmt: skip
        r"""Fits the emulator and measures noise, gain and the typical posterior.

        Arguments:
            u: Standardised unconstrained outputs.
            known: Features of the same rows.
            mean: Mean of the unconstrained outputs.
            sd: Their standard deviation.
            clean: Outputs and features without noise of other rows, which the emulator is then fitted to; None where
                it is fitted to the first of these.
        """
        held = len(u) if clean else max(1, int(_HELD * len(u)))
        own_u, own = clean or (u[:-held], known[:-held])
        every = torch.cat((own_u, u[-held:])).double() if clean else u.double()
        share = torch.sigmoid(every * sd + mean)
        self.place.copy_(torch.stack((mean, sd, share.mean(0), share.std(0)), 1))
        self.rate.copy_(torch.stack((own[:, 0].mean(), own[:, 0].std())))
        if self.law is not None:
            self.law.fit()
            found = self._read_law(self.law, own, self._straight(bounded(own_u.double(), self.place)))[0]
            self.span.copy_(torch.stack((found.mean(0), found.std(0))))
        y = own[:, 1:].double()
        unit = torch.full((y.shape[1],), float(y[:, 1].std()) / 100, dtype=torch.float64)
        unit[0] = 0.1 * y[:, 0].std()
        self.emulator.fit(
            self._inputs(own, bounded(own_u.double(), self.place)), y, unit, epochs=_EPOCHS if clean else _NOISY_EPOCHS
        )
        last = known[-held:]
        self._measure(self._inputs(last, bounded(u[-held:].double(), self.place)), last[:, 1:].double())
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
        return torch.cat((self._coordinates(mode), diagonal.log(), slant, bends, misfit[:, None]), 1)

    def _rate(self, known: Tensor) -> Tensor:
        return ((known[:, 0] - self.rate[0]) / self.rate[1]).double()

    def _inputs(self, known: Tensor, v: Tensor) -> Tensor:
        """Inputs of the emulator from outputs on the bounded scale."""
        if self.law is None:
            return torch.cat((self._rate(known)[:, None], v), 1)
        found = self._read_law(self.law, known, self._straight(v))[0]
        return torch.cat((self._rate(known)[:, None], (found - self.span[0]) / self.span[1]), 1)

    def _read_law(self, law: ClinicalLaw, known: Tensor, straight: Tensor) -> tuple[Tensor, Tensor]:
        """What straight coordinates stand for, with slopes."""
        places = straight * self.place[:, 3] + self.place[:, 2]
        found, slopes = law.inputs(60 * known[:, 0].double().exp(), places)
        return found, slopes * self.place[:, 3]

    def _emulated(self, known: Tensor, straight: Tensor, wanted: int = 0) -> tuple[Tensor, Tensor]:
        """Features at straight coordinates, and their slopes."""
        rate = self._rate(known)[:, None]
        if self.law is None:
            values, slopes = self.emulator(torch.cat((rate, straight), 1), wanted)
            return values, slopes
        found, turned = self._read_law(self.law, known, straight)
        x = torch.cat((rate, (found - self.span[0]) / self.span[1]), 1)
        values, slopes = self.emulator(x.float(), wanted)  # its error is far above that of float32
        return values, (slopes @ (turned / self.span[1][:, None]) if wanted else slopes)

    def _risen(self, law: ClinicalLaw, v: Tensor) -> tuple[Tensor, Tensor]:
        """What mean pressure adds to the coordinate of the wave speed, and the slope of that."""
        own, speed = self.place[PRESSURE], self.place[SPEED]
        found, slope = law.shift(v[:, PRESSURE] * own[3] + own[2])
        return found / speed[3], slope * own[3] / speed[3]

    def _straight(self, v: Tensor, sign: int = 1) -> Tensor:
        """Straight coordinates from the bounded scale, or with a sign of -1 the other way."""
        if self.law is None:
            return v
        moved = v.clone()
        moved[:, SPEED] += sign * self._risen(self.law, v)[0]
        return moved

    def _back(self, straight: Tensor) -> tuple[Tensor, Tensor]:
        """Bounded scale from straight coordinates, and its slopes."""
        slopes = torch.eye(self.dim, dtype=straight.dtype, device=straight.device).repeat(len(straight), 1, 1)
        if self.law is not None:
            slopes[:, SPEED, PRESSURE] = -self._risen(self.law, straight)[1]
        return self._straight(straight, -1), slopes

    def _coordinates(self, straight: Tensor) -> Tensor:
        """The flow's coordinates from straight ones: both differ by a part without limit, little and slowly."""
        v = self._straight(straight, -1)
        return straight + unbounded(v, self.place)[0] - v

    def _coordinate_slopes(self, straight: Tensor) -> Tensor:
        v, slopes = self._back(straight)
        one = torch.eye(self.dim, dtype=v.dtype, device=v.device)
        return one + (unbounded(v, self.place)[1] - 1)[:, :, None] * slopes

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
        off = torch.cat([part - self.emulator(own, 0)[0] for own, part in zip(x.split(_BLOCK), y.split(_BLOCK))])  # type: ignore[no-untyped-call]
        rows = torch.stack((y, self._turned(y)), 2)[:, 1:]
        found = torch.linalg.lstsq(rows, off[:, 1:, None]).solution
        left = off[:, 1:] - (rows @ found)[:, :, 0]
        count = max(1, int(_TYPICAL * len(y)))
        squares = torch.cat((off[:, :1], left), 1).square().sort(0).values[:count].mean(0)
        self.gain.copy_(1.4826 * found[:, 0, 0].abs().median())
        self.turn.copy_(1.4826 * found[:, 1, 0].abs().median())
        squares[0] = (squares[0] - (self.gain * y[:, 0].mean()) ** 2).clamp_min(0.1 * squares[0])
        self.variance.copy_(squares.clamp_min(1e-12))
        if self.law is not None:
            self._sharpen(y, off)

    def _sharpen(self, y: Tensor, off: Tensor) -> None:
        """Noise, gain and turn by likelihood, of the rows that these leave possible."""
        for _ in range(2):
            lost = self._whitened(self._root(y, 1.0), off)[:, :, 0].square().sum(1)
            kept = lost < 2.5 * y.shape[1]
            start = torch.cat((self.variance, self.gain[None] ** 2, self.turn[None] ** 2)).clamp_min(1e-12).log()
            found = _most_likely(y[kept], off[kept], self._turned(y[kept]), start).exp()
            self.variance.copy_(found[:-2])
            self.gain.copy_(found[-2].sqrt())
            self.turn.copy_(found[-1].sqrt())

    def _mode(self, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mode in straight coordinates, precision there, and half the log of the misfit."""
        y, v = known[:, 1:], torch.zeros(len(known), self.dim, dtype=torch.float64, device=known.device)
        straight = self._straight(v)
        for larger in _NOISES:
            root = self._root(y, larger)
            off, pull, prior, turned = self._pulls(known, straight, root)
            precision = pull.transpose(1, 2) @ pull + turned.transpose(1, 2) @ turned
            drawn = pull.transpose(1, 2) @ off[:, :, None] - turned.transpose(1, 2) @ prior[:, :, None]
            step = torch.linalg.solve(precision, drawn)[:, :, 0]
            length = step.abs().amax(1, keepdim=True).clamp_min(1e-12)
            there = straight + step * (_LONGEST / length).clamp(max=1.0)
            straight = self._straight(self._straight(there, -1).clamp(-_FARTHEST, _FARTHEST))
        off, pull, _, turned = self._pulls(known, straight, root)
        precision = pull.transpose(1, 2) @ pull + turned.transpose(1, 2) @ turned
        return straight, precision, 0.5 * off.square().sum(1).log1p()

    def _pulls(self, known: Tensor, straight: Tensor, root: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Misfit and its slopes in units of the noise, then the same of the prior."""
        value, slopes = self._emulated(known, straight, self.dim)
        off, pull = self._whitened(root, known[:, 1:] - value)[:, :, 0], self._whitened(root, slopes)
        return off, pull, *self._back(straight)

    def _nearby(self, straight: Tensor, centre: Tensor, n: Tensor) -> Tensor:
        """Straight coordinates from the flow's."""
        there = straight + n - centre
        for _ in range(4):
            there = there + n - self._coordinates(there)
            there = self._straight(self._straight(there, -1).clamp(-_FARTHEST, _FARTHEST))
        return there

    @staticmethod
    def _whitened(root: Tensor, off: Tensor) -> Tensor:
        right = off if off.ndim == 3 else off[:, :, None]
        solution: Tensor = torch.linalg.solve_triangular(root, right, upper=False)
        return solution

    def _covariance(self, straight: Tensor, precision: Tensor) -> Tensor:
        """Covariance in the coordinates of the flow."""
        slope = self._coordinate_slopes(straight)
        found = slope @ torch.linalg.inv(precision) @ slope.transpose(1, 2)
        covariance: Tensor = 0.5 * (found + found.transpose(1, 2))
        return covariance

    def _bends(self, known: Tensor, straight: Tensor, axes: Tensor) -> Tensor:
        """How far each axis moves with squares, cubes and products of the coordinates of wider ones."""
        root, centre = self._root(known[:, 1:], 1.0), self._coordinates(straight)
        value, slopes = self._emulated(known, straight, self.dim)
        v, turned = self._back(straight)
        scaled = torch.linalg.solve(self._coordinate_slopes(straight), axes)
        pull = self._whitened(root, slopes @ scaled)
        bound = turned @ scaled

        def off(*along: tuple[int, float]) -> Tensor:
            step = torch.zeros(self.dim, dtype=torch.float64, device=v.device)
            for axis, far in along:
                step[axis] = far
            there = self._nearby(straight, centre, centre + axes @ step)
            moved = self._whitened(root, self._emulated(known, there)[0] - value)
            away = (self._straight(there, -1) - v)[:, :, None]
            found = pull.transpose(1, 2) @ moved + bound.transpose(1, 2) @ away
            return (found[:, :, 0] - step).clamp(-20.0, 20.0)  # type: ignore[no-any-return]

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


def _most_likely(y: Tensor, off: Tensor, turned: Tensor, start: Tensor) -> Tensor:
    """Logarithms of the variances of features, gain and turn under which errors are the likeliest."""
    logs = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([logs], max_iter=40, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        own = logs.exp()
        wide = own[-2] * y[:, :, None] * y[:, None] + own[-1] * turned[:, :, None] * turned[:, None]
        root = torch.linalg.cholesky(torch.diag(own[:-2]) + wide)
        white = torch.linalg.solve_triangular(root, off[:, :, None], upper=False)
        total = root.diagonal(dim1=1, dim2=2).log().sum(1).mean() + 0.5 * white.square().sum((1, 2)).mean()
        total.backward()
        return total  # type: ignore[no-any-return]

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    return logs.detach()
