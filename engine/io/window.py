"""Where frames are seen: a window, or nowhere."""

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from glob import glob
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.clock import monotonic_us
from engine.core.events import Body, Release
from engine.core.jobs import Caption
from engine.core.parameters import EFFECTS
from engine.io import keys, x11
from engine.workers.shared import Frame

_QUIT_US = 1e6  # two Escapes within a second close the window ...
_CLOSE_US = 3e6  # ... and the window manager's button twice within three: once may be a slip
_TWIN_US = 0.1e6  # SDL tells of one press twice, as the window's and as the program's end
_REOPEN_US = 1e6
_SOFTWARE_GL = ("llvmpipe", "softpipe", "swrast", "swiftshader", "gdi generic", "software")
_UNSEEN = ("offscreen", "dummy")  # what SDL falls back to in silence
_HUD_POINTS, _HUD_INK, _HUD_PAPER = 20, (235, 235, 235), (0, 0, 0, 150)
_NEUTRAL = tuple(effect.default for effect in EFFECTS)
_BLACKOUT = [effect.name for effect in EFFECTS].index("blackout")


class Presenter(Protocol):
    """Where frames are seen. Nothing here raises while playing."""

    shaders: bool  # whether it does the effects itself, on frames that come raw
    closed: bool  # whether its user has closed it

    def draw(
        self,
        frame: Frame | None,
        held: int,
        hud: tuple[str, ...],
        mark: tuple[int, int] | None = None,
        caption: Caption | None = None,
    ) -> None:
        """Prepare the next picture: black without a frame, moved on if shown for the `held`-th time more.

        `mark` is what the marker in its corner is to say: see `engine.io.marker.encode`.
        """
        ...

    def flip(self) -> float:
        """Show what was drawn; return the monotonic time in microseconds at which it was shown."""
        ...

    def seen(self, frame: Frame, size: tuple[int, int]) -> tuple[NDArray[np.uint8], bool]:
        """Return the picture that was drawn last, uint8 (height, width, 3) RGB, and whether it is complete.

        Else it is the frame, still to be brought to the size, moved on if it is held, and written upon.
        """
        ...

    def inputs(self) -> list[tuple[float, str, Body]]:
        """Return (monotonic microseconds, source, body) of all that came in since the last call."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


class Headless:
    """Nowhere: frames are taken at their times and seen by nobody."""

    shaders = False
    closed = False
    refresh_hz: float | None = None
    lost = 0

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def draw(
        self,
        frame: Frame | None,
        held: int,
        hud: tuple[str, ...],
        mark: tuple[int, int] | None = None,
        caption: Caption | None = None,
    ) -> None:
        """Touch nothing."""

    def flip(self) -> float:
        """Return the time."""
        return monotonic_us()

    def seen(self, frame: Frame, size: tuple[int, int]) -> tuple[NDArray[np.uint8], bool]:
        """Return the frame."""
        return frame.pixels, False

    def inputs(self) -> list[tuple[float, str, Body]]:
        """Return nothing."""
        return []

    def close(self) -> None:
        """Do nothing."""


class Window:
    """A window on a display, with its keyboard, mouse and game controllers.

    F takes it to the whole display and back, H shows the head-up display, the function keys swap to
    `generators`, Escape twice within a second closes it, and so does its close button twice within three.
    Where GL runs on a GPU, `shaders` is true and the effects are done here (`shaders=False` or `True` decides
    otherwise); elsewhere frames come finished and are scaled by OpenCV. A window that is lost, destroyed or
    left by its X server is counted in `lost` and tried again every second. Raise RuntimeError where no window
    opens.
    """

    def __init__(
        self,
        title: str,
        size: tuple[int, int] = (1280, 720),
        display: int = 0,
        fullscreen: bool = False,
        shaders: bool | None = None,
        generators: Sequence[str] = (),
    ) -> None:
        self._title, self._size, self._display, self._fullscreen = title, size, display, fullscreen
        self._wanted_shaders = shaders
        self.shaders = self.closed = False
        self.lost = 0
        self.refresh_hz: float | None = None
        self._alive = self._server_lost = False
        self._retry_us = self._escape_us = self._close_us = 0.0
        self._caption: Caption | None = None
        self._hud = False
        self._hud_lines: tuple[str, ...] = ()
        self._hud_surface: Any = None
        self._mark: tuple[int, int] | None = None
        self._held = 0
        self._context: Any = None
        self._stage: Any = None
        self._hud_texture: Any = None
        self._keys, self._mouse = keys.Keys(generators), keys.Mouse()
        self._pads: dict[int, tuple[int, Any]] = {}  # number and joystick by SDL's instance
        # SDL would show its software surface through software GL, 4 to 7 times slower (measured).
        os.environ.setdefault("SDL_FRAMEBUFFER_ACCELERATION", "0")
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        import pygame

        self._pygame = pygame
        self._draw_frame: Callable[[Frame | None, int], None]
        try:
            self._open()
        except pygame.error as error:
            pygame.display.quit()
            raise RuntimeError(str(error)) from None
        os.environ["SDL_VIDEODRIVER"] = pygame.display.get_driver()  # to reopen there, not elsewhere
        pygame.joystick.init()

    # Opening.

    def _open(self) -> None:
        pygame = self._pygame
        x11.survive_refusals()
        self._init_display()
        if pygame.display.get_driver() in _UNSEEN and "SDL_VIDEODRIVER" not in os.environ:
            raise pygame.error("no display that SDL can open")
        pygame.display.set_caption(self._title)
        wanted = _may_have_gpu() if self._wanted_shaders is None else self._wanted_shaders
        self.shaders = wanted and self._open_gl()
        if not self.shaders:
            self._set_mode(0)
            self._draw_frame = self._draw_software
        self.refresh_hz = _refresh_hz(pygame, self._display)
        self._hud_surface = None
        self._alive = True

    def _init_display(self) -> None:
        """Have SDL connect to the display."""
        with x11.surviving_lost_servers(self._lose_server):
            self._pygame.display.init()

    def _set_mode(self, flags: int) -> Any:
        """Open the window, or change it to its present form; return its surface."""
        pygame = self._pygame
        size = self._size
        if self._fullscreen:
            size, flags = pygame.display.get_desktop_sizes()[self._there()], flags | pygame.FULLSCREEN
        else:
            flags |= pygame.RESIZABLE
        vsync = 1 if flags & pygame.OPENGL else 0
        pygame.mouse.set_visible(not self._fullscreen)
        return pygame.display.set_mode(size, flags, display=self._there(), vsync=vsync)

    def _there(self) -> int:
        """Return the number of the display to open on: the last, where the wanted one is unplugged."""
        return min(self._display, self._pygame.display.get_num_displays() - 1)

    def _open_gl(self) -> bool:
        """Open the window with GL 3.3; return False, with no window open, where no GPU would run it."""
        pygame = self._pygame
        try:
            import moderngl

            from engine.render.shaders import Stage

            pygame.display.gl_set_attribute(pygame.GL_CONTEXT_MAJOR_VERSION, 3)
            pygame.display.gl_set_attribute(pygame.GL_CONTEXT_MINOR_VERSION, 3)
            pygame.display.gl_set_attribute(pygame.GL_CONTEXT_PROFILE_MASK, pygame.GL_CONTEXT_PROFILE_CORE)
            self._set_mode(pygame.OPENGL | pygame.DOUBLEBUF)
            self._context = moderngl.create_context(require=330)
            renderer = self._context.info["GL_RENDERER"].lower()
            if self._wanted_shaders is None and any(name in renderer for name in _SOFTWARE_GL):
                raise RuntimeError(f"{renderer} is no GPU")
            self._stage = Stage(self._context, *self._size)
        except Exception:  # no GL, no moderngl, no GPU, a driver's own error: software then
            self._drop_gl()
            pygame.display.quit()
            self._init_display()
            pygame.display.set_caption(self._title)
            return False
        self._drawn_tick = -1
        self._draw_frame = self._draw_shaders
        return True

    def _drop_gl(self) -> None:
        """Let go of GL while its display is still there: released later, it would take the process down."""
        context, self._context, self._stage, self._hud_texture = self._context, None, None, None
        if context is not None:
            context.release()
            del context
            gc.collect()  # moderngl's objects refer to each other

    def _lose(self) -> None:
        """Note that the display is gone."""
        if self._alive:
            self._alive = False
            self.lost += 1
            self._retry_us = monotonic_us() + _REOPEN_US

    def _lose_server(self) -> None:
        """Note that the X server is gone."""
        self._server_lost = True
        self._lose()

    def _leave_display(self) -> None:
        """Have SDL leave the display, whatever has become of it."""
        if self._server_lost:
            x11.forget_window(self._pygame)
        self._drop_gl()
        self._pygame.display.quit()
        self._server_lost = False

    def _ready(self) -> bool:
        """Return whether there is a window, trying to open it again at most once a second."""
        if self._alive or self.closed:
            return self._alive
        if monotonic_us() < self._retry_us:
            return False
        try:
            self._leave_display()
            self._open()
        except Exception:  # SDL's, GL's or a driver's own error
            self._retry_us = monotonic_us() + _REOPEN_US
        return self._alive

    # Showing.

    def draw(
        self,
        frame: Frame | None,
        held: int,
        hud: tuple[str, ...],
        mark: tuple[int, int] | None = None,
        caption: Caption | None = None,
    ) -> None:
        """Prepare the next picture: black without a frame, moved on if shown for the `held`-th time more."""
        if not self._ready():
            return
        self._hud_lines, self._mark, self._held = hud, mark, held
        self._caption = caption if caption is not None and caption.line else None
        try:
            self._draw_frame(frame, held)
        except Exception:  # a lost surface, a lost context
            self._lose()

    def flip(self) -> float:
        """Show what was drawn; return the monotonic time in microseconds at which it was shown."""
        if self._alive:
            try:
                self._pygame.display.flip()
            except Exception:  # as in `draw`
                self._lose()
        return monotonic_us()

    def seen(self, frame: Frame, size: tuple[int, int]) -> tuple[NDArray[np.uint8], bool]:
        """Return what the shaders have drawn, at a size, or else the frame."""
        if not (self._alive and self.shaders):
            return (_darkened(frame) if frame.raw else frame.pixels), False
        try:
            target = self._context.simple_framebuffer(size, 3)
            target.viewport = (0, 0, *size)
            self._stage.show(target, size, self._held, upright=False)
            if self._caption:
                self._stage.write(target, size, self._caption, upright=False)
            pixels = np.frombuffer(target.read(components=3, alignment=1), np.uint8)
            target.release()
            return pixels.reshape(size[1], size[0], 3), True
        except Exception:  # as in `draw`
            return frame.pixels, False

    def _draw_software(self, frame: Frame | None, held: int) -> None:
        surface = self._pygame.display.get_surface()
        if frame is None:
            surface.fill((0, 0, 0))
        else:
            import cv2

            from engine.render.caption import write
            from engine.render.scale import cover

            view = surface.get_view("2")  # (width, height) of 32 bits, no copy
            target = np.asarray(view).T[..., None].view(np.uint8)  # (height, width, 4)
            order = cv2.COLOR_RGB2BGRA if surface.get_shifts()[0] == 16 else cv2.COLOR_RGB2RGBA
            pixels = cv2.cvtColor(_darkened(frame) if frame.raw else frame.pixels, order)
            cover(pixels, held, target)
            if self._caption:
                write(target, self._caption)
            del target, view  # the surface is locked while they live
        if self._hud and self._hud_lines:
            surface.blit(self._hud_picture(), (0, 0))
        if self._mark:
            pixels = _marker(self._mark)
            code = self._pygame.image.frombuffer(pixels.tobytes(), pixels.shape[1::-1], "RGB")
            surface.blit(code, (0, surface.get_height() - len(pixels)))

    def _draw_shaders(self, frame: Frame | None, held: int) -> None:
        stage, screen = self._stage, self._context.screen
        width, height = self._pygame.display.get_window_size()
        screen.viewport = (0, 0, width, height)
        if frame is None:
            screen.clear()
        else:
            if frame.tick != self._drawn_tick:
                self._fit_stage(frame.pixels.shape, width, height)
                stage.apply(frame.pixels, frame.effects[: len(EFFECTS)] if frame.raw else _NEUTRAL)
                self._drawn_tick = frame.tick
            stage.show(screen, (width, height), held)
            if self._caption:
                stage.write(screen, (width, height), self._caption)
        if self._hud and self._hud_lines:
            picture = self._hud_picture()
            if self._hud_texture is None:
                data = self._pygame.image.tobytes(picture, "RGBA")
                self._hud_texture = self._context.texture(picture.get_size(), 4, data)
            stage.overlay(screen, (width, height), self._hud_texture)
        if self._mark:
            pixels = _marker(self._mark)
            code = self._context.texture(pixels.shape[1::-1], 3, pixels)
            stage.overlay(screen, (width, height), code, height - len(pixels))
            code.release()

    def _fit_stage(self, shape: tuple[int, ...], width: int, height: int) -> None:
        """Give the stage the frame's aspect, just covering the window."""
        scale = max(width / shape[1], height / shape[0])
        size = (round(shape[1] * scale), round(shape[0] * scale))
        if size != self._stage.size:
            self._stage.resize(*size)

    def _hud_picture(self) -> Any:
        """Return the head-up display as a surface, drawn anew when its lines change."""
        pygame = self._pygame
        if self._hud_surface is None or self._hud_surface[0] != self._hud_lines:
            if not pygame.font.get_init():
                pygame.font.init()
            font = pygame.font.Font(None, _HUD_POINTS)
            texts = [font.render(line, True, _HUD_INK) for line in self._hud_lines]
            step = font.get_linesize()
            surface = pygame.Surface(
                (max(text.get_width() for text in texts) + 16, step * len(texts) + 12), pygame.SRCALPHA
            )
            surface.fill(_HUD_PAPER)
            for row, text in enumerate(texts):
                surface.blit(text, (8, 6 + row * step))
            self._hud_surface = (self._hud_lines, surface)
            self._hud_texture = None
        return self._hud_surface[1]

    # Listening.

    def inputs(self) -> list[tuple[float, str, Body]]:
        """Return (monotonic microseconds, source, body) of all that came in since the last call.

        SDL's own stamps do not reach Python, so the stamp is the time of this call. Only the last of several
        places of the pointer is returned.
        """
        if not self._alive or self.closed:
            return []
        try:
            events = self._pygame.event.get()
        except Exception:  # as in `draw`
            self._lose()
            return self._sourced(keys.SOURCE, self._keys.release())
        moves = [event for event in events if event.type == self._pygame.MOUSEMOTION]
        others = [event for event in events if event.type != self._pygame.MOUSEMOTION]
        found: list[tuple[float, str, Body]] = []
        for event in others + moves[-1:]:
            with suppress(Exception):  # what it tells of is gone by now: a pad pulled, a window closed
                found += self._translate(event)
        return found

    @staticmethod
    def _sourced(source: str, bodies: list[Body]) -> list[tuple[float, str, Body]]:
        now_us = monotonic_us()
        return [(now_us, source, body) for body in bodies]

    def _translate(self, event: Any) -> list[tuple[float, str, Body]]:
        """Return the inputs that one of SDL's events stands for; do what it asks of the window."""
        pygame = self._pygame
        match event.type:
            case pygame.KEYDOWN if event.scancode in (keys.ESCAPE, keys.FULLSCREEN, keys.HUD):
                return self._command(event.scancode)
            case pygame.KEYUP if event.scancode in (keys.ESCAPE, keys.FULLSCREEN, keys.HUD):
                return []
            case pygame.KEYDOWN:
                bodies = self._keys.down(event.scancode, pygame.key.name(event.key))
                return self._sourced(keys.SOURCE, bodies)
            case pygame.KEYUP:
                bodies = self._keys.up(event.scancode, pygame.key.name(event.key))
                return self._sourced(keys.SOURCE, bodies)
            case pygame.WINDOWFOCUSLOST:
                return self._sourced(keys.SOURCE, self._keys.release())
            case pygame.QUIT | pygame.WINDOWCLOSE:
                return self._close_asked()
            case pygame.WINDOWHIDDEN if not x11.window_exists(pygame):
                self._lose()  # somebody has destroyed it
                return self._sourced(keys.SOURCE, self._keys.release())
            case pygame.MOUSEBUTTONDOWN | pygame.MOUSEBUTTONUP if event.button not in (4, 5):
                down = event.type == pygame.MOUSEBUTTONDOWN
                return self._sourced("mouse", [self._mouse.button(event.button, down)])
            case pygame.MOUSEMOTION:
                place = (*event.pos, *pygame.display.get_window_size())
                return self._sourced("mouse", self._mouse.move(*place))
            case pygame.MOUSEWHEEL:
                return self._sourced("mouse", [self._mouse.wheel(event.y)])
            case _:
                return self._translate_pad(event)

    def _translate_pad(self, event: Any) -> list[tuple[float, str, Body]]:
        pygame = self._pygame
        if event.type == pygame.JOYDEVICEADDED:
            taken = {number for number, _ in self._pads.values()}
            number = next(n for n in range(1, len(taken) + 2) if n not in taken)
            joystick = pygame.joystick.Joystick(event.device_index)
            self._pads[joystick.get_instance_id()] = (number, joystick)
            return []
        if getattr(event, "instance_id", None) not in self._pads:
            return []
        number, _ = self._pads[event.instance_id]
        bodies: list[Body] = []
        match event.type:
            case pygame.JOYAXISMOTION:
                bodies = [keys.pad_axis(number, event.axis, event.value)]
            case pygame.JOYBUTTONDOWN | pygame.JOYBUTTONUP:
                bodies = [keys.pad_button(number, event.button, event.type == pygame.JOYBUTTONDOWN)]
            case pygame.JOYHATMOTION:
                bodies = keys.pad_hat(number, event.hat, *event.value)
            case pygame.JOYDEVICEREMOVED:
                del self._pads[event.instance_id]
                bodies = [Release()]
        return self._sourced(f"pad:{number}", bodies)

    def _command(self, scancode: int) -> list[tuple[float, str, Body]]:
        """Do what one of the window's own keys asks."""
        if scancode == keys.HUD:
            self._hud = not self._hud
        elif scancode == keys.FULLSCREEN:
            self._fullscreen = not self._fullscreen
            flags = self._pygame.OPENGL | self._pygame.DOUBLEBUF if self.shaders else 0
            try:
                self._set_mode(flags)
                if not self._fullscreen:
                    self._set_mode(flags)  # the first leaves the whole display, the second sets the size
            except self._pygame.error:
                self._lose()
        else:
            now_us = monotonic_us()
            if now_us - self._escape_us < _QUIT_US:
                return self._leave()
            self._escape_us = now_us
        return []

    def _close_asked(self) -> list[tuple[float, str, Body]]:
        """Stay the first time that the window manager's button is pressed: it is easily hit."""
        now_us = monotonic_us()
        since_us, self._close_us = now_us - self._close_us, now_us
        return self._leave() if _TWIN_US < since_us < _CLOSE_US else []

    def _leave(self) -> list[tuple[float, str, Body]]:
        """Close for the user; what sounds is released."""
        self.closed = True
        return self._sourced(keys.SOURCE, self._keys.release())

    def close(self) -> None:
        """Give everything back."""
        if self._alive or self._server_lost:
            self._alive = False
            self._leave_display()
            self._pygame.joystick.quit()
        self.closed = True


