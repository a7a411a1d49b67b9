"""Sound that comes in: what is heard in it, its way through JACK into the state, an input that goes."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from test_sound import Server, server, until

from engine import offline
from engine.clock import monotonic_us
from engine.core import events as ev
from engine.core.advance import advance, attracting
from engine.core.events import Event
from engine.core.parameters import INDEX
from engine.core.show import Show
from engine.core.state import AUDIO, initial
from engine.core.units import SAMPLE_RATE, TICK_SAMPLES
from engine.hearing.ear import BEAT, LEVELS, ONSET, TEMPO, Ear, Told
from engine.io.capture import Loop, Microphone, open_capture
from engine.io.miniaudio_device import DeviceError
from engine.io.window import Headless
from engine.recording import read
from engine.session import Session, Stage
from engine.workers import audio as worker
from engine.workers.links import AudioLink, audio_link, unpack_text
from engine.workers.shared import SPAWN

pytestmark = pytest.mark.live

__all__ = ["server"]

Samples = NDArray[np.float32]
RNG = np.random.default_rng(7)


def tone(hz: float, seconds: float = 1.0, rate: int = SAMPLE_RATE, height: float = 0.3) -> Samples:
    return (height * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


CLICK = (RNG.normal(size=480) * np.exp(-np.arange(480) / 80) * 0.5).astype(np.float32)


def clicks(bpm: float, seconds: float, first_s: float = 0.137) -> tuple[Samples, NDArray[np.float64]]:
    """Return clicks at a tempo, and the seconds of their beginnings."""
    at_s = np.arange(first_s, seconds - 0.02, 60.0 / bpm)
    sound = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    for begin in np.rint(at_s * SAMPLE_RATE).astype(int):
        sound[begin : begin + len(CLICK)] += CLICK
    return sound, at_s


def hear(sound: Samples, rate: int = SAMPLE_RATE, **settings: Any) -> tuple[Ear, list[tuple[float, Told]]]:
    """Return the ear, and what it told with the second at which it did."""
    ear = Ear(rate, settings.get("ceiling_db"), settings.get("gate_db", -60.0))
    told = [
        ((begin + 128) / rate, each)
        for begin in range(0, len(sound), 128)
        for each in ear.hear(sound[begin : begin + 128])
    ]
    return ear, told


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
@pytest.mark.parametrize(("hz", "band"), [(100.0, 1), (700.0, 2), (5000.0, 3)])
def test_a_tone_is_loud_in_its_band_alone(hz: float, band: int, rate: int) -> None:
    ear, _ = hear(tone(hz, rate=rate), rate)
    whole, *bands, bright = ear.levels
    assert whole > 0.95
    assert bands[band - 1] > 0.95
    assert sum(bands) - bands[band - 1] < 0.4  # what leaks is 45 dB down
    assert bright == pytest.approx(np.log2(hz / 100.0) / np.log2(100.0), abs=0.03)


def test_a_level_is_known_to_a_decibel_and_halves_with_ten() -> None:
    for below_db in (0.0, 10.0, 20.0):
        ear, _ = hear(tone(700.0, height=10 ** (-below_db / 20)), ceiling_db=-3.01)
        assert ear.levels[0] == pytest.approx(2 ** (-below_db / 10), rel=0.07)


def test_the_ceiling_is_learned_and_forgotten() -> None:
    loud, soft = tone(700.0, 2.0, height=0.5), tone(700.0, 20.0, height=0.05)
    ear, told = hear(np.concatenate([loud, soft]))
    level = [(at, each.value) for at, each in told if each.address == LEVELS[0]]
    assert min(value for at, value in level if at > 2.5) == pytest.approx(0.25, abs=0.03)
    assert ear.levels[0] == pytest.approx(0.25 * 2 ** (0.3 * 19.5 / 10), abs=0.04)  # and rises again


def test_silence_and_hum_tell_nothing() -> None:
    for sound in (np.zeros(SAMPLE_RATE, np.float32), tone(50.0, height=5e-4)):
        ear, told = hear(sound)
        assert [each for _, each in told if each.value] == []
        assert ear.levels == (0.0,) * 5
        assert len(told) == 5  # each begins at 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_silence(bad: float) -> None:
    sound = tone(700.0, 2.0)
    sound[20_000:60_000] = bad
    ear, told = hear(sound)
    assert ear.spoiled == 40_000
    assert all(np.isfinite(each.value) and np.isfinite(each.sample) for _, each in told)
    assert ear.levels[0] > 0.95
    ear, told = hear(np.full(SAMPLE_RATE, 3e38, np.float32) * np.sign(tone(700.0)))
    assert all(0.0 <= each.value <= 1.0 for _, each in told)


def test_each_onset_is_told_at_once_and_stamped_to_a_millisecond() -> None:
    sound, at_s = clicks(100.0, 12.0)
    _, told = hear(sound)
    onsets = [(at, each) for at, each in told if each.address == ONSET and each.value]
    assert len(onsets) == len(at_s)
    for (at, each), click_s in zip(onsets, at_s, strict=True):
        assert abs(each.sample / SAMPLE_RATE - click_s) < 0.0021
        assert at - click_s < 0.02
        assert 0.2 < each.value <= 1.0
    ends = [each for _, each in told if each.address == ONSET and not each.value]
    assert len(ends) == len(onsets)


@pytest.mark.parametrize("bpm", [72.0, 96.0, 120.0, 128.0, 150.0])
def test_tempo_and_beat_of_clicks(bpm: float) -> None:
    sound, at_s = clicks(bpm, 16.0)
    ear, told = hear(sound)
    assert ear.bpm == pytest.approx(bpm, abs=1.0)
    beats = [(at, each.sample / SAMPLE_RATE) for at, each in told if each.address == BEAT and at > 8.0]
    assert len(beats) == pytest.approx(8.0 * bpm / 60.0, abs=1.0)
    for at, beat_s in beats:
        assert min(abs(at_s - beat_s)) < 0.02 or beat_s > at_s[-1]
        assert at < beat_s  # foreseen
    (tempo, *_) = (each.value for _, each in reversed(told) if each.address == TEMPO)
    assert 20.0 + 280.0 * tempo == pytest.approx(bpm, abs=2.0)


def test_a_beat_ends_with_the_music_and_noise_has_none() -> None:
    sound, _ = clicks(120.0, 10.0)
    ear, told = hear(np.concatenate([sound, np.zeros(12 * SAMPLE_RATE, np.float32)]))
    assert ear.bpm == 0.0
    assert not [each for at, each in told if each.address == BEAT and at > 19.0]
    noise = RNG.normal(size=12 * SAMPLE_RATE).astype(np.float32) * 0.1
    ear, told = hear(noise)
    assert not [each for _, each in told if each.address == BEAT]


def test_a_hundred_events_a_second_are_the_most() -> None:
    beat, _ = clicks(174.0, 10.0)
    sweep = np.sin(np.cumsum(np.geomspace(80, 9000, len(beat)) * 2 * np.pi / SAMPLE_RATE)) * 0.2
    wobble = RNG.uniform(0.0, 1.0, len(beat) // 4800).repeat(4800)
    _, told = hear((beat + sweep * wobble).astype(np.float32))
    at_s = np.array([at for at, _ in told])
    most = max(int(((at_s >= begin) & (at_s < begin + 1.0)).sum()) for begin in np.arange(0.0, 9.0, 0.1))
    assert 40 < most <= 100


# In the core: the beat as a source, and as a leader.


def heard(show: Show, ticks: int, happened: dict[int, ev.Body]) -> list[Any]:
    states, state = [], initial(show)
    for tick in range(ticks):
        now = [Event(tick, 0, AUDIO, tick, happened[tick])] if tick in happened else []
        state = advance(show, state, now)
        states.append(state)
    return states


def test_a_heard_beat_falls_from_one_to_nothing_and_holds_no_parameter() -> None:
    route = {"from": "/audio/beat", "to": "feedback", "range": (0.0, 0.5), "smooth_ms": 0}
    show = Show.model_validate({"title": "t", "musician": None, "audio": {}, "route": [route]})
    states = heard(show, 400, {10: ev.AudioBeat(120.0)})
    feedback = [state.levels[INDEX["feedback"]] for state in states]
    begins = next(tick for tick, level in enumerate(feedback) if level)
    assert 10 <= begins <= 24
    assert feedback[begins] == pytest.approx(0.5, abs=0.05)
    assert feedback[begins:] == sorted(feedback[begins:], reverse=True)
    assert feedback[begins + 130] == 0.0
    assert not states[-1].glides
    assert states[-1].faults == 0
    assert states[-1].transport.bpm == 96.0  # the transport is not led


def test_the_transport_follows_the_music_where_the_show_wants_it() -> None:
    show = Show.model_validate({"title": "t", "musician": None, "audio": {}, "tempo": {"audio": True}})
    beats = {tick: ev.AudioBeat(125.0) for tick in range(100, 1400, 115)}  # 115.2 ticks
    states = heard(show, 1500, beats)
    for tick in list(beats)[1:]:
        transport = states[tick].transport
        assert transport.bpm == 125.0
        assert transport.beat % 1.0 == 0.0
        assert transport.sample == tick * TICK_SAMPLES
    counted = [states[tick].transport.beat for tick in beats]
    assert np.diff(counted).tolist() == [1.0] * (len(beats) - 1)
    linked = heard(
        show.model_copy(update={"tempo": show.tempo.model_copy(update={"link": True})}), 300, beats
    )
    assert linked[-1].transport.bpm == 96.0


def test_what_is_heard_is_no_sign_of_a_player() -> None:
    show = Show.model_validate({"title": "t", "audio": {}, "performer": {"file": "x.mid"}})
    states = heard(show, 20, {3: ev.Control("/audio/level", 0.7), 5: ev.AudioBeat(120.0)})
    assert attracting(show, states[-1])


def test_a_beat_survives_the_log() -> None:
    assert ev.decode(json.loads(json.dumps(ev.encode(ev.AudioBeat(123.25))))) == ev.AudioBeat(123.25)
    with pytest.raises(ValueError, match=r"AudioBeat.bpm is to be 1.0 to 1000.0"):
        ev.decode(["AudioBeat", 0.0])


# Through an input.


class Speaker:
    """A JACK client that is not ours: plays samples round and round, and knows when each was to be heard."""

    def __init__(self, name: str, sound: Samples) -> None:
        import jack

        self.client = jack.Client(name, no_start_server=True)
        self.port = self.client.outports.register("out")
        self.sound, self.place = sound, 0
        self.began_us = 0.0
        self.client.set_process_callback(self._process)

    def _process(self, frames: int) -> None:
        if not self.place:
            us_per_frame = 1e6 / self.client.samplerate
            self.began_us = monotonic_us() - self.client.frames_since_cycle_start * us_per_frame
        places = np.arange(self.place, self.place + frames) % len(self.sound)
        self.port.get_array()[:] = self.sound[places]
        self.place += frames

    def __enter__(self) -> "Speaker":
        self.client.activate()
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(Exception):  # the server may be gone
            self.client.deactivate()
            self.client.close()


@contextmanager
def listening(device: str, latency_ms: float = 40.0) -> Iterator[AudioLink]:
    """A worker's process that listens."""
    link = audio_link()
    config = worker.AudioConfig(device, latency_ms, -60.0, None)
    process = SPAWN.Process(target=worker.run, args=(link, config), daemon=True)
    process.start()
    try:
        until(lambda: link.board["ready"], 20.0)
        yield link
        link.board["stop"] = 1.0
        process.join(5.0)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join()


