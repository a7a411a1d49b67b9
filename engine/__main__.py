"""The command `chladni`."""

import argparse
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import __version__

if TYPE_CHECKING:
    from engine.io.performer import Performer
    from engine.io.window import Presenter
    from engine.recording import Recording
    from engine.session import Session, Stage
    from engine.show_file import ShowFile
    from engine.web.guard import Role
    from engine.workers.web import WebConfig

# Heavy imports stand inside the commands that need them: a worker process imports this module too, and
# the first picture is to be on the screen within three seconds of the command.

SHOWS = Path(__file__).resolve().parents[1] / "shows"  # in the tree as where it is installed
DEMO = SHOWS / "first_light.toml"
CHECKPOINTS = (".pkl", ".pt", ".pth", ".safetensors")
SCREENLESS_S = 20.0  # how long `play` plays where there is no screen
_ERROR = 1
_TERMINATED = 128 + signal.SIGTERM  # as shells have it
_BROKEN = 3  # the show ended by a fault of its own, or there is no screen yet: try again


class Failure(Exception):
    """A command can't do what it is asked; the text is for the user."""


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def _count(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 100000")
    return int(text)


def _output(text: str) -> Path:
    path = Path(text)
    if not path.parent.is_dir() or path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} can't be written: its folder is to be there")
    return path


def _film(text: str) -> Path:
    path = _output(text)
    if path.suffix not in (".mp4", ".mkv", ".mov"):
        raise argparse.ArgumentTypeError(f"{text!r} is no film: .mp4, .mkv or .mov")
    return path


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} is no size, as in 1280x720")
    return int(width), int(height)


def _has_screen() -> bool:
    return sys.platform in ("darwin", "win32") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )


def _show_file(arguments: argparse.Namespace, path: str | Path | None = None) -> "ShowFile":
    from engine.show_file import ShowFile

    return ShowFile(_find(str(path or arguments.show)), vars(arguments))


def _find(name: str) -> Path:
    """Return the path of a show: a file, with .toml or without, or the name of one that is shipped."""
    path = Path(name)
    places = (path, path.with_name(f"{path.name}.toml"), SHOWS / f"{name}.toml")
    return next((place for place in places if place.is_file()), path)


def _load_show(file: "ShowFile") -> Any:
    from engine.core.show import ShowError

    try:
        return file.load(file.read())
    except ShowError as error:
        raise Failure(f"{error}{_shipped(file.path)}") from None


def _shipped(missing: Path) -> str:
    """Return what could have been meant, where there is no such file and it was no path."""
    if missing.exists() or missing.name != str(missing):
        return ""
    return f"; shows that come with Chladni: {', '.join(sorted(path.stem for path in SHOWS.glob('*.toml')))}"


def _performer(show: Any, path: Path, perform: str | None) -> "Performer | None":
    from engine.io.performer import Performer, load

    if perform == "none":
        return None
    file = Path(perform) if perform else show.performer and path.parent / show.performer.file
    if not file:
        return None
    try:
        return Performer(load(file), loop=perform is None)
    except ValueError as error:
        from engine.core.show import line_of

        where = (
            "" if perform else f"{path}:{line_of(path.read_text(), ['performer', 'file'])}: performer.file: "
        )
        raise Failure(f"{where}{error}") from None


def _whole(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65_536:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to 65535")
    return int(text)


def _presenter(show: Any, arguments: argparse.Namespace) -> "Presenter":
    from engine.io.window import Headless, Window
    from engine.library import generators

    if arguments.headless or not _has_screen():
        return Headless(arguments.size)
    try:
        return Window(
            show.title, arguments.size, arguments.display, arguments.fullscreen, generators=generators()
        )
    except RuntimeError as error:
        print(f"no window: {error}; playing without one", file=sys.stderr)
        return Headless(arguments.size)


def _perform(session: "Session", arguments: argparse.Namespace) -> dict[str, Any]:
    """Run a session under the signals of a terminal and print its report."""
    from engine.report import collect, table, write

    def stop(*_: Any) -> None:
        session.stop.set()

    before = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, lambda *_: session.ask_report())
    session.on_report = lambda: print(table(collect(session)), flush=True)
    try:
        session.run()
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
    report = collect(session)
    print(table(report), flush=True)
    if arguments.report:
        try:
            write(report, arguments.report)
        except OSError as error:
            raise Failure(f"{arguments.report}: {error.strerror or error}") from None
    return report


