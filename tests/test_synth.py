"""The synth heard as numbers: pitch, start, level, silence, and the same sound however it is cut."""

from types import SimpleNamespace

import numpy as np
import pytest

from engine import offline
from engine.core.jobs import SoundEvent, SoundKind
from engine.core.parameters import INSTRUMENTS
from engine.core.show import Show
from engine.recording import Recording
from engine.render.instruments import DRUMS, PATCHES
from engine.render.mastering import BRIGHTNESS, SPACE, VOLUME
from engine.render.synth import Synth, render_block

RATE = 48_000
MELODIC = list(PATCHES)
ON, OFF = SoundKind.NOTE_ON, SoundKind.NOTE_OFF


def event(sample, kind, note=-1, value=0.0, instrument="piano", lane=0):
    return SoundEvent(sample, kind, lane, note, INSTRUMENTS.index(instrument), value)


DRY = event(0, SoundKind.LEVEL, SPACE, 0.0)


def render(events, seconds, block=256, rate=RATE, voices=48):
    """Return (frames, 2) of what the events sound like."""
    synth, queue = Synth(rate, voices), list(events)
    out = np.full((round(seconds * rate), 2), np.nan, np.float32)
    for start in range(0, len(out), block):
        render_block(synth, queue, start * RATE / rate, out[start : start + block], rate)
    assert np.isfinite(out).all()
    return out


def loudness(sound):
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))


def pitch_cents(sound, note, rate=RATE):
    """Return how far the strongest partial about a note's frequency lies from it."""
    wave = sound.mean(axis=1, dtype=np.float64)
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(wave.size), 1 << 20))
    hz = np.fft.rfftfreq(1 << 20, 1.0 / rate)
    wanted = 440.0 * 2.0 ** ((note - 69) / 12.0)
    near = (hz > 0.9 * wanted) & (hz < 1.1 * wanted)
    return 1200.0 * np.log2(hz[near][spectrum[near].argmax()] / wanted)


