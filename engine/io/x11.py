"""What keeps the process alive when an X server refuses something or is gone."""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def _display(pygame: Any) -> int | None:
    """Return SDL's connection to the X server as an address, None where it has none.

    pygame's `get_wm_info` reads fields that X11 does not fill, and ends the process where they are 0.
    """
    if pygame.display.get_driver() != "x11":
        return None
    info = ctypes.create_string_buffer(128)  # SDL_SysWMinfo: version, subsystem at 4, Display * at 8
    info.raw = bytes(pygame.get_sdl_version()).ljust(128, b"\0")
    try:
        sdl = ctypes.CDLL(pygame.base.__file__)
        sdl.SDL_GetWindowFromID.restype = ctypes.c_void_p
        sdl.SDL_GetWindowWMInfo.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        windows = (sdl.SDL_GetWindowFromID(number) for number in range(1, 1000))  # there is one
        window = next((window for window in windows if window), None)
        if window is None or not sdl.SDL_GetWindowWMInfo(window, info):
            return None
    except (OSError, AttributeError):  # SDL is linked in a way that hides its symbols
        return None
    return ctypes.c_void_p.from_buffer(info, 8).value


_handlers: list[Any] = []  # that Xlib holds
_IGNORE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(lambda *_: 0)


# Xlib answers a lost connection by ending the process, in two handlers. Since libX11 1.7 both can be
# replaced; the calls then return and do nothing. SDL waits forever for an answer when it is to leave such
# a connection, so this window stays lost, and the show goes on without it.
def survive_lost_server(pygame: Any, lose: Callable[[], None]) -> None:
    """Have `lose` called, in place of an exit, when the X server of the window is gone."""
    display = _display(pygame)
    if display is None:
        return
    on_exit = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(lambda *_: lose())
    try:
        library = ctypes.CDLL("libX11.so.6")
        library.XSetIOErrorExitHandler.argtypes = [ctypes.c_void_p, type(on_exit), ctypes.c_void_p]
        library.XSetIOErrorExitHandler(display, on_exit, None)
        library.XSetIOErrorHandler(_IGNORE)
    except (OSError, AttributeError):  # an older libX11: a lost server ends the process
        return
    _handlers.append(on_exit)


def survive_refusals() -> None:
    """Have requests that the X server refuses (of GL, say) fail, in place of ending the process."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libX11.so.6").XSetErrorHandler(_IGNORE)
