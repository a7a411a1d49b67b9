"""OSC: packets to messages, messages to events, and real sockets on the loopback."""

import json
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder
from pythonosc.osc_packet import OscPacket

from engine.clock import Clock
from engine.core import events
from engine.core.events import Body, Control, NoteOff, NoteOn
from engine.core.parameters import INDEX
from engine.core.records import replace
from engine.core.show import parse
from engine.core.state import initial
from engine.io import osc_bytes
from engine.io.commands import COMMANDS
from engine.io.osc import MAX_AHEAD_US, OscServer
from engine.io.osc_feedback import (
    LOWEST_PORT,
    MAX_PACKET,
    MAX_SUBSCRIBERS,
    SUBSCRIBE,
    UNSUBSCRIBE,
    OscFeedback,
    Told,
    told,
)
from engine.io.osc_messages import bodies

pytestmark = pytest.mark.live

NTP_S = 2_208_988_800
SHOW = parse(
    'title = "Told"\n[[cue]]\nnumber = 1\nname = "dawn"\n[[cue]]\nnumber = 2.5\nname = "noon"\n', "told"
)


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


@given(st.lists(st.one_of(
    st.integers(-(2**31), 2**31 - 1), st.floats(width=32, allow_nan=False), st.booleans(),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9),
), max_size=12))  # fmt: skip
def test_another_library_reads_what_is_written(arguments: list[Any]) -> None:
    packet = osc_bytes.write("/a/b", arguments)
    message = OscMessage(packet)
    assert (message.address, message.params) == ("/a/b", arguments)
    assert osc_bytes.read(packet) == [(1, "/a/b", tuple(arguments))]
    both = OscPacket(osc_bytes.bundle([packet, osc_bytes.write("/c", (1,))]))
    assert [timed.message.address for timed in both.messages] == ["/a/b", "/c"]
    assert osc_bytes.bundle([packet]) == packet


@pytest.mark.parametrize("value", [object(), 1e300, 2**40, b"blob", "x" * 20_000])
def test_what_can_t_be_written_is_refused(value: Any) -> None:
    with pytest.raises(osc_bytes.PacketError):
        osc_bytes.write("/a", (value,))


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


def test_every_command_makes_its_event() -> None:
    assert bodies("/chladni/goto", (2.5,)) == bodies("/chladni/cue/2.5/go", ()) == [events.GoTo(2.5)]
    assert bodies("/chladni/cue/2.5/go", (0,)) == []
    assert bodies("/chladni/hold", ()) == bodies("/chladni/hold", (1,)) == [events.Hold(1.0)]
    assert bodies("/chladni/hold", (False,)) == [events.Hold(0.0)]
    assert bodies("/chladni/blackout", (0.5,)) == [events.Blackout(0.5)]
    assert bodies("/chladni/release", ()) == [events.Blackout(0.0)]
    assert bodies("/chladni/preset/slow dusk/recall", (3,)) == [events.Recall("slow dusk", 3.0)]
    assert bodies("/chladni/preset/dusk/recall", (1e9,)) == [events.Recall("dusk", 3600.0)]
    assert bodies("/chladni/preset/dusk/recall", ()) == [events.Recall("dusk", 0.0)]
    assert bodies("/chladni/preset/dusk/store", (1.0,)) == [events.Store("dusk")]
    assert bodies("/chladni/preset/dusk/store", (0.0,)) == []
    assert bodies("/chladni/morph", (0.25, 1)) == [
        Control("/chladni/parameter/morph.x", 0.25), Control("/chladni/parameter/morph.y", 1.0),
    ]  # fmt: skip
    assert bodies("/chladni/generator", ("planets",)) == [events.Swap("planets")]
    assert bodies("/chladni/position", (2.5,)) == [events.SongPosition(10)]
    assert bodies("/chladni/notes/off", ()) == [events.Release()]


PLACES = st.sampled_from([
    "go", "goto", "hold", "blackout", "release", "morph", "position", "note", "notes/off", "generator",
    "cue/2/go", "cue/-1e9/go", "cue/nan/go", "preset/dusk/recall", "preset/ /store", "preset/dusk/store",
    "fader/hue", "parameter/hue", "parameter/musician.mode", "fader/nothing", "nothing",
])  # fmt: skip
VALUES = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(), st.booleans(), st.none(), st.binary(max_size=4),
    st.text(max_size=4), st.sampled_from(["duet", "planets", 0, 1, 64, 127, 0.5, 3601.0, -1.0]),
)  # fmt: skip


