"""The transport: beats over samples, led by the tempo parameter, taps, MIDI clock, Ableton Link or sound."""

from typing import Final

from engine.core.parameters import INDEX, clamp
from engine.core.records import replace
from engine.core.show import Show
from engine.core.state import ShowState, Transport
from engine.core.units import SAMPLE_RATE

_TEMPO: Final = INDEX["tempo"]
PULSES_PER_BEAT: Final = 24  # MIDI 1.0, Timing Clock
_CLOCK_LOST_SAMPLES: Final = SAMPLE_RATE // 2  # pulses slower than 5 bpm are no clock
_TAP_LOST_SAMPLES: Final = 2 * SAMPLE_RATE
_TAPS: Final = 5
_LINK_LOST_SAMPLES: Final = 2 * SAMPLE_RATE  # it tells its beat at least once a second


def beat_at(transport: Transport, sample: float) -> float:
    """Return the beat at a sample."""
    if not transport.running or (transport.located and transport.pulses):
        return transport.beat
    return transport.beat + (sample - transport.sample) * transport.bpm / (60.0 * SAMPLE_RATE)


def sample_at(transport: Transport, beat: float) -> float:
    """Return the sample of a beat, as the transport runs now."""
    return transport.sample + (beat - transport.beat) * 60.0 * SAMPLE_RATE / transport.bpm


def _anchored(transport: Transport, sample: int, bpm: float) -> Transport:
    return replace(transport, sample=sample, beat=beat_at(transport, sample), bpm=bpm)


def run(state: ShowState, sample: int, running: bool, beat: float | None = None) -> ShowState:
    """Return the state with the transport started or stopped at a sample, and set to `beat` if given.

    While MIDI clock leads, the position is that of its last pulse: the next one goes on from there. The
    first pulse after a position was set is that position (MIDI 1.0, Song Position Pointer).
    """
    transport = state.transport
    if not transport.pulses:
        transport = _anchored(transport, sample, transport.bpm)
    if beat is not None:
        transport = replace(transport, beat=beat, sample=sample, located=True)
    return replace(state, transport=replace(transport, running=running))


def pulse(state: ShowState, sample: int) -> ShowState:
    """Return the state after a pulse of MIDI clock.

    The tempo is the mean over the last beat of pulses, and the beat moves by exactly a 24th at each pulse:
    a pulse's own jitter moves the phase by no more than itself.
    """
    transport = state.transport
    pulses = transport.pulses
    if pulses and sample - pulses[-1] > _CLOCK_LOST_SAMPLES:
        pulses = ()
    bpm, beat = transport.bpm, transport.beat
    if pulses and sample > pulses[0]:
        bpm = clamp(_TEMPO, 60.0 * SAMPLE_RATE * len(pulses) / (PULSES_PER_BEAT * (sample - pulses[0])))
    located = transport.located and sample - transport.sample <= _CLOCK_LOST_SAMPLES
    if not located:
        beat = beat + 1.0 / PULSES_PER_BEAT if pulses and transport.running else beat_at(transport, sample)
    located = located and not transport.running
    pulses = (*pulses[-(PULSES_PER_BEAT - 1) :], sample)
    moved = replace(transport, bpm=bpm, sample=sample, beat=beat, pulses=pulses, located=located)
    return replace(state, transport=moved)


def tap(state: ShowState, sample: int) -> ShowState:
    """Return the state after a tap of the tempo key: two taps or more, up to five, set the tempo."""
    taps = state.transport.taps
    if taps and not 0 < sample - taps[-1] < _TAP_LOST_SAMPLES:
        taps = ()
    taps = (*taps[-(_TAPS - 1) :], sample)
    state = replace(state, transport=replace(state.transport, taps=taps))
    if len(taps) < 2:
        return state
    bpm = clamp(_TEMPO, 60.0 * SAMPLE_RATE * (len(taps) - 1) / (taps[-1] - taps[0]))
    return _with_tempo(state, bpm)


def link(state: ShowState, sample: int, beat: float, bpm: float) -> ShowState:
    """Return the state with the transport where an Ableton Link session is; MIDI clock goes before it."""
    transport = state.transport
    if transport.pulses or sample < transport.linked:
        return state
    bpm = clamp(_TEMPO, bpm)
    if bpm != transport.bpm or transport.linked + _LINK_LOST_SAMPLES < sample:
        state = _with_tempo(state, bpm)
    return replace(state, transport=replace(transport, bpm=bpm, sample=sample, beat=beat, linked=sample))


def hear(show: Show, state: ShowState, sample: int, bpm: float) -> ShowState:
    """Return the state after a beat at the sound input; where the show wants it, the transport follows.

    It falls on the nearest beat of the transport. MIDI clock and a show's Link session go before it.
    """
    state = replace(state, transport=replace(state.transport, audio_beat=sample, audio_bpm=bpm))
    if not show.tempo.audio or show.tempo.link:
        return state
    return link(state, sample, (beat_at(state.transport, sample) + 0.5) // 1.0, bpm)


def audio_phase(transport: Transport, sample: int) -> float:
    """Return how much of a beat has passed since the latest one at the sound input."""
    return (sample - transport.audio_beat) * transport.audio_bpm / (60.0 * SAMPLE_RATE)


def _with_tempo(state: ShowState, bpm: float) -> ShowState:
    bases = (*state.bases[:_TEMPO], bpm, *state.bases[_TEMPO + 1 :])
    levels = (*state.levels[:_TEMPO], bpm, *state.levels[_TEMPO + 1 :])
    return replace(state, bases=bases, levels=levels)


def keep_tempo(state: ShowState, sample: int) -> ShowState:
    """Return the state with the tempo parameter taken up, unless MIDI clock or Link leads.

    A clock that is gone leaves its tempo to the parameter. What moves the parameter while Link leads is told
    to the session, whose new tempo then comes back as an event (`engine.io.link`).
    """
    transport = state.transport
    if not transport.pulses and sample - transport.linked <= _LINK_LOST_SAMPLES:
        return state
    if transport.pulses:
        if sample - transport.pulses[-1] <= _CLOCK_LOST_SAMPLES:
            return state
        state = _with_tempo(state, transport.bpm)
        transport = replace(transport, pulses=(), located=False)
    elif transport.bpm == state.levels[_TEMPO]:
        return state
    return replace(state, transport=_anchored(transport, sample, state.levels[_TEMPO]))
