"""Cues and presets: what moves when, over which time, and what wins."""

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.core import cues, presets, revision
from engine.core import events as ev
from engine.core.advance import advance
from engine.core.blackout import darkness
from engine.core.cast import upcoming
from engine.core.curves import CURVES
from engine.core.events import Event
from engine.core.jobs import SoundKind
from engine.core.latent import frame_job
from engine.core.parameters import EFFECTS, INDEX
from engine.core.patch import settle
from engine.core.show import Show, ShowError, as_json, parse
from engine.core.state import ShowState, Standby, initial
from engine.core.text import caption
from engine.hud import cue_line
from engine.offline import Verdict, verify
from engine.recording import read

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
    a_show = show(cue=[cue(1), cue(2.1, levels={"psi": 0.3}), cue(2.7), cue(3)])
    wanted = (3.0, 2.0999999046, 2.7000000477, 7.0, 2.0, -1.0, 2.1)
    states = run(a_show, 80, {10 * n: ev.GoTo(number) for n, number in enumerate(wanted)})
    assert [states[tick].cue for tick in range(5, 75, 10)] == [3, 1, 2, 2, 2, 2, 1]
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


def test_a_blackout_takes_the_sound_with_it_where_the_show_says_so() -> None:
    for sound, levels in ((True, [0.0, 0.8]), (False, [])):
        a_show = show(blackout={"fade_s": 0.5, "sound": sound})
        states = run(a_show, 600, {130: ev.Blackout(1), 360: ev.Blackout(0)})
        volumes = [[s.value for s in state.sounds if s.kind == SoundKind.LEVEL] for state in states]
        dark, light = [*itertools.chain(*volumes[131:359])], [*itertools.chain(*volumes[360:])]
        assert [dark[-1], light[-1]] == levels if sound else not dark and not light
        assert dark == sorted(dark, reverse=True)
        assert level(states[300], "sound.volume") == 0.8


def test_a_blackout_turned_round_goes_on_from_where_it_was() -> None:
    a_show = show(blackout={"fade_s": 1.0})
    states = run(a_show, 400, {0: ev.Blackout(1), 120: ev.Blackout(0)})
    dark = [darkness(a_show, state) for state in states]
    assert abs(dark[119] - dark[121]) < 0.02
    assert dark[-1] == 0.0
    assert darkness(show(blackout={"fade_s": 0}), run(a_show, 2, {1: ev.Blackout(7)})[-1]) == 1.0


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


def control(name: str, value: float) -> ev.Body:
    return ev.Control(f"/chladni/parameter/{name}", value)


def begun(states: list[ShowState]) -> list[tuple[int, int]]:
    """Return at which ticks which cues began."""
    pairs = itertools.pairwise([initial(show()), *states])
    return [(tick, now.cue) for tick, (before, now) in enumerate(pairs) if now.cue != before.cue]


NAMES = ("psi", "hue", "bloom", "musician.mode")
LISTS = st.lists(
    st.tuples(st.dictionaries(st.sampled_from(NAMES), st.sampled_from([0.0, 0.5, 1.0])), st.booleans()),
    min_size=1,
    max_size=8,
)


@given(LISTS, st.lists(st.sampled_from(["go", "back", *range(8)]), max_size=12))
def test_a_cue_looks_the_same_from_wherever_it_is_gone_to(
    cues: list[tuple[dict[str, float], bool]], moves: list[str | int]
) -> None:
    """Each move ends in what all cues up to there come to, played one after the other by hand."""
    a_show = show(cue=[cue(n, levels=levels, block=block) for n, (levels, block) in enumerate(cues)])
    begins = {name: level(initial(a_show), name) for name in NAMES}
    named = {name for levels, _ in cues for name in levels}
    looks = [begins]
    for levels, block in cues:
        looks.append((looks[-1] | {name: begins[name] for name in named if block}) | levels)
    state, at = initial(a_show), -1
    for tick, move in enumerate(moves):
        wanted = {"go": at + 1, "back": at - 1}.get(move, move) if isinstance(move, str) else move
        at = wanted if 0 <= wanted < len(cues) else at
        body = {"go": ev.Go(), "back": ev.Back()}.get(str(move)) or ev.GoTo(float(move))
        state = advance(a_show, state, [Event(state.tick, 0, "console", tick, body)])
        for _ in range(a_show.frame_ticks):
            state = advance(a_show, state, [])
        assert state.cue == at
        assert {name: level(state, name) for name in NAMES} == looks[at + 1]


