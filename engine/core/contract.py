"""The contract: when an input is heard and when it is seen."""

from engine.core.show import Show
from engine.core.units import TICK_SAMPLES, samples_from_ms


def heard_at(show: Show, sample: int) -> int:
    """Return the show sample at which an input stamped at `sample` is to be heard."""
    return sample + samples_from_ms(show.sound_ms)


# A frame shows the state after tick T, so it answers the inputs stamped in the `frame_ticks` before it. It
# is due half a frame before T + picture_ms: an input is then seen at its stamp + picture_ms give or take
# half a frame, on average exactly then.
def seen_at(show: Show, tick: int) -> int:
    """Return the show sample at which the frame of `tick` is to be on the screen."""
    return tick * TICK_SAMPLES + samples_from_ms(show.picture_ms) - show.frame_ticks * TICK_SAMPLES // 2
