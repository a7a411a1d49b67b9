"""OSCQuery: the tree of addresses, and a worker that is found and read by a client that is not ours."""

import asyncio
import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import staged
from pythonosc.osc_message import OscMessage
from pythonosc.osc_packet import OscPacket
from staged import first_light
from test_sound import until

from engine.core import presets
from engine.core.parameters import INDEX, PARAMETERS
from engine.core.records import replace
from engine.core.show import Show, parse
from engine.core.state import ShowState, initial
from engine.io import osc_bytes, oscquery
from engine.io.commands import COMMANDS, command
from engine.io.osc_feedback import told
from engine.offline import verify
from engine.recording import read
from engine.workers import query
from engine.workers.links import QueryLink, query_link
from engine.workers.shared import SPAWN

pytestmark = pytest.mark.live

SHOW = parse(
    'title = "Asked"\n[[cue]]\nnumber = 1\n[[cue]]\nnumber = 2.5\nname = "noon"\n'
    '[[preset]]\nname = "dusk"\nlevels = { hue = 3 }\n',
    "asked",
)
STATE = initial(SHOW)
GENERATORS = ("impressionism", "planets")
TOLD = told(SHOW, STATE, (4, 3, 1, 0))


def leaves(node: oscquery.Node) -> Iterator[oscquery.Node]:
    if "TYPE" in node:
        yield node
    for each in node.get("CONTENTS", {}).values():
        yield from leaves(each)


def tree(show: Show = SHOW, state: ShowState = STATE) -> oscquery.Node:
    return oscquery.tree(show, presets.names(show, state), GENERATORS)


def test_everything_is_in_the_tree() -> None:
    found = {leaf["FULL_PATH"]: leaf for leaf in leaves(tree())}
    for each in COMMANDS:
        for number, name in (("1", "dusk"), ("2.5", "dusk")):
            assert each.address.replace("{number}", number).replace("{name}", name) in found
    assert {path for path in TOLD if path not in found} == set(), "what is told can be found"
    for parameter in PARAMETERS:
        leaf = found[f"/chladni/parameter/{parameter.name}"]
        if parameter.choices:
            assert (leaf["TYPE"], leaf["RANGE"]) == ("s", [{"VALS": list(parameter.choices)}])
        else:
            assert leaf["RANGE"] == [{"MIN": parameter.minimum, "MAX": parameter.maximum}]
    assert found["/chladni/parameter/hue"]["UNIT"] == ["angle.degree"]
    assert found["/chladni/generator"]["RANGE"] == [{"VALS": ["impressionism", "planets"]}]
    for path, leaf in found.items():
        tags = leaf["TYPE"]
        assert len(leaf.get("RANGE", tags)) == len(tags), path
        values = oscquery.value(leaf, TOLD)
        assert (values is not None) == bool(leaf["ACCESS"] & oscquery.READ), path
        if leaf["ACCESS"] & oscquery.WRITE and values is not None:
            make = command(path)
            assert make, path
            assert make(values), f"{path} takes what it tells"


def test_questions_have_the_answers_of_the_proposal() -> None:
    root = tree()
    hue = "/chladni/parameter/hue"
    assert oscquery.answer(root, hue, "VALUE", TOLD) == (200, {"VALUE": [0.0]})
    assert oscquery.answer(root, hue, "RANGE", TOLD) == (200, {"RANGE": [{"MIN": -180.0, "MAX": 180.0}]})
    assert oscquery.answer(root, "/chladni/go", "VALUE", TOLD) == (204, None)
    assert oscquery.answer(root, hue, "NONSENSE", TOLD) == (400, None)
    assert oscquery.answer(root, "/chladni/nothing/here", "", TOLD) == (404, None)
    mode = oscquery.find(root, "/chladni/parameter/musician.mode")
    assert mode
    assert oscquery.value(mode, TOLD) == ["continue"]
    status, whole = oscquery.answer(root, "/", "", TOLD)
    assert status == 200
    assert whole
    json.dumps(whole, allow_nan=False)
    assert "VALUE" not in json.dumps(root), "the tree itself keeps no values"


