"""The core: pure, deterministic, and right about notes, cues, the patch, the transport and the musician."""

import ast
import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core import events as ev
from engine.core.advance import advance, attracting, close, idle, open_tick, receive
from engine.core.cast import upcoming
from engine.core.curves import CURVES
from engine.core.events import Event
from engine.core.jobs import SoundKind
from engine.core.latent import FLASH_TICKS, frame_job
from engine.core.parameters import EFFECTS, INDEX, PARAMETERS
from engine.core.revision import revised
from engine.core.seeds import mix64
from engine.core.show import Cue, Route, Show, as_json, parse
from engine.core.state import PERFORMER, STAGE, ShowState, initial
from engine.core.transport import beat_at
from engine.core.units import SAMPLE_RATE, TICK_SAMPLES, TICKS_PER_SECOND, samples_from_ms

CORE = Path(ev.__file__).parent
EDGES = {
    *("asyncio", "ctypes", "cv2", "datetime", "io", "logging", "mido", "multiprocessing", "numpy"),
    *("onnxruntime", "os", "pathlib", "pygame", "pythonosc", "random", "secrets", "select", "shutil"),
    *("signal", "socket", "subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid"),
}


def show(**changes: object) -> Show:
    return Show.model_validate({"title": "test", "musician": None} | changes)


def played(
    a_show: Show, ticks: int, happened: dict[int, list[tuple[str, ev.Body]]] | None = None
) -> list[tuple[Show, ShowState]]:
    """Return the show and the state after each tick; each body is stamped at the start of its tick."""
    after, state, sequence = [], initial(a_show), 0
    for tick in range(ticks):
        now = []
        for source, body in (happened or {}).get(tick, []):
            now.append(Event(tick, 0, source, sequence, body))
            sequence += 1
        state = advance(a_show, state, now)
        after.append((a_show, state))
        a_show, state = revised(a_show, state)
    return after


def run(
    a_show: Show, ticks: int, happened: dict[int, list[tuple[str, ev.Body]]] | None = None
) -> list[ShowState]:
    """Return the states after each tick."""
    return [state for _, state in played(a_show, ticks, happened)]


def level(state: ShowState, name: str) -> float:
    return state.levels[INDEX[name]]


@pytest.mark.parametrize("file", sorted(CORE.glob("*.py")), ids=lambda file: file.name)
def test_core_imports_no_edge(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            assert node.level == 0, "relative import"
        for name in names:
            assert name.split(".")[0] not in EDGES, f"{file.name} imports {name}"
            if name.startswith("engine"):
                assert name.startswith("engine.core"), f"{file.name} imports {name}"
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id
        assert called not in ("open", "print", "input", "exec", "eval", "__import__")


def test_a_note_sounds_at_its_stamp_plus_the_contract_to_the_sample() -> None:
    a_show = show(sound_ms=10)
    state = initial(a_show)
    event = Event(0, 137, "midi:a", 0, ev.NoteOn(1, 60, 0.5))
    (sound,) = receive(a_show, state, event).sounds
    assert sound.sample == 137 + 480
    late = Event(40, -350, "midi:a", 0, ev.NoteOn(1, 60, 0.5))  # stamped before its tick opened
    (sound,) = receive(a_show, replace(state, tick=40), late).sounds
    assert sound.sample == 40 * TICK_SAMPLES - 350 + 480


def test_a_lost_source_leaves_no_key_down() -> None:
    a_show = show()
    keys = [("midi:a", ev.NoteOn(c, n, 0.8)) for c in (1, 2) for n in (60, 64)]
    others = [("midi:b", ev.NoteOn(1, 60, 0.8))]
    final = run(a_show, 5, {0: keys + others, 2: [("midi:a", ev.Release())]})
    assert {(key.source, key.note) for key in final[-1].keys} == {("midi:b", 60)}
    released = {sound.lane for sound in final[2].sounds if sound.kind == SoundKind.RELEASE}
    assert released == {0, 1}


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from("ab"), st.booleans(), st.integers(0, 127)), max_size=80
    )
)
def test_every_note_on_is_followed_by_its_off(moves: list[tuple[int, str, bool, int]]) -> None:
    happened: dict[int, list[tuple[str, ev.Body]]] = {}
    for tick, source, down, note in moves:
        body = ev.NoteOn(1, note, 0.5) if down else ev.NoteOff(1, note, 0.5)
        happened.setdefault(tick, []).append((source, body))
    happened[50] = [(source, ev.Release()) for source in "ab"]
    states = run(show(), 52, happened)
    assert states[-1].keys == ()
    down: set[tuple[int, int]] = set()
    for state in states:
        for sound in state.sounds:
            if sound.kind == SoundKind.NOTE_ON:
                down.add((sound.lane, sound.note))
            elif sound.kind == SoundKind.NOTE_OFF:
                down.discard((sound.lane, sound.note))
            elif sound.kind == SoundKind.RELEASE:
                down = {key for key in down if key[0] != sound.lane}
    assert not down


