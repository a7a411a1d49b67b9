"""The cast on stage: the worker of the generator that plays, and of the one beside it, coming or going."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from engine import library
from engine.clock import monotonic_us
from engine.core import cast
from engine.core.events import Enter, Refuse
from engine.core.jobs import FrameJob
from engine.core.show import Show
from engine.core.state import ShowState
from engine.core.units import TICK_SAMPLES, TICKS_PER_SECOND, samples_from_ms
from engine.render.scale import crossfade
from engine.workers import generator
from engine.workers.links import GeneratorLink, generator_link, pack_job, unpack_text
from engine.workers.shared import Frame
from engine.workers.supervisor import Worker
from models import manifest

_SPARE_FRAMES = 4  # beside those on their way to the screen: the one shown, the one being made, and slack
_LINGER_TICKS = TICKS_PER_SECOND  # after its last frame was on the screen
_FADE_LEAST = 0.3  # share of a frame that a generator may need at least, for two to play at once


@dataclass(frozen=True)
class Player:
    """A generator on stage or beside it."""

    name: str
    link: GeneratorLink
    worker: Worker
    begun_us: float


def together(frames: Sequence[Frame]) -> Frame | None:
    """Return the newest of the frames that a generator each has made; of two for the same tick, their mix."""
    latest = max((frame.tick for frame in frames), default=-1)
    newest = [frame for frame in frames if frame.tick == latest]
    if len(newest) < 2 or newest[0].raw != newest[1].raw:
        return newest[0] if newest else None
    one, other = newest[:2]
    return replace(one, pixels=crossfade(one.pixels, other.pixels, other.share), share=1.0)


def check(show: Show) -> None:
    """Raise NoModel or ManifestError where a generator that the show names is not here."""
    library.look(show.generator, manifest.Generator)
    for cue in show.cue:
        if cue.generator:
            try:
                library.look(cue.generator, manifest.Generator)
            except ValueError as error:
                raise library.NoModel(f"cue {cue.number:g}: generator: {error}") from None


# Three threads meet here. The watch alone changes `players`, a tuple that it replaces as a whole; the core's
# thread hands out jobs and asks what is to be answered; the presenter's thread reads pictures. Which
# generator makes the picture of a tick is the state's to say, so what plays live is what a replay shows.
class Casting:
    """Keeps the playing generator, and one more at most: what is wanted, stands by, or leaves.

    `upcoming` tells from the state which one to have ready, "" for none. `history` lists the swaps and
    refusals as they entered the state. Raise NoModel or ManifestError where the show's own can't be had.
    """

    def __init__(
        self, show: Show, provider: str, shaders: bool, upcoming: Callable[[ShowState], str]
    ) -> None:
        self._show, self._provider, self._upcoming = show, provider, upcoming
        self.shaders = shaders
        self._started = 0
        self._networks = tuple(library.find(each.name, manifest.Effect) for each in show.network)
        library.find(show.generator, manifest.Generator)  # every file checked, before the curtain
        check(show)
        self.players: tuple[Player, ...] = (self._start(show.generator, ahead=False),)
        self.retired: list[Worker] = []
        self.history: list[tuple[int, Enter | Refuse]] = []
        self._faults: dict[str, str] = {}  # why a generator could not be loaded, until it is wanted anew
        self._wanted = ""
        self._answered = False

    @property
    def workers(self) -> list[Worker]:
        """The workers that run."""
        return [player.worker for player in self.players]

    def playing(self, state: ShowState) -> Player:
        """Return who plays in a state; whoever is there, where that one is not."""
        return self._named(state.cast.playing) or self.players[0]

    def _named(self, name: str) -> Player | None:
        return next((player for player in self.players if player.name == name), None)

    def _start(self, name: str, ahead: bool) -> Player:
        """Start the worker of a generator, `ahead` beside the one that plays; NoModel or ManifestError."""
        show = self._show
        folder, found = library.look(name, manifest.Generator)
        outputs = [network.rung for _, network in self._networks]
        frames = samples_from_ms(show.picture_ms) // (show.frame_ticks * TICK_SAMPLES) + _SPARE_FRAMES
        link = generator_link(
            max(rung.height for rung in (*found.rungs, *outputs)),
            max(rung.width for rung in (*found.rungs, *outputs)),
            frames,
        )
        link.board["shaders"] = float(self.shaders)
        networks = tuple(place for place, _ in self._networks)
        config = generator.GeneratorConfig(folder, self._provider, networks=networks)
        self._started += 1
        label = "generator" if self._started == 1 else f"generator {self._started} ({name})"
        worker = Worker(label, generator.run, (link, config), link.board, config.nice, cued=True)
        worker.start(gently=ahead)
        return Player(name, link, worker, monotonic_us())

    # The core's thread.

    def perform(self, state: ShowState, job: FrameJob, frame: int, deadline_us: float) -> None:
        """Have the picture of a state made, in a crossfade by both."""
        player = self.playing(state)
        leaving = self._named(state.cast.leaving) if job.share < 1.0 else None
        if leaving is player:
            leaving = None
        loading = any(not other.worker.ready for other in self.players if other is not player)
        player.link.board["crowded"] = float(loading or leaving is not None)
        if leaving is None and job.share < 1.0:
            job = replace(job, share=1.0)
        elif leaving is not None:
            leaving.link.board["crowded"] = 1.0
            gone = replace(job, share=1.0 - job.share)
            leaving.link.jobs.push(*pack_job(gone, frame, deadline_us))
        player.link.jobs.push(*pack_job(job, frame, deadline_us))

    def answer(self, state: ShowState) -> Enter | Refuse | None:
        """Return what is to be said of the wanted generator, once: that it enters, or why it can't."""
        wanted = state.cast.wanted
        if wanted != self._wanted:
            self._wanted, self._answered = wanted, False
            self._faults.pop(wanted, None)
        if not wanted or self._answered or cast.share(state) < 1.0:
            return None
        player, fault = self._named(wanted), self._faults.get(wanted)
        if fault is not None:
            self._answered = True
            return Refuse(wanted, fault)
        if player is None or not player.worker.ready:
            return None
        self._answered = True
        return Enter(wanted, self._fade_ticks(player, self.playing(state), state.cast.wanted_ticks))

    def _fade_ticks(self, coming: Player, going: Player, wanted_ticks: int) -> int:
        """Return how long the two are to play together: as wanted, or not at all if it would be too much."""
        room_us = _FADE_LEAST * 1e6 / self._show.fps
        fits = all(0.0 < player.link.board["least_us"] < room_us for player in (coming, going))
        return wanted_ticks if fits else 0

    # The presenter's thread.

    def newest(self, tick: int) -> Frame | None:
        """Return the newest frame at or before `tick`, in a crossfade that of both as one."""
        return together([frame for p in self.players if (frame := p.link.frames.newest(tick)) is not None])

    # The watch's thread.

    def look(self, state: ShowState) -> list[str]:
        """Start, watch and retire workers; return what went wrong, for people."""
        problems = []
        for player in self.players:
            player.link.board["shaders"] = float(self.shaders)
            player.worker.understudied = player.name == state.cast.playing
            said = [unpack_text(record) for record in player.link.says.pop_all()]
            if player.name in (state.cast.playing, self._show.generator) or player.worker.ready:
                player.worker.watch()
                problems += [f"generator {player.name}: {line}" for line in said]
                problems += [player.worker.problem] if player.worker.problem else []
            elif fault := said[0] if said else player.worker.fault:
                self._retire(player)
                self._faults[player.name] = fault
                problems.append(f"generator {player.name}: {fault}")
        upcoming = self._upcoming(state)
        self._let_go(state, upcoming)
        if upcoming and upcoming not in self._faults and not self._named(upcoming) and len(self.players) < 2:
            try:
                self.players = (*self.players, self._start(upcoming, ahead=True))
            except (ValueError, OSError) as error:
                self._faults[upcoming] = str(error)
                problems.append(f"generator {upcoming}: {error}")
        return problems

    def _let_go(self, state: ShowState, upcoming: str) -> None:
        """Retire who neither plays nor is to come, once the last frame of theirs has been seen."""
        show = self._show
        over = state.cast.tick + state.cast.fade_ticks + _LINGER_TICKS
        over += samples_from_ms(show.picture_ms) // TICK_SAMPLES
        for player in self.players:
            left = player.name != state.cast.leaving or state.tick > over
            if player.name not in (state.cast.playing, upcoming) and left and len(self.players) > 1:
                self._retire(player)

    def _retire(self, player: Player) -> None:
        self.players = tuple(other for other in self.players if other is not player)
        player.worker.stop()
        self.retired.append(player.worker)
