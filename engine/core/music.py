"""Notes: from keys to sound events, and the musician's phrases in time with the transport."""

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Final

from engine.core.contract import heard_at
from engine.core.events import NoteOff, NoteOn, Phrase, PhraseNote, Program
from engine.core.jobs import SoundEvent, SoundKind
from engine.core.parameters import INDEX, INSTRUMENTS
from engine.core.patch import feed
from engine.core.show import Show
from engine.core.state import MUSICIAN, Heard, Key, Lane, ShowState
from engine.core.transport import beat_at, sample_at
from engine.core.units import TICK_SAMPLES, TICKS_PER_SECOND

LANES: Final = 64  # more channels than that share the last lane
KEYS: Final = 128  # sounding at once; the oldest is let go for one more
GM_DRUM_CHANNEL: Final = 10  # General MIDI level 1
LOOKAHEAD_BEATS: Final = 2.0  # the musician's plan reaches at least so far ahead
PHRASE_BEATS: Final = 2.0
_LEAD_TICKS: Final = TICKS_PER_SECOND // 4  # room for the first answer: measured 20 to 60 ms
_DRUMS: Final = INSTRUMENTS.index("drums")
_FAMILIES: Final = (  # General MIDI: piano, mallets, organ, guitar, bass, strings, ensemble, brass, ...
    "piano", "pluck", "pad", "pluck", "bass", "pad", "pad", "pad",
    "pad", "pad", "pluck", "pad", "pad", "pluck", "pluck", "pad",
)  # fmt: skip


def sound(state: ShowState, *sounds: SoundEvent) -> ShowState:
    """Return the state with more to be heard."""
    return replace(state, sounds=(*state.sounds, *sounds))


def lane_of(show: Show, state: ShowState, source: str, channel: int) -> tuple[ShowState, int]:
    """Return the lane of a source's channel, made at its first use with the instrument of its part."""
    for number, lane in enumerate(state.lanes):
        if lane.channel == channel and lane.source == source:
            return state, number
    if len(state.lanes) >= LANES:
        return state, LANES - 1
    lane = Lane(source, channel, _part(show, source, channel))
    return replace(state, lanes=(*state.lanes, lane)), len(state.lanes)


def _part(show: Show, source: str, channel: int) -> int:
    for part in show.sound.parts:
        if part.channel in (0, channel) and fnmatchcase(source, part.source):
            return INSTRUMENTS.index(part.instrument)
    return _DRUMS if channel == GM_DRUM_CHANNEL else 0


