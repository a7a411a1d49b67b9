"""Reading music for training: MIDI files, scores and recordings, their pedals, tables and faults."""

import zipfile
from pathlib import Path

import mido
import numpy as np
import pytest

pytest.importorskip("partitura")

from engine import recording
from engine.core.events import Event, NoteOff, NoteOn, Release, Sustain
from engine.core.show import Show
from models import lyrics, material, midi, musicxml, own_recordings, works
from models.alphabet import Note

SCORE = """<?xml version="1.0" encoding="UTF-8"?>
<score-partwise version="3.1">
<part-list><score-part id="P1"><part-name>Voice</part-name></score-part></part-list>
<part id="P1"><measure number="1">
<attributes><divisions>2</divisions><time><beats>4</beats><beat-type>4</beat-type></time></attributes>
<direction><direction-type><metronome><beat-unit>quarter</beat-unit><per-minute>120</per-minute></metronome>
</direction-type><sound tempo="120"/></direction>
<note><pitch><step>C</step><octave>4</octave></pitch><duration>2</duration><type>quarter</type>
<lyric number="1"><syllabic>begin</syllabic><text>Ro</text></lyric></note>
<note><pitch><step>E</step><octave>4</octave></pitch><duration>2</duration>
<tie type="start"/><type>quarter</type>
<lyric number="1"><syllabic>end</syllabic><text>ses,</text></lyric></note>
<note><pitch><step>E</step><octave>4</octave></pitch><duration>4</duration>
<tie type="stop"/><type>half</type></note>
</measure><measure number="2">
<direction><direction-type><words>slower</words></direction-type><sound tempo="60"/></direction>
<note><pitch><step>G</step><alter>1</alter><octave>4</octave></pitch><duration>8</duration><type>whole</type>
<lyric number="1"><syllabic>single</syllabic><text>roses.</text></lyric></note>
</measure></part></score-partwise>"""


def times(notes: list[Note]) -> list[tuple[float, float, int, int]]:
    return [(round(n.onset_s, 6), round(n.duration_s, 6), n.pitch, n.velocity) for n in notes]


def save(path: Path, *messages: mido.Message, ticks: int = 480) -> None:
    mido.MidiFile(ticks_per_beat=ticks, tracks=[mido.MidiTrack(messages)]).save(path)


def hit(note: int, time: int = 0, channel: int = 0, velocity: int = 80) -> mido.Message:
    return mido.Message("note_on", note=note, time=time, channel=channel, velocity=velocity)


def lift(note: int, time: int = 0, channel: int = 0) -> mido.Message:
    return mido.Message("note_off", note=note, time=time, channel=channel)


def test_a_pedal_holds_notes_until_it_rises_or_they_are_struck_again(tmp_path: Path) -> None:
    save(
        tmp_path / "a.mid",
        mido.MetaMessage("set_tempo", tempo=500_000),
        mido.Message("control_change", control=64, value=127),
        hit(60), lift(60, 480), hit(64, 480, velocity=81), hit(60, 480, velocity=82),
        mido.Message("control_change", control=64, value=0, time=480),
        hit(64, 480, velocity=0), lift(60, 480),
    )  # fmt: skip
    expected = [(0.0, 1.5, 60, 80), (1.0, 1.5, 64, 81), (1.5, 1.5, 60, 82)]
    assert times(midi.read_notes(tmp_path / "a.mid")) == expected


def test_drums_are_channel_10_alone_in_beats_by_general_midi(tmp_path: Path) -> None:
    for name in ("a.mid", "b.mid"):
        save(
            tmp_path / name,
            mido.MetaMessage("set_tempo", tempo=600_000),
            hit(60), hit(22, channel=9), lift(22, 240, channel=9), hit(38, 240, channel=9), lift(60, 480),
        )  # fmt: skip
    read = works.read([tmp_path], None, None, drums=True)
    beat = 60 / works.BPM
    assert [(round(n.onset_s, 6), n.pitch) for n in read[0].notes] == [(0.0, 42), (beat, 38)]
    drums = material.music([tmp_path], drums=True)
    line = drums.line(drums.train[0], np.random.default_rng(0))
    assert not ((line.classes >= 128) & (line.classes < 256)).any()  # no note-offs
    assert drums.facts["notes"] == [38, 42]
    assert [note.pitch for note in midi.read_notes(tmp_path / "a.mid")] == [60]


