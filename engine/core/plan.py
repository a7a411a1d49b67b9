"""The musician's plan: phrases asked for ahead of their time, committed beat by beat, and played."""

from typing import Final

from engine.core import scale
from engine.core.events import NoteOff, NoteOn, Phrase, PhraseNote
from engine.core.jobs import Ask
from engine.core.modes import FOREVER, GM_DRUM_CHANNEL, is_awake, mode, turn
from engine.core.music import note_off, note_on
from engine.core.parameters import INDEX
from engine.core.records import replace
from engine.core.seeds import chance
from engine.core.show import Show
from engine.core.state import MUSICIAN, Musician, ShowState
from engine.core.transport import beat_at, sample_at
from engine.core.units import TICK_SAMPLES, TICKS_PER_SECOND

PHRASE_BEATS: Final = 2.0
LONGEST_PHRASE: Final = 256  # notes
_ANSWER_TICKS: Final = TICKS_PER_SECOND // 4  # an answer takes 5 to 60 ms (measured); this is waited for
_REPLAN_TICKS: Final = TICKS_PER_SECOND // 20  # a plan anew is to be there by then, or begins a little late
_REPLAN_BEATS: Final = 0.5  # the least distance of two plans anew, and the least worth planning anew
_HALF_RANGE: Final = 24  # semitones about the register
_SPARSEST: Final = 0.5  # notes a second: an accompanist plays no less, however much the performer does
_STREAM_REST: Final = 3 << 40
NEVER: Final = 1 << 62  # a tick that does not come


# The musician's time. Its plan reaches `musician.lookahead` beats ahead and is asked for phrase by phrase,
# two beats at a time; an answer is an event in the log. Notes that begin within `musician.commit` beats are
# committed: nothing that is played can change them any more. What lies beyond is planned anew from the
# commit point on when the performer has played something, and the plan before stays until the new one is
# there. Where no answer has come by its deadline, the plan before goes on, or, where there is none, the
# last phrase is repeated in its place. So a dead musician neither stops the music nor, since every note
# carries its length, leaves one hanging.
def plan_on(show: Show, state: ShowState) -> ShowState:
    """Return the state with the musician begun or stopped, and its plan committed, prolonged or renewed."""
    musician = state.musician
    if not is_awake(show, state):
        return silence(state) if musician.playing or musician.plan else state
    span = turn(show, state)
    if musician.playing and span != musician.turn:
        return hand_back(state)
    if span is None:
        return state
    if not musician.playing:
        return _begin(show, replace(state, musician=replace(musician, turn=span)))
    state = _commit(state)
    if state.musician.waiting and state.tick >= state.musician.deadline:
        state = _do_without(state)
    if not state.musician.waiting:
        state = _look_ahead(show, state)
    return state


def silence(state: ShowState) -> ShowState:
    """Return the state with nothing planned: what sounds comes to its end."""
    return replace(state, musician=replace(state.musician, playing=False, waiting=False, plan=()))


def hand_back(state: ShowState) -> ShowState:
    """Return the state with the musician's turn over: it plays what is committed, and no more."""
    musician = state.musician
    plan = tuple(note for note in musician.plan if note.tick < musician.committed)
    return replace(state, musician=replace(musician, playing=False, waiting=False, news=False, plan=plan))