def told_by(link: AudioLink, done: Callable[[dict[str, list[tuple[float, float]]]], object]) -> Any:
    """Return what was told, (due_us, value) by address, once `done` holds for it."""
    told: dict[str, list[tuple[float, float]]] = {address: [] for address in worker.ADDRESSES}

    def more() -> bool:
        for due_us, address, value in link.heard.pop_all():
            told[worker.ADDRESSES[address]].append((due_us, value))
        return bool(done(told))

    until(more, 20.0)
    return told


@pytest.mark.jack
def test_clicks_from_another_client_are_heard_in_time(server: Server) -> None:
    sound, at_s = clicks(120.0, 4.0)
    with Speaker("drummer", sound) as drummer, listening("DRUMMER:out", latency_ms=60.0) as link:
        told = told_by(link, lambda told: len(told[BEAT]) > 8)
        assert link.board["bpm"] == pytest.approx(120.0, abs=2.0)
        assert link.board["told"] < 100.0 * 12
    began_us = drummer.began_us + 60_000.0
    beat_s = 0.5
    for due_us, bpm in told[BEAT][4:]:
        assert bpm == pytest.approx(120.0, abs=2.0)
        off = ((due_us - began_us) / 1e6 - at_s[0]) / beat_s
        assert abs(off - round(off)) * beat_s < 0.05
    onsets = [due_us for due_us, value in told[ONSET] if value]
    errors = [((due_us - began_us) / 1e6 - at_s[0]) / beat_s for due_us in onsets[2:]]
    offs = [abs(error - round(error)) * beat_s for error in errors]
    assert sorted(offs)[len(offs) // 2] < 0.003  # what JACK skipped under load moves some


@pytest.mark.jack
def test_a_port_and_a_server_that_go_are_taken_again(server: Server) -> None:
    with listening("singer") as link:
        assert "has 'singer' in its name" in unpack_text(until(link.says.pop_all, 10.0)[0])
        with Speaker("singer", tone(700.0)):
            told_by(link, lambda told: told[LEVELS[0]] and told[LEVELS[0]][-1][1] > 0.9)
            assert link.board["kind"] == worker.CAPTURE_KINDS.index("jack")
        told_by(link, lambda told: told[LEVELS[0]] and told[LEVELS[0]][-1][1] == 0.0)
        assert "is gone" in unpack_text(until(link.says.pop_all, 10.0)[0])
        # While it hears, not while it looks for a port: there JACK's library may wait for a dead server for
        # good, and only a supervisor ends that.
        with Speaker("singer", tone(700.0)):
            told_by(link, lambda told: told[LEVELS[0]] and told[LEVELS[0]][-1][1] > 0.9)
            server.stop(kill=True)
        time.sleep(0.5)
        server.start()
        with Speaker("singer", tone(100.0)):
            told_by(link, lambda told: told["/audio/low"] and told["/audio/low"][-1][1] > 0.9)
        assert link.board["openings"] >= 3.0


def write(path: Path, sound: Samples) -> Path:
    with av.open(str(path), "w") as container:
        track = container.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            (sound[None] * 32767).astype(np.int16), format="s16", layout="mono"
        )
        frame.rate = SAMPLE_RATE
        container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return path


