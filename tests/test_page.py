"""The web page, built from its sources and driven in Chromium while a show plays."""

import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from engine.core.events import Control, Go, GoTo, Hold, Mark, Recall, Store
from engine.io.midi_drivers import rtmidi
from engine.latency.servers import jack_server
from engine.recording import SUFFIX, read

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "engine" / "web" / "page"
BUILT = ROOT / "engine" / "web" / "built"
SCREENSHOTS = ROOT / "build" / "screenshots"  # continuous integration keeps them
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SIZES = {"desktop": (1440, 900), "tablet": (1024, 768), "portrait": (768, 1024), "phone": (390, 844)}
LAYOUTS = {"desktop": "wide", "tablet": "tablet", "portrait": "tall", "phone": "phone"}
VIEWS = ("Levels", "Patch", "Modulators", "Presets")
SHOWN = {"desktop": VIEWS, "tablet": ("Levels", "Monitor"), "portrait": VIEWS, "phone": ("Stage", "Monitor")}
TARGET_PX = 44
SHOW = """\
# What stands in comments here is to survive every edit.
title = "Page"
musician = "none"

[web]
listen = "127.0.0.1:{web}"

[osc]
listen = "127.0.0.1:{osc}"

[[modulator]]
name = "breath"
kind = "lfo"
beats = 8                # two bars

[[route]]
from = "/modulator/breath"
to = "direction.1"

[[route]]
from = "/midi/*/cc/1"    # the wheel
to = "feedback"
range = [0.0, 0.9]

[[route]]
from = "/osc/1/fader1"   # the tablet
to = "hue"
smooth_ms = 300          # slowly

[[cue]]
number = 1
name = "Dawn"
levels = {{ psi = 0.6 }}

[[cue]]
number = 2
name = "River"
fade_s = 1
levels = {{ psi = 0.8, saturation = 1.2 }}

[[preset]]
name = "glass"
levels = {{ hue = 20.0 }}
"""


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_built_page_is_that_of_the_sources() -> None:
    """The build writes down the hashes of what it read and of what it wrote, so no Node is needed here."""
    record = json.loads((BUILT / "built.json").read_text())
    paths = [SOURCES / name for name in ("build.mjs", "package-lock.json", "package.json", "tsconfig.json")]
    paths += [path for path in (SOURCES / "src").rglob("*") if path.is_file()]
    names = sorted(str(path.relative_to(SOURCES).as_posix()) for path in paths)
    lines = "".join(f"{sha256(SOURCES / name)}  {name}\n" for name in names)
    assert record["sources"] == hashlib.sha256(lines.encode()).hexdigest(), "run make page"
    built = {path.name: sha256(path) for path in BUILT.iterdir() if path.name != "built.json"}
    assert record["built"] == built, "run make page"


def test_the_page_is_small() -> None:
    served = [path for path in BUILT.iterdir() if path.suffix in (".html", ".js", ".css", ".svg", ".woff2")]
    assert len(served) == 5
    assert sum(len(gzip.compress(path.read_bytes())) for path in served) < 60_000


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_colours_are_told_apart() -> None:
    tokens = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", (SOURCES / "src" / "page.css").read_text()))
    grounds = ("ground", "panel", "plate", "press")
    words = ("text", "quiet", "cue", "input", "modulator", "page", "well", "bad")
    for name, ground in product(words, grounds):
        assert contrast(tokens[name], tokens[ground]) >= 4.5, f"{name} on {ground}"
    for ground in grounds:
        assert contrast(tokens["edge"], tokens[ground]) >= 3.0, f"the edge of a control on {ground}"
    assert contrast(tokens["cue"], tokens["lit"]) >= 4.5
    for lit in ("text", "cue", "input", "bad"):
        assert contrast(tokens["ink"], tokens[lit]) >= 4.5, f"words on a button that is {lit}"


@dataclass
class Stage:
    """A show that plays: its page, its file, its process, its recording, and complaints of the browser."""

    url: str
    osc: int
    show: Path
    process: subprocess.Popen[str]
    folder: Path
    complaints: list[str]

    @property
    def web_worker(self) -> psutil.Process:
        """The process that listens on the page's port."""
        port = int(self.url.split(":")[2].strip("/"))
        for child in psutil.Process(self.process.pid).children(recursive=True):
            if any(each.laddr.port == port for each in child.net_connections("tcp")):
                return child
        raise AssertionError("nobody serves the page")

    @property
    def recording(self) -> Path:
        (path,) = self.folder.glob(f"*{SUFFIX}")
        return path


