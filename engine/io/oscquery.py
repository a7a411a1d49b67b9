"""OSCQuery: everything that can be asked for and is told over OSC, as a tree that other software can read."""

# Vidvox's proposal (github.com/Vidvox/OSCQueryProposal), with its optional attributes DESCRIPTION, VALUE,
# RANGE, ACCESS, UNIT and CLIPMODE. A tree is plain data, ready for JSON, without its values: those come from
# what the show tells at the moment (`engine.io.osc_feedback.told`).

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from engine.core.parameters import PARAMETERS
from engine.core.show import Show
from engine.io import osc_bytes
from engine.io.commands import COMMANDS, FADER, PARAMETER, Argument, Command

Node = dict[str, Any]
Values = Sequence[Any]

NO_VALUE, READ, WRITE, READ_AND_WRITE = 0, 1, 2, 3  # of ACCESS
ATTRIBUTES: Final = (
    "FULL_PATH", "CONTENTS", "TYPE", "ACCESS", "VALUE", "RANGE", "DESCRIPTION", "UNIT", "CLIPMODE",
)  # fmt: skip
EXTENSIONS: Final = {
    "ACCESS": True, "VALUE": True, "RANGE": True, "DESCRIPTION": True, "UNIT": True, "CLIPMODE": True,
    "LISTEN": True, "PATH_CHANGED": True, "TAGS": False, "CRITICAL": False, "OSC_STREAMING": False,
}  # fmt: skip
# The proposal's own names of units (units.md); the others stay as they are here.
_UNITS: Final = {"degrees": "angle.degree", "bpm": "time.bpm", "Hz": "time.hz", "note": "time.midinote"}
_TOLD: Final = {  # what is only told, and its type
    "/chladni/cue/present": ("fs", "number and name of the cue that was begun last"),
    "/chladni/cue/next": ("fs", "number and name of the next cue"),
    "/chladni/beat": ("i", "whole beats of the transport"),
    "/chladni/running": ("i", "whether the transport runs"),
    "/chladni/frames": ("iiii", "frames due, shown, late and held"),
}
# Commands whose values can be read, and where they are told.
_READ_AT: Final = {
    "/chladni/hold": ("/chladni/hold",),
    "/chladni/blackout": ("/chladni/blackout",),
    "/chladni/generator": ("/chladni/generator",),
    "/chladni/goto": ("/chladni/cue/present",),
    "/chladni/position": ("/chladni/beat",),
    "/chladni/morph": (f"{PARAMETER}morph.x", f"{PARAMETER}morph.y"),
}


def tree(show: Show, presets: Sequence[str], generators: Sequence[str]) -> Node:
    """Return the root of all addresses of a show, with the names of the presets and generators there are."""
    root: Node = {"FULL_PATH": "/", "ACCESS": NO_VALUE, "DESCRIPTION": show.title, "CONTENTS": {}}
    for leaf in (*_levels(), *_commands(show, presets, generators), *_told()):
        names = leaf["FULL_PATH"].strip("/").split("/")
        node = root
        for depth, name in enumerate(names[:-1], 1):
            path = "/" + "/".join(names[:depth])
            node = node["CONTENTS"].setdefault(name, {"FULL_PATH": path, "ACCESS": NO_VALUE, "CONTENTS": {}})
        node["CONTENTS"][names[-1]] = leaf
    return root


def _levels() -> Iterator[Node]:
    for parameter in PARAMETERS:
        leaf = _leaf(PARAMETER + parameter.name, parameter.meaning, "f", READ_AND_WRITE)
        if parameter.choices:
            leaf |= {"TYPE": "s", "RANGE": [{"VALS": list(parameter.choices)}]}
        else:
            leaf |= {"RANGE": [{"MIN": parameter.minimum, "MAX": parameter.maximum}], "CLIPMODE": ["both"]}
        if parameter.unit:
            leaf["UNIT"] = [_UNITS.get(parameter.unit, parameter.unit)]
        yield leaf
        fader = _leaf(FADER + parameter.name, f"{parameter.meaning}, 0 to 1", "f", READ_AND_WRITE)
        yield fader | {"RANGE": [{"MIN": 0.0, "MAX": 1.0}], "CLIPMODE": ["both"]}


