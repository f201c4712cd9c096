"""Inference: the processor time of a day of windows and of a monitor's update, with and without a known patient."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .rows import Row

_KNOWN = {
    "causal update": "",
    "causal update, age and height known": "age=58,height=174cm",
    "causal update, age, height and aortic root known": "age=58,height=174cm,aorta=34mm",
    "causal update, age, sex and aortic root known": "age=58,sex=m,aorta=34mm",
}


def timed(works: dict[str, Callable[[], object]], setting: str) -> Iterator[Row]:
    """Processor time of each, and of the recording over the windows one by one."""
    seconds = {}
    for name, work in works.items():
        begun = time.process_time()
        work()
        seconds[name] = time.process_time() - begun
        yield Row("a day", name, setting, "processor time [s]", seconds[name])
    yield Row("a day", "recording / window", setting, "ratio", seconds["recording"] / seconds["window"])


def days(bundle: Any, layer: Any, every_s: float) -> dict[str, Callable[[], object]]:
    """The shipped simulated patient over and over for a day, answered as `infer` does."""
    from pathlib import Path

    from pulsebayes import apps
    from pulsebayes.inference.answering import Question, answer_recording
    from pulsebayes.inference.pooling import answer_pooled
    from pulsebayes.waveforms import Recording, read

    wave = read(Path(apps.__path__[0]) / "cli" / "demo_data" / "simulated_patient.hea").values("ART")
    whole = np.tile(wave, -(-86400 * 125 // len(wave)))[: 86400 * 125]
    recording = Recording.from_arrays("day", {"ABP": whole}, fs=125, units={"ABP": "mmHg"})
    question = Question(every_s=every_s)
    return {
        "window": lambda: sum(1 for _ in answer_recording(bundle, recording, question)),
        "recording": lambda: sum(1 for _ in answer_pooled(bundle, layer, recording, question)),
        "causal": lambda: sum(1 for _ in answer_pooled(bundle, layer, recording, question, pool="causal")),
    }


def updates(bundle: Any, layer: Any, windows: int) -> Iterator[Row]:
    """What a monitor waits for: a window's embedding, the pool brought up to date, 2,000 draws."""
    import torch

    from pulsebayes.inference.pooling import RunningPool, embed_windows

    waves = 90 + 20 * np.sin(np.arange(1000) / (14 + np.random.default_rng(0).random((windows, 1))))
    for name, words in _KNOWN.items():
        answers, running, spent = _answers(bundle, layer, words), RunningPool(layer, bundle.contract.window_s), []
        for i, wave in enumerate(waves):
            begun = time.process_time()
            context = torch.from_numpy(embed_windows(bundle, wave[None]))
            known = running.add(layer.npe.unit(bundle.npe, context)[0], 8.0 * i)
            if known is not None:
                shared = answers.shared(known, running.start_s, 2000, informed=bool(words))
                layer.npe.sample_window(bundle.outputs.space, known, shared.draws, torch.Generator().manual_seed(i))
            spent.append(1000 * (time.process_time() - begun))
        setting = f"{windows} windows, 2,000 draws"
        yield Row("a day", name, setting, "processor time, median [ms]", float(np.median(spent)))
        yield Row("a day", name, setting, "processor time, 99 % [ms]", float(np.quantile(spent, 0.99)))


def _answers(bundle: Any, layer: Any, words: str) -> Any:
    """What answers, knowing a patient by some words."""
    from pulsebayes.inference.answer import Prior
    from pulsebayes.inference.answering import Question
    from pulsebayes.inference.bundle import find_bundle
    from pulsebayes.inference.patient import PatientEvidence, load_patient, parse_patient
    from pulsebayes.inference.pooling.answers import PooledAnswers

    alone = load_patient(find_bundle(bundle.name), bundle)
    assert alone is not None, f"{bundle.name} has no patient layer"
    evidence = PatientEvidence(alone, parse_patient(words)) if words else None
    return PooledAnswers(bundle, layer, Question(n_draws=2000), Prior.of(bundle), evidence)
