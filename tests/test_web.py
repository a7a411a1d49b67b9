"""The page's server: what it tells and takes, whom it lets in, and that a flood stays outside."""

import asyncio
import functools
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import numpy as np
import pytest
from staged import first_light, playing
from staged import until as await_it

from engine.clock import monotonic_us
from engine.core.events import Body, Control, Go, Mark, Recall, Store, Swap, decode
from engine.core.parameters import INDEX
from engine.core.show import MAX_JSON, Show, ShowError, as_json, parse
from engine.core.state import initial
from engine.distribution import Distribution
from engine.io.video import probe
from engine.offline import verify
from engine.recording import read
from engine.show_file import ShowFile
from engine.web import address, guard, server, view
from engine.web.learn import Learner
from engine.workers import web
from engine.workers.links import WebLink, unpack_text, web_link
from engine.workers.supervisor import Worker

pytestmark = pytest.mark.live

SHOW = parse(
    'title = "Three"\n[[cue]]\nnumber = 1\n[[cue]]\nnumber = 2.5\nlevels = { hue = 20 }\n'
    '[[route]]\nfrom = "/midi/1/cc/1"\nto = "psi"\n[[preset]]\nname = "dusk"\nlevels = { psi = 0.5 }\n',
    "three.toml",
)
FULL, VIEW = "f" * 22, "v" * 22
TOKENS: tuple[tuple[str, guard.Role], ...] = ((FULL, "full"), (VIEW, "view"))


def looped(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an asynchronous test."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


def tell(link: WebLink, show: Show = SHOW, inputs: tuple[tuple[str, float, int], ...] = ()) -> None:
    """Tell what the desk would tell."""
    state = initial(show)
    told = show.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    link.show.write(json.dumps({"revision": 1, "presets": ["dusk"], "own_routes": 1, "show": told}).encode())
    link.state.write(json.dumps(view.state(show, state, view.Counters(inputs=inputs))).encode())
    link.levels.write(view.pack_levels(state))


@asynccontextmanager
async def serving(
    tokens: tuple[tuple[str, guard.Role], ...] = (), port: int = 0
) -> AsyncIterator[tuple[WebLink, int]]:
    """Serve in this process, on a port of the system's choice."""
    link = web_link()
    config = web.WebConfig("127.0.0.1", port, (), tokens, "three.toml", ("impressionism", "planets"))
    tell(link)
    task = asyncio.create_task(server.serve(link, config))
    try:
        while not link.board["ready"]:
            await asyncio.sleep(0.01)
        yield link, int(link.board["port"])
    finally:
        link.board["stop"] = 1.0
        await task


class Tab:
    """An open page."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws, self.number = ws, 0
        self._told: dict[str, Any] = {}  # the last message of each type

    async def ask(self, **message: Any) -> Any:
        """Ask, and return the answer."""
        self.number += 1
        await self.ws.send_str(json.dumps({"id": self.number} | message))
        return await self.next(lambda told: told.get("id") == self.number)

    async def next(self, wanted: Callable[[Any], bool] | str) -> Any:
        """Return the next message that is wanted, or is of a type; pictures are passed over."""
        while True:
            message = await self.ws.receive(timeout=5)
            if message.type == aiohttp.WSMsgType.BINARY:
                continue
            assert message.type == aiohttp.WSMsgType.TEXT, message
            told = json.loads(message.data)
            self._told[told.get("type")] = told
            if told.get("type") == wanted if isinstance(wanted, str) else wanted(told):
                return told

    async def later(self, revision: int) -> Any:
        """Return a show of a later revision; it may have come before the answer that was waited for."""
        while (shown := self._told.get("show")) is None or shown["revision"] <= revision:
            await self.next("show")
        return shown

    async def picture(self) -> bytes:
        """Return the next picture."""
        while (message := await self.ws.receive(timeout=5)).type != aiohttp.WSMsgType.BINARY:
            assert message.type == aiohttp.WSMsgType.TEXT, message
        return bytes(message.data)


@asynccontextmanager
async def tab(port: int, **headers: str) -> AsyncIterator[Tab]:
    """Open a page."""
    headers = {"Origin": f"http://127.0.0.1:{port}"} | headers
    url = f"http://127.0.0.1:{port}/live"
    async with aiohttp.ClientSession() as session, session.ws_connect(url, headers=headers) as ws:
        yield Tab(ws)


async def raw(port: int, request: str, seconds: float = 2.0) -> str:
    """Send bytes as they are; return what comes back until the server closes or is silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode())
    answer = b""
    try:
        async with asyncio.timeout(seconds):
            while data := await reader.read(65536):
                answer += data
    except (TimeoutError, ConnectionError):
        pass
    writer.close()
    return answer.decode(errors="replace")


