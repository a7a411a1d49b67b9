"""MIDI: bytes to messages, messages to events, and real ports that come and go."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.clock import Clock, monotonic_us
from engine.core import events
from engine.core.events import Bend, Body, Control, NoteOff, NoteOn, Pressure, Release, Sustain
from engine.io.midi import Translator
from engine.io.midi_bytes import DATA_BYTES, MidiParser
from engine.io.midi_drivers import CLIENT, DriverTime, RtMidi, _named, rtmidi
from engine.io.midi_ports import MidiInputs, MidiOut, Sources
from engine.workers.links import DEVICE_KINDS, MIDI_BYTES, MIDI_PORT_LOST, MIDI_PORT_OPENED, sound_link

pytestmark = pytest.mark.live

REAL_TIME = (0xF8, 0xFA, 0xFB, 0xFC, 0xFE, 0xFF)
data_byte = st.integers(0, 127)
message = st.sampled_from(sorted(DATA_BYTES)).flatmap(
    lambda status: st.lists(data_byte, min_size=DATA_BYTES[status], max_size=DATA_BYTES[status]).map(
        lambda data: bytes((status, *data))
    )
)
sysex = st.lists(data_byte, max_size=20).map(lambda data: bytes((0xF0, *data, 0xF7)))


def until(condition: Callable[[], object], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return False


def translated(*messages: tuple[int, ...], translator: Translator | None = None) -> list[Body]:
    translator = translator or Translator()
    return [body for each in messages for body in translator.bodies(bytes(each))]


# Bytes


@given(st.lists(message, max_size=30), st.data())
def test_running_status_and_real_time_lose_nothing(messages: list[bytes], data: st.DataObject) -> None:
    stream, running = bytearray(), 0
    for each in messages:
        leave_out = each[0] == running and data.draw(st.booleans())
        stream += each[1:] if leave_out else each
        running = each[0] if each[0] < 0xF0 else 0
    mixed, ticks = bytearray(), []
    for byte in stream:
        for tick in data.draw(st.lists(st.sampled_from(REAL_TIME), max_size=2)):
            mixed.append(tick)
            ticks.append(bytes((tick,)))
        mixed.append(byte)
    cut = data.draw(st.integers(0, len(mixed)))
    parser = MidiParser()
    got = parser.feed(bytes(mixed[:cut])) + parser.feed(bytes(mixed[cut:]))
    assert [each for each in got if each[0] < 0xF8] == messages
    assert [each for each in got if each[0] >= 0xF8] == ticks
    assert parser.garbage == 0


@given(st.lists(st.one_of(message, sysex), max_size=20), st.binary(max_size=40))
def test_after_any_garbage_the_next_messages_are_whole(messages: list[bytes], garbage: bytes) -> None:
    parser = MidiParser()
    parser.feed(garbage)
    got = parser.feed(b"".join(messages))
    assert got == [each for each in messages if each[0] != 0xF0]


@pytest.mark.parametrize(
    ("stream", "messages", "garbage"),
    [
        ("90 3C 40 F0 7D 01 90 3E 40", ["903C40", "903E40"], 1),  # SysEx without an end
        ("F0 7D F8 01 F7 90 3C 40", ["F8", "903C40"], 0),
        ("01 02 90 3C 40", ["903C40"], 2),
        ("90 3C 91 3C 40", ["913C40"], 1),
        ("90 3C 40 F6 3E 40", ["903C40", "F6"], 2),  # system common ends running status
        ("F4 F9 F7 C0 05", ["C005"], 3),
        ("F0 01 F0 02 F7 C0 05", ["C005"], 1),
        ("F2 10 90 3C 40", ["903C40"], 1),
        ("F2 90 3C 40", ["903C40"], 1),
    ],
)
def test_broken_streams(stream: str, messages: list[str], garbage: int) -> None:
    parser = MidiParser()
    assert [each.hex().upper() for each in parser.feed(bytes.fromhex(stream))] == messages
    assert parser.garbage == garbage


# Messages


@given(st.lists(st.one_of(message, st.sampled_from(REAL_TIME).map(lambda byte: bytes((byte,)))), max_size=60))
def test_every_body_survives_the_recording(messages: list[bytes]) -> None:
    for body in translated(*map(tuple, messages)):
        assert events.decode(json.loads(json.dumps(events.encode(body), allow_nan=False))) == body


@given(st.binary(max_size=300))
def test_random_bytes_never_raise(data: bytes) -> None:
    parser, translator = MidiParser(), Translator()
    for each in parser.feed(data):
        translator.bodies(each)


def test_plain_messages() -> None:
    assert translated((0x91, 60, 127), (0x91, 60, 0), (0x81, 60, 127)) == [
        NoteOn(2, 60, 1.0), NoteOff(2, 60, 64 / 127), NoteOff(2, 60, 1.0),
    ]  # fmt: skip
    assert translated((0xA0, 60, 127)) == [Pressure(1, 60, 1.0), Control("/midi/1/poly/60", 1.0)]
    assert translated((0xD0, 127)) == [Pressure(1, -1, 1.0), Control("/midi/1/pressure", 1.0)]
    assert translated((0xC3, 127)) == [events.Program(4, 127), Control("/midi/4/program", 1.0)]
    assert translated((0xB0, 64, 127)) == [Sustain(1, 1.0), Control("/midi/1/cc/64", 1.0)]
    assert translated((0xB0, 74, 127)) == [events.Timbre(1, 1.0), Control("/midi/1/cc/74", 1.0)]
    assert translated((0xF8,), (0xFA,), (0xFB,), (0xFC,), (0xF2, 1, 2), (0xFE,)) == [
        events.ClockPulse(), events.Start(), events.Continue(), events.Stop(), events.SongPosition(257),
    ]  # fmt: skip
    assert translated((0xB0, 123, 0)) == translated((0xB0, 120, 0)) == translated((0xFF,)) == [Release()]


def test_bend_reaches_both_ends_and_rests_at_the_centre() -> None:
    assert translated((0xE0, 0, 0)) == [Bend(1, -2.0), Control("/midi/1/bend", 0.0)]
    assert translated((0xE0, 127, 127)) == [Bend(1, 2.0), Control("/midi/1/bend", 1.0)]
    assert translated((0xE0, 0, 64)) == [Control("/midi/1/bend", 0.5)]  # it rested there before
    ranged = translated((0xB0, 101, 0), (0xB0, 100, 0), (0xB0, 6, 12), (0xB0, 38, 50), (0xE0, 127, 127))
    assert Bend(1, 12.5) in ranged


def test_fourteen_bits() -> None:
    high_alone = translated((0xB0, 1, 127))
    assert high_alone == [Control("/midi/1/cc/1", 1.0)]
    both = translated((0xB0, 1, 64), (0xB0, 33, 127), (0xB0, 1, 65))
    assert both == [
        Control("/midi/1/cc/1", 64 / 127),
        Control("/midi/1/cc/33", 1.0), Control("/midi/1/cc/1", (64 * 128 + 127) / 16383),
        Control("/midi/1/cc/1", 65 * 128 / 16383),
    ]  # fmt: skip
    assert translated((0xB0, 33, 127)) == [Control("/midi/1/cc/33", 1.0)]
    assert translated((0xB0, 1, 64), (0xB1, 33, 127))[1:] == [Control("/midi/2/cc/33", 1.0)]


def test_nrpn() -> None:
    select = ((0xB0, 99, 2), (0xB0, 98, 44))
    assert translated(*select, (0xB0, 6, 127)) == [Control("/midi/1/nrpn/300", 1.0)]
    assert translated(*select, (0xB0, 6, 1), (0xB0, 38, 2))[-1] == Control("/midi/1/nrpn/300", 130 / 16383)
    assert translated(*select, (0xB0, 6, 1), (0xB0, 96, 0))[-1] == Control("/midi/1/nrpn/300", 2 / 127)
    down = translated(*select, (0xB0, 6, 1), (0xB0, 38, 0), (0xB0, 97, 0))
    assert down[-1] == Control("/midi/1/nrpn/300", 127 / 16383)
    none = ((0xB0, 99, 127), (0xB0, 98, 127))
    assert translated(*select, *none, (0xB0, 6, 9)) == [Control("/midi/1/cc/6", 9 / 127)]


def test_mpe_zone() -> None:
    translator = Translator()
    translated((0xB0, 101, 0), (0xB0, 100, 6), (0xB0, 6, 3), translator=translator)  # members 2, 3, 4
    assert translated((0x91, 60, 100), (0xE1, 127, 127), translator=translator)[1] == Bend(2, 48.0)
    assert translated((0xE0, 127, 127), translator=translator)[:2] == [Bend(1, 2.0), Bend(2, 50.0)]
    late = translated((0x92, 64, 100), translator=translator)
    assert late == [Bend(3, 2.0), NoteOn(3, 64, 100 / 127)]  # it catches up before it sounds
    outside = translated((0x94, 64, 100), (0xE4, 0, 0), translator=translator)
    assert outside[1] == Bend(5, -2.0)
    assert translated((0xB0, 64, 127), translator=translator)[:3] == [
        Sustain(1, 1.0), Sustain(2, 1.0), Sustain(3, 1.0),
    ]  # fmt: skip
    translated((0xB2, 101, 0), (0xB2, 100, 0), (0xB2, 6, 24), translator=translator)
    assert translated((0xE1, 127, 127), translator=translator)[0] == Bend(2, 26.0)  # for every member
    whole = translated((0xBF, 101, 0), (0xBF, 100, 6), (0xBF, 6, 15), translator=translator)
    assert Bend(2, 26.0) not in whole
    assert translated((0xE0, 0, 0), translator=translator)[0] == Bend(1, -48.0)  # a member of the upper zone


def test_what_was_moved_returns_to_rest() -> None:
    translator = Translator()
    translated((0x90, 60, 1), (0xE0, 0, 0), (0xB0, 64, 127), translator=translator)
    assert translator.release() == (Release(), Bend(1, 0.0), Sustain(1, 0.0))
    assert translator.release() == (Release(),)
    translated((0xB0, 64, 127), (0xD0, 5), translator=translator)
    assert translated((0xB0, 121, 0), translator=translator) == [Pressure(1, -1, 0.0), Sustain(1, 0.0)]


# Times and names


def test_driver_times_lose_the_jitter() -> None:
    times, late = DriverTime(), [300.0, 0.0, 5000.0, 40.0, 900.0, 2000.0]
    stamps = [times.stamp(0.01, 1e6 + 10_000 * n + lateness) for n, lateness in enumerate(late)]
    assert [round(stamp - 1e6 - 10_000 * n) for n, stamp in enumerate(stamps)] == [300, 0, 2, 4, 6, 8]
    assert times.stamp(0.0, 60e6) == 60e6  # the driver's clock stood still: begin anew


def test_names_stay_when_a_device_returns() -> None:
    ports = ["nanoKEY2:nanoKEY2 MIDI 1 20:0", "X:X 24:0", "X:X 28:0", "Chladni:out 129:0", "Through:0 14:0"]
    assert _named(ports, ["a2j:X [24] (capture): X"]) == {"nanoKEY2:nanoKEY2 MIDI 1": 0, "Through:0": 4}
    assert list(_named(ports[1:3], ())) == ["X:X", "X:X 2"]


# Ports


class Heard(list[tuple[int, str, Body]]):
    """A sink."""

    def __call__(self, sample: int, source: str, body: Body) -> None:
        self.append((sample, source, body))

    def bodies(self) -> list[Body]:
        return [body for _, _, body in self]


def test_jack_records_are_exact_to_the_sample() -> None:
    link, heard = sound_link(), Heard()
    now = monotonic_us()
    link.board.publish(rate=96_000.0, frame=1e6, frame_us=now, frame_period_us=1e6 / 96_000)
    link.board["kind"], link.board["epoch"] = DEVICE_KINDS.index("jack"), 1.0
    clock = Clock(link.board)
    clock.start()
    inputs = MidiInputs(link, clock, heard)
    inputs.start()
    try:
        origin = int(link.board["origin_frame"])
        link.midi_in.push(origin, MIDI_PORT_OPENED, 3, 4, b"keys")
        link.midi_in.push(origin + 2000, MIDI_BYTES, 3, 3, bytes((0x90, 60, 127)))
        assert until(lambda: len(heard) == 1)
        assert heard[0] == (1000, "midi:keys", NoteOn(1, 60, 1.0))
        assert inputs.ports() == ("keys",)
        link.midi_in.push(origin + 4000, MIDI_PORT_LOST, 3, 0, b"")
        assert until(lambda: len(heard) == 2)
        assert heard[1] == (2000, "midi:keys", Release())
        link.midi_in.push(origin, MIDI_PORT_OPENED, 3, 4, b"keys")
        link.board["kind"] = DEVICE_KINDS.index("miniaudio")  # the server has died
        assert until(lambda: len(heard) == 3)
        assert inputs.ports() == ()
    finally:
        inputs.stop()


@pytest.fixture
def jack_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A JACK server of our own; rtmidi's JACK side stands in for ALSA, which containers lack."""
    if not shutil.which("jackd") or rtmidi is None:
        pytest.skip("needs jackd and python-rtmidi")
    name = f"chladni-midi-{os.getpid()}"
    monkeypatch.setenv("JACK_DEFAULT_SERVER", name)
    server = subprocess.Popen(
        ["jackd", "-n", name, "-r", "-d", "dummy", "-r", "48000", "-p", "128"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def answers() -> bool:
        try:
            rtmidi.MidiIn(rtmidi.API_UNIX_JACK, name="probe").delete()
        except rtmidi.RtMidiError:
            return False
        return True

    try:
        assert until(answers, 10.0)
        yield name
    finally:
        server.terminate()
        server.wait(10)


@pytest.mark.jack
def test_ports_come_and_go(jack_server: str) -> None:
    heard, clock = Heard(), Clock()
    sources = Sources(heard)
    driver = RtMidi(sources, clock, rtmidi.API_UNIX_JACK)

    def keyboard() -> "rtmidi.MidiOut":
        out = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, name="Keyboard")
        out.open_virtual_port("keys")
        driver.poll(())
        return out

    try:
        out = keyboard()
        assert sources.names() == (CLIENT, "Keyboard:keys")
        before = clock.now()
        out.send_message([0x90, 60, 100])
        out.send_message([0xE0, 0, 0])
        assert until(lambda: len(heard) == 3)
        assert heard.bodies()[:2] == [NoteOn(1, 60, 100 / 127), Bend(1, -2.0)]
        assert all(source == "midi:Keyboard:keys" for _, source, _ in heard)
        assert before <= heard[0][0] <= heard[1][0] <= clock.now()
        out.close_port()
        out.delete()
        driver.poll(())
        assert heard.bodies()[3:] == [Release(), Bend(1, 0.0)]
        out = keyboard()
        out.send_message([0x90, 62, 100])
        assert until(lambda: heard.bodies()[-1] == NoteOn(1, 62, 100 / 127))
        driver.poll(["Keyboard:keys"])  # another system carries it now
        assert sources.names() == (CLIENT,)
        out.delete()
    finally:
        driver.close()


@pytest.mark.jack
def test_virtual_port_takes_notes(jack_server: str) -> None:
    heard = Heard()
    driver = RtMidi(Sources(heard), Clock(), rtmidi.API_UNIX_JACK)
    out = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, name="Other")
    try:
        out.open_port(next(n for n, port in enumerate(out.get_ports()) if port.startswith(CLIENT)))
        out.send_message([0x90, 60, 127])
        assert until(lambda: len(heard) == 1)
        assert heard[0][1:] == ("midi:Chladni", NoteOn(1, 60, 1.0))
    finally:
        out.delete()
        driver.close()


