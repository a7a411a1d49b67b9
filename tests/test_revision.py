"""The show file changed while it plays: what is right plays on at once, what is wrong is named."""

import os
from pathlib import Path
from threading import Event as Signal
from threading import Thread

import pytest
from staged import SHOW, first_light, playing, until
from test_core import level, played, run

from engine.core import events as ev
from engine.core.advance import advance
from engine.core.events import Event, decode, encode
from engine.core.parameters import INDEX
from engine.core.revision import merged, revised
from engine.core.show import MAX_JSON, Cue, Show, ShowError, as_json, from_json, parse
from engine.core.state import STAGE, initial
from engine.offline import play, verify
from engine.recording import Recorder, read
from engine.reviser import Reviser
from engine.show_file import ShowFile

pytestmark = pytest.mark.live

WAVE = {"from": "/wave", "to": "hue", "range": (0.0, 60.0), "smooth_ms": 0, "mode": "add"}
FADER = {"from": "/fader", "to": "bloom", "range": (0.0, 1.0), "smooth_ms": 0, "mode": "add"}
CUES = (
    {"number": 1, "fade_s": 0, "levels": {"psi": 0.2}},
    {"number": 2, "fade_s": 1, "autofollow_s": 2.0, "levels": {"psi": 0.8, "bloom": 0.5}},
    {"number": 3, "levels": {"psi": 0.4}},
)


def show(**changes: object) -> Show:
    return Show.model_validate({"title": "test", "musician": None} | changes)


def revise(a_show: Show) -> tuple[str, ev.Body]:
    return STAGE, ev.Revise(as_json(a_show))


def test_a_route_that_stays_keeps_what_it_adds_and_one_that_goes_takes_it_along() -> None:
    waved = {8: [("osc", ev.Control("/osc/x", 0.0)), ("osc", ev.Control("/wave", 0.5))]}
    faded = {8: [*waved[8], ("osc", ev.Control("/fader", 0.5))]}
    before, after = show(route=[WAVE, FADER]), show(route=[{"from": "/x", "to": "psi"}, FADER])
    states = run(before, 100, faded | {50: [revise(after)]})
    assert level(states[49], "hue") == 30.0
    assert level(states[51], "hue") == 0.0
    assert [level(states[tick], "bloom") for tick in (49, 51, 99)] == [0.5, 0.5, 0.5]
    assert states[99].added == (0.0, 0.5)


def test_a_route_that_is_changed_adds_from_where_its_input_stands() -> None:
    wave = {8: [("osc", ev.Control("/wave", 0.5))], 50: [revise(show(route=[WAVE | {"range": (0, 90)}]))]}
    states = run(show(route=[WAVE]), 100, wave)
    assert [level(states[tick], "hue") for tick in (49, 60)] == [30.0, 45.0]


def test_it_takes_effect_with_the_next_tick() -> None:
    (_, last), (a_show, first) = played(show(), 12, {10: [revise(show(title="other"))]})[10:]
    assert last.revision
    assert (a_show.title, first.revision) == ("other", "")


def test_the_cue_list_keeps_its_place_by_number() -> None:
    go = {0: [("keys", ev.Go()), ("keys", ev.Go())]}
    more = show(cue=[{"number": 0.5}, *CUES])
    assert run(show(cue=CUES), 20, go | {9: [revise(more)]})[-1].cue == 2
    fewer = show(cue=[CUES[0], CUES[2]])
    states = run(show(cue=CUES), 20, go | {9: [revise(fewer)], 15: [("keys", ev.Go())]})
    assert (states[10].cue, states[-1].cue) == (0, 1), "GO leads to the one after"
    assert run(show(cue=CUES), 20, go | {9: [revise(show())]})[-1].cue == -1