async def status(port: int, head: str, **headers: str) -> int:
    """Return the status of a request; the right Host and a closing connection unless told otherwise."""
    headers = {"Host": f"127.0.0.1:{port}", "Connection": "close"} | headers
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return int((await raw(port, f"{head} HTTP/1.1\r\n{lines}\r\n")).split()[1])


def came_in(link: WebLink) -> list[Body]:
    """Return what has come in, decoded as the desk decodes it."""
    return [decode(json.loads(data.rstrip(b"\0"))) for _, data in link.events.pop_all()]


# What a page is told, and what it asks.


@looped
async def test_a_page_is_told_the_show_and_then_what_changes() -> None:
    async with serving() as (link, port), tab(port) as page:
        hello = await page.next("hello")
        assert (hello["role"], hello["show"]["title"], hello["revision"]) == ("full", "Three", 1)
        assert hello["cues"][1] == {"number": 2.5, "levels": {"hue": 20}, "index": 1}, "as the file has it"
        assert hello["routes"] == [{"from": "/midi/1/cc/1", "to": "psi", "index": 0}]
        assert hello["own_routes"] == 1
        assert hello["presets"] == ["dusk"]
        assert hello["kept"] == [{"name": "dusk", "levels": {"psi": 0.5}, "index": 0}]
        assert {each["wins"] for each in hello["parameters"]} == {"LTP"}
        assert "Route" in hello["schema"]["$defs"]
        assert len((await page.next("levels"))["levels"]) == len(hello["parameters"])
        state = await page.next("state")
        assert (state["cue"], state["next"], state["dark"]) == (-1, 0, 0.0)
        before = initial(SHOW)
        now = replace(before, tick=480, levels=(*before.levels[:-1], 0.125))
        link.levels.write(view.pack_levels(now))
        changed = {"type": "levels", "tick": 480, "levels": [[len(now.levels) - 1, 0.125]]}
        assert await page.next("levels") == changed
        tell(link, SHOW.model_copy(update={"title": "Four"}))
        assert (await page.next("show"))["show"]["title"] == "Four"
        longest = "x" * (MAX_JSON - len(as_json(SHOW)))
        tell(link, parse(f'title = "{longest}"', "long.toml"))
        assert (await page.next("show"))["show"]["title"] == longest


DONE: list[tuple[dict[str, Any], Body]] = [
    ({"do": "set", "parameter": "hue", "value": 30}, Control("/chladni/parameter/hue", 30.0)),
    (
        {"do": "set", "parameter": "musician.mode", "value": "duet"},
        Control("/chladni/parameter/musician.mode", 3.0),
    ),
    ({"do": "go"}, Go()),
    ({"do": "goto", "number": 2.5}, decode(["GoTo", 2.5])),
    ({"do": "hold", "on": True}, decode(["Hold", 1.0])),
    ({"do": "blackout", "on": False}, decode(["Blackout", 0.0])),
    ({"do": "tap"}, decode(["Tap"])),
    ({"do": "store", "preset": "dawn"}, Store("dawn")),
    ({"do": "recall", "preset": "dusk", "fade_s": 1}, Recall("dusk", 1.0)),
    ({"do": "swap", "generator": "planets"}, Swap("planets")),
    ({"do": "take", "on": True, "name": "one"}, Mark("one", 1)),
]
REFUSED: list[tuple[str, str]] = [
    ("no JSON", "JSON"),
    ('{"id":1,"do":"eval","code":"1"}', "tag"),
    ('{"id":1,"do":"set","parameter":"hue","value":NaN}', "finite"),
    ('{"id":1,"do":"set","parameter":"__class__","value":1}', "no parameter '__class__'"),
    ('{"id":1,"do":"set","parameter":"musician.mode","value":"loudly"}', "no choice 'loudly'"),
    ('{"id":1,"do":"set","parameter":"hue","value":1,"file":"x"}', "file"),
    ('{"id":1,"do":"swap","generator":"../../etc/passwd"}', "no generator"),
    ('{"id":1,"do":"recall","preset":"noon"}', "no preset 'noon'"),
    ('{"id":1,"do":"goto","number":9}', "no cue"),
    ('{"id":1,"do":"store","preset":"a\\u0000b"}', "a name is one line"),
    ('{"id":-1,"do":"go"}', "greater than"),
    ("[" * 15_000, "JSON"),
]  # fmt: skip


