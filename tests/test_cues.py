"""Cues and presets: what moves when, over which time, and what wins."""

import json
import re

import pytest

from engine.core import events as ev
from engine.core import fades, presets
from engine.core.advance import advance
from engine.core.events import Event
from engine.core.latent import frame_job
from engine.core.parameters import EFFECTS, INDEX
from engine.core.show import Show
from engine.core.state import ShowState, initial
from engine.core.text import caption

BLACKOUT = [effect.name for effect in EFFECTS].index("blackout")


def show(**changes: object) -> Show:
    return Show.model_validate({"title": "test", "musician": None, "tempo": {"bpm": 120}} | changes)


def run(a_show: Show, ticks: int, happened: dict[int, ev.Body | list[ev.Body]]) -> list[ShowState]:
    """Return the states after each tick; each body is the console's, stamped at the start of its tick."""
    states, state = [], initial(a_show)
    for tick in range(ticks):
        bodies = happened.get(tick, [])
        bodies = bodies if isinstance(bodies, list) else [bodies]
        state = advance(a_show, state, [Event(tick, 0, "console", 0, body) for body in bodies])
        states.append(state)
    return states


def level(state: ShowState, name: str) -> float:
    return state.levels[INDEX[name]]


def mover(state: ShowState, name: str) -> str:
    return state.moved_by[INDEX[name]].name


def cue(number: float, **keys: object) -> dict[str, object]:
    return {"number": number, "fade_s": 0} | keys


def test_go_to_finds_a_cue_by_its_number_as_osc_brings_it() -> None:
    a_show = show(cue=[cue(1), cue(2.1, levels={"psi": 0.3}), cue(3)])
    states = run(a_show, 40, {0: ev.GoTo(3.0), 10: ev.GoTo(2.0999999046), 20: ev.GoTo(7.0)})
    assert [states[tick].cue for tick in (5, 15, 35)] == [2, 1, 1]
    assert level(states[-1], "psi") == 0.3


def test_hold_freezes_fades_and_follows_and_they_go_on_from_there() -> None:
    cues = [cue(1, fade_s=1, follow_s=2, levels={"psi": 1.5}), cue(2, levels={"hue": 9})]
    free = run(show(cue=cues), 600, {0: ev.Go()})
    held = run(show(cue=cues), 800, {0: ev.Go(), 120: ev.Hold(1), 320: ev.Hold(0)})
    assert {level(state, "psi") for state in held[127:320]} == {level(free[119], "psi")}
    assert [level(state, "psi") for state in held[320:800]] == [
        level(state, "psi") for state in free[120:600]
    ]
    assert [state.cue for state in held[320:800]] == [state.cue for state in free[120:600]]
    assert held[200].held
    assert not held[400].held


def test_a_blackout_is_a_master_over_the_picture_and_leaves_the_levels_alone() -> None:
    a_show = show(blackout={"fade_s": 0.5}, cue=[cue(1, levels={"blackout": 0.5, "text.opacity": 0.8})])
    states = run(a_show, 600, {0: ev.Go(), 120: ev.Blackout(1), 300: ev.Go(), 360: ev.Blackout(0)})
    dark = [frame_job(a_show, state).effects[BLACKOUT] for state in states]
    assert dark[100] == 0.5
    assert 0.5 < dark[180] < 1.0
    assert set(dark[240:360]) == {1.0}
    assert dark[599] == 0.5
    assert level(states[300], "blackout") == 0.5
    assert caption(a_show, states[300]).opacity == 0.0
    assert caption(a_show, states[599]).opacity == pytest.approx(0.4)
    assert dark[120:240] == sorted(dark[120:240])


def test_a_blackout_turned_round_goes_on_from_where_it_was() -> None:
    a_show = show(blackout={"fade_s": 1.0})
    states = run(a_show, 400, {0: ev.Blackout(1), 120: ev.Blackout(0)})
    dark = [fades.darkness(a_show, state) for state in states]
    assert abs(dark[119] - dark[121]) < 0.02
    assert dark[-1] == 0.0
    assert fades.darkness(show(blackout={"fade_s": 0}), run(a_show, 2, {1: ev.Blackout(7)})[-1]) == 1.0


def test_what_was_stored_is_recalled_over_its_fade() -> None:
    hue = ev.Control("/chladni/parameter/hue", 40.0)
    away = [ev.Control("/chladni/parameter/hue", -90.0), ev.Control("/chladni/parameter/psi", 0.1)]
    recall = ev.Recall("mine", 0.5)
    states = run(show(), 400, {0: hue, 16: ev.Store("mine"), 32: away, 100: recall, 300: ev.Recall("no", 0)})
    assert level(states[99], "hue") == -90.0
    assert -90.0 < level(states[160], "hue") < 40.0
    assert level(states[-1], "hue") == 40.0
    assert level(states[-1], "psi") == 0.7
    assert mover(states[-1], "hue") == "preset mine"
    assert presets.names(show(), states[-1]) == ["mine"]


def test_a_show_s_preset_moves_what_it_names_and_a_stored_one_takes_its_name_over() -> None:
    a_show = show(preset=[{"name": "dim", "levels": {"contrast": 0.4, "musician.mode": "solo"}}])
    happened = {0: ev.Recall("dim", 0), 20: ev.Control("/chladni/parameter/contrast", 2.0)}
    states = run(a_show, 80, happened | {40: ev.Store("dim"), 50: ev.Recall("dim", 0)})
    assert level(states[10], "contrast") == 0.4
    assert level(states[10], "musician.mode") == 5.0
    assert level(states[-1], "contrast") == 2.0
    assert presets.names(a_show, states[-1]) == ["dim"]


def test_no_more_presets_are_stored_than_there_is_room_for() -> None:
    states = run(show(), 2, {0: [ev.Store(f"p{n}") for n in range(100)] + [ev.Store(" "), ev.Store("p3")]})
    assert len(states[-1].presets) == presets.MAX_STORED
    assert states[-1].faults == 0


@pytest.mark.parametrize(
    "body", [ev.GoTo(2.5), ev.Hold(1.0), ev.Blackout(0.25), ev.Store("Nacht é"), ev.Recall("dim", 2.0)]
)
def test_the_stage_s_commands_survive_the_recording(body: ev.Body) -> None:
    assert ev.decode(json.loads(json.dumps(ev.encode(body)))) == body


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (["GoTo", "1"], "GoTo.cue is to be float, found '1'"),
        (["Recall", "dim", -1.0], "Recall.fade_s is to be 0.0 to 3600.0, found -1.0"),
        (["Store", ""], "a preset's name has 1 to 60 characters, found ''"),
        (["Store", "a\nb"], "a preset's name has 1 to 60 characters"),
        (["Recall", "x" * 61, 0.0], "a preset's name has 1 to 60 characters"),
    ],
)
def test_what_no_stage_can_ask_for_is_refused(data: list[object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        ev.decode(data)