def test_a_level_of_the_present_cue_moves_at_once_and_its_follow_too() -> None:
    louder = show(
        cue=[CUES[0], CUES[1] | {"levels": {"psi": 0.8, "bloom": 0.9}, "autofollow_s": 1.0}, CUES[2]]
    )
    go = {0: [("keys", ev.Go()), ("keys", ev.Go())], 60: [revise(louder)]}
    states = run(show(cue=CUES), 260, go)
    assert 0.0 < level(states[59], "bloom") < 0.5
    assert level(states[72], "bloom") == 0.9
    assert level(states[72], "psi") < 0.75, "its fade goes on"
    assert [states[tick].cue for tick in (238, 242)] == [1, 2]


def test_the_tempo_follows_the_file() -> None:
    states = run(show(), 60, {9: [revise(show(tempo={"bpm": 140}))]})
    assert states[-1].transport.bpm == pytest.approx(140.0)


def test_another_generator_is_wanted_and_instruments_change() -> None:
    parts = {"parts": [{"source": "keys", "instrument": "bass"}]}
    note = [("keys", ev.NoteOn(1, 60, 0.5))]
    states = run(show(), 60, {0: note, 9: [revise(show(generator="two", sound=parts))]})
    assert states[-1].cast.wanted == "two"
    assert states[5].lanes[0].instrument != states[-1].lanes[0].instrument


def test_what_can_t_change_while_it_plays_is_kept_and_named() -> None:
    wanted = show(
        fps=60, seed=9, title="x", tempo={"bpm": 80, "link": True}, sound={"block": 64, "parts": []},
        performer={"file": "y.mid"}, osc={"listen": "127.0.0.1:7"},
    )  # fmt: skip
    result, kept = merged(show(), wanted)
    assert kept == ("seed", "fps", "sound.block", "tempo.link", "osc.listen", "performer")
    assert result == show(title="x", tempo={"bpm": 80})


def test_a_revision_that_is_none_costs_nothing() -> None:
    states = run(show(), 9, {4: [(STAGE, ev.Revise("{}")), (STAGE, ev.Revise("nonsense"))]})
    assert states[-1].faults == 2
    with pytest.raises(ValueError, match="title: Field required"):
        decode(["Revise", "{}"])