def program(show: Show, state: ShowState, source: str, body: Program) -> ShowState:
    """Return the state after a program change: the nearest of our instruments plays the channel from now.

    Families of eight programs after General MIDI level 1; the drum channel keeps its drums.
    """
    state, number = lane_of(show, state, source, body.channel)
    lane = state.lanes[number]
    if lane.instrument == _DRUMS:
        return state
    instrument = INSTRUMENTS.index(_FAMILIES[body.program // 8])
    lanes = (*state.lanes[:number], replace(lane, instrument=instrument), *state.lanes[number + 1 :])
    return replace(state, lanes=lanes)


def note_on(show: Show, state: ShowState, source: str, body: NoteOn, sample: int) -> ShowState:
    """Return the state after a key went down; a key that was down already is struck anew."""
    state, lane = lane_of(show, state, source, body.channel)
    instrument = state.lanes[lane].instrument
    at = heard_at(show, sample)
    key = Key(source, body.channel, body.note, lane, instrument)
    keys = tuple(other for other in state.keys if other != key)
    lost = keys[: max(0, len(keys) + 1 - KEYS)]
    offs = [SoundEvent(at, SoundKind.NOTE_OFF, k.lane, k.note, k.instrument, 0.0) for k in lost]
    on = SoundEvent(at, SoundKind.NOTE_ON, lane, body.note, instrument, body.velocity)
    state = sound(replace(state, keys=(*keys[len(lost) :], key)), *offs, on)
    if source != MUSICIAN and instrument != _DRUMS:
        state = _hear(show, state, Heard(sample, True, body.note, body.velocity))
    group = "musician" if source == MUSICIAN else "performer"
    for who in ("notes", group):
        state = feed(show, state, f"/{who}/velocity", body.velocity)
        state = feed(show, state, f"/{who}/pitch", body.note / 127.0)
        state = feed(show, state, f"/{who}/gate", 1.0)
    return feed(show, state, f"/notes/{INSTRUMENTS[instrument]}", body.velocity)


def note_off(show: Show, state: ShowState, source: str, body: NoteOff, sample: int) -> ShowState:
    """Return the state after a key went up; a key that was not down changes nothing."""
    gone = [k for k in state.keys if (k.source, k.channel, k.note) == (source, body.channel, body.note)]
    if not gone:
        return state
    at = heard_at(show, sample)
    offs = [SoundEvent(at, SoundKind.NOTE_OFF, k.lane, k.note, k.instrument, body.velocity) for k in gone]
    state = sound(replace(state, keys=tuple(k for k in state.keys if k not in gone)), *offs)
    if source != MUSICIAN and gone[0].instrument != _DRUMS:
        state = _hear(show, state, Heard(sample, False, body.note, 0.0))
    return _settle(show, state, gone)


def release(show: Show, state: ShowState, source: str, sample: int) -> ShowState:
    """Return the state with every key and pedal of a source let go."""
    gone = [key for key in state.keys if key.source == source]
    at = heard_at(show, sample)
    lanes = [number for number, lane in enumerate(state.lanes) if lane.source == source]
    state = replace(state, keys=tuple(key for key in state.keys if key.source != source))
    offs = (SoundEvent(at, SoundKind.NOTE_OFF, k.lane, k.note, k.instrument, 0.0) for k in gone)
    state = sound(state, *offs, *(SoundEvent(at, SoundKind.RELEASE, lane, -1, 0, 0.0) for lane in lanes))
    for key in gone:
        if source != MUSICIAN and key.instrument != _DRUMS:
            state = _hear(show, state, Heard(sample, False, key.note, 0.0))
    return _settle(show, state, gone)


def _settle(show: Show, state: ShowState, gone: list[Key]) -> ShowState:
    """Feed the note sources that fall to rest with the last key of their kind."""
    held = {("musician" if key.source == MUSICIAN else "performer") for key in state.keys}
    instruments = {key.instrument for key in state.keys}
    for who in ("musician", "performer"):
        if who not in held and any((key.source == MUSICIAN) == (who == "musician") for key in gone):
            for what in ("velocity", "gate"):
                state = feed(show, state, f"/{who}/{what}", 0.0)
    if gone and not state.keys:
        for what in ("velocity", "gate"):
            state = feed(show, state, f"/notes/{what}", 0.0)
    for instrument in {key.instrument for key in gone} - instruments:
        state = feed(show, state, f"/notes/{INSTRUMENTS[instrument]}", 0.0)
    return state


def _hear(show: Show, state: ShowState, heard: Heard) -> ShowState:
    """The musician hears the performer, and yields to a key that goes down."""
    musician = replace(state.musician, heard_sample=heard.sample)
    if heard.on and musician.playing:
        musician = replace(musician, playing=False, waiting=False, plan=())
    return replace(state, musician=musician, heard=(*state.heard, heard))


# The musician's time. It goes on where the performer has been silent for `musician.wait` beats: the first
# phrase begins on a beat far enough ahead to be answered in time, and each further one is asked for while
# LOOKAHEAD_BEATS of the plan are still to come. An answer is an event in the log. Where none has come by
# the time that it was to begin, the core repeats the last phrase in its place, so that a dead musician
# neither stops the music nor, since every note carries its length, leaves one hanging.
def plan_on(show: Show, state: ShowState) -> ShowState:
    """Return the state with the musician begun or stopped, and its next phrase asked for or repeated."""
    musician, transport = state.musician, state.transport
    wanted = state.levels[INDEX["musician"]] > 0.5 and show.musician is not None and transport.running
    if not wanted:
        if musician.playing:
            stopped = replace(musician, playing=False, waiting=False, plan=())
            return replace(state, musician=stopped)
        return state
    now = state.tick * TICK_SAMPLES
    if not musician.playing:
        return _begin(state, now)
    if musician.waiting and state.tick >= musician.requested:
        state = _repeat(state)
        musician = state.musician
    horizon = sample_at(transport, beat_at(transport, now) + LOOKAHEAD_BEATS)
    if not musician.waiting and musician.planned * TICK_SAMPLES < horizon:
        return _ask(state, musician.planned)
    return state


def next_due(state: ShowState) -> int:
    """Return how many ticks are complete when the musician's next note has begun or ended."""
    musician = state.musician
    starts = [musician.plan[0].tick] if musician.plan else []
    ends = [sample // TICK_SAMPLES for sample, _ in musician.sounding]
    return max(min((*starts, *ends), default=1 << 62), state.tick) + 1


def _begin(state: ShowState, now: int) -> ShowState:
    transport, musician = state.transport, state.musician
    silent = beat_at(transport, now) - beat_at(transport, max(musician.heard_sample, 0))
    held = any(key.source != MUSICIAN and key.instrument != _DRUMS for key in state.keys)
    if held or silent < state.levels[INDEX["musician.wait"]]:
        return state
    earliest = beat_at(transport, now + _LEAD_TICKS * TICK_SAMPLES)
    beat = float(int(earliest) + (earliest > int(earliest)))
    start = round(sample_at(transport, beat)) // TICK_SAMPLES
    return _ask(replace(state, musician=replace(musician, playing=True, plan=())), start)


def _ask(state: ShowState, start: int) -> ShowState:
    transport, musician = state.transport, state.musician
    end = start + max(1, round(PHRASE_BEATS * 60.0 * TICKS_PER_SECOND / transport.bpm))
    request = musician.request + 1
    asked = Heard(
        start * TICK_SAMPLES, False, -1, 0.0, request, end, state.levels[INDEX["musician.temperature"]]
    )
    musician = replace(musician, request=request, waiting=True, requested=start, planned=end)
    return replace(state, musician=musician, heard=(*state.heard, asked))


def _repeat(state: ShowState) -> ShowState:
    musician = state.musician
    shift = musician.requested - musician.last_start
    again = tuple(replace(note, tick=note.tick + shift) for note in musician.last_phrase)
    length = musician.planned - musician.requested
    again = tuple(note for note in again if note.tick < musician.requested + length)
    plan = _planned(musician.plan, again)
    repeated = replace(musician, waiting=False, plan=plan, repeats=musician.repeats + 1)
    return replace(state, musician=repeated)


def take_phrase(state: ShowState, body: Phrase) -> ShowState:
    """Return the state with the musician's answer planned; an answer that came too late is let go."""
    musician = state.musician
    if not (musician.playing and musician.waiting and body.request == musician.request):
        return state
    pull = state.levels[INDEX["musician.quantise"]]
    loudness = state.levels[INDEX["musician.velocity"]]
    start = musician.requested
    notes = [_in_time(state, note, pull, loudness) for note in body.notes[:256]]
    phrase = _planned((), tuple(notes))
    plan = _planned(musician.plan, phrase)
    answered = replace(musician, waiting=False, plan=plan, last_phrase=phrase, last_start=start)
    return replace(state, musician=answered)


def _planned(plan: tuple[PhraseNote, ...], more: tuple[PhraseNote, ...]) -> tuple[PhraseNote, ...]:
    """Return the notes of both in the order in which they begin."""
    return tuple(sorted((*plan, *more), key=lambda note: (note.tick, note.offset, note.note)))


def _in_time(state: ShowState, note: PhraseNote, pull: float, loudness: float) -> PhraseNote:
    """Return the note pulled towards the nearest sixteenth of the beat."""
    sample = note.tick * TICK_SAMPLES + note.offset
    nearest = sample_at(state.transport, round(beat_at(state.transport, sample) * 4.0) / 4.0)
    moved = round(sample + (nearest - sample) * pull)
    velocity = min(max(note.velocity * loudness, 1.0 / 127.0), 1.0)
    tick = max(moved // TICK_SAMPLES, state.musician.requested)
    offset = min(max(moved - tick * TICK_SAMPLES, 0), TICK_SAMPLES - 1)
    return PhraseNote(tick, offset, min(max(note.note, 0), 127), velocity, max(note.length_ticks, 1))


def play_on(show: Show, state: ShowState) -> ShowState:
    """Return the state with the musician's notes of this tick begun and ended."""
    end = (state.tick + 1) * TICK_SAMPLES
    musician = state.musician
    ending = sorted(item for item in musician.sounding if item[0] < end)
    starting = [note for note in musician.plan if note.tick <= state.tick]
    if not (ending or starting):
        return state
    later = tuple(note for note in musician.plan if note.tick > state.tick)
    sounding = tuple(item for item in musician.sounding if item[0] >= end)
    begun = tuple(
        (note.tick * TICK_SAMPLES + note.offset + note.length_ticks * TICK_SAMPLES, note.note)
        for note in starting
    )
    state = replace(state, musician=replace(musician, plan=later, sounding=(*sounding, *begun)))
    struck = {note.note: note.tick * TICK_SAMPLES + note.offset for note in reversed(starting)}
    for sample, pitch in ending:
        if not any(note == pitch for _, note in sounding):
            before = min(sample, struck.get(pitch, sample))  # never cut the note that follows
            state = note_off(show, state, MUSICIAN, NoteOff(1, pitch, 0.5), before)
    for note in starting:
        body = NoteOn(1, note.note, note.velocity)
        state = note_on(show, state, MUSICIAN, body, note.tick * TICK_SAMPLES + note.offset)
    return state