def test_a_score_is_read_with_ties_accidentals_and_tempo_marks(tmp_path: Path) -> None:
    (tmp_path / "a.musicxml").write_text(SCORE)
    with zipfile.ZipFile(tmp_path / "b.mxl", "w") as archive:
        archive.writestr(
            "META-INF/container.xml",
            '<container><rootfiles><rootfile full-path="s.xml"/></rootfiles></container>',
        )
        archive.writestr("s.xml", SCORE)
    expected = [(0.0, 0.5, 60, 64), (0.5, 1.5, 64, 64), (2.0, 4.0, 68, 64)]
    for name in ("a.musicxml", "b.mxl"):
        assert times(musicxml.read_notes(tmp_path / name)) == expected
        assert lyrics.syllables(lyrics.read(tmp_path / name)) == ["Roses, roses."]


def test_the_performers_notes_of_a_recording_are_read_and_the_musicians_are_not(tmp_path: Path) -> None:
    played = [
        (0, "keys", NoteOn(1, 60, 0.5)), (24, "keys", Sustain(1, 1.0)), (48, "keys", NoteOff(1, 60, 0.5)),
        (60, "musician", NoteOn(1, 72, 0.5)), (60, "performer", NoteOn(1, 73, 0.5)),
        (72, "midi:a", NoteOn(2, 60, 1.0)), (96, "keys", Sustain(1, 0.0)), (120, "midi:a", Release()),
        (130, "midi:a", NoteOn(10, 36, 1.0)),
    ]  # fmt: skip
    for name in ("a.chladni", "b.chladni"):
        recorder = recording.Recorder(tmp_path / name, Show(title="Mine"))
        for sequence, (tick, source, body) in enumerate(played):
            recorder.event(Event(tick, 0, source, sequence, body))
        recorder.start()
        recorder.close(240)
    notes = own_recordings.read_notes(tmp_path / "a.chladni")
    assert times(notes) == [(0.0, 0.4, 60, 64), (0.3, 0.2, 60, 127)]
    assert times(own_recordings.read_notes(tmp_path / "a.chladni", drums=True))[0][2] == 36
    assert len(works.read([tmp_path], None, None)) == 2


def test_bad_music_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        works.read([tmp_path / "nowhere"], None, None)
    with pytest.raises(ValueError, match="0 with notes when split by file"):
        works.read([tmp_path], None, None)
    save(tmp_path / "good.mid", hit(60), lift(60, 480))
    with pytest.raises(ValueError, match="1 with notes"):
        works.read([tmp_path], None, None)
    with pytest.raises(ValueError, match=r"no table \(\.csv\) with the columns \['performer'\]"):
        works.read([tmp_path], None, "performer")
    (tmp_path / "broken.mid").write_bytes((tmp_path / "good.mid").read_bytes()[:30])
    (tmp_path / "text.mid").write_text("not music")
    (tmp_path / "torn.mxl").write_bytes(b"PK\x03\x04")
    (tmp_path / "other.chladni").write_text("{}")
    with pytest.raises(ValueError, match=r"(?s)broken\.mid.*other\.chladni.*text\.mid.*torn\.mxl"):
        works.read([tmp_path], None, None)


def test_a_folder_can_be_the_style_and_the_group(tmp_path: Path) -> None:
    for name in ("jazz/1.mid", "jazz/late/2.mid", "rock/3.mid"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        save(tmp_path / name, hit(60), lift(60, 480))
    read = works.read([tmp_path], works.FOLDER, works.FOLDER)
    assert [(work.style, work.group) for work in read] == [("jazz", "jazz")] * 2 + [("rock", "rock")]


def test_bad_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a readable text"):
        material.text(tmp_path / "nowhere.txt")
    (tmp_path / "one.txt").write_text("one piece alone")
    with pytest.raises(ValueError, match="1 pieces"):
        material.text(tmp_path / "one.txt")