def _session(show: Any, stage: "Stage", presenter: "Presenter") -> "Session":
    from engine.library import NoModel
    from engine.session import Session

    try:
        return Session(show, stage, presenter)
    except (NoModel, ValueError) as error:
        presenter.close()
        raise Failure(str(error)) from None


def play(arguments: argparse.Namespace) -> int:
    """Perform a show live."""
    from engine.recording import SUFFIX, default_folder
    from engine.service import prune
    from engine.session import Stage

    started_us = _command_started_us()
    file = _show_file(arguments)
    path, show = file.path, _load_show(file)
    performer = _performer(show, path, arguments.perform)
    arguments.fullscreen = arguments.fullscreen or arguments.unattended
    presenter = _presenter(show, arguments)
    from engine.io.window import Headless

    screenless = isinstance(presenter, Headless)
    if screenless and arguments.unattended and not arguments.headless:
        print("no screen yet", file=sys.stderr)
        return _BROKEN
    seconds = arguments.seconds or (SCREENLESS_S if screenless and not arguments.headless else None)
    film = arguments.film or (Path(f"{path.stem}.mp4") if screenless and not arguments.headless else None)
    folder = Path(arguments.recordings) if arguments.recordings else default_folder()
    recording = folder / f"{path.stem}-{datetime.now():%Y-%m-%d-%H%M%S-%f}{SUFFIX}"
    stage = Stage(
        provider=arguments.provider, file=file, seconds=seconds, recording=recording, performer=performer,
        started_us=started_us, health_port=arguments.health, marked=arguments.marker,
        page=_page(show, path) if show.web.enabled and not arguments.no_web else None,
    )  # fmt: skip
    if arguments.keep:
        prune(folder, SUFFIX, arguments.keep - 1)
    session = _session(show, stage, presenter)
    print(f"playing {show.title!r}; recording to {recording}", flush=True)
    try:
        _perform(session, arguments)
    finally:
        presenter.close()
    if film:
        print(f"no screen: rendering what was played to {film}", flush=True)
        _render(_read(str(recording)), film, arguments.size, show.fps, "good", arguments.provider)
    return _BROKEN if session.broken else 0


def _page(show: Any, path: Path) -> "WebConfig":
    """Return where the page is served, and say so; other machines get in by a token of this run."""
    import secrets

    from engine.library import generators
    from engine.web.guard import is_loopback
    from engine.workers.web import WebConfig

    host, port = show.web.listen.rsplit(":", 1)
    roles: tuple[Role, ...] = () if is_loopback(host) else ("full", "view")
    tokens = tuple((secrets.token_urlsafe(16), role) for role in roles)
    config = WebConfig(host, int(port), show.web.hosts, tokens, path.name, tuple(generators()))
    if not tokens:
        print(f"page: http://{host}:{port}", flush=True)
        return config
    from engine.web.address import qr_text, url

    full, view = (url(config, config.port, token) for token, _ in tokens)
    print(f"{qr_text(full)}page: {full}\nfor those who may only look on: {view}", flush=True)
    return config


