"""Renders each mode of playing together to sound and MIDI, and prints what was played: `make modes`.

The recorded performer of shows/first_light.toml plays, again and again; the musician answers within ten
milliseconds of the show's time, each performance is recorded and verified.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

import av
import mido
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from engine import library, offline
from engine.core.advance import close, open_tick, receive
from engine.core.events import Answers, Event, Go, Phrase
from engine.core.jobs import Heard, SoundEvent, SoundKind
from engine.core.parameters import MODES
from engine.core.show import Show, parse
from engine.core.state import MUSICIAN, PERFORMER, STAGE, ShowState, initial
from engine.core.units import SAMPLE_RATE, TICK_SAMPLES, TICKS_PER_SECOND, samples_from_ms
from engine.io.performer import Performer, load
from engine.recording import Recorder, read
from engine.render.soundfont import instruments
from engine.render.synth import render_block
from engine.workers.musician import Musician, Network
from models import manifest

ROOT = Path(__file__).parent.parent
ANSWER_TICKS = 2
BLOCK_TICKS = 8
TICKS_PER_BEAT = 480  # of the MIDI file
WHO = (PERFORMER, MUSICIAN)


def show_for(mode: str, musician: str) -> Show:
    """Return first_light with one cue: the mode."""
    show = parse((ROOT / "shows/first_light.toml").read_text(), "first_light.toml")
    cue = {"number": 1, "fade_s": 0, "levels": {"musician.mode": mode}}
    return Show.model_validate(show.model_dump(by_alias=True) | {"cue": [cue], "musician": musician})


def perform(show: Show, ticks: int, solo: bool, recorder: Recorder) -> Iterator[ShowState]:
    """Yield the state after each tick, its jobs in it; the musician is asked in the same process."""
    folder, _ = library.find(show.musician or "", manifest.Musician)
    musician = Musician(Network(folder), show.seed)
    performer = Performer(load(ROOT / "shows/first_light.chladni"), loop=True)
    performer.restart(None if solo else 0)
    waiting: list[tuple[int, Phrase | Answers]] = []
    state, sequence = initial(show), 0
    for tick in range(ticks):
        happened: list[tuple[int, str, Any]] = [(0, STAGE, Go())] if tick == 0 else []
        happened += ((tick * TICK_SAMPLES, MUSICIAN, body) for at, body in waiting if at <= tick)
        waiting = [(at, body) for at, body in waiting if at > tick]
        happened += ((at, PERFORMER, body) for at, body in performer.due((tick + 1) * TICK_SAMPLES))
        state = open_tick(state)
        for sample, source, body in happened:
            event = Event(tick, sample - tick * TICK_SAMPLES, source, sequence, body)
            recorder.event(event)
            state, sequence = receive(show, state, event), sequence + 1
        state = close(show, state)
        for job in state.heard:
            if isinstance(job, Heard):
                musician.hear(job)
            elif job.answers:
                semitones = tuple(map(tuple, musician.answers(job)))
                waiting.append((tick + ANSWER_TICKS, Answers(job.request, semitones)))
            else:
                phrase = Phrase(job.request, musician.channel, tuple(musician.answer(job)))
                waiting.append((tick + ANSWER_TICKS, phrase))
        if state.tick % TICKS_PER_SECOND == 0:
            recorder.digest(state.tick, state.digest())
        yield state


@dataclass
class Notes:
    """The notes of one of the two: (begin and end in samples, pitch, velocity 0 to 1), as they end."""

    ended: list[tuple[int, int, int, float]] = field(default_factory=list)
    sounding: dict[tuple[int, int], tuple[int, float]] = field(default_factory=dict)

    def take(self, event: SoundEvent, sample: int) -> None:
        """Take in a note that begins or ends."""
        key = (event.lane, event.note)
        if key in self.sounding:
            begin, velocity = self.sounding.pop(key)
            self.ended.append((begin, sample, event.note, velocity))
        if event.kind == SoundKind.NOTE_ON:
            self.sounding[key] = (sample, event.value)

    def row(self, seconds: float, theirs: "Notes") -> str:
        """Return the statistics as a row of a table."""
        if not self.ended:
            return "0 | | | | | | |"
        notes = sorted(self.ended)
        begins = sorted({begin for begin, *_ in notes})
        gaps = [(b - a) / SAMPLE_RATE for a, b in pairwise(begins)] or [0.0]
        pitches = [pitch for _, _, pitch, _ in notes]
        busy = {second for begin, end, *_ in theirs.ended for second in _tenths(begin, end)}
        together = {second for begin, end, *_ in notes for second in _tenths(begin, end)}
        shared = len(together & busy) / max(len(together), 1)
        return (
            f"{len(notes)} | {len(notes) / seconds:.2f} | "
            f"{min(pitches)}-{max(pitches)}, mean {mean(pitches):.1f} | "
            f"{127 * mean(velocity for *_, velocity in notes):.0f} | "
            f"{median((end - begin) / SAMPLE_RATE for begin, end, *_ in notes):.2f} | "
            f"{median(gaps):.2f} / {max(gaps):.1f} | {100 * shared:.0f} % |"
        )


def _tenths(begin: int, end: int) -> range:
    return range(begin * 10 // SAMPLE_RATE, end * 10 // SAMPLE_RATE + 1)


class SoundFile:
    """An AAC file (.m4a) that grows block by block."""

    def __init__(self, path: Path) -> None:
        self._file = av.open(str(path), "w", format="mp4")
        self._stream: Any = self._file.add_stream("aac", rate=SAMPLE_RATE)
        self._stream.layout, self._stream.bit_rate = "stereo", 160_000
        self._samples = 0

    def write(self, block: NDArray[np.float32]) -> None:
        """Append sound, float32 (samples, 2)."""
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block.T), "fltp", "stereo")
        frame.sample_rate, frame.pts = SAMPLE_RATE, self._samples
        self._samples += len(block)
        self._file.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what the encoder still holds."""
        self._file.mux(self._stream.encode(None))
        self._file.close()


