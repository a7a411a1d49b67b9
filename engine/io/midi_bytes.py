"""A stream of MIDI bytes, cut into messages."""

from typing import Final

_CHANNEL_DATA: Final = {0x8: 2, 0x9: 2, 0xA: 2, 0xB: 2, 0xC: 1, 0xD: 1, 0xE: 2}
_COMMON_DATA: Final = {0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0}
_REAL_TIME: Final = frozenset((0xF8, 0xFA, 0xFB, 0xFC, 0xFE, 0xFF))
# Data bytes behind each status byte (MIDI 1.0 Detailed Specification, tables I to V).
DATA_BYTES: Final = {
    **{nibble << 4 | channel: count for nibble, count in _CHANNEL_DATA.items() for channel in range(16)},
    **_COMMON_DATA,
}
_SYSEX, _SYSEX_END, _FIRST_REAL_TIME = 0xF0, 0xF7, 0xF8


# A status byte stays in force for channel messages (running status) until a system common byte ends it.
# Real-time bytes may stand anywhere, even between the bytes of another message, and change nothing there.
# Any other status byte ends an open SysEx and drops a message that lacks data; so a stream that was broken
# is back in step at the next status byte.
class MidiParser:
    """Cuts one port's bytes into whole messages, whatever pieces they come in.

    `garbage` counts what belonged to no message: stray data bytes, undefined status bytes, messages cut
    short, SysEx without an end. Whole SysEx messages are passed over without a count.
    """

    def __init__(self) -> None:
        self.garbage = 0
        self._status = 0  # in force: of a channel or common message, of SysEx, or 0
        self._data = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that these bytes complete, each with its own status byte."""
        messages: list[bytes] = []
        for byte in data:
            if byte < 0x80:
                self._take_data(byte, messages)
            elif byte >= _FIRST_REAL_TIME:
                if byte in _REAL_TIME:
                    messages.append(bytes((byte,)))
                else:
                    self.garbage += 1
            else:
                self._take_status(byte, messages)
        return messages

    def _take_data(self, byte: int, messages: list[bytes]) -> None:
        status = self._status
        if status == _SYSEX:
            return
        if not status:
            self.garbage += 1
            return
        self._data.append(byte)
        if len(self._data) == DATA_BYTES[status]:
            messages.append(bytes((status, *self._data)))
            self._data.clear()
            if status > _SYSEX:
                self._status = 0

    def _take_status(self, byte: int, messages: list[bytes]) -> None:
        in_sysex = self._status == _SYSEX
        cut_short = bool(self._data) or self._status > _SYSEX
        self._data.clear()
        self._status = byte if byte == _SYSEX or DATA_BYTES.get(byte) else 0
        if byte == _SYSEX_END:
            self.garbage += not in_sysex
            return
        self.garbage += in_sysex or cut_short
        if byte == 0xF6:
            messages.append(bytes((byte,)))
        elif not self._status:
            self.garbage += 1