def test_a_source_without_a_lane_of_its_own_is_released_too() -> None:
    crowd = [(f"midi:{port}", ev.NoteOn(channel, 60, 0.5)) for port in range(5) for channel in range(1, 17)]
    states = run(show(), 4, {0: crowd, 2: [("midi:4", ev.Release())]})
    on = [s for s in states[0].sounds if s.kind == SoundKind.NOTE_ON]
    off = [s for s in states[2].sounds if s.kind == SoundKind.NOTE_OFF]
    assert len(on) == 80
    assert len(off) == 16
    assert len(states[-1].keys) == 64


def test_an_event_that_cannot_be_received_is_counted_on_stage_and_in_replay() -> None:
    odd = ev.Program(1, 500)  # no translator makes it, and no recording may hold it
    states = run(show(), 3, {1: [("midi:a", odd), ("midi:a", ev.NoteOn(1, 60, 0.5))]})
    assert states[-1].faults == 1
    assert len(states[-1].keys) == 1
    assert (
        level(run(show(), 8, {0: [("osc", ev.Control("/chladni/parameter/psi", float("nan")))]})[-1], "psi")
        == 0.7
    )


def test_no_more_keys_than_the_bound() -> None:
    keys = [("a", ev.NoteOn(c, n, 0.5)) for c in range(1, 3) for n in range(128)]
    state = run(show(), 1, {0: keys})[-1]
    assert len(state.keys) == 128
    assert sum(sound.kind == SoundKind.NOTE_OFF for sound in state.sounds) == 128


def test_a_cue_fades_over_its_time_along_the_s_curve() -> None:
    a_show = show(cue=[{"number": 1, "fade_s": 1.0, "levels": {"psi": 1.5}}])
    states = run(a_show, 300, {0: [("keys", ev.Go())]})
    start = PARAMETERS[INDEX["psi"]].default
    assert level(states[127], "psi") == pytest.approx(start + (1.5 - start) * CURVES["s"](127 / 240))
    assert level(states[250], "psi") == 1.5
    assert states[-1].fades == ()
    rising = [level(state, "psi") for state in states]
    assert rising == sorted(rising)


def test_go_back_and_follow() -> None:
    cues = [{"number": n, "fade_s": 0.0, "levels": {"psi": n / 4}} for n in (1, 2, 3)]
    cues[2]["follow_s"] = 0.5
    a_show = show(cue=cues)
    go, back = [("keys", ev.Go())], [("keys", ev.Back())]
    states = run(a_show, 200, {0: go, 10: go, 20: back, 30: go, 40: go, 50: go})
    assert [states[tick].cue for tick in (5, 15, 25, 35, 45, 55)] == [0, 1, 0, 1, 2, 2]
    assert states[45 + 120].cue == 0, "the last cue follows on to the first"


def test_the_latest_input_wins_over_a_fade() -> None:
    a_show = show(
        cue=[{"number": 1, "fade_s": 2.0, "levels": {"psi": 1.5}}],
        route=[{"from": "/midi/*/cc/7", "to": "psi", "range": [0, 1], "smooth_ms": 0}],
    )
    states = run(a_show, 700, {0: [("k", ev.Go())], 100: [("midi:a", ev.Control("/midi/1/cc/7", 0.25))]})
    assert level(states[-1], "psi") == 0.25


