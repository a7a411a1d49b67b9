"""The shipped shows: each plays as its user would play it, and its recording verifies."""

import time
import wave
from pathlib import Path

import numpy as np
import pytest
from staged import ROOT, playing, until

from engine.core import events as ev
from engine.core.parameters import INDEX
from engine.offline import verify
from engine.recording import read
from engine.show_file import ShowFile

pytestmark = pytest.mark.live

SHOWS = ROOT / "shows"
PLAYED: dict[str, list[tuple[str, ev.Body]]] = {
    "first_light": [],  # by its recorded performer
    "vj_set": [
        ("keys", ev.Go()), ("keys", ev.Control("/keys/k", 1.0)), ("mouse", ev.Control("/mouse/x", 0.9)),
        ("midi:nanoKONTROL2", ev.Control("/controller/nanokontrol2/fader/7", 0.3)), ("keys", ev.Go()),
    ],
    "sensor_room": [
        *(("osc", ev.Control(f"/osc/distance/{n}", cm)) for cm in (50.0, 52.0, 51.0) for n in (1, 2, 3)),
        ("osc", ev.Control("/osc/light", 120.0)), ("osc", ev.Control("/osc/mat", 1.0)),
    ],
    "duet": [
        ("keys", ev.Go()), ("keys", ev.GoTo(4.0)),
        *(("midi:piano", ev.NoteOn(1, note, 0.7)) for note in (60, 64, 67)), ("midi:piano", ev.Release()),
    ],
    "silent_disco": [],  # a loop at its sound input, and it opens by itself
}  # fmt: skip
MOVED = {  # a parameter that leaves the level at which it begins
    "first_light": "bloom", "vj_set": "morph.x", "sensor_room": "kaleidoscope", "duet": "musician.mode",
    "silent_disco": "psi",
}  # fmt: skip


def loop(path: Path) -> Path:
    """Write four beats at 120 bpm: a falling sine and a rush of noise on each."""
    rate, noise = 48_000, np.random.default_rng(1)
    seconds = np.arange(rate // 2) / rate
    kick = np.sin(2 * np.pi * 50 * seconds) * np.exp(-8 * seconds)
    hat = noise.standard_normal(len(seconds)) * np.exp(-60 * seconds)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(np.tile((20_000 * (0.8 * kick + 0.1 * hat)).astype("<i2"), 4).tobytes())
    return path


@pytest.mark.parametrize("name", sorted(path.stem for path in SHOWS.glob("*.toml")))
def test_it_plays_and_its_recording_verifies(name: str, tmp_path: Path) -> None:
    file = ShowFile(SHOWS / f"{name}.toml", {"device": "none"})
    show = file.load(file.read())
    show = show.model_copy(update={"osc": show.osc.model_copy(update={"listen": None})})
    if show.audio:
        heard = show.audio.model_copy(update={"device": str(loop(tmp_path / "loop.wav"))})
        show = show.model_copy(update={"audio": heard})
    parameter = INDEX[MOVED[name]]
    with playing(tmp_path, show, attended=show.performer is None) as session:
        begun = session.state.levels[parameter]
        for source, body in PLAYED[name]:
            session.inbox.put(session.clock.now(), source, body)
            time.sleep(0.02)
        until(lambda: session.state.levels[parameter] != begun, 20)
        until(lambda: session.state.cue >= 0 and session.presentation.shown > 60, 20)
        assert session.state.faults == 0
    recording = read(tmp_path / "show.chladni")
    assert {body for _, body in PLAYED[name]} <= {event.body for event in recording.events}
    verdict = verify(recording)
    assert verdict.differs_at is None
    assert verdict.agreed >= 2
