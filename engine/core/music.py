"""Notes: from keys to sound events and to the sources that they feed."""

from fnmatch import fnmatchcase
from typing import Final

from engine.core.blackout import darkness
from engine.core.contract import heard_at
from engine.core.events import NoteOff, NoteOn, Program
from engine.core.jobs import SoundEvent, SoundKind
from engine.core.parameters import INDEX, INSTRUMENTS, SOUND
from engine.core.patch import feed
from engine.core.records import replace
from engine.core.show import Show
from engine.core.state import MUSICIAN, Hand, Key, Lane, ShowState

VOLUME: Final = [parameter.name for parameter in SOUND].index("sound.volume")
SOUND_LEVELS: Final = slice(INDEX[SOUND[0].name], INDEX[SOUND[0].name] + len(SOUND))
LANES: Final = 64  # more channels than that share the last lane
KEYS: Final = 128  # sounding at once; the oldest is let go for one more
GM_DRUM_CHANNEL: Final = 10  # General MIDI level 1
DRUMS: Final = INSTRUMENTS.index("drums")
DENSEST: Final = 16.0  # notes a second at which a source of density is 1
_DENSITY_S: Final = 2.0  # over which notes are counted
_FAINTEST: Final = 0.01  # a density below that is none
_WIDEST: Final = 24.0  # semitones of a leap at which a source of intervals is 0 or 1; 0.5 is no leap
_WHO: Final = ("performer", "musician")
_SOURCES: Final = {  # that a note feeds
    who: tuple(f"/{who}/{what}" for what in ("velocity", "pitch", "interval", "gate"))
    for who in (*_WHO, "notes")
}
_DENSITIES: Final = tuple(f"/{who}/density" for who in (*_WHO, "notes"))
_FAMILIES: Final = (  # General MIDI: piano, mallets, organ, guitar, bass, strings, ensemble, brass, ...
    "piano", "pluck", "pad", "pluck", "bass", "pad", "pad", "pad",
    "pad", "pad", "pluck", "pad", "pad", "pluck", "pluck", "pad",
)  # fmt: skip


def sound(state: ShowState, *sounds: SoundEvent) -> ShowState:
    """Return the state with more to be heard."""
    return replace(state, sounds=(*state.sounds, *sounds))


def sound_levels(show: Show, state: ShowState) -> tuple[float, ...]:
    """Return the levels of SOUND as they are to be heard: a blackout may take the sound with it."""
    levels = state.levels[SOUND_LEVELS]
    if not show.blackout.sound:
        return levels
    volume = levels[VOLUME] * (1.0 - darkness(show, state))
    return (*levels[:VOLUME], volume, *levels[VOLUME + 1 :])


def lane_of(show: Show, state: ShowState, source: str, channel: int) -> tuple[ShowState, int]:
    """Return the lane of a source's channel, made at its first use with the instrument of its part."""
    for number, lane in enumerate(state.lanes):
        if lane.channel == channel and lane.source == source:
            return state, number
    if len(state.lanes) >= LANES:
        return state, LANES - 1
    lane = Lane(source, channel, _part(show, source, channel))
    return replace(state, lanes=(*state.lanes, lane)), len(state.lanes)


def assign(show: Show, state: ShowState) -> ShowState:
    """Return the state with the instrument of its part on each lane; keys that are down keep theirs."""
    lanes = (replace(lane, instrument=_part(show, lane.source, lane.channel)) for lane in state.lanes)
    return replace(state, lanes=tuple(lanes))


def _part(show: Show, source: str, channel: int) -> int:
    for part in show.sound.parts:
        if part.channel in (0, channel) and fnmatchcase(source, part.source):
            return INSTRUMENTS.index(part.instrument)
    return DRUMS if channel == GM_DRUM_CHANNEL else 0


