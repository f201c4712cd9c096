r"""Rows of the uncertainty atlas: what the channels of shipped models tell of every quantity, and its checks."""

from __future__ import annotations

from collections.abc import Iterator

from .rows import Row

MODELS = ("radial-abp", "finger-ppg", "abp-ppg", "multi-site")
"""Models asked, as far as they ship; the quick run asks the first."""


def atlas(quick: bool) -> Iterator[Row]:
    """Information, interval and coverage by model, channels, noise and quantity; whether each check holds."""
    import torch

    from pulsebayes.calibration.identifiability import AtlasConfig, BundleStudy, atlas_of, run_cells
    from pulsebayes.inference.bundle import Bundle, shipped_bundles

    torch.set_num_threads(1)
    shipped = {name: folder for name, folder in shipped_bundles().items() if name in MODELS}
    names = [name for name in MODELS if name in shipped]
    for name in names[:1] if quick else names:
        config = (
            AtlasConfig(n=100, draws=100, noise=(4.0,), sets="singles")
            if quick
            else AtlasConfig(n=300, draws=200, noise=(0.25, 4.0), sets="singles")
        )
        found = atlas_of(run_cells(BundleStudy(Bundle.load(shipped[name])), config))
        for cell in found["cells"]:
            setting = "+".join(cell["given"]) + (f", noise x {cell['noise']:g}" if cell["noise"] else "")
            for quantity, row in cell["quantities"].items():
                task = f"atlas: {quantity}"
                yield Row(task, name, setting, "information [bit]", row["bits"], row["bits_error"])
                yield Row(task, name, setting, "interval / prior's", row["relative"])
                yield Row(task, name, setting, "coverage at 90 % [%]", 100 * row["coverage"]["0.9"])
        for check in found["checks"]:
            yield Row("atlas: checks", name, check["found"], check["name"], "holds" if check["holds"] else "fails")