def test_a_route_of_mode_add_comes_on_top() -> None:
    a_show = show(
        route=[{"from": "/notes/velocity", "to": "psi", "range": [0, 0.5], "mode": "add", "smooth_ms": 0}]
    )
    on, off = [("k", ev.NoteOn(1, 60, 1.0))], [("k", ev.NoteOff(1, 60, 0.0))]
    states = run(a_show, 60, {10: on, 40: off})
    assert level(states[30], "psi") == pytest.approx(0.7 + 0.5)
    assert level(states[59], "psi") == pytest.approx(0.7)


@given(st.sampled_from(sorted(CURVES)), st.floats(0, 1), st.floats(0, 1))
def test_curves_rise_within_their_range(name: str, a: float, b: float) -> None:
    curve = CURVES[name]
    assert curve(0.0) == 0.0
    assert curve(1.0) == 1.0
    assert 0.0 <= curve(a) <= 1.0
    assert (curve(a) <= curve(b)) if a <= b else (curve(b) <= curve(a))


@given(st.floats(allow_nan=False), st.floats(0, 60_000))
def test_levels_stay_in_range_and_settle(value: float, smooth_ms: float) -> None:
    a_show = show(route=[{"from": "/x", "to": "psi", "smooth_ms": smooth_ms}])
    for state in run(a_show, 48, {0: [("osc", ev.Control("/x", value))]}):
        assert 0.0 <= level(state, "psi") <= 1.5


def test_a_parameter_has_an_address_of_its_own() -> None:
    body = ev.Control("/chladni/parameter/feedback.rotate", 7.5)
    assert level(run(show(), 8, {0: [("osc", body)]})[-1], "feedback.rotate") == 7.5


def test_taps_set_the_tempo() -> None:
    taps = {tick: [("keys", ev.Tap())] for tick in (0, 120, 240, 360)}  # every half second
    states = run(show(), 400, taps)
    assert states[-1].transport.bpm == pytest.approx(120.0)


def test_midi_clock_leads_and_lets_go() -> None:
    period = 60 * SAMPLE_RATE / (125 * 24)
    a_show = show()
    state, pulse = initial(a_show), 0
    for tick in range(960):
        now = []
        while tick < 720 and pulse * period < (tick + 1) * TICK_SAMPLES:
            offset = round(pulse * period) - tick * TICK_SAMPLES
            now.append(Event(tick, offset, "midi:a", pulse, ev.ClockPulse()))
            pulse += 1
        state = advance(a_show, state, now)
        if tick == 719:
            assert state.transport.bpm == pytest.approx(125.0, rel=1e-3)
            assert beat_at(state.transport, 720 * TICK_SAMPLES) == pytest.approx(6.25, abs=0.05)
    assert state.transport.pulses == ()
    assert state.transport.bpm == pytest.approx(125.0, rel=1e-3), "the clock's last tempo stays"
    assert level(state, "tempo") == state.transport.bpm


def test_the_first_pulse_after_start_or_a_position_is_there_and_continue_goes_on() -> None:
    every = {tick: [("m", ev.ClockPulse())] for tick in range(0, 481, 5)}  # 120 bpm
    every[100] = [("m", ev.Start())]
    every[151] = [("m", ev.Stop())]
    every[183] = [("m", ev.Continue())]
    every[251] = [("m", ev.Stop()), ("m", ev.SongPosition(8)), ("m", ev.Continue())]
    states = run(show(), 300, every)
    assert states[105].transport.beat == 0.0
    assert states[150].transport.beat == pytest.approx(9 / 24)
    assert states[180].transport.beat == pytest.approx(9 / 24), "stopped, pulses count nothing"
    assert states[185].transport.beat == pytest.approx(10 / 24)
    assert states[255].transport.beat == 2.0
    assert states[260].transport.beat == pytest.approx(2.0 + 1 / 24)


def test_transport_stops_continues_and_locates() -> None:
    happened = {
        100: [("m", ev.Stop())],
        200: [("m", ev.SongPosition(16)), ("m", ev.Continue())],
        300: [("m", ev.Start())],
    }
    states = run(show(tempo={"bpm": 120}), 400, happened)
    assert beat_at(states[150].transport, 151 * TICK_SAMPLES) == pytest.approx(100 / 120)
    assert beat_at(states[199 + 60].transport, 260 * TICK_SAMPLES) == pytest.approx(4 + 60 / 120)
    assert beat_at(states[359].transport, 360 * TICK_SAMPLES) == pytest.approx(60 / 120)


