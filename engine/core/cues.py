"""The cue list: GO, back, go to, follow, snap and hold."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final

from engine.core import cast, fades, text, tracks
from engine.core.fades import Way
from engine.core.parameters import PARAMETERS
from engine.core.records import replace
from engine.core.show import FADE_S, LEAST_STEP, UNITS, Cue, CueFade, Show, begins
from engine.core.state import FOLLOW, GO, Mover, Run, ShowState, Standby
from engine.core.transport import beat_at
from engine.core.units import TICK_SAMPLES, TICKS_PER_SECOND

_LATE: Final = 0.05  # beats: a GO so little after the beat was meant for it
_AS_THE_REST: Final = CueFade()


def go(show: Show, state: ShowState, step: int = 1) -> ShowState:
    """Return the state after a GO by hand (or a back, `step` -1); at either end of the list nothing happens.

    While a GO by hand waits for its beat, another goes on from the cue that waits; back takes it back.
    """
    standby = state.standby
    if standby is None or standby.kind != GO:
        return _ask(show, state, state.cue + step, GO)
    if standby.cue + step == state.cue:
        return replace(state, standby=None)
    return _ask(show, state, standby.cue + step, GO)


def go_to(show: Show, state: ShowState, number: float) -> ShowState:
    """Return the state after a GO to the cue of that number; where there is none, nothing happens.

    A number counts up to its third decimal, because OSC brings it in 32 bits: 2.1 comes as 2.0999999.
    """
    index = bisect_left(show.cue, number - LEAST_STEP / 2.0, key=lambda cue: cue.number)
    if index == len(show.cue) or show.cue[index].number - number > LEAST_STEP / 2.0:
        return state
    return _ask(show, state, index, GO)


# A GO that has to wait goes when the number of the beat, or bar, is another one, whichever: so it goes, too,
# when a sequencer is set to another place. While no beat is played there is none to wait for.
def _ask(show: Show, state: ShowState, index: int, kind: str, late_beats: float = 0.0) -> ShowState:
    """Return the state with a cue begun, or waiting for its beat; a cue that is asked for ends a hold."""
    if not 0 <= index < len(show.cue):
        return state
    state, snap = hold(show, state, 0.0), show.cue[index].snap
    if snap == "none":
        return _begin(show, state, index, kind, late_beats)
    number, late = _place(show, state, snap)
    if late < _LATE:
        return _begin(show, state, index, kind, late)
    return replace(state, standby=Standby(index, kind, number))


def _place(show: Show, state: ShowState, snap: str) -> tuple[float, float]:
    """Return the number of the present beat or bar, and how many beats of it are over."""
    beats = 1.0 if snap == "beat" else float(show.tempo.beats_per_bar)
    position = beat_at(state.transport, state.tick * TICK_SAMPLES) / beats
    return position // 1.0, (position - position // 1.0) * beats


def _begin(show: Show, state: ShowState, index: int, kind: str, late_beats: float = 0.0) -> ShowState:
    """Return the state with a cue begun, which was to begin `late_beats` ago."""
    cue = show.cue[index]
    beats = fades.beats_now(state) - late_beats
    run = _run(show, cue, state.tick, beats)
    if cue.text is not None:
        state = text.ask(show, state, cue.text)
    if tracks.moves(show.generators, state.cue, index):
        fade_s = max(run.fade_ticks / TICKS_PER_SECOND, run.fade_beats * 60.0 / state.transport.bpm)
        state = cast.swap(show, state, tracks.at(show.generators, index), fade_s)
    mover = Mover(kind, f"{'follow' if kind == FOLLOW else 'cue'} {cue.number:g}")
    state = fades.begin(show, state, _ways(show, state.cue, index), beats, mover, cue.asserts)
    return replace(state, cue=index, run=run, standby=None)


def _ways(show: Show, start: int, index: int) -> Iterator[Way]:
    """Yield the ways of what moves when a cue is gone to from another: all that any cue between them sets."""
    cue = show.cue[index]
    general = _fade(show, cue)
    for parameter, track in show.tracks.items():
        if tracks.moves(track, start, index) or (cue.asserts and track.cues[0] <= index):
            own = cue.fades.get(PARAMETERS[parameter].name, _AS_THE_REST)
            length, in_beats = _length(show, own, "") or general
            yield Way(parameter, tracks.at(track, index), length, in_beats, own.curve or cue.curve)


def _run(show: Show, cue: Cue, tick: int, beats: float) -> Run:
    """Return how a cue runs that begins at a tick, and at a beat."""
    lengths = [_fade(show, cue), *filter(None, (_length(show, own, "") for own in cue.fades.values()))]
    fade_ticks = max((length for length, in_beats in lengths if not in_beats), default=0.0)
    fade_beats = max((length for length, in_beats in lengths if in_beats), default=0.0)
    follow = _length(show, cue, "follow_")
    length, in_beats = follow or _length(show, cue, "autofollow_") or (None, False)
    return Run(tick, beats, fade_ticks, fade_beats, length, in_beats, follow is not None)


def _fade(show: Show, cue: Cue) -> tuple[float, bool]:
    return _length(show, cue, "fade_") or (FADE_S * TICKS_PER_SECOND, False)


def _length(show: Show, table: Cue | CueFade, key: str) -> tuple[float, bool] | None:
    """Return a time that a table gives, in ticks (False) or in beats (True); None where it gives none."""
    seconds, beats, bars = (getattr(table, key + unit) for unit in UNITS)
    if seconds is not None:
        return float(round(seconds * TICKS_PER_SECOND)), False
    if beats is not None:
        return beats, True
    return None if bars is None else (bars * show.tempo.beats_per_bar, True)


def wait(show: Show, state: ShowState) -> ShowState:
    """Return the state after the GO that comes at the present tick by itself, if one does.

    The last cue of a list follows on to the first, so that an unattended show goes round. While a GO waits
    for its beat, no follow comes.
    """
    standby, run, follow = state.standby, state.run, state.run.follow
    if state.held:
        return state
    if standby is not None:
        return _snap(show, state, standby)
    if follow is None:
        return state
    beats = fades.beats_now(state) if run.in_beats or run.fade_beats else run.beats
    if run.after_fades:
        if state.tick - run.tick < run.fade_ticks or beats - run.beats < run.fade_beats:
            return state
        run = _ended(run, state.tick, beats)
        state = replace(state, run=run)
    over = (beats - run.beats if run.in_beats else state.tick - run.tick) - follow
    if over < 0.0:
        return state
    index = 0 if state.cue == len(show.cue) - 1 else state.cue + 1
    return _ask(show, state, index, FOLLOW, over if run.in_beats else 0.0)


def next_due(state: ShowState) -> int | None:
    """Return the first tick in which a cue might go, or end its fades, by itself; None: none does."""
    run = state.run
    if state.held or (state.standby is None and run.follow is None):
        return None
    if state.standby is not None or run.in_beats or (run.after_fades and run.fade_beats):
        return state.tick  # a beat comes when it is played
    return run.tick + int(run.fade_ticks if run.after_fades else run.follow or 0.0)


def _snap(show: Show, state: ShowState, standby: Standby) -> ShowState:
    """Return the state with the cue begun that waits, if its beat or bar has come."""
    number, late = _place(show, state, show.cue[standby.cue].snap)
    if number == standby.number and state.transport.running:
        return state
    return _begin(show, state, standby.cue, standby.kind, late if late < _LATE else 0.0)


def _ended(run: Run, tick: int, beats: float) -> Run:
    """Return the run of a cue whose fades have ended: its follow counts from here."""
    beats = beats if run.fade_ticks else run.beats + run.fade_beats
    return replace(run, tick=tick, beats=beats, fade_ticks=0.0, fade_beats=0.0, after_fades=False)


def hold(show: Show, state: ShowState, value: float) -> ShowState:
    """Return the state with fades and follows held (1), going on (0), or the other of the two (-1).

    A GO that waits for its beat does so from the end of the hold on.
    """
    held = value >= 0.5 if value >= 0.0 else not state.held
    if held == state.held:
        return state
    run = replace(state.run, tick=state.tick - state.run.tick, beats=fades.beats_now(state) - state.run.beats)
    standby = state.standby
    if standby is not None:
        standby = replace(standby, number=_place(show, state, show.cue[standby.cue].snap)[0])
    return replace(fades.hold(state, held), held=held, run=run, standby=standby)


def upcoming(show: Show, state: ShowState) -> int:
    """Return the place in the list of the cue that goes next, by hand or by itself; -1 for none."""
    if state.standby is not None:
        return state.standby.cue
    if state.cue + 1 < len(show.cue):
        return state.cue + 1
    return 0 if state.run.follow is not None else -1


def fading(state: ShowState) -> float:
    """Return how far the present cue's fades have come, 0 to 1."""
    run = state.run
    ticks, beats = run.tick, run.beats
    if not state.held:
        ticks, beats = state.tick - ticks, fades.beats_now(state) - beats
    ways = ((ticks, run.fade_ticks), (beats, run.fade_beats))
    return min((min(past / whole, 1.0) for past, whole in ways if whole), default=1.0)


