r"""RoPE: posteriors of real recordings as mixtures over simulations, with weights from semi-balanced transport.

1. $h$ is the embedding of an estimator trained on simulations, whitened by $W$ on simulations;
2. $g$ is a copy of it tuned on labelled pairs ([`tune`][pulsebayes.calibration.rope.encoder.tune]);
3. fresh simulations from the prior are the targets, real recordings without labels the sources;
4. entropic transport at cost $C_{ij} = \lVert W g(x_i) - W h(x_j) \rVert_2$ has a hard marginal on the recordings and
   one of hardness $\tau$ on the simulations; $\tau = 1$ is RoPE, less is RoPE*;
5. $p(\theta \mid x_i) = \sum_j \alpha_{ij}\, q(\theta \mid h_j)$ with $\alpha_{ij} = n P_{ij}$.

The potential of the simulations is kept: a new recording gets its row from it alone ($O(n)$), and that row is the one
which the transport gave if the recording was among its sources. The regularisation $\gamma$ is in units of the median
cost, which does not depend on the scale of an embedding.

With $\tau = 1$ every simulation has the same weight on average, so the mean posterior over the recordings is the mean
over the simulations: the recordings must be a sample of the population that the prior describes, and each subject
weighs the same, however many recordings there are of it.

References:
    | Addressing misspecification in simulation-based inference through data-driven calibration (Wehenkel et al., 2025),
      https://arxiv.org/abs/2405.08719
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import nn

from ..transport import Cost, Coupling, EntropicConfig, entropic, median_cost, pairwise, soft_rows
from .components import Components, PriorLaw
from .encoder import Whitening, embed
from .mixture import Mixture

__all__ = ["FEWEST_SUBJECTS", "RoPE", "RoPEConfig", "couple", "fit_rope", "subject_weights"]

FEWEST_SUBJECTS = 20
"""Fewest subjects among the recordings without labels for a marginal harder than one half."""


@dataclass(frozen=True)
class RoPEConfig:
    r"""Settings of the mixture.

    Arguments:
        gamma: Regularisation of the transport, in units of the median cost.
        tau: Hardness of the simulations' marginal in (0, 1].
        bandwidth: Width of the components' kernels in units of the prior's spread; 0 for the estimator's densities.
        prior_share: Share of the prior.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> RoPEConfig.plain().bandwidth
        0.0
    """

    gamma: float = 0.25
    tau: float = 1.0
    bandwidth: float = 0.17
    prior_share: float = 0.05

    def __post_init__(self) -> None:
        if not (self.gamma > 0 and 0 < self.tau <= 1 and self.bandwidth >= 0 and 0 <= self.prior_share < 1):
            raise ValueError(
                "gamma must be positive, tau in (0, 1], bandwidth not negative and prior_share in [0, 1), got "
                f"{self.gamma}, {self.tau}, {self.bandwidth} and {self.prior_share}"
            )

    @classmethod
    def plain(cls, *, gamma: float = 0.25, tau: float = 1.0) -> RoPEConfig:
        r"""RoPE as published: components as they are, no share of the prior.

        Arguments:
            gamma: Regularisation, in units of the median cost.
            tau: Hardness of the simulations' marginal; 1 is RoPE, less is RoPE*.
        """
        return cls(gamma, tau, 0.0, 0.0)


@dataclass(frozen=True)
class RoPE:
    r"""A fitted mixture: what a new recording needs for its posterior.

    Arguments:
        encoder: Tuned embedding of recordings.
        whitening: Whitening of embeddings.
        h: Whitened embeddings of the simulations.
        potential: Potential of the simulations, from the recordings without labels.
        weight: Weight of each simulation.
        epsilon: Regularisation, in the unit of the cost.
        components: Posteriors given the simulations.
        prior: The prior.
        config: Settings.
        converged: Whether the transport converged.

    Example:
        >>> RoPE.__dataclass_fields__["epsilon"].type
        'float'
    """

    encoder: nn.Module
    whitening: Whitening
    h: Float[np.ndarray, "n k"]
    potential: Float[np.ndarray, " n"]
    weight: Float[np.ndarray, " n"]
    epsilon: float
    components: Components
    prior: PriorLaw
    config: RoPEConfig
    converged: bool = True

    def embed(self, x: Float[np.ndarray, "N T"]) -> Float[np.ndarray, "N k"]:
        r"""Whitened tuned embedding of recordings.

        Arguments:
            x: Recordings.
        """
        return self.whitening(embed(self.encoder, x))

    def weights(self, x: Float[np.ndarray, "N T"]) -> Float[np.ndarray, "N n"]:
        r"""Weights of the simulations for recordings, each on its own: the inductive rows.

        Arguments:
            x: Recordings, of the reference set or new.
        """
        return self.rows(self.embed(x))

    def rows(self, h: Float[np.ndarray, "N k"]) -> Float[np.ndarray, "N n"]:
        r"""Weights of the simulations for embedded recordings.

        Arguments:
            h: Whitened tuned embeddings.
        """
        return np.asarray(soft_rows(pairwise(h, self.h), self.potential, self.weight, self.epsilon))

    def posterior(self, x: Float[np.ndarray, "N T"]) -> Mixture:
        r"""Posteriors of recordings.

        Arguments:
            x: Recordings.
        """
        return self.mixture(self.weights(x))

    def mixture(self, weights: Float[np.ndarray, "N n"]) -> Mixture:
        r"""Posteriors with weights that are known already.

        Arguments:
            weights: Weights of the simulations.
        """
        config = self.config
        return Mixture(weights, self.components, self.prior, config.bandwidth, config.prior_share)


def subject_weights(subjects: np.ndarray) -> Float[np.ndarray, " N"]:
    r"""Weight of each recording such that every subject weighs the same.

    Arguments:
        subjects: Subject of each recording.

    Returns:
        Weights that sum to one.

    Example:
        >>> subject_weights(np.array(["a", "b", "b"])).tolist()
        [0.5, 0.25, 0.25]
    """
    _, which, count = np.unique(np.asarray(subjects), return_inverse=True, return_counts=True)
    return np.asarray(1.0 / (count[which] * len(count)))


def couple(
    real: Float[np.ndarray, "m k"],
    simulated: Float[np.ndarray, "n k"],
    config: RoPEConfig,
    *,
    weight: Float[np.ndarray, " m"] | None = None,
    solver: EntropicConfig | None = None,
) -> Coupling:
    r"""Transports embedded recordings to embedded simulations.

    Arguments:
        real: Whitened tuned embeddings of recordings.
        simulated: Whitened embeddings of simulations.
        config: Regularisation and hardness.
        weight: Weight of each recording; None for equal ones.
        solver: Tolerance and memory; its hardness is not used.

    Returns:
        The coupling.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> coupling = couple(rng.normal(size=(50, 2)), rng.normal(size=(80, 2)), RoPEConfig())
        >>> bool(np.allclose(coupling.matrix().sum(0), 1 / 80))
        True
    """
    cost = Cost.of_points(real, simulated)
    solver = dataclasses.replace(solver or EntropicConfig(), tau_a=1.0, tau_b=config.tau)
    return entropic(cost, epsilon=config.gamma * median_cost(cost, weight=weight), a=weight, config=solver)


def fit_rope(
    encoder: nn.Module,
    whitening: Whitening,
    components: Components,
    unlabelled: Float[np.ndarray, "m T"],
    prior: PriorLaw,
    config: RoPEConfig | None = None,
    *,
    subjects: np.ndarray | None = None,
    solver: EntropicConfig | None = None,
    fewest: int = FEWEST_SUBJECTS,
) -> RoPE:
    r"""Fits the weights of simulations to a reference set of recordings.

    Arguments:
        encoder: Tuned embedding of recordings; the estimator's own one for transport alone.
        whitening: Whitening of embeddings over simulations.
        components: Posteriors given fresh simulations, with their embeddings.
        unlabelled: Recordings, a sample of the population.
        prior: The prior.
        config: Settings of the mixture.
        subjects: Subject of each recording; None takes each as its own.
        solver: Tolerance and memory of the transport.
        fewest: Fewest subjects for a tau above .5; lower it only to leave a fold out of a set that had enough.

    Returns:
        The mixture, ready for recordings of the reference set and for new ones.

    Raises:
        ValueError: If the components keep no embeddings, or there are too few subjects for the hardness.

    Example:
        >>> from pulsebayes.simulators.parameters import Parameter, ParameterSpace
        >>> space = ParameterSpace((Parameter("a", "1", 0.0, 1.0),))
        >>> rng = np.random.default_rng(0)
        >>> parts = Components(space, rng.normal(size=(60, 5, 1)), np.ones(1), None, rng.normal(size=(60, 2)))
        >>> rope = fit_rope(nn.Identity(), Whitening(np.zeros(2), np.eye(2)), parts, rng.normal(size=(30, 2)), space)
        >>> bool(np.allclose(rope.weights(rng.normal(size=(4, 2))).sum(1), 1))
        True
    """
    config = config or RoPEConfig()
    if components.contexts is None:
        raise ValueError("components must keep the embeddings of their simulations, got none")
    count = len(unlabelled) if subjects is None else len(np.unique(subjects))
    if config.tau > 0.5 and count < fewest:
        raise ValueError(
            f"tau {config.tau:g} needs recordings of at least {fewest} subjects, got {count}: a hard marginal "
            "would spread each of them over the whole prior; give more, or a tau of .5 or less"
        )
    h = whitening(components.contexts)
    weight = None if subjects is None else subject_weights(subjects)
    coupling = couple(whitening(embed(encoder, unlabelled)), h, config, weight=weight, solver=solver)
    return RoPE(
        encoder, whitening, h, coupling.g, coupling.b, coupling.epsilon, components, prior, config, coupling.converged
    )