@looped
async def test_what_a_page_asks_becomes_an_event_and_what_is_wrong_an_answer() -> None:
    async with serving() as (link, port), tab(port) as page:
        for message, body in DONE:
            assert (await page.ask(**message))["ok"]
            assert came_in(link) == [body]
        for text, reason in REFUSED:
            await page.ws.send_str(text)
            told = await page.next(lambda told: "error" in told)
            assert reason in told["error"], text
            assert "\n" not in told["error"]
        assert came_in(link) == []
        assert link.board["refused"] == len(REFUSED)
        await page.ws.send_str("x" * 20_000)
        while not page.ws.closed:
            await page.ws.receive(timeout=5)
        assert page.ws.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


@looped
async def test_the_first_source_that_moves_clearly_is_learned() -> None:
    async with serving() as (link, port), tab(port) as page, tab(port) as other:
        for _ in range(3):
            tell(link, inputs=(("/midi/1/cc/7", 0.5, 0), ("/osc/light", 0.31, 0)))
            await asyncio.sleep(0.05)
        assert (await page.ask(do="learn", parameter="hue"))["ok"]
        tell(link, inputs=(("/midi/1/cc/7", 0.52, 0), ("/osc/light", 0.37, 0)))
        await asyncio.sleep(0.05)
        tell(link, inputs=(("/midi/1/cc/7", 0.8, 0), ("/osc/light", 0.33, 0)))
        told = await page.next("learned")
        assert told == {"type": "learned", "parameter": "hue", "address": "/midi/1/cc/7", "value": 0.8}
        assert (await other.ask(do="ping"))["ok"]
        assert (await page.ask(do="learn", parameter="psi"))["ok"]
        assert (await page.ask(do="unlearn"))["ok"]


def test_a_restless_sensor_is_not_mistaken_for_a_knob() -> None:
    learner = Learner("hue", [("/osc/wind", 0.4), ("/midi/1/cc/1", 0.0)])
    for wind in (0.5, 0.35, 0.6, 0.3, 0.7, 0.2):
        assert learner.hear([("/osc/wind", wind), ("/midi/1/cc/1", 0.05), ("/audio/level", wind)]) is None
    assert learner.hear([("/osc/wind", 0.4), ("/midi/1/cc/1", 0.4)]) == ("/midi/1/cc/1", 0.4)
    assert Learner("hue", []).hear([("/midi/1/cc/74", 0.6)]) == ("/midi/1/cc/74", 0.6), "it was silent before"


@looped
async def test_the_picture_is_the_one_that_is_shown() -> None:
    async with serving() as (link, port), tab(port) as page:
        assert (await page.ask(do="preview", on=True, fps=15))["ok"]
        await_us = monotonic_us() + 5e6
        while monotonic_us() > link.board["look_until_us"]:
            assert monotonic_us() < await_us
            await asyncio.sleep(0.01)
        pixels = np.zeros((128, 128, 3), np.uint8)
        pixels[:, :64], pixels[:, 64:] = (255, 0, 0), (0, 0, 255)
        link.frames.write(1, 1, pixels, int(monotonic_us()), 0, False, ())
        seen = cv2.imdecode(np.frombuffer(await page.picture(), np.uint8), cv2.IMREAD_COLOR)
        assert seen.shape[:2] == (270, 480)
        assert np.abs(seen[135, 100].astype(int) - (0, 0, 255)).max() < 12, "red on the left, in BGR"
        assert np.abs(seen[135, 380].astype(int) - (255, 0, 0)).max() < 12
        asked = asyncio.create_task(status(port, "GET /preview.jpg"))
        await asyncio.sleep(0.2)
        link.frames.write(2, 2, pixels, int(monotonic_us()), 0, False, ())
        assert await asked == 200


