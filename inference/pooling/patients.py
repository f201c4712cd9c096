r"""What is known of a patient as observations of what the windows of a pool share.

With $s$ the patient's compliance and wave speed at 90 mmHg and $g$ what the pool says of all that its windows share,

$$
p(s, \kappa, \dots \mid g, a, h, d) \propto
q(s, \kappa, \dots \mid g)\; [p(a \mid s, g)\; p(h \mid s, g, a)\; p(d \mid s, \kappa, g, a, h, \text{sex})]^\eta,
$$

so draws of what a pool shares are weighted once for all its windows, as references weight them, and through them every
window. The likelihoods of age $a$, height $h$ and aortic root $d$ are mixtures (``PatientHeads``), learned from pools
of simulated recordings with the truth of $s$, with noise on the windows as the flows learn with it. Shared errors of
the outputs are left out of $s$: a likelihood of all of them together is too sure of ages that it has not seen. Only the
root is told beside those of stroke volume and compliance, $\kappa$, of which it says more than of $s$. The
exponent $\eta$, at most 1, is the largest with which intervals hold what they say in pools of recordings that neither
course nor flows nor likelihoods learned from (``fit_exponent``): what is right of $s$ makes the draws of all that
depends on it too narrow, as they err in other things. A pool of one window is informed as that window is, by the
patient layer.

References:
    Power likelihoods: Holmes C.C., Walker S.G. (2017), Biometrika 104:497.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..patient.heads import KNOWN_SHARE, PatientHeads, persons
from ..patient.info import Patient
from .batches import PoolBatch, draw_batch, window_noise
from .network import SLOW, PoolContext, PooledNPE
from .pools import pool_of
from .stretching import RecordingTensors

__all__ = ["PoolPatientTraining", "PoolPatients", "pool_heads", "root_outputs", "train_pool_heads"]

_ROOT_OUTPUTS = ("SV", "C")
_AVERAGING = 0.99
_TOLD_EVERY = 250  # steps
_CHECKS = 60  # batches of held-out pools


@dataclass(frozen=True)
class PoolPatientTraining:
    r"""How the likelihoods of ages, heights and aortic roots in pools are trained.

    Arguments:
        steps: Steps.
        windows: Windows of all pools of a step together.
        rate: First learning rate; it falls to zero along a cosine.
        weight_decay: Decoupled weight decay.
        noise: Standard deviation of the noise on standardised context vectors; a fifth of it on the centres.
        patient_noise: The same, one for all windows of a pool.
        seed: Seed of weights, pools and noise.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> PoolPatientTraining(steps=10).rate
        0.002
    """

    steps: int = 1000
    windows: int = 2000
    rate: float = 2e-3
    weight_decay: float = 1e-2
    noise: float = 0.1
    patient_noise: float = 0.07
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.windows, self.rate) <= 0 or min(self.weight_decay, self.noise, self.patient_noise) < 0:
            raise ValueError(f"steps, windows and rate must be positive and no setting negative, got {self}")


@dataclass(frozen=True)
class PoolPatients:
    r"""Likelihoods of what is known of patients, in pools.

    Arguments:
        heads: Those of age, height and aortic root.
        exponent: What their logarithms are multiplied by.
        beside: Outputs by number beside whose shared errors the aortic root is told.

    Raises:
        ValueError: If the exponent is out of range, or likelihoods are of other outputs in number.

    Example:
        >>> from pulsebayes.inference.pooling.network import PoolingConfig
        >>> npe = PooledNPE(3, PoolingConfig(inputs=8, context=8))
        >>> known = PoolContext(*torch.zeros(5, 8))
        >>> PoolPatients(pool_heads(npe)).log_likelihoods([Patient(age=50.0)], torch.zeros(7, 5), known)[0].shape
        (7,)
    """

    heads: PatientHeads
    exponent: float = 1.0
    beside: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "beside", tuple(self.beside))
        if self.heads.beside != len(self.beside):
            raise ValueError(f"beside must name {self.heads.beside} outputs, as the likelihoods do, got {self.beside}")
        if not (isinstance(self.exponent, float | int) and 0.0 < self.exponent <= 1.0):
            raise ValueError(f"exponent must lie above 0 and be at most 1, got {self.exponent!r}")

    def to_json(self) -> dict[str, Any]:
        r"""What stands beside the weights, JSON-able."""
        return {"exponent": self.exponent, **({"beside": list(self.beside)} if self.beside else {})}

    def log_likelihoods(
        self, patients: Sequence[Patient], shared: Float[Tensor, "n S"], known: PoolContext
    ) -> list[Float[np.ndarray, " n"]]:
        r"""Log likelihood of what is known, for each draw of what a pool shares.

        Arguments:
            patients: What is known, of each.
            shared: Draws of what the pool shares, standardised.
            known: Context of one window of the pool.

        Returns:
            One array for each patient; draws are weighted by `exponent` times it, and whether they bear the patient is
            judged by it as it is.
        """
        return self.heads.log_weights_each(patients, _inputs(shared, self.beside), known.shared)


def _inputs(shared: Float[Tensor, "N S"], beside: Sequence[int]) -> Float[Tensor, "N c"]:
    """Those numbers of what a pool shares on which the likelihoods hang."""
    return torch.cat((shared[:, list(beside)], shared[:, -len(SLOW) :]), -1)


def root_outputs(names: Sequence[str]) -> tuple[int, ...]:
    r"""Outputs by number beside whose shared errors the aortic root is told: stroke volume and compliance.

    Arguments:
        names: Names of the window model's outputs.

    Example:
        >>> root_outputs(("HR", "SV", "LVET", "PWV", "C"))
        (1, 4)
    """
    return tuple(i for i, name in enumerate(names) if name in _ROOT_OUTPUTS)


def pool_heads(npe: PooledNPE, beside: Sequence[int] = ()) -> PatientHeads:
    r"""Untrained likelihoods of age, height and aortic root given what a pool shares.

    Arguments:
        npe: The patient-level estimator.
        beside: Outputs by number beside whose shared errors the aortic root is told.

    Example:
        >>> from pulsebayes.inference.pooling.network import PoolingConfig
        >>> pool_heads(PooledNPE(3, PoolingConfig(inputs=8, context=8))).age.net[0].in_features
        10
    """
    return PatientHeads(len(SLOW), npe.config.context, beside=len(beside))


def train_pool_heads(
    npe: PooledNPE,
    sets: Sequence[RecordingTensors],
    subjects: Sequence[Float[np.ndarray, "R 3"]],
    *,
    held: Sequence[int],
    config: PoolPatientTraining,
    beside: Sequence[int] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[PatientHeads, list[float]]:
    r"""Trains the likelihoods on random pools.

    Arguments:
        npe: The trained estimator; stays as it is.
        sets: Recordings.
        subjects: Ages [years], heights [m] and aortic roots on the mean of both sexes [mm] of their patients.
        held: Recordings of each set that are not trained on, the first ones.
        config: Settings.
        beside: Outputs by number beside whose shared errors the aortic root is told.
        tell: Told how far it came.

    Returns:
        The likelihoods with averaged weights, and the held-out loss now and then [nats].

    Raises:
        ValueError: If no recording is held out, or a set has none to learn from.

    Example:
        >>> train_pool_heads.__annotations__["held"]
        'Sequence[int]'
    """
    if not any(held) or any(n >= len(data.h) for n, data in zip(held, sets, strict=True)):
        sizes = [len(data.h) for data in sets]
        raise ValueError(f"held must leave recordings to learn from and some out, got {list(held)} of {sizes}")
    torch.manual_seed(config.seed)
    heads = pool_heads(npe, beside)
    told = [persons(one, np.random.default_rng([config.seed, i, 1])) for i, one in enumerate(subjects)]
    average = copy.deepcopy(heads)
    optimiser = torch.optim.AdamW(heads.parameters(), lr=config.rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps)
    checks = _checks(npe, sets, told, held, config, beside)
    history, train = list[float](), [slice(n, None) for n in held]
    for step in range(config.steps):
        rng = np.random.default_rng([config.seed, step])
        given, who = _rows(npe, draw_batch(rng, sets, train, config.windows), told, rng, config, beside)
        loss = heads.loss(given, who, torch.rand(len(who), 3) < KNOWN_SHARE)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        decay = min(_AVERAGING, (1 + step) / (10 + step))
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), heads.parameters(), strict=True):
                slow.lerp_(fast, 1 - decay)
        if (step + 1) % _TOLD_EVERY == 0 or step + 1 == config.steps:
            with torch.no_grad():
                history.append(round(float(np.mean([float(average.held_out_loss(*rows)) for rows in checks])), 4))
            tell(f"step {step + 1}: loss {float(loss.detach()):.4f}, held out {history[-1]:.4f}")
    return average.eval(), history


_Rows = tuple[Float[Tensor, "B c"], Float[Tensor, "B 4"]]


def _checks(
    npe: PooledNPE,
    sets: Sequence[RecordingTensors],
    told: Sequence[Tensor],
    held: Sequence[int],
    config: PoolPatientTraining,
    beside: Sequence[int],
) -> list[_Rows]:
    """Pools of recordings that are not trained on, without noise."""
    able = [i for i, n in enumerate(held) if n]
    keep = [slice(0, held[i]) for i in able]
    some, known = [sets[i] for i in able], [told[i] for i in able]
    rngs = (np.random.default_rng([7, i]) for i in range(_CHECKS))
    return [_rows(npe, draw_batch(rng, some, keep, config.windows), known, None, config, beside) for rng in rngs]


@torch.no_grad()
def _rows(
    npe: PooledNPE,
    pools: PoolBatch,
    told: Sequence[Tensor],
    rng: np.random.Generator | None,
    config: PoolPatientTraining,
    beside: Sequence[int],
) -> _Rows:
    """What pools share and say, with whom they are of; with noise where there is a source."""
    h = pools.h
    if rng is not None:
        for like, size in ((h, config.noise), (h[:, :1], config.patient_noise)):
            h = h + window_noise(rng, like, size, npe.outputs)
    centre, _ = pools.courses(npe, h)
    shared = _inputs((pools.shared(centre) - npe.shared_mean) / npe.shared_sd, beside)
    at = pools.time_s[:, :1]
    averages, counts = pool_of(npe.features(h), pools.time_s, pools.member, at, (pools.states, pools.states[:, :1]))
    _, context = npe.contexts(h[:, :1], npe.pooled(averages), counts, pools.span_s[:, None])
    some = pools.member.any(1)
    return torch.cat((shared, context[:, 0]), -1)[some], told[pools.source][pools.rows[:, 0]][some]
