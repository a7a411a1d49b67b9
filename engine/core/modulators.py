"""Modulators: sources that move by themselves, in time, by chance, or with other sources."""

from collections.abc import Callable
from typing import Final

from engine.core.curves import CURVES
from engine.core.records import replace
from engine.core.seeds import chance, named
from engine.core.show import Modulator, Show
from engine.core.smoothing import share_of
from engine.core.state import Modulation, ShowState
from engine.core.transport import beat_at
from engine.core.units import TICK_SAMPLES, TICKS_PER_SECOND


# sin(pi h) = 16 h (1 - h) / (5 - 4 h (1 - h)) for h from 0 to 1, by no more than 0.0016 off: Bhaskara I's
# rational approximation (7th century). A sine from a library of mathematics differs between machines in
# its last bit; this one does not.
def _sine(phase: float) -> float:
    half = 2.0 * phase if phase < 0.5 else 2.0 * phase - 1.0
    product = half * (1.0 - half)
    arch = 16.0 * product / (5.0 - 4.0 * product)
    return 0.5 + 0.5 * arch if phase < 0.5 else 0.5 - 0.5 * arch


def _triangle(phase: float) -> float:
    if phase < 0.25:
        return 0.5 + 2.0 * phase
    return 1.5 - 2.0 * phase if phase < 0.75 else 2.0 * phase - 1.5


# Each maps a phase from 0 to 1 onto 0..1; sine and triangle begin in the middle, rising.
SHAPES: Final[dict[str, Callable[[float], float]]] = {
    "sine": _sine,
    "triangle": _triangle,
    "saw": lambda phase: phase,
    "square": lambda phase: float(phase < 0.5),
}


def turn(show: Show, state: ShowState) -> tuple[Modulation, ...]:
    """Return the modulators one control step on."""
    pairs = zip(show.modulator, state.modulations, strict=True)
    return tuple(_TURNS[modulator.kind](show, state, modulator, one) for modulator, one in pairs)


def hear(state: ShowState, modulator: Modulator, one: Modulation, value: float) -> Modulation:
    """Return a modulator after the source that it listens to has taken a value, 0 to 1."""
    value = min(max(value, 0.0), 1.0)
    if modulator.kind != "adsr":
        return replace(one, target=value)
    if value == one.target == 0.0:
        return one
    return replace(one, start=_level_at(modulator, one, state.tick), target=value, tick=state.tick)


def _periods(state: ShowState, modulator: Modulator) -> float:
    """Return how many periods have passed at the end of the present tick."""
    if modulator.seconds is not None:
        return (state.tick + 1) / (TICKS_PER_SECOND * modulator.seconds)
    return beat_at(state.transport, (state.tick + 1) * TICK_SAMPLES) / (modulator.beats or 1.0)


def _lfo(show: Show, state: ShowState, modulator: Modulator, one: Modulation) -> Modulation:
    phase = _periods(state, modulator) + modulator.phase
    return replace(one, value=SHAPES[modulator.shape](phase - phase // 1.0))


def _steps(show: Show, state: ShowState, modulator: Modulator, one: Modulation) -> Modulation:
    number = int(_periods(state, modulator) // 1.0)
    return replace(one, value=modulator.steps[number % len(modulator.steps)])


def _follower(show: Show, state: ShowState, modulator: Modulator, one: Modulation) -> Modulation:
    smooth_ms = modulator.attack_ms if one.target > one.value else modulator.release_ms
    value = one.value + (one.target - one.value) * share_of(show, smooth_ms)
    return replace(one, value=value if abs(one.target - value) > _SETTLED else one.target)


# A walk takes a step at each period, of any length up to `reach` either way, and turns back at 0 and at 1.
# Its numbers hang on the show's seed, its own name and the number of the period: the same in every
# performance, another for each walk.
def _random_walk(show: Show, state: ShowState, modulator: Modulator, one: Modulation) -> Modulation:
    periods = _periods(state, modulator)
    number = int(periods // 1.0)
    if number != one.number:
        step = modulator.reach * (2.0 * chance(named(show.seed, modulator.name), number) - 1.0)
        target = abs(one.target + step)
        one = replace(one, number=number, start=one.target, target=min(target, 2.0 - target))
    along = CURVES["s"](periods - number)
    return replace(one, value=one.start + (one.target - one.start) * along)


def _adsr(show: Show, state: ShowState, modulator: Modulator, one: Modulation) -> Modulation:
    return replace(one, value=_level_at(modulator, one, state.tick + 1))


def _level_at(modulator: Modulator, one: Modulation, tick: int) -> float:
    """Return the level of an envelope: from `start` at `tick` up to `target` and on to sustain, or down."""
    past_ms = (tick - one.tick) * 1000.0 / TICKS_PER_SECOND
    if one.target <= 0.0:
        return one.start * (1.0 - past_ms / modulator.release_ms) if past_ms < modulator.release_ms else 0.0
    if past_ms < modulator.attack_ms:
        return one.start + (one.target - one.start) * past_ms / modulator.attack_ms
    past_ms -= modulator.attack_ms
    fallen = past_ms / modulator.decay_ms if past_ms < modulator.decay_ms else 1.0
    return one.target * (1.0 - (1.0 - modulator.sustain) * fallen)


_SETTLED: Final = 1e-6  # nearer than this a follower has arrived
_TURNS: Final[dict[str, Callable[[Show, ShowState, Modulator, Modulation], Modulation]]] = {
    "lfo": _lfo,
    "follower": _follower,
    "random walk": _random_walk,
    "steps": _steps,
    "adsr": _adsr,
}
