"""The window on a real X server without a screen: its pixels, its keys, its ends."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from shutil import which

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.core.events import (
    Back,
    Blackout,
    Body,
    Control,
    Go,
    GoTo,
    Hold,
    NoteOff,
    NoteOn,
    Release,
    Swap,
    Tap,
)
from engine.core.jobs import Caption
from engine.core.parameters import EFFECTS
from engine.io import keys
from engine.io.keys import SCANCODES, Keys, Mouse
from engine.io.window import Headless, Window
from engine.render.caption import write
from engine.render.scale import cover
from engine.workers.shared import Frame

pytestmark = pytest.mark.live

WIDTH, HEIGHT = 1024, 600


def picture(size: int = 64) -> NDArray[np.uint8]:
    """Return four quarters: red and green above, blue and white below."""
    pixels = np.zeros((size, size, 3), np.uint8)
    half = size // 2
    pixels[:half, :half] = (200, 0, 0)
    pixels[:half, half:] = (0, 200, 0)
    pixels[half:, :half] = (0, 0, 200)
    pixels[half:, half:] = 255
    return pixels


def frame(tick: int = 8, pixels: NDArray[np.uint8] | None = None) -> Frame:
    return Frame(tick, picture() if pixels is None else pixels, 0, 0, False, ())


def start_server(display: str | None = None) -> tuple[subprocess.Popen[bytes], str]:
    """Start an X server of its own on a free display, or on one that has just lost its server."""
    if not (which("Xvfb") and which("xdotool") and which("xwd")):
        pytest.skip("needs Xvfb, xdotool and xwd")
    reading, writing = os.pipe()
    # -noreset: it would begin anew, and refuse for a moment, when the last window of a test has gone
    command = ["Xvfb", *([display] if display else []), "-displayfd", str(writing), "-noreset"]
    command += ["-screen", "0", f"{WIDTH}x{HEIGHT}x24"]
    server = subprocess.Popen(command, pass_fds=(writing,), stderr=subprocess.DEVNULL)
    os.close(writing)
    with open(reading) as pipe:
        number = pipe.readline().strip()  # to its end: a pipe closed early ends the server
    return server, f":{number}"


@pytest.fixture(scope="module")
def screen() -> Iterator[str]:
    """Yield the display of an X server; SDL keeps the first that it has met."""
    server, display = start_server()
    before = {name: os.environ.get(name) for name in ("DISPLAY", "SDL_VIDEODRIVER")}
    os.environ["DISPLAY"] = display
    os.environ.pop("SDL_VIDEODRIVER", None)
    yield display
    import pygame

    pygame.quit()
    server.terminate()
    server.wait(5)
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture(params=[False, True], ids=["software", "shaders"])
def window(request: pytest.FixtureRequest, screen: str) -> Iterator[Window]:
    window = Window("test", (640, 360), shaders=request.param)
    if window.shaders != request.param:
        window.close()
        pytest.skip("no GL library")
    settle(window)
    yield window
    window.close()


def settle(window: Window, seconds: float = 0.3) -> list[Body]:
    """Play for a while; return what came in."""
    found: list[Body] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        window.draw(frame(), 0, ("one line", "another"))
        window.flip()
        found += [body for _, _, body in window.inputs()]
        time.sleep(0.01)
    return found


def until(window: Window, condition: Callable[[list[Body]], bool], seconds: float = 5.0) -> list[Body]:
    """Play until a condition holds of what came in."""
    found: list[Body] = []
    end = time.monotonic() + seconds
    while not condition(found) and time.monotonic() < end:
        found += settle(window, 0.05)
    assert condition(found), found
    return found


def identify() -> str:
    """Return the window's X id."""
    command = ["xdotool", "search", "--pid", str(os.getpid())]
    found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout
    return found.split()[-1]


def focus(window: Window) -> str:
    """Give the window the keyboard (no window manager does); return its X id."""
    identity = identify()
    subprocess.run(["xdotool", "windowfocus", identity], check=True, timeout=10)
    settle(window, 0.1)
    return identity


def xdo(*words: str) -> None:
    subprocess.run(["xdotool", *words], check=True, timeout=10)


