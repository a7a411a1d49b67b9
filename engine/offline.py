"""A recording without the devices: verified against its digests, or rendered to a file."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from engine.core.advance import advance
from engine.core.contract import seen_at
from engine.core.jobs import FrameJob, SoundEvent
from engine.core.latent import frame_job
from engine.core.revision import revised
from engine.core.show import Show
from engine.core.state import ShowState, initial
from engine.core.text import caption
from engine.core.units import SAMPLE_RATE, TICK_SAMPLES, TICKS_PER_SECOND
from engine.recording import Recording

if TYPE_CHECKING:
    from engine.render.maker import Maker

_LEAD_TICKS: Final = 10 * TICKS_PER_SECOND  # played unseen before a span: tails, and pictures fed back


def play(recording: Recording) -> Iterator[tuple[Show, ShowState]]:
    """Yield the show and the state after each tick, with the jobs of that tick in it."""
    ticks = recording.by_tick()
    show, state = recording.show, initial(recording.show)
    for tick in range(recording.end_tick):
        state = advance(show, state, ticks.get(tick, ()))
        yield show, state
        show, state = revised(show, state)


@dataclass(frozen=True)
class Verdict:
    """How many digests agreed; `differs_at` is the tick of the first that did not."""

    seconds: int
    agreed: int
    differs_at: int | None


def verify(recording: Recording) -> Verdict:
    """Run the core over the recording and compare the digest of every second."""
    agreed = 0
    for _, state in play(recording):
        logged = recording.digests.get(state.tick)
        if logged is None:
            continue
        if state.digest() != logged:
            return Verdict(len(recording.digests), agreed, state.tick)
        agreed += 1
    return Verdict(len(recording.digests), agreed, None)


def makers(show: Show, provider: str) -> Callable[[str], "Maker"]:
    """Return the function that loads a generator by name, with the show's image networks behind it."""
    from engine import library
    from engine.render.maker import Maker
    from models import manifest

    networks = [library.find(each.name, manifest.Effect)[0] for each in show.network]
    return lambda name: Maker(library.find(name, manifest.Generator)[0], networks, provider)


def render(
    recording: Recording,
    makers: Callable[[str], "Maker"],
    path: Path,
    size: tuple[int, int],
    fps: int,
    quality: str,
    progress: Callable[[int, int], None],
    span: tuple[int, int] | None = None,
    threads: int = 0,
) -> None:
    """Render the recording with sound: every frame made, none late, the same file for the same models.

    The film begins where the first frame's contract does, so picture and sound lie as far apart as they did
    on stage. `makers` loads a generator by its name. `fps` may differ from the show's where it divides 240;
    `progress(done, all)` counts frames. Of a `span` of ticks only that is in the film, and what sounds or
    glows on from before. The encoder takes so many `threads`, or as many as it likes (0).
    """
    from engine.io.video import VideoWriter
    from engine.render.caption import write
    from engine.render.scale import crossfade, fit
    from engine.render.soundfont import instruments
    from engine.render.synth import render_block

    frame_ticks = TICKS_PER_SECOND // fps
    frame_samples = frame_ticks * TICK_SAMPLES
    begin, end = span or (0, recording.end_tick)
    begin, end = begin - begin % frame_ticks, min(end, recording.end_tick)
    total = (end - begin) // frame_ticks
    cast: dict[str, Maker] = {}  # who plays, and who leaves
    synth = instruments(SAMPLE_RATE, recording.show.sound.soundfont)
    queue: list[SoundEvent] = []
    position = seen_at(recording.show, 0)
    block = np.zeros((frame_samples, 2), np.float32)
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    with VideoWriter(path, *size, fps, SAMPLE_RATE, quality, threads) as video:
        for show, state in play(recording):
            queue.extend(state.sounds)
            if state.tick > end:
                break
            if state.tick % frame_ticks:
                continue
            if state.tick <= begin - _LEAD_TICKS:
                position += frame_samples
                continue
            job: FrameJob = frame_job(show, state)
            named = {state.cast.playing} | ({state.cast.leaving} if job.share < 1.0 else set())
            cast = {name: cast.get(name) or makers(name) for name in sorted(named)}
            pixels = cast[state.cast.playing].picture(job)
            if job.share < 1.0:
                pixels = crossfade(cast[state.cast.leaving].picture(job), pixels, job.share)
            render_block(synth, queue, position, block)
            position += frame_samples
            if state.tick <= begin:
                continue
            fit(pixels, *size, picture)
            write(picture, caption(show, state))
            video.picture(picture)
            video.sound(block)
            progress((state.tick - begin) // frame_ticks, total)
