"""The contract: when an input is heard and when it is seen."""

from engine.core.show import Show
from engine.core.units import TICK_SAMPLES, samples_from_ms


# A frame shows the state after tick T, so it answers the inputs stamped in the `frame_ticks` before it. It
# is due half a frame before T + picture_ms: an input is then seen at its stamp + picture_ms give or take
# half a frame, on average exactly then.
def seen_at(show: Show, tick: int) -> int:
    """Return the show sample at which the frame of `tick` is to be on the screen."""
    return tick * TICK_SAMPLES + samples_from_ms(show.picture_ms) - show.frame_ticks * TICK_SAMPLES // 2


# Tight play lets each sense have its own contract. Tight sync holds the sound back until the very frame that
# answers the same input is due, so that both meet; the sound is then as coarse in time as the frames are.
def heard_at(show: Show, sample: int) -> int:
    """Return the show sample at which an input stamped at `sample` is to be heard."""
    if show.tight == "sync":
        frame = sample // (show.frame_ticks * TICK_SAMPLES) + 1
        return seen_at(show, frame * show.frame_ticks)
    return sample + samples_from_ms(show.sound_ms)


def shortest_sound_ms(show: Show) -> float:
    """Return the shortest time between an input and its sound."""
    if show.tight == "sync":
        return show.picture_ms - 500.0 / show.fps
    return show.sound_ms


def sound_contract_ms(show: Show) -> float:
    """Return the contract from input to ear; in tight sync it is kept give or take half a frame."""
    return show.picture_ms if show.tight == "sync" else show.sound_ms
