"""Edits of a show file: the entry changes, everything else stays as its author wrote it."""

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import editing, reading
from engine.core.events import Revise
from engine.core.show import Show, ShowError, from_json
from engine.editing import EditError, edit
from engine.reviser import Reviser, told_entry
from engine.show_file import ShowFile

TEXT = """\
title = "x"   # of the window

# Music
[[route]]
from = "/a"  # the fader
to = "psi"
range = [
  0.00,   # low
  1.0,
]
# so far the fader

# TouchOSC
[[route]]
from = "/b"
to = "hue"

[tempo]        # between
bpm = 90

# Cues, all of them
[[cue]]
number = 1

[cue.levels]
psi = 0.50

[[cue]]
number = 2     # the second
levels = { psi = 0.5 }
"""


def lines(text: str) -> set[str]:
    return set(text.splitlines())


def changed(*arguments: Any) -> tuple[set[str], set[str]]:
    """Return the lines that an edit takes away, and those that it brings."""
    after = edit(TEXT, *arguments)
    return lines(TEXT) - lines(after), lines(after) - lines(TEXT)


def test_only_what_is_edited_changes() -> None:
    fader = {"from": "/a", "to": "psi", "range": [0.0, 1.0]}
    assert edit(TEXT, "route", 0, fader) == TEXT
    assert changed("route", 0, fader | {"curve": "s"}) == (set(), {'curve = "s"'})
    assert changed("route", 1, {"from": "/b", "to": "bloom"}) == ({'to = "hue"'}, {'to = "bloom"'})
    assert changed("cue", 0, {"number": 1, "levels": {"psi": 0.5, "hue": 9}}) == (set(), {"hue = 9"})
    second = {"number": 2, "name": "two", "levels": {"psi": 0.75}}
    assert changed("cue", 1, second)[1] == {'name = "two"', "levels = { psi = 0.75 }"}
    assert "number = 2     # the second" in edit(TEXT, "cue", 1, second)


def test_what_is_removed_leaves_the_comments_of_others() -> None:
    assert changed("route", 0, None)[0] == {
        'from = "/a"  # the fader', 'to = "psi"', "range = [", "  0.00,   # low", "  1.0,", "]",
        "# so far the fader",
    }  # fmt: skip
    after = edit(TEXT, "route", 1, None)
    assert "# so far the fader\n\n# TouchOSC\n\n[tempo]        # between" in after
    assert edit(TEXT, "cue", 1, None).endswith("psi = 0.50\n")


def test_what_is_added_stands_where_it_belongs() -> None:
    after = edit(
        TEXT, "route", None, {"from": "/c", "to": "bloom", "curve": "linear", "points": (), "cues": [1]}
    )
    assert '\n\n[[route]]\nfrom = "/c"\nto = "bloom"\ncues = [1]\n\n[tempo]' in after, "no defaults"
    for number, before in ((0.5, "[[cue]]\nnumber = 1\n"), (1.5, "[[cue]]\nnumber = 2 ")):
        after = edit(TEXT, "cue", None, {"number": number})
        assert f"[[cue]]\nnumber = {number}\n\n{before}" in after
    assert edit(TEXT, "cue", None, {"number": 3}).endswith("\n\n[[cue]]\nnumber = 3\n")
    assert edit('title = "x"', "cue", None, {"number": 3}) == 'title = "x"\n\n[[cue]]\nnumber = 3\n'