def test_what_no_cue_between_moves_stays_as_the_performer_left_it() -> None:
    a_show = show(cue=[cue(1, levels={"psi": 0.2}), cue(2, levels={"hue": 50}), cue(3, levels={"hue": 60})])
    hands = [control("psi", 1.1), control("bloom", 0.9)]
    states = run(a_show, 80, {0: ev.Go(), 16: hands, 32: ev.GoTo(3), 48: ev.Back(), 64: ev.GoTo(1)})
    assert [level(states[tick], "psi") for tick in (15, 31, 47, 63, 79)] == [0.2, 1.1, 1.1, 1.1, 0.2]
    assert [level(states[tick], "hue") for tick in (15, 47, 63, 79)] == [0, 60, 50, 0]
    assert level(states[-1], "bloom") == 0.9


def test_a_block_cue_is_a_whole_scene_and_an_assert_cue_takes_back() -> None:
    cues = [cue(1, levels={"psi": 0.2, "hue": 50}), cue(2, levels={"bloom": 1}), cue(3, levels={"hue": 20})]
    cues[1]["block"] = cues[2]["assert"] = True
    hands = [control("psi", 1.1), control("contrast", 2.5)]
    states = run(show(cue=cues), 64, {0: ev.Go(), 16: hands, 32: ev.Go(), 48: [*hands, ev.Go()]})
    names = ("psi", "hue", "bloom", "contrast")
    looks = [[level(states[tick], name) for name in names] for tick in (31, 47, 63)]
    assert looks == [[1.1, 50, 0, 2.5], [0.7, 0, 1, 2.5], [0.7, 20, 1, 2.5]]


def test_each_parameter_may_have_its_own_time_and_curve() -> None:
    cues = [{"number": 1, "fade_s": 0.5, "levels": {"psi": 1.5, "hue": 90, "bloom": 1, "contrast": 0}}]
    cues[0]["fades"] = {"hue": {"s": 1, "curve": "linear"}, "bloom": {"beats": 4}, "psi": {"curve": "linear"}}
    states = run(show(cue=cues), 520, {0: ev.Go()})
    assert level(states[119], "hue") == pytest.approx(90 * 119 / 240)
    assert level(states[63], "psi") == pytest.approx(0.7 + 0.8 * 63 / 120)
    assert level(states[63], "contrast") == pytest.approx(1 - CURVES["s"](63 / 120))
    assert level(states[239], "bloom") == pytest.approx(CURVES["s"](239 / 480))  # four beats at 120 bpm
    assert level(states[487], "bloom") == 1.0
    assert states[487].fades == ()


def test_a_fade_in_bars_ends_on_the_bar_whatever_becomes_of_the_tempo_and_the_place() -> None:
    a_show = show(cue=[cue(1, fade_s=None, fade_bars=1, curve="linear", levels={"bloom": 1})])
    happened = {0: ev.Go(), 120: control("tempo", 60.0), 480: ev.Start(), 600: ev.SongPosition(64)}
    states = run(a_show, 1000, happened)
    assert level(states[119], "bloom") == pytest.approx(0.25, abs=0.005)  # one beat at 120
    assert level(states[479], "bloom") == pytest.approx(0.625, abs=0.01)  # one and a half at 60
    done = next(tick for tick, state in enumerate(states) if level(state, "bloom") == 1.0)
    assert 836 <= done <= 860  # three at 60 bpm
    assert states[-1].beats > states[900].beats


def test_follow_counts_from_the_end_of_the_fade_and_autofollow_from_the_go() -> None:
    levels = {"psi": 1.0}
    cues = [
        cue(1, fade_s=1, follow_s=0.5, levels=levels),
        cue(2, fade_s=1, autofollow_s=0.5, levels=levels),
        cue(3, fade_s=0.5, fades={"psi": {"beats": 4}}, follow_beats=1, levels=levels),
        cue(4),
    ]
    states = run(show(cue=cues), 1200, {0: ev.Go()})
    assert begun(states) == [(0, 0), (360, 1), (480, 2), (480 + 480 + 120, 3)]


