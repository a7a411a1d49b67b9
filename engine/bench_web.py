"""What the page costs, and how soon what is done on it is in the log: alone, among fifty, beside a flood."""

import asyncio
import json
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from engine.clock import monotonic_us
from engine.core.events import Control, Event
from engine.core.patch import OWN_ADDRESS
from engine.core.show import Show
from engine.distribution import Distribution
from engine.io.performer import Performance, Performer
from engine.io.window import Headless
from engine.report import collect
from engine.session import Session, Stage
from engine.workers.shared import SPAWN, Board, Ring
from engine.workers.web import WebConfig

_MOVED: Final = "hue"
_MOVES_A_SECOND: Final = 40
_STEP: Final = 0.01  # of the moved level, from one move to the next: so each can be told from the others
_SETTLE_S: Final = 2.0  # from the curtain to the first move
_FLOOD: Final = '{"id":1,"do":"set","parameter":"saturation","value":1.5}'
_SITUATIONS: Final = ((0, False), (1, False), (50, False), (50, True))  # pages, whether one of them floods


@dataclass(frozen=True)
class Figure:
    """One run: what was open, and what it did to the show. Times in ms, shares of a core, memory in MB."""

    pages: int
    flood: bool
    moves: int
    lost: int
    p50: float | None
    p99: float | None
    longest: float | None
    due: int
    late: int
    swaps_p999: float | None
    underruns: int
    web_share: float
    main_share: float
    web_mb: float


def run(show: Show, performance: Performance, seconds: float, report: Path | None) -> int:
    """Measure every situation, print it, and write all to `report` as JSON. Return 0."""
    show = show.model_copy(update={"osc": show.osc.model_copy(update={"listen": None, "send": ()})})
    print(f"{show.title!r} for {seconds:g} s each, headless; pictures at 10 a second on the first page\n")
    print(f"{'pages':<14}{'moves':>6}{'p50':>8}{'p99':>8}{'max ms':>8}{'late frames':>16}", end="")
    print(f"{'swaps p99.9':>13}{'web':>8}{'main':>8}{'web MB':>8}")
    figures = []
    for pages, flood in _SITUATIONS:
        figures.append(_measure(show, Performer(performance, loop=True), seconds, pages, flood))
        print(_line(figures[-1]), flush=True)
    if report:
        report.write_text(json.dumps([asdict(each) for each in figures], indent=2) + "\n", encoding="utf-8")
    return 0


def _line(figure: Figure) -> str:
    times = "".join(
        f"{'-' if each is None else f'{each:.2f}':>8}" for each in (figure.p50, figure.p99, figure.longest)
    )
    return (
        f"{f'{figure.pages}, one floods' if figure.flood else figure.pages:<14}{figure.moves:>6}{times}"
        f"{f'{figure.late} of {figure.due}':>16}{figure.swaps_p999 or 0.0:>13.2f}"
        f"{100 * figure.web_share:>6.1f} %{100 * figure.main_share:>6.1f} %{figure.web_mb:>8.0f}"
    )


def _measure(show: Show, performer: Performer, seconds: float, pages: int, flood: bool) -> Figure:
    """Play with so many pages open; a process of their own opens them."""
    config = WebConfig("127.0.0.1", 0)
    stage = Stage(seconds=seconds + _SETTLE_S, performer=performer, page=config)
    session = Session(show, stage, Headless((640, 360)))
    sent, board = Ring("qd", 1 << 16), Board(("port", "stop"))
    logged: dict[int, float] = {}
    assert session.desk
    remember, link = session.desk.heard, session.desk.link

    def heard(event: Event) -> None:
        now_us, body = monotonic_us(), event.body
        if isinstance(body, Control) and body.address == OWN_ADDRESS + _MOVED:
            logged[round(body.value / _STEP)] = now_us
        remember(event)

    session.desk.heard = heard  # type: ignore[method-assign]
    visitors = SPAWN.Process(target=visit, args=(sent, board, link.board, pages, flood), daemon=True)
    if pages:
        visitors.start()
    session.run()
    board["stop"] = 1.0
    if pages:
        visitors.join(10.0)
        visitors.kill()
    ways = Distribution()
    moves = sent.pop_all()
    for number, us in moves:
        if number in logged:
            ways.add((logged[number] - us) / 1000.0)
    told = collect(session)
    return Figure(
        pages, flood, ways.count, len(moves) - ways.count, ways.quantile(0.5), ways.quantile(0.99),
        ways.max_ms if ways.count else None, told["picture"]["due"], told["picture"]["late"],
        told["picture"]["frame_deviation_ms"]["p999"], told["sound"]["underruns"], told["cpu_share"]["web"],
        told["cpu_share"]["main"], told["memory_mb"]["web"],
    )  # fmt: skip


def visit(sent: Ring, board: Board, server: Board, pages: int, flood: bool) -> None:
    """Open pages and move a control on the first, until told to stop (in a process of its own)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_visit(sent, board, server, pages, flood))


async def _visit(sent: Ring, board: Board, server: Board, pages: int, flood: bool) -> None:
    import aiohttp

    while not server["port"] and not board["stop"]:
        await asyncio.sleep(0.05)
    address = f"http://127.0.0.1:{server['port']:.0f}"
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        opened = [
            await session.ws_connect(f"{address}/live", headers={"Origin": address}) for _ in range(pages)
        ]
        work = [asyncio.create_task(_read(page)) for page in opened]
        await opened[0].send_str('{"id":0,"do":"preview","on":true,"fps":10}')
        await asyncio.sleep(_SETTLE_S)
        if flood:
            work.append(asyncio.create_task(_flood(session, address, board)))
        number = 0
        while not board["stop"] and not opened[0].closed:
            number += 1
            move = {"id": number, "do": "set", "parameter": _MOVED, "value": number * _STEP}
            us = monotonic_us()
            try:
                await opened[0].send_str(json.dumps(move))
            except ConnectionError:  # the show is over
                break
            sent.push(number, us)
            await asyncio.sleep(1.0 / _MOVES_A_SECOND)
        for task in work:
            task.cancel()


async def _read(page: Any) -> None:
    async for _ in page:
        pass


async def _flood(session: Any, address: str, board: Board) -> None:
    """Send as much as the server takes, and come again when it has had enough."""
    import aiohttp

    while not board["stop"]:
        try:
            async with session.ws_connect(f"{address}/live", headers={"Origin": address}) as page:
                while not page.closed:
                    for _ in range(50):
                        await page.send_str(_FLOOD)
                    await asyncio.sleep(0)
        except (OSError, aiohttp.ClientError):
            await asyncio.sleep(0.1)