@given(st.floats(0, 25), st.floats(0.5, 25))
def test_the_strobe_never_flashes_faster_than_the_limit(rate: float, limit: float) -> None:
    a_show = show(
        safety={"flashes_per_second": limit},
        cue=[{"number": 1, "fade_s": 0, "levels": {"strobe": 1.0, "strobe.rate": rate}}],
    )
    states = run(a_show, 600, {0: [("k", ev.Go())]})
    starts = [a.tick for a, b in zip(states[1:], states, strict=False) if a.strobe.since < b.strobe.since]
    assert all(b - a >= TICKS_PER_SECOND / limit for a, b in itertools.pairwise(starts))
    if rate >= 4.0 and limit >= 4.0:
        assert len(starts) >= 5


def test_a_flash_is_white_for_its_time_only() -> None:
    a_show = show(cue=[{"number": 1, "fade_s": 0, "levels": {"strobe": 0.8, "strobe.rate": 2.0}}])
    at = [effect.name for effect in EFFECTS].index("strobe")
    states = run(a_show, 480, {0: [("k", ev.Go())]})
    lit = [frame_job(a_show, state).effects[at] for state in states]
    assert set(lit) == {0.0, 0.8}
    assert sum(value > 0 for value in lit) <= 5 * FLASH_TICKS


def test_the_walk_moves_with_the_beat_and_jumps() -> None:
    a_show = show(tempo={"bpm": 120}, cue=[{"number": 1, "fade_s": 0, "levels": {"walk.speed": 0.5}}])
    states = run(a_show, 960, {0: [("k", ev.Go())]})
    job = frame_job(a_show, states[-1])
    assert states[-1].walk.index == 4 or states[-1].walk.phase > 0.9  # 8 beats at half a seed a beat
    assert job.seed_a == mix64(a_show.seed, states[-1].walk.index)
    assert job.seed_b != job.seed_a
    jump = ev.Control("/chladni/parameter/walk.jump", 1.0)
    assert run(a_show, 8, {0: [("osc", jump)]})[-1].walk.index >= 1 << 20


def test_the_performer_steps_aside_and_comes_back() -> None:
    a_show = show(performer={"file": "x.mid", "attract_s": 1.0})
    played = [(PERFORMER, ev.NoteOn(1, 60, 0.5))]
    happened = {0: played, 10: [("keys", ev.NoteOn(1, 72, 0.5))], 20: played, 300: played}
    states = run(a_show, 310, happened)
    assert [key.source for key in states[5].keys] == [PERFORMER]
    assert [key.source for key in states[25].keys] == ["keys"]
    assert not attracting(a_show, states[200])
    assert PERFORMER in [key.source for key in states[305].keys]


def test_a_sensor_that_always_sends_is_no_sign_of_a_player() -> None:
    sensor = {"from": "/osc/distance*", "presence": False}
    a_show = show(
        performer={"file": "x.mid", "attract_s": 1.0},
        sensor=[sensor],
        route=[{"from": "/osc/*", "to": "psi"}],
    )
    for address, attracts in (("/osc/distance/2", True), ("/osc/mat", False)):
        state = run(a_show, 20, {9: [("osc", ev.Control(address, 0.9))]})[-1]
        assert attracting(a_show, state) is attracts
        assert level(state, "psi") > 0.8


def musical(**changes: object) -> Show:
    return show(musician="piano", tempo={"bpm": 120}, **changes)


