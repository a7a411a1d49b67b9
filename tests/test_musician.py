"""The musician: what it plays, what it remembers, and its process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.events import PhraseNote
from engine.core.units import SAMPLE_RATE, TICK_SAMPLES, TICKS_PER_SECOND
from engine.library import WEIGHTS
from engine.workers.links import HEARD_NOTE_OFF, HEARD_NOTE_ON, HEARD_REQUEST, MusicianLink, musician_link
from engine.workers.musician import (
    NOTES_PER_S,
    POLYPHONY,
    REST_SAMPLES,
    SHIFT_SAMPLES,
    Memory,
    Musician,
    MusicianConfig,
    Network,
    compose,
    generate,
    run,
)
from engine.workers.shared import SPAWN

FOLDER = WEIGHTS / "piano"
PHRASE = 300  # ticks: two beats at 96 bpm


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(FOLDER)


def start_of(note: PhraseNote) -> int:
    return note.tick * TICK_SAMPLES + note.offset


def end_of(note: PhraseNote) -> int:
    return start_of(note) + note.length_ticks * TICK_SAMPLES


def same(a: Memory, b: Memory) -> bool:
    arrays = zip((a.logits, *a.state), (b.logits, *b.state), strict=True)
    return all(np.array_equal(*pair) for pair in arrays) and (a.at, a.velocity) == (b.at, b.velocity)


def check_music(notes: list[PhraseNote], begin: int, end: int) -> None:
    """Assert what holds for every phrase, whatever the network has learnt."""
    assert notes == sorted(notes, key=lambda note: (note.tick, note.offset, note.note))
    for note in notes:
        assert begin <= start_of(note) < end
        assert 0 <= note.offset < TICK_SAMPLES
        assert 0 <= note.note <= 127
        assert 0.0 < note.velocity <= 1.0
        assert 1 <= note.length_ticks <= 4 * TICKS_PER_SECOND
    assert len(notes) <= NOTES_PER_S * (end - begin) / SAMPLE_RATE + 1
    for note in notes:
        assert sum(start_of(o) <= start_of(note) < end_of(o) - TICK_SAMPLES for o in notes) <= 2 * POLYPHONY


def test_it_plays_on_its_own_the_same_for_the_same_seed() -> None:
    notes = generate(FOLDER, 12.0, seed=3)
    assert notes == generate(FOLDER, 12.0, seed=3)
    assert notes != generate(FOLDER, 12.0, seed=4)
    check_music(notes, 0, 12 * SAMPLE_RATE)
    sounding_until = 0
    for note in notes:  # no rest is longer than the longest rest and one time shift
        assert start_of(note) - sounding_until <= REST_SAMPLES + SAMPLE_RATE
        sounding_until = max(sounding_until, end_of(note))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**64 - 1), temperature=st.floats(0.0, 4.0), begin=st.integers(0, 2**40),
    ticks=st.integers(1, 1500), scale=st.floats(0.0, 50.0),
)  # fmt: skip
def test_whatever_the_network_wishes_the_phrase_is_music(
    network: Network, seed: int, temperature: float, begin: int, ticks: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    wishes = (scale * rng.standard_normal(388)).astype(np.float32)
    memory = replace(network.fresh(), logits=wishes, at=begin, quiet_from=begin)
    end, steps = begin + ticks * TICK_SAMPLES, network.steps
    notes, after = compose(network, memory, end, temperature, rng)
    check_music(notes, begin, end)
    assert all(end_of(note) <= max(end, start_of(note) + SAMPLE_RATE // 50) + TICK_SAMPLES for note in notes)
    assert after.at == end
    assert network.steps - steps < 600


def test_a_rest_ends(network: Network) -> None:
    wishes = np.zeros(388, np.float32)
    wishes[256:356] = 60.0  # nothing but time shifts
    rested = replace(network.fresh(), logits=wishes, at=48_000, quiet_from=48_000 - REST_SAMPLES)
    for seed in range(5):
        notes, _ = compose(network, rested, 96_000, 1.0, np.random.default_rng(seed))
        assert start_of(notes[0]) == 48_000


def test_phrases_follow_each_other_and_its_first_note_comes_on_the_beat(network: Network) -> None:
    musician = Musician(network, 5)
    for request in range(1, 9):
        begin, end = request * PHRASE * TICK_SAMPLES, (request + 1) * PHRASE * TICK_SAMPLES
        notes = musician.answer(request, begin, end, 0.95)
        check_music(notes, begin, end)
        assert musician._memory.at == end
        if request == 1:
            assert start_of(notes[0]) == begin  # it has waited long enough


def test_what_the_performer_plays_changes_the_answer(network: Network) -> None:
    answers = []
    for pitches in ((60, 64, 67), (61, 66, 70), (60, 64, 67)):
        musician = Musician(network, 5)
        for number, pitch in enumerate(pitches):
            musician.hear(number * 12_000, True, pitch, 0.7)
            musician.hear(number * 12_000 + 9_000, False, pitch, 0.0)
        answers.append(musician.answer(1, 96_000, 192_000, 1.0))
    assert answers[0] == answers[2] != answers[1]


def test_time_is_heard_in_steps_of_ten_milliseconds_without_drift(network: Network) -> None:
    memory = network.fresh()
    for number in range(1, 400):  # 6.7 ms apart
        memory = network.hear(memory, number * 320, number % 2 == 1, 60, 0.5)
        assert abs(memory.at - number * 320) <= SHIFT_SAMPLES / 2


def test_phrases_that_nobody_will_hear_are_forgotten(network: Network) -> None:
    cut, plain = Musician(network, 1), Musician(network, 1)
    for musician in (cut, plain):
        musician.hear(0, True, 60, 0.8)
        musician.hear(20_000, False, 60, 0.0)
    cut.answer(1, 60_000, 120_000, 1.0)
    cut.answer(2, 120_000, 180_000, 1.0)
    for musician in (cut, plain):
        musician.hear(50_000, True, 62, 0.8)
    assert same(cut._memory, plain._memory)

    begun, one = Musician(network, 1), Musician(network, 1)
    for musician in (begun, one):
        musician.answer(1, 60_000, 120_000, 1.0)
    begun.answer(2, 120_000, 180_000, 1.0)
    for musician in (begun, one):
        musician.hear(90_000, True, 62, 0.8)
    assert same(begun._memory, one._memory)
    assert not same(begun._memory, plain._memory)


def test_a_broken_memory_is_counted_and_begun_anew() -> None:
    network = Network(FOLDER)
    broken = replace(network.fresh(), state=tuple(np.full_like(s, np.nan) for s in network.fresh().state))
    notes, after = compose(network, broken, 4 * SAMPLE_RATE, 1.0, np.random.default_rng(0))
    assert notes == []
    assert network.errors == 1
    assert np.isfinite(after.logits).all()
    musician = Musician(network, 1)
    musician._memory = replace(broken, at=0)
    musician.hear(1000, True, 60, 0.5)
    assert network.errors == 2
    assert musician.answer(1, 48_000, 96_000, 1.0)


@pytest.fixture
def link() -> MusicianLink:
    return musician_link()


@pytest.fixture
def worker(link: MusicianLink) -> Iterator[BaseProcess]:
    process = SPAWN.Process(target=run, args=(link, MusicianConfig(FOLDER, seed=9)), daemon=True)
    process.start()
    try:
        until(lambda: link.board["ready"] == 1.0, 30.0)
        yield process
    finally:
        process.kill()
        process.join(5.0)


def until(true: object, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.005)


def phrase_of(link: MusicianLink, request: int, start: int) -> list[PhraseNote]:
    """Ask for a phrase of two beats and wait for all of it."""
    assert link.heard.push(start, 0, HEARD_REQUEST, -1, 0.0, request, start + PHRASE, 1.0)
    notes: list[PhraseNote] = []
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        link.phrases.wait(0.1)
        for answered, tick, offset, note, velocity, length in link.phrases.pop_all():
            assert answered == request
            if note == -1:
                return notes
            notes.append(PhraseNote(tick, offset, note, velocity, length))
    raise AssertionError(f"request {request} was not answered")


def test_its_process_hears_and_answers(link: MusicianLink, worker: BaseProcess) -> None:
    for number in range(8):
        assert link.heard.push(30 * number, 17, HEARD_NOTE_ON, 60 + number, 0.6, 0, 0, 0.0)
        assert link.heard.push(30 * number + 25, 3, HEARD_NOTE_OFF, 60 + number, 0.0, 0, 0, 0.0)
    twin = Musician(Network(FOLDER), 9)
    for number in range(8):
        twin.hear(30 * number * TICK_SAMPLES + 17, True, 60 + number, 0.6)
        twin.hear((30 * number + 25) * TICK_SAMPLES + 3, False, 60 + number, 0.0)
    for request in range(1, 11):
        start = 600 + request * PHRASE
        notes = phrase_of(link, request, start)
        begin, end = start * TICK_SAMPLES, (start + PHRASE) * TICK_SAMPLES
        check_music(notes, begin, end)
        assert notes == twin.answer(request, begin, end, 1.0)
    until(lambda: link.board["phrases"] == 10.0, 1.0)
    assert 0.0 < link.board["step_us"] < 1e5
    assert link.board["errors"] == 0.0
    assert psutil.Process(worker.pid).nice() >= 5
    beat = link.board["heartbeat_us"]
    until(lambda: link.board["heartbeat_us"] > beat, 2.0)


def test_its_process_survives_nonsense_and_ctrl_c(link: MusicianLink, worker: BaseProcess) -> None:
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGINT)
    link.heard.push(0, 0, HEARD_NOTE_ON, 9999, 0.5, 0, 0, 0.0)
    until(lambda: link.board["errors"] == 1.0, 5.0)
    link.heard.push(900, 0, HEARD_REQUEST, -1, 0.0, 1, 100, 1.0)  # ends before it begins
    until(lambda: link.board["phrases"] == 1.0, 5.0)
    assert [record[3] for record in link.phrases.pop_all()] == [-1]
    check_music(phrase_of(link, 2, 900), 900 * TICK_SAMPLES, (900 + PHRASE) * TICK_SAMPLES)
    link.board["stop"] = 1.0
    worker.join(5.0)
    assert worker.exitcode == 0


def test_its_process_ends_with_its_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, sys, time, pathlib\n"
        "from engine.workers import links, musician, shared\n"
        "if __name__ == '__main__':\n"
        "    link = links.musician_link()\n"
        "    config = musician.MusicianConfig(pathlib.Path(sys.argv[1]))\n"
        "    child = shared.SPAWN.Process(target=musician.run, args=(link, config))\n"
        "    child.start()\n"
        "    while not link.board['ready']: time.sleep(0.01)\n"
        "    print(child.pid, flush=True)\n"
        "    os._exit(0)\n"
    )
    root = Path(__file__).resolve().parent.parent
    parent = subprocess.run(
        [sys.executable, str(script), str(FOLDER)], stdout=subprocess.PIPE, timeout=30, check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    pid = int(parent.stdout)
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", 5.0)


def test_a_folder_without_a_musician_is_named(tmp_path: Path) -> None:
    with pytest.raises((OSError, ValueError)):
        Network(tmp_path)
