"""Swaps on stage, one after another: when frames were late, beside a show that swaps nothing.

    python tests/swaps.py --swaps 10 impressionism planets

Plays the demonstration without a device, without its performer, and asks for each of the generators in turn.
`loading` lasts from the wish to the entrance, `entering` a second more than the crossfade and the picture's
way take, `after` the ten seconds in which the one before leaves and an understudy is loaded. Run it on a
machine that does nothing else.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from staged import first_light, playing, until  # noqa: E402

from engine.core.events import Refuse, Swap  # noqa: E402
from engine.core.units import TICKS_PER_SECOND  # noqa: E402
from engine.session import Session  # noqa: E402

ALONE_S, AFTER_S = 20.0, 10.0
PATIENCE_S = 120.0  # for a generator to be loaded


class Tally:
    """Seconds, and frames due, late and held, by what went on."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._before = self._counts()
        self.rows: dict[str, list[float]] = {}

    def _counts(self) -> tuple[float, ...]:
        seen = self._session.presentation
        return time.monotonic(), seen.due, seen.late, seen.held

    def credit(self, what: str) -> None:
        """Count all since the last time for `what`."""
        after = self._counts()
        row = self.rows.setdefault(what, [0.0] * len(after))
        self.rows[what] = [sum(each) - begun for *each, begun in zip(row, after, self._before, strict=True)]
        self._before = after


def swap(session: Session, name: str, tally: Tally) -> None:
    """Have a generator enter; SystemExit where it is refused."""
    seen = len(session.casting.history)
    session.inbox.put(session.clock.now(), "keys", Swap(name))
    until(lambda: len(session.casting.history) > seen, PATIENCE_S)
    tally.credit("loading")
    entered = session.casting.history[-1][1]
    if isinstance(entered, Refuse):
        raise SystemExit(f"{name} is refused: {entered.reason}")
    time.sleep(1.0 + entered.fade_ticks / TICKS_PER_SECOND + session.show.picture_ms / 1000.0)
    tally.credit("entering")
    time.sleep(AFTER_S)
    tally.credit("after")


def main() -> None:
    """Swap, and print what was late."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("generators", nargs="*", default=["planets", "impressionism"])
    parser.add_argument("--swaps", type=int, default=10)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        playing(Path(folder), first_light(), attended=True) as session,
    ):
        time.sleep(AFTER_S)  # its own understudy is loaded
        tally = Tally(session)
        time.sleep(ALONE_S)
        tally.credit("alone")
        for number in range(arguments.swaps):
            swap(session, arguments.generators[number % len(arguments.generators)], tally)
        for what, (seconds, due, late, held) in tally.rows.items():
            print(
                f"{what:9} {seconds:6.1f} s   due {due:5.0f}   late {late:4.0f}   held {held:4.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