def test_bars_do_not_drift_from_cue_to_cue() -> None:
    cues = [cue(n, autofollow_bars=1) for n in (1, 2, 3)]
    states = run(show(cue=cues, tempo={"bpm": 127, "beats_per_bar": 3}), 12_000, {0: ev.Go()})
    bar = 3 * 60 * 240 / 127
    ticks = [tick for tick, _ in begun(states)]
    assert len(ticks) == 36
    assert all(0 <= tick - n * bar < 1 for n, tick in enumerate(ticks))


def test_go_waits_for_its_bar_and_a_second_one_goes_on_from_the_cue_that_waits() -> None:
    a_show = show(cue=[cue(n, snap="bar", levels={"psi": n / 4, "hue": n}) for n in (1, 2, 3)])
    bar = 480
    states = run(a_show, 4 * bar, {100: ev.Go(), 600: ev.Go(), 700: ev.Go(), 1500: ev.Back()})
    assert begun(states) == [(bar, 0), (2 * bar, 2)]
    assert [cues.upcoming(a_show, states[tick]) for tick in (50, 200, 650, 800, 1600)] == [0, 0, 1, 2, 1]
    states = run(a_show, 2 * bar, {100: ev.Go(), 200: ev.Back()})
    assert begun(states) == [], "back takes the GO back"


def test_a_go_just_after_the_beat_was_meant_for_it_and_where_no_beat_runs_none_waits() -> None:
    a_show = show(cue=[cue(1, snap="beat"), cue(2, snap="beat"), cue(3, snap="bar")])
    assert begun(run(a_show, 300, {125: ev.Go(), 150: ev.Go()})) == [(125, 0), (240, 1)]
    assert begun(run(a_show, 300, {100: ev.Stop(), 130: ev.Go()})) == [(130, 0)]
    assert begun(run(a_show, 300, {100: ev.Go(), 110: ev.Stop()})) == [(110, 0)]
    assert begun(run(a_show, 300, {100: ev.GoTo(3), 150: ev.SongPosition(20)})) == [(150, 2)]


def test_a_go_by_hand_takes_the_place_of_a_follow() -> None:
    cues_ = [cue(1, autofollow_s=1), cue(2, autofollow_s=1), cue(3), cue(4)]
    states = run(show(cue=cues_), 600, {0: ev.Go(), 200: ev.Go()})
    assert begun(states) == [(0, 0), (200, 1), (440, 2)]
    cues_[1]["snap"] = "bar"  # the follow waits for its bar, a GO by hand then goes to the same cue
    states = run(show(cue=cues_), 1000, {0: ev.Go(), 300: ev.Go()})
    assert begun(states) == [(0, 0), (480, 1), (720, 2)]
    assert mover(states[-1], "psi") == ""


def test_a_go_ends_a_hold() -> None:
    cues_ = [cue(1, fade_s=1, levels={"psi": 1.5}), cue(2, fade_s=0, levels={"hue": 9})]
    states = run(show(cue=cues_), 600, {0: ev.Go(), 120: ev.Hold(1), 320: ev.Go()})
    assert [states[tick].held for tick in (200, 330)] == [True, False]
    assert level(states[330], "hue") == 9
    assert level(states[-1], "psi") == 1.5
    assert cues.fading(states[-1]) == 1.0


def test_a_go_that_waits_for_its_bar_waits_for_the_first_one_after_a_hold() -> None:
    a_show = show(cue=[cue(1, snap="bar")])
    assert begun(run(a_show, 1500, {100: ev.Go(), 200: ev.Hold(1), 700: ev.Hold(0)})) == [(960, 0)]


def test_a_preset_is_recalled_during_a_hold_and_what_is_held_goes_on_after_it() -> None:
    a_show = show(
        cue=[cue(1, fade_s=1, levels={"psi": 1.5, "bloom": 1})], preset=[{"name": "p", "levels": {"psi": 0}}]
    )
    states = run(a_show, 800, {0: ev.Go(), 120: ev.Hold(1), 200: ev.Recall("p", 0.25), 400: ev.Hold(0)})
    assert level(states[280], "psi") == 0
    assert 0.4 < level(states[390], "bloom") < 0.6
    assert [level(states[-1], name) for name in ("psi", "bloom")] == [0, 1]


