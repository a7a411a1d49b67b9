"""The sound worker in a process of its own, on a private JACK server: exact frames, both ways."""

import os
import subprocess
import time
from collections import deque
from contextlib import contextmanager, suppress
from itertools import count

import numpy as np
import pytest

from engine.clock import Clock, monotonic_us
from engine.core.jobs import SoundEvent, SoundKind
from engine.core.parameters import INSTRUMENTS
from engine.io.midi_ports import MidiOut
from engine.render.mastering import SPACE, VOLUME
from engine.workers import sound
from engine.workers.links import (
    DEVICE_KINDS,
    MIDI_BYTES,
    MIDI_PORT_LOST,
    MIDI_PORT_OPENED,
    pack_sound,
    sound_link,
)  # fmt: skip
from engine.workers.shared import SPAWN

pytestmark = pytest.mark.live

BLOCK = 256
STICK = 37  # the shortest drum: true silence after 0.14 s
NUMBERS = count()


def until(condition, seconds=5.0):
    """Wait for a condition; return what it gave."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError(f"did not happen within {seconds} s")


class Server:
    """A JACK server of our own."""

    def __init__(self, name, rate):
        self.name, self.rate, self._process = name, rate, None

    def start(self):
        for realtime in ("-R", "-r"):
            driver = ["-d", "dummy", "-r", str(self.rate), "-p", str(BLOCK)]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            self._process = subprocess.Popen(["jackd", "-n", self.name, realtime, *driver], **quiet)
            with suppress(AssertionError):
                until(self._answers, 3.0)
                return
            self.stop()
        pytest.fail("jackd does not start: sudo apt install jackd2")

    def _answers(self):
        import jack

        try:
            jack.Client("probe", no_start_server=True, servername=self.name).close()
        except jack.JackOpenError:
            return False
        return True

    def stop(self, kill=False):
        if self._process:
            (self._process.kill if kill else self._process.terminate)()
            self._process.wait(5.0)
            self._process = None


@pytest.fixture
def server(monkeypatch, request):
    jack = pytest.importorskip("jack")
    jack.set_error_function(lambda message: None)
    jack.set_info_function(lambda message: None)
    server = Server(f"chladni-test-{os.getpid()}-{next(NUMBERS)}", getattr(request, "param", 48_000))
    monkeypatch.setenv("JACK_DEFAULT_SERVER", server.name)
    monkeypatch.setenv("JACK_NO_AUDIO_RESERVATION", "1")
    server.start()
    yield server
    server.stop()


@contextmanager
def playing(device, **options):
    """Run the worker; yield its link and the clock that follows it."""
    link = sound_link()
    config = sound.SoundConfig(device, BLOCK, **options)
    process = SPAWN.Process(target=sound.run, args=(link, config), daemon=True)
    process.start()
    try:
        until(lambda: link.board["epoch"] > 0.0, 20.0)
        clock = Clock(link.board)
        clock.start()
        yield link, clock
        link.board["stop"] = 1.0
        process.join(5.0)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join()


class Friend:
    """A JACK client that is not ours: hears the sound, or sends or receives MIDI, with frame numbers.

    It does one of them at a time: to hear us and to play us would be a loop, which JACK opens with a block's
    delay in one of the two.
    """

    def __init__(self, part):
        import jack

        self.client = jack.Client("friend", no_start_server=True)
        self.ear = self.client.inports.register("ear") if part == "ear" else None
        self.keys = self.client.midi_outports.register("keys") if part == "keys" else None
        self.hears = self.client.midi_inports.register("hears") if part == "hears" else None
        self.sound, self.sent, self.received = [], [], []
        self.to_send = deque()  # (offset in its block, bytes)
        self.client.set_process_callback(self._process)

    def __enter__(self):
        self.client.activate()
        return self

    def __exit__(self, *error):
        self.client.deactivate()
        self.client.close()

    def _process(self, frames):
        start = self.client.last_frame_time
        if self.ear:
            self.sound.append((start, self.ear.get_array().copy()))
        if self.hears:
            self.received += [(start + at, bytes(data)) for at, data in self.hears.incoming_midi_events()]
        if self.keys:
            self.keys.clear_buffer()
        if self.to_send:
            offset, data = self.to_send.popleft()
            self.keys.write_midi_event(offset, data)
            self.sent.append((start + offset, data))

    def onsets(self, quiet):
        """Return the frames at which sound begins after `quiet` silent samples."""
        frames = np.concatenate([np.arange(start, start + len(block)) for start, block in self.sound])
        loud = frames[np.concatenate([block for _, block in self.sound]) != 0.0]
        return loud[np.diff(loud, prepend=-(10**9)) > quiet].tolist()


def note(sample, value=0.7, key=STICK, kind=SoundKind.NOTE_ON, name="drums"):
    return SoundEvent(int(sample), kind, 0, key, INSTRUMENTS.index(name), value)


def push(link, clock, *events):
    for event in events:
        assert link.events.push(*pack_sound(event, clock.us_at(event.sample)))


def play(link, clock, spacing_s, offsets):
    """Play a dry stick at each offset from now, handed over 75 ms ahead, on a clock that follows the device.

    Return the samples. A due time is only as good as the device's clock was when it was reckoned.
    """
    push(link, clock, note(clock.now(), 0.0, SPACE, SoundKind.LEVEL))
    begin, spacing = clock.now() + 12_000, int(spacing_s * 48_000)
    samples = [begin + spacing * n + offset for n, offset in enumerate(offsets)]
    waiting = sorted(samples)
    while clock.now() < samples[-1] + 12_000:
        clock.follow()
        while waiting and clock.now() > waiting[0] - 3600:
            push(link, clock, note(waiting.pop(0)))
        time.sleep(0.005)
    return samples


@pytest.mark.jack
@pytest.mark.parametrize("server", [48_000, 44_100], indirect=True)
def test_note_begins_on_the_frame_of_the_contract(server):
    rng = np.random.default_rng(3)
    with playing("jack") as (link, clock), Friend("ear") as friend:
        friend.client.connect("Chladni:out_1", friend.ear)
        time.sleep(0.1)
        samples = play(link, clock, 0.25, rng.integers(0, 2000, 12).tolist())
        cells = ("origin_frame", "latency_frames", "beyond_frames", "rate")
        origin, latency, beyond, rate = (link.board[name] for name in cells)
        deviations = [us for _, us in link.deviations.pop_all()]
    assert rate == server.rate
    assert latency == 0, "the contract ends in the graph"
    assert beyond >= BLOCK  # what JACK says of its dummy's buffers
    assert friend.onsets(2000) == [round(sample * rate / 48_000 + origin - latency) for sample in samples]
    assert len(deviations) == len(samples)
    assert np.median(np.abs(deviations)) < 1e6 / 48_000  # a sample


@pytest.mark.jack
def test_latency_of_the_config_counts(server):
    for wanted, frames in ((40.0, 1920), ("reported", None)):
        with playing("jack", device_latency_ms=wanted) as (link, clock), Friend("ear") as friend:
            friend.client.connect("Chladni:out_1", friend.ear)
            time.sleep(0.1)
            samples = play(link, clock, 0.25, [7, 133])
            origin, latency = link.board["origin_frame"], link.board["latency_frames"]
        assert latency == frames or (frames is None and latency >= BLOCK)
        assert friend.onsets(2000) == [sample + origin - latency for sample in samples]


def midi_of(link, records):
    """Add what has come; return the records as (frame, kind, port, data)."""
    records += [(frame, kind, port, data[:n]) for frame, kind, port, n, data in link.midi_in.pop_all()]
    return records


@pytest.mark.jack
def test_midi_comes_in_on_its_frame_by_itself_and_by_hand(server):
    with playing("jack") as (link, _), Friend("keys") as friend:
        seen = []

        def news(kind, name=None, after=0):
            return [r for r in midi_of(link, seen)[after:] if r[1] == kind and name in (None, r[3])]

        port = until(lambda: news(MIDI_PORT_OPENED, b"friend:keys"), 0.5 + 1.0)[0][2]
        long = bytes((0xF0, *range(100), 0xF7))
        friend.to_send.extend([(5, b"\x90\x3c\x40"), (255, b"\x80\x3c\x00"), (77, long)])
        until(lambda: len(friend.sent) == 3)
        pieces = [
            (frame, port, piece) for frame, data in friend.sent for piece in (data[:64], data[64:]) if piece
        ]
        until(lambda: len(news(MIDI_BYTES)) >= 4)
        assert [(frame, at, data) for frame, _, at, data in news(MIDI_BYTES)] == pieces

        mark = len(seen)  # somebody connects it by hand: ours goes, nothing comes twice
        friend.client.connect(friend.keys, "Chladni:midi_in")
        until(lambda: [r for r in news(MIDI_PORT_LOST, after=mark) if r[2] == port])
        friend.to_send.append((9, b"\x91\x3c\x40"))
        until(lambda: news(MIDI_BYTES, after=mark))
        time.sleep(0.2)
        assert [r[2:] for r in news(MIDI_BYTES, after=mark)] == [(0, b"\x91\x3c\x40")]

        mark = len(seen)  # and pulls it out again
        friend.client.disconnect(friend.keys, "Chladni:midi_in")
        until(lambda: [r for r in news(MIDI_PORT_LOST, after=mark) if r[2] == 0])


@pytest.mark.jack
def test_midi_port_that_goes_is_told_and_taken_again(server):
    seen = []
    with playing("jack") as (link, _):
        for _ in range(2):
            with Friend("keys"):
                opened = until(lambda: [r for r in midi_of(link, seen) if r[3] == b"friend:keys"])[-1]
            until(lambda port=opened[2]: [r for r in midi_of(link, seen) if r[1:3] == (MIDI_PORT_LOST, port)])
            seen.clear()


@pytest.mark.jack
def test_midi_goes_out_on_its_frame(server):
    with playing("jack") as (link, clock), Friend("hears") as friend:
        friend.client.connect("Chladni:midi_out", friend.hears)
        clock.follow()
        origin, latency = link.board["origin_frame"], link.board["latency_frames"]
        samples = [clock.now() + 9600 + offset for offset in (0, 1, 511, 5000)]
        for sample in reversed(samples):
            link.midi_out.push(sample, 0, 3, b"\x90\x40\x40")
        until(lambda: len(friend.received) == 4)
    assert friend.received == [(sample + origin - latency, b"\x90\x40\x40") for sample in samples]


@pytest.mark.jack
def test_midi_out_lets_go_after_the_last_note(server):
    with playing("jack") as (link, clock), Friend("hears") as friend:
        friend.client.connect("Chladni:midi_out", friend.hears)
        clock.follow()
        out = MidiOut(link, clock, "friend")
        out.send(clock.now() + 1200, b"\x90\x40\x40")
        out.stop()
        received = [data for _, data in friend.received]
    assert received == [b"\x90\x40\x40", *(bytes((0xB0 | channel, 123, 0)) for channel in range(16))]


@pytest.mark.jack
@pytest.mark.parametrize("kill", [True, False])
def test_server_dies_and_comes_back(server, kill):
    with playing("jack") as (link, clock):
        board = link.board
        assert DEVICE_KINDS[int(board["kind"])] == "jack"
        before = clock.now()
        server.stop(kill)
        until(lambda: board["epoch"] == 2.0, 2.0)
        assert DEVICE_KINDS[int(board["kind"])] == "none"
        clock.follow()
        assert clock.now() >= before  # time goes on
        samples = play(link, clock, 0.1, [0, 3, 5])
        assert len(link.deviations.pop_all()) == len(samples)
        server.start()
        until(lambda: board["epoch"] == 3.0, 2.0)
        assert DEVICE_KINDS[int(board["kind"])] == "jack"
        play(link, clock, 0.1, [1, 2])
        assert len(link.deviations.pop_all()) == 2


@pytest.mark.jack
@pytest.mark.parametrize("server", [44_100], indirect=True)
def test_change_of_rate_keeps_level_and_pedal_and_leaves_no_note(server):
    with playing("jack") as (link, clock):
        board = link.board

        def bass(kind, value=0.7, key=40):
            push(link, clock, note(clock.now(), value, key, kind, "bass"))

        bass(SoundKind.LEVEL, 0.0, VOLUME)
        bass(SoundKind.SUSTAIN, 1.0, -1)
        bass(SoundKind.NOTE_ON)
        until(lambda: board["voices"] == 1.0)
        server.stop()
        until(lambda: board["epoch"] == 2.0)
        assert board["rate"] == 48_000.0
        clock.follow()
        bass(SoundKind.NOTE_ON)
        bass(SoundKind.NOTE_OFF)
        until(lambda: board["voices"] == 1.0)
        time.sleep(1.0)  # without the pedal a bass is over after 0.6 s
        assert board["voices"] == 1.0
        assert board["peak"] < 1e-6
        server.start()
        until(lambda: board["epoch"] == 3.0)
        assert board["rate"] == 44_100.0
        until(lambda: board["voices"] == 0.0)


@pytest.mark.jack
def test_miniaudio_plays(server):
    """Through its own JACK backend, the only device that a machine without a card has."""
    with playing("miniaudio") as (link, clock):
        assert DEVICE_KINDS[int(link.board["kind"])] == "miniaudio"
        samples = play(link, clock, 0.1, [0, 17, 1000])
        deviations = [us for _, us in link.deviations.pop_all()]
        assert len(deviations) == len(samples)
        assert link.board["peak"] < 1.0


def test_without_a_device_time_goes_on():
    with playing("none") as (link, clock):
        begin_us, begin = monotonic_us(), clock.now()
        samples = play(link, clock, 0.05, [0, 1, 2, 3])
        push(link, clock, note(clock.now() - 4800))
        until(lambda: link.board["late_events"] == 1.0)
        clock.follow()
        passed = (monotonic_us() - begin_us) * 0.048
        assert clock.now() - begin == pytest.approx(passed, abs=500)
        time.sleep(0.05)
        deviations = [us for _, us in link.deviations.pop_all()]
        assert len(deviations) == len(samples) + 1
        assert np.abs(deviations[:-1]).max() < 1e6 / 48_000
        assert link.board["voices"] >= 1.0


def test_events_wait_for_the_origin():
    with playing("none") as (link, clock):
        link.board["origin_epoch"] = -1.0
        push(link, clock, note(clock.now() + 2400))
        time.sleep(0.3)
        assert not link.deviations.pop_all()
        link.board["origin_epoch"] = link.board["epoch"]
        until(link.deviations.pop_all)


def test_missing_soundfont_costs_only_the_soundfont(capfd):
    with playing("none", soundfont="nowhere.sf2") as (link, clock):
        play(link, clock, 0.05, [0])
        assert len(link.deviations.pop_all()) == 1
    assert "nowhere.sf2" in capfd.readouterr().err