def replay(arguments: argparse.Namespace) -> int:
    """Perform a recording again, live."""
    from engine.session import Stage

    recording = _read(arguments.file)
    presenter = _presenter(recording.show, arguments)
    stage = Stage(
        provider=arguments.provider, seconds=arguments.seconds, replay=recording,
        started_us=_command_started_us(),
    )  # fmt: skip
    session = _session(recording.show, stage, presenter)
    try:
        _perform(session, arguments)
    finally:
        presenter.close()
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Compare a recording's digests with the core's."""
    from engine.offline import verify as check

    recording = _read(arguments.file)
    verdict = check(recording)
    length = f"{recording.end_tick / 240:.1f} s, {len(recording.events)} events"
    if verdict.differs_at is not None:
        at = verdict.differs_at / 240
        print(f"{arguments.file}: {length}: the state differs at {at:.0f} s (tick {verdict.differs_at})")
        return _ERROR
    if verdict.agreed < verdict.seconds or not verdict.seconds:
        print(f"{arguments.file}: {length}: {verdict.agreed} of {verdict.seconds} digests could be compared")
        return _ERROR
    torn = "; its last line was torn" if recording.torn else ""
    print(f"{arguments.file}: {length}: all {verdict.agreed} digests agree{torn}")
    return 0


def render(arguments: argparse.Namespace) -> int:
    """Render a recording to a film."""
    recording = _read(arguments.file)
    fps = arguments.fps or recording.show.fps
    if recording.end_tick < 240 // fps:
        raise Failure(f"{arguments.file}: there is nothing to render in it")
    span = None
    if arguments.take is not None:
        takes = {name: (begin, end) for name, begin, end in recording.takes()}
        if arguments.take not in takes:
            there = ", ".join(takes) or "none"
            raise Failure(f"{arguments.file}: no take {arguments.take!r} in it; there are: {there}")
        span = takes[arguments.take]
    _render(recording, arguments.output, arguments.size, fps, arguments.quality, arguments.provider, span)
    return 0


def _render(
    recording: "Recording", path: Path, size: tuple[int, int], fps: int, quality: str, provider: str,
    span: tuple[int, int] | None = None,
) -> None:  # fmt: skip
    from tqdm import tqdm

    from engine import offline

    ticks = span[1] - span[0] if span else recording.end_tick
    try:
        makers = offline.makers(recording.show, provider)
        with tqdm(total=ticks * fps // 240, unit="frame", disable=None) as bar:
            offline.render(
                recording, makers, path, size, fps, quality, lambda done, _: bar.update(done - bar.n), span
            )
    except ValueError as error:
        raise Failure(str(error)) from None
    print(f"wrote {path}", flush=True)


def _read(file: str) -> "Recording":
    from engine.recording import RecordingError, read

    try:
        return read(file)
    except RecordingError as error:
        raise Failure(str(error)) from None


def new(arguments: argparse.Namespace) -> int:
    """Write a show of your own to begin with."""
    path = Path(arguments.name)
    if not path.name or not path.name.isprintable():
        raise Failure(f"{arguments.name!r} is no name of a file; one would be: chladni new mine")
    path = path if path.suffix == ".toml" else path.with_name(f"{path.name}.toml")
    shown = shlex.quote(str(path))
    template = (Path(__file__).parent / "new_show.toml").read_text(encoding="utf-8")
    title = path.stem.replace("_", " ").strip().capitalize() or "Mine"
    seed = int.from_bytes(os.urandom(2))
    values = {"title": json.dumps(title, ensure_ascii=False), "file": shown, "seed": f"{seed:<6}"}
    for key, value in values.items():
        template = template.replace(f"{{{key}}}", value)
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(template)
    except FileExistsError:
        raise Failure(f"{path} is there already; another name would be right") from None
    except OSError as error:
        raise Failure(f"{path}: {error.strerror or error}") from None
    print(f"wrote {path}; chladni play {shown} plays it")
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Explain every problem of a show file: errors, and what in it can have no effect."""
    from engine.checking import check as look
    from engine.core.show import ShowError

    file = _show_file(arguments)
    try:
        findings = look(file)
    except ShowError as error:
        raise Failure(str(error)) from None
    for each in findings:
        print(f"{file.path}:{each.line}: {'error' if each.error else 'warning'}: {each.text}")
    errors = sum(each.error for each in findings)
    if not errors:
        print(
            f"{file.path}: it plays" + (f"; warnings: {len(findings)}" if findings else ", and all is well")
        )
    return _ERROR if errors or (findings and arguments.strict) else 0


