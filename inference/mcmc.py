r"""Reference posteriors by Hamiltonian Monte Carlo (NumPyro's NUTS), started and scaled from the estimator.

The unknowns of a [`Reference`][pulsebayes.inference.reference.Reference] are centred and whitened, $z = \mu + L u$: by
the posterior mode near the best draw of the estimator (completed by Gauss-Newton proposals for what it does not
estimate) and the curvature there. Draws of an estimator that is a little off are too wide in the sharp directions and
cost eight times the steps. Chains start at draws of the estimator. Everything runs in float64, all chains as one batch.
Where a model's derivatives cost far more than the model, forces come from a polynomial fitted to it
([`fitted`][pulsebayes.inference.fitted]), while the density is always the model's own; chains then start where
it holds, at most two standard deviations from the mode along each axis. Where such chains do not agree,
[`metropolis`][pulsebayes.inference.metropolis] draws the posterior in their place, and the chains say so.

References:
    | The No-U-Turn Sampler (Hoffman & Gelman, 2014), https://jmlr.org/papers/v15/hoffman14a.html
    | Rank-normalization, folding, and localization: an improved R-hat (Vehtari et al., 2021),
      https://doi.org/10.1214/20-BA1221
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .bundle import Bundle
from .fitted import Fitted, fit_coefficients, guided_density
from .metropolis import metropolis
from .reference import Reference
from .straight import straighten, straightened_law

__all__ = ["Chains", "Sampler", "model_parameters", "require_numpyro", "save_chains"]

_FARTHEST_START = 2.0
"""Standard deviations from the mode at which a chain that is guided by a polynomial starts at most."""
_HINT = "NUTS needs NumPyro: pip install 'pulsebayes[reference]'"


@dataclass(frozen=True)
class Chains:
    r"""Draws of the exact posterior of one window.

    Arguments:
        z: Unknowns, by chain and draw.
        values: Unknowns by name, each in its unit; the start in seconds.
        diverging: Which transitions diverged.
        rhat: Greatest rank-normalised R-hat over the unknowns.
        ess: Least effective number of draws, of bulk or tail.
        method: ``"nuts"`` or ``"metropolis"``.
        instead: What the chains of NUTS were warned of, where these took their place.

    Example:
        >>> Chains(np.zeros((2, 5, 9)), {}, np.zeros((2, 5), bool), 1.0, 10.0).warning()
        'only 10 effective draws'
    """

    z: Float[np.ndarray, "chain draw U"]
    values: Mapping[str, Float[np.ndarray, "chain draw"]]
    diverging: np.ndarray
    rhat: float
    ess: float
    method: str = "nuts"
    instead: str = ""

    def warning(self) -> str | None:
        r"""What is wrong with the chains, or None."""
        if self.diverging.sum() > 0.01 * self.diverging.size:
            return f"{int(self.diverging.sum())} of {self.diverging.size} transitions diverged"
        if not self.rhat < 1.02:
            return f"R-hat is {self.rhat:.3f}: the chains do not agree"
        if not self.ess >= 100:
            return f"only {self.ess:.0f} effective draws"
        return None


@dataclass(frozen=True)
class Sampler:
    r"""NUTS for the windows of one reference model, compiled once; for a costly one, where it fails, Metropolis chains.

    Arguments:
        reference: The reference model.
        draws: Draws of each chain that are kept.
        warmup: Steps of adaptation before them.
        chains: Chains.
        method: ``"nuts"``, or ``"metropolis"`` for chains without gradients from the beginning.

    Raises:
        ValueError: If a number is not positive, or the method is unknown or not for this model.

    Example:
        >>> from pulsebayes.simulators.reference import ReferenceWindkessel
        >>> Sampler(Reference(ReferenceWindkessel(), ("SV",))).chains
        4
    """

    reference: Reference
    draws: int = 500
    warmup: int = 250
    chains: int = 4
    method: str = "nuts"

    def __post_init__(self) -> None:
        if self.method not in ("nuts", "metropolis"):
            raise ValueError(f"method must be 'nuts' or 'metropolis', got {self.method!r}")
        if self.method == "metropolis" and not self.reference.model.costly:
            raise ValueError(f"metropolis is for costly models, {self.reference.model.name} is none: take 'nuts'")
        if min(self.draws, self.warmup, self.chains) < 1:
            raise ValueError(
                f"draws, warmup and chains must be positive, got {self.draws}, {self.warmup}, {self.chains}"
            )

    def sample(self, x: Float[np.ndarray, " T"], theta: Float[np.ndarray, "N D"], *, seed: int = 0) -> Chains:
        r"""Draws the posterior of a window.

        Arguments:
            x: Window [mmHg].
            theta: Parameters of the model from an estimator: where to start, and how far to step.
            seed: Seed.

        Raises:
            ImportError: If NumPyro is not installed.

        Example:
            >>> Sampler(reference).sample(window, theta).rhat  # doctest: +SKIP
            1.0
        """
        proposal, start = self.reference.propose(x, theta, seed=seed)
        order = np.argsort(-(proposal.log_p - 0.5 * (proposal.z[:, : self.reference.dim - 3] ** 2).sum(1)))
        mode, factor = self.reference.laplace(x, proposal.z[order[0]], start)
        if self.method == "metropolis":
            return self._walked(x, mode, factor, start, seed)
        chains = self._guided(x, proposal.z[order[: self.chains]], mode, factor, start, seed)
        failed = chains.warning() if self.reference.solver else None
        if not failed:
            return chains
        other = self._walked(x, mode, factor, start, seed)
        return chains if other.warning() else replace(other, instead=failed)

    def _guided(
        self, x: np.ndarray, begun: np.ndarray, centre: np.ndarray, factor: np.ndarray, start: float, seed: int
    ) -> Chains:
        """Chains of NUTS, begun at rows of unknowns."""
        solver, guide = self.reference.solver, None
        if solver:
            level = float(solver.beats(centre[None, : solver.dim])[0, 0].real)
            centre, factor = straightened_law(solver, centre, factor, level)
            guide = fit_coefficients(solver, centre, factor, level, seed=seed)
            begun = straighten(solver, begun, level)
        first = np.linalg.solve(factor, (begun - centre).T).T
        if solver:
            first = np.clip(first, -_FARTHEST_START, _FARTHEST_START)
        with jax.enable_x64(True):
            mcmc = self._mcmc()
            window = jnp.asarray(np.asarray(x, np.float64))
            mcmc.run(
                jax.random.key(seed), window, jnp.asarray(start), jnp.asarray(centre), jnp.asarray(factor), guide,
                init_params={"u": jnp.asarray(first)}, extra_fields=("diverging",),
            )  # fmt: skip
            u = np.asarray(mcmc.get_samples(group_by_chain=True)["u"])
            diverging = np.asarray(mcmc.get_extra_fields(group_by_chain=True)["diverging"])
        z = centre + u @ factor.T
        if solver and guide:
            z = straighten(solver, z.reshape(-1, z.shape[-1]), float(guide.level), back=True).reshape(z.shape)
        return Chains(z, self.reference.unknowns(z, start), diverging, *_diagnose(z))

    def _walked(self, x: np.ndarray, mode: np.ndarray, factor: np.ndarray, start: float, seed: int) -> Chains:
        """Chains without gradients."""
        if (solver := self.reference.solver) is None:
            raise ValueError("chains without gradients need a costly model, got one that is not")
        sizes = {"draws": self.draws, "warmup": self.warmup, "chains": self.chains}
        z = metropolis(solver, x, mode, factor, start, seed=seed, **sizes)
        never = np.zeros(z.shape[:2], bool)
        return Chains(z, self.reference.unknowns(z, start), never, *_diagnose(z), method="metropolis")

    def _mcmc(self) -> Any:
        kept = self.__dict__.get("_kept")
        if kept is not None:
            return kept
        require_numpyro()
        import numpyro
        from numpyro import distributions as dist
        from numpyro.infer import MCMC, NUTS

        reference = self.reference
        guided = guided_density(reference)

        def density(z: Any, x: Any, start: Any, guide: Fitted | None) -> Any:
            return reference.log_density(z, x, start) if guide is None else guided(z, x, start, guide)

        def model(x: Any, start: Any, centre: Any, factor: Any, guide: Fitted | None) -> None:
            u = numpyro.sample("u", dist.ImproperUniform(dist.constraints.real_vector, (), (reference.dim,)))
            numpyro.factor("posterior", density(centre + factor @ u, x, start, guide))

        kernel = NUTS(model, dense_mass=True, target_accept_prob=0.85, max_tree_depth=8)
        mcmc = MCMC(
            kernel, num_warmup=self.warmup, num_samples=self.draws, num_chains=self.chains,
            chain_method="vectorized", progress_bar=False, jit_model_args=True,
        )  # fmt: skip
        object.__setattr__(self, "_kept", mcmc)
        return mcmc


def require_numpyro() -> None:
    r"""Makes sure that NumPyro can be imported.

    Raises:
        ImportError: If it is not installed; the message says which extra to install.

    Example:
        >>> require_numpyro()  # doctest: +SKIP
    """
    from importlib.util import find_spec

    if find_spec("numpyro") is None:
        raise ImportError(_HINT)


def model_parameters(bundle: Bundle, reference: Reference, theta: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N P"]:
    r"""Parameters of a reference model from draws of a bundle's outputs: where a sampler starts.

    Arguments:
        bundle: The bundle.
        reference: The reference model.
        theta: Draws of the bundle's outputs, each in its unit.

    Returns:
        Parameters inside their bounds; what the outputs do not say stands at the prior's median.

    Example:
        >>> model_parameters(bundle, reference, theta).shape  # doctest: +SKIP
        (200, 6)
    """
    space = reference.model.space
    found = np.repeat(space.sample_quantiles(np.full((1, space.dim), 0.5)), len(theta), axis=0)
    if reference.outputs:
        for d, name in enumerate(bundle.outputs.names):
            found[:, space.index(name)] = theta[:, d]
    else:
        from ..simulators.clinical import CLINICAL
        from ..simulators.patient import SETTABLE, parameters_for, typical_parameters

        draws = bundle.outputs.derive(theta)
        asked = {name: draws[name] for name in SETTABLE if name in draws and name != "CVP"}
        with jax.enable_x64(True):  # indices traced at one width cannot be used at the other in one process
            whole = parameters_for(asked, typical_parameters(len(theta)))
        found = whole[:, [CLINICAL.index(name) for name in space.names]]
    inner = np.array([p.inner for p in space.parameters])
    return np.asarray(np.clip(found, inner[:, 0], inner[:, 1]))


def save_chains(
    chains: Chains,
    window: Float[np.ndarray, " T"],
    path: Path,
    *,
    fs: float,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    r"""Writes chains as netCDF in ArviZ's schema: posterior, sample_stats and observed_data.

    Arguments:
        chains: The chains.
        window: The window [mmHg].
        path: File to write.
        fs: Sampling rate [Hz].
        attributes: What else to keep; strings and numbers.

    Example:
        >>> save_chains(chains, window, Path("nuts.nc"), fs=125.0)  # doctest: +SKIP
    """
    import xarray

    axes = ("chain", "draw")
    index = {"chain": np.arange(chains.z.shape[0]), "draw": np.arange(chains.z.shape[1])}
    posterior = xarray.Dataset({name: (axes, values) for name, values in chains.values.items()}, coords=index)
    stats = xarray.Dataset({"diverging": (axes, chains.diverging.astype(np.int8))}, coords=index)
    seen = xarray.Dataset({"ART": (("time",), np.asarray(window))}, coords={"time": np.arange(len(window)) / fs})
    library = "numpyro" if chains.method == "nuts" else "pulsebayes"
    about = {"inference_library": library, "sampler": chains.method, "rhat_max": chains.rhat, "ess_min": chains.ess}
    about |= attributes or {}
    groups = {"posterior": posterior.assign_attrs(about), "sample_stats": stats, "observed_data": seen}
    xarray.DataTree.from_dict(groups).to_netcdf(path, engine="h5netcdf")


def _diagnose(z: Float[np.ndarray, "chain draw U"]) -> tuple[float, float]:
    from numpyro.diagnostics import effective_sample_size, split_gelman_rubin
    from scipy import stats

    ranked = stats.norm.ppf((stats.rankdata(z.reshape(-1, z.shape[-1]), axis=0) - 0.375) / (z[..., 0].size + 0.25))
    ranked = ranked.reshape(z.shape)
    folded = np.abs(z - np.median(z, axis=(0, 1)))
    rhat = max(float(np.max(split_gelman_rubin(part))) for part in (ranked, folded))
    low, high = (z <= np.quantile(z, q, axis=(0, 1)) for q in (0.05, 0.95))
    ess = min(float(np.min(effective_sample_size(part.astype(float)))) for part in (ranked, low, high))
    return rhat, ess
