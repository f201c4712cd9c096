r"""Write docs/atlas.md and its pictures from shipped models: python docs/make_atlas.py --work FOLDER [--real FOLDER].

Each model's atlas is measured with ``pulsebayes analyse identifiability`` into a folder of its own under ``--work``,
cell by cell, so that the same command goes on where it was stopped and a second run only writes the page. With
``--real`` the recordings there are set beside the simulations with ``pulsebayes cohort gap``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pulsebayes.apps.cli.main import run
from pulsebayes.apps.figures.atlas import (
    calibration_picture,
    information_picture,
    interval_picture,
    map_picture,
    regime_picture,
    trend_picture,
)
from pulsebayes.apps.figures.marks import Picture
from pulsebayes.apps.figures.static import draw_static
from pulsebayes.calibration.identifiability.study import BundleStudy
from pulsebayes.calibration.identifiability.trends import PUBLISHED, PUBLISHED_WAVE_SPEED
from pulsebayes.inference.bundle import Bundle, shipped_bundles

PAGE = Path(__file__).with_name("atlas.md")
PICTURES = PAGE.parent / "images"
MOST_BYTES = 150_000
MODELS: Mapping[str, tuple[str, ...]] = {
    "multi-site": (
        "-n", "400", "--draws", "200", "--many", "6000", "--noise", "0.25,4", "--sets", "singles", "--sobol", "128",
        "--given", "carotid", "--given", "radial", "--given", "finger-ppg",
    ),
    "abp-ppg": ("-n", "300", "--draws", "100", "--many", "1000", "--noise", "0.25,4", "--sobol", "0"),
    "radial-abp": ("-n", "600", "--draws", "100", "--many", "24000", "--seed", "2", "--sobol", "64"),
    "finger-ppg": ("-n", "300", "--draws", "100", "--many", "1000", "--noise", "", "--sobol", "0"),
}  # fmt: skip
"""The models of the gallery, the widest first, and how each is asked; those that do not ship are left out."""
GAPS = ("radial-abp",)
TOLD = ("HR", "LVET", "PWV", "C", "SV", "CO", "SVR", "MAP", "SBP", "PP", "CVP")
"""Quantities of the pictures, as far as a model has them; the table has all."""
MAPPED = ("carotid", "radial", "finger-ppg", "carotid-flow", "ART", "PLETH")
"""Channels of which it is told whom they tell most about."""
REPEATED = {"heart_rate": "HR", "mean_pressure": "MAP"}
"""Parameters that are quantities too, and are told once."""
HEAD = """# The uncertainty atlas

<!-- Written by docs/make_atlas.py from what `pulsebayes analyse identifiability` measured; do not edit. -->

What each signal can tell of each quantity, measured on simulated individuals with the models that ship. How it is
measured and what each word means: [What each signal can tell](identifiability.md). One command makes this page, goes on
where it was stopped, and measures anew what was measured of other weights:

```
python docs/make_atlas.py --work atlas --real ../shared/data/real
```

Intervals are those of 90 %, their size the median over individuals. What is said here is true of the simulator.
"""


REGIMES = """
## Regimes

Of the logarithm of interval sizes over individuals (relative to the value of what is positive), each channel alone and
all together, every quantity: the dip test and the likelihood ratio of two modes to one, corrected over all of a model
(Holm). Two regimes are said to be there where one of both is below 5 % and the smaller group holds at least 3 % of the
individuals.
"""


def measure(name: str, work: Path) -> dict[str, Any]:
    """Measures a model, goes on with it, or reads what was measured of just these weights."""
    out = work / name
    kept, asked = out / "atlas.json", out / "asked.json"
    wanted = {"fingerprint": fingerprint(name), "options": list(MODELS[name])}
    known = json.loads(asked.read_text(encoding="utf-8")) if asked.is_file() else {}
    if not kept.is_file() or known != wanted:
        out.mkdir(parents=True, exist_ok=True)
        anew = ["--force"] if known != wanted else []
        asked.write_text(json.dumps(wanted) + "\n", encoding="utf-8")
        kept.unlink(missing_ok=True)
        code = run(["analyse", "identifiability", name, *MODELS[name], *anew, "--out", str(out)])
        if code:
            raise SystemExit(code)
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def fingerprint(name: str) -> str:
    """What tells a model's weights from others."""
    return BundleStudy(Bundle.load(shipped_bundles()[name])).fingerprint


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def picture(shown: Picture, key: str) -> str:
    """Draws a picture, small, and returns the line that shows it."""
    image, suffix = draw_static(shown, form="svg"), "svg"
    if len(image) > MOST_BYTES:
        image, suffix = draw_static(shown, form="png"), "png"
    if len(image) > MOST_BYTES:
        raise SystemExit(f"{key} takes {len(image)} bytes: draw fewer panels")
    (PICTURES / f"atlas-{key}.{suffix}").write_bytes(image)
    return f"![{shown.title}](images/atlas-{key}.{suffix})"


