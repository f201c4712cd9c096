r"""RoPE layers of a bundle: what ``calibrate rope`` adds to its folder, and what ``infer`` reads from it.

A layer is two files beside the bundle's own, ``rope.json`` and ``rope.safetensors``: the tuned embedding, the
whitening, the simulations' embeddings and potential, and draws of their posteriors. It carries the hash of the bundle
it was made for and of itself: edited, or put beside another bundle, it is refused. A window is answered by its
inductive row.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from ...inference.answer import Answer, Prior
from ...inference.bundle import Bundle
from ...inference.sealing import LayerFiles
from .components import Components, DrawnPrior
from .encoder import Whitening
from .fit import RoPE, RoPEConfig
from .mixture import Mixture

__all__ = ["RoPELayer", "load_rope", "save_rope"]

_FILES = LayerFiles("RoPE layer", "rope", 1, beside="bundle.json", key="bundle", hint="calibrate it again")


@dataclass(frozen=True)
class RoPELayer:
    r"""A fitted mixture with what was measured on held-out patients.

    Arguments:
        rope: The mixture.
        measured: Patients, windows, coverage by level and quantity, LPP and ACAUC on held-out pairs.
        patients: Hashes of the patients whose windows, labelled or not, it was fitted on.

    Example:
        >>> RoPELayer.__dataclass_fields__["measured"].name
        'measured'
    """

    rope: RoPE
    measured: Mapping[str, Any]
    patients: tuple[str, ...] = ()

    def answer(
        self, bundle: Bundle, answer: Answer, window: Float[np.ndarray, " T"], prior: Prior, *, seed: int
    ) -> Answer:
        r"""Replaces an answer's posterior by the mixture's.

        Arguments:
            bundle: The bundle.
            answer: The estimator's own answer.
            window: Samples of the window, as the estimator saw them.
            prior: Prior of the bundle's quantities.
            seed: Seed; draws depend on it and on where the window starts.
        """
        n_draws = len(next(iter(answer.draws.values())))
        posterior = self.rope.posterior(np.asarray(window)[None])
        draws = _drawn(bundle, posterior, answer.start_s, n_draws, seed)
        estimates = prior.estimates(draws, level=answer.level, uninformative=bundle.uninformative)
        size = {"effective_size": round(float(posterior.effective[0]), 1), "simulations": posterior.components.n}
        cited = {**self.cited(answer.level), **size}
        return dataclasses.replace(answer, draws=draws, estimates=estimates, calibration=cited)

    def draws(
        self, bundle: Bundle, window: Float[np.ndarray, " T"], start_s: float, n: int, *, seed: int
    ) -> dict[str, Float[np.ndarray, " draw"]]:
        r"""Draws of the mixture for one window.

        Arguments:
            bundle: The bundle.
            window: Samples of the window, as the estimator saw them.
            start_s: Where it starts [s].
            n: Number of draws.
            seed: Seed; draws depend on it and on where the window starts.
        """
        return _drawn(bundle, self.rope.posterior(np.asarray(window)[None]), start_s, n, seed)

    @property
    def sharper(self) -> tuple[str, ...]:
        r"""Quantities that the estimator tells better, measured on held-out patients; regions keep its marginals."""
        return tuple(self.measured.get("sharper", ()))

    def cited(self, level: float) -> dict[str, Any]:
        r"""Coverage on held-out patients at the nearest measured level.

        Arguments:
            level: Level of the intervals.
        """
        coverage = self.measured["coverage"]
        nearest = min(coverage, key=lambda key: abs(float(key) - level))
        return {
            "method": "rope",
            "n": int(self.measured["patients"]),
            "level": float(nearest),
            "coverage": dict(coverage[nearest]),
        }


def _drawn(
    bundle: Bundle, posterior: Mixture, start_s: float, n: int, seed: int
) -> dict[str, Float[np.ndarray, " draw"]]:
    """Draws of one window's mixture, seeded by where it starts."""
    rng = np.random.default_rng([seed, 7, round(abs(start_s) * 1000)])
    return bundle.outputs.derive(posterior.sample(rng, n)[0].astype(np.float32))


def save_rope(layer: RoPELayer, folder: Path) -> None:
    r"""Writes a layer beside a bundle.

    Arguments:
        layer: The layer.
        folder: Folder of the bundle.

    Example:
        >>> save_rope(layer, Path("mine"))  # doctest: +SKIP
    """
    rope = layer.rope
    arrays = {f"encoder/{k}": v.detach().cpu().numpy() for k, v in rope.encoder.state_dict().items()}
    arrays |= {
        "mean": rope.whitening.mean,
        "matrix": rope.whitening.matrix,
        "h": rope.h,
        "potential": rope.potential,
        "weight": rope.weight,
        "z": rope.components.z.astype(np.float16),
        "scale": rope.components.scale,
    }
    info = {
        "epsilon": rope.epsilon,
        "config": dataclasses.asdict(rope.config),
        "converged": rope.converged,
        "measured": dict(layer.measured),
        "patients": layer.patients,
    }
    _FILES.write(folder, arrays, info)


def load_rope(folder: Path, bundle: Bundle) -> RoPELayer | None:
    r"""Reads the layer of a bundle.

    Arguments:
        folder: Folder of the bundle.
        bundle: The bundle.

    Returns:
        The layer, or None where the bundle has none.

    Raises:
        BundleError: If the layer was edited, is damaged, of a newer schema or of another bundle.

    Example:
        >>> from pulsebayes.inference.bundle import find_bundle
        >>> folder = find_bundle("radial-abp")
        >>> load_rope(folder, Bundle.load(folder)) is None
        True
    """

    def build(info: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> RoPELayer:
        return RoPELayer(_rope(arrays, info, bundle), info["measured"], tuple(info.get("patients", ())))

    return _FILES.read(folder, build)


def _rope(arrays: Mapping[str, np.ndarray], info: Mapping[str, Any], bundle: Bundle) -> RoPE:
    encoder = copy.deepcopy(bundle.npe.embedding)
    encoder.load_state_dict({k[8:]: torch.from_numpy(v) for k, v in arrays.items() if k.startswith("encoder/")})
    space = bundle.outputs.space
    return RoPE(
        encoder.eval(),
        Whitening(arrays["mean"], arrays["matrix"]),
        arrays["h"],
        arrays["potential"],
        arrays["weight"],
        float(info["epsilon"]),
        Components(space, arrays["z"].astype(np.float32), arrays["scale"]),
        DrawnPrior(space, bundle.prior.astype(np.float64)),
        RoPEConfig(**info["config"]),
        bool(info["converged"]),
    )
