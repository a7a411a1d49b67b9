"""A SoundFont in place of the built-in instruments: a real .sf2 file, played by its real library."""

from pathlib import Path

import numpy as np
import pytest

from engine.core.jobs import SoundEvent, SoundKind
from engine.core.parameters import INSTRUMENTS
from engine.core.units import SAMPLE_RATE
from engine.render.soundfont import SoundFont, instruments
from engine.render.synth import Synth, render_block

FONT = "/usr/share/sounds/sf2/TimGM6mb.sf2"  # of Debian's timgm6mb-soundfont, see packages.sh
LONG = SAMPLE_RATE // 2


@pytest.fixture
def font():
    return SoundFont(SAMPLE_RATE, FONT)


def event(kind, sample=0, note=57, instrument="pluck", value=0.8):
    return SoundEvent(sample, kind, 0, note, INSTRUMENTS.index(instrument), value)


def played(font, *events, frames=LONG):
    out = np.zeros((frames, 2), np.float32)
    render_block(font, list(events), 0, out)
    return out


def pitch_hz(sound):
    spectrum = np.abs(np.fft.rfft(sound[:, 0] * np.hanning(len(sound)), 1 << 18))
    return spectrum[: 1 << 15].argmax() * SAMPLE_RATE / (1 << 18)


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_each_instrument_begins_on_its_frame_and_ends(font, instrument):
    note = 36 if instrument == "drums" else 57
    sound = played(font, event(SoundKind.NOTE_ON, 1234, note, instrument))
    assert not sound[:1234].any()
    assert 1234 <= np.flatnonzero(sound.any(axis=1))[0] < 1234 + 128  # some samples begin softly
    assert 0.005 < np.abs(sound).max() < 1.0
    for _ in range(10):
        sound = played(font, event(SoundKind.RELEASE, note=-1))
    assert np.abs(sound).max() < 1e-4
    assert font.sounding == 0


@pytest.mark.parametrize(("semitones", "hz"), [(0.0, 220.0), (12.0, 440.0), (-12.0, 110.0), (0.5, 226.45)])
def test_bend_is_in_semitones(font, semitones, hz):
    bend = event(SoundKind.BEND, note=-1, value=semitones)
    assert pitch_hz(played(font, bend, event(SoundKind.NOTE_ON))[4000:]) == pytest.approx(hz, rel=0.01)


def test_pedal_holds_what_the_key_lets_go(font):
    def left(*before):
        played(font, *before, event(SoundKind.NOTE_ON, instrument="bass"))
        return np.abs(played(font, event(SoundKind.NOTE_OFF, instrument="bass"))[-4800:]).max()

    held = left(event(SoundKind.SUSTAIN, note=-1, value=1.0))
    played(font, event(SoundKind.RELEASE, note=-1), frames=4 * LONG)
    assert held > 5 * left()
    assert font.sounding == 0


def test_pedal_that_goes_up_lets_go(font):
    played(font, event(SoundKind.SUSTAIN, note=-1, value=1.0), event(SoundKind.NOTE_ON))
    played(font, event(SoundKind.NOTE_OFF))
    assert font.sounding == 1
    played(font, event(SoundKind.SUSTAIN, note=-1, value=0.2))
    assert font.sounding == 0


def test_volume_is_the_shows(font):
    loud = np.abs(played(font, event(SoundKind.NOTE_ON))).max()
    font = SoundFont(SAMPLE_RATE, FONT)
    volume = event(SoundKind.LEVEL, note=0, value=0.0)
    played(font, volume)
    assert np.abs(played(font, event(SoundKind.NOTE_ON))).max() < 0.01 * loud


def test_a_show_gets_its_soundfont_or_the_built_in_instruments(tmp_path, capfd):
    assert isinstance(instruments(SAMPLE_RATE, FONT), SoundFont)
    wrong = tmp_path / "song.sf2"
    wrong.write_bytes(Path(__file__).read_bytes())
    assert isinstance(instruments(SAMPLE_RATE, str(wrong)), Synth)
    assert "no SoundFont" in capfd.readouterr().err