def test_a_file_goes_round_and_one_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    loop = open_capture(str(write(tmp_path / "loop.wav", tone(700.0, 0.05))))
    assert isinstance(loop, Loop)
    blocks: list[tuple[int, float, Samples]] = []
    loop.start(lambda *block: blocks.append(block))
    until(lambda: len(blocks) > 24)  # 0.05 s are nine blocks
    loop.close()
    frames, us, _ = zip(*blocks, strict=True)
    assert list(frames) == [256 * number for number in range(len(frames))]
    assert np.allclose(np.diff(us), 256e6 / SAMPLE_RATE)
    for name, data in (
        ("no.wav", b"no sound"),
        ("empty.wav", write(tmp_path / "e.wav", tone(1.0, 0.001)).read_bytes()),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DeviceError, match=f"{name}: no sound"):
            open_capture(str(tmp_path / name))


def test_a_device_that_is_not_there_is_named_and_a_null_device_brings_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "chladni-nobody")
    with pytest.raises(DeviceError, match="no sound input has 'Neumann' in its name"):
        open_capture("Neumann")
    microphone = Microphone("null", backends=("NULL",))
    blocks: list[tuple[int, float, Samples]] = []
    microphone.start(lambda *block: blocks.append(block))
    until(lambda: len(blocks) > 4)
    assert microphone.alive
    microphone.close()
    assert blocks[0][0] == 0
    assert all(not samples.any() for _, _, samples in blocks)
    assert np.all(np.diff([us for _, us, _ in blocks]) > 0)