def write_midi(path: Path, notes: dict[str, Notes], bpm: float) -> None:
    """Write a track for each of the two, at the show's tempo."""
    file = mido.MidiFile(ticks_per_beat=TICKS_PER_BEAT)
    scale = TICKS_PER_BEAT * bpm / 60.0 / SAMPLE_RATE
    for channel, (name, played) in enumerate(notes.items()):
        moments = [(begin, 1, pitch, max(1, round(127 * v))) for begin, _, pitch, v in played.ended]
        moments += [(end, 0, pitch, 0) for _, end, pitch, _ in played.ended]
        track = mido.MidiTrack([mido.MetaMessage("track_name", name=name)])
        track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(bpm)))
        now = 0
        for sample, down, pitch, velocity in sorted(moments):
            at = round(sample * scale)
            kind = "note_on" if down else "note_off"
            track.append(mido.Message(kind, channel=channel, note=pitch, velocity=velocity, time=at - now))
            now = at
        file.tracks.append(track)
    file.save(path)


def render(mode: str, musician: str, minutes: float, folder: Path) -> None:
    """Play a mode, and write its sound, its MIDI file and its recording; print a row for each of the two."""
    show, ticks = show_for(mode, musician), round(minutes * 60 * TICKS_PER_SECOND)
    path = folder / mode.replace(" ", "_")
    synth, queue, block = (
        instruments(SAMPLE_RATE, None),
        [],
        np.zeros((BLOCK_TICKS * TICK_SAMPLES, 2), np.float32),
    )
    recorder, sound = Recorder(path.with_suffix(".chladni"), show), SoundFile(path.with_suffix(".m4a"))
    recorder.start()
    notes, contract = {who: Notes() for who in WHO}, samples_from_ms(show.sound_ms)
    for state in tqdm(perform(show, ticks, mode == "solo", recorder), total=ticks, unit="tick", disable=None):
        for event in state.sounds:
            queue.append(event)
            if event.kind in (SoundKind.NOTE_ON, SoundKind.NOTE_OFF):
                notes[state.lanes[event.lane].source].take(event, event.sample - contract)
        if state.tick % BLOCK_TICKS == 0:
            render_block(synth, queue, float(state.tick * TICK_SAMPLES - len(block)), block)
            sound.write(block)
    recorder.close(state.tick)
    sound.close()
    write_midi(path.with_suffix(".mid"), notes, show.tempo.bpm)
    verdict = offline.verify(read(path.with_suffix(".chladni")))
    assert verdict.differs_at is None, f"{mode}: the recording differs at tick {verdict.differs_at}"
    for who, other in zip(WHO, reversed(WHO), strict=True):
        print(f"| {mode} | {who} | {notes[who].row(minutes * 60, notes[other])}", flush=True)
    played = state.musician
    print(
        f"|  | | {verdict.agreed} digests agree; {played.repeats} repeats, {played.kept} plans kept |",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--out", type=Path, default=Path("modes"))
    parser.add_argument("--musician", default="piano")
    parser.add_argument("--mode", choices=MODES, action="append")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    print("| mode | who | notes | notes/s | pitches | velocity | length s | gap s, median / max | together |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for each in arguments.mode or MODES:
        render(each, arguments.musician, arguments.minutes, arguments.out)
