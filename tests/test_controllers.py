"""Controller maps: what their files say, what knobs and pads do, and the lamps of one in a JACK graph."""

import json
import tomllib
from collections import deque
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_midi import message
from test_sound import playing, server, until  # noqa: F401 (a fixture)

from engine.clock import Clock
from engine.core.advance import receive
from engine.core.events import (
    Blackout,
    Body,
    Control,
    Event,
    Go,
    GoTo,
    Hold,
    NoteOff,
    NoteOn,
    Recall,
    Release,
    Swap,
    decode,
    encode,
)
from engine.core.parameters import INDEX
from engine.core.records import replace
from engine.core.show import Show, parse
from engine.core.state import ShowState, initial
from engine.io import controller_maps
from engine.io.controller_maps import CC, NOTE_ON, MapError, load, with_default_routes
from engine.io.controllers import ControllerTranslator, of_show
from engine.io.lights import MAX_MESSAGES, Lights, lights
from engine.io.midi_drivers import rtmidi
from engine.io.midi_ports import MidiInputs, MidiOut

pytestmark = pytest.mark.live

GENERATORS = ("impressionism", "planets")
CUES = "".join(f"[[cue]]\nnumber = {number}\n" for number in (1, 2.5, 3))
PRESETS = '[[preset]]\nname = "dusk"\nlevels = { hue = 3 }\n'


def show_with(map_name: str, more: str = "") -> Show:
    text = f'title = "Held"\n{CUES}{PRESETS}[[controller]]\nmap = "{map_name}"\n{more}'
    return with_default_routes(parse(text, "held"))


class Hands:
    """A controller with a map in front of a show's state."""

    def __init__(self, map_name: str, more: str = "") -> None:
        self.show = show_with(map_name, more)
        self.state: ShowState = initial(self.show)
        self.map = load(map_name)
        self.translator = ControllerTranslator(self.map, self.look, GENERATORS)

    def look(self) -> tuple[Show, ShowState]:
        return self.show, self.state

    def send(self, *data: int) -> list[Body]:
        """Return what a message means, once the core has taken it."""
        bodies = list(self.translator.bodies(bytes(data)))
        for number, body in enumerate(bodies):
            event = Event(self.state.tick, 0, "midi:held", number, body)
            self.state = receive(self.show, self.state, event)
        return bodies

    def lamps(self, lit: bool = True) -> dict[tuple[int, int], tuple[int, int]]:
        return lights(self.map, self.show, self.state, GENERATORS, lit)


@pytest.mark.parametrize("name", controller_maps.names())
def test_every_map_is_whole_and_in_the_docs(name: str) -> None:
    hands = Hands(name)
    page = (Path(__file__).parent.parent / "docs" / "controllers.md").read_text()
    assert f"`{name}`" in page
    assert hands.map.title in page
    sources = [address for control in hands.map.control for address in control.addresses(name)]
    assert len(set(sources)) == len(sources)
    assert {route.source for route in hands.show.route} <= set(sources)
    assert any(control.does == "cue" and control.light for control in hands.map.control)
    for lit in (True, False):
        assert all(0 <= channel < 16 and 0 <= value < 128 for channel, value in hands.lamps(lit).values())


def test_three_kinds_of_controller_are_there() -> None:
    assert {"apc_mini_mk2", "launchpad_mini_mk3", "nanokontrol2"} <= set(controller_maps.names())


def test_knobs_have_names_and_pads_do_things_once() -> None:
    hands = Hands("nanokontrol2")
    fader = "/controller/nanokontrol2/fader/1"
    assert hands.send(0xB0, 0, 127) == [Control(fader, 1.0)]
    assert len(hands.send(0xB0, 33, 0)) == 1, "let go, and nothing else"
    assert hands.send(0xB0, 33, 127) == [Control("/controller/nanokontrol2/solo/2", 1.0), GoTo(2.5)]
    assert hands.send(0xB0, 33, 0) == [Control("/controller/nanokontrol2/solo/2", 0.0)]
    assert hands.state.cue == 1
    assert hands.send(0xB0, 41, 127)[1:] == [Go()]
    assert hands.send(0xB0, 39, 127)[1:] == [], "there are no eight cues"
    assert hands.send(0xB0, 49, 127)[1:] == [Swap("planets")]
    assert hands.send(0xB0, 64, 127)[1:] == [Recall("dusk", 0.0)]
    for on in (1.0, 0.0):
        assert hands.send(0xB0, 42, 127)[1:] == [Hold(on)]
        assert hands.send(0xB0, 45, 127)[1:] == [Blackout(on)]
        hands.send(0xB0, 42, 0), hands.send(0xB0, 45, 0)
    assert hands.send(0xB0, 80, 127) == [Control("/midi/1/cc/80", 1.0)], "it is in no map"
    assert hands.send(0x91, 60, 127) == [NoteOn(2, 60, 1.0)]
    assert hands.send(0xB0, 32, 127)
    assert Control("/controller/nanokontrol2/solo/1", 0.0) in hands.translator.release()


