"""A revision: the show file was changed while it plays, and the show goes on with what it says."""

from typing import Any, Final

from pydantic import BaseModel

from engine.core import cues, music, patch, precedence, presets
from engine.core.events import Revise
from engine.core.parameters import INDEX
from engine.core.records import replace
from engine.core.show import Show, from_json
from engine.core.state import DIRECT, Glide, ShowState

# What a revision may change. All else is built into contracts, devices, ports and workers: it stays as it was
# at the curtain, until the next start.
LIVE: Final = frozenset({
    "title", "generator", "swap_s", "tempo.bpm", "tempo.beats_per_bar", "sound.parts", "performer.attract_s",
    "picture.smooth_ms", "safety", "blackout", "sensor", "modulator", "route", "cue", "preset", "morph",
    "precedence",
})  # fmt: skip


def take(state: ShowState, body: Revise) -> ShowState:
    """Return the state with a revision that waits for the end of the tick. Raise ShowError for no show."""
    from_json(body.show)
    return replace(state, revision=body.show)


# A revision enters in a tick, like every event, and takes effect with the next: one show plays a tick from
# its first event to its last. Whoever calls `receive` and `close`, or `advance`, tick after tick, calls
# `revised` in between, on stage and in every replay.
def revised(show: Show, state: ShowState) -> tuple[Show, ShowState]:
    """Return the show and the state that the next tick begins with, once a tick is complete.

    What is in progress goes on where it still has its place: a route keeps what it adds, a fade its way, the
    cue list its place by the cue's number. A level that was changed in the present cue, and the tempo, are
    there with the next frame; another generator is swapped in as if it had been asked for, unless it is the
    cues that say which one plays.
    """
    if not state.revision:
        return show, state
    before = show
    show, _ = merged(before, from_json(state.revision))
    state = replace(state, revision="")
    state = precedence.revise(before, show, state)
    if any(getattr(show, key) != getattr(before, key) for key in ("route", "modulator", "sensor")):
        state = patch.revise(before, show, state)
    if show.cue != before.cue or show.generator != before.generator:
        state = cues.revise(before, show, state)
    if show.preset != before.preset:
        state = presets.revise(show, state)
    if show.tempo.bpm != before.tempo.bpm:
        state = patch.glide(show, state, Glide(INDEX["tempo"], show.tempo.bpm, DIRECT), "show file")
    if show.sound.parts != before.sound.parts:
        state = music.assign(show, state)
    return show, state


def merged(show: Show, wanted: Show) -> tuple[Show, tuple[str, ...]]:
    """Return the show as `wanted` has it but for what can't change while it plays, and the names of that."""
    back: dict[str, Any] = {}
    kept: list[str] = []
    for key in type(show).model_fields:
        was, now = getattr(show, key), getattr(wanted, key)
        if was == now or key in LIVE:
            continue
        back[key] = was
        if isinstance(was, BaseModel) and isinstance(now, BaseModel):
            names = [name for name in type(was).model_fields if getattr(was, name) != getattr(now, name)]
            live = {name: getattr(now, name) for name in names if f"{key}.{name}" in LIVE}
            back[key] = was.model_copy(update=live)
            kept += [f"{key}.{name}" for name in names if name not in live]
        else:
            kept.append(key)
    fields = {key: back.get(key, getattr(wanted, key)) for key in type(show).model_fields}
    return Show.model_construct(**fields), tuple(kept)  # which has nothing cached of another
