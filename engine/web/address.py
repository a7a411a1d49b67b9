"""The page's address for people, as text and as a QR code."""

import io
import socket

import segno

from engine.workers.web import WebConfig


def url(config: WebConfig, port: int, token: str = "") -> str:
    """Return the address that a browser is to open, on this machine or, where it may, on another."""
    host = config.host
    if host in ("0.0.0.0", "::"):
        host = config.hosts[0] if config.hosts else reachable()
    shown = f"http://{host}:{port}/"
    return f"{shown}?token={token}" if token else shown


def reachable() -> str:
    """Return the address by which other machines reach this one: that of the route to the outside."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # RFC 5737: nobody is there, and UDP sends nothing to say so
            found = str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
    return found


def qr_svg(address: str) -> bytes:
    """Return the code as a picture."""
    out = io.BytesIO()
    segno.make(address, micro=False).save(out, kind="svg", scale=6, light="#fff", dark="#000")
    return out.getvalue()


def qr_text(address: str) -> str:
    """Return the code for a terminal."""
    out = io.StringIO()
    segno.make(address, micro=False).terminal(out, compact=True)
    return out.getvalue()
