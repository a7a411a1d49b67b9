"""What comes from outside, made wrong on purpose, for a moment; `make fuzz` goes on."""

import random
import time

import pytest
from fuzz import TARGETS, corpus

SECONDS = 1.0


def wrong(seed: bytes, chance: random.Random) -> bytes:
    """Return a seed with a few bytes changed, left out, doubled or cut off."""
    data = bytearray(seed)
    for _ in range(chance.randint(0, 4)):
        at, length = chance.randrange(len(data) + 1), chance.choice((1, 1, 2, 4, 16))
        match chance.randrange(5):
            case 0:
                data[at : at + length] = chance.randbytes(length)
            case 1:
                del data[at : at + length]
            case 2:
                data[at:at] = data[at : at + length]
            case 3:
                data[at : at + 1] = bytes((chance.choice((0, 1, 0x7F, 0x80, 0xFF, 0x22, 0x2D)),))
            case 4 if chance.random() < 0.2:
                del data[at:]
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_from_outside_takes_it_down(name: str) -> None:
    target, seeds, chance = TARGETS[name](), corpus(name), random.Random(name)
    for seed in seeds:
        target(seed)
    begun, tried = time.monotonic(), 0
    while time.monotonic() - begun < SECONDS:
        target(wrong(chance.choice(seeds), chance))
        tried += 1
    assert tried > 5
