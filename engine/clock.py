"""The one place that asks for the time: monotonic microseconds, and show samples by the device's clock."""

from math import pi, sqrt
from time import monotonic_ns, time_ns

from engine.core.units import SAMPLE_RATE
from engine.workers.shared import Board

SAMPLES_PER_US = SAMPLE_RATE / 1e6
ASLEEP_US = 1e6  # whose loop has not come round for so long was stopped, or the machine was asleep
_STEP_US = 20_000.0  # of the wall clock against the monotonic one: it was set, not slewed


def monotonic_us() -> float:
    """Return the system's monotonic time in microseconds."""
    return monotonic_ns() / 1000.0


def wall_us() -> float:
    """Return the time in microseconds since 1970, for stamps that other machines made."""
    return time_ns() / 1000.0


class WallClock:
    """Notices when the wall clock is set (NTP, a person), by its distance from the monotonic one."""

    def __init__(self) -> None:
        self._ahead_us = wall_us() - monotonic_us()

    def was_set(self) -> bool:
        """Tell whether it was set since the last call."""
        before_us, self._ahead_us = self._ahead_us, wall_us() - monotonic_us()
        return abs(self._ahead_us - before_us) > _STEP_US


class DelayLockedLoop:
    """Filter the jittery times of a device's callbacks into a straight line of time over frames.

    Second order loop after F. Adriaensen, "Using a DLL to filter time" (Linux Audio Conference 2005):
    each update predicts its own time and moves phase and period by a share of the error. `bandwidth_hz`
    is how fast it follows; a callback more than 100 ms off the prediction starts it anew.
    """

    def __init__(self, rate: float, bandwidth_hz: float = 0.2) -> None:
        self._rate, self._bandwidth_hz = rate, bandwidth_hz
        self.frame, self.us, self.period_us = 0, -1.0, 1e6 / rate

    def update(self, frame: int, us: float) -> None:
        """Learn that frame number `frame` began at `us`."""
        frames = frame - self.frame
        error_us = us - self.us_at(frame)
        if self.us < 0.0 or frames <= 0 or abs(error_us) > 100_000.0:
            self.frame, self.us, self.period_us = frame, us, 1e6 / self._rate
            return
        omega = min(2.0 * pi * self._bandwidth_hz * frames / self._rate, 0.5)
        self.us = self.us_at(frame) + sqrt(2.0) * omega * error_us
        self.frame = frame
        self.period_us += omega * omega * error_us / frames

    def us_at(self, frame: float) -> float:
        """Return the time of a frame on the line."""
        return self.us + (frame - self.frame) * self.period_us


class Clock:
    """Show time: samples since the curtain, led by the sound device where there is one.

    The sound worker publishes its loop's line on `board`; `follow`, called by the session's loop, answers
    with the device frame that is show sample 0, anew each time a device has been (re)opened, so that show
    time never jumps. Without a board, or until a device runs, show time is monotonic time. While all of
    the show was stopped (a suspended machine, SIGSTOP), show time stood still too: nothing of what would
    have been played meanwhile comes in a burst.
    """

    def __init__(self, board: Board | None = None) -> None:
        self._board = board
        self._epoch = 0
        self._origin_frame = 0.0
        self.followed_us = 0.0  # when `follow` was called last
        self._line = (monotonic_us(), 0.0, SAMPLES_PER_US)  # (time, sample there, samples a microsecond)

    def start(self, count_in_us: float = 0.0) -> None:
        """Make show sample 0 the moment that is `count_in_us` from now."""
        self._line = (monotonic_us() + count_in_us, 0.0, SAMPLES_PER_US)
        self._epoch = 0
        self.followed_us = 0.0
        self.follow()

    def follow(self) -> None:
        """Take up the device's newest line; adopt a newly opened device at the present show time."""
        followed_us, now_us = self.followed_us, monotonic_us()
        if followed_us and now_us - followed_us > ASLEEP_US:
            self._line = (now_us, self._sample(followed_us), self._line[2])
            self._epoch = 0
        self.followed_us = now_us
        if self._board is None or self._board["epoch"] == 0.0:
            return
        epoch, rate, frame, frame_us, period_us = self._board.read(
            "epoch", "rate", "frame", "frame_us", "frame_period_us"
        )
        if frame_us <= 0.0:
            return
        scale = SAMPLE_RATE / rate
        if epoch != self._epoch:
            self._origin_frame = round(frame - self._sample(frame_us) / scale)
            self._epoch = int(epoch)
            self._board["origin_frame"] = self._origin_frame
            self._board["origin_epoch"] = epoch
        self._line = (frame_us, (frame - self._origin_frame) * scale, scale / period_us)

    def _sample(self, us: float) -> float:
        at_us, sample, slope = self._line
        return sample + (us - at_us) * slope

    def sample_at(self, us: float) -> int:
        """Return the show sample of a monotonic time."""
        return int(self._sample(us) // 1)

    def us_at(self, sample: float) -> float:
        """Return the monotonic time of a show sample."""
        at_us, at_sample, slope = self._line
        return at_us + (sample - at_sample) / slope

    def sample_of_frame(self, frame: int) -> int:
        """Return the show sample of a frame of the device."""
        rate = SAMPLE_RATE if self._board is None else self._board["rate"] or SAMPLE_RATE
        return round((frame - self._origin_frame) * SAMPLE_RATE / rate)

    def now(self) -> int:
        """Return the present show sample."""
        return self.sample_at(monotonic_us())
