"""OSC: packets to messages, messages to events, and real sockets on the loopback."""

import json
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from engine.clock import Clock
from engine.core import events
from engine.core.events import Body, Control, NoteOff, NoteOn
from engine.io import osc_bytes
from engine.io.osc import MAX_AHEAD_US, OscSender, OscServer, bodies

NTP_S = 2_208_988_800


def text(value: str) -> bytes:
    raw = value.encode() + b"\0"
    return raw + b"\0" * (-len(raw) % 4)


def message(address: str, tags: str = ",", data: bytes = b"") -> bytes:
    return text(address) + text(tags) + data


def bundle(*elements: bytes, tag: int = osc_bytes.IMMEDIATELY) -> bytes:
    sized = (struct.pack(">i", len(element)) + element for element in elements)
    return b"#bundle\0" + struct.pack(">Q", tag) + b"".join(sized)


def ntp(seconds: float) -> int:
    return int((seconds + NTP_S) * 2**32)


def until(condition: Callable[[], object], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return False


# Packets

argument = st.one_of(
    st.integers(-(2**31), 2**31 - 1), st.floats(width=32, allow_nan=False), st.booleans(), st.none(),
    st.binary(min_size=1, max_size=9),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9),
)  # fmt: skip


@given(st.lists(argument, max_size=12))
def test_reads_what_another_library_writes(arguments: list[Any]) -> None:
    builder = OscMessageBuilder("/a/b")
    for value in arguments:
        builder.add_arg(value)
    assert osc_bytes.read(builder.build().dgram) == [(1, "/a/b", tuple(arguments))]


def test_every_type_tag() -> None:
    data = struct.pack(">iqfd", 1, 2, 3.0, 4.0) + text("s") + text("S") + struct.pack(">i3sx", 3, b"abc")
    data += struct.pack(">Qi4s4si", 5, ord("c"), b"RGBA", b"MIDI", 7)
    packet = message("/all", ",ihfdsSbtcrmTFNI[i[]]", data)
    arguments = (
        1, 2, 3.0, 4.0, "s", "S", b"abc", b"\0\0\0\0\0\0\0\5", ord("c"), b"RGBA", b"MIDI",
        True, False, None, True, 7,
    )  # fmt: skip
    assert osc_bytes.read(packet) == [(1, "/all", arguments)]


def test_bundles_nest_and_keep_their_own_times() -> None:
    a, b, c = (message(f"/{name}") for name in "abc")
    packet = bundle(a, bundle(b, tag=99), c, tag=42)
    assert osc_bytes.read(packet) == [(42, "/a", ()), (99, "/b", ()), (42, "/c", ())]


def nested(depth: int) -> bytes:
    packet = message("/deep")
    for _ in range(depth):
        packet = bundle(packet)
    return packet


@pytest.mark.parametrize(
    "packet",
    [
        b"", b"hello", b"/", b"/a\0\0,i\0\0\0\0", b"/a\0\0,q\0\0", b"/a\0\0i\0\0\0", b"/\xff\xfe\0,\0\0\0",
        b"/a\0\0,[\0\0", b"/a\0\0,]\0\0", b"/a\0\0,b\0\0\xff\xff\xff\xf0", b"/a\0\0,b\0\0\x00\xff\xff\xf0",
        b"#bundle\0", bundle(b"junk"), bundle(message("/a"))[:-1],
        b"#bundle\0" + struct.pack(">Qi", 1, -4), b"#bundle\0" + struct.pack(">Qi", 1, 0),
        nested(osc_bytes.MAX_DEPTH + 1), nested(700), message("/" + "a" * 300),
        message("/a", "," + "T" * 300),
        bundle(*[message("/a")] * 1100), message("/a", ",b", struct.pack(">i", 20_000) + bytes(20_000)),
    ],
)  # fmt: skip
def test_bad_packets_are_refused(packet: bytes) -> None:
    with pytest.raises(osc_bytes.PacketError):
        osc_bytes.read(packet)
    assert osc_bytes.read(nested(osc_bytes.MAX_DEPTH))


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda data: b"/a\0\0," + data)))
def test_random_bytes_are_read_or_refused(packet: bytes) -> None:
    try:
        messages = osc_bytes.read(packet)
    except osc_bytes.PacketError:
        return
    for _, address, arguments in messages:
        try:
            made = bodies(address, arguments)
        except ValueError:
            continue
        for body in made:
            assert events.decode(json.loads(json.dumps(events.encode(body), allow_nan=False))) == body


# Messages


def test_each_number_is_a_source() -> None:
    assert bodies("/xy", (0.25, "name", 3, True, None, b"blob")) == [
        Control("/osc/xy", 0.25), Control("/osc/xy:1", 3.0), Control("/osc/xy:2", 1.0),
    ]  # fmt: skip
    assert bodies("/bang", ()) == []