def test_the_histogram_counts_every_measurement_once() -> None:
    distribution = Distribution()
    for ms in (0.05, -0.05, 0.2, 3.0, 3.0, 20.0, 5000.0):
        distribution.add(ms)
    assert distribution.histogram((0.1, 1.0, 8.0)) == (2, 1, 2, 2)


# Who is let in.


@looped
async def test_strangers_are_turned_away() -> None:
    async with serving() as (link, port):
        assert await status(port, "GET /") == 200
        assert await status(port, "GET /", Host=f"localhost:{port}") == 200
        for host in ("evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", "127.0.0.1"):
            assert await status(port, "GET /", Host=host) == 403, "a name that was made to point here"
        two = await raw(port, f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nHost: evil.example\r\n\r\n")
        assert two.split()[1] in ("400", "403")
        assert (await raw(port, "GET / HTTP/1.1\r\n\r\n")).split()[1] in ("400", "403")
        for origin in ("http://evil.example", "null", f"https://127.0.0.1:{port}", "http://127.0.0.1"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                async with tab(port, Origin=origin):
                    pass
            assert refused.value.status == 403, "another site's page"
        form = {"Content_Type": "application/x-www-form-urlencoded", "Content_Length": "0"}
        assert await status(port, "POST /live", Origin="http://evil.example", **form) == 403
        assert await status(port, "POST /live", **form) == 405
        assert await status(port, "GET /preview.jpg", Sec_Fetch_Site="cross-site") == 403
        for path in ("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/built/../server.py", "/server.py"):
            assert await status(port, f"GET {path}") in (400, 404)
        assert await status(port, "GET /qr.svg") == 404, "without tokens there is nothing to scan"
        assert (await raw(port, "\x16\x03\x01 no HTTP\r\n\r\n")).split()[1] == "400"
        assert link.board["clients"] == 0
        async with tab(port) as page:
            assert (await page.ask(do="ping"))["ok"], "and it serves on"


@looped
async def test_every_answer_carries_the_headers_that_shut_others_out() -> None:
    async with serving() as (_, port), aiohttp.ClientSession() as session:
        for path in ("/", "/nothing"):
            async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "frame-ancestors 'none'" in policy
                assert "unsafe" not in policy
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert "aiohttp" not in answer.headers["Server"]
        async with session.get(f"http://127.0.0.1:{port}/page.js") as answer:
            tag = answer.headers["ETag"]
            assert answer.headers["Content-Encoding"] == "gzip"
        async with session.get(f"http://127.0.0.1:{port}/page.js", headers={"If-None-Match": tag}) as answer:
            assert answer.status == 304


@looped
async def test_a_token_opens_the_page_and_says_how_far() -> None:
    async with serving(TOKENS) as (link, port):
        for path in ("/", "/live", "/preview.jpg", f"/?token={FULL[1:]}", "/?token=%00", f"/?token={FULL}x"):
            assert await status(port, f"GET {path}") == 401
        answer = await raw(port, f"GET /?token={FULL} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n", 0.5)
        (cookie,) = [line for line in answer.splitlines() if line.startswith("Set-Cookie")]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        name = cookie.split(": ")[1].split("=")[0]
        assert await status(port, "GET /qr.svg", Cookie=f"{name}={FULL}") == 200
        assert await status(port, "GET /qr.svg", Cookie=f"{name}={VIEW}") == 404
        async with tab(port, Cookie=f"{name}={FULL}") as page:
            assert (await page.next("hello"))["role"] == "full"
        async with tab(port, Cookie=f"{name}={VIEW}") as page:
            assert (await page.next("hello"))["role"] == "view"
            for message, _ in DONE:
                assert "look on" in (await page.ask(**message))["error"]
            for message in ({"do": "learn", "parameter": "hue"}, {"do": "render"}):
                assert "look on" in (await page.ask(**message))["error"]
            assert (await page.ask(do="ping"))["ok"]
            assert (await page.ask(do="preview", on=True))["ok"]
        assert came_in(link) == []


def test_the_gate_knows_its_own_names() -> None:
    own = ("192.168.1.7", "stage", "stage.local")
    there = guard.names("0.0.0.0", 8770, own, ("Lights.example",))
    assert {"192.168.1.7:8770", "stage.local:8770", "lights.example:8770", "127.0.0.1:8770"} <= there
    assert guard.names("127.0.0.1", 8770, own, ()) == {"127.0.0.1:8770", "localhost:8770", "[::1]:8770"}
    assert "stage" in guard.names("0.0.0.0", 80, own, ()), "browsers leave the port of HTTP out"
    gate = guard.Gate(there, TOKENS)
    assert gate.stranger("stage.local:8770", "http://stage.local:8770", "same-origin") is None
    assert gate.stranger("stage.local:8770", "http://192.168.1.7:8770", None) is not None
    assert gate.role(FULL) == "full"
    assert gate.role(VIEW) == "view"
    assert gate.role(None) is gate.role("") is gate.role(FULL[:-1]) is gate.role("ü" * 22) is None
    assert guard.is_loopback("127.0.0.1")
    assert not guard.is_loopback("0.0.0.0")
    with pytest.raises(ShowError, match="no host's name"):
        parse('title = "x"\n[web]\nhosts = ["http://x"]\n', "x.toml")
    with pytest.raises(ShowError, match="no host:port"):
        parse('title = "x"\n[web]\nlisten = "8770"\n', "x.toml")


def test_the_address_for_others_is_in_the_code() -> None:
    config = web.WebConfig("0.0.0.0", 8770, ("stage.local",), TOKENS)
    found = address.url(config, 8770, FULL)
    assert found == f"http://stage.local:8770/?token={FULL}"
    assert len(address.qr_text(found).splitlines()) > 10
    assert address.qr_svg(found).startswith(b"<?xml")


# A flood stays outside.


def test_a_bucket_gives_no_more_than_it_says() -> None:
    bucket = guard.Bucket(10.0, 5.0)
    assert sum(bucket.take(0.0) for _ in range(100)) == 5
    assert bucket.wait_s() == pytest.approx(0.1)
    assert sum(bucket.take(1.0) for _ in range(100)) == 5
    assert sum(bucket.take(1.0 + n / 100) for n in range(100)) <= 10


@looped
async def test_one_of_fifty_pages_floods_and_nobody_else_feels_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_FLOOD_S", 1.5)
    monkeypatch.setattr(guard, "MESSAGES", (50.0, 50.0))  # so that a slow machine's flood is one, too
    async with serving() as (link, port), aiohttp.ClientSession() as session:
        url, headers = f"http://127.0.0.1:{port}/live", {"Origin": f"http://127.0.0.1:{port}"}
        pages = [Tab(await session.ws_connect(url, headers=headers)) for _ in range(50)]
        assert link.board["clients"] == 50
        flooder, *others = pages
        begun_s, events = time.monotonic(), []

        async def flood() -> None:
            for number in range(6000):
                message = {"do": "set", "parameter": "hue", "value": number % 90}
                message = message if number % 3 else {"do": "go"}
                await flooder.ws.send_str(json.dumps({"id": number} | message))

        flooding = asyncio.create_task(flood())
        while time.monotonic() < begun_s + 2.0:
            events += came_in(link)
            await asyncio.sleep(0.02)
        for page in others:
            assert (await page.ask(do="ping"))["ok"]
        events += came_in(link)
        passed_s = time.monotonic() - begun_s
        assert 0 < len(events) <= guard.EVENTS[0] * passed_s + guard.EVENTS[1], "in sum"
        assert len(events) <= guard.MESSAGES[0] * passed_s + guard.MESSAGES[1], "from one page"
        assert link.events.refused == 0
        while link.board["clients"] == 50 and time.monotonic() < begun_s + 20:
            await asyncio.sleep(0.05)
        flooding.cancel()
        assert link.board["clients"] == 49, "it is let go"
        for page in others:
            await page.ws.close()
    assert link.board["clients"] == 0


@looped
async def test_all_pages_share_what_may_be_asked_and_their_number_has_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "EVENTS", (0.01, 6.0))
    monkeypatch.setattr(guard, "MAX_PAGES", 2)
    async with serving() as (link, port), tab(port) as one, tab(port) as other:
        assert await status(port, "GET /live", Upgrade="websocket", Connection="Upgrade") == 503
        answers = [await page.ask(do="go") for _ in range(5) for page in (one, other)]
        assert ["ok" in answer for answer in answers] == 6 * [True] + 4 * [False]
        assert all("too much at once" in answer["error"] for answer in answers[6:])
        assert came_in(link) == 6 * [Go()]


@looped
async def test_of_many_moves_the_last_arrives() -> None:
    async with serving() as (link, port), tab(port) as page:
        for number in range(100):
            await page.ws.send_str(
                json.dumps({"id": number, "do": "set", "parameter": "hue", "value": number})
            )
        await page.next(lambda told: told.get("id") == 99)
        await asyncio.sleep(0.3)
        moves = came_in(link)
        assert moves[0] == Control("/chladni/parameter/hue", 0.0)
        assert moves[-1] == Control("/chladni/parameter/hue", 99.0)
        assert len(moves) < 50, "no more than sixty a second"


@looped
async def test_who_does_not_read_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_SLOW_S", 0.5)
    async with serving() as (link, port), tab(port) as reader:
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", port))
        head = f"GET /live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade"
        key = f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}=="
        deaf.sendall(f"{head}\r\n{key}\r\n\r\n".encode())
        await asyncio.sleep(0.1)
        assert link.board["clients"] == 2
        until_s = time.monotonic() + 20
        padding = ("/" + "x" * 2000, 0.0, 0)
        while link.board["clients"] == 2 and time.monotonic() < until_s:
            tell(link, inputs=(padding,) * 24)
            await reader.next("state")
        assert link.board["clients"] == 1
        assert (await reader.ask(do="ping"))["ok"]
        deaf.close()


