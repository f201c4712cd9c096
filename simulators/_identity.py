r"""What determines the bytes of a training set, as attributes and as one hash.

Two processes that find the same fingerprint write the same files. A worker finds its own, from the software it has, so
that one with another version is refused instead of writing other bytes into the set.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import cast

from ._shards import Layout
from .status import STATUS

SCHEMA = 1
SOFTWARE = ("pulsebayes", "numpy", "scipy", "jax", "jaxlib", "zarr", "numcodecs")
"""Packages whose versions are part of the fingerprint."""


def software() -> dict[str, str]:
    r"""Returns the versions that this process has."""
    found = {}
    for name in SOFTWARE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def attributes_of(description: Mapping[str, object], layout: Layout, *, seed: int, device: str) -> dict[str, object]:
    r"""Returns the attributes of a set, fingerprint among them.

    Arguments:
        description: What a worker says of its simulator and its software.
        layout: Rows and shards.
        seed: Seed of the set.
        device: Where the rows are simulated.
    """
    described = cast("Mapping[str, Mapping[str, object]]", description)
    identity: dict[str, object] = {
        **{key: description[key] for key in ("simulator", "version", "config", "software")},
        "schema": SCHEMA,
        "seed": seed,
        "device": device,
        **vars(layout),
    }
    text = json.dumps([identity, description["parameter_space"]], sort_keys=True)
    return {
        **description,
        **identity,
        "fs": described["config"].get("fs"),
        "status_names": {str(code): name for code, name in STATUS.items()},
        "identity": sorted(identity),
        "fingerprint": hashlib.sha256(text.encode()).hexdigest(),
    }


def differences(there: Mapping[str, object], asked: Mapping[str, object]) -> list[str]:
    r"""Names what differs between the attributes of two sets, among what determines their bytes.

    Arguments:
        there: Attributes of what stands.
        asked: Attributes of what is asked for.
    """
    keys = [*cast("list[str]", asked["identity"]), "parameter_space"]
    return [text for key in keys for text in _differences(key, there.get(key), asked[key])]


def _differences(name: str, there: object, asked: object) -> Iterator[str]:
    if isinstance(there, dict) and isinstance(asked, dict):
        for key in sorted(set(there) | set(asked)):
            yield from _differences(f"{name}.{key}", there.get(key), asked.get(key))
    elif there != asked:
        yield f"{name} differs" if isinstance(asked, list) else f"{name} is {there!r} there, {asked!r} asked"