def test_commands() -> None:
    assert bodies("/chladni/go", ()) == bodies("/chladni/go", (1.0,)) == [events.Go()]
    assert bodies("/chladni/go", (0.0,)) == []
    assert bodies("/chladni/note", (1, 60, 127)) == [NoteOn(1, 60, 1.0)]
    assert bodies("/chladni/note", (1, 60, 1.0)) == [NoteOn(1, 60, 1.0)]
    assert bodies("/chladni/note", (1, 60, 0)) == [NoteOff(1, 60, 0.5)]
    assert bodies("/chladni/parameter/walk.speed", (2,)) == [Control("/chladni/parameter/walk.speed", 2.0)]
    mode = "/chladni/parameter/musician.mode"
    assert bodies(mode, ("duet",)) == [Control(mode, 3.0)]
    assert bodies(mode, ("none",)) == bodies("/chladni/parameter/psi", ("duet",)) == []


@pytest.mark.parametrize(
    ("address", "arguments"),
    [("/a", (nan,)), ("/a", (1.0, inf)), ("/chladni/note", (0, 60, 1)), ("/chladni/note", (1, 128, 1)),
     ("/chladni/note", (1, 60)), ("/chladni/note", (1, nan, 1))],
)  # fmt: skip
def test_messages_without_meaning_are_refused(address: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        bodies(address, arguments)


# Sockets


class Stage:
    """A server that listens, and a socket that talks to it."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, str, Body]] = []
        self.clock = Clock()
        self.server = OscServer("127.0.0.1", 0, self.clock, lambda *event: self.heard.append(event))
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.start()

    def send(self, packet: bytes) -> None:
        self.socket.sendto(packet, ("127.0.0.1", self.server.port))


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.server.stop()
    stage.socket.close()


def test_a_message_is_stamped_when_it_arrives(stage: Stage) -> None:
    before = stage.clock.now()
    stage.send(message("/fader", ",f", struct.pack(">f", 0.5)))
    after = stage.clock.now()
    assert until(lambda: stage.heard)
    sample, source, body = stage.heard[0]
    assert (source, body) == ("osc", Control("/osc/fader", 0.5))
    assert before - 48 <= sample <= after + 48  # sent and received in one call on the loopback


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's kernel stamps packets")
def test_a_message_that_waited_keeps_its_time() -> None:
    clock, heard = Clock(), []
    server = OscServer("127.0.0.1", 0, clock, lambda *event: heard.append(event))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(message("/a", ",T"), ("127.0.0.1", server.port))
    sent = clock.now()
    time.sleep(0.3)
    server.start()
    assert until(lambda: heard)
    server.stop()
    assert abs(heard[0][0] - sent) < 480


def test_future_times_are_kept_and_hold_nothing_up(stage: Stage) -> None:
    fader = message("/late", ",f", struct.pack(">f", 1.0))
    now = stage.clock.now()
    stage.send(bundle(fader, tag=ntp(time.time() + 2.0)))
    stage.send(bundle(fader, tag=ntp(time.time() - 2.0)))
    stage.send(bundle(fader, tag=ntp(time.time() + MAX_AHEAD_US / 1e6 + 5.0)))
    stage.send(bundle(fader, tag=2**64 - 1))
    stage.send(message("/now", ",T"))
    assert until(lambda: len(stage.heard) == 3)
    late, past, soon = (sample - now for sample, _, _ in stage.heard)
    assert abs(late - 96_000) < 480
    assert 0 <= past <= soon < 9600
    assert (stage.server.received, stage.server.dropped) == (3, 2)


def test_bad_packets_are_counted_in_silence(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    bad = [b"", b"junk", b"/a\0\0,f", nested(900), bytes(30_000), b"#bundle\0" + struct.pack(">Qi", 1, -4)]
    for packet in bad:
        stage.send(packet)
    stage.send(message("/nan", ",f", struct.pack(">f", nan)))
    stage.send(message("/alive", ",T"))
    assert until(lambda: stage.heard)
    assert stage.server.dropped == len(bad) + 1
    assert capfd.readouterr() == ("", "")


def test_a_burst_loses_nothing(stage: Stage) -> None:
    for number in range(500):
        stage.send(message("/n", ",i", struct.pack(">i", number)))
    assert until(lambda: len(stage.heard) == 500)
    assert [body.value for _, _, body in stage.heard if isinstance(body, Control)] == list(range(500))


def test_a_port_in_use_is_one_clear_error(stage: Stage) -> None:
    with pytest.raises(OSError, match=rf"UDP 127.0.0.1:{stage.server.port} .*another port"):
        OscServer("127.0.0.1", stage.server.port, stage.clock, lambda *event: None)


def test_stop_is_quick_and_frees_the_port(stage: Stage) -> None:
    begin = time.monotonic()
    stage.server.stop()
    assert time.monotonic() - begin < 1.0
    OscServer("127.0.0.1", stage.server.port, stage.clock, lambda *event: None).stop()


def test_sender_reaches_every_target_and_never_raises() -> None:
    receivers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for receiver in receivers:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5.0)
    sender = OscSender([f"127.0.0.1:{receiver.getsockname()[1]}" for receiver in receivers])
    sender.send("/chladni/note", (1, 60, 0.5))
    for receiver in receivers:
        got = OscMessage(receiver.recv(1000))
        assert (got.address, got.params) == ("/chladni/note", [1, 60, 0.5])
        receiver.close()
    sender.send("/a", (object(),))
    sender.send("/a", ("x" * 70_000,))
    assert sender.failed == 3
    sender.close()


def test_stop_needs_no_network(stage: Stage) -> None:
    stage.server.host = "gone.invalid"
    stage.server.stop()
    assert not stage.server._thread.is_alive()