def capture() -> NDArray[np.uint8]:
    """Return what the X server shows, (HEIGHT, WIDTH, 3), read from it with xwd."""
    data = subprocess.run(["xwd", "-root", "-silent"], check=True, capture_output=True, timeout=10).stdout
    header = np.frombuffer(data[:100], ">u4")  # X11/XWDFile.h
    at = int(header[0] + header[19] * 12)  # the header's size and its colour map
    width, height, bytes_a_pixel, line = int(header[4]), int(header[5]), int(header[11]) // 8, int(header[12])
    rows = np.frombuffer(data, np.uint8, count=height * line, offset=at).reshape(height, line)
    return rows[:, : width * bytes_a_pixel].reshape(height, width, bytes_a_pixel)[..., 2::-1]


def place() -> tuple[int, int]:
    """Return where the window's top left lies on the display."""
    identity = identify()
    out = subprocess.run(
        ["xdotool", "getwindowgeometry", "--shell", identity], check=True, capture_output=True, timeout=10
    ).stdout.decode()
    values = dict(line.split("=") for line in out.split())
    return int(values["X"]), int(values["Y"])


@pytest.mark.screen
def test_pixels_cover_the_window_and_keep_their_aspect(window: Window) -> None:
    settle(window)
    x, y = place()
    seen = capture()[y : y + 360, x : x + 640]
    # 64 px cover 640 x 360 ten times enlarged; 140 rows overhang above and below. Edges are soft.
    expected = np.kron(picture()[14:50], np.ones((10, 10, 1), np.uint8))
    inner = np.ones((360, 640), bool)
    inner[155:205] = inner[:, 295:345] = False
    assert np.abs(seen.astype(int) - expected)[inner].max() <= 3


@pytest.mark.screen
def test_a_held_frame_moves_and_none_is_black(window: Window) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    shown = []
    for held in (0, 1, 2):
        window.draw(frame(16, pixels), held, ())
        window.flip()
        shown.append(capture())
    assert not np.array_equal(shown[1], shown[2])
    assert np.abs(shown[0].astype(int) - shown[1]).mean() < 25.0  # a step, not a jump
    window.draw(None, 3, ())
    window.flip()
    x, y = place()
    assert capture()[y : y + 360, x : x + 640].max() == 0


@pytest.mark.screen
def test_keys_play_and_command(window: Window) -> None:
    focus(window)
    xdo("keydown", "q")
    found = until(window, lambda bodies: bool(bodies))
    assert found == [NoteOn(1, 60, 0.8)]
    xdo("keyup", "q")
    for key in ("Right", "z", "space", "BackSpace", "Return", "a"):
        xdo("key", key)
    found = until(window, lambda bodies: len(bodies) >= 8)
    assert found == [
        NoteOff(1, 60, 0.0), NoteOn(1, 67, 0.8), NoteOff(1, 67, 0.0), Go(), Back(), Tap(),
        Control("/keys/a", 1.0), Control("/keys/a", 0.0),
    ]  # fmt: skip


@pytest.mark.screen
def test_a_function_key_asks_for_the_generator_behind_it(screen: str) -> None:
    window = Window("test", (640, 360), shaders=False, generators=("impressionism", "planets"))
    try:
        settle(window)
        focus(window)
        for key in ("F2", "F3", "Return", "F1"):  # nobody stands behind F3
            xdo("key", key)
        found = until(window, lambda bodies: len(bodies) >= 3)
        asked = [body for body in found if not isinstance(body, Control)]
        assert asked == [Swap("planets"), Tap(), Swap("impressionism")]
    finally:
        window.close()


@pytest.mark.screen
def test_the_mouse_is_a_control(window: Window) -> None:
    identity = focus(window)
    xdo("mousemove", "--window", identity, "9", "9")
    settle(window, 0.1)
    xdo("mousemove", "--window", identity, "639", "0", "click", "1", "click", "4")
    found = until(window, lambda bodies: Control("/mouse/wheel", 0.5 + 1 / 32) in bodies)
    for expected in (Control("/mouse/x", 1.0), Control("/mouse/y", 0.0), Control("/mouse/button/1", 1.0)):
        assert expected in found


@pytest.mark.screen
def test_h_shows_the_head_up_display_and_f_fills_the_screen(window: Window) -> None:
    focus(window)
    x, y = place()
    settle(window)
    without = capture()
    xdo("key", "h")
    settle(window)
    shown = capture()
    assert not np.array_equal(without[y : y + 40, x : x + 80], shown[y : y + 40, x : x + 80])
    assert np.array_equal(without[y + 100 : y + 300, x : x + 640], shown[y + 100 : y + 300, x : x + 640])
    xdo("key", "h")
    settle(window)
    assert np.array_equal(capture(), without)
    xdo("key", "f")
    settle(window)
    x, y = place()  # no window manager moves it to the corner
    full = capture()
    assert window._pygame.display.get_window_size() == (WIDTH, HEIGHT)
    assert full[y + 5, x + 5].tolist() == pytest.approx([200, 0, 0], abs=3)
    assert full[-5, -5].tolist() == [255, 255, 255]
    focus(window)
    xdo("key", "f")
    settle(window)
    assert window._pygame.display.get_window_size() == (640, 360)