def _commands(show: Show, presets: Sequence[str], generators: Sequence[str]) -> Iterator[Node]:
    """Yield the commands; those with a name or number in their address once for each that there is."""
    names = {"{number}": [f"{cue.number:g}" for cue in show.cue], "{name}": list(presets)}
    for command in COMMANDS:
        within = next((part for part in names if part in command.address), None)
        for word in names[within] if within else [""]:
            if "/" in word:
                continue  # it can't be said in an address
            leaf = _command(command, command.address.replace(within or "{}", word))
            if command.address == "/chladni/generator":
                leaf["RANGE"] = [{"VALS": list(generators)}]
            yield leaf


def _command(command: Command, address: str) -> Node:
    access = READ_AND_WRITE if command.address in _READ_AT else WRITE
    leaf = _leaf(address, command.meaning, "".join(each.tag for each in command.takes) or "N", access)
    if command.takes:
        leaf["RANGE"] = [_range(argument) for argument in command.takes]
    return leaf


def _range(argument: Argument) -> Node | None:
    return None if argument.tag == "s" else {"MIN": argument.minimum, "MAX": argument.maximum}


def _told() -> Iterator[Node]:
    for address, (tags, meaning) in _TOLD.items():
        yield _leaf(address, meaning, tags, READ)


def _leaf(path: str, meaning: str, tags: str, access: int) -> Node:
    return {"FULL_PATH": path, "DESCRIPTION": meaning, "TYPE": tags, "ACCESS": access}


def find(root: Node, path: str) -> Node | None:
    """Return the node at a path, or None."""
    node: Node | None = root
    for name in filter(None, path.split("/")):
        node = node.get("CONTENTS", {}).get(name) if node else None
    return node


def valued(node: Node, told: Mapping[str, Values]) -> Node:
    """Return a node, and all below it, with their present values."""
    if "CONTENTS" in node:
        return node | {"CONTENTS": {name: valued(each, told) for name, each in node["CONTENTS"].items()}}
    values = value(node, told)
    return node if values is None else node | {"VALUE": values}


def value(node: Node, told: Mapping[str, Values]) -> list[Any] | None:
    """Return the values of a node as its TYPE has them, or None where it has none."""
    if not node.get("ACCESS", NO_VALUE) & READ:
        return None
    path, tags = node["FULL_PATH"], node["TYPE"]
    found = [each for at in _READ_AT.get(path, (path,)) for each in told.get(at, ())][: len(tags)]
    if len(found) < len(tags):
        return None
    choices = (node.get("RANGE") or [None])[0] or {}
    return [
        choices["VALS"][int(each)] if tag == "s" and not isinstance(each, str) else _AS[tag](each)
        for tag, each in zip(tags, found, strict=True)
    ]


_AS: Final = {"f": float, "i": int, "s": str}


def answer(root: Node, path: str, query: str, told: Mapping[str, Values]) -> tuple[int, Node | None]:
    """Return the status of HTTP, and what is answered, for a path and the query behind its question mark."""
    node = find(root, path)
    if node is None:
        return 404, None
    if not query:
        return 200, valued(node, told)
    if query not in ATTRIBUTES:
        return 400, None
    found = valued(node, told).get(query)
    return (204, None) if found is None else (200, {query: found})


def host_info(name: str, osc: tuple[str, int] | None, port: int) -> Node:
    """Return who answers, where its OSC port is, and what of the proposal it knows.

    Where OSC listens on every address, or the WebSocket does, no address is named: it is the one asked.
    """
    info: Node = {"NAME": name, "EXTENSIONS": EXTENSIONS, "WS_PORT": port}
    if osc:
        info |= {"OSC_PORT": osc[1], "OSC_TRANSPORT": "UDP"}
        if osc[0] not in ("0.0.0.0", "localhost"):
            info["OSC_IP"] = osc[0]
    return info


def message(node: Node, told: Mapping[str, Values]) -> bytes | None:
    """Return the OSC message that tells the values of a node, or None where it has none."""
    values = value(node, told)
    return None if values is None else osc_bytes.write(node["FULL_PATH"], values)


def changed(before: Node, after: Node) -> list[str]:
    """Return the paths, two levels deep, below which one tree differs from another."""
    old, new = (each["CONTENTS"].get("chladni", {}).get("CONTENTS", {}) for each in (before, after))
    return [f"/chladni/{name}" for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
