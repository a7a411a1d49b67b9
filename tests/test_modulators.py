"""Modulators and sensors: sources that move by themselves, and sources that are cleaned."""

from itertools import pairwise
from math import pi, sin
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core import events as ev
from engine.core import patch
from engine.core.events import Body
from engine.core.modulators import SHAPES
from engine.core.parameters import INDEX
from engine.core.show import Show, ShowError, parse
from engine.core.state import ShowState
from tests.test_patch import CUES, GO, levels, play

UNIT = st.floats(0, 1)
ROUTE = {"from": "/modulator/m", "to": "psi", "range": [0.0, 1.0], "smooth_ms": 0}
Happened = dict[int, list[Body | float]]


def show(*modulators: dict[str, Any], **changes: Any) -> Show:
    table = [{"name": "m"} | modulator for modulator in modulators]
    plain = {"title": "t", "musician": None, "tempo": {"bpm": 120}, "modulator": table, "route": [ROUTE]}
    return Show.model_validate(plain | changes)


def psi(a_show: Show, steps: int, happened: Happened | None = None) -> list[float]:
    return levels(play(a_show, steps, happened or {}))


@given(UNIT)
def test_the_sine_is_one_to_a_six_hundredth_and_every_shape_stays_between_0_and_1(phase: float) -> None:
    assert SHAPES["sine"](phase) == pytest.approx(0.5 + 0.5 * sin(2 * pi * phase), abs=0.00085)
    assert all(0.0 <= shape(phase) <= 1.0 for shape in SHAPES.values())


def test_an_lfo_keeps_the_beat_or_its_own_time() -> None:
    saw = {"kind": "lfo", "shape": "saw", "beats": 2}  # a second at 120
    way = psi(show(saw), 90)
    assert way[14] == pytest.approx(0.5)
    assert [n for n, (a, b) in enumerate(pairwise(way)) if b < a] == [28, 58, 88], "at each second beat"
    assert psi(show(saw | {"phase": 0.25}), 90)[14] == pytest.approx(0.75)
    stopped = psi(show(saw), 90, {10: [ev.Stop()]})
    assert stopped[-1] == stopped[20], "with the transport"
    free = psi(show({"kind": "lfo", "shape": "saw", "seconds": 2.0}), 90, {10: [ev.Stop()]})
    assert [n for n, (a, b) in enumerate(pairwise(free)) if b < a] == [58]
    with pytest.raises(ValueError, match="beats and seconds: one of them is enough"):
        show(saw | {"seconds": 2.0})


def test_steps_follow_each_other_and_begin_again() -> None:
    way = psi(show({"kind": "steps", "steps": [0.0, 0.9, 0.4]}), 75)  # 15 control steps a beat
    assert [way[n] for n in (7, 22, 37, 52, 67)] == [0.0, 0.9, 0.4, 0.0, 0.9]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**62), st.floats(0.01, 1))
def test_a_random_walk_is_the_show_s_own_and_never_steps_too_far(seed: int, reach: float) -> None:
    walk = {"kind": "random walk", "beats": 0.25, "reach": reach}
    walked = [play(show(walk, seed=s), 120, {}) for s in (seed, seed, seed + 1)]
    way, again, other = ([state.modulations[0].value for state in states] for states in walked)
    assert way == again
    assert way != other
    assert all(0.0 <= level <= 1.0 for level in way)
    assert all(abs(b - a) <= 0.45 * reach for a, b in pairwise(way[1:])), "along an S of 3.75 control steps"
    two = show(walk, walk | {"name": "n"}, route=[ROUTE, ROUTE | {"from": "/modulator/n", "to": "noise"}])
    last = play(two, 60, {})[-1]
    assert last.levels[INDEX["psi"]] != last.levels[INDEX["noise"]], "each walks by itself"


def test_a_follower_rises_and_falls_in_its_own_times() -> None:
    follower = {"kind": "follower", "from": "/x", "attack_ms": 20, "release_ms": 1000}
    way = psi(show(follower), 120, {10: [1.0], 20: [0.0]})
    assert way[9] == 0.7, "nothing was heard yet"
    assert way[14] > 0.95
    assert way[20 + 30] == pytest.approx(0.4, abs=0.05), "after a time constant, a third is left"
    modulated = show({"name": "saw", "kind": "lfo", "shape": "saw"}, follower | {"from": "/modulator/saw"})
    assert 0.0 < psi(modulated, 60)[-1] < 1.0, "of any source"


