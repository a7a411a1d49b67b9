"""A performance: the only place where the core and its edges meet."""

import gc
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Signal
from threading import Thread, current_thread
from threading import enumerate as enumerate_threads
from typing import Any, Protocol

import psutil

from engine import hud, library, priority
from engine.casting import Casting
from engine.clock import Clock, WallClock, monotonic_us
from engine.core import cast, presets
from engine.core.advance import attracting, close, idle, next_due, open_tick, receive
from engine.core.contract import heard_at, seen_at, shortest_sound_ms
from engine.core.events import Enter, Event, GoTo, Line, NoteOn, Refuse, Revise, Store
from engine.core.jobs import SoundEvent, SoundKind
from engine.core.latent import frame_job
from engine.core.music import sound_levels
from engine.core.parameters import INDEX
from engine.core.revision import revised
from engine.core.show import Show, as_json
from engine.core.state import AUDIO, MUSICIAN, PERFORMER, PICTURE, STAGE, Preset, ShowState, initial
from engine.core.text import caption
from engine.core.units import SAMPLE_RATE, TICK_SAMPLES, TICKS_PER_SECOND
from engine.distribution import Distribution
from engine.inbox import Inbox
from engine.io import controllers
from engine.io.lights import Lights
from engine.io.link import LinkMissing, LinkSession
from engine.io.midi_clock import STOP, MidiClock
from engine.io.midi_ports import MidiInputs, MidiOut
from engine.io.osc import SOURCE as OSC
from engine.io.osc import OscServer
from engine.io.osc_feedback import OscFeedback, Told, told
from engine.io.performer import Performer
from engine.io.window import Presenter
from engine.presentation import Presentation
from engine.recording import Recorder, Recording
from engine.reviser import Reviser, told_entry
from engine.show_file import ShowFile
from engine.vitals import Vitals
from engine.web.desk import Desk
from engine.workers import audio, health, musician, picture, poet, query, sound, web
from engine.workers.links import (
    AudioLink,
    GeneratorLink,
    PictureLink,
    PlayedReader,
    QueryLink,
    audio_link,
    musician_link,
    pack_heard,
    pack_sound,
    pack_write,
    picture_link,
    poet_link,
    query_link,
    sound_link,
    unpack_projection,
    unpack_text,
    web_link,
)
from engine.workers.shared import Ring
from engine.workers.supervisor import Worker, await_trouble
from models.manifest import Musician, Text

_WATCH_S = 0.2
_TOLD_S, _TOLD_SELDOM_S = 0.05, 0.25
_TEMPO = INDEX["tempo"]
_CURTAIN_S = 10.0  # the show begins without the parts that are not ready by then
_SOUND_S = 2.0
_ENDLESS = 1 << 62  # ticks
_COUNT_IN_US = 30_000.0  # for the threads to be up when the first note is due
_AHEAD_TICKS = 60  # the performer's events wait in the inbox: two frames at the slowest rate are 40 ticks


class Source(Protocol):
    """Where the core's events come from: an Inbox, or a Replay."""

    dropped: int
    taken: int

    def due(self, tick: int) -> list[Event]: ...
    def next_sample(self) -> int | None: ...
    def wait(self, timeout_s: float) -> bool: ...


class Replay:
    """The inbox's twin: hands over the events of a recording, each in the tick in which it was logged."""

    def __init__(self, recording: Recording) -> None:
        self._events = list(reversed(recording.events))
        self.dropped = self.taken = 0

    def due(self, tick: int) -> list[Event]:
        """Return the events of a tick, once."""
        events: list[Event] = []
        while self._events and self._events[-1].tick <= tick:
            events.append(self._events.pop())
        self.taken += len(events)
        return events

    def next_sample(self) -> int | None:
        """Return when the tick of the next event opens."""
        return self._events[-1].tick * TICK_SAMPLES if self._events else None

    def wait(self, timeout_s: float) -> bool:
        """Sleep; nothing comes meanwhile."""
        time.sleep(max(timeout_s, 0.0))
        return False