def test_line_ends_stay() -> None:
    after = edit(TEXT.replace("\n", "\r\n"), "route", 1, {"from": "/b", "to": "bloom"})
    assert after == TEXT.replace('to = "hue"', 'to = "bloom"').replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cue", 2, None), "there is no cue 2 in the file: it has 2"),
        (("tempo", 0, {}), "[[tempo]] can't be edited"),
        (("cue", None, None), "needs its index"),
    ],
)
def test_what_can_t_be_edited_is_named(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(EditError) as caught:
        edit(TEXT, *arguments)
    assert message in str(caught.value)


def test_other_ways_of_writing_are_left_alone() -> None:
    with pytest.raises(EditError, match="edit the file"):
        edit('route = [{ from = "/a", to = "psi" }]\n', "route", 0, {"from": "/a", "to": "hue"})
    assert (
        edit('a = """\n[[route]]\n"""\n[[route]]\nto = "psi"', "route", 0, None)
        == 'a = """\n[[route]]\n"""\n'
    )


ROUTES = st.fixed_dictionaries(
    {"from": st.sampled_from(["/a", "/b"]), "to": st.sampled_from(["psi", "hue"])},
    optional={"range": st.lists(st.floats(0, 9), min_size=2, max_size=2), "invert": st.booleans()},
)
CUES = st.fixed_dictionaries(
    {"number": st.integers(0, 9)},
    optional={
        "name": st.text(max_size=9),
        "levels": st.dictionaries(st.sampled_from(["psi", "hue"]), st.floats(0, 1)),
    },
)
EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("route"), st.none() | st.integers(0, 3), st.none() | ROUTES),
        st.tuples(st.just("cue"), st.none() | st.integers(0, 3), st.none() | CUES),
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(EDITS)
def test_many_edits_lose_no_comment_but_of_what_is_removed(edits: list[tuple[Any, ...]]) -> None:
    """`edit` holds what it wrote against what it was to write; here it is to manage, and to keep comments."""
    text = TEXT
    for table, index, value in edits:
        there = index is None or index < len(tomllib.loads(text).get(table, []))
        if there and (index, value) != (None, None):
            text = edit(text, table, index, value)
    assert tomllib.loads(text)["tempo"] == {"bpm": 90}
    for comment in ("# of the window", "# Music", "# TouchOSC", "# between", "# Cues, all of them"):
        assert comment in text


def test_the_file_is_written_whole_and_with_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.toml"
    path.write_text("before")
    path.chmod(0o640)
    link = tmp_path / "b.toml"
    link.symlink_to(path)
    editing.write(link, "after")
    assert (path.read_text(), path.stat().st_mode & 0o777, link.is_symlink()) == ("after", 0o640, True)

    def fail(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no room"):
        editing.write(path, "half")
    assert path.read_text() == "after"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.toml", "b.toml"]


def test_an_edit_plays_and_is_never_written_over_what_somebody_else_wrote(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(TEXT)
    file = ShowFile(path)
    sent: list[Show] = []

    def put(body: Revise) -> None:
        sent.append(from_json(body.show))

    reviser = Reviser(file, file.load(TEXT), put, lambda said: None)
    assert reviser.edit("cue", None, {"number": 1.5, "levels": {"musician.mode": "duet"}}) is None
    assert [cue.number for cue in sent[-1].cue] == [1, 1.5, 2]
    assert 'levels = {"musician.mode" = "duet"}' in path.read_text()
    wrong = reviser.edit("route", 0, {"from": "/a", "to": "pssi"})
    assert wrong == f"{path}:6: route[0].to: no parameter 'pssi'; did you mean 'psi'?"
    assert reviser.edit("cue", 1, {"number": 9}, was={"number": 2}) == (
        "another cue stands there by now, or it was changed: look again"
    )
    seen = {"number": 1.5, "levels": {"musician.mode": 3}}
    assert reviser.edit("cue", 1, seen, was=seen) is None
    path.write_text(TEXT + "# mine\n")
    assert "has just been changed" in (reviser.edit("route", 0, None) or "")
    assert path.read_text() == TEXT + "# mine\n"
    assert len(sent) == 1


def test_a_route_of_a_controller_s_map_is_not_taken_for_one_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(TEXT + '[[controller]]\nmap = "nanokontrol2"\n')
    file = ShowFile(path)
    reviser = Reviser(file, file.load(path.read_text()), lambda body: None, lambda said: None)
    assert reviser.own_routes == 2
    mapped = told_entry(file.load(path.read_text()), "route", 2)
    assert mapped is not None
    assert mapped["from"].startswith("/controller/nanokontrol2/")
    assert "comes from a controller's map" in (reviser.edit("route", 2, None, mapped) or "")
    assert reviser.edit("route", None, mapped) is None
    assert reviser.own_routes == 3
    assert reviser.edit("route", 2, None, mapped) is None
    assert reviser.own_routes == 2


def test_a_long_file_is_read_as_a_short_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.toml"
    path.write_text(TEXT + "# as it was\n" * 2000)
    file = ShowFile(path, {"sound_ms": 30.0, "run": test_line_ends_stay})
    cue = ("cue", None, {"number": 3})
    beside = [reading.read(file, path.read_text()), reading.read(file, path.read_text(), cue)]
    with pytest.raises(ShowError, match="did you mean 'psi'"):
        reading.read(file, path.read_text(), ("route", 0, {"from": "/a", "to": "pzi"}))
    monkeypatch.setattr(reading, "LONG", 1_000_000)
    assert beside == [reading.read(file, path.read_text()), reading.read(file, path.read_text(), cue)]
