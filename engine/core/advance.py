"""The transition: every change of the show's state passes here."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from engine.core import (
    blackout,
    cast,
    cues,
    duet,
    events,
    fades,
    latent,
    music,
    patch,
    plan,
    presets,
    revision,
    sight,
    text,
    transport,
)
from engine.core.contract import heard_at
from engine.core.events import Event
from engine.core.jobs import SoundEvent, SoundKind
from engine.core.parameters import INDEX, SOUND
from engine.core.records import replace
from engine.core.show import Show
from engine.core.state import AUDIO, MUSICIAN, NEVER, PERFORMER, PICTURE, STAGE, ShowState
from engine.core.units import TICK_SAMPLES, TICKS_PER_SECOND

_NOBODY: Final = (AUDIO, MUSICIAN, PICTURE, STAGE)  # what comes from these is no sign of a player
_CLOCKS: Final = (events.ClockPulse, events.LinkBeat)  # nobody plays these
_SOUND_LEVELS: Final = tuple(INDEX[parameter.name] for parameter in SOUND)


def attracting(show: Show, state: ShowState) -> bool:
    """Tell whether the recorded performer may play: nobody has, for as long as the show sets."""
    if show.performer is None:
        return False
    silent = state.tick - state.live_tick
    return state.live_tick == NEVER or silent >= show.performer.attract_s * TICKS_PER_SECOND


def _is_live(show: Show, event: Event) -> bool:
    """Tell whether somebody plays, as far as this event shows."""
    if event.source in _NOBODY or isinstance(event.body, _CLOCKS):
        return False
    return not isinstance(event.body, events.Control) or patch.is_presence(show, event.body.address)


def receive(show: Show, state: ShowState, event: Event) -> ShowState:
    """Return the state after one event of the present tick.

    Live input silences the recorded performer; while live input counts, the performer's events are let go.
    """
    if event.source == PERFORMER:
        if not attracting(show, state):
            return state
    elif _is_live(show, event):
        if attracting(show, state):
            state = duet.let_go(show, state, PERFORMER, event.sample)
        if state.live_tick != state.tick:
            state = replace(state, live_tick=state.tick)
    try:
        return _HANDLERS[type(event.body)](show, state, event, event.body)
    except Exception:  # on stage nothing raises; the same event fails in the same way when it is replayed
        return replace(state, faults=state.faults + 1)


def close(show: Show, state: ShowState) -> ShowState:
    """Return the state with the present tick complete: what time itself moves has moved."""
    state = cues.wait(show, state)
    if (state.tick + 1) % show.frame_ticks == 0:
        before = state.levels
        state = fades.count_beats(state)
        state = patch.move(show, patch.drive(show, _feed_beat(show, state)))
        state = presets.morph(show, state, before)
        state = transport.keep_tempo(state, state.tick * TICK_SAMPLES)
        state = sight.look(show, latent.wander(show, state))
        state = _sound_levels(show, state, before)
        state = plan.plan_on(show, music.thin(show, state))
    if state.musician.plan or state.musician.sounding:
        state = plan.play_on(show, state)
    return replace(state, tick=state.tick + 1)


def next_due(show: Show, state: ShowState) -> int:
    """Return the number of ticks that are to be complete before anything of the core's own has to happen.

    Until then nothing but an event can make sound or picture.
    """
    frame = state.tick + show.frame_ticks - state.tick % show.frame_ticks
    return min(frame, plan.next_due(state))


# Most ticks are empty: a control step comes every eighth at 30 fps, and nobody plays 240 notes a second. To
# close an empty tick is to count it. So they are counted together, up to the next in which anything could
# happen, and the state reaches the same bits.
def idle(show: Show, state: ShowState, tick: int) -> ShowState:
    """Return the state with empty ticks complete, `tick` at most, as long as no event comes in them.

    From a state with jobs or a revision in it no tick is empty.
    """
    if state.sounds or state.heard or state.writes or state.revision:
        return state
    last, cue = min(tick, next_due(show, state) - 1), cues.next_due(state)
    last = last if cue is None else min(last, cue)
    return replace(state, tick=last) if last > state.tick else state


def advance(show: Show, state: ShowState, happened: Iterable[Event]) -> ShowState:
    """Return the state one tick on. `happened` are the events of tick `state.tick` in their logged order.

    The session calls `receive` at once for each event and `close` at the tick's end; replay calls this. It
    is the same composition, so both reach the same bits. Between two ticks both call `revised`.
    """
    state = open_tick(state)
    for event in happened:
        state = receive(show, state, event)
    return close(show, state)


def open_tick(state: ShowState) -> ShowState:
    """Return the state with the jobs of the tick before let go."""
    if state.sounds or state.heard or state.writes:
        return replace(state, sounds=(), heard=(), writes=())
    return state


def _feed_beat(show: Show, state: ShowState) -> ShowState:
    """Feed the transport's sources: 1 on the beat and on the bar, falling to 0 at the next.

    The beat at the sound input is fed until the next would be there: one that does not come moves nothing.
    """
    beat = transport.beat_at(state.transport, state.tick * TICK_SAMPLES)
    bar = beat / show.tempo.beats_per_bar
    for address, position in (("/beat", beat), ("/bar", bar)):
        if patch.is_patched(show, address):
            state = patch.feed(show, state, address, 1.0 - (position - position // 1.0))
    if state.transport.audio_bpm and patch.is_patched(show, "/audio/beat"):
        phase = transport.audio_phase(state.transport, state.tick * TICK_SAMPLES)
        before = transport.audio_phase(state.transport, (state.tick - show.frame_ticks) * TICK_SAMPLES)
        if before < 1.0:
            state = patch.feed(show, state, "/audio/beat", 1.0 - min(max(phase, 0.0), 1.0))
    return state


def _sound_levels(show: Show, state: ShowState, before: tuple[float, ...]) -> ShowState:
    darkening = show.blackout.sound and blackout.darkening(show, state)
    if state.levels is before and not darkening:
        return state
    if not darkening and state.levels[music.SOUND_LEVELS] == before[music.SOUND_LEVELS]:
        return state
    at, levels = heard_at(show, state.tick * TICK_SAMPLES), music.sound_levels(show, state)
    changed = [
        SoundEvent(at, SoundKind.LEVEL, 0, number, 0, levels[number])
        for number, index in enumerate(_SOUND_LEVELS)
        if state.levels[index] != before[index] or (darkening and number == music.VOLUME)
    ]
    return music.sound(state, *changed) if changed else state


Handler = Callable[[Show, ShowState, Event, Any], ShowState]


def _of_lane(kind: SoundKind, value: Callable[[Any], float], note: Callable[[Any], int]) -> Handler:
    def handle(show: Show, state: ShowState, event: Event, body: Any) -> ShowState:
        state, lane = music.lane_of(show, state, event.source, body.channel)
        at = heard_at(show, event.sample)
        return music.sound(state, SoundEvent(at, kind, lane, note(body), 0, value(body)))

    return handle


_HANDLERS: Final[dict[type, Handler]] = {
    events.NoteOn: lambda show, state, event, body: duet.key_down(
        show, state, event.source, body, event.sample
    ),
    events.NoteOff: lambda show, state, event, body: duet.key_up(
        show, state, event.source, body, event.sample
    ),
    events.Release: lambda show, state, event, body: duet.let_go(show, state, event.source, event.sample),
    events.Bend: _of_lane(SoundKind.BEND, lambda body: body.semitones, lambda body: -1),
    events.Pressure: _of_lane(SoundKind.PRESSURE, lambda body: body.value, lambda body: body.note),
    events.Timbre: _of_lane(SoundKind.TIMBRE, lambda body: body.value, lambda body: -1),
    events.Sustain: _of_lane(SoundKind.SUSTAIN, lambda body: body.value, lambda body: -1),
    events.Program: lambda show, state, event, body: music.program(show, state, event.source, body),
    events.Control: lambda show, state, event, body: patch.feed(
        show, state, body.address, body.value, event.source
    ),
    events.ClockPulse: lambda show, state, event, body: transport.pulse(state, event.sample),
    events.Start: lambda show, state, event, body: transport.run(state, event.sample, True, 0.0),
    events.Stop: lambda show, state, event, body: transport.run(state, event.sample, False),
    events.Continue: lambda show, state, event, body: transport.run(state, event.sample, True),
    events.SongPosition: lambda show, state, event, body: transport.run(
        state, event.sample, state.transport.running, body.sixteenths / 4.0
    ),
    events.Tap: lambda show, state, event, body: transport.tap(state, event.sample),
    events.Go: lambda show, state, event, body: cues.go(show, state),
    events.Back: lambda show, state, event, body: cues.go(show, state, -1),
    events.GoTo: lambda show, state, event, body: cues.go_to(show, state, body.cue),
    events.Hold: lambda show, state, event, body: cues.hold(show, state, body.value),
    events.Blackout: lambda show, state, event, body: blackout.blackout(show, state, body.value),
    events.Store: lambda show, state, event, body: presets.store(show, state, body.preset),
    events.Recall: lambda show, state, event, body: presets.recall(show, state, body.preset, body.fade_s),
    events.Swap: lambda show, state, event, body: cast.swap(show, state, body.generator),
    events.Enter: lambda show, state, event, body: cast.enter(state, body),
    events.Refuse: lambda show, state, event, body: cast.refuse(state, body),
    events.Projection: lambda show, state, event, body: sight.project(state, body),
    events.Phrase: lambda show, state, event, body: plan.take_phrase(state, body),
    events.Answers: lambda show, state, event, body: duet.take_answers(state, body),
    events.Line: lambda show, state, event, body: text.take(state, body),
    events.Mark: lambda show, state, event, body: state,
    events.Revise: lambda show, state, event, body: revision.take(state, body),
    events.LinkBeat: lambda show, state, event, body: transport.link(
        state, event.sample, body.beat, body.bpm
    ),
    events.AudioBeat: lambda show, state, event, body: transport.hear(show, state, event.sample, body.bpm),
}