@given(PLACES, st.lists(VALUES, max_size=4))
def test_whatever_is_asked_for_can_be_recorded(place: str, arguments: list[Any]) -> None:
    for address in (f"/chladni/{place}", f"/composition/{place}", "/layer1/clip1/connect"):
        try:
            made = bodies(address, arguments, ("planets",))
        except ValueError:
            continue
        for body in made:
            assert events.decode(json.loads(json.dumps(events.encode(body), allow_nan=False))) == body


def test_a_fader_is_a_parameter_over_its_range() -> None:
    assert bodies("/chladni/fader/hue", (0.75,)) == [Control("/chladni/parameter/hue", 90.0)]
    assert bodies("/chladni/fader/psi", (1,)) == [Control("/chladni/parameter/psi", 1.5)]


def test_resolume_s_addresses_are_aliases() -> None:
    for ending in ("", "/values"):
        opacity = f"/composition/layers/{{}}/video/opacity{ending}"
        assert bodies(opacity.format(1), (0.25,)) == [Control("/chladni/parameter/blackout", 0.75)]
        assert bodies(opacity.format(2), (0.25,)) == [Control("/chladni/parameter/text.opacity", 0.25)]
        assert bodies(opacity.format(3), (0.25,)) == [Control("/chladni/parameter/network.1", 0.25)]
        assert bodies(f"/layer1/video/opacity{ending}", ("a", 1.0)) == [
            Control("/chladni/parameter/blackout", 0.0)
        ]
    here = ("impressionism", "planets")
    clip = "/composition/layers/1/clips/{}/connect"
    assert bodies(clip.format(2), (1,), here) == bodies("/layer1/clip2/connect", (1,), here)
    assert bodies(clip.format(2), (1,), here) == [events.Swap("planets")]
    assert bodies(clip.format(2), (0,), here) == bodies(clip.format(3), (1,), here) == []
    assert bodies("/composition/columns/3/connect", (1,)) == [events.GoTo(3.0)]
    assert bodies("/composition/connectnextcolumn", (1,)) == [events.Go()]
    assert bodies("/composition/connectprevcolumn", (1,)) == [events.Back()]
    assert bodies("/composition/master", (0.25,)) == [events.Blackout(0.75)]
    assert bodies("/composition/tempocontroller/tempotap", (1,)) == [events.Tap()]
    assert bodies("/composition/tempocontroller/tempotap", (0,)) == []
    tempo = bodies("/composition/tempocontroller/tempo", (0.25,))
    assert tempo == [Control("/chladni/parameter/tempo", 140.0)]
    elsewhere = "/composition/layers/9/video/opacity"
    assert bodies(elsewhere, (0.5,)) == [Control(f"/osc{elsewhere}", 0.5)]


def test_every_address_is_in_the_docs() -> None:
    page = (Path(__file__).parent.parent / "docs" / "osc.md").read_text()
    for each in COMMANDS:
        assert f"`{each.address.replace('{', '<').replace('}', '>')}" in page, each.address
    for address in (*told(SHOW, initial(SHOW), (0, 0, 0, 0)), SUBSCRIBE, UNSUBSCRIBE):
        if not address.startswith(("/chladni/parameter/", "/chladni/fader/")):
            assert f"`{address}" in page, address