def schema(arguments: argparse.Namespace) -> int:
    """Print the JSON Schema of a show file."""
    from engine.core.show import Show

    print(json.dumps(Show.model_json_schema(by_alias=True), indent=2))
    return 0


def devices(arguments: argparse.Namespace) -> int:
    """List what can be played on and played to."""
    from engine.devices import as_text
    from engine.devices import devices as found

    print(as_text(found()))
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    """Check every part and say what to do about what is missing."""
    from engine.doctor import as_table, exit_code
    from engine.doctor import doctor as checked
    from engine.recording import default_folder

    checks = checked(default_folder())
    print(as_table(checks))
    return exit_code(checks)


def install_service(arguments: argparse.Namespace) -> int:
    """Write a systemd user unit that plays a show unattended."""
    from engine import service

    if arguments.remove:
        print(service.remove())
        return 0
    file = _show_file(arguments)
    _load_show(file)
    try:
        print(service.install(file.path, arguments.health, arguments.keep))
    except OSError as error:
        raise Failure(f"{service.folder()}: {error.strerror or error}") from None
    return 0


def bench(arguments: argparse.Namespace) -> int:
    """Say what this machine holds."""
    if arguments.show == "overhead":
        from engine import bench_overhead

        show = _load_show(_show_file(arguments, DEMO))
        return bench_overhead.run(show, arguments.seconds, arguments.report)
    if arguments.show == "web":
        from engine import bench_web
        from engine.io.performer import load

        show, demo = _load_show(_show_file(arguments, DEMO)), load(DEMO.with_suffix(".chladni"))
        return bench_web.run(show, demo, arguments.seconds, arguments.report)
    if arguments.show == "generators":
        from engine import bench_generators

        return bench_generators.run(arguments.seconds, arguments.report)
    if Path(arguments.show).suffix in CHECKPOINTS:
        from engine import bench_import

        try:
            return bench_import.run(Path(arguments.show), arguments.seconds, arguments.report)
        except ValueError as error:
            raise Failure(str(error)) from None
    from engine.bench import run

    return run(Path(arguments.show), arguments.seconds, arguments.report)


