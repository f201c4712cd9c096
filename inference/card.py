r"""The card of a bundle: what it is for, what it was trained on, how well it does, where it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .contract import InputContract
from .recipe import shipped_recipes

__all__ = ["markdown_table", "render_card"]

NOTICE = "Research use only. Not a medical device."


def render_card(
    name: str,
    title: str,
    contract: InputContract,
    training: Mapping[str, Any],
    measured: Mapping[str, Any],
    units: Mapping[str, str],
) -> str:
    r"""Writes a card as Markdown.

    Arguments:
        name: Name of the model.
        title: One line on what it does.
        contract: What it reads.
        training: What the bundle keeps on its training.
        measured: What was measured on held-out simulations.
        units: Unit of every quantity.

    Returns:
        The card.

    Example:
        >>> print(render_card("tiny", "A tiny model", InputContract(), {}, {}, {}).splitlines()[0])
        # tiny
    """
    parts = [
        f"# {name}",
        f"{title}.\n\n**{NOTICE}**" if title else f"**{NOTICE}**",
        _use(contract),
        _data(training),
        _results(measured, units) if measured else "## Measured\n\nNothing was measured.",
        *([_given(measured["given"], units)] if measured.get("given") else []),
        *([_refused(measured["refused"])] if measured.get("refused") else []),
        _limits(),
        "## Licence\n\nApache-2.0. The training data are simulated; no patient's data were used.",
    ]
    return "\n\n".join(parts) + "\n"


def _use(contract: InputContract) -> str:
    return (
        "## Intended use\n\n"
        f"Research on haemodynamics. Reads {contract.window_s:g} s of {contract.reads} at "
        f"{contract.fs:g} Hz and returns a posterior over the quantities below. Its answers are those of a simulator "
        "of adults with a sensor model; they were not compared with reference measurements in patients here."
    )


def _made_again(recipe: Mapping[str, Any] | None) -> str | None:
    if not recipe:
        return None
    if recipe["name"] in shipped_recipes():
        return f"`pulsebayes train --recipe {recipe['name']} --out BUNDLE`"
    return "`pulsebayes train SET.zarr --out BUNDLE` with that set and the recipe in `bundle.json`"


def _learner(recipe: Mapping[str, Any]) -> str | None:
    finer = recipe.get("finer")
    if not finer:
        return None
    return "an adapter of the context; embedding and flow stayed" if finer.get("adapter") else "all weights"


def _data(training: Mapping[str, Any]) -> str:
    lines = ["## Training data", ""]
    counts = training.get("counts", {})
    finer = training.get("finer", {})
    shown = {
        "simulator": training.get("simulator"),
        "rows simulated": counts.get("rows"),
        "rows trained and validated on": counts.get("kept"),
        "left out, unusable status": counts.get("unusable status"),
        "left out, not finite": counts.get("not finite"),
        "left out, outside the outputs' bounds": counts.get("outside bounds"),
        "fingerprint of the set": training.get("fingerprint"),
        "seeds": training.get("seeds"),
        "made again by": _made_again(training.get("recipe")),
        "started from": training.get("start"),
        "epochs": training.get("epochs"),
        "best validation loss [nats]": training.get("validation_loss"),
        "then trained, and measured, on": finer.get("simulator"),
        "what learned of it": _learner(training.get("recipe") or {}),
        "rows simulated of it": finer.get("counts", {}).get("rows"),
        "rows of it trained and validated on": finer.get("counts", {}).get("kept"),
        "fingerprint of its set": finer.get("fingerprint"),
        "epochs on it": finer.get("epochs"),
        "best validation loss on it [nats]": finer.get("validation_loss"),
    }
    lines += [f"- {key}: {value}" for key, value in shown.items() if value is not None]
    return "\n".join(lines)


def _results(measured: Mapping[str, Any], units: Mapping[str, str]) -> str:
    head = f"## Measured on {measured['n']} held-out simulations\n\n"
    head += "Simulated with another seed, observed through the same sensor model. Contraction is the share of the\n"
    head += (
        "prior's variance that a window removes (of the logarithm for positive quantities but pressures); the error\n"
    )
    head += "is that of the posterior median, half of the windows do better; the 90 % interval is its median width.\n"
    head += f"Medians of {measured['draws']} draws a window.\n\n"
    columns = ["quantity", "prior 5-95 %", "contraction", "median error", "90 % interval", "cover 50 %", "cover 90 %"]
    columns += ["SBC p", "SBC p (Holm)"]
    rows = [_result_row(quantity, measured, units) for quantity in measured["contraction"]]
    return head + markdown_table(columns, rows)


def _given(found: Mapping[str, Mapping[str, Any]], units: Mapping[str, str]) -> str:
    head = "## By what is given\n\n"
    head += (
        "The same held-out recordings with channels taken away; the table above has one set drawn for each window.\n"
    )
    head += "Contraction, and the shares held by 50 % and 90 % intervals in per cent.\n\n"
    columns = ["quantity", *(f"{given}: {what}" for given in found for what in ("contraction", "50 %", "90 %"))]
    rows = []
    for name, unit in units.items():
        row = [f"{name} [{unit}]"]
        for measured in found.values():
            held = (f"{100 * measured['coverage'][level][name]:.1f}" for level in ("0.5", "0.9"))
            row += [f"{measured['contraction'][name]:.2f}", *held]
        rows.append(row)
    return head + markdown_table(columns, rows)


def _refused(shares: Mapping[str, Mapping[str, float]]) -> str:
    head = "## What is refused\n\n"
    head += "Shares of windows, in per cent: refused by the quality gate, outside the domain, either;\n"
    head += (
        "shifted windows are answered and marked uncalibrated. Held-out simulations and what is made of them; real\n"
    )
    head += "recordings and nonsense are below where they were measured.\n\n"
    names = ("gate", "outside", "refused", "shifted")
    rows = [
        [what, str(int(share["n"])), *(f"{100 * share[name]:.1f}" for name in names)] for what, share in shares.items()
    ]
    return head + markdown_table(["windows", "n", *names], rows)


def _result_row(quantity: str, measured: Mapping[str, Any], units: Mapping[str, str]) -> list[str]:
    low, high = measured["prior_range"][quantity]
    absolute = measured["median_error_mmHg"].get(quantity)
    error = f"{100 * measured['median_error'][quantity]:.1f} %" if absolute is None else f"{absolute:.2g} mmHg"
    return [
        f"{quantity} [{units.get(quantity, '')}]",
        f"{low:.3g} to {high:.3g}",
        f"{measured['contraction'][quantity]:.2f}",
        error,
        f"{measured['interval'][quantity]:.3g}",
        f"{100 * measured['coverage']['0.5'][quantity]:.1f} %",
        f"{100 * measured['coverage']['0.9'][quantity]:.1f} %",
        f"{measured['sbc'][quantity]:.3f}",
        f"{measured['sbc_holm'][quantity]:.3f}",
    ]


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""A table as cards have it.

    Arguments:
        columns: Heads of the columns.
        rows: Cells by row.

    Example:
        >>> print(markdown_table(["quantity"], [["HR"]]))
        | quantity |
        | --- |
        | HR |
    """
    lines = [" | ".join(columns), " | ".join("---" for _ in columns), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def _limits() -> str:
    return (
        "## Where it fails\n\n"
        "- A window by itself guesses anew what all windows of a patient share. Where `pooling.md` stands beside this\n"
        "  card `infer` pools them; the numbers above are of windows alone.\n"
        "- Coverage holds for the simulated population. On real recordings it is not known, and windows that the\n"
        "  domain verdict calls *shifted* are marked uncalibrated.\n"
        "- Aortic valve disease, shunts, mechanical support, children and pregnancy are outside the simulations."
    )