def storm(count=150, seconds=3):
    """A crowd of notes, wheels and levels at random."""
    rng = np.random.default_rng(5)
    events = []
    for _ in range(count):
        at, note, lane = (int(rng.integers(*span)) for span in ((0, seconds * RATE), (30, 100), (0, 4)))
        name = INSTRUMENTS[int(rng.integers(len(INSTRUMENTS)))]
        length, value = int(rng.integers(100, 30_000)), float(rng.uniform(0.2, 1.0))
        events += [
            event(at, ON, note, value, name, lane),
            event(at + length, OFF, note, 0.5, name, lane),
            event(at + 311, SoundKind.BEND, value=4.0 * value - 2.0, lane=lane),
            event(at + 517, SoundKind.PRESSURE, value=value, lane=lane),
            event(at + 733, SoundKind.TIMBRE, value=value, lane=lane),
            event(at + 997, SoundKind.SUSTAIN, value=value, lane=lane),
            event(at + 1511, SoundKind.LEVEL, int(rng.integers(3)), value),
        ]
    return events


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
@pytest.mark.parametrize("name", MELODIC)
def test_in_tune(name, rate):
    for note in (33, 57, 69, 88):
        sound = render([DRY, event(0, ON, note, 0.8, name)], 1.2, rate=rate)
        assert abs(pitch_cents(sound[rate // 10 :], note, rate)) < 6.0  # the pad's own detuning is 5.5


@pytest.mark.parametrize("name", INSTRUMENTS)
@pytest.mark.parametrize("start", [0, 1, 255, 256, 1000, 4097])
def test_starts_on_its_exact_sample(name, start):
    sound = render([event(start, ON, 40, 0.7, name)], 0.2, block=128)
    assert np.flatnonzero(sound.any(axis=1))[0] == start


def test_starts_on_its_exact_frame_at_another_rate():
    for start in (1, 999, 4801):
        sound = render([event(start, ON, 60, 0.7)], 0.2, rate=44_100, block=100)
        assert np.flatnonzero(sound.any(axis=1))[0] == round(start * 44_100 / RATE)


def test_late_event_happens_at_once_and_is_told():
    synth, out = Synth(RATE), np.zeros((128, 2), np.float32)
    queue = [event(900, ON, 60, 0.7), event(1010, ON, 64, 0.7), event(1128, ON, 67, 0.7)]
    done = render_block(synth, queue, 1000.0, out)
    assert [(frame, event.note) for frame, event in done] == [(-100, 60), (10, 64)]
    assert [event.note for event in queue] == [67]
    assert out[0].any()


@pytest.mark.parametrize("block", [64, 128, 441, 1600])
def test_blocks_do_not_matter(block):
    np.testing.assert_allclose(render(storm(), 4, block), render(storm(), 4, 256), atol=1e-4)


def test_same_events_same_samples():
    assert np.array_equal(render(storm(), 4), render(storm(), 4))


def test_never_above_one():
    events = [event(0, SoundKind.LEVEL, VOLUME, 1.5), event(0, SoundKind.LEVEL, BRIGHTNESS, 1.0)]
    events += [event(10 * n, ON, 36 + n, 1.0, INSTRUMENTS[n % 5], n % 7) for n in range(48)]
    sound = render(events, 2)
    assert 0.9 < np.abs(sound).max() < 1.0


@pytest.mark.parametrize("name", MELODIC)
def test_released_to_silence(name):
    events = [DRY, event(0, ON, 60, 1.0, name), event(9000, SoundKind.RELEASE)]
    sound = render(events, 8)
    assert loudness(sound[4000:9000]) > 0.005
    assert not sound[-100:].any()


def test_reverberation_dies_away():
    sound = render([event(0, SoundKind.LEVEL, SPACE, 1.0), event(0, ON, 37, 1.0, "drums")], 8)
    assert loudness(sound[RATE // 2 : RATE]) > 1e-4
    assert not sound[-100:].any()


def test_pedal_holds():
    def at_one_second(pedal):
        events = [DRY, event(0, SoundKind.SUSTAIN, value=pedal), event(10, ON, 60, 0.8), event(2000, OFF, 60)]
        return loudness(render([*events, event(60_000, SoundKind.SUSTAIN)], 4)[RATE : RATE + 2000])

    assert at_one_second(1.0) > 100.0 * at_one_second(0.0)
    events = [DRY, event(0, SoundKind.SUSTAIN, value=1.0), event(10, ON, 60, 0.8), event(2000, OFF, 60)]
    assert not render([*events, event(60_000, SoundKind.SUSTAIN)], 4)[-100:].any()


def test_bend_moves_only_its_lane():
    bend = event(0, SoundKind.BEND, value=1.5, lane=3)
    sound = render([DRY, bend, event(0, ON, 69, 0.8, "bass", 3)], 1.0)
    assert pitch_cents(sound[4800:], 69) == pytest.approx(150.0, abs=1.0)
    sound = render([DRY, bend, event(0, ON, 69, 0.8, "bass", 2)], 1.0)
    assert pitch_cents(sound[4800:], 69) == pytest.approx(0.0, abs=1.0)


def test_bend_while_sounding():
    sound = render([DRY, event(0, ON, 69, 0.8, "bass"), event(9000, SoundKind.BEND, value=-1.0)], 1.2)
    assert pitch_cents(sound[12_000:], 69) == pytest.approx(-100.0, abs=1.0)
    assert np.abs(np.diff(sound[8000:12_000], axis=0)).max() < 0.05


@pytest.mark.parametrize("note", [-1, 60])
def test_pressure_swells(note):
    events = [DRY, event(0, ON, 60, 0.5, "pad"), event(20_000, SoundKind.PRESSURE, note, 1.0)]
    assert loudness(render(events, 1)[30_000:]) > 1.2 * loudness(render(events[:2], 1)[30_000:])


@pytest.mark.parametrize("control", [SoundKind.TIMBRE, SoundKind.LEVEL])
def test_brightness(control):
    def centroid(value):
        events = [DRY, event(0, control, BRIGHTNESS, value), event(0, ON, 57, 0.8, "bass")]
        spectrum = np.abs(np.fft.rfft(render(events, 0.5)[2400:, 0]))
        return np.average(np.arange(spectrum.size), weights=spectrum**2)

    assert centroid(1.0) > 1.15 * centroid(0.1)


@pytest.mark.parametrize("name", MELODIC)
def test_highest_notes_do_not_fold(name):
    """All that is loud lies on multiples of the note's frequency."""
    note = 100
    wave = render([DRY, event(0, ON, note, 1.0, name)], 0.2)[2400:7200].mean(axis=1, dtype=np.float64)
    spectrum = np.abs(np.fft.rfft(wave * np.blackman(wave.size)))
    hz = np.fft.rfftfreq(wave.size, 1.0 / RATE)
    wanted = 440.0 * 2.0 ** ((note - 69) / 12.0)
    apart = np.abs(hz - wanted * np.round(hz / wanted))
    assert spectrum[apart > 400.0].max() < 0.003 * spectrum.max()


@pytest.mark.parametrize("name", MELODIC)
def test_no_constant_offset(name):
    sound = render([DRY, event(0, ON, 69, 1.0, name)], 1.2)[4800:52_800]
    assert abs(float(sound.mean(dtype=np.float64))) < 0.002 * np.abs(sound).max()


def test_stealing_does_not_click():
    """The third difference takes the notes away and leaves jumps: a voice cut short would show its level."""
    events = [event(300 * n, ON, 30 + n % 20, 0.9, "pad") for n in range(120)]
    sound = render([DRY, *events], 1.5, voices=8).astype(np.float64)
    assert np.abs(np.diff(sound, n=3, axis=0)).max() < 0.005 * np.abs(sound).max()


def test_voices_are_bounded_and_the_newest_is_heard():
    synth, out = Synth(RATE, voices=32), np.zeros((64, 2), np.float32)
    for number in range(500):
        synth.apply(event(0, ON, 30 + number % 60, 0.8, "pad", number % 5))
        synth.render(out)
    for _ in range(100):
        synth.render(out)
    assert synth.sounding == 32


def test_every_drum_is_heard_and_ends():
    for note in (*DRUMS, 0, 20, 60, 127):
        sound = render([DRY, event(0, ON, note, 1.0, "drums")], 4)
        assert np.abs(sound[:4800]).max() > 0.05
        assert not sound[-100:].any()


def test_closed_hat_chokes_open_hat():
    struck = [DRY, event(0, ON, 46, 1.0, "drums")]
    choked = [*struck, event(4800, ON, 42, 0.05, "drums")]
    assert loudness(render(choked, 1)[9600:14_400]) < 0.1 * loudness(render(struck, 1)[9600:14_400])


def test_film_is_played_by_the_soundfont_of_its_show(tmp_path, capfd):
    show = Show.model_validate({"title": "", "musician": None, "sound": {"soundfont": "nowhere.sf2"}})
    black = SimpleNamespace(picture=lambda job: np.zeros((64, 64, 3), np.uint8))
    film = tmp_path / "film.mp4"
    recording = Recording("", show, (), {}, 24, torn=False)
    offline.render(recording, lambda name: black, film, (64, 64), 24, "draft", lambda done, total: None)
    assert film.stat().st_size > 0
    assert "nowhere.sf2" in capfd.readouterr().err
