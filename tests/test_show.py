"""Show files: what is right is taken, what is wrong is named with its line and its remedy."""

import json
from pathlib import Path

import pytest

from engine.core.parameters import PARAMETERS
from engine.core.show import Show, ShowError, line_of, parse

GOOD = """
title = "A show"
fps = 60

[tempo]
bpm = 120

[[route]]
from = "/midi/*/cc/1"
to = "psi"

[[cue]]
number = 1

[cue.levels]
psi = 0.5
"feedback.zoom" = 1.0
"""


def error(text: str) -> str:
    with pytest.raises(ShowError) as caught:
        parse(text, "a.toml")
    return str(caught.value)


def test_a_good_show() -> None:
    show = parse(GOOD, "a.toml")
    assert show.frame_ticks == 4
    assert show.route[0].source == "/midi/*/cc/1"
    assert show.cue[0].levels == {"psi": 0.5, "feedback.zoom": 1.0}


def test_a_show_survives_the_recording() -> None:
    show = parse(GOOD, "a.toml")
    again = type(show).model_validate(json.loads(json.dumps(show.model_dump(mode="json", by_alias=True))))
    assert again == show


@pytest.mark.parametrize(
    ("wrong", "right", "expected"),
    [
        ("fps = 60", "fps = 50", "a.toml:3: fps: 50 does not divide 240; these do: 12, 15, 16"),
        ("bpm = 120", "bpn = 120", "a.toml:6: tempo.bpn: no such key; did you mean 'bpm'?"),
        (
            "bpm = 120",
            "bpm = 1000",
            "a.toml:6: tempo.bpm: input should be less than or equal to 300, found 1000",
        ),
        ('to = "psi"', 'to = "pssi"', "a.toml:10: route[0].to: no parameter 'pssi'; did you mean 'psi'?"),
        ("psi = 0.5", "psi = 7", "a.toml:16: cue[0].levels.psi: 7 is outside 0 to 1.5"),
        (
            "psi = 0.5",
            "pssi = 0.5",
            "a.toml:16: cue[0].levels.pssi: no parameter 'pssi'; did you mean 'psi'?",
        ),
        ("fps = 60", "fps = 60\nopening = 3", "a.toml:4: opening: no cue 3; there are 1"),
        ("fps = 60", 'fps = "60"', "a.toml:3: fps: this is to be a whole number, found '60'"),
        ("bpm = 120", "bpm = true", "a.toml:6: tempo.bpm: this is to be a number, found true"),
        ("[tempo]", "[[rout]]\nto = 1\n[tempo]", "a.toml:5: rout: no such key; did you mean 'route'?"),
        (
            'to = "psi"',
            'to = "psi"\nrange = [0, 1, 2]',
            "a.toml:11: route[0].range: this is to have 2 at most",
        ),
        ('to = "psi"', 'to = "psi"\ncues = [true]', "found true; or this is to be a text"),
        (
            "fps = 60",
            "fps = sixty",
            "a.toml:3: this is no TOML: Invalid value (at line 3, column 7): a text is",
        ),
        ("[tempo]", '[precedence]\n"hu" = "HTP"\n[tempo]', "a.toml:6: precedence.hu: no parameter 'hu'"),
        (
            "[tempo]",
            '[[preset]]\nname = "a"\nlevels = {}\n[[preset]]\nname = "a"\nlevels = {}\n[tempo]',
            "a.toml:9: preset[1].name: there is another preset 'a'",
        ),
        ("number = 1", 'name = "x"', "a.toml:12: cue[0].number: this key is missing"),
        ('title = "A show"', "", "a.toml:1: title: this key is missing"),
        ("fps = 60", "fps = ", "a.toml:3: this is no TOML"),
        ("fps = 60", "fps = 60\npicture_ms = 12", "picture_ms = 12 is less than a frame"),
        ("[[cue]]", "[cue]", "cue: this is to be a list: [ ... ], or [[ ... ]] above each table of a list"),
        (
            'to = "psi"',
            'to = "psi"\nrange = [0.0, nan]',
            "a.toml:11: route[0].range[1]: input should be a finite",
        ),
        ("[tempo]", "[sound]\ndevice_latency_ms = -5\n[tempo]", "a.toml:6: sound.device_latency_ms: "),
        ("[tempo]", '[osc]\nlisten = "nowhere"\n[tempo]', "a.toml:6: osc.listen: 'nowhere' is no host:port"),
    ],
)
def test_an_error_names_line_key_found_and_remedy(wrong: str, right: str, expected: str) -> None:
    assert expected in error(GOOD.replace(wrong, right, 1))


def test_every_error_is_named_at_once() -> None:
    lines = error('title = "x"\nfps = 7\nsound_ms = "soon"\n').splitlines()
    assert [line.split(":")[1] for line in lines] == ["2", "3"]


def test_a_show_can_do_without() -> None:
    show = parse('title = "x"\nmusician = "none"\n[osc]\nlisten = "none"\n', "a.toml")
    assert show.musician is None
    assert show.osc.listen is None


def test_cue_numbers_ascend() -> None:
    assert "ascend, found 2, 1" in error('title = "x"\n[[cue]]\nnumber = 2\n[[cue]]\nnumber = 1\n')


def test_lines_of_tables_arrays_and_sub_tables() -> None:
    assert line_of(GOOD, ["cue", 0, "levels", "psi"]) == 16
    assert line_of(GOOD, ["cue", 0, "levels", "feedback.zoom"]) == 17
    assert line_of(GOOD, ["route", 0]) == 8


def test_the_documentation_lists_every_parameter_and_key() -> None:
    text = (Path(__file__).parent.parent / "docs" / "show.md").read_text()
    for parameter in PARAMETERS:
        row = (
            f"| `{parameter.name}` | {parameter.minimum:g} | {parameter.maximum:g} | {parameter.default:g} |"
        )
        assert row in text
    for key in Show.model_fields:
        assert f"`{key}`" in text or f"[{key}]" in text, key