@looped
async def test_connections_are_counted_and_the_silent_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_CONNECTIONS", 8)
    monkeypatch.setattr(server, "_SILENT_S", 1.0)
    async with serving() as (_, port):
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
        for _, writer in slow:
            writer.write(b"GET / HTTP/1.1\r\nHost: 127")  # and no more
        await asyncio.sleep(0.1)
        assert await raw(port, "GET / HTTP/1.1\r\n\r\n") == "", "one too many"
        assert await asyncio.wait_for(slow[0][0].read(), 5) == b"", "closed"
        assert await status(port, "GET /") == 200
        for _, writer in slow:
            writer.close()


@looped
async def test_too_many_requests_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "REQUESTS", (1.0, 5.0))
    async with serving() as (_, port):
        found = await asyncio.gather(*(status(port, "GET /") for _ in range(20)))
        assert found.count(200) <= 7
        assert found.count(429) >= 13


# In its process, and on stage.


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_a_server_that_is_killed_comes_back_and_the_page_with_it() -> None:
    link, port = web_link(), free_port()
    tell(link)
    worker = Worker("web", web.run, (link, web.WebConfig("127.0.0.1", port)), link.board, web.NICE)
    worker.start()

    async def page() -> str:
        async with tab(port) as opened:
            return str((await opened.next("hello"))["show"]["title"])

    try:
        await_it(lambda: link.board["port"], 20)
        assert asyncio.run(page()) == "Three"
        assert worker.pid
        os.kill(worker.pid, signal.SIGKILL)
        await_it(lambda: worker.watch() or worker.restarts, 10)
        await_it(lambda: link.board["port"] and worker.ready, 20)
        assert asyncio.run(page()) == "Three"
    finally:
        worker.stop()


