"""Recordings: append-only, readable after a power cut, refused with a line number where they are broken."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.advance import advance
from engine.core.events import Control, Event, NoteOff, NoteOn, Phrase, PhraseNote
from engine.core.show import Show
from engine.core.state import initial
from engine.offline import verify
from engine.recording import Recorder, RecordingError, read

SHOW = Show(title="test", musician=None)
EVENTS = (
    Event(3, -17, "midi:a b", 0, NoteOn(1, 60, 0.1)),
    Event(3, 0, "osc", 1, Control("/osc/fader", 1 / 3)),
    Event(5, 199, "musician", 2, Phrase(4, 1, (PhraseNote(9, 3, 64, 0.5, 20),))),
    Event(9, 1, "midi:a b", 3, NoteOff(1, 60, 0.0)),
)


def record(path: Path, ticks: int = 720) -> Path:
    """Write a performance of EVENTS with its digests."""
    recorder = Recorder(path, SHOW)
    recorder.start()
    state = initial(SHOW)
    for tick in range(ticks):
        now = [event for event in EVENTS if event.tick == tick]
        for event in now:
            recorder.event(event)
        state = advance(SHOW, state, now)
        if state.tick % 240 == 0:
            recorder.digest(state.tick, state.digest())
    recorder.close(ticks)
    return path


def test_what_is_recorded_is_read_and_verifies(tmp_path: Path) -> None:
    recording = read(record(tmp_path / "new" / "a.chladni"))
    assert recording.events == EVENTS
    assert recording.show == SHOW
    assert (recording.end_tick, recording.torn) == (720, False)
    verdict = verify(recording)
    assert (verdict.agreed, verdict.differs_at) == (3, None)


def test_one_changed_bit_does_not_verify(tmp_path: Path) -> None:
    path = record(tmp_path / "a.chladni")
    path.write_text(
        path.read_text().replace("0.3333333333333333", "0.3333333333333334").replace("60,0.1", "61,0.1")
    )
    assert verify(read(path)).differs_at == 240


@given(st.data())
def test_cut_anywhere_it_reads_up_to_the_cut(data: st.DataObject) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = record(Path(folder) / "a.chladni", 240)
        whole = path.read_bytes()
        first = whole.index(b"\n") + 1
        cut = data.draw(st.integers(first, len(whole)))
        path.write_bytes(whole[:cut])
        recording = read(path)
    complete = whole[first:cut].count(b"\n") + (cut < len(whole) and whole[cut : cut + 1] == b"\n")
    assert recording.events == EVENTS[: min(complete, 4)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1,2,3]", "neither an event nor a digest"),
        ('[9,0,"a",9,["Nothing"]]', "no event of a known kind"),
        ('[9,0,"a",9,["NoteOn",1,60,"loud"]]', "NoteOn.velocity is to be float, found 'loud'"),
        ('[9,0,"a",9,["NoteOn",1,60]]', "NoteOn needs 3 fields"),
        ('[0,0,"a",9,["Go"]]', "tick 0 comes after tick 9"),
        ('["end",99999999999999]', "neither an event nor a digest"),
        ('[9,0,"a",9,["Program",1,500]]', "Program.program is to be 0 to 127, found 500"),
        ('[9,0,"a",9,["NoteOn",0,60,0.5]]', "NoteOn.channel is to be 1 to 16, found 0"),
        ('[9,99999999,"a",9,["Go"]]', "offset 99999999 is more than ten seconds off its tick"),
        ("[9,", "this line is no JSON"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = record(tmp_path / "a.chladni", 240)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join((*lines[:5], line + "\n", *lines[5:])))
    with pytest.raises(RecordingError, match=r"a\.chladni:6: ") as caught:
        read(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"hello", b'{"chladni":2}', os.urandom(2000), b"[" * 100_000]
)
def test_what_is_no_recording_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.chladni"
    path.write_bytes(content)
    with pytest.raises(RecordingError):
        read(path)
    with pytest.raises(RecordingError):
        read(tmp_path / "none.chladni")


def test_a_power_cut_costs_at_most_the_last_second(tmp_path: Path) -> None:
    """Kill a recording process, once it has recorded for a while, with SIGKILL."""
    path = tmp_path / "cut.chladni"
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from engine.core.events import Control, Event\n"
        "from engine.core.show import Show\n"
        "from engine.recording import Recorder\n"
        "recorder = Recorder(Path(sys.argv[1]), Show(title='cut'))\n"
        "recorder.start()\n"
        "begin = time.monotonic()\n"
        "for number in range(100_000):\n"
        "    tick = int((time.monotonic() - begin) * 240)\n"
        "    recorder.event(Event(tick, 0, 'osc', number, Control('/x', 0.5)))\n"
        "    print(tick, flush=True)\n"
        "    time.sleep(0.002)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    time.sleep(2.5)
    process.send_signal(signal.SIGKILL)
    last = int(process.stdout.read().split()[-1])
    process.wait(5)
    assert read(path).end_tick >= last - 240


def test_a_disk_that_refuses_costs_the_recording_only_until_it_takes_again(tmp_path: Path) -> None:
    blocked = tmp_path / "folder"
    blocked.write_text("a file where the folder is to be")
    recorder = Recorder(blocked / "a.chladni", SHOW)
    recorder.start()
    recorder.event(EVENTS[0])
    deadline = time.monotonic() + 5
    while recorder.problem is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert recorder.problem
    assert str(blocked) in recorder.problem
    blocked.unlink()
    recorder.event(EVENTS[1])
    recorder.close(6)
    assert recorder.problem is None
    assert read(blocked / "a.chladni").events == EVENTS[:2]


def test_the_header_holds_the_show(tmp_path: Path) -> None:
    header = json.loads(record(tmp_path / "a.chladni", 1).read_text().splitlines()[0])
    assert header["show"]["title"] == "test"
