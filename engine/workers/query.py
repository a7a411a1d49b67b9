"""The process that answers OSCQuery: HTTP, WebSocket and mDNS."""

import asyncio
import json
import logging
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from multiprocessing import parent_process
from typing import TYPE_CHECKING, Any, Final

from engine.clock import monotonic_us
from engine.core.show import Show
from engine.io import oscquery
from engine.workers.links import QueryLink, pack_text

if TYPE_CHECKING:
    from aiohttp import web

NICE: Final = 12  # behind the generator, whose 10 is behind the rest
_LOOK_S: Final = 0.05  # between two looks at what has changed: listeners are told twenty times a second
_IDLE_S: Final = 0.2
_RETRY_S: Final = 5.0
_ANNOUNCED_US: Final = 10e6  # the longest that it may take until the network knows the name
MAX_LISTENERS: Final = 16
MAX_PATHS: Final = 512  # that one may listen to
_MAX_MESSAGE: Final = 4096
_BUSY_BYTES: Final = 65_536  # who has so much waiting is told later
_LINE: Final = 2048


@dataclass(frozen=True)
class QueryConfig:
    """Where to answer, where OSC listens, and what a swap may name."""

    host: str
    port: int
    osc: tuple[str, int] | None
    generators: tuple[str, ...]


def run(link: QueryLink, config: QueryConfig) -> None:
    """Answer until told to stop, or until the parent process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(Query(link, config).serve())


@dataclass(eq=False)
class _Listener:
    """Who listens, what it was told of each path, and below which paths it is yet to hear of a change."""

    socket: "web.WebSocketResponse"
    transport: asyncio.Transport | None
    told: dict[str, bytes] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)


class Query:
    """The tree of addresses as it is now, and those who listen."""

    def __init__(self, link: QueryLink, config: QueryConfig) -> None:
        from aiohttp import web  # here: the main process imports this module, and not the server

        self._web, self._link, self._config = web, link, config
        self._count = self._revision = 0
        self._told: dict[str, list[Any]] = {}
        self._title = ""
        self._tree: oscquery.Node = {"FULL_PATH": "/", "ACCESS": oscquery.NO_VALUE, "CONTENTS": {}}
        self._listeners: set[_Listener] = set()
        self._port = 0
        self._mdns: Any = None
        self.app = web.Application(client_max_size=1024)
        self.app.router.add_get("/{path:.*}", self._answer)

    async def serve(self) -> None:
        """Serve until told to stop."""
        logging.getLogger("aiohttp").setLevel(logging.CRITICAL)  # a stranger's mistakes are not worth a line
        board, parent = self._link.board, parent_process()
        board["clients"] = board["port"] = 0.0
        runner = self._web.AppRunner(
            self.app, access_log=None, handle_signals=False, max_line_size=_LINE, shutdown_timeout=0.2
        )
        await runner.setup()
        tried_us = -1e12
        while not board["stop"] and (parent is None or parent.is_alive()):
            board["heartbeat_us"] = monotonic_us()
            self._look()
            if not self._port and self._title and monotonic_us() - tried_us > _RETRY_S * 1e6:
                tried_us = monotonic_us()
                board["heartbeat_us"] = tried_us + _ANNOUNCED_US
                await self._listen(runner)
                board["ready"] = 1.0
            board["clients"] = len(self._listeners)
            for listener in list(self._listeners):
                await self._tell(listener)
            await asyncio.sleep(_LOOK_S if self._listeners else _IDLE_S)
        if self._mdns:
            with suppress(Exception):
                await self._mdns.async_close()
        await runner.cleanup()

    async def _listen(self, runner: "web.AppRunner") -> None:
        config = self._config
        site = self._web.TCPSite(runner, config.host, config.port)
        try:
            await site.start()
        except OSError as error:
            where = f"can't listen on {config.host}:{config.port} ({error.strerror or error})"
            self._link.says.push(pack_text(f"OSCQuery: {where}; name another under [osc] query"))
            return
        self._port = runner.addresses[0][1]
        self._link.board["port"] = self._port
        try:
            await self._announce()
        except Exception as error:  # whatever is wrong with the network, who knows the address can ask
            self._link.says.push(pack_text(f"OSCQuery is not announced: {error}"))

    # It is announced where it answers: on the loopback to this machine alone, on an address to its network.
    async def _announce(self) -> None:
        from zeroconf import InterfaceChoice, IPVersion, ServiceInfo
        from zeroconf.asyncio import AsyncZeroconf

        config = self._config
        everywhere = config.host == "0.0.0.0"
        addresses = _addresses() if everywhere else [socket.gethostbyname(config.host)]
        interfaces = InterfaceChoice.All if everywhere else addresses
        self._mdns = AsyncZeroconf(interfaces=interfaces, ip_version=IPVersion.V4Only)
        ports = {"_oscjson._tcp.local.": self._port}
        if config.osc:
            ports["_osc._udp.local."] = config.osc[1]
        for kind, port in ports.items():
            info = ServiceInfo(
                kind, f"{self._name}.{kind}", port, parsed_addresses=addresses, server=f"{_host()}.local."
            )
            await self._mdns.async_register_service(info, allow_name_change=True)

    @property
    def _name(self) -> str:
        """Return the name under which it is found; a part of a DNS name has 63 bytes at most."""
        title = self._title.replace(".", " ").encode()[:40].decode(errors="ignore")
        return f"Chladni {title}".strip()

    def _look(self) -> None:
        """Take up what the show tells, and which addresses it has."""
        link = self._link
        if link.told.count != self._count and (read := link.told.read()):
            self._count, data = read
            self._told = json.loads(data)
        if link.show.count != self._revision and (read := link.show.read()):
            self._revision, data = read
            said = json.loads(data)
            show = Show.model_validate(said["show"])
            before, self._tree = self._tree, oscquery.tree(show, said["presets"], self._config.generators)
            self._title = show.title
            for listener in self._listeners:
                listener.changed += oscquery.changed(before, self._tree)

    # A browser that was lured to another name for this machine (DNS rebinding) says that name, and a page
    # says where it comes from: neither is let in. Software that is no browser says an address and no origin.
    def _is_let_in(self, request: "web.Request") -> bool:
        host = request.headers.get("Host", "").rsplit(":", 1)[0]
        try:
            ip_address(host)
        except ValueError:
            if host not in ("localhost", f"{_host()}.local"):
                return False
        origin = request.headers.get("Origin")
        return origin is None or origin == f"http://{request.headers.get('Host')}"

    async def _answer(self, request: "web.Request") -> "web.StreamResponse":
        if not self._is_let_in(request):
            return self._web.Response(status=403)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._converse(request)
        query = request.rel_url.query_string.split("&")[0].split("=")[0]
        status, said = 200, None
        if query == "HOST_INFO":
            said = oscquery.host_info(self._name, self._config.osc, self._port)
        else:
            status, said = oscquery.answer(self._tree, request.path, query, self._told)
        if said is None:
            return self._web.Response(status=status)
        return self._web.json_response(said, status=status)

    async def _converse(self, request: "web.Request") -> "web.StreamResponse":
        """Take LISTEN and IGNORE of one listener until it goes."""
        if len(self._listeners) >= MAX_LISTENERS:
            return self._web.Response(status=503)
        channel = self._web.WebSocketResponse(heartbeat=20.0, max_msg_size=_MAX_MESSAGE, compress=False)
        await channel.prepare(request)
        listener = _Listener(channel, request.transport)
        self._listeners.add(listener)
        try:
            async for each in channel:
                with suppress(ValueError, TypeError, RecursionError):
                    self._take(listener, json.loads(each.data))
        finally:
            self._listeners.discard(listener)
        return channel

    def _take(self, listener: _Listener, said: Any) -> None:
        match said:
            case {"COMMAND": "LISTEN", "DATA": str(path)}:
                if len(listener.told) < MAX_PATHS and oscquery.find(self._tree, path):
                    listener.told.setdefault(path, b"")
            case {"COMMAND": "IGNORE", "DATA": str(path)}:
                listener.told.pop(path, None)

    async def _tell(self, listener: _Listener) -> None:
        """Tell a listener what has changed; who does not take it misses some."""
        if listener.transport is None or listener.transport.get_write_buffer_size() > _BUSY_BYTES:
            return
        with suppress(ConnectionError, RuntimeError):  # it is just going
            for path in listener.changed:
                await listener.socket.send_str(json.dumps({"COMMAND": "PATH_CHANGED", "DATA": path}))
            listener.changed.clear()
            for path, before in list(listener.told.items()):
                node = oscquery.find(self._tree, path)
                packet = oscquery.message(node, self._told) if node and "TYPE" in node else None
                if packet and packet != before:
                    await listener.socket.send_bytes(packet)
                    listener.told[path] = packet


def _host() -> str:
    return f"chladni-{socket.gethostname().split('.')[0].lower()}"[:63]


def _addresses() -> list[str]:
    """Return this machine's own addresses, the loopback left out where there are others."""
    import psutil

    found = [
        each.address
        for interface in psutil.net_if_addrs().values()
        for each in interface
        if each.family == socket.AF_INET
    ]
    return [each for each in found if not ip_address(each).is_loopback] or found
