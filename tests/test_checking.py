"""A show begun and checked by the command: what is wrong is named, and what has no effect."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from staged import ROOT

from engine.checking import Finding, check
from engine.core.show import ShowError
from engine.show_file import ShowFile

SHOW = """\
title = "x"
text = "songs"
opening = 1
[[route]]
from = "/midi/*/cc/1"
to = "psi"

[[cue]]
number = 1
autofollow_s = 9
levels = { psi = 0.5, "walk.speed" = 1.0 }

[[cue]]
number = 2
follow_bars = 2
"""


def findings(folder: Path, text: str) -> list[Finding]:
    path = folder / "a.toml"
    path.write_text(text)
    return check(ShowFile(path))


def chladni(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "engine", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=folder, env=environment)


@pytest.mark.parametrize("show", sorted((ROOT / "shows").glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_shows_have_nothing_wrong_with_them(show: Path) -> None:
    assert check(ShowFile(show)) == []


def test_a_right_show_is_right(tmp_path: Path) -> None:
    assert findings(tmp_path, SHOW) == []


@pytest.mark.parametrize(
    ("added", "line", "text"),
    [
        (
            '[performer]\nfile = "none.mid"',
            18,
            "performer.file: {folder}/none.mid: No such file or directory",
        ),
        (
            '[picture]\nsource = "none.png"',
            18,
            "picture.source: '{folder}/none.png': no such picture or folder",
        ),
        ('[audio]\ndevice = "none.wav"', 18, "audio.device: there is no file {folder}/none.wav"),
        ('[sound]\nsoundfont = "none.sf2"', 18, "sound.soundfont: there is no file {folder}/none.sf2"),
        (
            '[[controller]]\nmap = "nano"',
            18,
            "controller[0].map: no controller map 'nano'; there are apc_mini",
        ),
        ('[[network]]\nname = "piano"', 18, "network[0].name: 'piano' is no effect, but a model of kind"),
        (
            '[[cue]]\nnumber = 3\nfollow_s = 1\ngenerator = "nobody"',
            20,
            "cue[2].generator: there is no model 'no",
        ),
    ],
)
def test_what_keeps_it_from_playing_is_an_error(tmp_path: Path, added: str, line: int, text: str) -> None:
    (finding,) = findings(tmp_path, f"{SHOW}\n{added}\n")
    assert (finding.line, finding.error) == (line, True)
    assert finding.text.startswith(text.format(folder=tmp_path))


@pytest.mark.parametrize(
    ("added", "line", "text"),
    [
        (
            '[[route]]\nfrom = "/midi/1/bent"\nto = "hue"',
            18,
            "route[1].from: no device sends this; did you mean",
        ),
        (
            '[[route]]\nfrom = "/audio/low"\nto = "hue"',
            18,
            "route[1].from: the show does not listen: it has no [au",
        ),
        (
            '[[route]]\nfrom = "/midi/3/cc/1"\nto = "psi"',
            17,
            "route[1]: route[0] sets psi from this source too",
        ),
        (
            '[[route]]\nfrom = "/beat"\nto = "network.2"',
            19,
            "route[1].to: network.2 moves nothing: the show has 0",
        ),
        (
            '[[route]]\nfrom = "/beat"\nto = "bend.1.x"',
            19,
            "route[1].to: bend.1.x moves nothing: the generators",
        ),
        (
            '[[preset]]\nname = "p"\nlevels = { picture = 1.0 }',
            19,
            "preset[0].levels.picture: picture moves not",
        ),
        ("[[cue]]\nnumber = 3", 17, "cue[2]: every other cue follows on by itself; here the show stays"),
        (
            '[[route]]\nfrom = "/audo/low"\nto = "hue"',
            18,
            "route[1].from: no device sends this; did you mean '/audio/low'?",
        ),
        ("[safety]\nflashes_per_second = 9", 18, "safety.flashes_per_second: 9 can harm: more than three"),
    ],
)
def test_what_has_no_effect_is_a_warning(tmp_path: Path, added: str, line: int, text: str) -> None:
    (finding,) = findings(tmp_path, f"{SHOW}\n{added}\n")
    assert (finding.line, finding.error) == (line, False)
    assert finding.text.startswith(text)


def test_a_list_that_nobody_begins_is_named(tmp_path: Path) -> None:
    (finding,) = findings(tmp_path, SHOW.replace("opening = 1", ""))
    assert (finding.line, finding.error) == (8, False)
    assert finding.text.endswith("nobody begins them: opening = 1 would")


def test_a_contract_that_nothing_can_keep_is_named(tmp_path: Path) -> None:
    (finding,) = findings(tmp_path, SHOW.replace('title = "x"', 'title = "x"\nsound_ms = 3'))
    assert (finding.line, finding.error) == (2, False)
    assert finding.text.startswith("sound_ms: 3 ms can't be kept: a note takes 5 ms to the synth")


def test_what_is_no_text_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes('title = "x"\ntext = "Größe"\n'.encode("latin-1"))
    with pytest.raises(ShowError, match=r"a\.toml:2: no UTF-8, byte 0xf6: save it as UTF-8"):
        check(ShowFile(tmp_path / "a.toml"))
    (tmp_path / "a.toml").write_text(SHOW, encoding="utf-8-sig")
    assert check(ShowFile(tmp_path / "a.toml")) == [], "a byte order mark is no part of it"


def test_what_needs_a_part_that_is_left_out_is_named(tmp_path: Path) -> None:
    bare = 'opening = 1\nmusician = "none"\n[osc]\nlisten = "none"'
    without = SHOW.replace('text = "songs"\nopening = 1', bare) + 'text = "love"\n'
    routes = "".join(
        f'[[route]]\nfrom = "{source}"\nto = "{to}"\n'
        for source, to in (("/musician/gate", "hue"), ("/osc/1", "bloom"), ("/bar", "musician.swing"))
    )
    assert [each.text for each in findings(tmp_path, without + routes)] == [
        "cue[1].text: nobody writes it: the show has no text model",
        "route[1].from: the show has no musician",
        "route[2].from: the show hears no OSC: osc.listen is none",
        "route[3].to: musician.swing moves nothing: the show has no musician",
    ]


def test_every_source_that_the_documentation_names_is_known(tmp_path: Path) -> None:
    sources = (
        *("/midi/1/nrpn/300", "/midi/*/poly/60", "/osc/1/fader1:1", "/keys/k", "/pad/0/hat/0/x", "*"),
        *("/mouse/button/1", "/*/velocity", "/notes/drums", "/controller/nanokontrol2/fader/8"),
    )
    routes = "".join(f'[[route]]\nfrom = "{source}"\nto = "psi"\nmode = "add"\n' for source in sources)
    text = f'{SHOW}[[controller]]\nmap = "nanokontrol2"\n{routes}'
    assert [each.text for each in findings(tmp_path, text)] == []


def test_every_error_is_told_at_once_and_the_status_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('title = "x"\nfps = 7\nsedd = 2\n')
    result = chladni(tmp_path, "check", "a.toml")
    assert result.returncode == 1
    assert [line.partition(" should")[0] for line in result.stdout.splitlines()] == [
        "a.toml:2: error: fps: input",
        "a.toml:3: error: sedd: no such key; did you mean 'seed'?",
    ]
    (tmp_path / "a.toml").write_text(f"{SHOW}[safety]\nflashes_per_second = 4\n")
    assert chladni(tmp_path, "check", "a.toml").returncode == 0
    assert chladni(tmp_path, "check", "a.toml", "--strict").returncode == 1
    assert chladni(tmp_path, "check", "first_light").returncode == 0, "shipped shows are known by name"
    assert chladni(tmp_path, "check", "none.toml").stderr == "none.toml: No such file or directory\n"
    shipped = "shows that come with Chladni: duet, first_light, sensor_room, silent_disco, vj_set"
    nowhere = chladni(tmp_path, "play", "vj_sett").stderr
    assert nowhere == f"vj_sett: No such file or directory; {shipped}\n"
    assert chladni(tmp_path, "check", "a").returncode == 0, "and one's own without .toml"


def test_whoever_has_read_enough_of_it_may_close_the_pipe() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "engine", "schema"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, cwd=ROOT)
    os.close(writing)
    assert "BrokenPipe" not in done.stderr


def test_a_new_show_plays_and_writes_over_nothing(tmp_path: Path) -> None:
    result = chladni(tmp_path, "new", 'my "own"')
    assert result.returncode == 0, result.stderr
    path = tmp_path / 'my "own".toml'
    assert result.stdout == f"wrote {path.name}; chladni play '{path.name}' plays it\n"
    assert check(ShowFile(path)) == []
    assert ShowFile(path).load(path.read_text()).title == 'My "own"'
    nobody = chladni(tmp_path, "new", ".").stderr
    assert nobody == "'.' is no name of a file; one would be: chladni new mine\n"
    again = chladni(tmp_path, "new", 'my "own".toml')
    assert (again.returncode, again.stderr) == (
        1,
        'my "own".toml is there already; another name would be right\n',
    )
    played = chladni(
        tmp_path, "play", path.name, "--headless", "--seconds", 3, "--device", "none", "--no-web"
    )
    assert played.returncode == 0, played.stderr
    (recording,) = (tmp_path / "recordings").glob("*.chladni")
    assert chladni(tmp_path, "verify", recording).returncode == 0