CUE, HAND, FOLLOWED = ev.GoTo(3), control("psi", 0.9), ev.GoTo(1)


@pytest.mark.parametrize(
    ("wins", "first", "second", "psi", "by"),
    [
        ("LTP", CUE, HAND, 0.9, "console"),
        ("LTP", HAND, CUE, 0.2, "cue 3"),
        ("LTP", HAND, FOLLOWED, 0.4, "follow 2"),
        ("performer", CUE, HAND, 0.9, "console"),
        ("performer", HAND, CUE, 0.9, "console"),
        ("performer", HAND, FOLLOWED, 0.9, "console"),
        ("cue", CUE, HAND, 0.2, "cue 3"),
        ("cue", HAND, CUE, 0.2, "cue 3"),
        ("cue", FOLLOWED, HAND, 0.4, "follow 2"),
        ("hand", HAND, CUE, 0.2, "cue 3"),
        ("hand", CUE, HAND, 0.9, "console"),
        ("hand", HAND, FOLLOWED, 0.9, "console"),
        ("hand", CUE, FOLLOWED, 0.4, "follow 2"),
        ("HTP", CUE, HAND, 0.9, "console"),
        ("HTP", HAND, CUE, 0.9, "cue 3"),
    ],
)
@pytest.mark.parametrize("named", ["default", "psi"])
def test_what_wins_is_what_the_show_declares(
    wins: str, first: ev.Body, second: ev.Body, psi: float, by: str, named: str
) -> None:
    cues_ = [cue(1, autofollow_s=0.1), cue(2, levels={"psi": 0.4}), cue(3, levels={"psi": 0.2})]
    states = run(show(cue=cues_, precedence={named: wins}), 120, {0: first, 50: second})
    assert (level(states[-1], "psi"), mover(states[-1], "psi")) == (psi, by)


KEEPS = {  # from whom who does not take: docs/show.md, What wins
    "LTP": set(),
    "performer": {("hands", "go"), ("hands", "follow")},
    "cue": {("go", "hands"), ("follow", "hands")},
    "hand": {("hands", "follow")},
}
MOVES = st.sampled_from([ev.Go(), ev.Back(), ev.GoTo(1), ev.GoTo(3), HAND, ev.Recall("p", 0.1), ev.Hold(-1)])


@settings(deadline=None)
@given(st.sampled_from(sorted(KEEPS)), st.dictionaries(st.integers(0, 200), MOVES, max_size=12))
def test_nobody_takes_what_is_kept_in_any_order_of_moves(wins: str, happened: dict[int, ev.Body]) -> None:
    cues_ = [cue(n, fade_s=0.1, levels={"psi": n / 4}) for n in (1, 2, 3)]
    cues_[1]["autofollow_s"] = 0.1
    preset = [{"name": "p", "levels": {"psi": 1.2}}]
    states = run(show(cue=cues_, precedence={"psi": wins}, preset=preset), 260, happened)
    kinds = [state.moved_by[INDEX["psi"]].kind for state in states]
    assert not KEEPS[wins] & set(itertools.pairwise(kinds))
    last = states[-1].moved_by[INDEX["psi"]]
    if not states[-1].held and last.kind in ("go", "follow"):
        assert level(states[-1], "psi") in (0.25, 0.5, 0.75, 0.7)
    elif last.kind:
        assert level(states[-1], "psi") in (0.9, 1.2) or states[-1].held


@given(st.integers(0, 600), st.floats(40, 250), st.integers(1, 7), st.sampled_from(["beat", "bar"]))
def test_a_go_begins_on_the_first_beat_or_bar_that_comes(at: int, bpm: float, bar: int, snap: str) -> None:
    a_show = show(cue=[cue(1, snap=snap)], tempo={"bpm": bpm, "beats_per_bar": bar})
    length = bar if snap == "bar" else 1
    places = [tick * bpm / (60 * 240) / length for tick in range(at + 2600)]
    assume(abs(places[at] % 1 * length - 0.05) > 1e-6)
    due = next(n for n in range(at, len(places)) if (n == at and places[n] % 1 * length < 0.05)
               or (n > at and int(places[n]) > int(places[at])))  # fmt: skip
    states = run(a_show, due + 2, {at: ev.Go()})
    assert abs(begun(states)[0][0] - due) <= 1  # a beat on the edge of a tick may round either way