@looped
async def test_a_port_that_is_taken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_RETRY_S", 0.2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with serving(port=port) as (link, _):
            (said,) = [unpack_text(record) for record in link.says.pop_all()]
            assert f"127.0.0.1:{port}" in said
            assert link.board["port"] == 0
            taken.close()
            await asyncio.sleep(0.5)
            assert link.board["port"] == port, "and taken as soon as it is free"


def test_what_is_done_on_the_page_is_played_recorded_and_rendered(tmp_path: Path) -> None:
    port = free_port()
    config = web.WebConfig("127.0.0.1", port, path="first_light.toml", generators=("impressionism",))
    film: list[Path] = []

    async def perform() -> None:
        async with tab(port) as page:
            await page.next("hello")
            assert (await page.ask(do="take", on=True, name="one"))["ok"]
            assert (await page.ask(do="set", parameter="direction.7", value=1.5))["ok"]
            assert (await page.ask(do="go"))["ok"]
            moved = INDEX["direction.7"]
            await page.next(lambda told: [moved, 1.5] in told.get("levels", ()))
            state = await page.next(lambda told: told.get("type") == "state" and told["cue"] == 0)
            assert [moved, "web"] in state["moved_by"]
            assert state["recording"]["take"]["name"] == "one"
            assert (await page.ask(do="preview", on=True, fps=15))["ok"]
            assert (await page.picture())[:2] == b"\xff\xd8"
            await asyncio.sleep(1.0)
            assert (await page.ask(do="take", on=False, name="one"))["ok"]
            assert "no take 'two'" in (await page.ask(do="render", take="two"))["error"]
            film.append(Path((await page.ask(do="render", take="one"))["path"]))
            assert "one at a time" in (await page.ask(do="render"))["error"]
            await page.next(lambda told: (told.get("render") or {}).get("share") == 1.0)

    with playing(tmp_path, first_light(), attended=True, page=config) as session:
        await_it(lambda: session.desk and session.desk.link.board["port"], 20)
        asyncio.run(asyncio.wait_for(perform(), 60))
        assert session.inbox.dropped == 0
    recording = read(tmp_path / "show.chladni")
    assert verify(recording).differs_at is None
    assert [event.source for event in recording.events if isinstance(event.body, Mark)] == ["web", "web"]
    ((name, begin, end),) = recording.takes()
    assert name == "one"
    assert abs(probe(film[0]).frames - (end - begin) // 8) <= 1
    assert film[0].parent == tmp_path


def test_a_route_that_is_edited_on_the_page_is_played_and_written(tmp_path: Path) -> None:
    port, path = free_port(), tmp_path / "mine.toml"
    path.write_text('title = "Mine"  # a comment\nmusician = "none"\n[osc]\nlisten = "none"\n')
    file = ShowFile(path, {"device": "none"})
    route = {"from": "/midi/*/cc/7", "to": "psi", "curve": "s"}

    async def edit() -> None:
        async with tab(port) as page:
            revision = (await page.next("hello"))["revision"]
            assert (await page.ask(do="edit", table="route", value=route))["ok"]
            assert (await page.later(revision))["routes"] == [route | {"index": 0}]
            wrong = {"do": "edit", "table": "route", "index": 0, "value": route | {"to": "pzi"}}
            assert "needs was" in (await page.ask(**wrong))["error"]
            assert "'psi'" in (await page.ask(**wrong, was=route))["error"]
            stale = await page.ask(do="edit", table="route", index=0, was=route | {"curve": "linear"})
            assert "look again" in stale["error"]
            for table in ("../secrets", "sound", "osc"):
                assert "error" in await page.ask(do="edit", table=table, value={"soundfont": "/etc/passwd"})

    show = file.load(path.read_text())
    with playing(tmp_path, show, attended=True, file=file, page=web.WebConfig("127.0.0.1", port)) as session:
        await_it(lambda: session.desk and session.desk.link.board["port"], 20)
        asyncio.run(asyncio.wait_for(edit(), 30))
        assert session.show.route[0].to == "psi"
    assert "# a comment" in path.read_text()
    assert file.load(path.read_text()).route[0].curve == "s"
    assert verify(read(tmp_path / "show.chladni")).differs_at is None


def test_while_no_page_is_open_nothing_is_told(tmp_path: Path) -> None:
    config = web.WebConfig("127.0.0.1", free_port())
    with playing(tmp_path, first_light(), page=config) as session:
        assert session.desk
        link = session.desk.link
        await_it(lambda: link.board["ready"], 20)
        time.sleep(0.5)
        assert (link.show.count, link.state.count, link.levels.count, session.desk._frame) == (0, 0, 0, 0)


def test_a_web_process_that_writes_nonsense_costs_nothing(tmp_path: Path) -> None:
    config = web.WebConfig("127.0.0.1", free_port())
    with playing(tmp_path, first_light(), page=config) as session:
        assert session.desk
        link = session.desk.link
        for data in (b"\xff", b"[]", b'["Go",1]', b'["NoSuch"]', b'{"x":1}'):
            assert link.events.push(monotonic_us(), data)
        link.events.push(monotonic_us(), b'["Control","/chladni/parameter/hue",12.0]')
        await_it(lambda: session.state.levels[INDEX["hue"]] == 12.0)
