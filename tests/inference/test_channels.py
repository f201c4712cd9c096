r"""Estimators of several channels: a missing channel's content cannot matter, order is by role, old models stay."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from pulsebayes.calibration.channel_measures import groups_of
from pulsebayes.calibration.faults import FAULTS, sensitivity
from pulsebayes.inference.answer import Answer, Refusal
from pulsebayes.inference.answering import Question, answer_recording
from pulsebayes.inference.beat_rate import RateCentring, counted_rate
from pulsebayes.inference.bundle import Bundle, BundleError, find_bundle, of_one_channel, reads_several
from pulsebayes.inference.channel_domain import ChannelDomains
from pulsebayes.inference.contract import ChannelContract, InputContract
from pulsebayes.inference.domain import DomainModel
from pulsebayes.inference.embedding import ChannelScale, EmbeddingConfig, build_embedding
from pulsebayes.inference.level import UNKNOWN, whole_beats_mean
from pulsebayes.inference.npe import NPE, NPEConfig
from pulsebayes.inference.outputs import INDEPENDENT, OutputSpace
from pulsebayes.inference.recipe import Recipe, find_recipe
from pulsebayes.inference.sampling import invert_flow
from pulsebayes.inference.streaming import ArraySource
from pulsebayes.inference.training import TrainConfig, TrainData, train
from pulsebayes.simulators.channels import ChannelSensor, SensedChannel
from pulsebayes.simulators.photoplethysmograph import PPGSensor
from pulsebayes.simulators.sensors import SensorModel
from pulsebayes.waveforms.recording import Recording, RecordingError

CHANNELS = (ChannelScale("ART"), ChannelScale("PLETH", relative=True))
SHAPE = EmbeddingConfig(
    "channels", stem=8, stages=(8, 12), blocks=(1, 1), heads=2, hidden=16, context=8, channels=CHANNELS
)
CONTRACT = InputContract(several=(ChannelContract(), ChannelContract("PLETH", "1", uninformative=0.6)))


def pulses(n: int, rng: np.random.Generator, *, samples: int = 1000, rate: np.ndarray | None = None) -> np.ndarray:
    rate = rng.uniform(60, 110, n) if rate is None else rate
    phase = (np.arange(samples) / 125 + rng.uniform(0, 1, (n, 1))) % (60 / rate[:, None])
    return 70 + 60 * np.exp(-phase / 0.3) * np.minimum(phase / 0.1, 1) + 0.2 * rng.normal(size=(n, samples))


def both(n: int, seed: int = 0, samples: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rate = rng.uniform(60, 110, n)
    art, pleth = pulses(n, rng, samples=samples, rate=rate), pulses(n, rng, samples=samples, rate=rate)
    return np.stack([art, 0.01 * pleth - 3], 1).astype(np.float32), rate


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    outputs = OutputSpace.from_names(INDEPENDENT)
    torch.manual_seed(0)
    npe = NPE(outputs, NPEConfig(SHAPE, transforms=2, hidden=(16,))).eval()
    low = np.array([45, 40, 220, 5, 0.7, 65, 2, 15, 10], float)
    high = np.array([120, 110, 380, 14, 2.5, 110, 12, 60, 35], float)
    prior = np.random.default_rng(0).uniform(low, high, (500, 9)).astype(np.float32)
    npe.fit_scales(torch.from_numpy(outputs.space.unconstrain(prior)).float(), torch.from_numpy(both(64)[0]))
    measured = {
        "n": 2000,
        "coverage": {"0.9": {"HR": 0.9}},
        "given": {"ART": {"n": 7, "coverage": {"0.9": {"HR": 0.8}}}},
    }
    return Bundle("two", npe, prior, CONTRACT, {"fingerprint": "ab"}, measured, card="# two\n")


def without(x: np.ndarray, channel: int, content: float = np.nan) -> torch.Tensor:
    part = x.copy()
    part[:, channel] = content
    part[:, channel, 5] = np.nan
    return torch.from_numpy(part)


@pytest.mark.parametrize("channel", [0, 1])
def test_the_content_of_a_missing_channel_cannot_matter(bundle: Bundle, channel: int) -> None:
    x, _ = both(6)
    with torch.no_grad():
        one, other = (bundle.npe.embedding(without(x, channel, value)) for value in (np.nan, 1e6))
    assert torch.equal(one, other)
    assert torch.isfinite(one).all()


def test_a_row_does_not_depend_on_what_other_rows_are_given(bundle: Bundle) -> None:
    x, _ = both(6)
    mixed = torch.from_numpy(x.copy())
    mixed[::2, 1] = torch.nan
    mixed[1, 0] = torch.nan
    with torch.no_grad():
        together = bundle.npe.embedding(mixed)
        alone = torch.cat([bundle.npe.embedding(row[None]) for row in mixed])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_only_what_is_given_goes_through_the_convolutions(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.from_numpy(both(9)[0])
    x[:5, 1], x[5:8, 0] = torch.nan, torch.nan
    embedding, counted = bundle.npe.embedding, []
    trunk = embedding._trunk
    monkeypatch.setattr(embedding, "_trunk", lambda waves, which: counted.append(len(waves)) or trunk(waves, which))
    with torch.no_grad():
        embedding(x)
    assert counted == [10]


def test_channels_and_sets_of_them_are_told_apart(bundle: Bundle) -> None:
    x, _ = both(4)
    with torch.no_grad():
        full, art, pleth = (bundle.npe.embedding(part) for part in (torch.from_numpy(x), without(x, 1), without(x, 0)))
    for one, other in ((full, art), (full, pleth), (art, pleth)):
        assert (one - other).abs().max() > 1e-3


def test_a_channel_without_a_unit_has_no_scale_and_a_pressure_has(bundle: Bundle) -> None:
    x, _ = both(4)
    scaled = x.copy()
    scaled[:, 1] = 300 + 40 * x[:, 1]
    with torch.no_grad():
        first, second = (bundle.npe.embedding(torch.from_numpy(v)) for v in (x, scaled))
        scaled[:, 0] += 20
        third = bundle.npe.embedding(torch.from_numpy(scaled))
    torch.testing.assert_close(first, second, rtol=1e-2, atol=1e-3)
    assert (first - third).abs().max() > 1e-3


def test_densities_and_draws_take_windows_of_channels(bundle: Bundle) -> None:
    x = without(both(3)[0], 1)
    draws = bundle.npe.sample(x, 7, torch.Generator().manual_seed(0))
    assert draws.shape == (3, 7, 9)
    assert np.isfinite(bundle.npe.log_prob(draws[:, 0], x)).all()


def test_windows_that_do_not_fit_are_told(bundle: Bundle) -> None:
    with pytest.raises(ValueError, match=r"x must have shape \(N, 2, 1000\), got \(3, 1000\)"):
        bundle.npe.embedding(torch.zeros(3, 1000))
    with pytest.raises(ValueError, match="one of the channels ART, PLETH"):
        bundle.npe.embedding(torch.full((2, 2, 1000), torch.nan))
    with pytest.raises(ValueError, match="two channels or more"):
        EmbeddingConfig("channels")
    with pytest.raises(ValueError, match="other kinds none"):
        EmbeddingConfig(channels=CHANNELS)
    with pytest.raises(ValueError, match="at least one of the channels ART, PLETH"):
        CONTRACT.check(np.full((2, 1000), np.nan))
    with pytest.raises(ValueError, match="each name once"):
        InputContract(several=(ChannelContract(), ChannelContract()))
    with pytest.raises(ValueError, match="contract must have the network's channels"):
        Bundle("odd", bundle.npe, bundle.prior, InputContract())


def test_thirteen_channels_are_few_more_weights() -> None:
    many = tuple(ChannelScale(f"site {i}", relative=i % 2 == 0) for i in range(13))
    few, lots = (
        build_embedding(dataclasses.replace(EmbeddingConfig("channels", channels=c))) for c in (CHANNELS, many)
    )
    count = [sum(p.numel() for p in e.parameters()) for e in (few, lots)]
    assert count[1] < 2 * count[0]
    x = torch.randn(5, 13, 1000)
    x[torch.arange(5)[:, None] < torch.arange(13) - 3] = torch.nan
    assert torch.isfinite(lots(x)).all()


def test_training_learns_from_whatever_is_given(bundle: Bundle) -> None:
    waves, rate = both(640, seed=1, samples=1450)
    ideal = ChannelSensor((SensedChannel("ART", SensorModel.ideal()), SensedChannel("PLETH", PPGSensor.ideal())))
    data = TrainData(ArraySource(waves), {"HR": rate}, ideal, np.zeros(640, int))
    outputs = OutputSpace.from_names(("HR",))
    config = TrainConfig(epochs=6, batch=64, rate=4e-3, warmup=10, precision="float32", averaging=0.9)
    npe = train(data, outputs, NPEConfig(SHAPE, transforms=2, hidden=(16,)), config).npe
    x, truth = both(120, seed=2)
    for part in (torch.from_numpy(x), without(x, 0), without(x, 1)):
        draws = npe.sample(part, 100, torch.Generator().manual_seed(0))[..., 0]
        assert draws.var(1).mean() < 0.3 * truth.var()
        assert np.corrcoef(np.median(draws, axis=1), truth)[0, 1] > 0.9


def recording(**changes: np.ndarray) -> Recording:
    x, _ = both(1, seed=3, samples=3000)
    waves = {"ABP": x[0, 0].astype(float), "PLETH": x[0, 1].astype(float), **changes}
    waves = {name: wave for name, wave in waves.items() if wave is not None}
    return Recording.from_arrays("made", waves, fs=125.0, units={"ABP": "mmHg"} if "ABP" in waves else {})


def answers(bundle: Bundle, found: Recording) -> list[Answer | Refusal]:
    return [w.result for w in answer_recording(bundle, found, Question(n_draws=60))]


def test_a_recording_is_answered_from_what_it_has(bundle: Bundle) -> None:
    for changes, given in (({}, "ART+PLETH"), ({"PLETH": None}, "ART"), ({"ABP": None}, "PLETH")):
        found = answers(bundle, recording(**changes))
        assert len(found) == 3
        for result in found:
            assert isinstance(result, Answer)
            assert result.signal["given"] == given
            assert ("not recorded" in result.signal.get("left_out", "")) == bool(changes)
            assert result.calibration is not None
            assert result.calibration["n"] == (7 if given == "ART" else 2000)
    with pytest.raises(RecordingError, match="expected a channel ART"):
        answers(bundle, recording(ABP=None, PLETH=None, ECG=np.zeros(3000)))


def test_a_channel_that_the_gate_refuses_is_left_out_of_that_window(bundle: Bundle) -> None:
    x, _ = both(1, seed=3, samples=3000)
    art = x[0, 0].astype(float)
    art[1000:2000] = 80.0
    one, two, three = answers(bundle, recording(ABP=art))
    assert [r.signal["given"] for r in (one, two, three)] == ["ART+PLETH", "PLETH", "ART+PLETH"]
    assert two.signal["left_out"] == "ART (flat)"
    assert "given PLETH, left_out ART (flat)" in two.sources()["signal"]
    alone = answers(bundle, recording(ABP=None))
    np.testing.assert_array_equal(two.draws["CO"], alone[1].draws["CO"])
    nothing = answers(bundle, recording(ABP=art, PLETH=np.ones(3000)))
    assert isinstance(nothing[1], Refusal) and nothing[1].reason == "flat"
    assert isinstance(nothing[0], Answer) and nothing[0].signal["given"] == "ART"


def test_order_and_rate_of_channels_in_the_file_do_not_matter(bundle: Bundle) -> None:
    x, _ = both(1, seed=3, samples=3000)
    art, pleth = x[0].astype(float)
    straight = Recording.from_arrays("a", {"ABP": art, "PPG": pleth}, fs=125.0, units={"ABP": "mmHg"})
    turned = Recording.from_arrays("b", {"PPG": pleth, "ABP": art}, fs=125.0, units={"ABP": "mmHg"})
    fast = np.interp(np.arange(6000) / 250, np.arange(3000) / 125, pleth)
    rates = {"ABP": 125.0, "PPG": 250.0}
    other = Recording.from_arrays("c", {"PPG": fast, "ABP": art}, fs=rates, units={"ABP": "mmHg"})
    first, second, third = (answers(bundle, found)[0] for found in (straight, turned, other))
    np.testing.assert_array_equal(first.draws["SV"], second.draws["SV"])
    assert third.signal["given"] == "ART+PLETH"
    np.testing.assert_allclose(np.median(third.draws["SV"]), np.median(first.draws["SV"]), rtol=0.05)


def test_a_pressure_without_a_unit_is_refused(bundle: Bundle) -> None:
    found = Recording.from_arrays("a", {"ABP": np.ones(3000), "PPG": np.ones(3000)}, fs=125.0, units={})
    with pytest.raises(RecordingError, match="expected a pressure with its unit"):
        answers(bundle, found)


def test_bundles_of_channels_are_kept_whole(bundle: Bundle, tmp_path) -> None:
    bundle.save(tmp_path / "two", half=True)
    again = Bundle.load(tmp_path / "two")
    assert again.contract == bundle.contract
    info = json.loads((tmp_path / "two/bundle.json").read_text())
    assert (info["schema"], [c["name"] for c in info["input"]["channels"]]) == (2, ["ART", "PLETH"])
    assert reads_several(tmp_path / "two")
    with pytest.raises(BundleError, match="takes a model of one channel, two reads any of ART"):
        of_one_channel(again, "calibrate rope")


@pytest.mark.parametrize("name", ["radial-abp", "finger-ppg"])
def test_bundles_and_recipes_of_one_channel_stay_as_they_are(name: str, tmp_path) -> None:
    source = find_bundle(name)
    before = json.loads((source / "bundle.json").read_text())
    Bundle.load(source).save(tmp_path / "same", half=True)
    after = json.loads((tmp_path / "same/bundle.json").read_text())
    own = (
        "files",
        "hash",
        "layers",
        "network",
    )  # layers lie beside the one that ships; an older bundle's network may lack settings that came later
    assert {k: v for k, v in after.items() if k not in own} == {k: v for k, v in before.items() if k not in own}
    assert before["network"]["embedding"].items() <= after["network"]["embedding"].items()
    assert "channels" not in after["network"]["embedding"]
    assert (tmp_path / "same/weights.safetensors").read_bytes() == (source / "weights.safetensors").read_bytes()
    assert "channels" not in find_recipe(name).to_json()


def test_an_interval_is_uninformative_by_the_channels_given() -> None:
    assert CONTRACT.uninformative(("PLETH",), 0.8) == 0.6
    assert CONTRACT.uninformative(("ART", "PLETH"), 0.8) == 0.8
    assert InputContract().uninformative(("ART",), 0.7) == 0.7


def test_recipes_name_their_channels() -> None:
    text = (
        'name = "two"\n[[channels]]\nsite = "Radial"\n[[channels]]\nsite = "Digital:ppg"\nrole = "PLETH"\nunit = "1"\n'
    )
    recipe = Recipe.from_toml(text)
    assert [c.name for c in recipe.channels] == ["ART", "PLETH"]
    assert (recipe.site, recipe.role) == ("Radial", "ART")
    assert Recipe(**{**recipe.to_json(), "simulate": recipe.simulate, "test": recipe.test}) == recipe
    with pytest.raises(ValueError, match="two or more"):
        Recipe.from_toml('name = "one"\n[[channels]]\nsite = "Radial"\n')
    with pytest.raises(TypeError, match="place"):
        Recipe.from_toml('name = "one"\n[[channels]]\nplace = "Radial"\n')


def test_channels_outside_are_left_out_and_two_hearts_are_refused() -> None:
    rng = np.random.default_rng(0)
    models = {
        "ART": DomainModel.fit(pulses(160, rng), fs=125.0, seed=0),
        "PLETH": DomainModel.fit(pulses(160, rng), fs=125.0, seed=0, role="PLETH"),
    }
    domains = ChannelDomains(models)
    good = pulses(1, rng, rate=np.array([80.0]))[0]
    sine = 90 + 30 * np.sin(np.arange(1000) / 17)
    rates = {"ART": 80.0, "PLETH": 80.0}
    assert domains.assess({"ART": good, "PLETH": good}, rates)[0].verdict == "inside"
    verdict, out = domains.assess({"ART": good, "PLETH": sine}, rates)
    assert (verdict.verdict, list(out)) == ("inside", ["PLETH"])
    verdict, out = domains.assess({"ART": sine, "PLETH": sine}, rates)
    assert (verdict.verdict, list(out)) == ("outside", ["ART", "PLETH"])
    verdict, _ = domains.assess({"ART": good, "PLETH": good}, {"ART": 80.0, "PLETH": 110.0})
    assert verdict.verdict == "outside"
    assert "not of one patient" in verdict.reason


def test_several_channels_start_from_a_model_of_the_first(bundle: Bundle) -> None:
    one = NPE(
        bundle.outputs, NPEConfig(dataclasses.replace(SHAPE, kind="wave", channels=()), transforms=2, hidden=(16,))
    )
    x, _ = both(5)
    z = torch.from_numpy(bundle.outputs.space.unconstrain(bundle.prior[:64])).float()
    one.fit_scales(z, torch.from_numpy(both(64, seed=4)[0][:, 0]))
    several = NPE(bundle.outputs, bundle.npe.config)
    several.fit_scales(z, torch.from_numpy(both(64, seed=5)[0]))
    several.take_over(one)
    theta = bundle.prior[:5]
    np.testing.assert_allclose(
        several.log_prob(theta, without(x, 1)), one.log_prob(theta, torch.from_numpy(x[:, 0])), atol=0.02
    )
    assert np.isfinite(several.log_prob(theta, torch.from_numpy(x))).all()
    with pytest.raises(ValueError, match=r"same sizes, got others: \['hidden'\]"):
        build_embedding(dataclasses.replace(SHAPE, hidden=8)).take_over(one.embedding)
    with pytest.raises(ValueError, match="start is for recipes of several channels"):
        Recipe("one", start="radial-abp")


def test_groups_are_of_what_a_window_shows() -> None:
    x, _ = both(6)
    x[:2, 1], x[2:4, 0] = np.nan, np.nan
    found = {(g.by, g.label): g.rows for g in groups_of(CONTRACT, {"MAP": np.full(6, 50.0), "HR": np.full(6, 50.0)}, x)}
    assert found[("given", "PLETH")].tolist() == [False, False, True, True, False, False]
    assert found[("pressure", "below 65 mmHg")].tolist() == [True, True, False, False, True, True]
    assert found[("heart rate", "below 60 /min")].all()
    alone = groups_of(InputContract(role="PLETH", unit="1"), {"MAP": np.full(6, 50.0), "HR": np.full(6, 50.0)}, x[:, 0])
    assert {g.by for g in alone} == {"heart rate", "rhythm"}  # a clip shows no pressure, and its noise has no unit


def test_windows_of_many_channels_are_told_apart_by_how_many_they_hold() -> None:
    roles = (("AO", "mmHg"), ("ART", "mmHg"), ("PLETH", "1"), ("FLOW", "mL/s"))
    several = tuple(ChannelContract(role, unit, f"c{i}") for i, (role, unit) in enumerate(roles))
    contract = InputContract("AO", several=several)
    x = np.repeat(both(5)[0][:, :1], 4, axis=1)
    x[0, 1:], x[1, :3], x[2, :2], x[3, 3] = np.nan, np.nan, np.nan, np.nan
    found = {(g.by, g.label): g.rows.tolist() for g in groups_of(contract, {}, x)}
    assert found["given", "c0"] == [True, False, False, False, False]
    assert found["given", "c3"] == [False, True, False, False, False]  # of a flow the beats are found too
    assert found["given", "two of 4"] == [False, False, True, False, False]
    assert found["given", "three to 3 of 4"] == [False, False, False, True, False]
    assert found["given", "c0+c1+c2+c3"] == [False, False, False, False, True]
    assert np.any([rows for (by, _), rows in found.items() if by == "rhythm"], axis=0).all()


def test_a_fault_of_one_channel_leaves_the_other(bundle: Bundle) -> None:
    x, _ = both(24)
    truth = {name: np.full(24, 70.0) for name in ("HR", "SV", "CO")}
    npe = NPE(OutputSpace.from_names(("HR", "SV")), bundle.npe.config).eval()
    bare = dataclasses.replace(bundle, npe=npe, prior=bundle.prior[:, :2])
    faults = {name: FAULTS[name] for name in ("channel missing", "offset of 5 mmHg")}
    found = sensitivity(bare, x, truth, n_draws=20, faults=faults)
    assert list(found)[:3] == ["ART: none", "ART: channel missing", "ART: offset of 5 mmHg"]
    assert found["ART: channel missing"]["answered"] > 0.9
    assert max(found["PLETH: offset of 12.5 % of the pulse"]["shift"].values()) < 1e-2
    x[:, 1] = np.nan
    alone = sensitivity(bare, x, truth, n_draws=20, faults={"channel missing": FAULTS["channel missing"]})
    assert alone["ART: channel missing"]["answered"] == 0


def test_the_clearest_channel_gives_the_beat_rate() -> None:
    shape = dataclasses.replace(SHAPE, rate=True)
    x, rate = both(8)
    noise = 30 * np.random.default_rng(1).standard_normal((8, 1000))
    for worse in (0, 1):
        part = x.copy()
        part[:, worse] = 90 + noise
        coordinate = build_embedding(shape)(torch.from_numpy(part))[:, -1]
        np.testing.assert_allclose(75 * np.exp(0.35 * coordinate.detach()), rate, rtol=0.01)
    assert isinstance(
        NPE(OutputSpace.from_names(INDEPENDENT), NPEConfig(shape)).flow.transform.transforms[0], RateCentring
    )


COMPUTED = dataclasses.replace(SHAPE, rate="counted", level=True)


def test_the_mean_of_the_first_channel_is_computed_and_unknown_without_it() -> None:
    x, rate = both(6)
    with torch.no_grad():
        embedding = build_embedding(COMPUTED)
        full, line, clip = (embedding(part)[:, -2] for part in (torch.from_numpy(x), without(x, 1), without(x, 0)))
    mean = whole_beats_mean(torch.from_numpy(x[:, 0]), torch.from_numpy(rate).float(), 125.0)
    for known in (full, line):
        np.testing.assert_allclose(90 + 25 * known, mean, atol=0.3)
    assert clip.tolist() == [UNKNOWN] * 6


def test_beats_of_a_channel_are_counted() -> None:
    onsets = np.cumsum(np.random.default_rng(2).uniform(0.7, 1.05, 14)) - 1.0
    since = np.arange(1000)[:, None] / 125 - onsets
    wave = 80 + 40 * np.exp(-(((since - 0.15) / 0.07) ** 2)).sum(1)
    noise = np.random.default_rng(1).standard_normal(1000)
    x = torch.from_numpy(np.stack([wave, noise]).astype(np.float32))[None]
    with torch.no_grad():
        coordinate = build_embedding(COMPUTED)(x)[:, -1]
    np.testing.assert_allclose(75 * np.exp(0.35 * coordinate), counted_rate(x[:, 0], 125.0), rtol=1e-4)


def test_counts_that_agree_are_averaged_and_a_pressure_is_believed_before_a_clip() -> None:
    channels = (ChannelScale("A"), ChannelScale("B"), ChannelScale("PLETH", relative=True))
    embedding = build_embedding(dataclasses.replace(SHAPE, rate="agreed", channels=channels))
    time, noise = np.arange(1000) / 125, np.random.default_rng(1).standard_normal(1000)

    def wave(rate: float, noisy: float = 0.0) -> np.ndarray:
        return 90 + 20 * np.exp(np.cos(2 * np.pi * time * rate / 60) - 1) + noisy * noise

    def rates(*waves: np.ndarray) -> float:
        x = torch.from_numpy(np.stack([*waves]).astype(np.float32))[None]
        with torch.no_grad():
            return float(75 * torch.exp(0.35 * embedding(x)[0, -1]))

    missing = np.full(1000, np.nan)
    assert rates(wave(80.0), wave(80.8), missing) == pytest.approx((80.0 * 80.8) ** 0.5, rel=5e-4)
    assert rates(wave(80.0), wave(80.0), wave(80.8)) == pytest.approx((80.0**2 * 80.8) ** (1 / 3), rel=5e-4)
    assert rates(wave(80.0, noisy=1.0), missing, wave(100.0)) == pytest.approx(80.0, rel=5e-3)
    assert rates(90 + 20 * noise, missing, wave(100.0)) == pytest.approx(100.0, rel=5e-4)
    with pytest.raises(ValueError, match="of channels, 'agreed'"):
        EmbeddingConfig(rate="agreed")


def test_an_untrained_estimator_is_near_the_mean_where_there_is_one() -> None:
    outputs = OutputSpace.from_names(("HR", "MAP"))
    torch.manual_seed(0)
    npe = NPE(outputs, NPEConfig(COMPUTED, transforms=2, hidden=(16,))).eval()
    x, _ = both(20)
    theta = np.random.default_rng(0).uniform([50, 60], [110, 115], (64, 2))
    npe.fit_scales(torch.from_numpy(outputs.space.unconstrain(theta)).float(), torch.from_numpy(x))
    line, clip = (npe.sample(without(x, c), 300, torch.Generator().manual_seed(0))[..., 1] for c in (1, 0))
    assert np.median(np.abs(np.median(line, axis=1) - x[:, 0].mean(1))) < 3
    assert 2 * np.median(line.std(1)) < np.median(clip.std(1))
    z = torch.from_numpy(outputs.space.unconstrain(theta[:4])).float()
    for part in (without(x[:4], 0), without(x[:4], 1)):
        with torch.no_grad():
            context = npe.embedding(part)[0]
            noise = torch.randn(5, 2, generator=torch.Generator().manual_seed(1))
            transform = npe.flow(context).transform
            torch.testing.assert_close(invert_flow(npe.flow, context, noise), transform.inv(noise), rtol=0, atol=1e-4)
        assert torch.isfinite(npe.loss(z, part))


def test_the_first_channel_has_a_level_only_with_a_unit() -> None:
    with pytest.raises(ValueError, match="level is for waves that have a unit"):
        dataclasses.replace(COMPUTED, channels=CHANNELS[::-1])


def test_channels_take_over_an_estimator_that_counts() -> None:
    one = build_embedding(dataclasses.replace(COMPUTED, kind="wave", channels=()))
    several = build_embedding(COMPUTED)
    x, _ = both(4)
    for embedding, known in ((one, x[:, 0]), (several, x)):
        embedding.fit(torch.from_numpy(known))
    several.take_over(one)
    with torch.no_grad():
        torch.testing.assert_close(several(without(x, 1)), one(torch.from_numpy(x[:, 0])), rtol=1e-3, atol=1e-3)
