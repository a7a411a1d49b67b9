"""The signs of life of a show, told to those who would bring it back: systemd, and whoever asks over HTTP."""

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from engine.clock import monotonic_us
from engine.workers.health import VITALS
from engine.workers.shared import Board

if TYPE_CHECKING:
    from engine.session import Session

_BEAT_US: Final = 1e6


# systemd's protocol is a datagram of lines to the socket in $NOTIFY_SOCKET (sd_notify(3)); one that begins
# with @ is abstract. No library is worth the few lines.
def tell_systemd(text: str) -> bool:
    """Send lines such as READY=1 to systemd; return whether anybody listens. Never raises."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return False
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.setblocking(False)
        datagrams.sendto(text.encode(), "\0" + address[1:] if address[0] == "@" else address)
        return True
    return False


# That a process runs says nothing. What a watchdog hears is that the core has closed ticks and the presenter
# has shown frames since it heard last; who stops one of the two, stops the beat.
class Vitals:
    """Writes the vital signs of a session on `board`, and passes the heartbeat on to systemd."""

    def __init__(self) -> None:
        self.board = Board(VITALS)
        self._tick = self._due = self._shown = -1
        self._beat_us = 0.0
        self._ready = False

    def look(self, session: "Session") -> None:
        """Take the signs; called a few times a second."""
        seen, board, now_us = session.presentation, self.board, monotonic_us()
        tick, due, shown = session.state.tick, seen.due, seen.shown
        if tick > self._tick and due > self._due:
            board["moved_us"] = now_us
            self._tick, self._due = tick, due
            if now_us - self._beat_us >= _BEAT_US:
                self._beat(f"STATUS={shown} frames shown, {seen.late} late", now_us)
        if shown > self._shown:
            board["fresh_us"], self._shown = now_us, shown
        board["ticks"], board["due"], board["shown"], board["late"] = tick, due, shown, seen.late
        board["held"], board["warnings"] = seen.held, len(session.warnings)
        board["underruns"] = session.sound.board["underruns"]
        board["restarts"] = sum(worker.restarts for worker in session.workers)
        board["dropped"] = session.source.dropped

    def _beat(self, status: str, now_us: float) -> None:
        self._beat_us = now_us
        ready = "" if self._ready else "READY=1\n"
        tell_systemd(f"{ready}WATCHDOG=1\n{status}")
        self._ready = True

    def close(self) -> None:
        """Tell systemd that this is the end, and meant to be."""
        tell_systemd("STOPPING=1")
