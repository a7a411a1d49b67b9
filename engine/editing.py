"""Edits of a show file's lists of tables, which leave everything else in it as its author wrote it."""

import os
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Item

from engine.core.show import Show

TABLES: Final = ("route", "cue", "preset", "modulator", "sensor")


class EditError(ValueError):
    """An edit can't be made; the text is for the user."""


@dataclass
class _Chunk:
    """A table's header with its keys, and what stands between it and the next."""

    body: str
    between: str


def edit(text: str, table: str, index: int | None, value: Mapping[str, Any] | None) -> str:
    """Return the text of a show file with an entry of a list of tables set to `value`, in the file's words.

    `index` counts from 0; None adds an entry, a cue where its number belongs, others at the end. A value of
    None removes the entry. Keys that stay keep their place, and so do comments. Raise EditError.
    """
    if table not in TABLES or table not in Show.model_fields:
        raise EditError(f"[[{table}]] can't be edited; these can: {', '.join(TABLES)}")
    try:
        before = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise EditError(f"this is no TOML: {error}") from None
    if (value is None and index is None) or not isinstance(value, Mapping | None):
        raise EditError(f"a {table} is to be a table, and one that is removed needs its index")
    wanted, place = _wanted(before, table, index, value)
    newline = "\r\n" if "\r\n" in text else "\n"
    chunks = _chunks(text.replace("\r\n", "\n"))
    spans = _spans(chunks, table)
    try:
        if value is None:
            _remove(chunks, spans[place])
        elif index is None:
            _insert(chunks, spans, place, tomlkit.dumps({table: [_written(wanted[table][place])]}))
        else:
            _replace(chunks, spans[place], table, wanted[table][place])
        made = "".join(chunk.body + chunk.between for chunk in chunks)
        right = tomllib.loads(made) == wanted
    except (TOMLKitError, tomllib.TOMLDecodeError, IndexError):
        right = False
    if not right:  # entries in one array, say, or below a dotted key
        raise EditError(f"{table} is written in a way that is left to people: edit the file")
    return made.replace("\n", newline)


def write(path: Path, text: str) -> None:
    """Put a text in a file's place, with its mode: after a power cut it is there whole, or the old one is."""
    path = Path(os.path.realpath(path))
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "w", encoding="utf-8", newline="") as file:
            os.chmod(beside, path.stat().st_mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    with suppress(OSError):  # where folders can't be synced
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _wanted(
    data: dict[str, Any], table: str, index: int | None, value: Mapping[str, Any] | None
) -> tuple[dict[str, Any], int]:
    """Return what the file is to say, as plain data, and the place of the entry."""
    entries = list(data.get(table, []))
    if index is not None and not 0 <= index < len(entries):
        raise EditError(f"there is no {table} {index} in the file: it has {len(entries)}")
    place = len(entries) if index is None else index
    if value is None:
        del entries[place]
    elif index is not None:
        entries[place] = _spare(table, value, entries[place])
    else:
        number = value.get("number")
        if table == "cue" and isinstance(number, int | float):
            place = sum(entry.get("number", 0) <= number for entry in entries)
        entries.insert(place, _spare(table, value, {}))
    rest = {key: item for key, item in data.items() if key != table}
    return (rest | {table: entries} if entries else rest), place


def _spare(table: str, value: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value as it is written: without what is said by default already, where it is not there yet."""
    (entry, *_) = get_args(Show.model_fields[table].annotation)
    defaults = {field.alias or name: _plain(field.default) for name, field in entry.model_fields.items()}
    return {
        key: _plain(item)
        for key, item in value.items()
        if item is not None and (key in present or key not in defaults or _plain(item) != defaults[key])
    }


def _plain(value: Any) -> Any:
    return list(map(_plain, value)) if isinstance(value, list | tuple) else value


# Every table of a TOML file, from its header to the next, is a TOML text by itself. A line that looks like a
# header and is none, within an array or a string of many lines, has a text before it that is not whole.
def _chunks(text: str) -> list[_Chunk]:
    """Return the tables of a text, in their order; the first is what stands before any."""
    texts, now = [], ""
    for line in text.splitlines(keepends=True):
        if line.lstrip().startswith("[") and _is_whole(now):
            texts.append(now)
            now = ""
        now += line
    return [_split(each) for each in (*texts, now)]


def _is_whole(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _split(text: str) -> _Chunk:
    """Return a table and what follows it: from the first blank line after the last key on.

    A comment after that blank line is of the table that comes, one before it of the key above.
    """
    lines = text.splitlines(keepends=True)
    end = len(lines)
    while end and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1
    while end < len(lines) and lines[end].strip():
        end += 1
    return _Chunk("".join(lines[:end]), "".join(lines[end:]))


def _spans(chunks: Sequence[_Chunk], table: str) -> list[tuple[int, int]]:
    """Return the first chunk of each entry of a list of tables, and the one after its last."""
    spans: list[tuple[int, int]] = []
    for number, chunk in enumerate(chunks[1:], 1):
        name = chunk.body.lstrip().partition("]")[0].lstrip("[").strip()
        if name == table:
            spans.append((number, number + 1))
        elif spans and spans[-1][1] == number and name.partition(".")[0].strip() == table:
            spans[-1] = (spans[-1][0], number + 1)
    return spans


def _remove(chunks: list[_Chunk], span: tuple[int, int]) -> None:
    first, end = span
    before, between = chunks[first - 1], chunks[end - 1].between
    kept = before.between if before.between.strip() else ""
    before.between = kept + between or before.between
    if end == len(chunks) and not before.between.strip():
        before.between = ""
    del chunks[first:end]


def _insert(chunks: list[_Chunk], spans: Sequence[tuple[int, int]], place: int, new: str) -> None:
    if place < len(spans):
        chunks.insert(spans[place][0], _Chunk(new, "\n"))
        return
    at = spans[-1][1] if spans else len(chunks)
    before = chunks[at - 1]
    if before.body and not (before.body + before.between).endswith("\n"):
        before.body += "\n"
    chunks.insert(at, _Chunk(new, before.between if spans else ""))
    before.between = "\n" if spans or not before.between else before.between.rstrip("\n") + "\n\n"


def _replace(chunks: list[_Chunk], span: tuple[int, int], table: str, value: Mapping[str, Any]) -> None:
    first, end = span
    last = chunks[end - 1]
    text = "".join(chunk.body + chunk.between for chunk in chunks[first : end - 1]) + last.body
    document = tomlkit.parse(text)
    _set(document[table][0], value)
    chunks[first:end] = [_Chunk(tomlkit.dumps(document), last.between)]


def _set(entry: Any, value: Mapping[str, Any]) -> None:
    """Make a table say what it is to say; what it says already stays as it is written."""
    for key in [key for key in entry if key not in value]:
        del entry[key]
    for key, item in value.items():
        if key in entry and isinstance(item, Mapping) and isinstance(entry[key], Mapping):
            _set(entry[key], item)
        elif key not in entry or entry[key] != item:
            entry[key] = _item(item)


def _written(value: Mapping[str, Any]) -> dict[str, Item]:
    return {key: _item(item) for key, item in value.items()}


def _item(value: Any) -> Item:
    """Return a value as TOML writes it; a table within an entry stands on one line."""
    if not isinstance(value, Mapping):
        item: Item = tomlkit.item(value)
        return item
    inline = tomlkit.inline_table()
    inline.update({key: _item(item) for key, item in value.items()})
    return inline
