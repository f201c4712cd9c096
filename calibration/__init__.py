r"""What can be promised: diagnostics of posteriors on simulations and on real recordings."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Agreement": ".agreement",
    "Held": ".produce",
    "LPP": ".scores",
    "Pairs": ".pairs",
    "Reference": ".reference",
    "ReferenceTableError": ".reference",
    "SBC": ".diagnostics",
    "Trending": ".agreement",
    "acauc": ".scores",
    "acauc_density": ".scores",
    "agree": ".agreement",
    "contraction": ".diagnostics",
    "coverage": ".diagnostics",
    "hash_subject": ".pairs",
    "holm": ".diagnostics",
    "lpp": ".scores",
    "measure": ".evaluate",
    "median_error": ".diagnostics",
    "pair_up": ".agreement",
    "rank_bias": ".scores",
    "ranks": ".diagnostics",
    "read_pairs": ".pairs",
    "read_reference": ".reference",
    "sbc": ".diagnostics",
    "track": ".agreement",
    "wasserstein": ".scores",
}

__all__ = [
    "Agreement",
    "Held",
    "LPP",
    "Pairs",
    "Reference",
    "ReferenceTableError",
    "SBC",
    "Trending",
    "acauc",
    "acauc_density",
    "agree",
    "contraction",
    "coverage",
    "hash_subject",
    "holm",
    "lpp",
    "measure",
    "median_error",
    "pair_up",
    "rank_bias",
    "ranks",
    "read_pairs",
    "read_reference",
    "sbc",
    "track",
    "wasserstein",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
