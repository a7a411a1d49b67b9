"""The way of a note through the house, one line a hop."""

import socket
from collections.abc import Callable, Iterable
from statistics import median
from threading import Thread
from time import sleep
from typing import Any, Final

from engine.clock import monotonic_us
from engine.core.contract import heard_at, sound_contract_ms
from engine.core.events import Event, NoteOff, NoteOn
from engine.core.jobs import SoundKind
from engine.core.show import Show
from engine.io import osc_bytes
from engine.io.osc import SOURCE
from engine.latency.servers import within
from engine.session import Session, Stage

_CHANNEL: Final = 10
_FIRST_NOTE, _NOTES = 35, 40  # a note tells which one it is by its pitch
_CURTAIN_S, _SETTLE_S, _GAP_S, _LENGTH_S = 60.0, 2.0, 0.21, 0.02
HOPS: Final = (
    "stamped by the door",
    "received by the core",
    "handed to the sound",
    "handed to the generator",
    "heard",
    "picture made",
    "picture drawn",
    "seen",
)


class _Tracer:
    """Notes when each hop happens, by wrapping what a session calls: nothing in the session knows of it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._ways: list[dict[str, float]] = []  # by note, in their order; times in microseconds
        self._by_note: dict[int, dict[str, float]] = {}
        self._tick: dict[int, int] = {}  # in which a note entered
        self._unheard: list[dict[str, float]] = []
        self._asked: list[tuple[int, dict[str, float]]] = []  # with the tick of the frame that answers it
        self._swapped: list[dict[str, float]] = []  # drawn, and to be seen at the next swap
        self._wrap(session.inbox, "due", self._due)
        self._wrap(session.sound.events, "push", self._sounded)
        self._wrap(session.casting, "perform", self._performed)
        self._wrap(session.presenter, "draw", self._drawn)
        self._wrap(session.presenter, "flip", self._flipped)
        self._wrap(session.sound_deviation, "add", self._heard)

    @staticmethod
    def _wrap(thing: Any, name: str, note: Callable[..., None]) -> None:
        call = getattr(thing, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            result = call(*arguments, **named)
            note(result, *arguments)
            return result

        setattr(thing, name, wrapped)

    def _due(self, events: Iterable[Event], _: int) -> None:
        for event in events:
            if isinstance(event.body, NoteOn) and event.source == SOURCE:
                clock, show = self._session.clock, self._session.show
                way = {HOPS[0]: clock.us_at(event.sample), HOPS[1]: monotonic_us()}
                way["contract"] = clock.us_at(heard_at(show, event.sample))
                self._ways.append(way)
                self._by_note[event.body.note] = way
                self._tick[event.body.note] = event.tick

    def _sounded(self, _: Any, *record: Any) -> None:
        kind, note = record[2], record[4]
        if kind == SoundKind.NOTE_ON and (way := self._by_note.get(note)):
            way[HOPS[2]] = monotonic_us()
            self._unheard.append(way)

    def _performed(self, _: Any, state: Any, *__: Any) -> None:
        for note, tick in list(self._tick.items()):
            if tick < state.tick:
                way = self._by_note[note]
                way[HOPS[3]] = monotonic_us()
                self._asked.append((state.tick, way))
                del self._tick[note]

    def _heard(self, _: Any, deviation_ms: float) -> None:
        if self._unheard:
            way = self._unheard.pop(0)
            way[HOPS[4]] = way["contract"] + 1000.0 * deviation_ms

    def _drawn(self, _: Any, frame: Any, *__: Any) -> None:
        if frame is None:
            return
        for tick, way in [each for each in self._asked if each[0] <= frame.tick]:
            way[HOPS[5]], way[HOPS[6]] = float(frame.ready_us), monotonic_us()
            self._asked.remove((tick, way))
            self._swapped.append(way)

    def _flipped(self, shown_us: float) -> None:
        for way in self._swapped:
            way[HOPS[7]] = shown_us
        self._swapped.clear()

    def ways(self) -> list[dict[str, float]]:
        """Return the notes that went all the way: each hop in ms after the stamp."""
        whole = [way for way in self._ways if all(hop in way for hop in HOPS)]
        return [{hop: (way[hop] - way[HOPS[0]]) / 1000.0 for hop in HOPS} for way in whole]


def trace(show: Show, presenter: Any, notes: int, provider: str = "auto") -> list[dict[str, float]]:
    """Play a show, send notes through its OSC door, and return each note's hops in ms after its stamp.

    ValueError where the show can't be played.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    door = show.osc.model_copy(update={"listen": f"127.0.0.1:{port}", "send": ()})
    show = show.model_copy(update={"osc": door, "musician": None, "performer": None})
    session = Session(show, Stage(provider=provider), presenter)
    tracer = _Tracer(session)

    def play() -> None:
        within(_CURTAIN_S, lambda: session.presentation.shown > 0 or session.stop.is_set())
        sleep(_SETTLE_S)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outlet:
            for number in range(notes):
                note = _FIRST_NOTE + number % _NOTES
                for body, pause_s in (
                    (NoteOn(_CHANNEL, note, 0.6), _LENGTH_S),
                    (NoteOff(_CHANNEL, note, 0.0), _GAP_S),
                ):
                    outlet.sendto(_message(body), ("127.0.0.1", port))
                    sleep(pause_s)
        sleep(1.0)
        session.stop.set()

    Thread(target=play, name="hand", daemon=True).start()
    session.run()
    return tracer.ways()


def _message(body: NoteOn | NoteOff) -> bytes:
    return osc_bytes.write("/chladni/note", (body.channel, body.note, float(body.velocity)))


def table(ways: list[dict[str, float]], show: Show) -> str:
    """Return the hops as text: the way of the last note, and the median and the longest of all."""
    lines = [f"  {'ms after the stamp':<26}{'last note':>10}{'median':>10}{'longest':>10}"]
    for hop in sorted(HOPS, key=lambda hop: median(way[hop] for way in ways)):
        times = [way[hop] for way in ways]
        contract = {
            "heard": f"   contract {sound_contract_ms(show):g}",
            "seen": f"   contract {show.picture_ms:g}",
        }
        lines.append(
            f"  {hop:<26}{times[-1]:>10.2f}{median(times):>10.2f}{max(times):>10.2f}{contract.get(hop, '')}"
        )
    return "\n".join(lines)