def free_port(kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.05)


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Play the show, through JACK where that is installed."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    folder = tmp_path_factory.mktemp("page")
    web, osc = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_DGRAM)
    show = folder / "page.toml"
    show.write_text(SHOW.format(web=web, osc=osc))
    with ExitStack() as stack:
        with_jack = shutil.which("jackd") is not None and rtmidi is not None
        before = os.environ.get("JACK_DEFAULT_SERVER")
        if with_jack:
            stack.enter_context(jack_server())
        command = [
            sys.executable,
            "-m",
            "engine",
            "play",
            str(show),
            "--headless",
            "--recordings",
            str(folder),
        ]
        command += ["--device", "jack" if with_jack else "none"]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        stage = Stage(f"http://127.0.0.1:{web}/", osc, show, process, folder, [])
        try:
            until(lambda: process.poll() is not None or answers(stage.url), 40)
            assert process.poll() is None, process.communicate()[0]
            yield stage
        finally:
            process.kill()
            process.wait(10)
            os.environ.pop("JACK_DEFAULT_SERVER", None)
            if before is not None:
                os.environ["JACK_DEFAULT_SERVER"] = before


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def open_page(browser: Browser, stage: Stage, size: str = "desktop") -> Page:
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(15_000)
    page.on("console", lambda said: stage.complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: stage.complaints.append(str(error)))
    page.on("request", lambda asked: _is_ours(asked.url, stage))
    page.goto(stage.url)
    expect(page.get_by_role("status").get_by_text("live")).to_be_visible()
    expect(page.get_by_role("heading", name="Page", exact=True)).to_be_visible()
    return page


def resize(page: Page, size: str) -> None:
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    expect(page.locator(f".page.{LAYOUTS[size]}")).to_be_visible()


def _is_ours(url: str, stage: Stage) -> None:
    if not url.startswith(stage.url):
        stage.complaints.append(f"a request to {url}")


@pytest.fixture(scope="module")
def page(browser: Browser, stage: Stage) -> Page:
    return open_page(browser, stage)