@settings(max_examples=50)
@given(st.sampled_from(controller_maps.names()), st.lists(message, max_size=40))
def test_whatever_a_controller_sends_can_be_recorded(name: str, messages: list[bytes]) -> None:
    hands = Hands(name)
    for each in messages:
        for body in hands.send(*each):
            assert decode(json.loads(json.dumps(encode(body), allow_nan=False))) == body
    hands.lamps()
    assert hands.state.faults == 0


def test_pads_are_no_piano_and_columns_are_faders() -> None:
    hands = Hands("launchpad_mini_mk3")
    assert hands.send(0x90, 81, 90)[1:] == [GoTo(1.0)]
    assert hands.send(0x90, 81, 0) == [Control("/controller/launchpad_mini_mk3/pad/1", 0.0)]
    third = "/controller/launchpad_mini_mk3/fader/3"
    heights = [hands.send(0x90, note, 127) for note in (13, 23, 33, 43)]
    assert [body for bodies in heights for body in bodies] == [
        Control(third, pytest.approx(share)) for share in (0.0, 1 / 3, 2 / 3, 1.0)
    ]
    assert hands.send(0x80, 43, 0) == []


def test_the_show_goes_before_the_map() -> None:
    routed = '[[route]]\nfrom = "/controller/nanokontrol2/*/1"\nto = "hue"\n'
    hands = Hands("nanokontrol2", routed)
    assert [route.to for route in hands.show.route if route.source.endswith("/1")] == ["hue"]
    assert hands.send(0xB0, 32, 127) == [Control("/controller/nanokontrol2/solo/1", 1.0)]
    assert hands.send(0xB0, 33, 127)[1:] == [GoTo(2.5)]
    assert with_default_routes(hands.show) == hands.show


def test_lamps_show_the_cues_the_buttons_and_the_levels() -> None:
    hands = Hands("apc_mini_mk2")
    assert [hands.lamps()[NOTE_ON, note] for note in (56, 57, 58, 59)] == [(13, 13), (0, 3), (0, 3), (0, 0)]
    hands.send(0x90, 57, 127)
    assert [hands.lamps()[NOTE_ON, note] for note in (56, 57, 58)] == [(0, 3), (6, 21), (13, 13)]
    assert [hands.lamps()[NOTE_ON, note] for note in (100, 101, 102)] == [(0, 1), (0, 0), (0, 0)]
    hands.send(0x90, 101, 127)
    assert hands.lamps()[NOTE_ON, 101] == (0, 2), "it is being loaded"
    hands.send(0x90, 115, 127)
    assert hands.lamps()[NOTE_ON, 115] == (0, 2)

    ring = Hands("xtouch_mini")
    levels = [*ring.state.levels]
    levels[INDEX["psi"]], levels[INDEX["feedback"]] = 1.5, 0.49
    ring.state = replace(ring.state, levels=tuple(levels))
    assert [ring.lamps()[CC, number] for number in (9, 11)] == [(10, 13), (10, 7)]

    columns = Hands("launchpad_mini_mk3")
    levels[INDEX["psi"]] = 1.0
    columns.state = replace(columns.state, levels=tuple(levels))
    assert [columns.lamps()[NOTE_ON, note][1] for note in (11, 21, 31, 41)] == [45, 45, 45, 0]

    blinking = Hands("nanokontrol2")
    assert [blinking.lamps(lit)[CC, 32] for lit in (True, False)] == [(0, 127), (0, 0)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ports": "x"}, "ports"),
        ({"control": [{"name": "a"}]}, "either note or cc"),
        ({"control": [{"name": "a", "cc": "3-200"}]}, "no span"),
        ({"control": [{"name": "a", "cc": "1"}, {"name": "b", "cc": "1"}]}, "cc 1 stands there twice"),
        ({"control": [{"name": "a", "cc": "1", "to": ["nothing"]}]}, "to names a parameter"),
        ({"control": [{"name": "a", "note": "1-8", "columns": 3}]}, "no 3 columns"),
        ({"setup": ["90 01"] * 2 + ["F0" * 30]}, "no message of up to 16 bytes"),
    ],
)
def test_a_wrong_map_is_one_clear_line(tmp_path: Path, change: dict, message: str) -> None:
    told = tomllib.loads((controller_maps.FOLDER / "nanokontrol2.toml").read_text()) | change
    file = tmp_path / "mine.toml"
    file.write_text(_toml(told))
    with pytest.raises(MapError, match=message) as raised:
        load(str(file))
    assert str(raised.value).startswith(str(file))
    assert "\n" not in str(raised.value)
    with pytest.raises(MapError, match=r"no controller map 'nanocontrol'; there are apc"):
        load("nanocontrol")
    file.write_text("title = ")
    with suppress(MapError):
        load(str(file))