BUSY = musical(
    performer={"file": "x.mid", "attract_s": 0.5},
    route=[
        {"from": "/x", "to": "psi"},
        {"from": "/notes/*", "to": "hue", "mode": "add"},
        {"from": "/beat", "to": "bloom", "curve": "s"},
        {"from": "/y", "to": "morph.x"},
        {"from": "/modulator/*", "to": "contrast", "mode": "add", "smooth": "one-euro"},
    ],
    modulator=[
        {"name": "a", "kind": "lfo"},
        {"name": "b", "kind": "random walk", "seconds": 0.1},
        {"name": "c", "kind": "adsr"},
        {"name": "d", "kind": "follower", "from": "/x"},
    ],
    sensor=[{"from": "/x", "calibrate": True, "median": 3, "timeout_s": 0.3, "rest": 0.5, "rest_ms": 100}],
    cue=[
        {"number": 1, "fade_s": 0.3, "follow_s": 0.2, "levels": {"psi": 0.2, "class": 1.5}},
        {"number": 2.5, "fade_beats": 0.5, "autofollow_beats": 1, "levels": {"hue": 30}, "snap": "beat"},
        {"number": 3, "fades": {"psi": {"bars": 0.1}}, "follow_bars": 0.1, "block": True, "assert": True},
    ],
    precedence={"psi": "HTP", "hue": "hand"},
    blackout={"fade_s": 0.2, "sound": True},
    morph={"corners": ["theirs", "theirs", "mine", "mine"]},
    preset=[
        {"name": "mine", "levels": {"psi": 1.0}},
        {"name": "theirs", "levels": {"hue": 90.0, "musician.mode": "duet"}},
    ],
)
ROUTES = (*BUSY.route, Route.model_validate({"from": "/y", "to": "hue", "range": (0, 9), "mode": "add"}))
CUES = (
    *BUSY.cue,
    Cue(number=1, fade_s=0.3, autofollow_s=0.2, levels={"psi": 0.9, "hue": 30.0}),
    Cue(number=0.5, levels={"bloom": 1.0}),
    Cue(number=2, fade_s=0.1, levels={"psi": 0.4}),
)
BODIES = st.one_of(
    st.builds(ev.NoteOn, st.integers(1, 16), st.integers(0, 127), st.floats(0.01, 1)),
    st.builds(ev.NoteOff, st.integers(1, 16), st.integers(0, 127), st.floats(0, 1)),
    st.builds(ev.Control, st.sampled_from(["/x", "/y", "/midi/1/cc/1"]), st.floats(-2, 2)),
    st.builds(ev.Bend, st.integers(1, 16), st.floats(-48, 48)),
    st.builds(ev.Sustain, st.integers(1, 16), st.floats(0, 1)),
    st.builds(ev.Program, st.integers(1, 16), st.integers(0, 127)),
    st.sampled_from(
        [ev.Go(), ev.Back(), ev.Tap(), ev.Start(), ev.Stop(), ev.Continue(), ev.ClockPulse(), ev.Release()]
    ),
    st.builds(ev.GoTo, st.sampled_from([1.0, 2.5, 3.0])),
    st.builds(ev.Hold, st.sampled_from([0.0, 1.0])),
    st.builds(ev.Blackout, st.floats(-1, 2)),
    st.builds(ev.Store, st.sampled_from(["mine", "theirs"])),
    st.builds(ev.Recall, st.sampled_from(["mine", "theirs", "none"]), st.floats(0, 1)),
    st.builds(ev.SongPosition, st.integers(0, 16383)),
    st.builds(
        lambda routes, cues: ev.Revise(as_json(BUSY.model_copy(update={"route": routes, "cue": cues}))),
        st.lists(st.sampled_from(ROUTES), max_size=3).map(tuple),
        st.lists(st.sampled_from(CUES), max_size=4, unique_by=lambda cue: cue.number).map(
            lambda cues: tuple(sorted(cues, key=lambda cue: cue.number))
        ),
    ),
)
HAPPENED = st.dictionaries(
    st.integers(0, 300), st.lists(st.tuples(st.sampled_from(["a", "midi:b", PERFORMER]), BODIES), max_size=4)
)


@settings(max_examples=50, deadline=None)
@given(HAPPENED, st.integers(1, 300))
def test_rolled_back_and_played_again_it_reaches_the_same_bits(
    happened: dict[int, list[tuple[str, ev.Body]]], back_to: int
) -> None:
    """Play, roll back, play the rest again; and play it event by event as the session does."""
    after = played(BUSY, 320, happened)
    (a_show, state), sequence = after[back_to - 1], sum(len(v) for k, v in happened.items() if k < back_to)
    for tick in range(back_to, 320):
        a_show, state = revised(a_show, open_tick(state))
        for source, body in happened.get(tick, []):
            state = receive(a_show, state, Event(tick, 0, source, sequence, body))
            sequence += 1
        state = close(a_show, state)
        assert state.digest() == after[tick][1].digest()


