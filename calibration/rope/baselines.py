r"""What RoPE is compared with: the prior, estimators that trust the simulator, and ones that see only the pairs.

Each is a posterior with ``log_prob`` of one value a recording and ``sample``, as a
[`Mixture`][pulsebayes.calibration.rope.mixture.Mixture] is: the estimator as trained, with its embedding tuned, trained
on the pairs alone or on both (half of each batch from either), a Gaussian whose mean and covariance a small network
reads from the recording, and an upper bound that is given simulations of the true values instead of recordings.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from ...inference.npe import NPE
from ...simulators.parameters import ParameterSpace
from .components import PriorLaw

__all__ = [
    "FitConfig",
    "FlowPosterior",
    "GaussianPosterior",
    "Posterior",
    "PriorPosterior",
    "fit_flow",
    "fit_gaussian",
    "gaussian_of",
]


class Posterior(Protocol):
    r"""Posteriors of N recordings.

    Example:
        >>> from pulsebayes.simulators.parameters import Parameter
        >>> posterior: Posterior = PriorPosterior(ParameterSpace((Parameter("a", "1", 0.0, 2.0),)), 3)
        >>> posterior.sample(np.random.default_rng(0), 5).shape
        (3, 5, 1)
    """

    def log_prob(self, theta: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " N"]:
        r"""Log density of one value a recording."""

    def sample(self, rng: np.random.Generator, n: int) -> Float[np.ndarray, "N n D"]:
        r"""Draws from each posterior."""


@dataclass(frozen=True)
class PriorPosterior:
    r"""The prior, whatever was recorded.

    Arguments:
        prior: The prior.
        n: Number of recordings.

    Example:
        >>> from pulsebayes.simulators.parameters import Parameter
        >>> space = ParameterSpace((Parameter("a", "1", 0.0, 2.0),))
        >>> PriorPosterior(space, 1).log_prob(np.array([[1.0]])).round(3).tolist()
        [-0.693]
    """

    prior: PriorLaw
    n: int

    def log_prob(self, theta: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " N"]:
        r"""Log density of the prior.

        Arguments:
            theta: Values.
        """
        return self.prior.log_prior(np.asarray(theta))

    def sample(self, rng: np.random.Generator, n: int) -> Float[np.ndarray, "N n D"]:
        r"""Draws from the prior.

        Arguments:
            rng: Source of randomness.
            n: Draws a recording.
        """
        draws = self.prior.sample(rng, self.n * n)
        return draws.reshape(self.n, n, draws.shape[-1])


@dataclass(frozen=True)
class FlowPosterior:
    r"""An estimator's posteriors.

    Arguments:
        npe: The estimator.
        x: Recordings, or simulations in their place.

    Example:
        >>> from pulsebayes.inference.npe import PRESETS
        >>> from pulsebayes.inference.outputs import OutputSpace
        >>> posterior = FlowPosterior(NPE(OutputSpace.from_names(("HR",)), PRESETS["small"]), np.full((2, 1000), 90.0))
        >>> posterior.sample(np.random.default_rng(0), 3).shape
        (2, 3, 1)
    """

    npe: NPE
    x: Float[np.ndarray, "N T"]

    def log_prob(self, theta: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " N"]:
        r"""Log density of one value a recording.

        Arguments:
            theta: Values.
        """
        return self.npe.log_prob(theta, torch.from_numpy(np.asarray(self.x, dtype=np.float32)))

    def sample(self, rng: np.random.Generator, n: int) -> Float[np.ndarray, "N n D"]:
        r"""Draws from each posterior.

        Arguments:
            rng: Source of randomness.
            n: Draws a recording.
        """
        npe, space = self.npe, self.npe.outputs.space
        draws = np.empty((len(self.x), n, space.dim))
        step = max(1, 50_000 // n)
        for i in range(0, len(self.x), step):
            x = torch.from_numpy(np.asarray(self.x[i : i + step], dtype=np.float32))
            noise = torch.from_numpy(rng.standard_normal((len(x) * n, space.dim)).astype(np.float32))
            with torch.no_grad():
                contexts = npe.embedding(x).repeat_interleave(n, 0)
                z = npe.flow(contexts).transform.inv(noise) * npe.z_sd + npe.z_mean
            draws[i : i + step] = space.constrain(z.double().numpy()).reshape(len(x), n, -1)
        return draws


@dataclass(frozen=True)
class FitConfig:
    r"""How a baseline is trained.

    Arguments:
        steps: Most steps.
        batch: Most rows a step.
        rate: Learning rate at the start, falling by a cosine.
        weight_decay: Decoupled weight decay.
        validation: Share of the pairs held out for the choice of weights.
        patience: Validations, one every twenty steps, without a better one before stopping.
        seed: Seed of weights, split and order.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> FitConfig(steps=200).batch
        128
    """

    steps: int = 1500
    batch: int = 128
    rate: float = 1e-3
    weight_decay: float = 1e-3
    validation: float = 0.2
    patience: int = 15
    seed: int = 0

    def __post_init__(self) -> None:
        if not (
            self.steps >= 1 and self.batch >= 2 and self.rate > 0 and 0 < self.validation < 1 and self.patience >= 1
        ):
            raise ValueError(f"steps, batch, rate and patience must be positive and validation in (0, 1), got {self}")


def fit_flow(
    npe: NPE,
    x: Float[np.ndarray, "N T"],
    theta: Float[np.ndarray, "N D"],
    config: FitConfig | None = None,
    *,
    simulated: tuple[Float[np.ndarray, "M T"], Float[np.ndarray, "M D"]] | None = None,
) -> NPE:
    r"""Trains a copy of an estimator on pairs, or on pairs and simulations together.

    Arguments:
        npe: Estimator to start from; it is not changed. For pairs alone give a fresh one.
        x: Recordings of the pairs.
        theta: Labels.
        config: Steps and rate.
        simulated: Simulations with their parameters; then half of each batch are simulations.

    Returns:
        The copy with the least validation loss on held-out pairs.

    Example:
        >>> from pulsebayes.inference.embedding import EmbeddingConfig
        >>> from pulsebayes.inference.npe import NPEConfig
        >>> from pulsebayes.inference.outputs import OutputSpace
        >>> shape = NPEConfig(EmbeddingConfig("dense", samples=4, hidden=8, context=4), transforms=1, hidden=(8,))
        >>> hr = np.linspace(40, 120, 50)[:, None]
        >>> npe = fit_flow(NPE(OutputSpace.from_names(("HR",)), shape), hr.repeat(4, 1), hr, FitConfig(steps=50))
        >>> npe.outputs.names
        ('HR',)
    """
    config = config or FitConfig()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        net = copy.deepcopy(npe)
    space = npe.outputs.space
    windows = torch.from_numpy(np.asarray(x, dtype=np.float32))
    z = torch.from_numpy(space.unconstrain(theta).astype(np.float32))
    extra = None
    if simulated is not None:
        extra = (
            torch.from_numpy(np.asarray(simulated[0], dtype=np.float32)),
            torch.from_numpy(space.unconstrain(simulated[1]).astype(np.float32)),
        )

    def loss(rows: np.ndarray, rng: np.random.Generator | None) -> torch.Tensor:
        value = net.loss(z[rows], windows[rows])
        if extra is None or rng is None:
            return value
        more = rng.integers(len(extra[0]), size=config.batch // 2)
        return 0.5 * (value + net.loss(extra[1][more], extra[0][more]))

    _descend(net, loss, len(x), config)
    return net.eval()


@dataclass(frozen=True)
class GaussianPosterior:
    r"""Gaussians in unconstrained coordinates.

    Arguments:
        space: Bounds and scales of the parameters.
        mean: Mean of each recording.
        root: Lower Cholesky factor of each covariance.

    Example:
        >>> from pulsebayes.simulators.parameters import Parameter
        >>> space = ParameterSpace((Parameter("a", "1", 0.0, 1.0),))
        >>> GaussianPosterior(space, np.zeros((1, 1)), np.ones((1, 1, 1))).log_prob(np.array([[0.5]])).round(3).tolist()
        [0.467]
    """

    space: ParameterSpace
    mean: Float[np.ndarray, "N D"]
    root: Float[np.ndarray, "N D D"]

    def log_prob(self, theta: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " N"]:
        r"""Log density of one value a recording.

        Arguments:
            theta: Values.
        """
        theta = np.asarray(theta, dtype=np.float64)
        inside = self.space.contains(theta)
        z = self.space.unconstrain(np.where(inside[:, None], theta, 0.5 * (self.space.low + self.space.high)))
        unit = np.linalg.solve(self.root, (z - self.mean)[..., None])[..., 0]
        log_p = -0.5 * (unit**2).sum(1) - 0.5 * z.shape[1] * np.log(2 * np.pi)
        log_p -= np.log(np.diagonal(self.root, axis1=1, axis2=2)).sum(1) + self.space.log_abs_det_jacobian(z)
        return np.asarray(np.where(inside, log_p, -np.inf))

    def sample(self, rng: np.random.Generator, n: int) -> Float[np.ndarray, "N n D"]:
        r"""Draws from each Gaussian.

        Arguments:
            rng: Source of randomness.
            n: Draws a recording.
        """
        noise = rng.standard_normal((len(self.mean), n, self.mean.shape[1]))
        return self.space.constrain(self.mean[:, None] + np.einsum("nij,nsj->nsi", self.root, noise))


class _GaussianNet(nn.Module):
    """Mean and Cholesky factor from an embedding."""

    def __init__(self, npe: NPE) -> None:
        super().__init__()
        self.embedding = copy.deepcopy(npe.embedding)
        self.dim = npe.outputs.space.dim
        self.head = nn.Linear(npe.config.embedding.context, self.dim + self.dim * (self.dim + 1) // 2)
        self.lower = torch.tril_indices(self.dim, self.dim)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out = self.head(self.embedding(x))
        root = torch.zeros(len(x), self.dim, self.dim)
        root[:, self.lower[0], self.lower[1]] = out[:, self.dim :]
        diagonal = torch.diagonal(root, dim1=1, dim2=2)
        root = root - torch.diag_embed(diagonal) + torch.diag_embed(nn.functional.softplus(diagonal) + 1e-3)
        return out[:, : self.dim], root


def fit_gaussian(
    npe: NPE, x: Float[np.ndarray, "N T"], theta: Float[np.ndarray, "N D"], config: FitConfig | None = None
) -> nn.Module:
    r"""Trains a network that reads a Gaussian from a recording, on pairs alone.

    Arguments:
        npe: A fresh estimator, whose embedding and scales it takes.
        x: Recordings of the pairs.
        theta: Labels.
        config: Steps and rate.

    Returns:
        The network; ``gaussian_of`` turns its output into posteriors.

    Example:
        >>> from pulsebayes.inference.embedding import EmbeddingConfig
        >>> from pulsebayes.inference.npe import NPEConfig
        >>> from pulsebayes.inference.outputs import OutputSpace
        >>> shape = NPEConfig(EmbeddingConfig("dense", samples=4, hidden=8, context=4), transforms=1, hidden=(8,))
        >>> hr, npe = np.linspace(40, 120, 50)[:, None], NPE(OutputSpace.from_names(("HR",)), shape)
        >>> net = fit_gaussian(npe, hr.repeat(4, 1), hr, FitConfig(steps=20))
        >>> gaussian_of(net, npe, hr.repeat(4, 1)).mean.shape
        (50, 1)
    """
    config = config or FitConfig()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        net = _GaussianNet(npe)
    unit = (torch.from_numpy(npe.outputs.space.unconstrain(theta)).float() - npe.z_mean) / npe.z_sd
    windows = torch.from_numpy(np.asarray(x, dtype=np.float32))

    def loss(rows: np.ndarray, rng: np.random.Generator | None) -> torch.Tensor:
        mean, root = net(windows[rows])
        gap = torch.linalg.solve_triangular(root, (unit[rows] - mean)[..., None], upper=False)[..., 0]
        value: torch.Tensor = 0.5 * gap.square().sum(1) + torch.diagonal(root, dim1=1, dim2=2).log().sum(1)
        return value.mean()

    _descend(net, loss, len(x), config)
    return net.eval()


@torch.no_grad()
def gaussian_of(net: nn.Module, npe: NPE, x: Float[np.ndarray, "N T"]) -> GaussianPosterior:
    r"""Posteriors that a trained Gaussian network reads from recordings.

    Arguments:
        net: From ``fit_gaussian``.
        npe: The estimator whose scales it was trained with.
        x: Recordings.

    Example:
        >>> from pulsebayes.inference.npe import PRESETS
        >>> from pulsebayes.inference.outputs import OutputSpace
        >>> npe = NPE(OutputSpace.from_names(("HR", "SV")), PRESETS["small"])
        >>> gaussian_of(_GaussianNet(npe), npe, np.full((3, 1000), 90.0)).root.shape
        (3, 2, 2)
    """
    mean, root = net(torch.from_numpy(np.asarray(x, dtype=np.float32)))
    scale = npe.z_sd.double().numpy()
    centre = mean.double().numpy() * scale + npe.z_mean.double().numpy()
    return GaussianPosterior(npe.outputs.space, centre, scale[:, None] * root.double().numpy())


class _Loss(Protocol):
    def __call__(self, rows: np.ndarray, rng: np.random.Generator | None) -> torch.Tensor: ...


def _descend(net: nn.Module, loss: _Loss, n: int, config: FitConfig) -> None:
    """Trains in place on random batches; keeps the weights with the least loss on held-out rows."""
    rng = np.random.default_rng(config.seed)
    order = rng.permutation(n)
    held, fit = np.split(order, [max(1, round(config.validation * n))])
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps, config.rate / 100)
    best, least, stale = copy.deepcopy(net.state_dict()), np.inf, 0
    for step in range(config.steps + 1):
        if step % 20 == 0:
            with torch.no_grad():
                value = float(loss(held, None))
            if value < least:
                best, least, stale = copy.deepcopy(net.state_dict()), value, -1
            stale += 1
            if stale > config.patience:
                break
        optimizer.zero_grad(set_to_none=True)
        rows = rng.choice(fit, min(config.batch, len(fit)), replace=False)
        loss(rows, rng).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    net.load_state_dict(best)
