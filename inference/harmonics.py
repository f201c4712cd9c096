r"""Harmonics of a periodic window: its rate to a part in ten thousand, and its coefficients by least squares.

The rate starts from the sum of the spectrum over five harmonics and is refined by the phase that each harmonic gains
from the first half of the window to the second. With the rate known, the coefficients of mean and harmonics are linear;
their least-squares estimate has all that a window of white noise tells about a steady beat, whatever its start: turned
by the phase of the first, they do not depend on where in a beat the window starts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .guess_centring import guess_size
from .harmonic_guess import HarmonicGuess

if TYPE_CHECKING:
    from .embedding import EmbeddingConfig

__all__ = ["HarmonicEmbedding", "fundamental", "harmonic_fit"]

_SLOWEST, _FASTEST, _SUMMED = 0.6, 2.6, 5  # [Hz], [Hz], harmonics
_HARMONICS = 12
_FARTHEST = 8.0  # standard deviations at which a feature ends
_ROWS, _SOME = 512, 8192


def fundamental(x: Float[Tensor, "N T"], fs: float) -> Float[Tensor, " N"]:
    r"""Rate of the beat in each window.

    Arguments:
        x: Windows of a few steady beats.
        fs: Sampling rate [Hz].

    Returns:
        Rate [Hz], between 36 and 156 /min.

    Example:
        >>> t = torch.arange(1000) / 125
        >>> wave = torch.cos(6.2832 * 1.25 * t) + 0.5 * torch.cos(6.2832 * 2.5 * t)
        >>> round(float(fundamental(wave[None], 125.0)[0]), 3)
        1.25
    """
    centred = x - x.mean(-1, keepdim=True)
    n = 16 * x.shape[-1]
    power = torch.fft.rfft(centred * torch.hann_window(x.shape[-1], periodic=False, device=x.device), n=n).abs()
    step = fs / n
    grid = torch.arange(math.ceil(_SLOWEST / step), math.floor(_FASTEST / step), device=x.device)
    total = sum(power[:, (k * grid).clamp(max=power.shape[1] - 1)] / k for k in range(1, _SUMMED + 1))
    odd = power[:, (grid // 2).clamp(min=1)] + power[:, 3 * grid // 2]  # what only half the rate explains
    rate = grid[(total - 0.5 * odd).argmax(-1)] * step
    half = x.shape[-1] // 2
    for _ in range(3):
        first, second = (
            harmonic_fit(part, rate, fs, 6)[1] for part in (centred[:, :half], centred[:, half : 2 * half])
        )
        k = torch.arange(1, 7, device=x.device)
        gained = second * first.conj() * torch.exp(-2j * math.pi * k * (rate * half / fs)[:, None])
        weight = (first.abs() * second.abs()) * k
        turn = torch.angle(gained).clamp(-1.2, 1.2)
        rate = rate + (weight * turn).sum(-1) / (weight * k).sum(-1).clamp_min(1e-9) * fs / (2 * math.pi * half)
    return rate


def harmonic_fit(
    x: Float[Tensor, "N T"], rate: Float[Tensor, " N"], fs: float, harmonics: int = _HARMONICS
) -> tuple[Float[Tensor, " N"], Tensor]:
    r"""Least-squares mean and coefficients of the harmonics of a known rate.

    Arguments:
        x: Windows.
        rate: Rate of each [Hz].
        fs: Sampling rate [Hz].
        harmonics: Number of harmonics K.

    Returns:
        Mean, and complex coefficients with shape (N, K): x is the mean plus twice the real part of their sum.

    Example:
        >>> t = torch.arange(1000) / 125
        >>> mean, c = harmonic_fit((90 + 20 * torch.cos(6.2831853 * 1.25 * t))[None], torch.tensor([1.25]), 125.0, 2)
        >>> round(float(mean[0])), round(float(c[0, 0].real))
        (90, 10)
    """
    time = torch.arange(x.shape[-1], device=x.device) / fs
    phase = 2 * math.pi * rate[:, None, None] * time * torch.arange(1, harmonics + 1, device=x.device)[:, None]
    rows = torch.cat([torch.ones_like(phase[:, :1]), phase.cos(), phase.sin()], 1)
    gram = rows @ rows.transpose(1, 2)
    gram = gram + 1e-4 * x.shape[-1] * torch.eye(gram.shape[-1], device=x.device)
    found = torch.linalg.solve(gram, rows @ x[:, :, None])[..., 0]
    return found[:, 0], torch.complex(0.5 * found[:, 1 : harmonics + 1], -0.5 * found[:, harmonics + 1 :])


class HarmonicEmbedding(nn.Module):
    r"""Dense network over rate, mean and harmonics of a steady beat, blind to where the window starts.

    With ``guess`` the context ends in a computed guess of the posterior, see
    [`HarmonicGuess`][pulsebayes.inference.harmonic_guess.HarmonicGuess].

    Arguments:
        config: Its shape; ``samples``, ``fs``, ``harmonics``, ``hidden``, ``context`` and ``guess`` are used.

    Example:
        >>> from pulsebayes.inference.embedding import EmbeddingConfig
        >>> HarmonicEmbedding(EmbeddingConfig("harmonic"))(90 + 20 * torch.randn(3, 1000)).shape
        torch.Size([3, 64])
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, config: EmbeddingConfig) -> None:
        super().__init__()
        self.config = config
        features, own = 3 + 2 * (config.harmonics - 1), config.context
        if config.guess:
            self.guess = HarmonicGuess(config.guess, config.harmonics, bool(config.law))
            features, own = features + guess_size(config.guess) + 1, own - guess_size(config.guess)
        self.register_buffer("shift", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.net = nn.Sequential(
            nn.Linear(features, config.hidden), nn.SiLU(),
            nn.Linear(config.hidden, config.hidden), nn.SiLU(),
            nn.Linear(config.hidden, own),
        )  # fmt: skip

    @torch.no_grad()
    def features(self, x: Float[Tensor, "N T"]) -> Float[Tensor, "N F"]:
        r"""Rate, mean, first harmonic and the others turned by its phase; then the guess.

        Arguments:
            x: Windows [mmHg].
        """
        beat = self.beat(x)
        return torch.cat((beat, self.guess.read(beat)), 1) if self.config.guess else beat

    def beat(self, x: Float[Tensor, "N T"]) -> Float[Tensor, "N F"]:
        r"""Rate, mean, first harmonic and the others turned by its phase.

        Arguments:
            x: Windows [mmHg].
        """
        rate = fundamental(x, self.config.fs)
        mean, c = harmonic_fit(x, rate, self.config.fs, self.config.harmonics)
        unit = c[:, :1] / c[:, :1].abs().clamp_min(1e-6)
        k = torch.arange(2, self.config.harmonics + 1, device=x.device)
        turned = c[:, 1:] * torch.exp(-1j * k * torch.angle(unit))
        return torch.cat([rate.log()[:, None], mean[:, None], c[:, :1].abs(), turned.real, turned.imag], 1)

    def fit(self, x: Float[Tensor, "N T"]) -> None:
        r"""Sets centre and spread of the features from a first batch.

        Arguments:
            x: Windows [mmHg].
        """
        values = self.features(x)
        self.shift.copy_(values.mean(0))
        self.scale.copy_(values.std(0).clamp_min(1e-6))

    @torch.no_grad()
    def fit_guess(
        self, x: Float[Tensor, "N T"], u: Float[Tensor, "N D"], mean: Float[Tensor, " D"], sd: Float[Tensor, " D"],
        clean: Iterable[tuple[Tensor, Tensor]] = (),
    ) -> None:  # fmt: skip
        r"""Fits the guess to training rows, and sets centre and spread of all features.

        Arguments:
            x: Windows [mmHg].
            u: Standardised unconstrained outputs of the same rows.
            mean: Mean of the unconstrained outputs.
            sd: Their standard deviation.
            clean: Blocks of outputs and windows without noise of other rows, which the emulator is then fitted to.
        """
        beats = self._beats(x)
        read = [(own_u, self._beats(own)) for own_u, own in clean]
        pairs = (torch.cat([part for part, _ in read]), torch.cat([part for _, part in read])) if read else None
        self.guess.fit(u, beats, mean, sd, pairs)
        some = beats[-_SOME:]
        values = torch.cat((some, self.guess.read(some)), 1)
        self.shift.copy_(values.mean(0))
        self.scale.copy_(values.std(0).clamp_min(1e-6))

    def _beats(self, x: Tensor) -> Tensor:
        return torch.cat([self.beat(part) for part in x.split(_ROWS)])  # type: ignore[no-untyped-call]

    def forward(self, x: Float[Tensor, "N T"], low_precision: bool = False) -> Float[Tensor, "N context"]:
        r"""Embeds windows.

        Arguments:
            x: Windows [mmHg], T samples each, or the features of each where they were computed before.
            low_precision: Not used: this embedding is always float32.

        Raises:
            ValueError: If the windows have another length.
        """
        if x.ndim != 2 or x.shape[-1] not in (self.config.samples, len(self.shift)):
            raise ValueError(f"x must have shape (N, {self.config.samples}), got {tuple(x.shape)}")
        known = x if x.shape[-1] == len(self.shift) else self.features(x)
        unit = (known - self.shift) / self.scale
        unit = unit.clamp(-_FARTHEST, _FARTHEST)
        own: Tensor = self.net(unit)
        return torch.cat((own, unit[:, self._of_guess]), 1) if self.config.guess else own

    @property
    def _of_guess(self) -> slice:
        """Where the guess stands among the features; the misfit comes after it."""
        return slice(1 + 2 * self.config.harmonics, -1)