def revise(before: Show, show: Show, state: ShowState) -> ShowState:
    """Return the state at the same cue of a revised list, or, where it is gone, at the one before its place.

    What has changed in the look of the present cue is there with the next frame. A changed time counts from
    where the present one did.
    """
    index = _same(before, show, state.cue)
    standby = state.standby
    if standby is not None:
        place = _same(before, show, standby.cue)
        there = place >= 0 and show.cue[place].number == before.cue[standby.cue].number
        standby = replace(standby, cue=place) if there else None
    ways = []
    for parameter in sorted(show.tracks.keys() | before.tracks.keys()):
        level = _look(show, parameter, index)
        if level != _look(before, parameter, state.cue):
            ways.append(Way(parameter, level, 0.0, False, "linear"))
    if (generator := tracks.at(show.generators, index)) != tracks.at(before.generators, state.cue):
        state = cast.swap(show, state, generator)
    if index >= 0 and show.cue[index].number == before.cue[state.cue].number:
        was, run = state.run, _run(show, show.cue[index], state.run.tick, state.run.beats)
        if run != _run(before, before.cue[state.cue], was.tick, was.beats):
            ended = not was.after_fades and _length(before, before.cue[state.cue], "follow_") is not None
            run = replace(run, fade_ticks=0.0, fade_beats=0.0, after_fades=False) if ended else run
            state = replace(state, run=run)
    elif index < 0:
        state = replace(state, run=Run())
    mover = Mover(GO, f"cue {show.cue[index].number:g}" if index >= 0 else "show file")
    state = fades.begin(show, state, ways, 0.0, mover)
    return replace(state, cue=index, standby=standby)


def _same(before: Show, show: Show, index: int) -> int:
    """Return the place in a revised list of the cue that was at a place, or of the one before it."""
    if index < 0:
        return -1
    return bisect_right(show.cue, before.cue[index].number, key=lambda cue: cue.number) - 1


def _look(show: Show, parameter: int, index: int) -> float:
    """Return the level that the cues up to a place come to."""
    track = show.tracks.get(parameter)
    return begins(show, parameter) if track is None else tracks.at(track, index)