def test_an_envelope_has_its_four_times_and_begins_again_at_each_note() -> None:
    envelope = {"kind": "adsr", "attack_ms": 200, "decay_ms": 400, "sustain": 0.5, "release_ms": 500}
    down, up = ev.NoteOn(1, 60, 0.8), ev.NoteOff(1, 60, 0.0)
    way = psi(show(envelope), 120, {6: [down], 36: [up]})
    assert way[8] == pytest.approx(0.4), "half of the attack, to the velocity"
    assert way[11] == pytest.approx(0.8)
    assert way[17] == pytest.approx(0.6), "half of the decay"
    assert way[23:36] == pytest.approx([0.4] * 13)
    assert 0.0 < way[43] < 0.4
    assert way[51:] == [0.0] * 69
    again = psi(show(envelope), 120, {6: [down], 30: [ev.NoteOn(1, 64, 1.0)]})
    assert again[35] == pytest.approx(1.0), "legato too"


def test_a_show_without_modulators_pays_for_none() -> None:
    states = play(show(route=[]), 3, {})
    assert states[-1].modulations == states[-1].sensed == ()


# Sensors


def sensed(sensor: dict[str, Any], happened: Happened, steps: int = 60) -> list[float]:
    table = [{"from": "/x"} | sensor]
    return psi(show(route=[ROUTE | {"from": "/x"}], sensor=table), steps, happened)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.sampled_from([1, 3, 5]))