def test_what_a_revision_changes_is_named() -> None:
    more = SHOW.model_copy(update={"cue": SHOW.cue[:1]})
    assert oscquery.changed(tree(), tree(more)) == ["/chladni/cue"]
    assert oscquery.changed(tree(), tree()) == []


# The worker


def write(link: QueryLink, show: Show = SHOW, state: ShowState = STATE) -> None:
    whole = {"show": show.model_dump(mode="json", by_alias=True), "presets": presets.names(show, state)}
    link.show.write(json.dumps(whole).encode())
    link.told.write(json.dumps(told(show, state, (4, 3, 1, 0))).encode())


@contextmanager
def answering() -> Iterator[tuple[QueryLink, int]]:
    """Run the worker; yield its link and its port."""
    link = query_link()
    write(link)
    config = query.QueryConfig("127.0.0.1", 0, ("127.0.0.1", 9000), GENERATORS)
    process = SPAWN.Process(target=query.run, args=(link, config), daemon=True)
    process.start()
    try:
        until(lambda: link.board["ready"], 20.0)
        yield link, int(link.board["port"])
        link.board["stop"] = 1.0
        process.join(5.0)
        assert process.exitcode == 0
        assert link.says.pop_all() == []
    finally:
        process.kill()
        process.join()


@pytest.fixture(scope="module")
def worker() -> Iterator[tuple[QueryLink, int]]:
    with answering() as made:
        yield made


def get(port: int, path: str, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, json.loads(body) if answer.status == 200 else None


def test_a_client_that_is_not_ours_finds_and_reads_it(worker: tuple[QueryLink, int]) -> None:
    from pythonoscquery.osc_query_browser import OSCQueryBrowser
    from pythonoscquery.osc_query_client import OSCQueryClient

    _, port = worker
    browser = OSCQueryBrowser()

    def found(services: list[Any], port: int) -> Any:
        return next((each for each in services if each and each.port == port), None)

    try:
        service = until(lambda: found(browser.get_discovered_oscquery(), port), 10.0)
        assert until(lambda: found(browser.get_discovered_osc(), 9000), 10.0)
    finally:
        browser.zc.close()
    client = OSCQueryClient(service)
    info = client.get_host_info()
    assert (info.name, info.osc_ip, info.osc_port, info.osc_transport) == (
        "Chladni Asked", "127.0.0.1", 9000, "UDP",
    )  # fmt: skip
    assert info.extensions["LISTEN"]
    assert info.extensions["RANGE"]
    parameters = client.query_node("/chladni/parameter")
    values = {node.full_path.rsplit("/", 1)[1]: node.value[0] for node in parameters.contents}
    for parameter in PARAMETERS:
        level = STATE.levels[INDEX[parameter.name]]
        wanted = parameter.choices[int(level)] if parameter.choices else level
        assert values[parameter.name] == wanted
    assert parameters.find_subnode("/chladni/parameter/hue").description == "rotation of the hue"
    assert client.query_node("/chladni/nothing") is None


def test_who_comes_by_another_name_or_from_a_page_is_not_let_in(worker: tuple[QueryLink, int]) -> None:
    _, port = worker
    assert get(port, "/?HOST_INFO")[1]["WS_PORT"] == port
    assert get(port, "/chladni/parameter/hue?VALUE") == (200, {"VALUE": [0.0]})
    assert get(port, "/", Host=f"rebound.example:{port}")[0] == 403
    assert get(port, "/", Origin="https://elsewhere.example")[0] == 403
    assert get(port, "/", Host=f"localhost:{port}")[0] == 200
    assert get(port, "/nothing")[0] == 404
    assert get(port, "/chladni/go?VALUE")[0] == 204


def test_who_listens_is_told_and_learns_of_other_paths(worker: tuple[QueryLink, int]) -> None:
    link, port = worker

    async def converse() -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"http://127.0.0.1:{port}/") as socket,
        ):

            async def next_message() -> Any:
                message = await socket.receive(timeout=5.0)
                if message.type == aiohttp.WSMsgType.TEXT:
                    return json.loads(message.data)
                said = OscMessage(message.data)
                return said.address, said.params

            await socket.send_str("[" * 4000)
            await socket.send_json({"COMMAND": "LISTEN", "DATA": "/no/such/path"})
            await socket.send_json({"COMMAND": "LISTEN", "DATA": "/chladni/parameter/hue"})
            assert await next_message() == ("/chladni/parameter/hue", [0.0])
            levels = list(STATE.levels)
            levels[INDEX["hue"]], levels[INDEX["psi"]] = 90.0, 1.0
            moved = replace(STATE, levels=tuple(levels))
            write(link, SHOW, moved)
            assert await next_message() == ("/chladni/parameter/hue", [90.0])
            write(link, SHOW.model_copy(update={"cue": ()}), moved)
            assert await next_message() == {"COMMAND": "PATH_CHANGED", "DATA": "/chladni/cue"}
            await socket.send_json({"COMMAND": "IGNORE", "DATA": "/chladni/parameter/hue"})
            await socket.send_json({"COMMAND": "LISTEN", "DATA": "/chladni/parameter/psi"})
            assert await next_message() == ("/chladni/parameter/psi", [1.0])
            write(link)
            told_now = [await next_message(), await next_message()]
            assert ("/chladni/parameter/hue", [0.0]) not in told_now

    asyncio.run(converse())
    until(lambda: link.board["clients"] == 0.0)


