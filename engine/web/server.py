"""The server of the web page: HTTP, one WebSocket a page, and limits on both."""

import asyncio
import json
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from multiprocessing import parent_process
from typing import Any, Final

import psutil
from aiohttp import WSCloseCode, WSMsgType, web

from engine.clock import monotonic_us
from engine.core.events import Body, encode
from engine.core.parameters import INDEX
from engine.core.show import Show
from engine.web import assets, guard, protocol, view
from engine.web.learn import Learner
from engine.web.preview import Preview
from engine.workers.links import WebLink, pack_text
from engine.workers.web import WebConfig

_BEAT_S: Final = 1.0 / 60.0  # between two looks at what there is to tell
_IDLE_S: Final = 0.1  # while nobody is there
_RETRY_S: Final = 5.0  # between two tries to have the port
_SLOW_S: Final = 5.0  # a page that does not take what it is sent for so long is let go
_FLOOD_S: Final = 5.0  # one that sends more than it may for so long, too
_SILENT_S: Final = 15.0  # a connection that asks nothing for so long is closed
_PING_S: Final = 20.0
_ANSWER_S: Final = 20.0  # the longest that the main process may take over a question
_ONE_PICTURE_S: Final = 3.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Page:
    """One open page: what it has been told, and what it still is to be told."""

    def __init__(self, request: web.Request, role: guard.Role) -> None:
        self.role = role
        self.handler, self.transport = request.protocol, request.transport
        self.socket = web.WebSocketResponse(
            timeout=1.0, heartbeat=_PING_S, max_msg_size=protocol.MAX_MESSAGE, compress=False
        )
        self.wake = asyncio.Event()
        self.replies: deque[str] = deque()
        self.rate = guard.Bucket(*guard.MESSAGES)
        self.hurried_s = 0.0  # when it had last sent no more than it may
        self.levels: tuple[float, ...] = ()
        self.shown = self.stated = self.levelled = self.pictured = 0  # counts of what it was told last
        self.fps = 0.0  # of the pictures that it wants
        self.picture_us = 0.0  # when it was sent the last one
        self.learner: Learner | None = None

    def reply(self, message: dict[str, Any]) -> None:
        """Have a message sent, in its turn."""
        self.replies.append(json.dumps(message, ensure_ascii=False, separators=(",", ":")))
        self.wake.set()


