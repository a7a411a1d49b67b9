"""Playing together: turns, plans, harmony and keys, whoever plays what and whoever dies."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core import events as ev
from engine.core import harmony, scale
from engine.core.advance import close, open_tick, receive
from engine.core.events import Event
from engine.core.jobs import Ask, Heard, SoundKind
from engine.core.parameters import INDEX, KEYS, MODES, SCALES
from engine.core.show import Show, ShowError, parse
from engine.core.state import MUSICIAN, ShowState, Tonality, initial
from engine.core.transport import beat_at, sample_at
from engine.core.units import TICK_SAMPLES, TICKS_PER_SECOND, samples_from_ms

BEAT = 120  # ticks, at 120 bpm
MAJOR = (0, 2, 4, 5, 7, 9, 11)


def a_show(mode: str = "continue", **levels: float | str) -> Show:
    cue = {"number": 1, "fade_s": 0, "levels": {"musician.mode": mode} | levels}
    return Show.model_validate({"title": "duet", "tempo": {"bpm": 120}, "cue": [cue]})


def phrase(ask: Ask, density: int = 8) -> ev.Phrase:
    """Return what a musician of few ideas plays: a rising line that fills the time it is asked for."""
    step = max((ask.end_tick - ask.start_tick) // density, 1)
    ticks = range(ask.start_tick, ask.end_tick, step)
    notes = (ev.PhraseNote(t, t * 7 % 200, 48 + t // step % 30, 0.6, 2 * step) for t in ticks)
    return ev.Phrase(ask.request, 1, tuple(notes))


class Together:
    """A show and a musician of few ideas that answers `delay` ticks after it is asked, or never (None)."""

    def __init__(self, show: Show, delay: int | None = 4) -> None:
        self.show, self.delay = show, delay
        self.state: ShowState = initial(show)
        self.asks: list[Ask] = []
        self.heard: list[Heard] = []
        self.sounds: list[tuple[str, int, SoundKind, int, float]] = []  # source, sample stamped, ...
        self._due: list[tuple[int, ev.Body]] = []
        self.play({0: [("k", ev.Go())]}, show.frame_ticks)  # a cue's levels come with the first control step

    def play(self, happened: dict[int, list[tuple[str, ev.Body]]], ticks: int) -> Iterator[ShowState]:
        states = []
        for n in range(ticks):
            state = open_tick(self.state)
            now = [(MUSICIAN, body) for at, body in self._due if at <= state.tick]
            self._due = [(at, body) for at, body in self._due if at > state.tick]
            for source, body in (*now, *happened.get(n, [])):
                state = receive(self.show, state, Event(state.tick, 0, source, 0, body))
            state = close(self.show, state)
            for job in state.heard:
                self._answer(job, state.tick)
            for sound in state.sounds:
                if sound.kind in (SoundKind.NOTE_ON, SoundKind.NOTE_OFF):
                    source = state.lanes[sound.lane].source
                    at = sound.sample - samples_from_ms(self.show.sound_ms)
                    self.sounds.append((source, at, sound.kind, sound.note, sound.value))
            self.state = state
            states.append(state)
        return iter(states)

    def _answer(self, job: Heard | Ask, tick: int) -> None:
        if isinstance(job, Heard):
            self.heard.append(job)
            return
        self.asks.append(job)
        if self.delay is not None:
            body = ev.Answers(job.request, ((4, 9),) * 12) if job.answers else phrase(job)
            self._due.append((tick + self.delay, body))

    def begins(self, source: str = MUSICIAN) -> list[int]:
        """Return the ticks at which notes of a source begin."""
        return [at // TICK_SAMPLES for s, at, kind, *_ in self.sounds if s == source and kind == 1]


def on(note: int, velocity: float = 0.5) -> tuple[str, ev.Body]:
    return "k", ev.NoteOn(1, note, velocity)


def off(note: int) -> tuple[str, ev.Body]:
    return "k", ev.NoteOff(1, note, 0.5)


def test_it_continues_after_the_wait_on_a_beat_and_hands_back_at_the_first_note() -> None:
    both = Together(a_show("continue"))
    both.play({0: [on(60)], 60: [off(60)]}, 800)
    begins = both.begins()
    assert begins[0] % BEAT == 0
    assert begins[0] >= 60 + 2 * BEAT
    both.play({0: [on(50)]}, 200)
    assert len(both.begins()) == len(begins), "none after the key went down"
    assert not both.state.musician.playing
    assert [key.source for key in both.state.keys] == ["k"], "no note of the musician hangs"


def test_call_and_response_take_turns_in_bars() -> None:
    both = Together(a_show("call and response", **{"musician.bars": 1}))
    both.play({t: [on(60 + t // 60 % 12)] for t in range(0, 1900, 60)}, 16 * BEAT)
    bars = {begin // (4 * BEAT) % 2 for begin in both.begins()}
    assert bars == {1}
    assert len(both.begins()) > 30, "one voice or two under each note"
    in_calls = [job for job in both.heard if job.sample // (4 * BEAT * TICK_SAMPLES) % 2 == 0]
    assert len(in_calls) >= 8, "it hears the calls"
    for source, at, kind, *_ in both.sounds:
        if source == MUSICIAN and kind == SoundKind.NOTE_OFF:
            assert at // TICK_SAMPLES // (4 * BEAT) % 2 == 1 or at // TICK_SAMPLES % (4 * BEAT) <= 1


def test_an_accompanist_plays_while_the_performer_does_and_stays_underneath() -> None:
    both = Together(a_show("accompany"))
    both.play({}, 6 * BEAT)
    assert both.begins() == []
    both.play({t: [on(67 + t // 30 % 5), off(66 + t // 30 % 5)] for t in range(0, 1200, 30)}, 1200)
    playing = both.begins()
    assert len(playing) > 15
    notes = [note for source, _, kind, note, _ in both.sounds if source == MUSICIAN and kind == 1]
    assert max(notes) < 67
    loud = [value for source, _, kind, _, value in both.sounds if source == MUSICIAN and kind == 1]
    assert max(loud) < 0.6 * 0.9, "softer than it would be alone"
    assert both.asks[-1].density < 6.0, "it leaves room"
    both.play({0: [off(n) for n in range(60, 80)]}, 12 * BEAT)
    assert both.begins()[-1] < both.state.tick - 6 * BEAT, "it falls silent with them"


def test_in_a_duet_both_play_and_the_musician_answers_what_it_hears() -> None:
    both = Together(a_show("duet"))
    both.play({}, 8 * BEAT)
    assert len(both.begins()) > 10, "it begins by itself"
    planned = [ask for ask in both.asks if ask.start_tick >= both.state.musician.planned]
    assert not planned
    asked = len(both.asks)
    both.play({0: [on(60)]}, 20)
    anew = both.asks[asked]
    assert anew.start_tick < both.asks[asked - 1].end_tick, "a plan anew takes the place of another"
    assert anew.start_tick >= both.state.tick - 20 + BEAT, "but not of what is committed"


def test_solo_hears_nobody() -> None:
    both = Together(a_show("solo"))
    both.play({t: [on(60)] for t in range(0, 900, 20)}, 960)
    assert both.heard == []
    assert len(both.begins()) > 10


def test_harmony_sounds_on_the_sample_of_its_note_and_ends_with_its_key() -> None:
    both = Together(a_show("harmonise", **{"musician.scale": "major", "musician.key": "C"}))
    happened = {n * 50: [on(note)] for n, note in enumerate((72, 74, 76, 77))}
    happened |= {n * 50 + 30: [off(note)] for n, note in enumerate((72, 74, 76, 77))}
    both.play(happened, 230)
    for source, at, kind, _, _ in both.sounds:
        if source == "k":
            sung = [n for s, when, k, n, _ in both.sounds if (s, when, k) == (MUSICIAN, at, kind)]
            assert len(sung) == 2
            assert all(note % 12 in MAJOR for note in sung)
    assert both.state.keys == ()
    assert both.state.musician.sung == ()
    first, *later = [n for s, _, k, n, _ in both.sounds if (s, k) == (MUSICIAN, 1)][::2]
    assert first == 67, "the first by rule: no answer was prepared yet"
    assert later == [74 - 5, 76 - 4, 77 - 5], "then as prepared (a third, 4), moved into the scale"


def test_a_dead_musician_harmonises_by_rule() -> None:
    both = Together(a_show("harmonise"), delay=None)
    both.play({t: [on(60 + t // 10), off(59 + t // 10)] for t in range(0, 200, 10)}, 300)
    assert len(both.begins()) > 30, "one voice or two under each note"
    both.play({0: [("k", ev.Release())]}, 2)
    assert both.state.keys == ()


def test_a_silent_musician_has_its_last_phrase_repeated() -> None:
    both = Together(a_show("solo"))
    both.play({}, 4 * BEAT)
    both.delay = None
    both.play({}, 16 * BEAT)
    musician = both.state.musician
    assert musician.repeats >= 6
    assert musician.planned > both.state.tick + BEAT - 8, "what is committed is always planned"
    begins = both.begins()
    assert max(b - a for a, b in itertools.pairwise(begins)) <= BEAT, "the music goes on"
    one, two = ([b % (2 * BEAT) for b in begins if a <= b < a + 2 * BEAT] for a in (8 * BEAT, 10 * BEAT))
    assert one == two


def test_a_musician_that_was_never_there_costs_nothing_but_its_music() -> None:
    both = Together(a_show("duet"), delay=None)
    both.play({30: [on(60)], 60: [off(60)]}, 20 * BEAT)
    assert both.begins() == []
    assert both.state.musician.repeats > 5
    assert both.state.keys == ()


def test_an_answer_that_comes_too_late_is_let_go() -> None:
    both = Together(a_show("solo"), delay=3 * TICKS_PER_SECOND)
    both.play({}, 12 * BEAT)
    assert both.begins() == []
    assert both.state.musician.repeats > 2


@pytest.mark.parametrize("drums", [False, True])
def test_a_drummer_listens_to_the_drums_and_keeps_its_notes(drums: bool) -> None:
    both = Together(a_show("duet", **{"musician.scale": "major", "musician.key": "C"}))
    both.play({}, 3 * BEAT)
    ask = both.asks[-1]
    channel = 10 if drums else 1
    notes = tuple(ev.PhraseNote(ask.start_tick + n, 0, note, 0.5, 10) for n, note in enumerate((36, 37, 42)))
    state = replace(both.state, musician=replace(both.state.musician, waiting=True, request=ask.request))
    state = receive(
        both.show, state, Event(state.tick, 0, MUSICIAN, 0, ev.Phrase(ask.request, channel, notes))
    )
    pitches = [note.note for note in state.musician.plan if note.tick >= ask.start_tick]
    assert (pitches == [36, 37, 42]) == drums
    assert all(drums or pitch % 12 in MAJOR for pitch in pitches)
    heard = receive(both.show, state, Event(state.tick, 0, "k", 0, ev.NoteOn(10, 38, 0.5)))
    assert heard.musician.news == drums
    assert heard.heard[-1] == Heard(state.tick * TICK_SAMPLES, True, 38, 0.5, True)


def test_swing_and_quantise_move_notes_in_the_beat() -> None:
    both = Together(a_show("solo", **{"musician.swing": 1.0, "musician.quantise": 1.0}))
    both.play({}, 4 * BEAT)
    starts = [note.tick * TICK_SAMPLES + note.offset for note in both.state.musician.plan]
    parts = {round(beat_at(both.state.transport, sample) % 1.0, 2) for sample in starts}
    assert parts <= {0.0, 1.0, 0.33, 0.67, 0.83, 0.84}
    assert 0.67 in parts


def test_it_rests_as_often_as_it_is_told() -> None:
    never, often = (Together(a_show("solo", **{"musician.rest": rest})) for rest in (0.0, 0.7))
    for both in (never, often):
        both.play({}, 40 * BEAT)
    assert 0.1 < len(often.begins()) / len(never.begins()) < 0.6


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("temperature", 0.3, 1.5), ("top_p", 0.2, 1.0), ("density", 2.0, 20.0), ("style", 1.0, 3.5)],
)
def test_what_the_network_is_to_do_is_asked_of_it(name: str, low: float, high: float) -> None:
    for level in (low, high):
        both = Together(a_show("solo", **{f"musician.{name}": level}))
        both.play({}, 2 * BEAT)
        assert {getattr(ask, name) for ask in both.asks} == {level}


def test_register_and_dynamics_move_what_is_played() -> None:
    deep, high = (Together(a_show("solo", **{"musician.register": note})) for note in (36.0, 84.0))
    soft, loud = (Together(a_show("solo", **{"musician.dynamics": scale})) for scale in (0.3, 1.5))
    for both in (deep, high, soft, loud):
        both.play({}, 8 * BEAT)
    for both, middle in ((deep, 36), (high, 84)):
        notes = [note for source, _, kind, note, _ in both.sounds if (source, kind) == (MUSICIAN, 1)]
        assert len(notes) > 10
        assert all(abs(note - middle) <= 24 for note in notes)
    for both, velocity in ((soft, 0.6 * 0.3), (loud, 0.6 * 1.5)):
        found = {value for source, _, kind, _, value in both.sounds if (source, kind) == (MUSICIAN, 1)}
        assert list(found) == [pytest.approx(velocity)]


def test_it_waits_and_commits_as_long_as_it_is_told() -> None:
    for wait in (1.0, 6.0):
        both = Together(a_show("continue", **{"musician.wait": wait}))
        both.play({0: [on(60)], 10: [off(60)]}, 10 * BEAT)
        assert wait * BEAT <= both.begins()[0] - 10 < (wait + 2) * BEAT
    for commit in (0.5, 3.0):
        both = Together(a_show("duet", **{"musician.commit": commit, "musician.lookahead": 6.0}))
        both.play({}, 8 * BEAT)
        asked = len(both.asks)
        both.play({0: [on(60)]}, 20)
        anew = both.asks[asked].start_tick - (both.state.tick - 20)
        assert commit * BEAT <= anew < (commit + 0.5) * BEAT


def test_the_plan_reaches_as_far_as_it_is_told() -> None:
    both = Together(a_show("solo", **{"musician.lookahead": 8.0}))
    both.play({}, 4 * BEAT)
    for state in both.play({}, 4 * BEAT):
        assert state.musician.planned - state.tick > 7.5 * BEAT


LEVELS = st.one_of(
    st.tuples(st.just("musician.mode"), st.integers(0, len(MODES) - 1).map(float)),
    st.tuples(st.just("musician.scale"), st.integers(0, len(SCALES) - 1).map(float)),
    st.tuples(st.just("musician.key"), st.integers(0, len(KEYS) - 1).map(float)),
    st.tuples(st.just("musician"), st.sampled_from([0.0, 1.0])),
    st.tuples(st.just("musician.commit"), st.floats(0.25, 8)),
    st.tuples(st.just("musician.lookahead"), st.floats(2, 16)),
    st.tuples(st.just("musician.rest"), st.floats(0, 1)),
    st.tuples(st.just("musician.swing"), st.floats(0, 1)),
    st.tuples(st.just("musician.bars"), st.floats(1, 8)),
    st.tuples(st.just("tempo"), st.floats(40, 300)),
)
MOVES = st.one_of(
    LEVELS.map(lambda item: ("osc", ev.Control(f"/chladni/parameter/{item[0]}", item[1]))),
    st.tuples(
        st.sampled_from("ab"), st.builds(ev.NoteOn, st.integers(1, 10), st.integers(0, 127), st.just(0.5))
    ),
    st.tuples(
        st.sampled_from("ab"), st.builds(ev.NoteOff, st.integers(1, 10), st.integers(0, 127), st.just(0.0))
    ),
    st.tuples(st.sampled_from("ab"), st.just(ev.Release())),
    st.tuples(
        st.just("m"),
        st.sampled_from(
            [ev.Start(), ev.Stop(), ev.Continue(), ev.SongPosition(7), ev.Tap(), ev.ClockPulse()]
        ),
    ),
    st.tuples(st.just("link"), st.builds(ev.LinkBeat, st.floats(-100, 1000), st.floats(20, 300))),
)
HAPPENED = st.dictionaries(st.integers(0, 700), st.lists(MOVES, max_size=3), max_size=40)


@settings(max_examples=40, deadline=None)
@given(HAPPENED, st.sampled_from([None, 0, 4, 100]), st.sampled_from(MODES))
def test_whatever_happens_no_note_hangs_and_what_is_committed_stays(
    happened: dict[int, list[tuple[str, ev.Body]]], delay: int | None, mode: str
) -> None:
    both = Together(a_show(mode), delay)
    before = both.state
    for state in both.play(happened, 720):
        musician, earlier = state.musician, before.musician
        order = [(note.tick, note.offset, note.note) for note in musician.plan]
        assert order == sorted(order)
        assert musician.committed >= earlier.committed
        promised = [n for n in earlier.plan if state.tick <= n.tick < earlier.committed]
        kept = [n for n in musician.plan if n.tick < earlier.committed]
        assert kept == promised or kept == [], "played as committed, or handed back"
        if kept == [] and promised:
            assert not musician.playing
        before = state
    ending = {0: [("osc", ev.Control("/chladni/parameter/musician", 0.0))]}
    ending |= {1: [(source, ev.Release()) for source in "ab"]}
    both.play(ending, 2400)
    assert both.state.faults == 0
    assert both.state.keys == ()
    down: set[tuple[str, int]] = set()
    for source, _, kind, note, _ in both.sounds:
        (down.add if kind == SoundKind.NOTE_ON else down.discard)((source, note))
    assert not {item for item in down if item[0] == MUSICIAN}


def test_the_same_events_reach_the_same_bits_without_a_musician() -> None:
    """What the musician played is in the log: played from there, nobody needs to be asked."""
    both, log = Together(a_show("duet"), delay=3), []
    state = initial(both.show)
    original = receive

    def logged(show: Show, now: ShowState, event: Event) -> ShowState:
        log.append(event)
        return original(show, now, event)

    globals()["receive"] = logged
    try:
        both = Together(a_show("duet"), delay=3)
        both.play({100: [on(60)], 300: [on(64)], 301: [off(60)]}, 900)
    finally:
        globals()["receive"] = original
    for tick in range(both.state.tick):
        state = open_tick(state)
        for event in log:
            if event.tick == tick:
                state = receive(both.show, state, event)
        state = close(both.show, state)
    assert state.digest() == both.state.digest()


@pytest.mark.parametrize(("tonic", "minor"), [(0, False), (7, False), (3, False), (9, True), (2, True)])
def test_the_key_is_heard(tonic: int, minor: bool) -> None:
    tonality = Tonality()
    steps = (0, 3, 7, 12, 8, 7, 5, 3, 2, 0, 7, 0) if minor else (0, 4, 7, 12, 9, 7, 5, 4, 2, 0, 7, 0)
    for step in steps * 3:
        tonality = scale.heard(tonality, 48 + tonic + step)
    assert (tonality.tonic, tonality.minor) == (tonic, minor)


@given(st.integers(0, 127), st.integers(0, scale.ALL), st.integers(0, 80))
def test_notes_move_into_scale_and_register_by_as_little_as_can_be(note: int, allowed: int, low: int) -> None:
    moved = scale.snap(note, allowed)
    assert 0 <= moved <= 127
    if allowed:
        assert allowed >> moved % 12 & 1
        near = [n for n in range(128) if allowed >> n % 12 & 1]
        assert abs(moved - note) == min(abs(n - note) for n in near)
    folded = scale.fold(note, low, low + 24)
    assert low <= folded <= low + 24
    assert (folded - note) % 12 == 0


@given(st.integers(0, 127), st.integers(0, 11), st.booleans(), st.integers(1, scale.ALL))
def test_voices_lie_under_their_note_and_in_the_scale(
    note: int, tonic: int, minor: bool, allowed: int
) -> None:
    for under in (
        harmony.voices(note, (), tonic, minor, allowed),
        harmony.voices(note, ((3, 8),) * 12, tonic, minor, allowed),
    ):
        assert all(0 <= each <= note - harmony.CLOSEST for each in under)
        assert all(allowed >> each % 12 & 1 for each in under)
        assert len(set(under)) == len(under) <= harmony.VOICES
    if note >= 24:
        assert len(harmony.voices(note, (), tonic, minor, scale.ALL)) == harmony.VOICES


def test_note_sources_move_parameters() -> None:
    show = Show.model_validate(
        {
            "title": "routes",
            "musician": "none",
            "route": [
                {"from": "/performer/density", "to": "psi", "range": [0, 1], "smooth_ms": 0},
                {"from": "/notes/interval", "to": "hue", "range": [-24, 24], "smooth_ms": 0},
                {"from": "/musician/density", "to": "bloom", "smooth_ms": 0},
            ],
        }
    )
    both = Together(show)
    both.play({t: [on(60 + 7 * (t // 30 % 2)), off(60)] for t in range(0, 960, 30)}, 960)
    levels = both.state.levels
    assert levels[INDEX["psi"]] == pytest.approx(0.5, abs=0.1), "8 notes a second, 1 at 16"
    assert levels[INDEX["hue"]] == pytest.approx(7.0)
    assert levels[INDEX["bloom"]] == 0.0
    both.play({0: [off(60), off(67)]}, 20 * TICKS_PER_SECOND)
    assert both.state.levels[INDEX["psi"]] == 0.0
    assert both.state.hands[0].density == 0.0


def test_link_leads_the_transport_and_lets_go() -> None:
    both = Together(a_show("solo"))
    both.play({10: [("link", ev.LinkBeat(8.5, 140.0))]}, 241)
    assert beat_at(both.state.transport, 18 * TICK_SAMPLES) == pytest.approx(8.5)
    assert both.state.levels[INDEX["tempo"]] == 140.0
    assert both.state.transport.bpm == 140.0
    assert both.state.live_tick < 5, "a clock is no player"
    assert sample_at(both.state.transport, 9.5) == pytest.approx(18 * TICK_SAMPLES + 48_000 * 60 / 140)
    both.play({300: [("osc", ev.Control("/chladni/parameter/tempo", 100.0))]}, 700)
    assert both.state.transport.bpm == 100.0, "a session that is gone leads no longer"


def test_choices_have_names_in_a_show() -> None:
    text = 'title = "x"\n[[cue]]\nnumber = 1\nlevels = { "musician.mode" = "DUET" }\n'
    with pytest.raises(ShowError, match=r"x\.toml:4: cue.*it is to be continue, call and response"):
        parse(text, "x.toml")
    (cue,) = parse(text.replace("DUET", "duet"), "x.toml").cue
    assert cue.levels == {"musician.mode": float(MODES.index("duet"))}


def test_a_choice_jumps() -> None:
    show = Show.model_validate(
        {
            "title": "x",
            "route": [{"from": "/x", "to": "musician.mode", "smooth_ms": 5000}],
            "cue": [{"number": 1, "fade_s": 10, "levels": {"musician.mode": "solo"}}],
        }
    )
    both = Together(show)
    both.play({}, 20)
    assert both.state.levels[INDEX["musician.mode"]] == 5.0
    both.play({0: [("osc", ev.Control("/x", 0.61))]}, 20)
    assert both.state.levels[INDEX["musician.mode"]] == 3.0


def test_what_the_musician_says_survives_the_recording() -> None:
    bodies = [
        ev.Phrase(3, 10, (ev.PhraseNote(5, 7, 60, 0.5, 20),)),
        ev.Answers(4, ((3, 8), *[()] * 10, (4,))),
        ev.LinkBeat(-3.5, 128.0),
    ]
    for body in bodies:
        assert ev.decode(json.loads(json.dumps(ev.encode(body)))) == body
    for wrong in (
        ["Phrase", 1, []],
        ["Answers", 1, [[1]] * 11],
        ["Answers", 1, [[-1]] * 12],
        ["LinkBeat", 1, 0],
    ):
        with pytest.raises(ValueError, match=r"Phrase|Answers|LinkBeat"):
            ev.decode(wrong)