def test_a_show_that_listens_replays_without_the_sound(tmp_path: Path) -> None:
    sound, _ = clicks(120.0, 2.0, 0.05)
    a_show = Show.model_validate(
        {
            "title": "t", "musician": None, "sound": {"device": "none"}, "osc": {"listen": "none"},
            "audio": {"device": str(write(tmp_path / "loop.wav", sound)), "latency_ms": 80},
            "tempo": {"audio": True},
            "route": [{"from": "/audio/level", "to": "hue"}, {"from": "/audio/beat", "to": "bloom"}],
        }
    )  # fmt: skip
    recording = tmp_path / "r.chladni"
    session = Session(a_show, Stage(provider="cpu", seconds=7.0, recording=recording), Headless((64, 64)))
    session.run()
    assert session.audio is not None
    assert session.audio.board["told"] > 50
    assert session.state.transport.bpm == pytest.approx(120.0, abs=2.0)
    os.unlink(tmp_path / "loop.wav")
    played = read(recording)
    heard = [event for event in played.events if event.source == AUDIO]
    assert {event.body.address for event in heard if isinstance(event.body, ev.Control)} >= {*LEVELS, ONSET}
    assert any(isinstance(event.body, ev.AudioBeat) for event in heard)
    verdict = offline.verify(played)
    assert verdict.differs_at is None
    assert verdict.agreed == verdict.seconds >= 7