def plain(atlas: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Quantities of every set of channels at the noise of training."""
    return {"+".join(cell["given"]): cell["quantities"] for cell in atlas["cells"] if not cell["noise"]}


def allowed(atlases: Mapping[str, Mapping[str, Any]]) -> str:
    """What the checks of coverage allow, which depends on the number of individuals."""
    each = {name: tested(atlas) for name, atlas in atlases.items()}
    slack = ", ".join(f"{3 + 100 / n**0.5:.1f} for `{name}` ({n} individuals)" for name, n in each.items())
    return (
        f"Coverage is allowed three points and two standard errors: at 50 % {slack} points. That is coarse; what was "
        "measured on thousands of simulations stands on the card of each model."
    )


def tested(atlas: Mapping[str, Any]) -> int:
    """Individuals behind coverage and regimes."""
    return int(max(atlas["config"]["n"], atlas["config"]["many"]))


def the_table(atlas: Mapping[str, Any]) -> str:
    """Size of the interval over that of the prior, of every quantity from every channel and all together."""
    cells = plain(atlas)
    sets = [*atlas["channels"], *(["+".join(atlas["channels"])] if len(atlas["channels"]) > 1 else [])]
    rows = [
        [f"{name} [{prior['unit']}]", *(f"{cells[key][name]['relative']:.2f}" for key in sets),
         f"{cells[sets[-1]][name]['interval']:.3g}"]
        for name, prior in atlas["prior"].items()
    ]  # fmt: skip
    names = [*atlas["channels"], *(["all"] if len(sets) > len(atlas["channels"]) else [])]
    return table(["quantity", *names, f"{names[-1]}, in its unit"], rows)


def regimes(atlases: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What the tests found, in words, and the two clearest cases of each kind."""
    shown: list[dict[str, Any]] = []
    for name, atlas in atlases.items():
        two, one = ([row for row in atlas["regimes"] if row["two"] is kind] for kind in (True, False))
        yield f"- `{name}`: two regimes in {len(two)} of {len(atlas['regimes'])} (channels, quantity)" + (
            "."
            if two
            else f"; least p {min(min(row['p'], row['p_modes']) for row in one):.2g}, corrected {one[0]['holm']:.2g}."
        )
        for row in two[:6]:
            by = row["separators"][0] if row["separators"] else None
            told = f"; {by['name']} separates them (AUC {by['auc']:.2f}, above {by['threshold']:.3g}, accuracy "
            yield (
                f"  - {row['quantity']} from {row['given']}: intervals of {row['below']:.3g} and {row['above']:.3g} "
                f"{row['unit']} ({100 * min(row['share'], 1 - row['share']):.0f} % of individuals in the smaller "
                f"group), p = {row['holm']:.2g}, of the dip alone {row['p']:.2g}"
                + (f"{told}{by['accuracy']:.2f})" if by else "")
            )
        if not shown:
            shown = [*two[:2], *one[-(4 - len(two[:2])) :]]
    if not any(row["two"] for atlas in atlases.values() for row in atlas["regimes"]):
        yield "\nOne regime everywhere: widths differ between persons, but without a gap between two kinds of them."
    yield ""
    yield picture(regime_picture(shown), "regimes")


def additions(atlas: Mapping[str, Any]) -> str:
    """The best channel to add to each measured set, for the quantities told."""
    rows = [row for row in atlas["next"] if row["quantity"] in TOLD and row["bits"] > 3 * row["error"] + 0.05]
    rows.sort(key=lambda row: -row["bits"])
    return table(
        ["have", "quantity", "add", "information [bit]", "interval narrower by"],
        [[r["given"], r["quantity"], r["add"], f"{r['bits']:.2f} ± {r['error']:.2f}", f"{100 * r['narrowing']:.0f} %"]
         for r in rows[:16]],
    )  # fmt: skip


def whom(atlas: Mapping[str, Any], channel: str) -> Iterator[str]:
    """What the width of each quantity goes with most, from one channel."""
    repeated = {parameter for parameter, name in REPEATED.items() if name in atlas["prior"]}
    for row in [r for r in atlas["maps"] if r["given"] == channel and r["quantity"] in TOLD]:
        strong = [s for s in row["strongest"] if abs(s["rho"]) >= 0.3 and s["p"] < 0.01 and s["name"] not in repeated]
        if strong:
            yield f"- {row['quantity']}: " + ", ".join(f"{s['name']} {s['rho']:+.2f}" for s in strong[:3])


def louder(atlas: Mapping[str, Any]) -> str:
    """How much intervals grow from the least noise to the greatest, the three that grow most."""
    levels = sorted(atlas["config"]["noise"])
    cells = {("+".join(cell["given"]), cell["noise"]): cell["quantities"] for cell in atlas["cells"]}
    grown = [
        (cells[given, levels[-1]][name]["interval"] / max(row["interval"], 1e-12) - 1, name, given)
        for (given, noise), rows in cells.items()
        if noise == levels[0]
        for name, row in rows.items()
    ]
    most = ", ".join(f"{name} from {given} by {100 * by:.0f} %" for by, name, given in sorted(grown)[:-4:-1])
    return (
        f"\nFrom {levels[0]:g} to {levels[-1]:g} times the noise at the centre of the sensor's prior intervals of "
        f"`{atlas['model']}` grow most for: {most}; half of all by less than "
        f"{100 * sorted(by for by, _, _ in grown)[len(grown) // 2]:.1f} %."
    )


def several_modes(atlases: Mapping[str, Mapping[str, Any]]) -> str:
    """Where more posteriors have several modes than by chance."""
    lines = []
    for model, atlas in atlases.items():
        cells = plain(atlas)
        tests = sum(len(rows) for rows in cells.values())
        each = [
            (q["modal_p"] * tests, q["modal"], name, given) for given, row in cells.items() for name, q in row.items()
        ]
        found = [one for one in each if one[0] < 0.05]
        said = f"- `{model}`: in {len(found)} of {tests} (channels, quantity) more than chance (binomial, Bonferroni)"
        for p, share, quantity, given in sorted(found)[:4]:
            said += f"; {quantity} from {given} {100 * share:.1f} %, p = {p:.1g}"
        lines.append(said + ".")
    return "Posteriors whose draws the dip test calls multimodal at 1 %:\n\n" + "\n".join(lines)


def exchanged(atlas: Mapping[str, Any]) -> str:
    """Pairs of quantities that a channel cannot tell apart, with the channel in which they hang together most."""
    everything = "+".join(atlas["channels"])
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in atlas["trade_offs"]:
        pairs.setdefault((row["first"], row["second"]), []).append(row)
    rows = []
    for (first, second), found in pairs.items():
        alone = [row for row in found if row["given"] != everything or len(atlas["channels"]) == 1]
        together = [row for row in found if row["given"] == everything]
        if not alone:
            continue
        most = max(alone, key=lambda row: abs(row["posterior"]))
        rest = f"{together[0]['posterior']:+.2f}" if together else "less than .5"
        alone_most = f"{most['posterior']:+.2f} ({most['given']})"
        rows.append([f"{first}, {second}", str(len(alone)), alone_most, rest, f"{most['prior']:+.2f}"])
    rows.sort(key=lambda row: (-int(row[1]), row[0]))
    head = ["pair", "channels in which it does", "most", "all together", "in the prior"]
    said = (
        f"Pairs whose posterior correlation is a half or more on average, `{atlas['model']}`, each channel alone:\n\n"
    )
    return said + table(head, rows[:14])


def by_age(trends: Mapping[str, Any]) -> str:
    """The healthy baseline adult of each age: as simulated, and as published."""
    healthy, rows = trends["healthy"], []
    for name, (label, published) in PUBLISHED.items():
        pairs = zip(healthy[name], published, strict=True) if published else ((v, None) for v in healthy[name])
        rows.append([label, *(f"{v:.4g}" + ("" if p is None else f" ({p:.4g})") for v, p in pairs)])
    said = "Healthy baseline adults of the same simulator (in brackets as published):\n\n"
    return said + table(["", *(f"{age:g} years" for age in healthy["age"])], rows)


def sobol(atlas: Mapping[str, Any]) -> str:
    """What a classical sensitivity analysis says beside the information, and what it misses."""
    found, missed = atlas["sensitivity"], atlas["sensitivity"]["missed"]

    def listed(rows: list[dict[str, Any]]) -> str:
        told = [f"{r['quantity']} from {r['channel']} (index {r['index']:.2f}, {r['bits']:.2f} bit)" for r in rows[:3]]
        return ", ".join(told) if told else "none"

    return (
        f"Ranks of first-order indices and of information over (channel, quantity) correlate by {found['rho']:.2f}. "
        f"Known though without influence (index below .02): {listed(missed['known_without_influence'])}. Of influence "
        f"but hardly known: {listed(missed['influence_but_hardly_known'])}. One number a parameter cannot show the "
        f"{missed['regimes']} cases of two regimes and {missed['trade_offs']} pairs that trade off."
    )


def gap(model: str, work: Path, real: Path) -> str:
    """Where real recordings sit against a model's simulations, a row each; those it cannot judge are counted."""
    weights = (
        shipped_bundles()[model] / "weights.safetensors"
    ).read_bytes()  # real recordings are read with the adapter too
    out = work / f"gap-{model}-{hashlib.sha256(weights).hexdigest()[:8]}"
    if not (out / "gap.json").is_file():
        run(
            ["cohort", "gap", str(real), "--model", model, "--every", "120s", "--simulations", "256", "--out", str(out)]
        )
    found = json.loads((out / "gap.json").read_text(encoding="utf-8"))
    rows = [row for row in found["recordings"] if row.get("usable")]
    left = len(found["recordings"]) - len(rows)
    shown = [
        [row["file"], f"{row['usable']} of {row['windows']}", _share(row["embedding"]["share_of_simulations_nearer"]),
         _number(row["ejection_against_notch"]["difference"]), ", ".join(f"{k} {v}" for k, v in row["domain"].items())]
        for row in rows
    ]  # fmt: skip
    head = ["recording", "usable windows", "simulations nearer", "LVET - notch [ms]", "domain verdict"]
    tests = [f"{name}: p = {t['p']:.2g} ({t['n']} subjects)" for name, t in found["tests"].items()]
    said = f"\n\nCould they have been simulated? {'; '.join(tests)}." if tests else ""
    rest = f"{left} other files hold no arterial line with a unit and a rate, or no usable window."
    return f"{table(head, shown)}\n\n{rest}{said}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:+.0f}"


def page(atlases: Mapping[str, Mapping[str, Any]], gaps: Mapping[str, str]) -> Iterator[str]:
    """The parts of the page."""
    yield HEAD
    yield "## Is it as it must be?\n"
    yield table(
        ["model", "check", "holds", "found"],
        [[f"`{name}`", c["name"], "yes" if c["holds"] else "**no**", c["found"]] for name, a in atlases.items()
         for c in a["checks"]],
    )  # fmt: skip
    name, widest = next(iter(atlases.items()))
    yield "\n" + allowed(atlases)
    told = [quantity for quantity in TOLD if quantity in widest["prior"]]
    n = tested(widest)
    yield f"\n## What each channel tells\n\n`{name}`, {n} individuals. Size of the interval over that of the prior:\n"
    yield the_table(widest)
    yield "\n" + picture(information_picture(widest, told[:6]), "information")
    yield "\n" + picture(interval_picture(widest, told[:6]), "intervals")
    yield "\n" + picture(calibration_picture(widest, list(widest["prior"])), "calibration")
    if widest["config"]["noise"]:
        yield louder(widest)
    if widest["next"]:
        yield "\n## The best next measurement\n\n" + additions(widest)
    yield REGIMES
    yield "\n".join(regimes(atlases))
    yield "\n## Posteriors of several modes\n\n" + several_modes(atlases)
    yield "\n## What trades off\n\n" + exchanged(widest)
    yield "\n## Of whom\n\nWhat intervals grow (+) or shrink (-) with, Spearman's correlation:\n"
    for channel in [c for c in widest["channels"] if c in MAPPED]:
        lines = "\n".join(whom(widest, channel))
        yield f"From {channel} (`{name}`):\n\n{lines}\n" if lines else ""
    mapped = "PWV" if "PWV" in widest["prior"] else told[0]
    own = [m for m in widest["maps"] if m["quantity"] == mapped and m["given"] in MAPPED]
    yield picture(map_picture((own or [m for m in widest["maps"] if m["quantity"] == mapped])[:4], mapped), "map")
    if widest["trends"]:
        yield "\n## Age\n\n" + by_age(widest["trends"])
        yield "\n" + picture(trend_picture(widest["trends"], PUBLISHED_WAVE_SPEED), "trends")
    for model, atlas in atlases.items():
        if atlas["sensitivity"]:
            yield f"\n## Beside Sobol's indices: `{model}`\n\n" + sobol(atlas)
    for model, text in gaps.items():
        yield f"\n## Where real recordings sit: `{model}`\n\n{text}"


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="where cells are kept")
    parser.add_argument("--real", type=Path, help="folder of recordings for the gap")
    asked = parser.parse_args()
    shipped = shipped_bundles()
    atlases = {name: measure(name, asked.work) for name in MODELS if name in shipped}
    gaps = {name: gap(name, asked.work, asked.real) for name in GAPS} if asked.real else {}
    PAGE.write_text("\n".join(page(atlases, gaps)).rstrip() + "\n", encoding="utf-8")
    print(f"{PAGE.name}: {', '.join(atlases)}")


if __name__ == "__main__":
    main()