def _toml(value: object) -> str:
    """Return a map as TOML, in inline tables."""
    if isinstance(value, dict):
        return "".join(f"{key} = {_inline(each)}\n" for key, each in value.items())
    raise TypeError


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_inline(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return str(value).lower() if isinstance(value, bool | int) else f'"{value}"'


class Surface:
    """A JACK client that plays a nanoKONTROL2, and keeps what its lamps were told."""

    def __init__(self) -> None:
        import jack

        self.client = jack.Client("nanoKONTROL2", no_start_server=True)
        self._keys = self.client.midi_outports.register("keys")
        self._lamps = self.client.midi_inports.register("lamps")
        self.to_send: deque[bytes] = deque()
        self.told: list[bytes] = []
        self.blocks: list[int] = []  # messages told in each block
        self.client.set_process_callback(self._process)

    def __enter__(self) -> "Surface":
        self.client.activate()
        return self

    def __exit__(self, *error: object) -> None:
        self.client.deactivate()
        self.client.close()

    def _process(self, _: int) -> None:
        told = [bytes(data) for _, data in self._lamps.incoming_midi_events()]
        self.told += told
        self.blocks.append(len(told))
        self._keys.clear_buffer()
        if self.to_send:
            self._keys.write_midi_event(0, self.to_send.popleft())

    def lamp(self, number: int) -> int | None:
        """Return the value that a lamp was told last."""
        return next((data[2] for data in reversed(self.told) if data[:2] == bytes((0xB0, number))), None)


@pytest.mark.jack
def test_a_controller_in_the_graph_is_heard_and_lit(server) -> None:  # noqa: F811
    hands = Hands("nanokontrol2")
    heard: list[tuple[int, str, Body]] = []

    def take(sample: int, source: str, body: Body) -> None:
        heard.append((sample, source, body))
        hands.state = receive(hands.show, hands.state, Event(hands.state.tick, 0, source, len(heard), body))

    controllers = of_show(hands.show, hands.look, GENERATORS)
    with playing("jack", hears_us=(None, "nanoKONTROL2")) as (link, clock):
        out = MidiOut(link, clock, "nanoKONTROL2", port=1)
        inputs = MidiInputs(link, clock, take, controllers.translator)
        lit = Lights(controllers.maps, [out], clock, hands.look, GENERATORS)
        inputs.start()
        lit.start()
        with Surface() as surface:
            until(lambda: surface.lamp(48) == 127)  # the generator that plays
            until(lambda: {surface.lamp(number) for number in (33, 34, 42)} == {0})
            until(lambda: "nanoKONTROL2:keys" in inputs.ports())
            surface.to_send.append(bytes((0xB0, 0, 127)))
            surface.to_send.append(bytes((0xB0, 34, 127)))
            fader, pad = "/controller/nanokontrol2/fader/1", "/controller/nanokontrol2/solo/3"
            until(lambda: len(heard) == 3)
            assert [body for _, _, body in heard] == [Control(fader, 1.0), Control(pad, 1.0), GoTo(3.0)]
            assert heard[0][1] == "midi:nanoKONTROL2:keys"
            until(lambda: surface.lamp(34) == 127)  # the cue that it has begun
            assert max(surface.blocks) <= MAX_MESSAGES
        until(lambda: Release() in [body for _, _, body in heard])
        assert heard[-1][2] == Control(pad, 0.0)
        with Surface() as surface:  # plugged in again: all of its lamps are told anew
            until(lambda: surface.lamp(34) == 127 and surface.lamp(48) == 127)
            lit.stop()
            until(lambda: surface.lamp(34) == 0 and surface.lamp(48) == 0)
        inputs.stop()
    assert NoteOff not in {type(body) for _, _, body in heard}


@pytest.mark.jack
def test_lamps_are_lit_through_the_system_s_midi_too(server) -> None:  # noqa: F811
    """rtmidi's JACK side stands in for ALSA, which containers lack."""
    hands, clock = Hands("xtouch_mini"), Clock()
    out = MidiOut(None, clock, "nanoKONTROL2", rtmidi.API_UNIX_JACK)
    lit = Lights([hands.map], [out], clock, hands.look, GENERATORS)
    lit.start()
    with Surface() as surface:
        until(lambda: bytes((0x9A, 0, 2)) in surface.told)  # the next cue
        assert surface.told[:10] == list(hands.map.setup)
        lit.stop()
        until(lambda: surface.told[-1][2] == 0)
