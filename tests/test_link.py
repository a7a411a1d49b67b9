"""Ableton Link with a real peer, in a process of its own."""

import subprocess
import sys
import time

import pytest

from engine.clock import Clock
from engine.core.events import Body, LinkBeat
from engine.core.show import Show
from engine.core.state import initial
from engine.core.transport import beat_at, link
from engine.io.link import LinkSession

pytestmark = pytest.mark.live

PEER = """
import asyncio, time, aalink

async def play():
    link = aalink.Link(133.0)
    link.enabled = True
    while True:
        print(time.monotonic_ns() / 1000, link.beat, link.tempo, flush=True)
        await asyncio.sleep(0.05)

asyncio.run(play())
"""


@pytest.mark.timeout(60)
def test_it_follows_the_session_and_the_session_follows_the_tempo_parameter() -> None:
    clock, told = Clock(), list[tuple[int, Body]]()
    with subprocess.Popen([sys.executable, "-c", PEER], stdout=subprocess.PIPE, text=True) as peer:
        assert peer.stdout is not None
        peer.stdout.readline()
        ours = LinkSession(clock, lambda sample, source, body: told.append((sample, body)), 96.0, 4)
        ours.follow(96.0)
        ours.start()
        try:
            deadline = time.monotonic() + 20
            while len(told) < 4 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert ours.peers == 1
            us, beat, tempo = map(float, peer.stdout.readlines(4000)[-1].split())
            ours.follow(96.0)  # as it was: the core has not yet heard
            ours.follow(100.0)  # somebody moves the tempo
            bpm = 0.0
            while abs(bpm - 100.0) > 0.01 and time.monotonic() < deadline:
                bpm = float(peer.stdout.readline().split()[2])
        finally:
            ours.stop()
            peer.kill()
    assert bpm == pytest.approx(100.0, abs=0.01), "our tempo reached the session"
    sample, body = told[3]
    assert isinstance(body, LinkBeat)
    assert tempo == pytest.approx(133.0, abs=0.01), "whoever comes takes up the session's tempo"
    assert body.bpm == pytest.approx(tempo, abs=0.01)
    state = link(initial(Show(title="x")), sample, body.beat, body.bpm)
    there = beat_at(state.transport, clock.sample_at(us))
    assert there == pytest.approx(beat, abs=0.05), "both are on the same beat"
