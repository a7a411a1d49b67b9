"""The contract measured from outside: the marker, both rulers, a whole measurement through JACK and Xvfb."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from fractions import Fraction
from multiprocessing import resource_tracker
from pathlib import Path

import av
import cv2
import numpy as np
import psutil
import pytest
from pythonosc.osc_message import OscMessage

from engine import bench_overhead
from engine.clock import monotonic_us
from engine.core.contract import heard_at, seen_at, shortest_sound_ms, sound_contract_ms
from engine.core.show import Show
from engine.core.units import SAMPLE_RATE, TICK_SAMPLES
from engine.io import marker
from engine.io.window import Headless, Window
from engine.latency import page, trace
from engine.latency.analysis import answered_at, frames, from_film, summary
from engine.latency.changes import Changes
from engine.latency.measure import Setting, measure
from engine.latency.ruler import Heard, loop_frames, moments, onsets
from engine.latency.screen import Sighting, read_film
from engine.latency.servers import jack_server, x_server
from engine.latency.stress import stress

pytestmark = pytest.mark.live

ROOT = Path(__file__).parent.parent


def screen_with(mark, size=(360, 640)):
    pixels = np.random.default_rng(1).integers(0, 255, (*size, 3), np.uint8)
    pixels[-marker.SIDE :, : marker.SIDE] = mark
    return pixels


@pytest.mark.parametrize(
    ("tick", "answered"), [(0, 0), (8, 1), (2_073_600, 12_345), (9_999_999_999, 99_999_999)]
)
def test_marker_says_what_it_was_told(tick, answered):
    assert marker.decode(screen_with(marker.encode(tick, answered))) == (tick, answered)


def test_any_marker_is_the_code_that_opencv_makes_under_one_mask():
    rng = np.random.default_rng(2)
    for tick, answered in zip(rng.integers(0, 10**10, 150), rng.integers(0, 10**8, 150), strict=True):
        pixels = marker.encode(int(tick), int(answered))
        shot = np.pad(pixels[..., 0], ((3, 4), (5, 0)))
        for off in (-1, 0, 1):
            assert marker.read(shot, 5 + 8 + off, 3 + 8 - off) == (tick, answered)
        torn = shot.copy()
        torn[:50] = np.pad(marker.encode(int(tick) + 8, int(answered))[..., 0], ((3, 4), (5, 0)))[:50]
        assert marker.read(torn, 13, 11) is None
        assert marker.read(shot, 60, 11) is None
        dark = (pixels[8:-8:4, 8:-8:4, 0] == 0).astype(np.uint8)
        theirs = marker._code(f"{tick:010d}{answered:08d}")
        assert not ((marker._unmasked(dark) ^ marker._unmasked(theirs)) & marker._data()).any()


def test_marker_is_found_in_a_picture_taken_by_hand():
    pixels = screen_with(marker.encode(4_808, 17))
    corners = np.array([[0, 0], [639, 0], [639, 359], [0, 359]], np.float32)
    seen = np.array([[60, 40], [1150, 90], [1180, 690], [30, 640]], np.float32)
    warp = cv2.getPerspectiveTransform(corners, seen)
    photograph = cv2.GaussianBlur(cv2.warpPerspective(pixels, warp, (1280, 720)), (5, 5), 0)
    assert marker.decode(photograph) == (4_808, 17)


def test_half_a_marker_is_refused():
    pixels = screen_with(marker.encode(4_808, 17))
    pixels[-marker.SIDE // 2 :, : marker.SIDE] = screen_with(marker.encode(7_777, 42))[
        -marker.SIDE // 2 :, : marker.SIDE
    ]
    assert marker.decode(pixels) in (None, (4_808, 17), (7_777, 42))


@pytest.mark.parametrize("fps", [30, 60])
def test_in_tight_sync_the_sound_waits_for_the_frame_that_answers_it(fps):
    show = Show(title="t", fps=fps, tight="sync")
    for sample in range(0, 4 * SAMPLE_RATE // fps, 37):
        answering = (sample // TICK_SAMPLES // show.frame_ticks + 1) * show.frame_ticks
        assert heard_at(show, sample) == seen_at(show, answering)
        off_ms = (heard_at(show, sample) - sample) / 48 - sound_contract_ms(show)
        assert abs(off_ms) <= 500 / fps + 0.03
        assert (heard_at(show, sample) - sample) / 48 >= shortest_sound_ms(show) - 0.01


def taken(contract_s=0.015, notes=60, rate=48_000, lost=()):
    """Return what a ruler hears of a perfect instrument in a reverberating room."""
    rng = np.random.default_rng(3)
    played = moments(notes, 5, rate)
    hit = (rng.normal(size=900) * np.exp(-np.arange(900) / 150) * 0.3).astype(np.float32)
    tail = (rng.normal(size=rate // 2) * np.exp(-np.arange(rate // 2) / 6000) * 0.01).astype(np.float32)
    sound = np.zeros(played[-1] + 2 * rate, np.float32)
    for number, note in enumerate(played):
        if number not in lost:
            at = note + round(contract_s * rate)
            sound[at : at + 900] += hit
            sound[at : at + len(tail)] += tail
    clock = np.array([(1000 + n * 128, 5e6 + n * 128e6 / rate) for n in range(len(sound) // 128)])
    return Heard(rate, 1000 + played, 1000, sound, clock, 0)


def test_onsets_are_exact_to_the_sample_over_a_reverberation():
    heard = taken()
    assert np.array_equal(onsets(heard, 0.015) - heard.played, np.full(60, 720.0))


def test_a_clock_that_slips_in_an_xrun_is_followed_and_a_late_callback_is_not():
    heard = taken()
    slipped, late = len(heard.clock) // 2, len(heard.clock) // 4
    heard.clock[slipped:, 1] += 17_000.0
    true_us = heard.clock[:, 1].copy()
    heard.clock[late, 1] += 3_000.0
    assert np.abs(heard.us_at(heard.clock[:, 0]) - true_us).max() < 1.0


def test_sound_that_waits_for_its_frame_is_found_before_the_contract_too():
    heard = taken()
    for early_s in (0.016, -0.016):
        found = onsets(heard, 0.015 + early_s, spread_s=0.5 / 30)
        assert np.array_equal(found - heard.played, np.full(60, 720.0))


def test_a_note_that_is_not_heard_is_missing_and_no_other_is_taken_for_it():
    heard = taken(lost=(7, 20))
    assert np.flatnonzero(np.isnan(onsets(heard, 0.015))).tolist() == [7, 20]


def test_each_note_is_seen_at_the_first_frame_that_counts_it():
    sightings = [Sighting(1000.0 * n, 2.0, 8 * n, count) for n, count in enumerate((5, 5, 6, 6, 8, 8))]
    seen = answered_at(sightings, np.array([1500.0, 2500.0, 2600.0, 4700.0]), 1000.0)
    assert seen[:3].tolist() == [1999.0, 3999.0, 3999.0]
    assert np.isnan(seen[3])


def test_notes_that_never_came_shift_no_other():
    note_us = np.cumsum(np.random.default_rng(2).uniform(80e3, 240e3, 200))
    came = np.delete(note_us, [3, 50, 51, 120, 199])
    sightings = [Sighting(0.0, 0.0, 0, 7)]
    sightings += [Sighting(us + 100e3 + 17e3 * (n % 3 - 1), 0.0, 0, 8 + n) for n, us in enumerate(came)]
    seen = answered_at(sightings, note_us, 100e3)
    assert np.flatnonzero(np.isnan(seen)).tolist() == [3, 50, 51, 120, 199]
    assert np.nanmax(np.abs(seen - note_us - 100e3)) < 17.1e3


def test_frames_that_were_never_seen_are_named():
    ticks = [80, 88, 96, 112, 120]
    told = frames(
        [Sighting(tick * 1e6 / 240 + (3000 if tick == 112 else 0), 0.0, tick, 0) for tick in ticks], 8
    )
    assert told["due"] == 6
    assert [tick for tick, _ in told["missing"]] == [104]
    assert max(told["late_ms"]) == pytest.approx(3.0, abs=0.01)


def test_summary_knows_what_is_missing():
    assert summary([1.0, None, -3.0])["min"] == -3.0
    assert summary([1.0, None, -3.0])["count"] == 2
    assert summary([None])["p999"] is None


def film_of(path, skew_s, fps=30, seconds=2):
    """Write a film of a screen: a note each half second, heard `skew_s` before the frame that answers it."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=fps)
        picture.width, picture.height, picture.pix_fmt = 640, 360, "yuv420p"
        track = container.add_stream("aac", rate=48_000, layout="mono")
        sound = np.zeros(seconds * 48_000, np.float32)
        click = np.random.default_rng(1).normal(size=2000) * np.exp(-np.arange(2000) / 300) * 0.3
        for note in range(15, seconds * fps, 15):
            at = round((note / fps - skew_s) * 48_000)
            sound[at : at + 2000] += click[: len(sound) - at]
        for number in range(seconds * fps):
            shot = screen_with(marker.encode(8 * number, number // 15))
            container.mux(picture.encode(av.VideoFrame.from_ndarray(shot, format="rgb24")))
        frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        frame.rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
        container.mux(track.encode(frame))
        container.mux(picture.encode(None))
        container.mux(track.encode(None))


@pytest.mark.parametrize("skew_s", [0.0, 0.075])
def test_a_film_tells_the_skew_of_sound_and_picture(tmp_path, skew_s):
    film_of(tmp_path / "phone.mp4", skew_s)
    told = from_film(read_film(tmp_path / "phone.mp4"), Show(title="t"))
    assert told["frames"]["due"] == 60
    assert not told["frames"]["missing"]
    skew = np.array(told["skew_ms"]) + 1000 / 30 / 2  # a sighting is put in the middle of its two frames
    assert len(skew) == 3
    assert np.abs(skew - 1000 * skew_s).max() < 5.0


def test_a_film_without_a_marker_is_refused(tmp_path):
    (tmp_path / "no.mp4").write_bytes(b"no film")
    with pytest.raises(ValueError, match="no film"):
        read_film(tmp_path / "no.mp4")


def measurement(offset=0.0):
    return {
        "title": "T <b>", "sound_ms": [offset, None, 0.1], "picture_ms": [1.0, -3.0], "skew_ms": [1, 2],
        "at_s": [0.1, 0.2, 0.3], "sound_contract_ms": 15.0, "picture_contract_ms": 100.0,
        "frames": {"due": 4, "missing": [[16, 0.07]], "at_s": [], "late_ms": []},
    }  # fmt: skip


def test_page_holds_what_was_measured_and_two_can_be_compared(tmp_path):
    for name, offset in (("a", 0.0), ("b", 5.0)):
        page.write(tmp_path / f"{name}.html", [measurement(offset)])
    both = [page.read(tmp_path / f"{name}.html") for name in "ab"]
    assert both == [measurement(0.0), measurement(5.0)]
    page.write(tmp_path / "both.html", both)
    text = (tmp_path / "both.html").read_text()
    assert text.count("<svg") == 3
    assert "T <b>" not in text
    assert "A sound" in page.table(both)
    with pytest.raises(ValueError, match="no single measurement"):
        page.read(tmp_path / "both.html")
    with pytest.raises(ValueError, match="no measurement"):
        page.read(ROOT / "README.md")


def test_burdens_begin_and_end():
    resource_tracker.ensure_running()  # a child that Python keeps
    threads, me = threading.active_count(), psutil.Process()
    before = set(me.children())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind(("127.0.0.1", 0))
        door.settimeout(20.0)
        with stress(("cpu", "io", "osc", "gc"), door.getsockname()[1]):
            assert len(set(me.children()) - before) >= (os.cpu_count() or 1) + 3
            assert (
                threading.active_count() == threads
            )  # all are processes: the ruler's clients are in this one
            heard: list[OscMessage] = []
            while len(heard) < 200 or not any("/litter" in each.address for each in heard[-200:]):
                heard.append(OscMessage(door.recv(4096)))  # who begins last is heard last
    assert set(me.children()) <= before
    faders = [message for message in heard if message.address.startswith("/burden/fader")]
    litter = [message for message in heard if message.address.startswith("/burden/litter")]
    assert {len(message.params) for message in faders} == {1}
    assert {len(message.params) for message in litter} == {120}
    assert len({message.address for message in litter}) == len(litter)


CABLE = """
import sys, jack, numpy as np
client = jack.Client("Cable")
plug, end = client.inports.register("plug"), client.outports.register("end")
held = [np.zeros(100, np.float32)]
def process(frames):
    sound = np.concatenate([held[0], plug.get_array()])
    end.get_array()[:] = sound[:frames]
    held[0] = sound[frames:]
client.set_process_callback(process)
with client:
    print("up", flush=True)
    sys.stdin.read()
"""


@pytest.mark.jack
def test_the_time_of_a_cable_is_measured(monkeypatch):
    assert shutil.which("jackd"), "the tests need jackd2: make packages"
    monkeypatch.delenv("JACK_DEFAULT_SERVER", raising=False)
    with jack_server():
        cable = subprocess.Popen(
            [sys.executable, "-c", CABLE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert cable.stdout.readline() == b"up\n"
            found = loop_frames("Cable:plug", "Cable:end")
        finally:
            cable.kill()
            cable.wait()
    assert 100 <= found <= 100 + 128  # one client plays and hears: JACK opens the loop with a block


@pytest.mark.jack
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_measurement_that_is_ended_takes_its_servers_along(number, monkeypatch):
    monkeypatch.delenv("JACK_DEFAULT_SERVER", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    words = [sys.executable, "-m", "engine", "latency"]
    measuring = psutil.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    started = {}
    try:
        until = time.monotonic() + 60.0
        while not {"jackd", "Xvfb"} <= set(started.values()) and time.monotonic() < until:
            started |= {child: child.name() for child in measuring.children(recursive=True)}
            time.sleep(0.1)
        assert {"jackd", "Xvfb"} <= set(started.values())
        measuring.send_signal(number)
        assert measuring.wait(30) == 128 + number
        assert not psutil.wait_procs(started, 5)[1]
    finally:
        for process in (measuring, *started):
            if process.is_running():
                process.kill()


@pytest.mark.jack
def test_a_measurement_that_fails_takes_its_server_along(monkeypatch):
    monkeypatch.delenv("JACK_DEFAULT_SERVER", raising=False)
    before = set(psutil.Process().children())
    with suppress(ZeroDivisionError), jack_server():
        ours = set(psutil.Process().children()) - before
        assert "jackd" in {child.name() for child in ours}
        raise ZeroDivisionError
    assert not any(child.is_running() for child in ours)


@pytest.mark.screen
def test_the_x_server_tells_when_the_marker_changed_however_late_it_is_asked(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    with x_server() as there:
        assert there, "the tests need Xvfb: make packages"
        window = Window("told", (640, 360), shaders=False)
        changes = Changes((0, 0, 1280, 720))
        try:
            for tick in (8, 16, 24):
                window.draw(None, 0, (), mark=(tick, tick // 8))
                began_us = monotonic_us()
                ended_us = window.flip()
                if tick == 16:
                    continue  # it is drawn over before anybody looks
                time.sleep(0.05)
                look = changes.next(1.0)
                picture = np.frombuffer(look.blue, np.uint8).reshape(720, 1280)
                assert marker.decode(picture) == (
                    tick,
                    tick // 8,
                )
                assert look.since_us <= 1000.0
                assert began_us - 1000.0 <= look.us <= ended_us + 1000.0
                assert changes.next(0.05) is None
            window.draw(None, 0, (), mark=(32, 4))
            window.flip()
            assert Changes((0, 0, 10, 10)).next(0.05) is None  # the window is elsewhere
        finally:
            changes.close()
            window.close()


@pytest.mark.jack
@pytest.mark.screen
def test_a_whole_measurement(monkeypatch, tmp_path):
    monkeypatch.delenv("JACK_DEFAULT_SERVER", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    show = tmp_path / "show.toml"
    show.write_text('title = "Measured"\nsound_ms = 40\n[osc]\nlisten = "none"\n')
    setting = Setting(show, notes=25, kinds=("midi",))
    data = measure(setting, Show(title="Measured", sound_ms=40.0, musician=None), lambda share: None)
    json.dumps(data)
    heard = [ms for ms in data["sound_ms"] if ms is not None]
    assert len(data["sound_ms"]) == 25
    assert len(heard) > 12
    assert min(abs(ms) for ms in heard) < 0.03  # at least one on its very sample
    seen = [ms for ms in data["picture_ms"] if ms is not None]
    assert len(seen) > 12  # what JACK drops in an xrun is never seen
    assert min(abs(ms) for ms in seen) < 1000 / 30
    assert data["engine"]["events"]["in"] >= 50


def test_a_note_is_followed_through_the_house():
    show = Show(title="t", sound={"device": "none"}, osc={"send": ("127.0.0.1:9",)})
    ways = trace.trace(show, Headless((64, 36)), 6)
    assert 4 <= len(ways) <= 6
    for way in ways:
        assert 0.0 == way["stamped by the door"] <= way["received by the core"] <= way["handed to the sound"]
        assert (
            way["received by the core"]
            <= way["handed to the generator"]
            <= way["picture drawn"]
            <= way["seen"]
        )
    assert min(abs(way["heard"] - show.sound_ms) for way in ways) < 0.1
    assert trace.table(ways, show).count("\n") == len(trace.HOPS)


def test_overhead_holds_frames_against_the_bare_network(tmp_path, capsys):
    assert bench_overhead.run(Show(title="t"), 0.2, tmp_path / "figures.json") == 0
    rows = json.loads((tmp_path / "figures.json").read_text())
    assert len(rows) == capsys.readouterr().out.count("ratio") >= 1
    for row in rows:
        assert len(row["bare_ms"]) == len(row["frame_ms"]) == 6
        assert min(row["bare_ms"]) > 0.0