def test_under_htp_the_higher_is_seen_and_the_lower_is_kept() -> None:
    cues_ = [cue(1, levels={"bloom": 0.5}), cue(2, levels={"bloom": 0.1})]
    a_show = show(cue=cues_, precedence={"bloom": "HTP"})
    happened = {0: ev.Go(), 16: control("bloom", 0.8), 32: control("bloom", 0.3), 48: ev.Go()}
    states = run(
        a_show, 120, happened | {64: ev.Store("x"), 72: control("bloom", 0.0), 96: ev.Recall("x", 0)}
    )
    assert [level(states[t], "bloom") for t in (15, 31, 47, 63, 95, 119)] == [0.5, 0.8, 0.5, 0.3, 0.1, 0.3]


def test_an_assert_cue_takes_what_the_performer_would_keep() -> None:
    cues_ = [cue(1, levels={"psi": 0.2}), cue(2, levels={"psi": 0.3}), cue(3, levels={"hue": 5})]
    cues_[2]["assert"] = True
    a_show = show(cue=cues_, precedence={"default": "performer"})
    states = run(a_show, 64, {0: HAND, 16: ev.Go(), 32: ev.Go(), 48: ev.Go()})
    assert [level(states[tick], "psi") for tick in (15, 31, 47, 63)] == [0.9, 0.9, 0.9, 0.3]


def test_the_generator_tracks_too_and_fades_in_as_long_as_the_cue() -> None:
    cues_ = [cue(1, generator="two", fade_s=0.5), cue(2), cue(3, generator="three"), cue(4, block=True)]
    a_show = show(generator="one", cue=cues_)
    states = run(a_show, 100, {0: ev.GoTo(2), 20: ev.GoTo(3), 40: ev.Back(), 60: ev.GoTo(4), 80: ev.GoTo(1)})
    assert [states[tick].cast.wanted for tick in (10, 30, 50, 70, 90)] == ["two", "three", "two", "", "two"]
    assert [states[tick].cast.wanted_ticks for tick in (10, 90)] == [0, 120]
    by_hand = {0: ev.GoTo(1), 10: [ev.Swap("mine"), ev.Enter("mine", 0)], 20: ev.Go()}
    states = run(a_show, 30, by_hand)
    assert [upcoming(a_show, states[tick]) for tick in (15, 25)] == ["", "three"], "2 leaves it, 3 does not"