def test_a_sensor_learns_its_bounds_and_leaves_single_values_out(values: list[float], width: int) -> None:
    way = sensed({"median": width, "calibrate": True}, {n: [v] for n, v in enumerate(values)}, len(values))
    assert all(0.0 <= level <= 1.0 for level in way)
    for n in range(len(values)):
        middles = [
            sorted(values[max(0, k + 1 - width) : k + 1])[min(k + 1, width) // 2] for k in range(n + 1)
        ]
        low, high = min(middles), max(middles)
        expected = (middles[-1] - low) / (high - low) if high > low else 0.0
        assert way[n] == pytest.approx(expected)


def test_a_spike_is_left_out_and_an_edge_is_kept() -> None:
    happened: Happened = {n: [0.2] for n in range(20)} | {7: [1.0]} | {n: [0.9] for n in range(20, 30)}
    way = sensed({"median": 3}, happened, 30)
    assert set(way[:20]) == {0.2}
    assert way[21] == 0.9


def test_what_was_learned_is_forgotten_when_asked() -> None:
    happened: Happened = {
        0: [1.0], 1: [5.0], 2: [3.0], 3: [ev.Control("/again", 1.0)], 4: [3.0], 5: [4.0], 6: [3.5],
    }  # fmt: skip
    way = sensed({"calibrate": True, "reset": "/again"}, happened, 8)
    assert way[1:3] == [1.0, 0.5]
    assert way[4] == 0.0, "one value is no range"
    assert way[5:7] == [1.0, 0.5]
    begun = sensed({"calibrate": True, "range": [0.0, 10.0]}, {0: [5.0], 1: [20.0], 2: [5.0]}, 4)
    assert [begun[0], begun[2]] == [0.5, 0.25]


def test_a_silent_sensor_goes_to_its_rest_and_comes_back() -> None:
    way = sensed({"timeout_s": 1.0, "rest": 0.5, "rest_ms": 100}, {0: [0.9], 90: [0.9]}, 100)
    assert way[29] == 0.9
    assert way[30:90] == sorted(way[30:90], reverse=True)
    assert 0.7 < way[30] < 0.9
    assert way[40] < 0.55
    assert way[89] == 0.5
    assert way[95] == 0.9


def test_every_address_of_a_pattern_is_a_sensor_of_its_own_and_no_flood_is_kept() -> None:
    a_show = show(sensor=[{"from": "/far/*", "calibrate": True}], route=[ROUTE | {"from": "/far/*"}])
    flood: Happened = {n: [ev.Control(f"/far/{n}-{k}", float(k)) for k in range(40)] for n in range(20)}
    last = play(a_show, 20, flood)[-1]
    assert len(last.sensed) == 256
    assert {one.bounds for one in last.sensed} == {(float(k), float(k)) for k in range(40)}
    bad = play(a_show, 2, {0: [ev.Control("/far/a", float("inf"))]})[-1]
    assert bad.sensed == ()


# A revised show


def revised(old: Show, new: Show, steps: int, happened: Happened) -> tuple[ShowState, ShowState]:
    """Return the state before and after the revision."""
    state = play(old, steps, happened)[-1]
    return state, patch.revise(old, new, state)


def test_a_revised_show_keeps_the_state_of_what_is_the_same() -> None:
    one = {"from": "/x", "to": "psi", "mode": "add", "range": [0.0, 0.5], "smooth_ms": 0}
    two = {"from": "/y", "to": "hue", "smooth_ms": 5000}
    walk = {"name": "w", "kind": "random walk"}
    old = show(walk, route=[one, two], sensor=[{"from": "/x", "calibrate": True}])
    new = show(
        {"name": "l", "kind": "lfo"}, walk, route=[{"from": "/z", "to": "noise"}, two, one],
        sensor=[{"from": "/q"}, {"from": "/x", "calibrate": True}],
    )  # fmt: skip
    happened: Happened = {0: [0.0], 1: [1.0], 2: [ev.Control("/y", 1.0)]}
    before, after = revised(old, new, 20, happened)
    assert after.added == (0.0, 0.0, 0.5)
    assert [touch.address for touch in after.touches] == ["", "/y", "/x"]
    assert [item.route for item in after.glides] == [1]
    assert after.modulations[1] == before.modulations[0]
    assert [one.sensor for one in after.sensed] == [1]
    assert after.levels == before.levels
    assert patch.revise(new, old, after) == before, "and back again"


def test_a_lost_route_takes_back_what_it_added_and_leaves_what_it_set() -> None:
    added = {"from": "/x", "to": "psi", "mode": "add", "range": [0.0, 0.5], "smooth_ms": 0}
    set_to = {"from": "/x", "to": "noise", "range": [0.0, 2.0], "smooth_ms": 0}
    slow = {"from": "/x", "to": "hue", "smooth_ms": 5000}
    before, after = revised(show(route=[added, set_to, slow]), show(route=[]), 5, {0: [0.6]})
    assert before.levels[INDEX["psi"]] == pytest.approx(1.0)
    assert after.levels[INDEX["psi"]] == 0.7
    assert after.levels[INDEX["noise"]] == 1.2
    assert after.levels[INDEX["hue"]] == before.levels[INDEX["hue"]] < 10.0
    assert after.touches == after.added == after.adding == after.glides == ()
    twice = show(route=[added | {"smooth_ms": 5000}] * 2)
    before, after = revised(twice, twice, 5, {0: [0.6]})
    assert after == before, "each of two that are alike is one of them"
    half = show(route=[added | {"range": [0.0, 0.25]}])
    before, after = revised(show(route=[added]), half, 5, {0: [0.6]})
    assert after.added == before.added
    assert after.adding[0].target == pytest.approx(0.15), "it glides to what the fader means from here on"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("[[modulator]]\nname = 'a'\nkind = 'lfoo'", "a.toml:4: modulator[0].kind: input should be 'lfo', "),
        ("[[modulator]]\nname = 'a'\nkind = 'lfo'\nreach = 1", "kind lfo has no reach; it has shape, beats"),
        ("[[modulator]]\nname = 'a'\nkind = 'steps'", "kind steps needs steps = [0.0, 0.5, ...]"),
        (
            "[[route]]\nfrom = '/modulator/x'\nto = 'psi'",
            "a.toml:3: route[0].from: no modulator '/modulator/x'",
        ),
        ("[[sensor]]\nfrom = '/x'\nrange = [2, 1]", "range = [2.0, 1.0] is to ascend; invert the route"),
        ("[[sensor]]\nfrom = '/x'\nreset = '/y'", "reset is for what has been learned: calibrate = true"),
        (
            "[[sensor]]\nfrom = '/x'\nmedian = 4",
            "a.toml:4: sensor[0].median: input should be 1, 3, 5, 7 or 9",
        ),
    ],
)
def test_a_wrong_table_is_explained(table: str, expected: str) -> None:
    with pytest.raises(ShowError) as caught:
        parse(f'title = "t"\n{table}\n', "a.toml")
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_cues_and_modulators_meet() -> None:
    lfo = {"kind": "lfo", "beats": 4}
    a_show = show(lfo, cue=CUES, route=[ROUTE | {"mode": "add", "range": [-0.1, 0.1]}])
    states = play(a_show, 100, {5: [GO]})
    assert all(abs(state.levels[INDEX["psi"]] - state.bases[INDEX["psi"]]) <= 0.1 + 1e-9 for state in states)
    assert states[-1].bases[INDEX["psi"]] == pytest.approx(0.2), "an addition does not stop a fade"
