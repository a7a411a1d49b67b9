"""The process that serves the web page."""

import asyncio
import signal
from dataclasses import dataclass
from typing import Final

from engine.web.guard import Role
from engine.workers.links import WebLink

NICE: Final = 12  # behind the generator, whose 10 is behind the rest


@dataclass(frozen=True)
class WebConfig:
    """Where to listen, by which further names it is known, and the tokens that open it.

    `path` is the show's file and `generators` what it may swap to, for people.
    """

    host: str
    port: int
    hosts: tuple[str, ...] = ()
    tokens: tuple[tuple[str, Role], ...] = ()
    path: str = ""
    generators: tuple[str, ...] = ()


def run(link: WebLink, config: WebConfig) -> None:
    """Serve until told to stop, or until the parent process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Here, since the main process imports this module, and not the server.
    from engine.web.server import serve

    asyncio.run(serve(link, config))