PADS = [
    {"name": "sw", "levels": {"psi": 0.2, "hue": -90, "musician.mode": "continue"}},
    {"name": "se", "levels": {"psi": 0.4, "hue": 90, "musician.mode": "duet"}},
    {"name": "nw", "levels": {"psi": 1.0, "hue": 0, "musician.mode": "solo"}},
    {"name": "ne", "levels": {"psi": 1.4, "bloom": 2.0, "morph.x": 0.1}},
]
PAD = show(preset=PADS, morph={"corners": ["sw", "se", "nw", "ne"]})


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_morph_pad_mixes_its_four_presets_by_their_nearness(x: float, y: float) -> None:
    state = run(PAD, 8, {0: [control("morph.x", x), control("morph.y", y)]})[-1]
    moved = level(state, "morph.x") != 0.5 or level(state, "morph.y") != 0.5
    low, high = 0.2 + 0.2 * x, 1.0 + 0.4 * x
    assert level(state, "psi") == pytest.approx(low + (high - low) * y if moved else 0.7)
    assert level(state, "bloom") == pytest.approx(2.0 * x * y if moved else 0.0)  # 0 where no corner names it
    near = [(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y]
    assert level(state, "musician.mode") in (0.0, 3.0, 5.0)
    if moved and max(near) > 0.5:
        assert level(state, "musician.mode") == [0.0, 3.0, 5.0, 0.0][near.index(max(near))]


def test_a_corner_of_the_pad_is_its_preset_and_a_pad_at_rest_holds_nothing() -> None:
    to_corner = [control("morph.x", 1.0), control("morph.y", 0.0)]
    happened = {0: to_corner, 16: control("psi", 0.9), 64: control("morph.y", 0.5)}
    states = run(PAD, 80, happened)
    assert [level(states[8], name) for name in ("psi", "hue", "musician.mode")] == [0.4, 90.0, 3.0]
    assert mover(states[8], "hue") == "morph"
    assert {level(state, "psi") for state in states[23:64]} == {0.9}
    assert level(states[-1], "psi") == pytest.approx((0.4 + 1.4) / 2)


def test_the_pad_takes_what_is_stored_and_ranks_as_what_moves_it() -> None:
    cues_ = [cue(1, levels={"psi": 0.3}), cue(2, fade_s=0.5, levels={"morph.x": 1.0, "morph.y": 0.0})]
    a_show = show(
        preset=PADS, morph={"corners": ["sw", "se", "nw", "ne"]}, cue=cues_, precedence={"psi": "performer"}
    )
    stored = [control("psi", 1.2), control("hue", 33.0)]
    states = run(a_show, 300, {0: stored, 8: ev.Store("se"), 16: ev.Go(), 32: ev.Go()})
    assert level(states[-1], "hue") == pytest.approx(33.0)
    assert (level(states[-1], "psi"), mover(states[-1], "psi")) == (1.2, "console"), "a cue moved the pad"
    states = run(a_show, 40, {0: stored, 16: [control("morph.x", 0.0), control("morph.y", 1.0)]})
    assert (level(states[-1], "psi"), mover(states[-1], "psi")) == (1.0, "morph")


def test_a_negative_value_turns_hold_and_blackout_round() -> None:
    states = run(show(), 40, {0: ev.Hold(-1), 10: ev.Hold(-1), 20: ev.Blackout(-1), 30: ev.Blackout(-1)})
    assert [states[tick].held for tick in (5, 15)] == [True, False]
    assert [states[tick].dark.end for tick in (15, 25, 35)] == [0.0, 1.0, 0.0]


def test_the_display_tells_of_cues_and_hands() -> None:
    cues_ = [cue(1, name="Dawn", fade_s=1, levels={"psi": 1}), cue(2.5, snap="bar"), cue(3)]
    a_show = show(cue=cues_)
    happened = {0: ev.Go(), 30: control("hue", 9), 60: ev.Go(), 120: ev.Hold(1), 130: ev.Blackout(1)}
    states = run(a_show, 140, happened)
    assert cue_line(a_show, initial(a_show)) == "cue -   next 1 Dawn"
    assert cue_line(a_show, states[23]) == "cue 1 Dawn   next 2.5   fading 10 %"
    line = "cue 1 Dawn   next 2.5 on the bar   fading 50 %   HELD   DARK   by hand: hue console"
    assert cue_line(a_show, states[-1]) == line


def revised(before: Show, after: Show, state: ShowState) -> ShowState:
    return revision.revised(before, replace(state, revision=as_json(after)))[1]


def test_a_revised_list_goes_on_at_the_same_cue_with_what_has_changed() -> None:
    before = show(cue=[cue(1, levels={"psi": 0.2}), cue(2, fade_s=1, follow_s=1, levels={"hue": 30})])
    state = run(before, 400, {0: ev.Go(), 60: ev.Go()})[-1]
    new = cue(2, fade_s=1, follow_s=2, levels={"hue": 40})
    after = show(cue=[cue(0.5, levels={"bloom": 1}), cue(1, levels={"psi": 0.3}), new, cue(3)])
    state = revised(before, after, state)
    assert state.cue == 2
    places = []
    for _ in range(600):
        state = advance(after, state, [])
        places.append(state.cue)
    assert places.index(3) == 60 + 3 * 240 - 400
    assert [level(state, name) for name in ("psi", "hue", "bloom")] == [0.3, 40, 1]
    gone = revised(after, show(cue=[cue(2.5), cue(4)]), replace(state, standby=Standby(3, "go", 0.0)))
    assert (gone.cue, gone.standby) == (0, None)
    assert revised(after, show(), state).cue == -1


def test_a_revised_precedence_keeps_the_levels_that_are_seen() -> None:
    levels, hands = {"bloom": 0.5, "psi": 0.4}, [control("bloom", 0.8), control("psi", 0.3)]
    shows = [show(cue=[cue(1, levels=levels)], precedence=dict.fromkeys(names, "HTP")) for names in
             (("bloom", "psi"), ("bloom",), (), ("psi", "hue"))]  # fmt: skip
    state = run(shows[0], 24, {0: ev.Go(), 8: hands, 16: ev.Store("mine")})[-1]
    for before, after in itertools.pairwise(shows):
        state = revised(before, after, state)
        assert len(state.bases) == len(state.levels) + len(after.highest)
        assert settle(after, state, range(len(state.levels))).levels == state.levels
    assert [level(state, name) for name in ("bloom", "psi")] == [0.8, 0.4]
    after = show(preset=[{"name": "mine", "levels": {"psi": 1}}])
    assert presets.find(after, revised(shows[-1], after, state), "mine") == ((INDEX["psi"], 1.0),)


def test_a_recorded_half_minute_of_everything_above_replays() -> None:
    recording = read(Path(__file__).parent / "golden" / "cues.chladni")
    assert verify(recording) == Verdict(30, 30, None)


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(["s", "beats"]))
def test_held_for_any_time_a_fade_takes_that_much_longer(at: int, length: int, unit: str) -> None:
    keys = {"s": {"fade_s": 1}, "beats": {"fade_s": None, "fade_beats": 2}}[unit]
    a_show = show(fps=120, cue=[cue(1, levels={"bloom": 1}, follow_s=0.2, **keys), cue(2)])
    states = run(a_show, 800, {0: ev.Go(), at: ev.Hold(1), at + length: ev.Hold(0)})
    late = length if at <= 288 else 0
    assert begun(states)[-1][1] == 1
    assert abs(next(tick for tick, state in enumerate(states) if state.cue == 1) - 288 - late) <= 2