@settings(max_examples=50, deadline=None)
@given(HAPPENED)
def test_empty_ticks_counted_together_reach_the_same_bits(
    happened: dict[int, list[tuple[str, ev.Body]]],
) -> None:
    after = played(BUSY, 320, happened)
    a_show, state, sequence, closed = BUSY, initial(BUSY), 0, 0
    while state.tick < 320:
        tick = state.tick
        for source, body in happened.pop(tick, []):
            state = receive(a_show, state, Event(tick, 0, source, sequence, body))
            sequence += 1
        later = idle(a_show, state, min([320, *(event for event in happened if event > tick)]))
        if later is not state:
            state = later
        else:
            state = close(a_show, state)
            closed += 1
            assert state.digest() == after[tick][1].digest()
            a_show, state = revised(a_show, open_tick(state))
    if not sequence:
        assert closed == 320 / BUSY.frame_ticks, "nothing but the control steps"


def test_the_digest_sees_one_bit() -> None:
    state = initial(show())
    nudged = (*state.bases[:-1], state.bases[-1] + 2**-52)
    assert state.digest() != replace(state, bases=nudged).digest()


@given(st.lists(BODIES, max_size=20))
def test_bodies_survive_the_recording(bodies: list[ev.Body]) -> None:
    import json

    for body in bodies:
        assert ev.decode(json.loads(json.dumps(ev.encode(body)))) == body


def test_the_shipped_shows_are_right() -> None:
    for path in (Path(__file__).parent.parent / "shows").glob("*.toml"):
        shipped = parse(path.read_text(), path.name)
        assert len(shipped.cue) >= 3
        assert samples_from_ms(shipped.picture_ms) > shipped.frame_ticks * TICK_SAMPLES


def swap_run(*happened: tuple[int, str, ev.Body], **changes: object) -> list[ShowState]:
    bodies: dict[int, list[tuple[str, ev.Body]]] = {}
    for tick, source, body in happened:
        bodies.setdefault(tick, []).append((source, body))
    return run(show(generator="one", swap_s=0.5, **changes), 300, bodies)


def test_a_generator_plays_once_it_is_warm_and_fades_in() -> None:
    states = swap_run((10, "osc", ev.Swap("two")), (100, STAGE, ev.Enter("two", 100)))
    assert [states[tick].cast.playing for tick in (5, 50, 120)] == ["one", "one", "two"]
    assert states[50].cast.wanted == "two"
    assert states[50].cast.wanted_ticks == 120
    shares = [frame_job(show(), state).share for state in states]
    assert shares[99] == 1.0
    assert shares[149] == pytest.approx(0.5)
    assert shares[199:] == [1.0] * 101
    assert states[150].cast.leaving == "one"


def test_what_nobody_wants_any_more_does_not_enter() -> None:
    for body in (ev.Swap("one"), ev.Swap("three"), ev.Refuse("two", "no such model")):
        states = swap_run((10, "osc", ev.Swap("two")), (20, "osc", body), (100, STAGE, ev.Enter("two", 0)))
        assert {state.cast.playing for state in states} == {"one"}
        assert states[-1].cast.wanted == ("three" if body == ev.Swap("three") else "")


def test_a_cue_swaps_over_its_own_fade_and_the_next_one_is_to_be_ready() -> None:
    cues = [{"number": 1, "generator": "two", "fade_s": 0.25}, {"number": 2, "generator": "one"}]
    states = swap_run((10, "keys", ev.Go()), (100, STAGE, ev.Enter("two", 60)), cue=cues)
    a_show = show(generator="one", cue=cues)
    assert upcoming(a_show, states[0]) == "two"  # before the GO: it stands by
    assert states[50].cast.wanted_ticks == 60
    assert upcoming(a_show, states[50]) == "two"
    assert upcoming(a_show, states[150]) == "one"


def test_the_session_s_own_word_does_not_silence_the_performer() -> None:
    a_show = show(performer={"file": "x.mid", "attract_s": 10})
    state = receive(a_show, initial(a_show), Event(0, 0, STAGE, 0, ev.Enter("two", 0)))
    assert attracting(a_show, state)