def gone(port: rtmidi.MidiIn) -> None:
    """Close a port that has a callback: none may run while it is deleted, or the two wait for each other."""
    port.cancel_callback()
    time.sleep(0.1)
    port.close_port()
    port.delete()


@pytest.mark.jack
def test_out_sends_at_its_time(jack_server: str) -> None:
    clock, got = Clock(), []
    synth = rtmidi.MidiIn(rtmidi.API_UNIX_JACK, name="Synth")
    synth.set_callback(lambda event, _: got.append((clock.now(), event[0])))
    synth.open_virtual_port("in")
    out = MidiOut(None, clock, "Synth", rtmidi.API_UNIX_JACK)
    try:
        assert until(lambda: out._output is not None)
        start = clock.now()
        out.send(start + 9600, bytes((0x90, 62, 100)))
        out.send(start + 4800, bytes((0x90, 60, 100)))
        assert until(lambda: len(got) == 2)
        assert [message[1] for _, message in got] == [60, 62]
        assert got[0][0] >= start + 4800
        assert got[1][0] >= start + 9600
    finally:
        out.stop()
        assert until(lambda: sum(message[1] == 123 for _, message in got) == 16)
        gone(synth)
    assert out.refused == 0


@pytest.mark.jack
def test_out_drops_what_waits_when_it_stops(jack_server: str) -> None:
    clock, got = Clock(), []
    synth = rtmidi.MidiIn(rtmidi.API_UNIX_JACK, name="Synth")
    synth.set_callback(lambda event, _: got.append(event[0]))
    synth.open_virtual_port("in")
    out = MidiOut(None, clock, "Synth", rtmidi.API_UNIX_JACK)
    try:
        assert until(lambda: out._output is not None)
        out.send(clock.now() + 1200, bytes((0x90, 60, 100)))
    finally:
        out.stop()
        assert until(lambda: [0xBF, 123, 0] in got)
        time.sleep(0.1)
        gone(synth)
    assert got == [[0xB0 | channel, 123, 0] for channel in range(16)]


def test_out_stops_in_time_whatever_is_planned() -> None:
    link, clock = sound_link(), Clock()
    link.board["kind"] = DEVICE_KINDS.index("jack")
    out = MidiOut(link, clock, "anything")
    out.send(clock.now() + 10 * 48_000, bytes((0x90, 60, 100)))
    begin = clock.now()
    out.stop()
    assert clock.now() - begin < 48_000
    assert link.midi_out.pop_all()[-1][0] < clock.now()


def test_out_through_jack_goes_to_the_sound_worker() -> None:
    link = sound_link()
    link.board["kind"] = DEVICE_KINDS.index("jack")
    out = MidiOut(link, Clock(), "anything")
    out.send(1234, bytes((0x90, 60, 100)))
    sample, port, length, data = link.midi_out.pop_all()[0]
    assert (sample, port, data[:length]) == (1234, 0, bytes((0x90, 60, 100)))
    out.stop()


def test_without_any_midi_system_the_show_goes_on() -> None:
    inputs = MidiInputs(None, Clock(), Heard())
    inputs.start()
    out = MidiOut(None, Clock(), "none")
    out.send(0, bytes((0x90, 60, 100)))
    assert until(lambda: out.refused == 1)
    out.stop()
    inputs.stop()
