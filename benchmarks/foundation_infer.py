r"""`infer` on ten minutes of pressure, a window every 8 s, 2,000 draws each: its parts, the whole, and sbi's draws.

The rival draws from the same trained weights: sbi's `DirectPosterior` around a `ZukoFlow` of our flow and embedding,
whose box prior is the unconstrained space, so that sbi rejects nothing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from .rows import Row, best

MODEL = "radial-abp"
SETTING = "75 windows, 2,000 draws, one thread"
N_DRAWS = 2000


def ten_minutes(folder: Path) -> Path:
    """The shipped simulated patient five times over, as CSV without a time column; it splices between windows."""
    from pulsebayes import apps

    rows = (Path(apps.__path__[0]) / "cli" / "demo_data" / "simulated_patient.csv").read_text().splitlines()[1:]
    values = [row.partition(",")[2] for row in rows]
    file = folder / "ten-minutes.csv"
    file.write_text("ABP [mmHg]\n" + "\n".join(values * 5) + "\n")
    return file


def _import_seconds(module: str) -> float:
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def parts(quick: bool) -> Iterator[Row]:
    """Import, load, read, gate, domain, embed, sample, summarise and write, one after another in one thread."""
    import torch

    from pulsebayes.inference import Bundle, Question, find_bundle
    from pulsebayes.waveforms import read
    from pulsebayes.waveforms.windows import cut_windows

    torch.set_num_threads(1)
    modules = ("pulsebayes.apps.cli.answer_files",) if quick else ("torch", "zuko", "pulsebayes.apps.cli.answer_files")
    for module in modules:
        seconds = [_import_seconds(module) for _ in range(1 if quick else 3)]
        spread = None if quick else max(seconds) - min(seconds)
        yield Row("infer", "pulsebayes", f"python -c 'import {module}'", "import [s]", min(seconds), spread)
    with tempfile.TemporaryDirectory() as folder:
        file = ten_minutes(Path(folder))
        load, spread, bundle = best(lambda: Bundle.load(find_bundle(MODEL)))
        yield Row("infer", "pulsebayes", SETTING, "load the bundle [s]", load, spread)
        reading, spread, recording = best(lambda: read(file, fs=125.0, units={"ART": "mmHg"}))
        yield Row("infer", "pulsebayes", SETTING, "read the file [s]", reading, spread)
        gating, spread, windows = best(lambda: list(cut_windows(recording)))
        yield Row("infer", "pulsebayes", SETTING, "windows and gate [s]", gating, spread)
        x = np.stack([w.values[0] for w in windows if w.verdict.usable]).astype(np.float32)
        yield Row("infer", "pulsebayes", SETTING, "windows that the gate lets pass", len(x))
        yield from _domain(bundle, x)
        yield from _draws(bundle.npe, torch.from_numpy(x), quick)
        yield from _writing(bundle, recording, Question(n_draws=N_DRAWS), Path(folder))


def _domain(bundle: Any, x: np.ndarray) -> Iterator[Row]:
    from pulsebayes.inference.answering import domain_model

    model = domain_model(bundle)
    if model is not None:
        seconds, spread, _ = best(lambda: [model.assess(row) for row in x])
        yield Row("infer", "pulsebayes", SETTING, "domain verdict [s]", seconds, spread)


def _draws(npe: Any, x: Any, quick: bool) -> Iterator[Row]:
    """Embedding and draws, ours and sbi's, from the same weights; a quick run times sbi on five windows."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        embed, spread, _ = best(lambda: npe.embedding(x))
    yield Row("infer", "pulsebayes", SETTING, "embed [s]", embed, spread)
    ours, spread, _ = best(lambda: [npe.sample(row[None], N_DRAWS, generator) for row in x])
    yield Row("infer", "pulsebayes", SETTING, "embed and sample [s]", ours, spread)
    try:
        posterior = _sbi_posterior(npe, x)
    except ImportError:
        yield Row("infer", "sbi", SETTING, "embed and sample [s]", "not installed")
        return
    some = x[:: len(x) // 5] if quick else x
    with torch.no_grad():
        theirs, spread, _ = best(lambda: [_sbi_draw(posterior, npe, row) for row in some], 1 if quick else 3)
    share = len(x) / len(some)
    method = f"sbi {metadata.version('sbi')} DirectPosterior, same weights"
    yield Row("infer", method, SETTING, "embed and sample [s]", theirs * share, None if quick else spread)
    yield Row("infer", "pulsebayes", SETTING, f"times as fast as {method}", theirs * share / ours)
    if not quick:
        yield Row("infer", method, "python -c 'import sbi.inference'", "import [s]", _import_seconds("sbi.inference"))


def _sbi_posterior(npe: Any, x: Any) -> Any:
    """sbi's posterior around our flow and embedding; draws are standardised unconstrained outputs."""
    import torch
    from sbi.inference.posteriors import DirectPosterior
    from sbi.neural_nets.estimators import ZukoFlow
    from sbi.utils import BoxUniform

    dim = len(npe.z_mean)
    flow = ZukoFlow(npe.flow, npe.embedding, input_shape=torch.Size([dim]), condition_shape=x.shape[1:])
    box = BoxUniform(-1e6 * torch.ones(dim), 1e6 * torch.ones(dim))
    return DirectPosterior(flow, box)


def _sbi_draw(posterior: Any, npe: Any, row: Any) -> np.ndarray:
    z = posterior.sample((N_DRAWS,), x=row, show_progress_bars=False) * npe.z_sd + npe.z_mean
    return np.asarray(npe.outputs.space.constrain(z.double().numpy()))


def _writing(bundle: Any, recording: Any, question: Any, folder: Path) -> Iterator[Row]:
    """All windows answered, in one thread, and the two files that hold the answers."""
    from pulsebayes.apps.cli.infer_output import ResultFiles
    from pulsebayes.inference.answer import Prior
    from pulsebayes.inference.answering import answer_recording

    prior_s, spread, prior = best(lambda: Prior.of(bundle))
    yield Row("infer", "pulsebayes", SETTING, "draws of the prior [s]", prior_s, spread)
    seconds, spread, answers = best(lambda: list(answer_recording(bundle, recording, question, prior=prior)))
    yield Row("infer", "pulsebayes", SETTING, "gate to summaries, all windows [s]", seconds, spread)

    def write() -> None:
        files = ResultFiles(folder / "result", bundle, question, prior=prior, attributes={}, keep_uninformative=False)
        for answered in answers:
            files.write(answered)
        files.close(None)

    seconds, spread, _ = best(write)
    yield Row("infer", "pulsebayes", SETTING, "write netCDF and CSV [s]", seconds, spread)


def answer(quick: bool) -> Iterator[Row]:
    """The command itself, from start-up to the written files, and the memory it takes for ten minutes and for forty."""
    setting = "75 windows, 2,000 draws, all cores, start-up and writing included"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = ten_minutes(folder)
        seconds, spread, _ = best(lambda: _command(file, folder / "answers"), 1 if quick else 5)
        yield Row("infer", "pulsebayes infer", setting, "all [s]", seconds, None if quick else spread)
        if quick:
            return
        yield Row("infer", "pulsebayes infer", "ten minutes", "peak memory [MB]", _peak(file, folder))
        rows = file.read_text().splitlines()
        long = folder / "forty-minutes.csv"
        long.write_text("\n".join([rows[0], *rows[1:] * 4]) + "\n")
        yield Row("infer", "pulsebayes infer", "forty minutes", "peak memory [MB]", _peak(long, folder))


def _command(file: Path, out: Path) -> None:
    program = str(Path(sys.executable).with_name("pulsebayes"))
    command = [program, "infer", str(file), "--fs", "125", "--unit", "ART=mmHg", "--out", str(out), "--force"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.decode())


def _peak(file: Path, folder: Path) -> float:
    """Largest resident set of the command, measured in a process that has no other child."""
    code = (
        "import resource; from pathlib import Path; from benchmarks.foundation_infer import _command;"
        f"_command(Path({str(file)!r}), Path({str(folder / 'peak')!r}));"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    unit = 1024.0 if sys.platform != "darwin" else 1024.0**2
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout) / unit