def program(show: Show, state: ShowState, source: str, body: Program) -> ShowState:
    """Return the state after a program change: the nearest of our instruments plays the channel from now.

    Families of eight programs after General MIDI level 1; the drum channel keeps its drums.
    """
    state, number = lane_of(show, state, source, body.channel)
    lane = state.lanes[number]
    if lane.instrument == DRUMS:
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
    keys = tuple([other for other in state.keys if other != key])
    lost = keys[: max(0, len(keys) + 1 - KEYS)]
    offs = [SoundEvent(at, SoundKind.NOTE_OFF, k.lane, k.note, k.instrument, 0.0) for k in lost]
    on = SoundEvent(at, SoundKind.NOTE_ON, lane, body.note, instrument, body.velocity)
    state = replace(state, keys=(*keys[len(lost) :], key), sounds=(*state.sounds, *offs, on))
    who = int(source == MUSICIAN)
    before = state.hands[who]
    leap = body.note - before.note if before.note >= 0 else 0
    interval = min(max(0.5 + 0.5 * leap / _WIDEST, 0.0), 1.0)
    for sources in (_SOURCES["notes"], _SOURCES[_WHO[who]]):
        for address, value in zip(sources, (body.velocity, body.note / 127.0, interval, 1.0), strict=True):
            state = feed(show, state, address, value)
    if instrument != DRUMS:
        low = before.low + 0.25 * (body.note - before.low)
        before = Hand(body.note, before.density, min(low, float(body.note)))
    hand = Hand(before.note, before.density + 1.0 / _DENSITY_S, before.low)
    state = replace(state, hands=(hand, state.hands[1]) if who == 0 else (state.hands[0], hand))
    return feed(show, state, f"/notes/{INSTRUMENTS[instrument]}", body.velocity)


def note_off(show: Show, state: ShowState, source: str, body: NoteOff, sample: int) -> ShowState:
    """Return the state after a key went up; a key that was not down changes nothing."""
    gone = [k for k in state.keys if (k.source, k.channel, k.note) == (source, body.channel, body.note)]
    if not gone:
        return state
    at = heard_at(show, sample)
    offs = [SoundEvent(at, SoundKind.NOTE_OFF, k.lane, k.note, k.instrument, body.velocity) for k in gone]
    keys = tuple([k for k in state.keys if k not in gone])
    state = replace(state, keys=keys, sounds=(*state.sounds, *offs))
    return _settle(show, state, gone)


def release(show: Show, state: ShowState, source: str, sample: int) -> ShowState:
    """Return the state with every key and pedal of a source let go."""
    gone = [key for key in state.keys if key.source == source]
    at = heard_at(show, sample)
    lanes = [number for number, lane in enumerate(state.lanes) if lane.source == source]
    state = replace(state, keys=tuple(key for key in state.keys if key.source != source))
    offs = (SoundEvent(at, SoundKind.NOTE_OFF, k.lane, k.note, k.instrument, 0.0) for k in gone)
    state = sound(state, *offs, *(SoundEvent(at, SoundKind.RELEASE, lane, -1, 0, 0.0) for lane in lanes))
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


# Notes a second, without a list of notes: each adds its share to a level that leaks away, by the implicit
# Euler step of y' = -y / tau. A steady n notes a second settle at n.
def thin(show: Show, state: ShowState) -> ShowState:
    """Return the state with the densities one control step on, and their sources fed."""
    if not (state.hands[0].density or state.hands[1].density):
        return state
    kept = _DENSITY_S / (_DENSITY_S + 1.0 / show.fps)
    performer, musician = (_thinned(hand, kept) for hand in state.hands)
    state = replace(state, hands=(performer, musician))
    densities = (performer.density, musician.density, performer.density + musician.density)
    for address, density in zip(_DENSITIES, densities, strict=True):
        state = feed(show, state, address, density / DENSEST)
    return state


def _thinned(hand: Hand, kept: float) -> Hand:
    if not hand.density:
        return hand
    return Hand(hand.note, hand.density * kept if hand.density > _FAINTEST else 0.0, hand.low)
