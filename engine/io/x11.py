"""What keeps the process alive when an X server refuses something or is gone, and the window with it."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

_UNMAP_NOTIFY: Final = 18  # X.h

_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
_MEETING = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_IGNORE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(lambda *_: 0)
_handlers: list[Any] = []  # that Xlib holds


class _Unmap(ctypes.Structure):
    """XUnmapEvent (Xlib.h), as long as the largest of its kind."""

    _fields_ = (
        ("type", ctypes.c_int), ("serial", ctypes.c_ulong), ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p), ("event", ctypes.c_ulong), ("window", ctypes.c_ulong),
        ("from_configure", ctypes.c_int), ("rest", ctypes.c_long * 24),
    )  # fmt: skip


def _library() -> Any:
    """Return libX11, the one that SDL has loaded; raise OSError where there is none."""
    return ctypes.CDLL("libX11.so.6")


def _window(pygame: Any) -> tuple[int, int] | None:
    """Return SDL's connection to the X server as an address, with its window's id; None where it has none.

    pygame's `get_wm_info` reads fields that X11 does not fill, and ends the process where they are 0.
    """
    if pygame.display.get_driver() != "x11":
        return None
    info = ctypes.create_string_buffer(128)  # SDL_SysWMinfo: version, subsystem, Display * at 8, Window at 16
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
    display = ctypes.c_void_p.from_buffer(info, 8).value
    return (display, ctypes.c_ulong.from_buffer(info, 16).value) if display else None


def window_exists(pygame: Any) -> bool:
    """Return whether the X server still has the window; True where it can't be asked."""
    found = _window(pygame)
    if found is None:
        return True
    display, window = found
    attributes = ctypes.create_string_buffer(256)  # XWindowAttributes, 136 bytes on 64 bits
    try:
        ask = _library().XGetWindowAttributes
    except (OSError, AttributeError):
        return True
    ask.argtypes = [ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p]
    return bool(ask(display, window, attributes))


# Xlib answers a lost connection by ending the process, in two handlers. Since libX11 1.7 both can be
# replaced, the second for each connection; the calls then return and do nothing. SDL opens two connections
# and tells of one. The other is met as Xlib makes its lock, through the pointer to the function that does so
# (libX11's Xlibint.h), which it leaves open to programs that bring their own.
@contextmanager
def surviving_lost_servers(lose: Callable[[], None]) -> Iterator[None]:
    """Have `lose` called, in place of an exit, when the X server of a connection opened within is gone.

    Where that can't be had (no libX11, an older one) a lost server ends the process, as Xlib wants it.
    """
    try:
        library = _library()
        library.XSetIOErrorExitHandler.argtypes = [ctypes.c_void_p, _HANDLER, ctypes.c_void_p]
        library.XInitThreads()  # sets the pointer
        hook = ctypes.c_void_p.in_dll(library, "_XInitDisplayLock_fn")
    except (OSError, AttributeError, ValueError):
        yield
        return
    before, displays = hook.value, list[int]()
    make_lock = _MEETING(before or 0)

    def meet(display: int) -> int:
        displays.append(display)
        return make_lock(display) if before else 0

    meeting = _MEETING(meet)
    hook.value = ctypes.cast(meeting, ctypes.c_void_p).value
    try:
        yield
    finally:
        hook.value = before
        on_exit = _HANDLER(lambda *_: lose())
        _handlers.append(on_exit)
        library.XSetIOErrorHandler(_IGNORE)
        for display in displays:
            library.XSetIOErrorExitHandler(display, on_exit, None)


# SDL hides a window before it closes it, and waits until the X server has told it that this is done: for
# ever, if that is gone. So it is told beforehand.
def forget_window(pygame: Any) -> None:
    """Let SDL believe that its window is hidden, so that it can leave a server that is gone."""
    found = _window(pygame)
    if found is None:
        return
    display, window = found
    event = _Unmap(_UNMAP_NOTIFY, 0, 0, display, window, window, 0)
    with suppress(OSError, AttributeError):
        put_back = _library().XPutBackEvent
        put_back.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        put_back(display, ctypes.byref(event))


def survive_refusals() -> None:
    """Have requests that the X server refuses (of GL, say) fail, in place of ending the process."""
    with suppress(OSError, AttributeError):
        _library().XSetErrorHandler(_IGNORE)
