"""The page's files, as they were built: few, known by name, and held in memory."""

import gzip
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

BUILT: Final = Path(__file__).resolve().parent / "built"
_KINDS: Final = {
    "index.html": "text/html; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "barlow.woff2": "font/woff2",
}


@dataclass(frozen=True)
class Asset:
    """A file: its type, what it holds, plain and compressed, and a tag that changes with it."""

    kind: str
    plain: bytes
    packed: bytes
    tag: str


def load(folder: Path = BUILT) -> dict[str, Asset]:
    """Return the files by the paths they are served under."""
    found = {}
    for name, kind in _KINDS.items():
        if not (folder / name).exists():
            continue
        plain = (folder / name).read_bytes()
        tag = f'"{sha256(plain).hexdigest()[:20]}"'
        asset = Asset(kind, plain, gzip.compress(plain, 9, mtime=0), tag)
        found["/" if name == "index.html" else f"/{name}"] = asset
    return found


# Nothing but the page's own files, its own socket, and no frame around it.
def headers(host: str) -> dict[str, str]:
    """Return what stands above every answer; `host` has been checked."""
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self';"
        f" connect-src 'self' ws://{host}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
        "Cache-Control": "no-cache",
    }
