"""The health worker: GET /healthz on the loopback, in a process of its own."""

import json
import signal
import sys
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing import parent_process
from typing import Final

from engine.clock import monotonic_us
from engine.workers.links import COMMON
from engine.workers.shared import Board

# Cells that the main process writes: when the core and the presenter were last seen to move, when a fresh
# frame was last shown, and counters.
VITALS: Final = (
    *COMMON, "moved_us", "fresh_us", "ticks", "due", "shown", "late", "held", "underruns", "restarts",
    "dropped", "warnings",
)  # fmt: skip
_COUNTERS: Final = VITALS[len(COMMON) + 2 :]
_MOVED_US, _FRESH_US = 5e6, 60e6  # the longest that each may be ago
_ASK_S: Final = 0.5
_PATIENCE_S: Final = 2.0  # with a client that says nothing


def vitals(board: Board, now_us: float) -> dict[str, object]:
    """Return what is told: whether the show is alive, why not, and its counters."""
    reasons = []
    if now_us - board["moved_us"] > _MOVED_US:
        reasons.append("the core or the presenter has stopped")
    elif now_us - board["fresh_us"] > _FRESH_US:
        reasons.append("no fresh frame for a minute")
    counters = {name: int(board[name]) for name in _COUNTERS}
    return {"alive": not reasons, "reason": ", ".join(reasons)} | counters


def run(board: Board, port: int) -> None:
    """Answer until told to stop, or until the parent process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    class Handler(BaseHTTPRequestHandler):
        timeout = _PATIENCE_S

        def do_GET(self) -> None:
            if self.path != "/healthz":
                self.send_error(404)
                return
            told = vitals(board, monotonic_us())
            body = json.dumps(told).encode() + b"\n"
            self.send_response(200 if told["alive"] else 503)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing: nobody reads it."""

    try:
        server = HTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        print(f"health: can't listen on 127.0.0.1:{port} ({error.strerror})", file=sys.stderr, flush=True)
        raise SystemExit(1) from None
    parent = parent_process()
    server.timeout = _ASK_S
    board["ready"] = 1.0
    while not board["stop"] and (parent is None or parent.is_alive()):
        board["heartbeat_us"] = monotonic_us() + _PATIENCE_S * 1e6
        with suppress(OSError):
            server.handle_request()
    server.server_close()