def test_a_recording_with_large_revisions_is_read_and_verifies(tmp_path: Path) -> None:
    levels = dict.fromkeys(("psi", "feedback", "bloom", "noise", "saturation", "contrast"), 0.1)
    cues = [Cue(number=n, name='"' * 40, levels=levels) for n in range(3000)]
    shows = [show(title=f"{n}", cue=cues[: 2500 + n]) for n in range(3)]
    assert MAX_JSON / 2 < len(as_json(shows[0])) < MAX_JSON
    recorder, a_show, state = Recorder(tmp_path / "a.chladni", shows[0]), shows[0], initial(shows[0])
    recorder.start()
    for tick in range(480):
        happened = []
        if tick in (100, 200, 300):
            happened = [Event(tick, 0, STAGE, tick, ev.Revise(as_json(shows[tick // 100 - 1])))]
            recorder.event(happened[0])
        state = advance(a_show, state, happened)
        if state.tick % 240 == 0:
            recorder.digest(state.tick, state.digest())
        a_show, state = revised(a_show, state)
    recorder.close(480)
    recording = read(tmp_path / "a.chladni")
    assert verify(recording).agreed == 2
    assert [len(at.cue) for at, _ in play(recording)][150:400:100] == [2500, 2501, 2502]
    with pytest.raises(ShowError, match="more than a recording takes"):
        parse('title = "x"\n' + "".join(f"[[cue]]\nnumber = {n}\n" for n in range(12_000)), "a.toml")
    assert decode(encode(recording.events[0].body)) == recording.events[0].body


def test_what_is_saved_is_sent_once_and_what_is_wrong_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('title = "one"\n')
    file = ShowFile(path, {"picture_ms": 200.0})
    sent: list[Show] = []
    said: list[str] = []
    stop = Signal()
    reviser = Reviser(
        file, file.load(file.read()), lambda body: sent.append(from_json(body.show)), said.append
    )
    thread = Thread(target=reviser.run, args=(stop,))
    thread.start()
    try:
        path.write_text('title = "two"\n')
        until(lambda: sent)
        assert (sent[0].title, sent[0].picture_ms) == ("two", 200.0), "options stand"
        path.write_text('title = "two"\nfps = 31\nsedd = 1\n')
        until(lambda: said)
        assert said[0].startswith(f"{path}:2: fps: 31 does not divide 240")
        assert f"{path}:3: sedd: no such key; did you mean 'seed'?" in reviser.trouble
        (tmp_path / "new").write_text('title = "two"   # mended\nseed = 7\n')
        os.replace(tmp_path / "new", path)  # as editors do
        until(lambda: not reviser.trouble)
        until(lambda: len(said) == 2)
        assert said[1] == f"{path}: seed: stays as it was until the next start"
        path.unlink()
        path.write_text('title = "two"\ngenerator = "nobody"\n')
        until(lambda: len(said) == 3)
        assert "no model 'nobody' here" in said[2]
        path.write_text('title = "two"\nseed = 7\n')
        until(lambda: not reviser.trouble)
    finally:
        stop.set()
        thread.join(5)
    assert [a_show.title for a_show in sent] == ["two", "two"]


def test_it_is_revised_while_it_plays_and_verifies(tmp_path: Path) -> None:
    text = SHOW.read_text().replace("[tempo]", '[osc]\nlisten = "none"\n\n[tempo]')
    path = tmp_path / "a.toml"
    path.write_text(text)
    with playing(tmp_path, first_light(), attended=True, file=ShowFile(path, {"device": "none"})) as session:
        assert level(session.state, "psi") == 0.7
        session.inbox.put(session.clock.now(), "keys", ev.Go())
        path.write_text(text.replace("psi = 0.6, ", "psi = 0.31, "))
        until(lambda: session.state.levels[INDEX["psi"]] == 0.31)
        path.write_text(text + "[[cue]]\n")
        until(lambda: any("cue[5].number: this key is missing" in line for line in session.warnings))
        until(lambda: any("this key is missing" in line for line in session.hud))
        assert session.show.cue[0].levels["psi"] == 0.31
    assert session.revisions == 1
    assert verify(read(tmp_path / "show.chladni")).differs_at is None


def test_a_preset_that_is_stored_reaches_the_show_file(tmp_path: Path) -> None:
    text = SHOW.read_text().replace("[tempo]", '[osc]\nlisten = "none"\n\n[tempo]')
    path = tmp_path / "a.toml"
    path.write_text(text)
    with playing(tmp_path, first_light(), attended=True, file=ShowFile(path, {"device": "none"})) as session:
        for name, value in (("noise", 0.3333333), ("psi", 1.0)):
            session.inbox.put(session.clock.now(), "keys", ev.Control(f"/chladni/parameter/{name}", value))
        until(lambda: session.state.levels[INDEX["psi"]] == 1.0)
        session.inbox.put(session.clock.now(), "osc", ev.Store("theirs"))
        session.inbox.put(session.clock.now(), "keys", ev.Store("mine"))
        until(lambda: "mine" in session.show.presets)
        assert [preset.name for preset in session.state.presets] == ["theirs"], "OSC reaches no file"
        session.inbox.put(session.clock.now(), "keys", ev.Control("/chladni/parameter/psi", 0.5))
        until(lambda: session.state.levels[INDEX["psi"]] == 0.5)
        session.inbox.put(session.clock.now(), "keys", ev.Store("mine"))
        until(lambda: dict(session.show.presets["mine"])[INDEX["psi"]] == 0.5)
        assert not session.warnings
    assert path.read_text().startswith(text.rstrip())
    levels = parse(path.read_text(), "a.toml").preset[0].levels
    assert (levels["noise"], levels["psi"], levels["kaleidoscope"]) == (0.3333, 0.5, 0.0)
    assert "theirs" not in path.read_text()
    assert "network.1" not in levels
    assert "tempo" not in levels
    assert verify(read(tmp_path / "show.chladni")).differs_at is None