PRESET = "[[preset]]\nname = 'dim'\n"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("fade_s = 2\nfade_bars = 1", "a.toml:2: cue[0]: fade_s and fade_bars: one of them is enough"),
        ("follow_s = 2\nautofollow_s = 1", "cue[0]: follow_s and autofollow_s: one of them is enough"),
        (
            "fades = { psy = { s = 1 } }",
            "a.toml:4: cue[0].fades.psy: no parameter 'psy'; did you mean 'psi'?",
        ),
        ("fades = { walk.speed = { s = 1 } }", "cue[0].fades: walk.speed: a name with a dot is to be in"),
        ("levels = { walk.speed = 1 }", "cue[0].levels: walk.speed: a name with a dot is to be in quotes"),
        ("fades = { hue = { curv = 's' } }", "cue[0].fades.hue.curv: no such key; did you mean 'curve'?"),
        ("fades = { psi = { s = 1, beats = 2 } }", "a.toml:4: cue[0].fades.psi: s and beats: one of them is"),
        ('snap = "bars"', "a.toml:4: cue[0].snap: input should be 'none', 'beat' or 'bar', found 'bars'"),
        ("[[cue]]\nnumber = 1.0001", "a.toml:5: cue[1].number: cue numbers are to ascend by 0.001 or more"),
        ('[precedence]\nhue = "highest"', "a.toml:5: precedence.hue: input should be 'LTP', 'HTP'"),
        ('[precedence]\nhuge = "HTP"', "a.toml:5: precedence.huge: no parameter 'huge'; did you mean 'hue'?"),
        (
            '[precedence]\n"musician.mode" = "HTP"',
            "precedence.musician.mode: 'HTP': of two choices none is",
        ),
        ("[[preset]]\nname = ''", "a.toml:5: preset[0].name: '': a preset's name is one line of 1 to 60"),
        ("[morph]\ncorners = ['a', 'b', 'c']", "a.toml:5: morph.corners[3]: this key is missing"),
        (f"{PRESET}[morph]\ncorners = ['dim', 'dim', 'dim', 'din']", "morph.corners: no preset 'din'; did"),
        (
            '[[preset]]\nname = "x"\n[[preset]]\nname = "x"',
            "there is another preset 'x'",
        ),
    ],
)
def test_a_wrong_cue_is_explained(keys: str, message: str) -> None:
    with pytest.raises(ShowError) as caught:
        parse(f'title = "x"\n[[cue]]\nnumber = 1\n{keys}\n', "a.toml")
    assert message in str(caught.value)
