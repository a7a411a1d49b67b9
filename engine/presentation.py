"""The presenter's loop: each frame on the screen at its contract, or the last one moved on and counted."""

from collections import deque
from collections.abc import Callable
from threading import Event as Signal
from time import sleep

import cv2

from engine import priority
from engine.clock import ASLEEP_US, Clock, monotonic_us
from engine.core.contract import seen_at
from engine.core.jobs import Caption
from engine.core.show import Show
from engine.distribution import Distribution
from engine.inbox import Inbox
from engine.io.window import Presenter
from engine.workers.shared import Frame

Seen = Callable[[Frame | None, int, Caption | None], None]  # a frame, how often it was held, and its line
Newest = Callable[[int], Frame | None]  # the newest frame at or before a tick
_SPIN_US = 500.0  # the system wakes a sleeper this late at worst when quiet; the rest is spun
_POLL_US = 4000.0  # keys and pointer are asked for at least so often
_DRAW_FLOOR_US = 1000.0
_CORE_US = 100_000.0  # so long is the core waited for after a sleep


class Presentation:
    """Shows frames until told to stop; runs on the main thread, where window systems want to be.

    `due` counts the frames whose time came, `shown` those that were seen within a frame of it, `late` those
    that were not, `held` how often nothing newer than the picture before was there. `frame_deviation` is of
    the swaps about their frames' contract, `input_deviation` of the swaps about the contract of each input
    that they answer (half a frame of it is the frame's own length). `answered` counts the notes that the
    picture on the screen answers; `marked` frames say so in their marker.
    """

    def __init__(
        self,
        show: Show,
        clock: Clock,
        newest: Newest,
        presenter: Presenter,
        inbox: Inbox,
        marked: bool = False,
    ) -> None:
        self._show, self._clock, self._newest = show, clock, newest
        self._presenter, self._inbox, self._marked = presenter, inbox, marked
        if marked:
            from engine.io import marker  # it brings OpenCV with it

            marker.prepare()
        # (tick, stamp, whether it is a note) of the inputs not yet answered, from the core
        self._inputs: deque[tuple[int, int, bool]] = deque(maxlen=20_000)
        self.captions: deque[tuple[int, Caption]] = deque(maxlen=1024)  # by tick, from the core
        self._answered: list[int] = []  # stamps of the inputs that the next swap answers
        self.answered = 0
        self.hud: Callable[[], tuple[str, ...]] = lambda: ()
        self.seen: Seen = lambda frame, held, caption: None  # told after each swap
        self.due = self.shown = self.late = self.held = 0
        self.first_shown_us: float | None = None
        self.frame_deviation, self.input_deviation = Distribution(), Distribution()
        self._draw_us = 4000.0

    def run(self, stop: Signal) -> None:
        """Show frames until `stop` is set or the window is closed by its user."""
        priority.become_realtime(priority.PRESENTER)
        cv2.setNumThreads(1)  # its second thread spins between two pictures: 45 % of a core in place of 13
        self._presenter.inputs()  # what came before the curtain is none of the show's
        show = self._show
        tick, last_tick, held = show.frame_ticks, -1, 0
        while not (stop.is_set() or self._presenter.closed):
            due_us = self._clock.us_at(seen_at(show, tick))
            self._listen_until(due_us - self._draw_us - _SPIN_US, stop)
            frame = self._newest(tick)
            fresh = frame is not None and frame.tick == tick
            newer = frame is not None and frame.tick > last_tick
            held = 0 if newer else held + 1
            self._answer(frame)
            mark = (frame.tick, self.answered) if self._marked and frame is not None else None
            begun_us = monotonic_us()
            caption = self._caption(tick)
            self._presenter.draw(frame, held, self.hud(), mark, caption)
            drawn_us = monotonic_us()
            self._draw_us = max(_DRAW_FLOOR_US, 0.9 * self._draw_us + 0.15 * (drawn_us - begun_us))
            self._wait_until(due_us)
            shown_us = self._presenter.flip()
            fresh = fresh and shown_us - due_us < 1e6 / show.fps
            self._count(fresh, newer, shown_us, due_us)
            self.seen(frame, held, caption)
            last_tick = frame.tick if frame is not None else last_tick
            tick += show.frame_ticks
            tick += self._skip(tick, self._after_core(shown_us))

    def answer_to(self, tick: int, stamp: int, note: bool) -> None:
        """Learn from the core of an input that a frame is to answer; the values of one message count once."""
        one = (tick, stamp, note)
        if note or not self._inputs or self._inputs[-1] != one:
            self._inputs.append(one)

    def _answer(self, frame: Frame | None) -> None:
        """Take the inputs that the frame answers: those that entered before its tick."""
        while frame is not None and self._inputs and self._inputs[0][0] < frame.tick:
            _, stamp, note = self._inputs.popleft()
            self._answered.append(stamp)
            self.answered += note

    def _caption(self, tick: int) -> Caption | None:
        """Return the line of a frame; those before it are let go."""
        while len(self.captions) > 1 and self.captions[1][0] <= tick:
            self.captions.popleft()
        return self.captions[0][1] if self.captions and self.captions[0][0] <= tick else None

    def _count(self, fresh: bool, newer: bool, shown_us: float, due_us: float) -> None:
        if self.first_shown_us is None and newer:
            self.first_shown_us = shown_us
        self.due += 1
        self.shown += fresh
        self.late += not fresh
        self.held += not newer
        if not fresh:
            return
        self.frame_deviation.add((shown_us - due_us) / 1000.0)
        for stamp in self._answered:
            self.input_deviation.add((shown_us - self._clock.us_at(stamp)) / 1000.0 - self._show.picture_ms)
        self._answered.clear()

    def _after_core(self, now_us: float) -> float:
        """Return the present time; after a sleep of us all, once the core has said where show time stands."""
        until_us, clock = now_us + _CORE_US, self._clock
        while clock.followed_us and now_us - clock.followed_us > ASLEEP_US and now_us < until_us:
            sleep(_POLL_US / 1e6)
            now_us = monotonic_us()
        return now_us

    def _skip(self, tick: int, now_us: float) -> int:
        """Return how many ticks of frames are past by a whole frame already; they count as late and held."""
        frame_us = 1e6 / self._show.fps
        behind = int((now_us - self._clock.us_at(seen_at(self._show, tick))) / frame_us)
        if behind <= 0:
            return 0
        self.due += behind
        self.late += behind
        self.held += behind
        return behind * self._show.frame_ticks

    def _listen_until(self, until_us: float, stop: Signal) -> None:
        """Deliver the window's inputs until a time, at least once."""
        while True:
            for us, source, body in self._presenter.inputs():
                self._inbox.put(self._clock.sample_at(us), source, body)
            left_us = until_us - monotonic_us()
            if left_us <= 0.0 or stop.is_set() or self._presenter.closed:
                return
            sleep(min(left_us, _POLL_US) / 1e6)

    @staticmethod
    def _wait_until(until_us: float) -> None:
        """Sleep to half a millisecond before a time, then spin."""
        left_us = until_us - monotonic_us()
        if left_us > _SPIN_US:
            sleep((left_us - _SPIN_US) / 1e6)
        while monotonic_us() < until_us:
            pass
