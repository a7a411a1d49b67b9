"""The main process's end of the web page: what it tells, and how what is asked comes in."""

import json
from collections.abc import Iterable
from dataclasses import astuple
from typing import TYPE_CHECKING, Any, Final

from engine.clock import monotonic_us
from engine.core import presets
from engine.core.events import Control, Event, Mark, Refuse, decode
from engine.core.jobs import Caption
from engine.core.show import Show
from engine.core.state import PERFORMER, Preset, ShowState
from engine.web import protocol, view
from engine.web.protocol import SOURCE
from engine.workers.film import Film
from engine.workers.links import ANSWER_BYTES, PREVIEW_SIZE, WebLink, unpack_text
from engine.workers.shared import Frame

if TYPE_CHECKING:
    from engine.io.window import Presenter
    from engine.session import Session

_LEVELS_US: Final = 1e6 / 30.0
_STATE_US: Final = 1e6 / 10.0
_IDLE_S: Final = 0.2
_KEPT_INPUTS: Final = 512
_KEPT_TAKES: Final = 1000


# While no page is open this costs five looks a second at one number. While one is, it costs at most 30 packed
# records of levels and ten of the state a second, however many pages there are: the web process tells each
# of them what is new to it.
class Desk:
    """Tells the web process what there is to see, and brings what pages ask in through the front door.

    `run` and `serve` have a thread each; `heard` is called by the core's for each event, `seen` by the
    presenter's after each frame.
    """

    def __init__(self, link: WebLink, presenter: "Presenter") -> None:
        self.link, self._presenter = link, presenter
        self._told: tuple[Show, tuple[Preset, ...], int] | None = None
        self._revision = 0
        self._levels_us = self._state_us = self._seen_us = 0.0
        self._stage: tuple[Any, ...] = ()  # what is told sooner than its turn when it changes
        self._frame = 0
        self._inputs: dict[str, tuple[float, int]] = {}  # value and tick by address, the latest last
        self._takes: list[tuple[str, int, int | None]] = []  # name, first tick, end
        self._film: Film | None = None
        self._refused = ""

    # The core's thread.

    def heard(self, event: Event) -> None:
        """Remember what an event says to people."""
        body = event.body
        if isinstance(body, Control) and event.source not in (SOURCE, PERFORMER):
            self._inputs.pop(body.address, None)
            self._inputs[body.address] = (body.value, event.tick)
            if len(self._inputs) > _KEPT_INPUTS:
                del self._inputs[next(iter(self._inputs))]
        elif isinstance(body, Mark):
            if self._takes and self._takes[-1][2] is None:
                self._takes[-1] = (*self._takes[-1][:2], event.tick)
            if body.begins and len(self._takes) < _KEPT_TAKES:
                self._takes.append((body.name, event.tick, None))
        elif isinstance(body, Refuse):
            self._refused = f"{body.generator}: {body.reason}"

    # The presenter's thread.

    def seen(self, frame: Frame | None, held: int, caption: Caption | None) -> None:
        """Copy the picture that is on the screen, if a page wants one."""
        board, now_us = self.link.board, monotonic_us()
        wanted = now_us < board["look_until_us"] and now_us >= self._seen_us + board["look_every_us"]
        if frame is None or not wanted:
            return
        self._seen_us = now_us
        pixels, whole = self._presenter.seen(frame, PREVIEW_SIZE)
        store = self.link.frames
        step = max(-(-pixels.shape[0] // store.height), -(-pixels.shape[1] // store.width))
        line = b"" if whole or caption is None else json.dumps(astuple(caption)).encode()
        self.link.line.write(line)
        board["held"] = 0 if whole else held
        self._frame += 1
        store.write(self._frame, self._frame, pixels[::step, ::step], int(now_us), 0, False, ())

    # A thread of its own.

    def run(self, session: "Session") -> None:
        """Tell and bring in until the session stops."""
        while not session.stop.is_set():
            self.link.events.wait(self._pause_s())
            self._bring_in(session)
            if self.link.board["clients"]:
                self._tell(session)

    def _pause_s(self) -> float:
        if not self.link.board["clients"]:
            return _IDLE_S
        next_us = min(self._levels_us + _LEVELS_US, self._state_us + _STATE_US)
        return max(next_us - monotonic_us(), 0.0) / 1e6

    def _bring_in(self, session: "Session") -> None:
        for us, data in self.link.events.pop_all():
            try:
                body = decode(json.loads(data.rstrip(b"\0")))
            except (ValueError, RecursionError):  # a process gone wild: its mistakes stay its own
                session.inbox.dropped += 1
                continue
            session.inbox.put(session.clock.sample_at(us), SOURCE, body)

    def _tell(self, session: "Session") -> None:
        link, state, now_us = self.link, session.state, monotonic_us()
        show = session.show
        own_routes = session.reviser.own_routes if session.reviser else len(show.route)
        before, here = self._told, (show, state.presets, own_routes)
        if before is None or before[:2] != here[:2] or (before != here and self._is_of(session, show)):
            self._told = here
            self._tell_show(show, state, own_routes)
        if now_us >= self._levels_us + _LEVELS_US:
            self._levels_us = now_us
            link.levels.write(view.pack_levels(state))
        stage = state.cue, state.standby, state.held, state.dark
        if now_us >= self._state_us + (_STATE_US if stage == self._stage else _LEVELS_US):
            self._state_us, self._stage = now_us, stage
            told = view.state(session.show, state, self._counters(session))
            link.state.write(json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode())

    @staticmethod
    def _is_of(session: "Session", show: Show) -> bool:
        """Return whether the file says what plays: until its revision is taken it may have other routes."""
        return session.reviser is None or session.reviser.says(show)

    def _tell_show(self, show: Show, state: ShowState, own_routes: int) -> None:
        self._revision += 1
        told = {
            "revision": self._revision,
            "presets": presets.names(show, state),
            "own_routes": own_routes,
            "show": show.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        }
        self.link.show.write(json.dumps(told, ensure_ascii=False).encode())

    def _counters(self, session: "Session") -> view.Counters:
        seen, sound, recorder = session.presentation, session.sound.board, session.recorder
        latest = list(reversed(list(self._inputs.items())[-view.MAX_INPUTS :]))
        trouble = session.reviser.trouble if session.reviser else ""
        return view.Counters(
            due=seen.due, shown=seen.shown, late=seen.late, held=seen.held,
            underruns=int(sound["underruns"]), dropped=session.source.dropped,
            peaks=(sound["peak_left"], sound["peak_right"]),
            latency=seen.frame_deviation.histogram(view.EDGES_MS),
            inputs=[(address, value, tick) for address, (value, tick) in latest],
            refused=self._refused, recording=str(recorder.path) if recorder else None,
            takes=self._takes, render=self._film.told() if self._film else None,
            trouble=trouble, warnings=session.warnings,
        )  # fmt: skip

    # Another, since this waits for the disk.

    def serve(self, session: "Session") -> None:
        """Do what only this process can, and answer, until the session stops."""
        while not session.stop.is_set():
            self.link.asked.wait(_IDLE_S)
            for number, data in self.link.asked.pop_all():
                told = self._do(session, data)
                self.link.answered.push(number, json.dumps(told).encode()[:ANSWER_BYTES])

    def _do(self, session: "Session", data: bytes) -> dict[str, Any]:
        try:
            match protocol.asked(data):
                case protocol.Render(take=name):
                    return {"ok": True, "path": self._render(session, name)}
                case protocol.Edit(table=table, index=index, value=value, was=was):
                    wrong = session.edit(table, index, value, was)
                    return {"error": wrong} if wrong else {"ok": True}
            raise protocol.Wrong("the show can't do that")
        except Exception as error:  # whatever it is, who asked is to hear of it
            return {"error": str(error) or type(error).__name__}

    def _render(self, session: "Session", name: str | None) -> str:
        """Begin a film of a take, or of all so far; return its file. Raise Wrong."""
        recorder, tick = session.recorder, session.state.tick
        if recorder is None:
            raise protocol.Wrong("this performance is not recorded")
        if self._film and self._film.running:
            raise protocol.Wrong(f"{self._film.path.name} is being rendered: one at a time")
        span, ending = (0, tick), "so-far"
        if name is not None:
            number = max((n for n, take in enumerate(self._takes) if take[0] == name), default=-1)
            if number < 0:
                raise protocol.Wrong(f"there is no take {name!r}")
            _, begin, end = self._takes[number]
            span, ending = (begin, end or tick), f"take-{number + 1}"
        path = recorder.path.with_name(f"{recorder.path.stem}-{ending}.mp4")
        self._film = Film(recorder.path, path, span)
        return str(path)

    # The watch's thread.

    def troubles(self) -> Iterable[str]:
        """Return what the web process has to say, for people."""
        said = self._film.says.pop_all() if self._film else []
        return [unpack_text(record) for record in (*self.link.says.pop_all(), *said)]

    def close(self) -> None:
        """Give up the film that is being rendered."""
        if self._film:
            self._film.stop()