@pytest.mark.screen
def test_escape_twice_closes_and_releases(window: Window) -> None:
    focus(window)
    xdo("keydown", "q")
    until(window, lambda bodies: bool(bodies))
    xdo("key", "Escape")
    assert settle(window, 1.2) == []
    xdo("key", "Escape")
    settle(window)
    assert not window.closed  # more than a second lay between them
    xdo("key", "Escape")
    assert until(window, lambda _: window.closed) == [Release()]
    xdo("keyup", "q")


@pytest.mark.screen
def test_losing_the_keyboard_releases(window: Window, screen: str) -> None:
    focus(window)
    xdo("keydown", "w")
    until(window, lambda bodies: bool(bodies))
    window._pygame.event.post(window._pygame.event.Event(window._pygame.WINDOWFOCUSLOST))
    assert settle(window) == [Release()]
    xdo("keyup", "w")
    assert settle(window) == []  # the note is off already


@pytest.mark.screen
def test_a_game_controller_comes_plays_and_goes(window: Window) -> None:
    """SDL's own virtual controller: the whole way of a real one but its driver."""
    sdl = ctypes.CDLL(window._pygame.base.__file__)
    settle(window, 0.05)
    attached = sdl.SDL_JoystickAttachVirtual(1, 4, 6, 1)  # a game controller of 4 axes, 6 buttons, a cross
    assert attached >= 0
    try:
        settle(window, 0.1)  # it tells where its axes rest
        ((number, joystick),) = window._pads.values()
        sdl.SDL_JoystickFromInstanceID.restype = ctypes.c_void_p
        pad = ctypes.c_void_p(sdl.SDL_JoystickFromInstanceID(joystick.get_instance_id()))
        sdl.SDL_JoystickSetVirtualAxis(pad, 2, ctypes.c_int16(16384))
        sdl.SDL_JoystickSetVirtualButton(pad, 3, 1)
        sdl.SDL_JoystickSetVirtualHat(pad, 0, 1)  # up
        moved = settle(window, 0.1)
        assert Control(f"/pad/{number}/button/3", 1.0) in moved
        assert Control(f"/pad/{number}/hat/0/y", 1.0) in moved
        (axis,) = (body for body in moved if isinstance(body, Control) and "axis/2" in body.address)
        assert axis.value == pytest.approx(0.75, abs=1e-3)
    finally:
        sdl.SDL_JoystickDetachVirtual(attached)
    assert Release() in settle(window, 0.1)
    assert not window._pads


@pytest.mark.screen
def test_a_pad_pulled_before_it_was_greeted_stops_nothing(window: Window) -> None:
    pygame = window._pygame
    pygame.event.post(pygame.event.Event(pygame.JOYDEVICEADDED, device_index=99))
    pygame.event.post(pygame.event.Event(pygame.MOUSEWHEEL, y=1))
    assert Control("/mouse/wheel", 0.5 + 1 / 32) in settle(window, 0.1)
    assert window.lost == 0