def _tick_of(state: ShowState, beat: float) -> int:
    """Return the tick of a beat, as the transport runs now."""
    return int(sample_at(state.transport, beat) // TICK_SAMPLES)


def _turn_ends(state: ShowState) -> int:
    """Return the tick at which the musician's turn ends."""
    end = state.musician.turn[1]
    return _tick_of(state, end) if end < FOREVER else NEVER


def _ticks(state: ShowState, beats: float) -> int:
    return max(1, int(beats * 60.0 * TICKS_PER_SECOND / state.transport.bpm + 0.5))


def _begin(show: Show, state: ShowState) -> ShowState:
    """Ask for the first phrase of a turn: on the first beat that an answer can be there for."""
    musician = state.musician
    soonest = max(_tick_of(state, musician.turn[0]), state.tick + _ANSWER_TICKS, musician.committed)
    beat = beat_at(state.transport, soonest * TICK_SAMPLES)
    whole = (beat + 0.999) // 1.0  # a thousandth of a beat late is on the beat
    first = max(_tick_of(state, whole), soonest)
    if first >= _turn_ends(state):
        return state
    committed = max(musician.committed, state.tick)
    musician = replace(musician, playing=True, news=False, planned=first, committed=committed)
    return _ask(show, replace(state, musician=musician), first)


def _commit(state: ShowState) -> ShowState:
    """Move the commit point on: it follows the present at its distance, within what there is a plan for."""
    musician = state.musician
    point = state.tick + _ticks(state, state.levels[INDEX["musician.commit"]])
    committed = max(musician.committed, min(point, musician.planned))
    if committed == musician.committed:
        return state
    return replace(state, musician=replace(musician, committed=committed))


def _look_ahead(show: Show, state: ShowState) -> ShowState:
    """Ask for what is to be planned next: anew after news, further where the plan is short."""
    musician, levels = state.musician, state.levels
    commit = levels[INDEX["musician.commit"]]
    if musician.news and mode(state).listens:
        anew = state.tick + _ticks(state, commit) + _REPLAN_TICKS
        anew = max(anew, _tick_of(state, musician.turn[0]))
        half_a_beat = _ticks(state, _REPLAN_BEATS)
        rested = state.tick - musician.replanned >= half_a_beat
        is_worth_it = anew < musician.planned and anew + half_a_beat <= _turn_ends(state)
        if rested and is_worth_it and anew >= musician.committed:
            state = replace(state, musician=replace(musician, news=False, replanned=state.tick))
            return _ask(show, state, anew)
    reach = max(levels[INDEX["musician.lookahead"]], commit + 1.0)
    if musician.planned >= _turn_ends(state) or musician.planned > state.tick + _ticks(state, reach):
        return state
    if rests(show, musician.request + 1, levels[INDEX["musician.rest"]]):
        planned = musician.planned + _ticks(state, PHRASE_BEATS)
        rested_on = replace(musician, request=musician.request + 1, planned=planned)
        return replace(state, musician=rested_on)
    return _ask(show, state, musician.planned)


def rests(show: Show, request: int, likely: float) -> bool:
    """Tell whether the musician rests in place of a phrase, as the show's seed has it."""
    return likely > 0.0 and chance(show.seed, _STREAM_REST + request) < likely


def _ask(show: Show, state: ShowState, start: int) -> ShowState:
    """Ask for a phrase from tick `start` on."""
    musician = state.musician
    end = max(min(start + _ticks(state, PHRASE_BEATS), _turn_ends(state)), start + 1)
    deadline = max(
        start - _ticks(state, state.levels[INDEX["musician.commit"]]),
        min(start, state.tick + _ANSWER_TICKS),
    )
    musician = replace(
        musician, request=musician.request + 1, waiting=True, requested=start, ending=end, deadline=deadline
    )
    asked = wishes(state, musician.request, start, end)
    return replace(state, musician=musician, heard=(*state.heard, asked))


def wishes(state: ShowState, request: int, start: int, end: int, answers: bool = False) -> Ask:
    """Return what the musician is asked for, as the parameters and the performer have it."""
    levels, performer = state.levels, state.hands[0]
    chosen = mode(state)
    density = levels[INDEX["musician.density"]] or chosen.ease
    if chosen.room:
        density = max(density - chosen.room * performer.density, _SPARSEST)
    low, high = compass(state)
    allowed = scale.allowed(state)
    return Ask(
        request, start, end, answers, levels[INDEX["musician.temperature"]], levels[INDEX["musician.top_p"]],
        density, levels[INDEX["musician.style"]], low, high, allowed,
        beat_at(state.transport, start * TICK_SAMPLES), state.transport.bpm, scale.weights(state, allowed),
    )  # fmt: skip


def compass(state: ShowState) -> tuple[int, int]:
    """Return the lowest and the highest note that the musician plays; an accompanist stays underneath."""
    register = int(state.levels[INDEX["musician.register"]] + 0.5)
    low, high = register - _HALF_RANGE, register + _HALF_RANGE
    if mode(state).follows:
        high = max(min(high, int(state.hands[0].low) - 1), low + scale.PITCH_CLASSES)
    return low, high


def _do_without(state: ShowState) -> ShowState:
    """Go on without an answer: with the plan as it was, or with the last phrase once more."""
    musician = state.musician
    if musician.planned > musician.requested:
        return replace(state, musician=replace(musician, waiting=False, kept=musician.kept + 1))
    shift = musician.requested - musician.last_start
    again = (replace(note, tick=note.tick + shift) for note in musician.last_phrase)
    plan = _joined(musician, tuple(note for note in again if note.tick < musician.ending))
    repeated = replace(
        musician, waiting=False, plan=plan, planned=musician.ending, repeats=musician.repeats + 1
    )
    return replace(state, musician=repeated)


def take_phrase(state: ShowState, body: Phrase) -> ShowState:
    """Return the state with the musician's answer planned; an answer that came too late is let go."""
    musician = state.musician
    if not (musician.playing and musician.waiting and body.request == musician.request):
        return state
    musician = replace(musician, channel=body.channel)
    low, high = (0, 127) if body.channel == GM_DRUM_CHANNEL else compass(state)
    allowed = scale.ALL if body.channel == GM_DRUM_CHANNEL else scale.allowed(state)
    notes = [
        replace(
            _in_time(state, note),
            note=scale.snap(scale.fold(min(max(note.note, 0), 127), low, high), allowed),
        )
        for note in body.notes[:LONGEST_PHRASE]
    ]
    phrase = tuple(note for note in notes if musician.requested <= note.tick < musician.ending)
    answered = replace(
        musician, waiting=False, plan=_joined(musician, phrase), planned=musician.ending,
        last_phrase=phrase, last_start=musician.requested,
    )  # fmt: skip
    return replace(state, musician=answered)


def _joined(musician: Musician, phrase: tuple[PhraseNote, ...]) -> tuple[PhraseNote, ...]:
    """Return the plan with a phrase in the place of all that follows: what is committed stays as it is."""
    cut = max(musician.requested, musician.committed)
    kept = [note for note in musician.plan if note.tick < cut]
    begun = (note for note in phrase if note.tick >= cut)
    return tuple(sorted((*kept, *begun), key=lambda note: (note.tick, note.offset, note.note)))


# Quantising pulls a note to the nearest sixteenth of a beat that is still straight; swing then warps the
# beat, so that its middle comes at 1/2 + swing / 6: at 1 the two halves last as two thirds and one third.
def _in_time(state: ShowState, note: PhraseNote) -> PhraseNote:
    """Return the note in the beat, within its phrase and turn, as loud as the parameters have it."""
    levels, musician = state.levels, state.musician
    beat = beat_at(state.transport, note.tick * TICK_SAMPLES + note.offset)
    beat += ((beat * 4.0 + 0.5) // 1.0 / 4.0 - beat) * levels[INDEX["musician.quantise"]]
    whole = beat // 1.0
    part, middle = beat - whole, 0.5 + levels[INDEX["musician.swing"]] / 6.0
    part = part * 2.0 * middle if part < 0.5 else middle + (part - 0.5) * 2.0 * (1.0 - middle)
    sample = int(sample_at(state.transport, whole + part))
    tick = min(max(sample // TICK_SAMPLES, musician.requested), musician.ending - 1)
    offset = min(max(sample - tick * TICK_SAMPLES, 0), TICK_SAMPLES - 1)
    loudness = levels[INDEX["musician.dynamics"]] * mode(state).loudness
    velocity = min(max(note.velocity * loudness, 1.0 / 127.0), 1.0)
    length = max(min(note.length_ticks, _turn_ends(state) - tick), 1)
    return PhraseNote(tick, offset, note.note, velocity, length)


def next_due(state: ShowState) -> int:
    """Return how many ticks are complete when the musician's next note has begun or ended."""
    return max(_next(state.musician), state.tick) + 1


def _next(musician: Musician) -> int:
    """Return the tick in which the next note begins or ends."""
    begins = musician.plan[0].tick if musician.plan else NEVER
    ends = musician.sounding[0][0] // TICK_SAMPLES if musician.sounding else NEVER
    return min(begins, ends)


def play_on(show: Show, state: ShowState) -> ShowState:
    """Return the state with the musician's notes of this tick begun and ended."""
    if _next(state.musician) > state.tick:
        return state
    end = (state.tick + 1) * TICK_SAMPLES
    musician = state.musician
    ending = [item for item in musician.sounding if item[0] < end]
    starting = [note for note in musician.plan if note.tick <= state.tick]
    later = musician.plan[len(starting) :]
    lasting = [item for item in musician.sounding if item[0] >= end]
    channel = musician.channel
    for note in starting:
        begin = note.tick * TICK_SAMPLES + note.offset
        lasting.append((begin + note.length_ticks * TICK_SAMPLES, channel, note.note))
    state = replace(state, musician=replace(musician, plan=later, sounding=tuple(sorted(lasting))))
    struck = {(channel, n.note): n.tick * TICK_SAMPLES + n.offset for n in reversed(starting)}
    held = {(on, pitch) for _, on, pitch in lasting}
    for sample, on, pitch in ending:
        if (on, pitch) not in held or (on, pitch) in struck:
            before = min(sample, struck.get((on, pitch), sample))  # never cut the note that follows
            state = note_off(show, state, MUSICIAN, NoteOff(on, pitch, 0.5), before)
    for note in starting:
        body = NoteOn(channel, note.note, note.velocity)
        state = note_on(show, state, MUSICIAN, body, note.tick * TICK_SAMPLES + note.offset)
    return state
