"""A performance of hours, played, troubled and watched: fails on what grows.

    python tests/soak.py --hours 2 --folder soak

Plays the demonstration without a device, sends notes, controllers and OSC at random, kills or stops a worker
every minute or so, and writes each ten seconds what the processes use and the show has counted to `soak.csv`,
at the end a plot of it to `soak.png`. What is used is counted by part, all lives of a worker as one line.
"""

import argparse
import csv
import os
import random
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from pythonosc.udp_client import SimpleUDPClient  # noqa: E402
from staged import first_light, kill, playing  # noqa: E402

from engine.core.events import Control, NoteOff, NoteOn  # noqa: E402
from engine.session import Session  # noqa: E402

SAMPLE_S, FAULT_S = 10.0, 60.0
PARTS = ("main", "generator", "sound", "musician")
COLUMNS = (
    "seconds", *(f"{part}_mb" for part in PARTS), "handles", "threads",
    "due", "late", "held", "underruns", "late_notes", "restarts", "dropped",
)  # fmt: skip
# What may grow over the second half of a run: MB, handles, threads.
LIMITS = {**{f"{part}_mb": 15.0 for part in PARTS}, "handles": 3.0, "threads": 2.0}


def memory_mb(pid: int | None) -> float:
    """Return the resident memory of a process (a generator's without its understudy), 0 while it is gone."""
    try:
        return float(psutil.Process(pid).memory_info().rss) / 1e6 if pid else 0.0
    except psutil.Error:
        return 0.0


def sample(session: Session, seconds: float) -> dict[str, float]:
    """Return one row."""
    main = psutil.Process()
    usage = {worker.name: memory_mb(worker.pid) for worker in session.workers}
    board, seen = session.sound.board, session.presentation
    return {
        "seconds": seconds,
        "main_mb": main.memory_info().rss / 1e6,
        **{f"{part}_mb": usage.get(part, 0.0) for part in PARTS[1:]},
        "handles": main.num_fds(),
        "threads": main.num_threads(),
        "due": seen.due, "late": seen.late, "held": seen.held,
        "underruns": board["underruns"], "late_notes": board["late_events"],
        "restarts": sum(worker.restarts for worker in session.workers),
        "dropped": session.source.dropped,
    }  # fmt: skip


def disturb(session: Session, chance: random.Random) -> str:
    """Kill or stop a worker; return what was done."""
    worker = chance.choice([worker for worker in session.workers if worker.pid])
    number = chance.choice((signal.SIGKILL, signal.SIGSTOP))
    kill(session, worker.name, number)
    return f"{number.name} {worker.name}"


def play(session: Session, osc: SimpleUDPClient, chance: random.Random) -> None:
    """Send a handful of inputs."""
    now, note = session.clock.now(), chance.randrange(36, 84)
    session.inbox.put(now, "midi:soak", NoteOn(chance.randint(1, 4), note, chance.random()))
    session.inbox.put(now + chance.randrange(48_000), "midi:soak", NoteOff(chance.randint(1, 4), note, 0.5))
    session.inbox.put(now, "midi:soak", Control("/midi/1/cc/1", chance.random()))
    osc.send_message(f"/1/fader{chance.randint(1, 4)}", chance.random())


def grown(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return by how much each limited column grew over the second half, by the line that fits it best.

    A worker that was gone or still loading when it was looked at is left out of that row.
    """
    half = rows[len(rows) // 2 :]
    found = {}
    for name in LIMITS:
        usual = float(np.median([row[name] for row in half]))
        points = [(row["seconds"], row[name]) for row in half if row[name] > 0.8 * usual]
        if len(points) >= 3:
            seconds, values = np.array(points).T
            slope = float(np.polyfit(seconds, values, 1)[0])
            found[name] = slope * float(seconds[-1] - seconds[0])
    return found


def plot(rows: list[dict[str, float]], path: Path) -> None:
    """Draw memory, handles and counters over the minutes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 9), layout="constrained")
    minutes = [row["seconds"] / 60 for row in rows]
    groups: list[tuple[str, tuple[Any, ...]]] = [
        ("MB", tuple(f"{part}_mb" for part in PARTS)),
        ("count", ("handles", "threads", "restarts")),
        ("count", ("late", "held", "underruns", "late_notes", "dropped")),
    ]
    for axes, (unit, names) in zip(figure.subplots(3, 1, sharex=True), groups, strict=True):
        for name in names:
            axes.plot(minutes, [row[name] for row in rows], label=name.replace("_", " "))
        axes.set_ylabel(unit)
        axes.legend(loc="upper left", fontsize="small")
    axes.set_xlabel("minutes")
    figure.savefig(path, dpi=100)


def main() -> int:
    """Soak; return 0 if nothing grew and the recording verifies."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--folder", type=Path, default=Path("soak"))
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    folder, chance = arguments.folder, random.Random(arguments.seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, float]] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    with playing(folder, first_light(osc=listen)) as session, open(folder / "soak.csv", "w") as file:
        assert session.osc is not None
        osc = SimpleUDPClient("127.0.0.1", int(listen.rpartition(":")[2]))
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        begun = time.monotonic()
        sampled, troubled = 0.0, FAULT_S
        while (seconds := time.monotonic() - begun) < 3600 * arguments.hours and not session.stop.is_set():
            play(session, osc, chance)
            if seconds >= sampled:
                rows.append(sample(session, seconds))
                table.writerow({name: f"{value:.1f}" for name, value in rows[-1].items()})
                file.flush()
                sampled += SAMPLE_S
            if seconds >= troubled:
                print(f"{seconds:7.0f} s  {disturb(session, chance)}", flush=True)
                troubled += chance.uniform(0.5, 1.5) * FAULT_S
            time.sleep(chance.uniform(0.02, 0.3))
        ended_early = session.stop.is_set()
    plot(rows, folder / "soak.png")
    growth = grown(rows)
    for name, amount in growth.items():
        print(f"{name:<14} {amount:+8.1f} over the second half (at most {LIMITS[name]:.0f})")
    print(" ".join(f"{name} {rows[-1][name]:.0f}" for name in COLUMNS[7:]))
    from engine.offline import verify
    from engine.recording import read

    verdict = verify(read(folder / "show.chladni"))
    print(f"{verdict.agreed} of {verdict.seconds} digests agree")
    too_much = [name for name, amount in growth.items() if amount > LIMITS[name]]
    if ended_early or too_much or verdict.agreed != verdict.seconds:
        print(f"failed: {'it ended early' if ended_early else ', '.join(too_much) or 'it does not verify'}")
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
