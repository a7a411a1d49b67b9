"""What a stage does to a show, done to it: each part killed, stopped or spoiled, while it plays.

The tests play whole performances and break them from inside (`staged`) or from outside. `make faults` does
the same at length.
"""

import signal
import time
from pathlib import Path

from staged import kill, playing, until


def test_a_generator_that_is_killed_or_hangs_is_followed_by_its_understudy(tmp_path: Path) -> None:
    with playing(tmp_path) as session:
        worker, board, seen = session.casting.workers[0], session.generator.board, session.presentation
        for number in (signal.SIGKILL, signal.SIGSTOP):
            until(lambda: board["understudy"], 60)
            time.sleep(0.5)
            restarts, held = worker.restarts, seen.held
            kill(session, "generator", number)
            until(lambda before=restarts: worker.restarts > before, 10)
            shown = seen.shown
            until(lambda before=shown: seen.shown > before + 10, 20)
            print(f"{number.name}: {seen.held - held} held")  # at most 2 where the machine is free
            assert seen.held - held < 60
        assert worker.restarts == 2
        assert board["errors"] == 0
