"""The performer's keys as the musician hears them, and what it sings under them."""

from typing import Final

from engine.core import harmony, scale
from engine.core.events import Answers, NoteOff, NoteOn
from engine.core.jobs import Heard
from engine.core.modes import concerns, is_awake, mode
from engine.core.music import DRUMS, note_off, note_on
from engine.core.music import release as release_keys
from engine.core.parameters import INDEX
from engine.core.plan import compass, silence, wishes
from engine.core.records import replace
from engine.core.show import Show
from engine.core.state import MUSICIAN, Key, ShowState, Sung
from engine.core.units import TICK_SAMPLES

SUNG_CHANNEL: Final = 2  # apart from the musician's phrases, so that neither ends the other's notes


def key_down(show: Show, state: ShowState, source: str, body: NoteOn, sample: int) -> ShowState:
    """Return the state after a key went down: it sounds, is heard, and is answered where that is the mode."""
    state = _hush(show, state, source, body.channel, body.note, sample)
    state = note_on(show, state, source, body, sample)
    if source == MUSICIAN:
        return state
    drum = state.keys[-1].instrument == DRUMS
    tonality = state.tonality if drum else scale.heard(state.tonality, body.note)
    chosen, musician = mode(state), state.musician
    if not chosen.hears:
        return replace(state, tonality=tonality)
    concerned = concerns(state, drum)
    if concerned:
        musician = replace(musician, heard_sample=sample, news=True)
    heard = (*state.heard, Heard(sample, True, body.note, body.velocity, drum))
    state = replace(state, tonality=tonality, musician=musician, heard=heard)
    if concerned and chosen.yields and musician.playing:
        state = silence(state)
    if chosen.plans or drum or not is_awake(show, state):
        return state
    return _sing(show, state, source, body, sample)


def key_up(show: Show, state: ShowState, source: str, body: NoteOff, sample: int) -> ShowState:
    """Return the state after a key went up; a key that was not down changes nothing."""
    gone = [k for k in state.keys if (k.source, k.channel, k.note) == (source, body.channel, body.note)]
    state = _told(state, gone[:1], sample)
    state = note_off(show, state, source, body, sample)
    return _hush(show, state, source, body.channel, body.note, sample)


def let_go(show: Show, state: ShowState, source: str, sample: int) -> ShowState:
    """Return the state with every key and pedal of a source let go."""
    state = _told(state, [key for key in state.keys if key.source == source], sample)
    state = release_keys(show, state, source, sample)
    for sung in [each for each in state.musician.sung if each.source == source]:
        state = _hush(show, state, source, sung.channel, sung.note, sample)
    return state


def _told(state: ShowState, gone: list[Key], sample: int) -> ShowState:
    """Tell the musician of keys that go up; a silence begins with the last of them."""
    gone = [key for key in gone if key.source != MUSICIAN]
    if not gone or not mode(state).hears:
        return state
    heard = [Heard(sample, False, key.note, 0.0, key.instrument == DRUMS) for key in gone]
    musician = state.musician
    if any(concerns(state, item.drum) for item in heard):
        musician = replace(musician, heard_sample=sample)
    return replace(state, heard=(*state.heard, *heard), musician=musician)


def _sing(show: Show, state: ShowState, source: str, body: NoteOn, sample: int) -> ShowState:
    """Return the state with the musician's answer to a note, on the same sample; it asks for the next."""
    musician, sounding = state.musician, {key.note for key in state.keys}
    under = harmony.voices(
        body.note, musician.answers, scale.tonic(state), scale.is_minor(state), scale.allowed(state)
    )
    low, _ = compass(state)  # a bass needs nothing under it
    under = tuple(note for note in under if note >= low and note not in sounding)
    loudness = state.levels[INDEX["musician.dynamics"]] * mode(state).loudness
    velocity = min(max(body.velocity * loudness, 1.0 / 127.0), 1.0)
    asked = musician.asked + 1
    sung = (*musician.sung, Sung(source, body.channel, body.note, under))
    state = replace(state, musician=replace(musician, sung=sung, asked=asked, answers=()))
    for note in under:
        state = note_on(show, state, MUSICIAN, NoteOn(SUNG_CHANNEL, note, velocity), sample)
    now = sample // TICK_SAMPLES
    return replace(state, heard=(*state.heard, wishes(state, asked, now, now, answers=True)))


def _hush(show: Show, state: ShowState, source: str, channel: int, note: int, sample: int) -> ShowState:
    """Return the state with what was sung under a key at its end."""
    key = (source, channel, note)
    ended = [each for each in state.musician.sung if (each.source, each.channel, each.note) == key]
    if not ended:
        return state
    left = tuple(each for each in state.musician.sung if each not in ended)
    state = replace(state, musician=replace(state.musician, sung=left))
    for under in ended[0].under:
        state = note_off(show, state, MUSICIAN, NoteOff(SUNG_CHANNEL, under, 0.5), sample)
    return state


def take_answers(state: ShowState, body: Answers) -> ShowState:
    """Return the state with what the musician would sing under the next note; older answers are let go."""
    if body.request != state.musician.asked:
        return state
    return replace(state, musician=replace(state.musician, answers=body.semitones))