class Server:
    """All pages, and what they share."""

    def __init__(self, link: WebLink, config: WebConfig) -> None:
        self._link, self._config = link, config
        self._assets = assets.load()
        self._gate = guard.Gate(frozenset())
        self._requests = guard.Bucket(*guard.REQUESTS)
        self._events = guard.Bucket(*guard.EVENTS)
        self._pages: set[Page] = set()
        self._asked: dict[int, tuple[Page, int, float]] = {}  # by number: who asked, as what, until when
        self._number = int(monotonic_us())  # so that a server started anew knows the answers to its own
        self._moved_s: dict[str, float] = {}  # when each parameter was moved last
        self._waiting: dict[str, tuple[float, Body]] = {}  # the latest of what came too soon after it
        self._known = protocol.Known(config.generators)
        self._show: tuple[int, str] = (0, "")  # count and text of each thing that is told
        self._state: tuple[int, str] = (0, "")
        self._inputs: list[tuple[str, float]] = []
        self._levels: tuple[int, int, tuple[float, ...]] = (0, 0, ())
        self._changes: dict[int, str] = {}  # up to these levels, by the count of those that a page has
        self._preview = Preview(link)
        self._asks_us: dict[Any, float] = {}  # when each connection asked for something last
        self.app = web.Application(middlewares=[self._guard], client_max_size=1024)
        self.app.router.add_get("/live", self._live)
        self.app.router.add_get("/preview.jpg", self._picture)
        self.app.router.add_get("/qr.svg", self._qr)
        for path in self._assets:
            self.app.router.add_get(path, self._asset)

    # Coming in.

    async def listen(self, runner: web.AppRunner) -> asyncio.Server | None:
        """Return a server on the port, or None, and say why, where it can't be had."""
        host, port = self._config.host, self._config.port
        assert runner.server is not None
        serve = runner.server

        def connection() -> asyncio.Protocol:
            if len(serve.connections) >= guard.MAX_CONNECTIONS:
                return _Full()
            handler = serve()
            self._asks_us[handler] = monotonic_us()
            return handler

        try:
            server = await asyncio.get_running_loop().create_server(connection, host, port, backlog=64)
        except OSError as error:
            reason = f"can't listen on {host}:{port} ({error.strerror or error})"
            self._link.says.push(pack_text(f"web page: {reason}; name another port under [web] listen"))
            return None
        port = server.sockets[0].getsockname()[1]
        names = guard.names(host, port, _own_names(), self._config.hosts)
        self._gate = guard.Gate(names, self._config.tokens)
        self._link.board["port"] = port
        return server

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn away who is not to come in; give every answer its headers."""
        self._asks_us[request.protocol] = monotonic_us()
        headers = request.headers
        hosts = headers.getall("Host", [])
        host = hosts[0] if len(hosts) == 1 else None
        # A link to the page from elsewhere is no harm: the page itself is the same for all.
        site = None if request.path == "/" and request.method == "GET" else headers.get("Sec-Fetch-Site")
        if not self._requests.take(monotonic_us() / 1e6):
            await asyncio.sleep(1.0)
            return _refused(429, "too many requests")
        if wrong := self._gate.stranger(host, headers.get("Origin"), site):
            return _refused(403, wrong)
        if self._role(request) is None:
            return _refused(401, "scan the code in the terminal, or open the address that stands there")
        try:
            response = await handler(request)
        except web.HTTPException as error:
            response = web.Response(status=error.status, text=error.text)
        if not response.prepared:
            response.headers.update(assets.headers(host or ""))
            response.headers["Server"] = "Chladni"
            if (given := request.query.get("token")) and self._gate.tokens:
                response.set_cookie(self._cookie, given, httponly=True, samesite="Strict", path="/")
        return response

    @property
    def _cookie(self) -> str:
        return f"chladni-{self._link.board['port']:.0f}"  # cookies know no ports

    def _role(self, request: web.Request) -> guard.Role | None:
        return self._gate.role(request.query.get("token") or request.cookies.get(self._cookie))

    async def _asset(self, request: web.Request) -> web.Response:
        asset = self._assets[request.path]
        if request.headers.get("If-None-Match") == asset.tag:
            return web.Response(status=304, headers={"ETag": asset.tag})
        headers = {"Content-Type": asset.kind, "ETag": asset.tag, "Vary": "Accept-Encoding"}
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=asset.packed, headers=headers | {"Content-Encoding": "gzip"})
        return web.Response(body=asset.plain, headers=headers)

    async def _picture(self, request: web.Request) -> web.Response:
        before = self._preview.count
        until_us = monotonic_us() + _ONE_PICTURE_S * 1e6
        while self._preview.count == before and monotonic_us() < until_us:
            self._preview.look(1.0)
            self._preview.take()
            await asyncio.sleep(_BEAT_S)
        if self._preview.count == before:
            raise web.HTTPServiceUnavailable(text="there is no picture\n")
        return web.Response(body=self._preview.jpeg, content_type="image/jpeg")

    async def _qr(self, request: web.Request) -> web.Response:
        """Show the address that other machines are to open, to whoever sits at this one."""
        tokens = {role: token for token, role in self._config.tokens}
        if not tokens or not guard.is_loopback(request.remote or "") or self._role(request) != "full":
            raise web.HTTPNotFound
        from engine.web.address import qr_svg, url

        address = url(self._config, int(self._link.board["port"]), tokens["full"])
        return web.Response(body=qr_svg(address), content_type="image/svg+xml")

    # A page's two tasks: this one hears it ...
    async def _live(self, request: web.Request) -> web.StreamResponse:
        if len(self._pages) >= guard.MAX_PAGES:
            raise web.HTTPServiceUnavailable(text="too many pages are open\n")
        page = Page(request, self._role(request) or "view")
        await page.socket.prepare(request)
        self._pages.add(page)
        page.wake.set()
        self._link.board["clients"] = len(self._pages)
        teller = asyncio.create_task(self._tell(page))
        try:
            async for message in page.socket:
                if message.type != WSMsgType.TEXT:
                    break
                if not await self._pace(page):
                    await page.socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"too many messages")
                    break
                self._hear(page, message.data)
        finally:
            teller.cancel()
            self._pages.discard(page)
            self._link.board["clients"] = len(self._pages)
            with suppress(Exception):
                await page.socket.close()
        return page.socket

    async def _pace(self, page: Page) -> bool:
        """Let who floods wait, and the flood behind it; return False for one that does not end."""
        now_s = monotonic_us() / 1e6
        if page.rate.take(now_s):
            page.hurried_s = now_s
            return True
        while not page.rate.take(monotonic_us() / 1e6):
            await asyncio.sleep(page.rate.wait_s())
        return now_s - page.hurried_s < _FLOOD_S

    # ... and this one tells it what is new; news that it is too slow for it never hears of.
    async def _tell(self, page: Page) -> None:
        try:
            while True:
                await page.wake.wait()
                page.wake.clear()
                async with asyncio.timeout(_SLOW_S):
                    await self._tell_news(page)
        except Exception:  # too slow, or gone: whatever it is costs this page alone
            if page.transport:
                page.transport.abort()

    async def _tell_news(self, page: Page) -> None:
        send = page.socket.send_str
        if self._show[0] and page.shown != self._show[0]:
            kind = "show" if page.shown else "hello"
            page.shown = self._show[0]
            await send(f'{{"type":"{kind}","role":"{page.role}",{self._show[1][1:]}')
        if not page.shown:
            return
        while page.replies:
            await send(page.replies.popleft())
        count, tick, levels = self._levels
        if page.levelled != count:
            if page.levelled not in self._changes:  # most pages know the same, and are told the same
                changed = _changed(page.levels, levels)
                text = f'{{"type":"levels","tick":{tick},"levels":{json.dumps(changed)}}}' if changed else ""
                self._changes[page.levelled] = text
            text, page.levelled, page.levels = self._changes[page.levelled], count, levels
            if text:
                await send(text)
        if page.stated != self._state[0]:
            page.stated = self._state[0]
            await send(self._state[1])
        now_us = monotonic_us()
        if page.fps and page.pictured != self._preview.count and now_us - page.picture_us > 0.9e6 / page.fps:
            page.pictured, page.picture_us = self._preview.count, now_us
            await page.socket.send_bytes(self._preview.jpeg)

    # What a page asks.

    def _hear(self, page: Page, text: str) -> None:
        number: Any = None
        us = monotonic_us()
        try:
            message = protocol.read(text)
            number = message.id
            if page.role != "full" and message.do not in protocol.HARMLESS:
                raise protocol.Wrong("this page may only look on")
            if self._obey(page, message, us):
                page.reply({"id": number, "ok": True})
        except protocol.Wrong as error:
            self._link.board.add("refused")
            page.reply({"id": error.id if number is None else number, "error": str(error)})

    def _obey(self, page: Page, message: Any, us: float) -> bool:
        """Do what is asked; return whether that is all there is to say. Raise Wrong."""
        match message:
            case protocol.Act(do="ping"):
                return True
            case protocol.Look(on=on, fps=fps):
                page.fps = fps if on else 0.0
                return True
            case protocol.Learn(parameter=name):
                page.learner = Learner(protocol.known(name, INDEX, "parameter"), self._inputs)
                return True
            case protocol.Act(do="unlearn"):
                page.learner = None
                return True
            case protocol.Set(parameter=name):
                self._move(name, us, protocol.body(message, self._known))
                return True
            case protocol.Edit() | protocol.Render():
                self._ask(page, message, us)
                return False
        body = protocol.body(message, self._known)
        if not self._events.take(us / 1e6):
            raise protocol.Wrong("too much at once: try again")
        self._send(us, body)
        return True

    def _ask(self, page: Page, message: Any, us: float) -> None:
        """Pass on what only the main process can do; its answer comes back later."""
        self._number += 1
        if not self._events.take(us / 1e6) or not self._link.asked.push(
            self._number, message.model_dump_json(exclude_unset=True).encode()
        ):
            raise protocol.Wrong("the show is busy: try again")
        self._asked[self._number] = (page, message.id, us + _ANSWER_S * 1e6)

    def _answer(self, now_us: float) -> None:
        """Bring answers to the pages that asked; who got none is told so."""
        for number, data in self._link.answered.pop_all():
            if asked := self._asked.pop(number, None):
                page, message_id, _ = asked
                page.reply({"id": message_id} | json.loads(data.rstrip(b"\0")))
        for number, (page, message_id, until_us) in list(self._asked.items()):
            if now_us > until_us:
                del self._asked[number]
                page.reply({"id": message_id, "error": "the show does not answer"})

    def _move(self, name: str, us: float, body: Body) -> None:
        """Move a parameter now, or as soon as its turn comes: the latest level is never lost."""
        soon = us / 1e6 - self._moved_s.get(name, 0.0) < guard.SET_EVERY_S
        if soon or name in self._waiting or not self._events.take(us / 1e6):
            self._waiting[name] = (us, body)
            return
        self._moved_s[name] = us / 1e6
        self._send(us, body)

    def _send(self, us: float, body: Body) -> None:
        data = json.dumps(encode(body), ensure_ascii=False, separators=(",", ":")).encode()
        if len(data) > 504 or not self._link.events.push(us, data):
            raise protocol.Wrong("the show is busy: try again")

    # The beat.

    async def beat(self) -> None:
        """Take what the main process tells, once; wake the pages."""
        link, before = self._link, self._news()
        self._take_show()
        if (read := link.state.count != self._state[0] and link.state.read()) and read[1]:
            self._state = (read[0], read[1].decode())
            self._inputs = [(address, value) for address, value, _ in json.loads(read[1])["inputs"]]
            self._learn()
        if (read := link.levels.count != self._levels[0] and link.levels.read()) and read[1]:
            self._levels, self._changes = (read[0], *view.unpack_levels(read[1])), {}
        now_us = monotonic_us()
        self._answer(now_us)
        self._move_on(now_us / 1e6)
        if fps := max((page.fps for page in self._pages), default=0.0):
            self._preview.look(fps)
            self._preview.take()
        if self._news() != before:
            for page in self._pages:
                page.wake.set()

    def _news(self) -> tuple[int, ...]:
        """Return what differs once there is something to tell."""
        return self._show[0], self._state[0], self._levels[0], self._preview.count

    def _move_on(self, now_s: float) -> None:
        """Move the parameters whose turn has come."""
        due = [name for name in self._waiting if now_s - self._moved_s.get(name, 0.0) >= guard.SET_EVERY_S]
        for name in due:
            if not self._events.take(now_s):
                return
            us, body = self._waiting.pop(name)
            self._moved_s[name] = now_s
            with suppress(protocol.Wrong):
                self._send(us, body)

    def _take_show(self) -> None:
        read = self._link.show.count != self._show[0] and self._link.show.read()
        if read and read[1]:
            told = json.loads(read[1])
            show = Show.model_validate(told["show"])
            config, presets, cues = self._config, told["presets"], {cue.number for cue in show.cue}
            self._known = protocol.Known(config.generators, presets, cues)
            hello = view.hello(
                show, told["revision"], config.path, config.generators, presets, told["own_routes"]
            )
            self._show = (read[0], json.dumps(hello, ensure_ascii=False))

    def _learn(self) -> None:
        for page in self._pages:
            if page.learner and (found := page.learner.hear(self._inputs)):
                told = {"type": "learned", "parameter": page.learner.parameter}
                page.learner = None
                page.reply(told | {"address": found[0], "value": found[1]})

    def sweep(self) -> None:
        """Close the connections that ask nothing."""
        now_us = monotonic_us()
        talking = {page.handler for page in self._pages}
        for handler, asked_us in list(self._asks_us.items()):
            if handler.transport is None and now_us - asked_us > 1e6:
                del self._asks_us[handler]
            elif handler not in talking and now_us - asked_us > _SILENT_S * 1e6 and handler.transport:
                handler.transport.abort()

    @property
    def pages(self) -> int:
        """How many pages are open."""
        return len(self._pages)


class _Full(asyncio.Protocol):
    """Closes the connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _refused(status: int, reason: str) -> web.Response:
    headers = {"Connection": "close", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return web.Response(status=status, text=f"{reason}\n", headers=headers)


def _changed(before: tuple[float, ...], now: tuple[float, ...]) -> list[tuple[int, float]]:
    """Return index and level of what has changed; of all, where nothing was known."""
    if not before:
        return [(index, round(level, 6)) for index, level in enumerate(now)]
    pairs = enumerate(zip(before, now, strict=True))
    return [(index, round(level, 6)) for index, (old, level) in pairs if level != old]


def _own_names() -> list[str]:
    """Return this machine's addresses and names, as they may stand in Host."""
    found = [socket.gethostname(), f"{socket.gethostname()}.local"]
    for addresses in psutil.net_if_addrs().values():
        found += [each.address for each in addresses if each.family == socket.AF_INET]
    return found


async def serve(link: WebLink, config: WebConfig) -> None:
    """Serve until told to stop, or until the parent process is gone."""
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)  # a stranger's mistakes are not worth a line
    board, parent = link.board, parent_process()
    board["clients"] = board["look_until_us"] = board["port"] = 0.0
    server = Server(link, config)
    runner = web.AppRunner(
        server.app, access_log=None, handle_signals=False, keepalive_timeout=_SILENT_S, max_line_size=2048,
        max_field_size=4096, shutdown_timeout=0.2,
    )  # fmt: skip
    await runner.setup()
    listening: asyncio.Server | None = None
    tried_us, swept_us = -1e12, 0.0
    while not board["stop"] and (parent is None or parent.is_alive()):
        now_us = monotonic_us()
        board["heartbeat_us"] = now_us
        if listening is None and now_us - tried_us > _RETRY_S * 1e6:
            tried_us = now_us
            listening = await server.listen(runner)
            board["ready"] = 1.0
        if now_us - swept_us > 1e6:
            swept_us = now_us
            server.sweep()
        if server.pages:
            await server.beat()
        await asyncio.sleep(_BEAT_S if server.pages else _IDLE_S)
    if listening:
        listening.close()
    await runner.cleanup()
