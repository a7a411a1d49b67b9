"""OSC packets: bytes to messages, messages to bytes."""

# Our own reader, for three reasons measured on python-osc 1.10: it knows neither I nor c nor S and misreads
# what follows them, a bundle element of negative size keeps it in an endless loop, and it takes four times
# as long in a process whose interpreter lock the core needs. Our own writer for the last
# of them: 1.2 us a message where the library takes 6.9.

import struct
from collections.abc import Sequence
from typing import Any, Final

MAX_PACKET: Final = 16_384  # bytes
MAX_DEPTH: Final = 8  # bundles within bundles
MAX_MESSAGES: Final = 1024  # in one packet
MAX_ARGUMENTS: Final = 256  # of one message
MAX_ADDRESS: Final = 256  # bytes
IMMEDIATELY: Final = 1  # the time tag (OSC 1.0, "Time Tags")

Message = tuple[int, str, tuple[Any, ...]]  # NTP time tag, address, arguments (arrays flattened)

_BUNDLE: Final = b"#bundle\0"
_SIZE, _TAG = struct.Struct(">i"), struct.Struct(">Q")
_INT, _FLOAT = struct.Struct(">i"), struct.Struct(">f")
# OSC 1.0 "OSC Type Tag String". A character is its code; a time tag, a colour and a MIDI message are bytes.
_FIXED: Final = {
    ord(tag): struct.Struct(layout)
    for tag, layout in {
        "i": ">i", "h": ">q", "f": ">f", "d": ">d", "c": ">i", "t": ">8s", "r": ">4s", "m": ">4s",
    }.items()
}  # fmt: skip
_CONSTANT: Final = {ord("T"): True, ord("F"): False, ord("I"): True, ord("N"): None}
_STRINGS: Final = frozenset(b"sS")
_OPEN, _CLOSE, _BLOB = b"[]b"


class PacketError(ValueError):
    """A packet is no OSC 1.0, or beyond our bounds."""


def read(packet: bytes) -> list[Message]:
    """Return the messages of a packet in their order. Raise PacketError for anything that is not whole."""
    if len(packet) > MAX_PACKET:
        raise PacketError("too long")
    messages: list[Message] = []
    try:
        _element(packet, IMMEDIATELY, 0, messages)
    except (struct.error, ValueError) as error:  # UnicodeDecodeError is a ValueError
        raise PacketError(str(error)) from None
    return messages


def _element(data: bytes, tag: int, depth: int, messages: list[Message]) -> None:
    if data[:1] == b"/":
        if len(messages) >= MAX_MESSAGES:
            raise PacketError("too many messages")
        messages.append(_message(data, tag))
        return
    if not data.startswith(_BUNDLE) or depth >= MAX_DEPTH:
        raise PacketError("neither a message nor a bundle, or nested too deeply")
    (tag,) = _TAG.unpack_from(data, 8)
    at = 16
    while at < len(data):
        (size,) = _SIZE.unpack_from(data, at)
        at += 4
        if not 0 < size <= len(data) - at:
            raise PacketError("an element of no possible size")
        _element(data[at : at + size], tag, depth + 1, messages)
        at += size


def _message(data: bytes, tag: int) -> Message:
    end = data.index(0)
    if end > MAX_ADDRESS:
        raise PacketError("too long an address")
    address = data[:end].decode()
    at = (end + 4) & ~3
    if at >= len(data):
        return tag, address, ()  # senders older than OSC 1.0 leave an empty type tag string out
    end = data.index(0, at)
    tags = data[at:end]
    if tags[:1] != b"," or len(tags) > MAX_ARGUMENTS:
        raise PacketError("no type tags, or too many")
    return tag, address, _arguments(data, tags[1:], (end + 4) & ~3)


def _arguments(data: bytes, tags: bytes, at: int) -> tuple[Any, ...]:
    arguments: list[Any] = []
    depth = 0
    for tag in tags:
        if tag in _FIXED:
            layout = _FIXED[tag]
            arguments += layout.unpack_from(data, at)
            at += layout.size
        elif tag in _CONSTANT:
            arguments.append(_CONSTANT[tag])
        elif tag in _STRINGS:
            end = data.index(0, at)
            arguments.append(data[at:end].decode())
            at = (end + 4) & ~3
        elif tag == _BLOB:
            (size,) = _SIZE.unpack_from(data, at)
            if not 0 <= size <= len(data) - at - 4:
                raise PacketError("a blob of no possible size")
            arguments.append(data[at + 4 : at + 4 + size])
            at += 4 + (size + 3 & ~3)
        elif tag == _OPEN or (tag == _CLOSE and depth > 0):
            depth += 1 if tag == _OPEN else -1
        else:
            raise PacketError(f"unknown type tag {chr(tag)!r}")
    if depth:
        raise PacketError("an open array")
    return tuple(arguments)


def write(address: str, values: Sequence[bool | int | float | str]) -> bytes:
    """Return the message of an address with such arguments. Raise PacketError where there can be none."""
    tags, data = ",", b""
    try:
        for value in values:
            match value:
                case bool():
                    tags += "T" if value else "F"
                case int():
                    tags += "i"
                    data += _INT.pack(value)
                case float():
                    tags += "f"
                    data += _FLOAT.pack(value)
                case _:
                    tags += "s"
                    data += _padded(value)
        packet = _padded(address) + _padded(tags) + data
    except (struct.error, OverflowError, UnicodeError, AttributeError) as error:
        raise PacketError(f"no OSC argument: {error}") from None
    if len(packet) > MAX_PACKET:
        raise PacketError("too long")
    return packet


def bundle(messages: Sequence[bytes]) -> bytes:
    """Return messages as one packet, meant at once: a bundle, or the message itself where it is alone."""
    if len(messages) == 1:
        return messages[0]
    return _BUNDLE + _TAG.pack(IMMEDIATELY) + b"".join(_SIZE.pack(len(each)) + each for each in messages)


def _padded(text: str) -> bytes:
    data = text.encode()
    return data + bytes(4 - len(data) % 4)
