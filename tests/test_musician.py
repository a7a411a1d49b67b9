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

from engine.core.events import Answers, Phrase, PhraseNote
from engine.core.harmony import CLOSEST, FARTHEST, VOICES
from engine.core.jobs import Ask, Heard
from engine.core.scale import ALL
from engine.core.units import SAMPLE_RATE, TICK_SAMPLES, TICKS_PER_SECOND
from engine.library import WEIGHTS
from engine.workers.links import MusicianLink, PlayedReader, musician_link, pack_heard
from engine.workers.musician import (
    NOTES_PER_S,
    POLYPHONY,
    REMEMBERED,
    REST_SAMPLES,
    Memory,
    Musician,
    MusicianConfig,
    Network,
    compose,
    generate,
    plain,
    run,
    within,
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
    arrays = (a.logits, b.logits), (a.state, b.state)
    return all(np.array_equal(*pair) for pair in arrays) and (a.at, a.velocity) == (b.at, b.velocity)


def ask(request: int, begin: int, end: int, temperature: float = 1.0, **wishes: object) -> Ask:
    """Return what is asked for between two ticks."""
    return replace(plain(request, begin, end, temperature), **wishes)  # type: ignore[arg-type]


def play(musician: Musician, *notes: tuple[int, int, int]) -> None:
    """Let the musician hear notes of (sample down, sample up, pitch)."""
    for down, up, pitch in notes:
        musician.hear(Heard(down, True, pitch, 0.7))
        musician.hear(Heard(up, False, pitch, 0.0))


def memory_of(musician: Musician, sample: int) -> Memory:
    return musician._memory(sample)


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
    seed=st.integers(0, 2**64 - 1), temperature=st.floats(0.0, 4.0), begin=st.integers(0, 2**32),
    ticks=st.integers(1, 1500), scale=st.floats(0.0, 50.0), density=st.sampled_from([0.0, 0.5, 8.0]),
    allowed=st.integers(0, ALL), low=st.integers(0, 90),
)  # fmt: skip
def test_whatever_the_network_wishes_the_phrase_is_music(
    network: Network, seed: int, temperature: float, begin: int, ticks: int, scale: float, density: float,
    allowed: int, low: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    wishes = (scale * rng.standard_normal(388)).astype(np.float32)
    at = float(begin * TICK_SAMPLES)
    memory = network.fresh()._replace(logits=wishes, at=at, quiet_from=at)
    asked = ask(1, begin, begin + ticks, temperature, density=density, scale=allowed, low=low, high=low + 30)
    begin, end, steps = begin * TICK_SAMPLES, (begin + ticks) * TICK_SAMPLES, network.steps
    notes, moments = compose(network, memory, asked, rng)
    check_music(notes, begin, end)
    assert all(low <= note.note <= low + 30 and allowed >> note.note % 12 & 1 for note in notes)
    seconds = (end - begin) / SAMPLE_RATE
    assert not density or len(notes) <= max(1, 2 * density) * (seconds // 2 + 1)
    assert [moment.at for moment in moments] == sorted(moment.at for moment in moments)
    assert sum(moment.strikes for moment in moments) == len(notes)
    assert network.steps - steps < 600


@given(st.integers(0, 2**32), st.floats(0.0, 1.0))
@settings(max_examples=50, deadline=None)
def test_each_kind_of_event_keeps_its_share_or_is_waited_for(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    weights = np.exp(rng.normal(0.0, 1.0, 388)).astype(np.float32)
    allowed, kinds = (rng.random(388) < share).astype(np.float32), tuple(rng.random(4) < 0.7)
    left = within(weights, allowed, kinds)
    assert not left[allowed == 0.0].any()
    begins = np.array([0, 128, 256, 356])
    wanted, found = (np.add.reduceat(each, begins) for each in (weights, left))
    possible = np.logical_or.reduceat(allowed > 0.0, begins) & kinds
    if possible[2]:  # a time shift
        wanted[2] += wanted[~possible].sum()
    if possible.any():
        np.testing.assert_allclose(found, np.where(possible, wanted, 0.0), rtol=1e-3)


def test_notes_ring_on_into_the_next_phrase_and_the_network_knows(network: Network) -> None:
    musician, notes = Musician(network, 2), list[PhraseNote]()
    for request in range(1, 13):
        begin = request * PHRASE
        phrase = musician.answer(ask(request, begin, begin + PHRASE))
        assert all(begin <= note.tick < begin + PHRASE for note in phrase)
        notes += phrase
    assert any(end_of(note) > (note.tick // PHRASE + 1) * PHRASE * TICK_SAMPLES + 9600 for note in notes)
    for one in notes:  # no key is struck that is down
        later = [note for note in notes if note.note == one.note and start_of(note) > start_of(one)]
        assert all(start_of(note) >= end_of(one) - SAMPLE_RATE // 50 for note in later)  # as short as heard
    row = [moment for moment in musician._moments if moment.event >= 0]
    assert sum(moment.strikes for moment in row) == len(notes)
    assert len(row) == 2 * len(notes), "each key that went down goes up"


def test_a_rest_ends(network: Network) -> None:
    wishes = np.zeros(388, np.float32)
    wishes[256:356] = 60.0  # nothing but time shifts
    rested = network.fresh()._replace(logits=wishes, at=48_000, quiet_from=48_000 - REST_SAMPLES)
    for seed in range(5):
        notes, _ = compose(network, rested, ask(1, 240, 480), np.random.default_rng(seed))
        assert start_of(notes[0]) == 48_000


def test_phrases_follow_each_other_and_its_first_note_comes_on_the_beat(network: Network) -> None:
    musician = Musician(network, 5)
    for request in range(1, 9):
        begin, end = request * PHRASE, (request + 1) * PHRASE
        notes = musician.answer(ask(request, begin, end, 0.95))
        check_music(notes, begin * TICK_SAMPLES, end * TICK_SAMPLES)
        if request == 1:
            assert start_of(notes[0]) == begin * TICK_SAMPLES  # it has waited long enough


def test_what_the_performer_plays_changes_the_answer(network: Network) -> None:
    answers = []
    for pitches in ((60, 64, 67), (61, 66, 70), (60, 64, 67)):
        musician = Musician(network, 5)
        play(musician, *((n * 12_000, n * 12_000 + 9_000, pitch) for n, pitch in enumerate(pitches)))
        answers.append(musician.answer(ask(1, 480, 960)))
    assert answers[0] == answers[2] != answers[1]


def test_time_is_heard_in_steps_of_ten_milliseconds_without_drift(network: Network) -> None:
    memory = network.fresh()
    for number in range(1, 400):  # 6.7 ms apart
        memory = network.hear(memory, number * 320, 60 if number % 2 else 188, 372)
        assert abs(memory.at - number * 320) <= network.shift_samples / 2


def test_a_phrase_anew_is_as_if_what_it_replaces_had_never_been(network: Network) -> None:
    """The first two notes are heard alike; of what was promised only what comes before the new one stays."""
    first, second = (0, 20_000, 60), (50_000, 55_000, 62)
    cut, fresh = Musician(network, 1), Musician(network, 1)
    play(cut, first)
    cut.answer(ask(1, 300, 600))
    cut.answer(ask(2, 600, 900))
    play(cut, second)
    play(fresh, first, second)
    assert same(memory_of(cut, 55_000), memory_of(fresh, 55_000))
    assert cut.answer(ask(3, 290, 600)) == fresh.answer(ask(3, 290, 600))

    kept, plain_one = Musician(network, 1), Musician(network, 1)
    for musician in (kept, plain_one):
        musician.answer(ask(1, 300, 600))
    kept.answer(ask(2, 600, 900))
    for musician in (kept, plain_one):
        play(musician, (90_000, 91_000, 62))
    assert kept.answer(ask(3, 600, 900)) == plain_one.answer(ask(3, 600, 900))
    assert kept.answer(ask(4, 450, 700)) != plain_one.answer(ask(4, 700, 950))


def test_it_knows_what_it_promised_when_the_performer_comes_between(network: Network) -> None:
    """Notes of both are one row in time: heard in one go they leave the same memory."""
    musician = Musician(network, 3)
    promised = musician.answer(ask(1, 300, 900))
    play(musician, (70_000, 75_000, 64), (100_000, 101_000, 65))
    row = [moment for moment in musician._moments if moment.event >= 0]
    assert [moment.at for moment in row] == sorted(moment.at for moment in row)
    assert len(row) == 2 * len(promised) + 4
    known = memory_of(musician, round(row[-1].at) + 1)
    first = next(number for number, moment in enumerate(row) if not moment.own)
    memory = row[first - 1].memory
    assert memory is not None
    for moment in row[first:]:
        memory = network.hear(memory, moment.at, moment.event, moment.velocity)
        assert moment.memory is not None
    assert same(known, memory), "what was promised after the performer's note is known anew"


def test_however_long_it_plays_it_remembers_no_more(network: Network) -> None:
    musician = Musician(network, 1)
    for request in range(1, 120):
        musician.answer(ask(request, 200 * request, 200 * request + 200, 1.3))
        musician.hear(Heard(200 * request * TICK_SAMPLES + 30, True, 60, 0.5))
        musician.hear(Heard(200 * request * TICK_SAMPLES + 500, False, 60, 0.0))
    assert len(musician._moments) <= REMEMBERED


def test_a_density_holds_across_plans_anew(network: Network) -> None:
    musician, begins = Musician(network, 3), list[int]()
    for request in range(1, 41):  # a plan anew each quarter of a second
        notes = musician.answer(ask(request, 60 * request, 60 * request + 480, density=3.0))
        begins += [start_of(note) for note in notes if note.tick < 60 * request + 60]
    assert len(begins) <= 3 * 10 + 6
    assert len(begins) > 10


def test_its_wishes_change_the_notes(network: Network) -> None:
    def plays(**wishes: object) -> list[PhraseNote]:
        musician = Musician(network, 4)
        asks = (ask(n, 300 * n, 300 * n + 300, **wishes) for n in range(1, 13))  # type: ignore[arg-type]
        return [note for each in asks for note in musician.answer(each)]

    def variety(notes: list[PhraseNote]) -> float:
        return len({note.note for note in notes}) / len(notes)

    usual = plays()
    assert variety(plays(temperature=0.2)) < variety(usual) < variety(plays(temperature=1.6))
    assert variety(plays(top_p=0.3)) < variety(usual)
    assert len(plays(density=2.0)) < len(usual) / 2
    low, high = (np.mean([note.note for note in plays(low=n, high=n + 48)]) for n in (24, 60))
    assert low < high - 12
    assert plays(style=1.0) != plays(style=3.0) != usual


def test_a_drummer_plays_what_it_knows_in_the_time_of_the_beat() -> None:
    network = Network(FOLDER)
    kit = (36, 38, 42)
    network.model = network.model.model_copy(
        update={"channel": 10, "notes": kit, "note_offs": False, "bpm": 120.0}
    )
    musician = Musician(network, 3)
    musician.hear(Heard(0, True, 60, 0.5))
    assert len(musician._moments) == 1, "no drum: it hears drums alone"
    musician.hear(Heard(0, True, 36, 0.5, drum=True))
    assert len(musician._moments) == 2
    for bpm, shift_samples in ((120.0, 480.0), (60.0, 960.0)):
        asked = ask(1, 480, 480 + round(480 * 240 / bpm), scale=1, low=0, high=1, bpm=bpm)
        notes = Musician(network, 3).answer(asked)
        assert len(notes) > 2
        assert {note.note for note in notes} <= set(kit), "whatever the scale is"
        assert all(note.length_ticks == TICKS_PER_SECOND // 10 for note in notes)
        assert network.shift_samples == shift_samples, "half the tempo, twice the time"


def test_answers_for_every_note_that_may_come(network: Network) -> None:
    musician = Musician(network, 2)
    play(musician, (0, 9000, 72), (10_000, 19_000, 76))
    major = sum(1 << step for step in (0, 2, 4, 5, 7, 9, 11))
    answers = musician.answers(ask(1, 100, 100, answers=True, scale=major))
    assert answers == musician.answers(ask(1, 100, 100, answers=True, scale=major))
    assert len(answers) == 12
    for pitch_class, steps in enumerate(answers):
        note = next(n for n in range(70, 82) if n % 12 == pitch_class)
        assert 1 <= len(steps) <= VOICES
        assert all(CLOSEST <= step <= FARTHEST for step in steps)
        assert all(major >> (note - step) % 12 & 1 for step in steps)
    assert len({tuple(steps) for steps in answers}) > 3, "what it sings depends on the note"


def test_a_broken_memory_is_counted_and_begun_anew() -> None:
    network = Network(FOLDER)
    fresh = network.fresh()
    broken = fresh._replace(state=np.full_like(fresh.state, np.nan))
    notes, (moment,) = compose(network, broken, ask(1, 0, 960), np.random.default_rng(0))
    assert notes == []
    assert network.errors == 1
    assert moment.memory is not None
    assert np.isfinite(moment.memory.logits).all()
    musician = Musician(network, 1)
    musician._moments[0].memory = broken
    musician.hear(Heard(1000, True, 60, 0.5))
    assert network.errors == 2
    assert musician.answer(ask(1, 240, 480))


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


def answer_of(link: MusicianLink, asked: Ask) -> Phrase | Answers:
    """Ask, and wait for all of the answer."""
    assert link.heard.push(*pack_heard(asked))
    reader, deadline = PlayedReader(), time.monotonic() + 10.0
    while time.monotonic() < deadline:
        link.played.wait(0.1)
        for record in link.played.pop_all():
            if (body := reader.take(record)) is not None:
                assert body.request == asked.request
                return body
    raise AssertionError(f"request {asked.request} was not answered")


def test_its_process_hears_and_answers(link: MusicianLink, worker: BaseProcess) -> None:
    twin = Musician(Network(FOLDER), 9)
    for number in range(8):
        for heard in (
            Heard(6000 * number + 17, True, 60 + number, 0.6),
            Heard(6000 * number + 5003, False, 60 + number, 0.0),
        ):
            assert link.heard.push(*pack_heard(heard))
            twin.hear(heard)
    for request in range(1, 11):
        start = 600 + request * PHRASE
        asked = ask(request, start, start + PHRASE)
        phrase = answer_of(link, asked)
        assert isinstance(phrase, Phrase)
        check_music(list(phrase.notes), start * TICK_SAMPLES, (start + PHRASE) * TICK_SAMPLES)
        assert list(phrase.notes) == twin.answer(asked)
    answers = answer_of(link, ask(3, start, start, answers=True))
    assert isinstance(answers, Answers)
    assert [list(steps) for steps in answers.semitones] == twin.answers(ask(3, start, start, answers=True))
    until(lambda: link.board["phrases"] == 10.0, 1.0)
    assert 0.0 < link.board["step_us"] < 1e5
    assert link.board["errors"] == 0.0
    assert psutil.Process(worker.pid).nice() >= 5
    beat = link.board["heartbeat_us"]
    until(lambda: link.board["heartbeat_us"] > beat, 2.0)


def test_its_process_survives_nonsense_and_ctrl_c(link: MusicianLink, worker: BaseProcess) -> None:
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGINT)
    link.heard.push(*pack_heard(Heard(0, True, 60, float("nan"))))
    until(lambda: link.board["errors"] == 1.0, 5.0)
    assert answer_of(link, ask(1, 900, 100)) == Phrase(1, 1, ()), "it ends before it begins"
    assert answer_of(link, ask(1, 900, 1200, scale=0)) == Phrase(1, 1, ()), "no note is allowed"
    phrase = answer_of(link, ask(2, 900, 900 + PHRASE))
    assert isinstance(phrase, Phrase)
    check_music(list(phrase.notes), 900 * TICK_SAMPLES, (900 + PHRASE) * TICK_SAMPLES)
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
