"""The performer: what files play, and when."""

import json
from contextlib import suppress
from pathlib import Path

import mido
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.events import Body, Control, Event, NoteOff, NoteOn, Release
from engine.core.show import Show
from engine.io.performer import Performance, PerformanceError, Performer, load
from engine.recording import Recorder


def save(path: Path, *tracks: list[mido.Message], **settings: int) -> Path:
    file = mido.MidiFile(**settings)
    for messages in tracks:
        file.tracks.append(mido.MidiTrack(messages))
    file.save(path)
    return path


def test_tempo_map_and_all_tracks(tmp_path: Path) -> None:
    tempi = [
        mido.MetaMessage("set_tempo", tempo=500_000, time=0),
        mido.MetaMessage("set_tempo", tempo=1_000_000, time=480),
    ]
    first = [
        mido.Message("note_on", note=60, velocity=127, time=240),
        mido.Message("note_off", note=60, time=480),
    ]
    second = [mido.Message("control_change", channel=1, control=7, value=127, time=960)]
    path = save(tmp_path / "song.mid", tempi, first, second, ticks_per_beat=480)
    performance = load(path)
    assert performance.events == (
        (12_000, NoteOn(1, 60, 1.0)),
        (24_000 + 24_000, NoteOff(1, 60, 64 / 127)),
        (24_000 + 48_000, Control("/midi/2/cc/7", 1.0)),
    )
    assert performance.length_samples == 24_000 + 48_000 + 1, "to the end of the longest track"


def test_a_recording_gives_what_came_from_outside(tmp_path: Path) -> None:
    path = tmp_path / "night.chladni"
    recorder = Recorder(path, Show(title="night"))
    recorder.start()
    for number, source in enumerate(("midi:keys", "musician", "performer", "osc")):
        recorder.event(Event(number, 7, source, number, NoteOn(1, 60 + number, 0.5)))
    recorder.close(10)
    assert load(path).events == ((7, NoteOn(1, 60, 0.5)), (607, NoteOn(1, 63, 0.5)))
    assert load(path).length_samples == 10 * 200, "with its rest at the end"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"), (b"MThd", "broken"), (b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0\0\x10\0\x90", "broken"),
        (b"MThd\0\0\0\6\0\1\0\0\1\xe0", "nothing to play"), (b"hello", "nor is it a MIDI file"),
        (b"MThd\0\0\0\6\0\0\0\1\xe7\x28MTrk\0\0\0\4\0\xff\x2f\0", "SMPTE"),
        (b"MThd\0\0\0\6\0\2\0\1\1\xe0MTrk\0\0\0\4\0\xff\x2f\0", "format 2"),
    ],
)  # fmt: skip
def test_what_cannot_be_performed_says_so_in_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "x.mid"
    path.write_bytes(content)
    with pytest.raises(PerformanceError, match=reason) as error:
        load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_an_empty_recording(tmp_path: Path) -> None:
    with pytest.raises(PerformanceError, match="No such file"):
        load(tmp_path / "none.mid")
    path = tmp_path / "silent.chladni"
    path.write_text(json.dumps({"chladni": 1, "show": {"title": "silent"}}) + "\n")
    with pytest.raises(PerformanceError, match="nothing to play"):
        load(path)


@given(st.binary(max_size=200))
def test_a_random_track_plays_or_is_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "random.mid"
    path.write_bytes(b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk" + len(data).to_bytes(4, "big") + data)
    with suppress(PerformanceError):
        assert load(path).events


NOTES: tuple[tuple[int, Body], ...] = ((0, NoteOn(1, 60, 1.0)), (500, NoteOff(1, 60, 0.5)))


def test_plays_once_from_where_it_is_begun() -> None:
    performer = Performer(Performance(NOTES, 1000), loop=False)
    assert not performer.playing
    assert performer.due(10_000) == []
    performer.restart(4000)
    assert performer.due(4000) == []
    assert performer.due(4001) == [(4000, NOTES[0][1])]
    assert performer.due(4001) == []
    assert performer.due(90_000) == [(4500, NOTES[1][1])]
    assert performer.playing
    performer.restart(None)
    assert not performer.playing


def test_a_loop_lets_go_before_it_begins_anew() -> None:
    performer = Performer(Performance(NOTES, 1000), loop=True)
    performer.restart(100)
    due = performer.due(2101)
    assert [sample for sample, _ in due] == [100, 600, 1100, 1100, 1600, 2100, 2100]
    assert due[2:4] == [(1100, Release()), (1100, NOTES[0][1])]


@given(st.lists(st.integers(0, 4000), min_size=1, max_size=20), st.lists(st.integers(0, 9000), max_size=20))
def test_however_it_is_asked_it_plays_the_same(times: list[int], asked: list[int]) -> None:
    notes = tuple((at, NoteOn(1, number, 1.0)) for number, at in enumerate(sorted(times)))
    at_once, bit_by_bit = (Performer(Performance(notes, 3000), loop=True) for _ in range(2))
    at_once.restart(0)
    bit_by_bit.restart(0)
    pieces = [event for until in [*sorted(asked), 9000] for event in bit_by_bit.due(until)]
    assert pieces == at_once.due(9000)
    assert pieces == sorted(pieces, key=lambda event: event[0])