def test_a_port_in_use_is_told_and_tried_again() -> None:
    with answering() as (_, port):
        link = query_link()
        write(link)
        config = query.QueryConfig("127.0.0.1", port, None, ())
        process = SPAWN.Process(target=query.run, args=(link, config), daemon=True)
        process.start()
        try:
            (said,) = until(link.says.pop_all, 20.0)
            assert f"127.0.0.1:{port}" in said[0].decode()
        finally:
            with suppress(OSError):
                process.kill()
            process.join()


def free_port(kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_show_is_played_read_and_heard_over_osc(tmp_path: Path) -> None:
    show = first_light(osc=f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}")
    asked = {"query": f"127.0.0.1:{free_port(socket.SOCK_STREAM)}"}
    show = show.model_copy(update={"osc": show.osc.model_copy(update=asked)})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hand:
        hand.bind(("127.0.0.1", 0))
        hand.settimeout(0.2)
        heard: dict[str, list[Any]] = {}

        def hears(address: str, *values: Any) -> bool:
            with suppress(TimeoutError):
                for timed in OscPacket(hand.recv(4096)).messages:
                    heard[timed.message.address] = timed.message.params
            return heard.get(address) == list(values)

        with staged.playing(tmp_path, show, attended=True) as session:
            assert session.osc
            assert session.query
            at = ("127.0.0.1", session.osc.port)
            hand.sendto(osc_bytes.write("/chladni/subscribe", ()), at)
            until(lambda: hears("/chladni/cue/present", -1.0, ""))
            hand.sendto(osc_bytes.write("/chladni/goto", (3,)), at)
            hand.sendto(osc_bytes.write("/chladni/blackout", (1,)), at)
            hand.sendto(osc_bytes.write("/composition/layers/2/video/opacity", (0.25,)), at)
            until(lambda: hears("/chladni/cue/present", 3.0, show.cue[2].name))
            until(lambda: hears("/chladni/blackout", 1.0))
            until(lambda: hears("/chladni/fader/text.opacity", 0.25))
            port = int(until(lambda: session.query and session.query.board["port"], 20.0))
            opacity = "/chladni/parameter/text.opacity?VALUE"
            until(lambda: get(port, opacity) == (200, {"VALUE": [0.25]}))
            assert get(port, "/chladni/cue/present?VALUE")[1]["VALUE"] == [3.0, show.cue[2].name]
            assert not session.warnings
    assert verify(read(tmp_path / "show.chladni")).differs_at is None