def _darkened(frame: Frame) -> NDArray[np.uint8]:
    """Return a frame made for shaders that are gone: until others come, dark must still be dark."""
    import cv2

    return np.asarray(cv2.convertScaleAbs(frame.pixels, alpha=1.0 - frame.effects[_BLACKOUT]), np.uint8)


def _marker(mark: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the pixels of a marker, (side, side, 3)."""
    from engine.io.marker import encode  # it brings OpenCV with it

    return encode(*mark)


def _may_have_gpu() -> bool:
    """Return whether it is worth asking GL: on Linux a GPU's driver shows itself as a device file."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(glob("/dev/dri/renderD*") or glob("/dev/nvidia[0-9]*"))


def _refresh_hz(pygame: Any, display: int) -> float | None:
    """Return the display's refresh rate as SDL knows it, which pygame does not pass on."""

    class DisplayMode(ctypes.Structure):  # SDL_video.h
        _fields_ = (
            ("format", ctypes.c_uint32), ("w", ctypes.c_int), ("h", ctypes.c_int),
            ("refresh_rate", ctypes.c_int), ("driverdata", ctypes.c_void_p),
        )  # fmt: skip

    mode = DisplayMode()
    try:
        found = ctypes.CDLL(pygame.base.__file__).SDL_GetCurrentDisplayMode(display, ctypes.byref(mode))
    except (OSError, AttributeError):  # SDL is linked in a way that hides its symbols
        return None
    return float(mode.refresh_rate) if found == 0 and mode.refresh_rate > 0 else None