@pytest.fixture(autouse=True)
def no_complaints(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test ends without an error in the browser's console and without a request to anybody else."""
    yield
    if "stage" in request.fixturenames:
        stage = request.getfixturevalue("stage")
        complaints, stage.complaints[:] = list(stage.complaints), []
        assert not complaints


def view(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def fader(page: Page, name: str) -> Locator:
    return page.get_by_role("slider", name=name, exact=True)


LIT = """() => document.querySelector('canvas').getContext('2d').getImageData(0, 0, 99, 99)
    .data.some((value, index) => value && index % 4 < 3)"""


def cue(page: Page, name: str | re.Pattern[str]) -> Locator:
    return page.get_by_role("list", name="Cue list").get_by_role("button", name=name)


# A second show, which other machines may open: 500 cues, and a controller whose routes are not the file's.
CROWD = """\
title = "Page"
musician = "none"

[web]
listen = "0.0.0.0:{web}"

[osc]
listen = "none"

[precedence]
hue = "HTP"

[[controller]]
map = "nanokontrol2"

[[route]]
from = "/osc/1/fader1"
to = "hue"

""" + "".join(f"[[cue]]\nnumber = {n}\nlevels = {{{{ psi = 0.{n % 9} }}}}\n\n" for n in range(1, 501))


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, str, str]]:
    """Play a show that other machines may open; return the addresses for all rights and for none."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    folder, web = tmp_path_factory.mktemp("crowd"), free_port(socket.SOCK_STREAM)
    show = folder / "crowd.toml"
    show.write_text(CROWD.format(web=web))
    command = [sys.executable, "-m", "engine", "play", str(show), "--headless", "--device", "none"]
    command += ["--recordings", str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        tokens: list[str] = []
        for line in process.stdout:
            tokens += re.findall(r"token=(\S+)", line)
            if len(tokens) == 2:
                break
        stage = Stage(f"http://127.0.0.1:{web}/", 0, show, process, folder, [])
        full, view = (f"{stage.url}?token={token}" for token in tokens)
        until(lambda: answers(view), 40)
        yield stage, full, view
    finally:
        process.kill()
        process.wait(10)


def visit(browser: Browser, stage: Stage, address: str) -> Page:
    page = browser.new_page(viewport={"width": 1024, "height": 768})
    page.set_default_timeout(15_000)
    page.on("pageerror", lambda error: stage.complaints.append(str(error)))
    page.goto(address)
    expect(page.get_by_role("heading", name="Page", exact=True)).to_be_visible()
    return page


def test_who_may_only_look_on_moves_nothing(browser: Browser, crowd: tuple[Stage, str, str]) -> None:
    stage, full, view_only = crowd
    player, guest = visit(browser, stage, full), visit(browser, stage, view_only)
    assert guest.url == stage.url, "the token is not to be seen"
    expect(guest.get_by_role("status").get_by_text("view only")).to_be_visible()
    for name in ("Back", "Hold", "Blackout", re.compile("^GO"), "Learn", "Tap the tempo", "Add"):
        expect(guest.get_by_role("button", name=name, exact=isinstance(name, str))).to_be_disabled()
    level = fader(guest, "psi").get_attribute("aria-valuenow")
    fader(guest, "psi").focus()
    guest.keyboard.press("End")
    guest.evaluate("document.activeElement.blur()")
    guest.keyboard.press("Space")  # GO, where it may
    player.get_by_role("button", name=re.compile("^GO")).click()
    theirs = cue(guest, re.compile(r"^(now )?1\b"))  # and not one cue more
    expect(theirs).to_have_attribute("aria-current", "step")
    expect(fader(guest, "psi")).to_have_attribute("aria-valuenow", "0.1")
    assert level == "0.7"
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    guest.screenshot(path=SCREENSHOTS / "tablet-view-only.png")
    guest.close()
    player.close()


def test_a_go_among_500_cues_is_seen_at_once(browser: Browser, crowd: tuple[Stage, str, str]) -> None:
    page = visit(browser, crowd[0], crowd[1])
    page.evaluate("""() => {
        window.drawn = new Set()
        const told = (changes) => changes.forEach(({ target }) => drawn.add(target.closest('li')))
        const list = document.querySelector('.cues ol')
        new MutationObserver(told).observe(list, { attributes: true, childList: true, subtree: true })
    }""")
    cue(page, re.compile(r"^400\b")).click()
    page.get_by_role("button", name="Go to 400").click()
    here = page.locator(".cue.here")
    expect(here).to_contain_text("400")
    expect(here).to_be_in_viewport()
    lines = page.evaluate("drawn.size")
    assert lines < 9, f"{lines} of 500 lines were drawn again"
    page.close()


def test_a_route_of_a_controller_s_map_is_none_of_the_file(
    browser: Browser, crowd: tuple[Stage, str, str]
) -> None:
    stage, full, _ = crowd
    page = visit(browser, stage, full)
    view(page, "Patch")
    mapped = page.get_by_role("row").filter(has_text="of the map nanokontrol2")
    count = mapped.count()
    assert count > 1
    expect(page.get_by_role("row", name="/osc/1/fader1")).not_to_contain_text("of the map")
    source = mapped.first.get_by_role("button").inner_text()
    mapped.first.get_by_role("button").click()
    sheet = page.get_by_role("dialog")
    expect(sheet.get_by_role("heading")).to_have_text("A new route")
    expect(sheet.get_by_role("button", name="Remove")).to_be_hidden()
    sheet.get_by_label("to", exact=True).fill("bloom")
    sheet.get_by_role("button", name="Save").click()
    expect(sheet).to_be_hidden(timeout=20_000)
    expect(mapped).to_have_count(count - 1)
    expect(page.get_by_role("row", name=source)).to_contain_text("bloom")
    routes = tomllib.loads(stage.show.read_text())["route"]
    assert [(each["from"], each["to"]) for each in routes] == [("/osc/1/fader1", "hue"), (source, "bloom")]
    page.close()


def test_what_wins_is_seen(browser: Browser, crowd: tuple[Stage, str, str]) -> None:
    page = visit(browser, crowd[0], crowd[1])
    expect(page.get_by_role("region", name="Parameter psi")).to_contain_text("LTP: the latest counts")
    page.get_by_label("Find a parameter").fill("rotation of the hue")
    fader(page, "hue").click()
    expect(page.get_by_role("region", name="Parameter hue")).to_contain_text("HTP: the highest counts")
    page.close()


def test_who_is_not_let_in_any_more_is_told_so(browser: Browser, crowd: tuple[Stage, str, str]) -> None:
    stage, full, _ = crowd
    page = visit(browser, stage, full)
    page.context.clear_cookies()  # as good as the code of another run
    stage.web_worker.send_signal(signal.SIGKILL)
    expect(page.get_by_role("status").get_by_text("not let in")).to_be_visible(timeout=20_000)
    expect(page.get_by_role("alert").get_by_text("with a new code: scan it")).to_be_visible()
    assert page.locator("main").evaluate("main => main.inert")
    page.screenshot(path=SCREENSHOTS / "tablet-not-let-in.png")
    page.close()


def test_it_shows_the_show(page: Page, stage: Stage) -> None:
    expect(cue(page, "2 River")).to_be_visible()
    expect(fader(page, "psi")).to_have_attribute("aria-valuemax", "1.5")
    page.wait_for_function(LIT)  # the picture comes, and is not black


def test_a_fader_moves_the_show_and_every_page(page: Page, browser: Browser, stage: Stage) -> None:
    other = open_page(browser, stage, "tablet")
    plate = fader(page, "noise").bounding_box()
    assert plate is not None
    page.mouse.move(plate["x"] + plate["width"] / 2, plate["y"] + plate["height"] / 2)
    page.mouse.down()
    page.mouse.move(plate["x"] + plate["width"] - 8, plate["y"] + plate["height"] / 2, steps=6)
    page.mouse.up()
    level = fader(page, "noise").get_attribute("aria-valuenow")
    assert level is not None
    assert 1.5 < float(level) <= 2.0
    expect(fader(other, "noise")).to_have_attribute("aria-valuenow", level)
    expect(fader(other, "noise")).to_contain_text("web")  # who moved it
    fader(page, "noise").dblclick()
    expect(fader(other, "noise")).to_have_attribute("aria-valuenow", "1")
    fader(other, "noise").focus()
    other.keyboard.press("End")
    expect(fader(page, "noise")).to_have_attribute("aria-valuenow", "2")
    other.keyboard.press("Delete")
    expect(fader(page, "noise")).to_have_attribute("aria-valuenow", "1")
    other.close()


def test_go_begins_the_cue(page: Page) -> None:
    page.get_by_role("button", name=re.compile("^GO")).click()
    expect(cue(page, "1 Dawn")).to_have_attribute("aria-current", "step")
    expect(fader(page, "psi")).to_contain_text("cue 1")
    cue(page, "2 River").click()
    page.get_by_role("button", name="Go to 2").click()
    expect(fader(page, "psi")).to_have_attribute("aria-valuenow", "0.8")
    page.get_by_role("button", name="Hold").click()
    expect(page.get_by_role("button", name="Hold")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Hold").click()
    expect(page.get_by_role("button", name="Hold")).to_have_attribute("aria-pressed", "false")


def test_presets_are_stored_and_recalled_and_takes_have_names(page: Page) -> None:
    view(page, "Presets")
    page.get_by_role("radio", name="0", exact=True).check()
    page.get_by_role("button", name="Recall glass").click()
    page.get_by_label("Name of the preset").fill("mine")
    page.get_by_role("button", name="Store").click()
    expect(page.get_by_role("button", name="Recall mine")).to_be_visible()
    page.get_by_label("Name of the take").fill("first")
    page.get_by_role("button", name="Take").click()
    expect(page.get_by_role("button", name="Take")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Take").click()
    expect(page.get_by_label("What to render")).to_contain_text("first")
    view(page, "Presets")
    page.get_by_role("button", name="Edit mine").click()
    sheet = page.get_by_role("dialog")
    sheet.get_by_label("name", exact=True).fill("yours")
    sheet.get_by_role("button", name="Save").click()
    expect(page.get_by_role("button", name="Recall yours")).to_be_visible()
    expect(page.get_by_role("button", name="Recall mine")).to_be_hidden()
    page.get_by_role("button", name="Edit yours").click()
    sheet.get_by_role("button", name="Remove").click()
    sheet.get_by_role("button", name="Remove it from the file").click()
    expect(page.get_by_role("button", name="Recall yours")).to_be_hidden()
    expect(page.get_by_role("button", name="Recall glass")).to_be_visible()
    view(page, "Levels")
    page.get_by_label("Find a parameter").fill("rotation of the hue")
    expect(fader(page, "hue")).to_have_attribute("aria-valuenow", "20")
    expect(fader(page, "hue")).to_contain_text("preset glass")
    page.get_by_label("Find a parameter").fill("")


@pytest.mark.jack
def test_it_learns_a_knob(page: Page, stage: Stage) -> None:
    if rtmidi is None or "JACK_DEFAULT_SERVER" not in os.environ:
        pytest.skip("needs jackd and python-rtmidi")
    knob = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, name="Knobs")
    knob.open_virtual_port("out")
    try:
        time.sleep(1.5)  # until the engine has found the port
        view(page, "Levels")
        fader(page, "mix.fine").click()
        page.get_by_role("button", name="Learn").click()
        for value in range(0, 128, 8):
            knob.send_message([0xB0, 74, value])
            time.sleep(0.03)
        learning = page.get_by_role("status", name="Learn")
        expect(learning).to_contain_text("/midi/1/cc/74")
        learning.get_by_role("radio", name="exponential").check()
        learning.get_by_role("button", name="Patch it").click()
        expect(learning).to_be_hidden()
        knob.send_message([0xB0, 74, 127])
        expect(fader(page, "mix.fine")).to_have_attribute("aria-valuenow", "1")
        expect(fader(page, "mix.fine")).to_contain_text("/midi/1/cc/74")
    finally:
        knob.close_port()
        knob.delete()
    text = stage.show.read_text()
    assert re.search(r'from = "/midi/1/cc/74"\s+to = "mix.fine"\s+curve = "exponential"', text)


def test_an_edited_route_is_in_the_file_with_its_comments(page: Page, stage: Stage) -> None:
    view(page, "Patch")
    page.get_by_role("button", name="/osc/1/fader1").click()
    sheet = page.get_by_role("dialog")
    sheet.get_by_label("to", exact=True).fill("huw")
    sheet.get_by_role("button", name="Save").click()
    expect(sheet.get_by_role("alert")).to_contain_text("did you mean 'hue'?")
    sheet.get_by_label("to", exact=True).fill("hue")
    sheet.get_by_label("range", exact=True).fill("-90, 90")
    sheet.get_by_role("button", name="Save").click()
    expect(sheet).to_be_hidden()
    expect(page.get_by_role("row", name="/osc/1/fader1")).to_contain_text("\u221290 to 90")
    text = stage.show.read_text()
    assert "range = [-90" in text
    for comment in re.findall("#.*", SHOW):
        assert comment in text


def test_a_dead_server_costs_a_moment(page: Page, stage: Stage) -> None:
    stage.web_worker.send_signal(signal.SIGKILL)
    expect(page.get_by_role("alert").get_by_text("out of reach")).to_be_visible()
    expect(page.get_by_role("alert").get_by_text("out of reach")).to_be_hidden(timeout=20_000)
    expect(page.get_by_role("status").get_by_text("live")).to_be_visible()
    view(page, "Levels")
    fader(page, "mix.coarse").focus()
    page.keyboard.press("End")
    other = fader(page, "mix.coarse")
    expect(other).to_contain_text("web")
    expect(other).to_have_attribute("aria-valuenow", "1")
    # A browser tells of each try that nobody answered.
    stage.complaints[:] = [each for each in stage.complaints if "ERR_CONNECTION" not in each]


# What can be reached by Tab: of a group of radio buttons one, of tabs the one that is chosen.
CONTROLS = """() => {
    const all = [...document.querySelectorAll('button, input, select, [tabindex]')]
    return all.filter((each) => !each.disabled && !each.closest('[inert]') && each.getClientRects().length
        && (each.tabIndex >= 0 || each.role !== 'tab') && (each.type !== 'radio' || each.checked))
        .map((each) => [each, each.closest('label') ?? each])
}"""
MARK = f"""() => ({CONTROLS})().map(([each, target], index) => {{
    each.dataset.control = index
    const {{ width, height }} = target.getBoundingClientRect()
    return [each.ariaLabel || each.innerText || each.className, width, height]
}})"""
# Contrast of the words in their place, by WCAG; disabled controls are left out, as there.
FAINT = """() => {
    const parse = (colour) => colour.match(/[\\d.]+/g).map(Number)
    const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
        .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0)
    const ground = (each) => {
        for (; each; each = each.parentElement) {
            const colour = parse(getComputedStyle(each).backgroundColor)
            if (colour.length < 4 || colour[3] > 0.8) return colour
        }
        return [0, 0, 0]
    }
    const faint = []
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    while (walk.nextNode()) {
        const each = walk.currentNode.parentElement
        if (!walk.currentNode.data.trim() || !each.checkVisibility({ visibilityProperty: true })) continue
        if (each.closest(':disabled, script, style, noscript, option')) continue
        const [one, other] = [light(parse(getComputedStyle(each).color)), light(ground(each))]
        const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05)
        if (ratio < 4.5) faint.push(`${walk.currentNode.data}: ${ratio.toFixed(2)}`)
    }
    return faint
}"""


def tabbed(page: Page, controls: int) -> set[int]:
    """Press Tab all the way round; return the controls that had the focus."""
    page.evaluate("document.activeElement.blur()")
    seen: set[int] = set()
    for _ in range(controls + 20):
        page.keyboard.press("Tab")
        at = page.evaluate("document.activeElement.dataset.control")
        if at is not None:
            seen.add(int(at))
    return seen


@pytest.mark.parametrize("size", ["desktop", "portrait", "phone"])
def test_every_control_has_a_name_a_size_and_the_keyboard(page: Page, stage: Stage, size: str) -> None:
    resize(page, size)
    for name in SHOWN[size]:
        view(page, name)
        page.wait_for_timeout(200)
        controls = page.evaluate(MARK)
        assert len(controls) > 8
        small = [each for each in controls if each[1] < TARGET_PX - 0.5 or each[2] < TARGET_PX - 0.5]
        assert not small, f"too small for a finger in {name}"
        missed = set(range(len(controls))) - tabbed(page, len(controls))
        assert not missed, f"out of reach of Tab in {name}: {[controls[each] for each in missed]}"
        tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
        nameless = [
            node["role"]["value"]
            for node in tree
            if not node["ignored"] and not node.get("name", {}).get("value") and _is_focusable(node)
        ]
        assert not nameless, f"without a name in {name}: {nameless}"
        assert not page.evaluate(FAINT), f"hard to read in {name}"
    resize(page, "desktop")


def _is_focusable(node: dict) -> bool:
    properties = {each["name"]: each["value"].get("value") for each in node.get("properties", ())}
    return bool(properties.get("focusable")) and node["role"]["value"] != "RootWebArea"


def test_nothing_moves_for_those_who_want_no_motion(page: Page) -> None:
    view(page, "Levels")
    page.get_by_role("button", name="Learn").click()
    moving = "document.getAnimations().length"
    assert page.evaluate(moving) == 1
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(moving) == 0
    page.get_by_role("button", name="Cancel").click()


def test_it_has_its_portraits_taken(page: Page, stage: Stage) -> None:
    """No check looks at them: people do."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for size in SIZES:
        resize(page, size)
        for name in ("Levels", "Patch"):
            view(page, name)
            page.screenshot(path=SCREENSHOTS / f"{size}-{name.lower()}.png")
    assert all((SCREENSHOTS / f"{size}-levels.png").stat().st_size > 10_000 for size in SIZES)
    resize(page, "desktop")


def test_what_the_page_did_is_in_the_recording(stage: Stage) -> None:
    stage.process.send_signal(signal.SIGINT)
    stage.process.wait(20)
    said = [event for event in read(stage.recording).events if event.source == "web"]
    assert {Go, GoTo, Hold, Store, Recall, Mark} <= {type(event.body) for event in said}
    moved = {event.body.address for event in said if isinstance(event.body, Control)}
    assert {"/chladni/parameter/noise", "/chladni/parameter/mix.coarse"} <= moved
    command = [sys.executable, "-m", "engine", "verify", str(stage.recording)]
    verified = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert verified.returncode == 0, verified.stdout + verified.stderr