@pytest.mark.screen
@pytest.mark.parametrize("name", ["display.flip", "display.set_mode", "event.get"])
def test_what_a_driver_throws_is_a_lost_window_and_it_comes_back(
    window: Window, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def throw(*_: object, **__: object) -> None:
        raise OSError("a driver's own error")

    with monkeypatch.context() as patch:
        patch.setattr(f"pygame.{name}", throw)
        if name == "display.set_mode":
            window._pygame.display.quit()  # and so opened again, in vain
        settle(window, 1.2)
        assert window.lost > 0
    until(window, lambda _: window._alive)


@pytest.mark.screen
@pytest.mark.parametrize(("raw", "share"), [(True, 0.25), (False, 1.0)])
def test_blackout_is_done_once_on_frames_meant_for_shaders_that_are_gone(
    window: Window, raw: bool, share: float
) -> None:
    levels = (*(effect.default for effect in EFFECTS[:-1]), 0.75, *[0.0] * (32 - len(EFFECTS)))
    pixels = np.full((64, 64, 3), 200, np.uint8)
    window.draw(Frame(4, pixels, 0, 0, raw, levels), 0, ())
    window.flip()
    x, y = place()
    assert capture()[y + 180, x + 320].tolist() == pytest.approx([200 * share] * 3, abs=2)


@pytest.mark.screen
@pytest.mark.parametrize("held", [0, 30])
def test_what_the_page_is_shown_is_what_the_window_shows(window: Window, held: int) -> None:
    levels = [*(effect.default for effect in EFFECTS), *[0.0] * (32 - len(EFFECTS))]
    levels[[effect.name for effect in EFFECTS].index("saturation")] = 0.0 if window.shaders else 1.0
    pixels = cv2.GaussianBlur(np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8), (0, 0), 6)
    pixels = cv2.normalize(pixels, None, 0, 255, cv2.NORM_MINMAX)
    shown = Frame(4, pixels, 0, 0, window.shaders, tuple(levels))
    window.draw(shown, held, (), caption=Caption("Sand", 1.0, 0.3, 0.5, 0.5))
    window.flip()
    x, y = place()
    on_screen = capture()[y : y + 360, x : x + 640]
    seen, complete = window.seen(shown, (480, 270))
    assert complete == window.shaders
    if not complete:
        small = np.empty((270, 480, 3), np.uint8)
        cover(seen, held, small)
        write(small, Caption("Sand", 1.0, 0.3, 0.5, 0.5))
        seen = small
    screen = cv2.resize(on_screen, (480, 270), interpolation=cv2.INTER_AREA)
    assert np.abs(seen.astype(int) - screen).mean() < 4.0


OUTLIVES_ITS_SERVER = """
import sys, time
import cv2
import numpy as np
from engine.io.window import Window
from engine.render.caption import write
from engine.render.scale import cover
from engine.workers.shared import Frame

shaders, fullscreen = (word == "True" for word in sys.argv[1:])
window = Window("test", (320, 200), shaders=shaders, fullscreen=fullscreen)
frame = Frame(8, np.full((32, 32, 3), 200, np.uint8), 0, 0, False, ())

def play(until, seconds=15.0):
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end:
        window.draw(frame, 0, ()), window.flip(), window.inputs()
        time.sleep(0.01)

print("open", window.shaders, flush=True)
play(lambda: window.lost)
print("lost", window.lost, window.closed, flush=True)
play(lambda: window._alive)
play(lambda: False, 0.5)
print("back", window.shaders, flush=True)
sys.stdin.readline()
window.close()
print("closed", flush=True)
"""


@pytest.mark.screen
@pytest.mark.skipif(sys.platform != "linux", reason="an X server's end")
@pytest.mark.parametrize(("shaders", "fullscreen"), [(False, False), (False, True), (True, False)])
def test_the_window_comes_back_with_its_x_server(shaders: bool, fullscreen: bool) -> None:
    server, display = start_server()
    environment = {name: value for name, value in os.environ.items() if name != "SDL_VIDEODRIVER"}
    environment |= {"DISPLAY": display}
    player = subprocess.Popen(
        [sys.executable, "-c", OUTLIVES_ITS_SERVER, str(shaders), str(fullscreen)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True, env=environment, cwd=Path(__file__).resolve().parent.parent,
    )  # fmt: skip
    assert player.stdout is not None
    told = iter(player.stdout)
    try:
        opened = next(line for line in told if line.startswith("open"))
        server.kill()
        server.wait(5)
        assert next(told) == "lost 1 False\n"
        server, _ = start_server(display)
        assert next(told).split() == ["back", opened.split()[1]]
        before, os.environ["DISPLAY"] = os.environ.get("DISPLAY", ""), display
        try:
            shown = capture()
        finally:
            os.environ["DISPLAY"] = before
        share = (shown == 200).mean()  # of the screen that the picture covers again
        assert share == 1.0 if fullscreen else share > 0.05
        assert player.communicate("\n", timeout=20)[0] == "closed\n"
        assert player.returncode == 0
    finally:
        for process in (player, server):
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)  # SDL makes SIGTERM an event
            process.wait(5)


@pytest.mark.screen
def test_a_window_that_somebody_destroys_comes_back(window: Window) -> None:
    xdo("windowclose", identify())
    until(window, lambda _: window.lost == 1)
    until(window, lambda _: window._alive)
    settle(window)
    assert not window.closed
    assert identify()