def _logged_casts(recording: Recording) -> Callable[[ShowState], str]:
    """Return the function that tells from the state which generator enters next in a recording."""
    entered = [(e.tick, e.body.generator) for e in recording.events if isinstance(e.body, Enter)]

    def upcoming(state: ShowState) -> str:
        return next((name for tick, name in entered if tick >= state.tick), "")

    return upcoming


@dataclass(frozen=True)
class Stage:
    """What a performance runs on, beside the show itself."""

    provider: str = "auto"
    file: ShowFile | None = None  # the show's, watched while it plays
    seconds: float | None = None
    recording: Path | None = None
    replay: Recording | None = None
    performer: Performer | None = None
    started_us: float = 0.0  # when the command was given
    health_port: int | None = None  # of GET /healthz on the loopback
    marked: bool = False  # whether each frame carries its marker
    page: web.WebConfig | None = None  # if there is to be one


class Session:
    """Plays a show: starts the workers, runs the core's loop beside the presenter's, and stops both.

    `run` returns when the time is up, the window is closed or `stop` is set. The counters and distributions
    may be read at any time by the report.
    """

    def __init__(self, show: Show, stage: Stage, presenter: Presenter) -> None:
        self._not_ours = set(enumerate_threads())
        self.show, self.stage, self.presenter = show, stage, presenter
        self.state: ShowState = initial(show)
        self.stop = Signal()
        self.warnings: list[str] = []
        self.on_report: Callable[[], None] = lambda: None
        self._report_asked = Signal()
        self.sound_deviation = Distribution()
        self.core_cpu_s = 0.0
        self.overruns = 0
        self.began_us = self.played_s = 0.0
        self.curtain_cpu_s: dict[str, float] = {}  # used by each process before the curtain
        self.memory_mb: dict[str, float] = {}
        self._sent_sounds = self._sent_heard = self._sent_writes = 0
        self._performs = 0  # the tick from which on the performer is asked for more
        self._to_keep: set[str] = set()  # presets that may reach the show file: not OSC's, nor a recording's
        self._last = self.state  # as the last tick left it, its jobs included
        self._sound_lives = 0
        self._wall = WallClock()
        self.vitals = Vitals()
        self.broken = False  # whether it ended by a fault of its own
        self.generators = library.generators()
        here = show.model_copy(update={"controller": ()}) if stage.replay else show
        self.controllers = controllers.of_show(here, lambda: (self.show, self.state), self.generators)
        self._start_workers()
        self.clock = Clock(self.sound.board)
        self.recorder = Recorder(stage.recording, show) if stage.recording else None
        self.inbox = Inbox(self.recorder.event if self.recorder else lambda event: None)
        self.source: Source = Replay(stage.replay) if stage.replay else self.inbox
        self.presentation = Presentation(
            show, self.clock, self.casting.newest, presenter, self.inbox, stage.marked
        )
        if self.desk:
            self.presentation.seen = self.desk.seen
        self.reviser = Reviser(stage.file, show, self._revise, self._tell_again) if stage.file else None
        self.revisions = 0
        self.hud: tuple[str, ...] = ()
        self.presentation.hud = lambda: self.hud
        self._open_devices()

    def _start_workers(self) -> None:
        show, stage = self.show, self.stage
        upcoming = (
            _logged_casts(stage.replay) if stage.replay else lambda state: cast.upcoming(self.show, state)
        )
        self.casting = Casting(show, stage.provider, self.presenter.shaders, upcoming)
        self.sound = sound_link()
        self.musician = musician_link()
        sound_config = sound.SoundConfig(
            show.sound.device,
            show.sound.block,
            shortest_sound_ms(show),
            show.sound.device_latency_ms,
            show.sound.soundfont,
            (show.midi.out, *(each.ports for each in self.controllers.maps)),
        )
        self.sound_worker = Worker("sound", sound.run, (self.sound, sound_config), self.sound.board)
        self._others = [self.sound_worker]
        if show.musician and not stage.replay:
            folder, _ = library.find(show.musician, Musician)
            musician_config = musician.MusicianConfig(folder, seed=show.seed)
            self._others.append(
                Worker("musician", musician.run, (self.musician, musician_config), self.musician.board)
            )
        self.picture = picture_link() if show.picture and not stage.replay else None
        if show.picture and self.picture:
            picture_config = picture.PictureConfig(show.picture.source, show.picture.every_s)
            self.picture_worker = Worker(
                "picture", picture.run, (self.picture, picture_config), self.picture.board
            )
            self._others.append(self.picture_worker)
        self.audio = audio_link() if show.audio and not stage.replay else None
        if show.audio and self.audio:
            audio_config = audio.AudioConfig(**show.audio.model_dump())
            self._others.append(Worker("audio", audio.run, (self.audio, audio_config), self.audio.board))
        self._looks_for: tuple[str, int] | None = None  # a generator, and the life of the worker told of it
        self.poet = poet_link()
        if show.text and not stage.replay:
            folder, _ = library.find(show.text, Text)
            config = poet.PoetConfig(folder, seed=show.seed)
            self._others.append(Worker("poet", poet.run, (self.poet, config), self.poet.board))
        self._later: list[Worker] = []  # nobody sees or hears these: they start once the first frame is due
        self.query = query_link() if show.osc.query and not stage.replay else None
        if show.osc.query and self.query:
            host, port = show.osc.query.rsplit(":", 1)
            osc_host, osc_port = show.osc.listen.rsplit(":", 1) if show.osc.listen else ("", "0")
            query_config = query.QueryConfig(
                host, int(port), (osc_host, int(osc_port)) if osc_host else None, tuple(self.generators)
            )
            self._later.append(
                Worker("query", query.run, (self.query, query_config), self.query.board, query.NICE)
            )
        if stage.health_port is not None:
            told = (self.vitals.board, stage.health_port)
            self._others.append(Worker("health", health.run, told, self.vitals.board, nice=10))
        self.desk: Desk | None = None
        if stage.page:
            link = web_link()
            self.desk = Desk(link, self.presenter)
            self._later.append(Worker("web", web.run, (link, stage.page), link.board, web.NICE))
        for worker in self._others:
            worker.start()

    @property
    def workers(self) -> list[Worker]:
        """Every worker: the generators', then sound, musician and picture, then those that have retired."""
        return [*self.casting.workers, *self._others, *self.casting.retired]

    @property
    def generator(self) -> GeneratorLink:
        """The link to the generator that plays."""
        return self.casting.playing(self.state).link

    def _open_devices(self) -> None:
        show, put = self.show, self.inbox.put
        self.midi = MidiInputs(self.sound, self.clock, put, self.controllers.translator)
        maps, look = self.controllers.maps, self.controllers.look
        outs = [MidiOut(self.sound, self.clock, each.ports, port=n) for n, each in enumerate(maps, 1)]
        self.lights = Lights(maps, outs, self.clock, look, self.generators)
        self.midi_out = MidiOut(self.sound, self.clock, show.midi.out) if show.midi.out else None
        self.midi_clock = MidiClock() if self.midi_out and show.midi.clock else None
        self.link: LinkSession | None = None
        if show.tempo.link and not self.stage.replay:
            try:
                self.link = LinkSession(self.clock, put, show.tempo.bpm, show.tempo.beats_per_bar)
            except LinkMissing as error:
                self._warn(str(error))
        self.osc_out = OscFeedback(show.osc.send, self._told, show.fps)
        self.osc: OscServer | None = None
        if show.osc.listen and not self.stage.replay:
            host, port = show.osc.listen.rsplit(":", 1)
            try:
                self.osc = OscServer(host, int(port), self.clock, put, self.osc_out, self.generators)
            except OSError as error:
                self._warn(f"OSC: {error}")

    def run(self) -> None:
        """Play from the curtain to the end."""
        core = Thread(target=self._core, name="core", daemon=True)
        helpers = [Thread(target=self._watch, name="watch", daemon=True)]
        if self.show.musician and not self.stage.replay:
            helpers.append(Thread(target=self._phrases, name="phrases", daemon=True))
        if self.picture:
            looking = Thread(target=self._projections, args=(self.picture,), name="pictures", daemon=True)
            helpers.append(looking)
        if self.audio:
            helpers.append(Thread(target=self._hear, args=(self.audio,), name="audio", daemon=True))
        if self.query:
            helpers.append(Thread(target=self._tell_query, args=(self.query,), name="query", daemon=True))
        if self.show.text and not self.stage.replay:
            helpers.append(Thread(target=self._lines, name="lines", daemon=True))
        if self.desk:
            helpers += (
                Thread(target=work, args=(self,), name="desk", daemon=True)
                for work in (self.desk.run, self.desk.serve)
            )
        if self.reviser:
            helpers.append(Thread(target=self.reviser.run, args=(self.stop,), name="show file", daemon=True))
            helpers.append(Thread(target=self._keep_presets, name="presets", daemon=True))
        try:
            if self.stage.replay:
                self.casting.look(self.state)  # what enters first is to be ready as soon as it was then
            self._await_curtain()
            if self.recorder:
                self.recorder.start()
            self.clock.start()
            if self.show.opening is not None and not self.stage.replay:
                self.inbox.put(0, STAGE, GoTo(self.show.opening))
            times = psutil.Process().cpu_times()
            self.curtain_cpu_s = {worker.name: worker.usage().cpu_s for worker in self.workers}
            self.curtain_cpu_s["main"] = times.user + times.system
            if not self.stage.replay:
                self.midi.start()
                self.lights.start()
                if self.osc:
                    self.osc.start()
                if self.link:
                    self.link.start()
            gc.collect()
            gc.freeze()  # what lives now lives to the end: the collector need not walk it again
            self.osc_out.start(self.osc.port if self.osc else 0)
            self.clock.start(_COUNT_IN_US)
            self.began_us = monotonic_us()
            sys.setswitchinterval(priority.SWITCH_S)
            for thread in (core, *helpers):
                thread.start()
            priority.lift(set(enumerate_threads()) - self._not_ours - {core, current_thread()})
            self.presentation.run(self.stop)
        finally:
            self.stop.set()
            for thread in (core, *helpers):
                if thread.is_alive():
                    thread.join(2.0)
            self.played_s = (monotonic_us() - self.began_us) / 1e6 if self.began_us else 0.0
            self.memory_mb = {worker.name: worker.usage().memory_mb for worker in self.workers}
            self._close()

    def _await_curtain(self) -> None:
        """Wait until the picture and the sound can begin, no longer than is good."""
        begin = time.monotonic()
        while not self.stop.is_set():
            waited = time.monotonic() - begin
            sounding = self.sound.board["epoch"] > 0.0 or waited > _SOUND_S
            if (all(worker.ready for worker in self.casting.workers) and sounding) or waited > _CURTAIN_S:
                return
            time.sleep(0.005)

    def _close(self) -> None:
        self.vitals.close()
        if self.desk:
            self.desk.close()
        if self.recorder:
            if self._last.tick % TICKS_PER_SECOND:
                self.recorder.digest(self._last.tick, self._last.digest())
            self.recorder.close(self._last.tick)
        if not self.stage.replay:
            self.midi.stop()
            self.lights.stop()
            if self.osc:
                self.osc.stop()
            if self.link:
                self.link.stop()
        if self.midi_out:
            self.midi_out.stop([bytes((STOP,))] if self.midi_clock else [])
        self.osc_out.stop()
        for worker in self.workers:
            worker.board["stop"] = 1.0
        for worker in self.workers:
            worker.stop()

    # The core's loop. An event is received the moment it arrives, in the tick that is open then; a tick is
    # closed once its time has passed. The thread sleeps until something can be heard or seen of it: the
    # next control step or frame, the next event that waits for its tick, the musician's next note, or the
    # inbox's bell. The ticks in between are then closed together, each as if it had been on time.
    def _core(self) -> None:
        self.broken = True
        try:
            self._advance()
            self.broken = False
        finally:  # without its core a show is over, and `run` is to end
            self.core_cpu_s = time.thread_time()
            self.stop.set()

    def _advance(self) -> None:
        priority.become_realtime(priority.CORE)
        state, show = self.state, self.show
        end_tick = self._end_tick()
        self._send_clock(state)
        while not self.stop.is_set():
            self.clock.follow()
            if not self.stage.replay:
                self._perform(state)
            present = self.clock.now() // TICK_SAMPLES
            while state.tick < end_tick:
                for event in self.source.due(state.tick):
                    state = receive(show, state, event)
                    self._report(event)
                self._dispatch(state)
                if state.tick >= present:
                    break
                waiting = self.source.next_sample()
                until = min(present, end_tick)
                until = until if waiting is None else min(until, waiting // TICK_SAMPLES)
                later = idle(show, state, until)
                if later.tick == until:
                    self._last = self.state = state = later
                    continue
                state = close(show, later)
                self._dispatch(state)
                self._after_tick(state)
                show, state = revised(show, open_tick(state))
                self.revisions += show is not self.show
                self.show, self.state = show, state
                self._sent_sounds = self._sent_heard = self._sent_writes = 0
            else:
                self.stop.set()
            wake = next_due(show, state) * TICK_SAMPLES
            wake = min(wake, self.source.next_sample() or wake)
            self.source.wait((wake - self.clock.now()) / SAMPLE_RATE)
            self.overruns += self.clock.now() - wake > TICK_SAMPLES

    def _report(self, event: Event) -> None:
        """Tell the page, the presenter and the report of an event that the core has received."""
        if self.desk:
            self.desk.heard(event)
        body = event.body
        if isinstance(body, (Enter, Refuse)):
            self.casting.history.append((event.tick, body))
            if isinstance(body, Refuse):
                self.osc_out.tell("/chladni/generator/refused", (body.generator, body.reason))
        elif isinstance(body, Store) and event.source not in (OSC, PERFORMER):
            self._to_keep.add(body.preset)
        elif event.source != MUSICIAN:
            self.presentation.answer_to(event.tick, event.sample, isinstance(body, NoteOn))

    def _end_tick(self) -> int:
        if self.stage.seconds is not None:
            return round(self.stage.seconds * TICKS_PER_SECOND)
        return self.stage.replay.end_tick if self.stage.replay else _ENDLESS

    def _perform(self, state: ShowState) -> None:
        """Let the recorded performer play while nobody else does; it begins anew each time it comes back."""
        performer = self.stage.performer
        if performer is None or state.tick < self._performs:
            return
        self._performs = state.tick + _AHEAD_TICKS // 4
        if not attracting(self.show, state):
            performer.restart(None)
            return
        if not performer.playing:
            performer.restart(state.tick * TICK_SAMPLES)
        for sample, body in performer.due((state.tick + _AHEAD_TICKS) * TICK_SAMPLES):
            self.inbox.put(sample, PERFORMER, body)

    def _dispatch(self, state: ShowState) -> None:
        """Hand the jobs that the state has gained to the sound, the musician and the poet."""
        if not (state.sounds or state.heard or state.writes):
            return
        for event in state.sounds[self._sent_sounds :]:
            self.sound.events.push(*pack_sound(event, self.clock.us_at(event.sample)))
            if event.kind <= SoundKind.NOTE_OFF:
                self._echo(state, event)
        self._sent_sounds = len(state.sounds)
        for heard in state.heard[self._sent_heard :]:
            self.musician.heard.push(*pack_heard(heard))
        self._sent_heard = len(state.heard)
        for write in state.writes[self._sent_writes :]:
            self.poet.asked.push(*pack_write(write))
        self._sent_writes = len(state.writes)

    def _echo(self, state: ShowState, event: SoundEvent) -> None:
        """Send a note on: the musician's to MIDI out, everybody's to the OSC targets."""
        lane = state.lanes[event.lane]
        down = event.kind == SoundKind.NOTE_ON
        velocity = max(1, round(event.value * 127)) if down else 0
        if self.midi_out and lane.source == MUSICIAN:
            self.midi_out.send(event.sample, bytes((0x90 | lane.channel - 1, event.note, velocity)))
        self.osc_out.tell("/chladni/note", (lane.channel, event.note, velocity / 127.0))

    def _after_tick(self, state: ShowState) -> None:
        show = self.show
        self._last = state
        if self.sound_worker.restarts != self._sound_lives:
            self._sound_lives = self.sound_worker.restarts
            self._restore_levels(state)
        if state.tick % show.frame_ticks == 0:
            frame = state.tick // show.frame_ticks
            deadline_us = self.clock.us_at(seen_at(show, state.tick))
            self.casting.perform(state, frame_job(show, state), frame, deadline_us)
            if not self.stage.replay and (answer := self.casting.answer(state)):
                self.inbox.put(state.tick * TICK_SAMPLES, STAGE, answer)
            if self.show.text:
                self.presentation.captions.append((state.tick, caption(self.show, state)))
            self._send_clock(state)
            if self.link:
                self.link.follow(state.levels[_TEMPO])
        if state.tick % TICKS_PER_SECOND == 0:
            self.core_cpu_s = time.thread_time()
            if self.recorder:
                self.recorder.digest(state.tick, state.digest())

    def _send_clock(self, state: ShowState) -> None:
        """Send the MIDI clock of the frame that begins now; a pulse leaves when its beat is heard."""
        if self.midi_clock and self.midi_out:
            begin, length = state.tick * TICK_SAMPLES, self.show.frame_ticks * TICK_SAMPLES
            for sample, data in self.midi_clock.tell(state.transport, begin, begin + length):
                self.midi_out.send(heard_at(self.show, sample), data)

    def _restore_levels(self, state: ShowState) -> None:
        """Tell a sound worker that was started anew where the levels stand."""
        sample = state.tick * TICK_SAMPLES
        for number, level in enumerate(sound_levels(self.show, state)):
            event = SoundEvent(sample, SoundKind.LEVEL, 0, number, 0, level)
            self.sound.events.push(*pack_sound(event, self.clock.us_at(sample)))

    def _told(self) -> Told:
        """Return what there is to tell over OSC, as of the latest tick."""
        seen = self.presentation
        return told(self.show, self.state, (seen.due, seen.shown, seen.late, seen.held))

    def _tell_query(self, link: QueryLink) -> None:
        """Keep the worker that answers OSCQuery informed; what nobody listens to is told seldom."""
        said: tuple[object, object] = (None, None)
        while not self.stop.wait(_TOLD_S if link.board["clients"] else _TOLD_SELDOM_S):
            show, stored = self.show, self.state.presets
            if said[0] is not show or said[1] is not stored:
                said = (show, stored)
                names = json.dumps(presets.names(show, self.state))
                link.show.write(f'{{"presets": {names}, "show": {as_json(show)}}}'.encode())
            link.told.write(json.dumps(self._told()).encode())

    def _phrases(self) -> None:
        """Bring what the musician plays in through the front door."""
        reader = PlayedReader()
        while not self.stop.is_set():
            self.musician.played.wait(0.1)
            for record in self.musician.played.pop_all():
                if (body := reader.take(record)) is not None:
                    self.inbox.put(self.clock.now(), MUSICIAN, body)

    def _projections(self, link: PictureLink) -> None:
        """Bring projected pictures in through the front door."""
        while not self.stop.is_set():
            link.seen.wait(0.1)
            for record in link.seen.pop_all():
                self.inbox.put(self.clock.now(), PICTURE, unpack_projection(record))

    def _hear(self, link: AudioLink) -> None:
        """Bring what the sound input hears in through the front door."""
        while not self.stop.is_set():
            link.heard.wait(0.1)
            for due_us, address, value in link.heard.pop_all():
                self.inbox.put(self.clock.sample_at(due_us), AUDIO, audio.body(address, value))

    def _look_through(self, link: PictureLink) -> None:
        """Tell the worker that looks at pictures through whose encoder to look; hear what is in its way."""
        now = self.state.cast.playing, self.picture_worker.restarts
        if now != self._looks_for:
            self._looks_for = now
            link.asked.push(str(library.folder_of(now[0])).encode())
        for record in link.says.pop_all():
            self._warn(unpack_text(record))

    def _lines(self) -> None:
        """Bring the text model's lines in through the front door."""
        while not self.stop.is_set():
            self.poet.written.wait(0.1)
            for request, *text in self.poet.written.pop_all():
                self.inbox.put(self.clock.now(), STAGE, Line(request, unpack_text(text)))

    def _start_later(self) -> None:
        """Start the workers that the first frame did not have to wait for."""
        for worker in self._later:
            worker.start()
        self._others, self._later = [*self._others, *self._later], []

    def _warn(self, problem: str | None) -> None:
        """Say a problem once, at once; the report says it again."""
        if problem and problem not in self.warnings:
            self.warnings.append(problem)
            print(f"warning: {problem}", file=sys.stderr, flush=True)

    def _revise(self, body: Revise) -> None:
        """Bring a revision of the show in through the front door."""
        self.inbox.put(self.clock.now(), STAGE, body)

    def _tell_again(self, problem: str) -> None:
        """Say something about the show file, as often as it comes up; the report says it once."""
        self.warnings += [line for line in problem.splitlines() if line not in self.warnings]
        print(problem, file=sys.stderr, flush=True)

    def edit(
        self,
        table: str,
        index: int | None,
        value: Mapping[str, Any] | None,
        was: Mapping[str, Any] | None = None,
    ) -> str | None:
        """Change an entry of the show file and play on with it; return what is in the way, if something is.

        See `Reviser.edit`. For any thread but the core's and the presenter's: it waits for the disk.
        """
        if self.reviser is None:
            return "this show has no file that could be changed"
        return self.reviser.edit(table, index, value, was)

    def _keep_presets(self) -> None:
        """Write the presets that are stored while playing into the show file."""
        kept: tuple[Preset, ...] = ()
        while not self.stop.wait(_WATCH_S):
            stored = self.state.presets
            for preset in stored:
                if preset.name in self._to_keep and preset not in kept:
                    place, value = presets.entry(self.show, preset)
                    was = told_entry(self.show, "preset", place)
                    if problem := self.edit("preset", place, value, was):
                        self._warn(f"preset {preset.name}: {problem}")
            kept = stored

    def ask_report(self) -> None:
        """Have `on_report` called soon, from a thread that has the time (safe in a signal handler)."""
        self._report_asked.set()

    def _watch(self) -> None:
        """Watch over the workers, and take in what they report, as long as the show goes on."""
        while not self.stop.is_set():
            await_trouble(self.workers, _WATCH_S)
            try:
                self._look()
            except Exception as error:  # a broken pipe behind a report, say: the watch itself must go on
                self._warn(f"the watch: {error}")

    def _look(self) -> None:
        if self._wall.was_set():
            links = self.generator, self.sound, self.musician, self.picture, self.audio, self.poet
            for link in filter(None, links):
                for ring in (each for each in vars(link).values() if isinstance(each, Ring)):
                    ring.ring()
        if self._later and self.presentation.due:
            self._start_later()
        self.casting.shaders = self.presenter.shaders
        for problem in self.casting.look(self.state):
            self._warn(problem)
        for worker in self._others:
            worker.watch()
            self._warn(worker.problem)
        for _, deviation_us in self.sound.deviations.pop_all():
            self.sound_deviation.add(deviation_us / 1000.0)
        if self.recorder:
            self._warn(self.recorder.problem)
        if self.picture:
            self._look_through(self.picture)
        for record in self.query.says.pop_all() if self.query else ():
            self._warn(unpack_text(record))
        for record in self.audio.says.pop_all() if self.audio else ():
            self._warn(unpack_text(record))
        if self.desk:
            for problem in self.desk.troubles():
                self._warn(problem)
        self.vitals.look(self)
        self.hud = hud.lines(self)
        if self._report_asked.is_set():
            self._report_asked.clear()
            self.on_report()