@pytest.mark.parametrize(
    ("address", "arguments"),
    [("/chladni/goto", ()), ("/chladni/goto", ("2",)), ("/chladni/goto", (1e30,)),
     ("/chladni/generator", (3,)),
     ("/chladni/generator", ("../../etc/passwd",)), ("/chladni/fader/none", (1,)),
     ("/composition/master", ("+", 0.1)),
     ("/a", (nan,)), ("/a", (1.0, inf)), ("/chladni/note", (0, 60, 1)), ("/chladni/note", (1, 128, 1)),
     ("/chladni/note", (1, 60)), ("/chladni/note", (1, nan, 1))],
)  # fmt: skip
def test_messages_without_meaning_are_refused(address: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        bodies(address, arguments)


def test_a_show_that_is_just_revised_can_be_told() -> None:
    fewer = SHOW.model_copy(update={"cue": ()})
    said = told(fewer, replace(initial(SHOW), cue=1), (0, 0, 0, 0))
    assert said["/chladni/cue/present"] == said["/chladni/cue/next"] == (-1.0, "")


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


def test_stop_needs_no_network(stage: Stage) -> None:
    stage.server.host = "gone.invalid"
    stage.server.stop()
    assert not stage.server._thread.is_alive()


# What is told


class Ear:
    """A socket that hears, and what it has heard, by address."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.02)
        self.port = self.socket.getsockname()[1]
        self.heard: dict[str, list[Any]] = {}
        self.sizes: list[int] = []

    def listen(self) -> "Ear":
        try:
            while True:
                packet = self.socket.recv(65_536)
                self.sizes.append(len(packet))
                for timed in OscPacket(packet).messages:
                    self.heard[timed.message.address] = timed.message.params
        except TimeoutError:
            return self

    def hears(self, address: str, *values: Any) -> bool:
        return self.listen().heard.get(address) == list(values)


class Telling:
    """Feedback about a show whose state a test moves."""

    def __init__(self, *targets: str) -> None:
        self.state = initial(SHOW)
        self.feedback = OscFeedback(targets, self.look, SHOW.fps)
        self.feedback.start(9000)

    def look(self) -> Told:
        return told(SHOW, self.state, (1, 2, 3, 4))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def telling(stack: ExitStack, *targets: str) -> Telling:
    made = Telling(*targets)
    stack.callback(made.feedback.stop)
    return made


def ear(stack: ExitStack) -> Ear:
    made = Ear()
    stack.callback(made.socket.close)
    return made


def test_targets_hear_what_changes_and_what_happens(stack: ExitStack) -> None:
    ears = [ear(stack), ear(stack)]
    show = telling(stack, *(f"127.0.0.1:{each.port}" for each in ears), "nobody.invalid:9")
    assert show.feedback.failed == 1
    show.feedback.tell("/chladni/note", (1, 60, 0.5))
    for each in ears:
        assert until(lambda each=each: each.hears("/chladni/note", 1, 60, 0.5))
    levels = list(show.state.levels)
    levels[INDEX["hue"]] = 90.0
    show.state = replace(show.state, levels=tuple(levels), cue=0)
    for each in ears:
        assert until(lambda each=each: each.hears("/chladni/parameter/hue", 90.0))
        assert until(lambda each=each: each.hears("/chladni/fader/hue", 0.75))
        assert until(lambda each=each: each.hears("/chladni/cue/present", 1.0, "dawn"))
        assert until(lambda each=each: each.hears("/chladni/cue/next", 2.5, "noon"))
        assert "/chladni/parameter/psi" not in each.heard, "only what has changed"
    show.feedback.tell("/a", ("x" * 20_000,))
    assert until(lambda: show.feedback.failed == 2)


def test_a_subscriber_hears_everything_in_small_packets_and_leaves(stack: ExitStack) -> None:
    show, subscriber = telling(stack), ear(stack)
    show.feedback.subscribe(("127.0.0.1", subscriber.port), ())
    assert until(lambda: subscriber.listen().heard.keys() >= show.look().keys())
    assert subscriber.heard["/chladni/subscribed"] == [subscriber.port, 60.0]
    assert max(subscriber.sizes) <= MAX_PACKET
    show.feedback.unsubscribe(("127.0.0.1", 5), (subscriber.port,))
    assert until(lambda: not show.feedback.receivers)


def test_nobody_can_turn_it_against_others(stack: ExitStack) -> None:
    show = telling(stack)
    here = ("127.0.0.1", 40_000)
    for sender, arguments in (
        (here, ("10.1.2.3", 40_000)), (here, (53,)), (here, (LOWEST_PORT - 1,)), (here, (9000,)),
        (("203.0.113.7", 40_000), ()), (("8.8.8.8", 40_000), (40_000,)), (here, ("x",)), (here, (70_000,)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"\w"):
            show.feedback.subscribe(sender, arguments)
    ears = [ear(stack) for _ in range(MAX_SUBSCRIBERS)]
    for each in ears:
        show.feedback.subscribe(("127.0.0.1", each.port), ())
    assert until(lambda: len(show.feedback.receivers) == MAX_SUBSCRIBERS)
    with pytest.raises(ValueError, match="enough"):
        show.feedback.subscribe(here, ())
    show.feedback.subscribe(("127.0.0.1", ears[0].port), ())  # again: it is one of them
    ears[1].socket.close()
    assert until(lambda: len(show.feedback.receivers) == MAX_SUBSCRIBERS - 1), "nobody listens there"


def test_subscriptions_come_through_the_server(stack: ExitStack) -> None:
    show, subscriber, heard = telling(stack), ear(stack), []
    server = OscServer("127.0.0.1", 0, Clock(), lambda *event: heard.append(event), show.feedback)
    server.start()
    stack.callback(server.stop)
    at = ("127.0.0.1", server.port)
    subscriber.socket.sendto(message(SUBSCRIBE), at)
    assert until(lambda: subscriber.hears("/chladni/cue/present", -1.0, ""))
    subscriber.socket.sendto(message(SUBSCRIBE, ",i", struct.pack(">i", 80)), at)
    subscriber.socket.sendto(message(UNSUBSCRIBE), at)
    assert until(lambda: not show.feedback.receivers)
    assert until(lambda: (server.received, server.dropped) == (2, 1))
    assert heard == []