@pytest.mark.screen
def test_the_close_button_is_to_be_pressed_twice(window: Window) -> None:
    import pygame

    for presses, closed in ((1, False), (2, True)):
        for event in (pygame.WINDOWCLOSE, pygame.QUIT):  # SDL tells of a press twice
            pygame.event.post(pygame.event.Event(event))
        settle(window, 0.3)
        assert window.closed == closed, presses


def test_no_display_is_one_clear_error() -> None:
    code = "from engine.io.window import Window\ntry: Window('')\nexcept RuntimeError as e: print('clear', e)"
    names = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    if sys.platform != "linux":
        pytest.skip("there is always a display here")
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True,
        text=True, timeout=30, cwd=Path(__file__).resolve().parent.parent,
    )  # fmt: skip
    assert done.stdout.startswith("clear"), done.stderr


def test_headless_needs_no_pygame() -> None:
    code = "import sys, engine.io.window\nprint('pygame' in sys.modules, 'cv2' in sys.modules)"
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, cwd=root)
    assert done.stdout.split() == ["False", "False"]
    headless = Headless((1280, 720))
    headless.draw(frame(), 0, ())
    first = headless.flip()
    assert headless.flip() >= first > 0.0
    assert headless.inputs() == []
    assert (headless.closed, headless.shaders) == (False, False)


def test_the_piano_has_no_hole_and_leaves_f_and_h() -> None:
    assert not {SCANCODES["f"], SCANCODES["h"]} & set(keys.NOTES)
    assert set(keys.NOTES.values()) == set(range(55, 80))
    places = {"z": 55, "c": 59, "v": 60, "n": 64, "m": 65, "k": 66, "/": 71, "q": 60, "2": 61, "]": 79}
    assert {key: keys.NOTES[SCANCODES[key]] for key in places} == places


def test_a_note_ends_as_it_began_whatever_the_octave_is_by_then() -> None:
    piano = Keys()
    (down,) = piano.down(SCANCODES["q"], "q")
    piano.down(keys.LEFT, "left")
    piano.down(keys.DOWN, "down")
    assert piano.down(SCANCODES["q"], "q") == []  # a repeat
    assert piano.up(SCANCODES["q"], "q") == [NoteOff(1, 60, 0.0)]
    assert down == NoteOn(1, 60, 0.8)
    assert piano.down(SCANCODES["q"], "q") == [NoteOn(1, 48, 0.7)]
    assert piano.release() == [Release()]
    assert piano.release() == []


def test_the_stage_has_its_keys() -> None:
    stage = Keys()
    assert stage.down(keys.TAB, "tab") == [Hold(-1.0)]
    assert stage.down(keys.GRAVE, "`") == [Blackout(-1.0)]
    assert stage.up(keys.TAB, "tab") == stage.up(keys.GRAVE, "`") == []
    digit = {sign: scancode for scancode, sign in keys.KEYPAD.items()}
    typed = [body for sign in "12.5" for body in stage.down(digit[sign], f"[{sign}]")]
    assert typed == stage.up(digit["1"], "[1]") == []
    assert stage.down(keys.KEYPAD_ENTER, "enter") == [GoTo(12.5)]
    assert stage.down(keys.KEYPAD_ENTER, "enter") == [], "a number is typed once"
    stage.down(digit["7"], "[7]")
    stage.down(keys.SPACE, "space")  # any other key lets go of it
    assert stage.down(keys.KEYPAD_ENTER, "enter") == []
    for sign in "1.2.":
        stage.down(digit[sign], sign)
    assert stage.down(keys.KEYPAD_ENTER, "enter") == [], "this is no number"


def test_levels_stay_between_0_and_1() -> None:
    mouse = Mouse()
    assert mouse.wheel(100.0) == Control("/mouse/wheel", 1.0)
    assert mouse.wheel(-1.0) == Control("/mouse/wheel", 31 / 32)
    assert Mouse.move(-5, 999, 640, 360) == [Control("/mouse/x", 0.0), Control("/mouse/y", 1.0)]
    assert keys.pad_axis(1, 2, -1.0) == Control("/pad/1/axis/2", 0.0)
    assert keys.pad_axis(2, 0, 1.01) == Control("/pad/2/axis/0", 1.0)
    assert keys.pad_button(1, 3, True) == Control("/pad/1/button/3", 1.0)
    assert keys.pad_hat(1, 0, 0, -1) == [Control("/pad/1/hat/0/x", 0.5), Control("/pad/1/hat/0/y", 0.0)]
