"""Sensors: what comes from one is cleaned before anything hears it."""

from typing import Final

from engine.core.records import replace
from engine.core.show import Sensor, Show
from engine.core.smoothing import share_of
from engine.core.state import Sensed, ShowState
from engine.core.units import TICKS_PER_SECOND

MOST: Final = 256  # addresses that are remembered; the one silent for longest is forgotten for one more
_SETTLED: Final = 1e-4  # nearer than this to its rest a sensor has arrived


# A cheap sensor lies in three ways: single values far off, a scale that nobody knows, and silence when its
# battery is dead. The median of the last few values leaves single ones out and keeps edges, which a
# low-pass would not; the least and the greatest value so far become 0 and 1; and after a silence the value
# goes back to where an empty room would have it.
def sense(show: Show, state: ShowState, number: int, address: str, value: float) -> Sensed | None:
    """Return what is known of a sensor after one more value, or None where the value can't be one."""
    if value - value != 0.0:  # infinite
        return None
    sensor = show.sensor[number]
    known = next((one for one in state.sensed if one.address == address), None)
    one = known or Sensed(address, number, sensor.bounds or ())
    recent = (*one.recent, value)[-sensor.median :]
    middle = sorted(recent)[len(recent) // 2]
    bounds = one.bounds
    if sensor.calibrate:
        bounds = (min((middle, *bounds)), max((middle, *bounds)))
    return replace(one, recent=recent, bounds=bounds, tick=state.tick, value=_scaled(sensor, bounds, middle))


def _scaled(sensor: Sensor, bounds: tuple[float, ...], value: float) -> float:
    """Return the value from 0 to 1 between its bounds; as it is where there are none."""
    if not bounds:
        return value
    low, high = bounds
    if low >= high:  # nothing learned but one value
        return sensor.rest
    return min(max((value - low) / (high - low), 0.0), 1.0)


def keep(state: ShowState, one: Sensed) -> ShowState:
    """Return the state with what is known of a sensor."""
    others = tuple(other for other in state.sensed if other.address != one.address)
    return replace(state, sensed=(*others, one)[-MOST:])


def forget(show: Show, state: ShowState, numbers: tuple[int, ...]) -> ShowState:
    """Return the state with what some sensors have learned of their bounds forgotten."""
    anew = (
        replace(one, bounds=show.sensor[one.sensor].bounds or ()) if one.sensor in numbers else one
        for one in state.sensed
    )
    return replace(state, sensed=tuple(anew))


def resting(show: Show, state: ShowState) -> list[Sensed]:
    """Return the sensors that have been silent for too long, one control step nearer to their rest."""
    moved = []
    for one in state.sensed:
        sensor = show.sensor[one.sensor]
        if sensor.timeout_s is None or one.value == sensor.rest:
            continue
        if state.tick - one.tick >= sensor.timeout_s * TICKS_PER_SECOND:
            value = one.value + (sensor.rest - one.value) * share_of(show, sensor.rest_ms)
            arrived = abs(sensor.rest - value) < _SETTLED
            moved.append(replace(one, value=sensor.rest if arrived else value, recent=()))
    return moved
