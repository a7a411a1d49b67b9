"""The patch: what comes of an input on its way through a route."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core import events as ev
from engine.core.advance import advance
from engine.core.curves import through, without_deadzone
from engine.core.events import Body, Event
from engine.core.parameters import INDEX
from engine.core.show import Show, ShowError, parse
from engine.core.state import ShowState, initial

UNIT = st.floats(0, 1)
STEP = 8  # ticks of a control step at 30 fps


def show(*routes: dict[str, Any], **changes: Any) -> Show:
    table = [{"from": "/x", "to": "psi", "range": [0.0, 1.0], "smooth_ms": 0} | route for route in routes]
    return Show.model_validate({"title": "t", "musician": None, "route": table} | changes)


def play(a_show: Show, steps: int, happened: dict[int, list[Body | float]]) -> list[ShowState]:
    """Return the states after each control step; what happens in a step: bodies, or values of `/x`."""
    states, state, sequence = [], initial(a_show), 0
    for tick in range(steps * STEP):
        now = []
        for body in happened.get(tick // STEP, []) if tick % STEP == 0 else []:
            body = ev.Control("/x", body) if isinstance(body, float) else body
            now.append(Event(tick, 0, "osc", sequence, body))
            sequence += 1
        state = advance(a_show, state, now)
        if state.tick % STEP == 0:
            states.append(state)
    return states


def levels(states: list[ShowState], name: str = "psi") -> list[float]:
    return [state.levels[INDEX[name]] for state in states]


def psi(route: dict[str, Any], happened: dict[int, list[Body | float]], steps: int = 60) -> list[float]:
    return levels(play(show(route), steps, happened))


POINTS = st.lists(st.tuples(UNIT, UNIT), min_size=2, max_size=6, unique_by=lambda p: p[0]).map(sorted)


@given(POINTS, UNIT)
def test_a_table_goes_through_its_points_and_stays_between_them(
    points: list[tuple[float, float]], x: float
) -> None:
    table = tuple(points)
    assert all(through(table, at) == y for at, y in table)
    heights = [y for _, y in table]
    assert min(heights) - 1e-12 <= through(table, x) <= max(heights) + 1e-12


@given(UNIT, st.floats(0, 0.49), UNIT, UNIT)
def test_a_deadzone_is_at_rest_and_the_rest_still_reaches_both_ends(
    rest: float, width: float, a: float, b: float
) -> None:
    width = min(width, *(0.9 * side for side in (rest, 1.0 - rest) if side > 0.0))
    low, high = sorted((without_deadzone(a, rest, width), without_deadzone(b, rest, width)))
    assert [low, high] == [without_deadzone(x, rest, width) for x in sorted((a, b))], "it rises"
    assert without_deadzone(min(rest + 0.99 * width, 1.0), rest, width) == rest
    assert without_deadzone(max(rest - 0.99 * width, 0.0), rest, width) == rest
    assert without_deadzone(min(rest + width + 1e-9, 1.0), rest, width) == pytest.approx(rest, abs=1e-6)
    assert without_deadzone(max(rest - width - 1e-9, 0.0), rest, width) == pytest.approx(rest, abs=1e-6)
    assert without_deadzone(0.0, rest, width) == pytest.approx(0.0, abs=1e-12)
    assert without_deadzone(1.0, rest, width) == pytest.approx(1.0, abs=1e-12)


@given(UNIT)
def test_inverted_is_one_less_the_input(value: float) -> None:
    assert psi({"invert": True}, {0: [value]}, 2)[-1] == pytest.approx(1.0 - value)
    assert psi({"range": [1.0, 0.0]}, {0: [value]}, 2)[-1] == pytest.approx(1.0 - value)


SMOOTHINGS = st.sampled_from(["one-pole", "one-euro", "slew"])


@settings(deadline=None, max_examples=30)
@given(SMOOTHINGS, st.floats(10, 300), UNIT, st.sampled_from(["set", "add"]))
def test_every_smoothing_goes_one_way_within_the_range_and_arrives(
    smooth: str, smooth_ms: float, value: float, mode: str
) -> None:
    route = {"smooth": smooth, "smooth_ms": smooth_ms, "range": [0.0, 0.8], "mode": mode}
    states = play(show(route), 200, {0: [value]})
    way = [state.bases[INDEX["psi"]] + state.added[0] for state in states]
    goal = 0.8 * value + (0.7 if mode == "add" else 0.0)
    assert way in (sorted(way), sorted(way, reverse=True))
    assert way[-1] == pytest.approx(goal, abs=1e-12), "and is there"
    assert states[-1].glides == states[-1].adding == ()


@settings(deadline=None, max_examples=25)
@given(st.floats(100, 3000))
def test_slew_takes_its_time_for_the_whole_range(smooth_ms: float) -> None:
    way = psi({"smooth": "slew", "smooth_ms": smooth_ms}, {0: [0.0], 70: [1.0]}, 170)
    assert all(abs(b - a) <= 1000 / 30 / smooth_ms + 1e-9 for a, b in pairwise(way))
    took = next(n for n, level in enumerate(way) if n >= 70 and level == 1.0) - 69
    assert took == pytest.approx(smooth_ms * 30 / 1000, abs=1.01)


def test_one_euro_is_still_at_rest_and_quick_in_motion() -> None:
    jitter: dict[int, list[Body | float]] = {n: [0.5 + 0.01 * (-1) ** n] for n in range(60)}
    sweep: dict[int, list[Body | float]] = {n: [n / 15] for n in range(16)}
    euro = {"smooth": "one-euro", "smooth_ms": 500, "quick_ms": 5}
    slow, quick = {"smooth_ms": 500}, {"smooth_ms": 5}
    trembling = [max(way[30:]) - min(way[30:]) for way in (psi(r, jitter) for r in (euro, slow, quick))]
    lag = [1.0 - psi(r, sweep, 16)[-1] for r in (euro, slow, quick)]
    assert trembling[0] < 0.25 * trembling[2]
    assert lag[0] < 0.25 * lag[1]


def test_a_button_toggles_holds_or_fires() -> None:
    presses: dict[int, list[Body | float]] = {5: [1.0], 8: [0.0], 20: [0.6], 22: [0.7], 25: [0.0]}
    toggled = psi({"press": "toggle"}, presses, 30)
    assert toggled[6:20] == [1.0] * 14
    assert toggled[20:] == [0.0] * 10
    held = psi({"press": "momentary"}, presses, 30)
    assert [n for n, level in enumerate(held[5:]) if level == 1.0] == [0, 1, 2, 15, 16, 17, 18, 19]
    fired = psi({"press": "trigger", "smooth_ms": 100}, presses, 30)
    assert [n for n, level in enumerate(fired) if level == 1.0] == [5, 20], "at once, and once a press"
    assert fired[5:20] == sorted(fired[5:20], reverse=True)
    assert fired[19] < 0.02
    added = psi({"press": "trigger", "mode": "add"}, presses, 30)
    assert added[5] == 1.5, "0.7 and 1, as far as psi goes"
    assert added[19] == pytest.approx(0.7, abs=1e-6)


GO = ev.Go()
CUES = [{"number": n, "fade_s": 0.1, "levels": {"psi": level}} for n, level in ((1, 0.2), (2, 0.9), (3, 0.4))]
TURNS = st.lists(st.one_of(UNIT, st.just(GO), st.just(ev.Back())), max_size=40)


@settings(deadline=None, max_examples=60)
@given(TURNS)
def test_a_knob_to_be_picked_up_never_makes_the_level_jump(turns: list[Body | float]) -> None:
    happened = {5 * n: [turn] for n, turn in enumerate(turns)}
    states = play(show({"pickup": True}, cue=CUES), 5 * len(turns) + 5, happened)
    way, knob = levels(states), None
    for n, turn in enumerate(turns):
        before, after = way[5 * n - 1] if n else 0.7, way[5 * n]
        if isinstance(turn, float):
            assert abs(after - before) <= max(0.02, abs(turn - knob) if knob is not None else 0.02) + 1e-9
            knob = turn


def test_a_knob_takes_over_where_it_passes_and_again_after_a_cue() -> None:
    turns: dict[int, list[Body | float]] = {
        1: [0.1], 2: [0.5], 3: [0.8], 4: [0.3], 5: [GO], 10: [0.35], 11: [0.15], 12: [0.25],
    }  # fmt: skip
    way = levels(play(show({"pickup": True}, cue=CUES), 20, turns))
    assert way[:5] == [0.7, 0.7, 0.7, 0.8, 0.3], "from below, over 0.7, and then it follows"
    assert way[10] == 0.2, "the cue has moved it"
    assert way[11:13] == [0.15, 0.25], "passed once more"
    snaps = levels(play(show({}, cue=CUES), 20, turns))
    assert snaps[1] == 0.1


def test_a_route_plays_in_its_cues_alone() -> None:
    happened: dict[int, list[Body | float]] = {1: [0.3], 5: [GO], 10: [0.6], 15: [GO], 20: [0.5], 25: [GO]}
    way = levels(play(show({"cues": [2]}, cue=CUES), 40, happened))
    assert way[4] == 0.7
    assert way[14] == pytest.approx(0.2)
    assert way[20] == 0.5
    assert way[39] == pytest.approx(0.4)
    route = {"cues": "2-3", "mode": "add", "range": [0.0, 0.1]}
    states = play(show(route, cue=CUES), 60, {**happened, 45: [ev.Back()], 50: [ev.Back()]})
    added = [state.added[0] for state in states]
    assert added[14] == 0.0
    assert added[16] == pytest.approx(0.06), "where the fader stands, once its cue begins"
    assert added[44] == pytest.approx(0.05)
    assert added[59] == 0.0, "and taken back after it"


def test_the_state_tells_what_came_through_each_route_last() -> None:
    a_show = show({"from": "/x*"}, {"from": "/y"})
    (first, second) = play(a_show, 3, {0: [0.25], 1: [ev.Control("/x2", 4.0)]})[-1].touches
    assert (first.address, first.value) == ("/x2", 4.0)
    assert second.address == ""


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ('curve = "table"', 'route[0]: curve = "table" and two points or more go together'),
        ("curve = 'table'\npoints = [[0, 0], [0, 1]]", "a.toml:6: route[0].points: points are to be 0 to 1"),
        ("deadzone = 0.5\nrest = 0.5", "leaves nothing on a side of 0.5"),
        ("pickup = true\npress = 'toggle'", "leave out press"),
        ("cues = [2]", "a.toml:5: route[0].cues: no cue 2; there are 1"),
        ("cues = '2..4'", "a.toml:5: route[0].cues: '2..4' are no cues, as in 2, or '2-4'"),
        ("smooth = 'one-euro'\nsmooth_ms = 1", "smooth_ms is to be quick_ms = 10 or more"),
    ],
)
def test_a_wrong_route_is_explained(keys: str, expected: str) -> None:
    text = f'title = "t"\n[[route]]\nfrom = "/x"\nto = "psi"\n{keys}\n[[cue]]\nnumber = 1\n'
    with pytest.raises(ShowError) as caught:
        parse(text, "a.toml")
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