def import_(arguments: argparse.Namespace) -> int:
    """Make somebody's generator or image network playable: StyleGAN checkpoints, any ONNX file."""
    from tqdm import tqdm

    from engine import importing

    request = importing.Request(
        file=arguments.file, name=arguments.name, title=arguments.title, licence=arguments.licence,
        bends=_words(arguments.bend), classes=_words(arguments.classes), dry=arguments.dry_run,
        precisions=tuple(each for each in _words(arguments.precisions) if each != "fp32"),
        replace=arguments.replace, minutes=arguments.minutes,
    )  # fmt: skip
    try:
        for option in ("latent", "label", "output", "layout", "range", "size"):
            if (said := getattr(arguments, option)) is not None:
                request = importing.told(request, option, said)
        with tqdm(total=100, unit="%", disable=None, leave=False) as bar:

            def progress(share: float, what: str) -> None:
                bar.set_description(what)
                bar.update(round(100 * share) - bar.n)

            def ask(question: importing.Question) -> str | None:
                bar.clear()
                return _ask(question)

            signal.signal(signal.SIGTERM, signal.default_int_handler)
            made = importing.run(request, ask, progress)
    except importing.ImportFailed as error:
        raise Failure(str(error)) from None
    except KeyboardInterrupt:
        print(f"{request.file}: interrupted; nothing of it is left", file=sys.stderr)
        raise
    if arguments.dry_run:
        wide = max(map(len, made))
        print("\n".join(f"{name:{wide}}  {value}" for name, value in made.items()))
        return 0
    print(f"{made['folder']}: {made['kind']} of {made['bytes'] / 1e6:.1f} MB; its contact.png shows it")
    how = f"chladni play --generator {request.name}"
    print(how if made["kind"] == "generator" else f'[[network]]\nname = "{request.name}"   # in a show')
    return 0


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _ask(question: Any) -> str | None:
    """Ask on the terminal until one of the answers is given; None where nobody is there."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    try:
        return input(f"{question.text} [{', '.join(question.answers)}] ").strip() or question.answers[0]
    except EOFError:
        return None


def models(arguments: argparse.Namespace) -> int:
    """List the models that are here; show, verify or remove one."""
    from engine import shelf

    try:
        text, status = shelf.ACTIONS[arguments.action](arguments.name)
    except ValueError as error:
        raise Failure(str(error)) from None
    print(text)
    return status


def latency(arguments: argparse.Namespace) -> int:
    """Measure the contract from outside: notes in by JACK, sound and screen taken where they come out."""
    from tqdm import tqdm

    from engine.latency import page
    from engine.latency.analysis import from_film
    from engine.latency.measure import Setting, measure
    from engine.latency.screen import read_film

    path = Path(arguments.show)
    try:
        if arguments.compare:
            measured = [page.read(Path(file)) for file in arguments.compare]
        elif arguments.film:
            measured = [from_film(read_film(Path(arguments.film)), _load_show(_show_file(arguments)))]
        else:
            options = [
                f"--{key.replace('_', '-')}={value}"
                for key in ("sound_ms", "picture_ms", "generator", "tight")
                if (value := getattr(arguments, key)) is not None
            ]
            setting = Setting(
                path, arguments.notes, kinds=arguments.stress, hears=arguments.hears,
                cable=arguments.cable, options=tuple(options),
            )  # fmt: skip
            with tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {elapsed}", disable=None) as bar:
                show = _load_show(_show_file(arguments))
                measured = [measure(setting, show, lambda share: bar.update(100 * share - bar.n))]
        print(page.table(measured))
        if arguments.report:
            page.write(arguments.report, measured)
            print(f"wrote {arguments.report}")
    except (ValueError, RuntimeError, OSError) as error:
        raise Failure(f"latency: {error}") from None
    return 0


def trace(arguments: argparse.Namespace) -> int:
    """Follow notes through the house: when each hop happens, one line a hop."""
    from engine.latency.trace import table
    from engine.latency.trace import trace as follow

    show = _load_show(_show_file(arguments))
    presenter = _presenter(show, arguments)
    try:
        ways = follow(show, presenter, arguments.notes, arguments.provider)
    except ValueError as error:
        raise Failure(str(error)) from None
    finally:
        presenter.close()
    if not ways:
        raise Failure("trace: no note came through to the screen; chladni doctor says what is missing")
    print(f"{len(ways)} of {arguments.notes} notes came through\n{table(ways, show)}")
    return 0


def _burdens(text: str) -> tuple[str, ...]:
    from engine.latency.stress import KINDS

    kinds = tuple(kind for kind in text.split(",") if kind)
    if unknown := set(kinds) - set(KINDS):
        known = ", ".join(KINDS)
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: no stress; there are {known}")
    return kinds


def _command_started_us() -> float:
    """Return when this process began, on the monotonic clock."""
    import time

    import psutil

    from engine.clock import monotonic_us

    age_s: float = time.time() - psutil.Process().create_time()
    return monotonic_us() - age_s * 1e6


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chladni", description="Play neural networks like an instrument.")
    parser.add_argument("--version", action="version", version=f"chladni {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(function: Callable[[argparse.Namespace], int], *parents: argparse.ArgumentParser) -> Any:
        text = (function.__doc__ or "").strip()
        added = commands.add_parser(
            function.__name__.rstrip("_").replace("_", "-"), help=text, description=text, parents=parents
        )
        added.set_defaults(run=function)
        return added

    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--headless", action="store_true", help="open no window")
    where.add_argument("--fullscreen", action="store_true")
    where.add_argument("--display", type=int, default=0, help="number of the display to open on")
    where.add_argument("--size", type=_size, default=(1280, 720), help="of the window, as 1280x720")
    where.add_argument("--seconds", type=_positive, help="end after so long")
    where.add_argument("--report", type=_output, metavar="FILE", help="write the report as JSON too")
    providers = argparse.ArgumentParser(add_help=False)
    providers.add_argument("--provider", choices=("auto", "cpu", "cuda"), default="auto")

    live = command(play, where, providers)
    live.add_argument("show", nargs="?", default=DEMO, help="a show file, or the name of a shipped one")
    live.add_argument("--perform", metavar="FILE", help="a MIDI file or recording to play it, or none")
    live.add_argument("--recordings", metavar="FOLDER", help="where the recording goes (recordings)")
    live.add_argument(
        "--film", type=_film, metavar="FILE", help="render what was played to a film at the end"
    )
    live.add_argument("--sound-ms", type=float, help="in place of the show's sound_ms")
    live.add_argument("--picture-ms", type=float, help="in place of the show's picture_ms")
    live.add_argument("--generator", help="in place of the show's generator")
    live.add_argument("--musician", help="in place of the show's musician, or none")
    live.add_argument("--device", choices=("auto", "jack", "miniaudio", "none"), help="of the sound")
    live.add_argument("--block", type=int, help="frames a block of sound")
    live.add_argument("--tight", choices=("play", "sync"), help="in place of the show's tight")
    live.add_argument(
        "--unattended",
        action="store_true",
        help="fullscreen, until told to stop; without a screen it ends with status 3, to be tried again",
    )
    live.add_argument("--health", type=_whole, metavar="PORT", help="answer GET /healthz on 127.0.0.1")
    live.add_argument("--no-web", action="store_true", help="serve no page")
    live.add_argument("--keep", type=_whole, metavar="N", help="delete all but the N newest recordings")
    live.add_argument("--marker", action="store_true", help="a code in each frame tells which it is")

    command(new).add_argument("name", help="of the file, .toml or not")
    right = command(check)
    right.add_argument("show", nargs="?", default=str(DEMO), help="a show file, or the name of a shipped one")
    right.add_argument("--strict", action="store_true", help="warnings count as errors")

    command(replay, where, providers).add_argument("file", help="a recording (.chladni)")
    command(verify).add_argument("file", help="a recording (.chladni)")
    film = command(render, providers)
    film.add_argument("file", help="a recording (.chladni)")
    film.add_argument("-o", "--output", type=_film, required=True, help="the film: .mp4, .mkv or .mov")
    film.add_argument("--size", type=_size, default=(1280, 720), help="as 1920x1080")
    film.add_argument(
        "--fps",
        type=int,
        choices=(12, 15, 20, 24, 30, 40, 48, 60, 80, 120),
        help="frames a second; the show's if none",
    )
    film.add_argument("--take", metavar="NAME", help="that take alone, as it was named on the page")
    film.add_argument("--quality", choices=("draft", "good", "best"), default="good")
    command(devices)
    command(doctor)
    bring = command(import_)
    bring.add_argument("file", type=Path, help="a checkpoint (.pkl, .pt, .safetensors) or an ONNX file")
    bring.add_argument("--name", required=True, help="of the model")
    bring.add_argument("--title", default="", help="name for people")
    bring.add_argument("--licence", default="unstated", help="of the weights, as an SPDX identifier")
    bring.add_argument("--dry-run", action="store_true", help="say what is found, and write nothing")
    bring.add_argument("--replace", action="store_true", help="in place of a model of that name")
    bring.add_argument("--bend", default="", metavar="LAYERS", help="that can be bent live, as b16,b32")
    bring.add_argument(
        "--precisions", default="int8,fp16", help="beside fp32: int8, fp16, both or fp32 alone"
    )
    bring.add_argument("--classes", default="", metavar="NAMES", help="of the classes, in order, with commas")
    bring.add_argument("--minutes", type=_positive, default=20.0, help="the most that it may take")
    onnx = bring.add_argument_group("ONNX files, where names, shapes and a trial run leave something open")
    onnx.add_argument("--latent", metavar="INPUT", help="the input of latents")
    onnx.add_argument("--label", metavar="INPUT", help="the input of classes")
    onnx.add_argument("--output", metavar="OUTPUT", help="the output that is the picture")
    onnx.add_argument("--layout", choices=("nchw", "nhwc"), help="where the picture's channels stand")
    onnx.add_argument("--range", metavar="LOW,HIGH", help="black and white, as --range=-1,1")
    onnx.add_argument("--size", metavar="PX", help="of an image network's pictures, where it takes any")
    shelf = command(models)
    shelf.add_argument("action", nargs="?", choices=("list", "show", "verify", "remove"), default="list")
    shelf.add_argument("name", nargs="?", help="of a model; verify without one takes all")
    measure = command(bench)
    measure.add_argument(
        "show", nargs="?", default=str(DEMO),
        help="a show file; `generators`, to time these and other engines; `web`, to measure the page;"
        " `overhead`, to hold frames against the bare network; or a checkpoint, to hold its import against a"
        " plain export",
    )  # fmt: skip
    measure.add_argument("--generator", help="whose overhead, in place of the demonstration's")
    measure.add_argument("--seconds", type=_positive, default=10.0, help="for each thing measured")
    measure.add_argument("--report", type=_output, metavar="FILE", help="write the figures as JSON too")
    ruler = command(latency)
    ruler.add_argument("show", nargs="?", default=str(DEMO))
    ruler.add_argument("--notes", type=_count, default=1000, help="how many are played, at random moments")
    ruler.add_argument("--stress", type=_burdens, default=(), help="burdens, as cpu,io,osc,midi,gc")
    ruler.add_argument("--report", type=_output, metavar="FILE", help="write a page with plots and data")
    ruler.add_argument("--compare", nargs=2, metavar=("A", "B"), help="two pages, in place of a measurement")
    ruler.add_argument("--film", help="a film of the screen with the marker, in place of a measurement")
    ruler.add_argument("--hears", default="Chladni:out_1", help="JACK port that is heard: a card's capture")
    ruler.add_argument(
        "--cable", metavar="PORT", help="JACK port that is wired to --hears: the way's own time is taken off"
    )
    for option in ("--sound-ms", "--picture-ms"):
        ruler.add_argument(option, type=float, help="in place of the show's")
    ruler.add_argument("--generator", help="in place of the show's")
    ruler.set_defaults(device="jack", musician="none")  # the notes alone are to be heard
    ruler.add_argument("--tight", choices=("play", "sync"), help="in place of the show's")
    way = command(trace, where, providers)
    way.add_argument("show", nargs="?", default=str(DEMO))
    way.add_argument("--notes", type=_count, default=20, help="how many are followed")
    way.add_argument("--device", choices=("auto", "jack", "miniaudio", "none"), help="of the sound")
    command(schema)
    service = command(install_service)
    service.add_argument("show", nargs="?", default=DEMO, help="a show file (.toml)")
    service.add_argument("--remove", action="store_true", help="stop it and delete its unit")
    service.add_argument("--health", type=_whole, default=9001, metavar="PORT", help="of GET /healthz (9001)")
    service.add_argument("--keep", type=_whole, default=100, metavar="N", help="recordings to keep (100)")
    return parser


# By itself, the signal ends a process where it stands, and what it has started (a JACK server, say) lives on.
def _terminated(*_: Any) -> None:
    """Leave by the way of an error, on which everything that was started is ended."""
    sys.exit(_TERMINATED)


def main(argv: list[str] | None = None) -> int:
    """Run a command; return its exit status.

    0 done as asked; 1 can't be done, and trying again does not help; 2 wrong usage; 3 the show broke off or
    found no screen: try again; 130 interrupted, 143 terminated.
    """
    arguments = _parser().parse_args(argv)
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        status: int = arguments.run(arguments)
    except Failure as failure:
        print(failure, file=sys.stderr)
        return _ERROR
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read has enough; nor is there anything to tell them at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _ERROR
    finally:
        signal.signal(signal.SIGTERM, before)
    return status


if __name__ == "__main__":
    sys.exit(main())
