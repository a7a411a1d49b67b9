"""The report of a performance: its latency against the contract, as a table and as JSON."""

import json
from pathlib import Path
from typing import Any

import psutil

from engine.clock import monotonic_us
from engine.core.contract import sound_contract_ms
from engine.core.events import Enter, Refuse
from engine.core.units import TICKS_PER_SECOND
from engine.session import Session
from engine.workers.audio import CAPTURE_KINDS
from engine.workers.links import DEVICE_KINDS, PROVIDERS


def collect(session: Session) -> dict[str, Any]:
    """Return the report as plain data; times in ms unless the key says otherwise.

    A deviation is (time of the effect - time of the input) - contract. Sound: when the device plays the
    note's first sample, its buffer included. Picture: when the swap returned that showed the first frame
    that answers the input; `frame_deviation_ms` is that of the swaps themselves against their frames' due
    times, without the half frame that an input waits on average more or less than another.
    """
    show, seen = session.show, session.presentation
    board = session.sound.board
    seconds = max((monotonic_us() - session.began_us) / 1e6, 1e-9) if session.began_us else 0.0
    seconds = session.played_s or seconds
    main = psutil.Process()
    times = main.cpu_times()
    usage = {worker.name: worker.usage() for worker in session.workers}
    cpu_s = {"main": times.user + times.system, **{name: used.cpu_s for name, used in usage.items()}}
    before = session.curtain_cpu_s
    first_us = seen.first_shown_us
    return {
        "title": show.title,
        "provider": PROVIDERS[int(session.generator.board["provider"])],
        "seconds": seconds,
        "recording": _recording(session),
        "first_frame_s": (first_us - session.stage.started_us) / 1e6 if first_us else None,
        "picture": {
            "fps": show.fps,
            "contract_ms": show.picture_ms,
            "due": seen.due,
            "shown": seen.shown,
            "late": seen.late,
            "held": seen.held,
            "deviation_ms": seen.input_deviation.summary(),
            "frame_deviation_ms": seen.frame_deviation.summary(),
            "inference_ms": session.generator.board["inference_us"] / 1000.0,
            "rung": int(session.generator.board["rung"]),
            "skipped": int(session.generator.board["skipped"]),
            "errors": int(session.generator.board["errors"]),
            "left_out": int(session.generator.board["left_out"]),
            "generator": session.state.cast.playing,
            "swaps": [_swap(tick, body) for tick, body in session.casting.history],
        },
        "sound": {
            "device": DEVICE_KINDS[int(board["kind"])],
            "rate": int(board["rate"]),
            "block": int(board["block"]),
            "device_latency_ms": 1000.0 * board["latency_frames"] / (board["rate"] or 1.0),
            "beyond_contract_ms": 1000.0 * board["beyond_frames"] / (board["rate"] or 1.0),
            "contract_ms": sound_contract_ms(show),
            "underruns": int(board["underruns"]),
            "late": int(board["late_events"]),
            "load": board["load"],
            "peak": board["peak"],
            "deviation_ms": session.sound_deviation.summary(),
        },
        "audio": _audio(session),
        "events": {
            "in": session.source.taken,
            "dropped": session.source.dropped + session.sound.midi_in.refused + session.sound.events.refused,
            "osc_rejected": session.osc.dropped if session.osc else 0,
            "osc_unsent": session.osc_out.failed,
            "midi_garbage": session.midi.garbage,
            "unrecorded": session.recorder.lost if session.recorder else 0,
            "faults": session.state.faults,
        },
        "core": {
            "ticks": session.state.tick,
            "overruns": session.overruns,
            "share": session.core_cpu_s / seconds if seconds else 0.0,
        },
        "cpu_share": {name: (used - before.get(name, 0.0)) / seconds for name, used in cpu_s.items()},
        "memory_mb": {
            "main": main.memory_info().rss / 1e6,
            **{name: session.memory_mb.get(name, used.memory_mb) for name, used in usage.items()},
        },
        "restarts": {worker.name: worker.restarts for worker in session.workers},
        "revisions": session.revisions,
        "musician_repeats": session.state.musician.repeats,
        "musician_kept": session.state.musician.kept,
        "warnings": list(session.warnings),
    }


def _swap(tick: int, body: Enter | Refuse) -> dict[str, Any]:
    """Return a swap of generators: when, which, over how long; or why it was refused."""
    at_s = tick / TICKS_PER_SECOND
    if isinstance(body, Refuse):
        return {"at_s": at_s, "generator": body.generator, "refused": body.reason}
    return {"at_s": at_s, "generator": body.generator, "fade_s": body.fade_ticks / TICKS_PER_SECOND}


def _audio(session: Session) -> dict[str, Any] | None:
    """Return what the sound input brought; None where the show does not listen."""
    if session.show.audio is None or session.audio is None:
        return None
    board = session.audio.board
    return {
        "input": CAPTURE_KINDS[int(board["kind"])],
        "rate": int(board["rate"]),
        "block": int(board["block"]),
        "latency_ms": session.show.audio.latency_ms,
        "longest_ms": board["longest_us"] / 1000.0,
        "told": int(board["told"]),
        "late": int(board["late"]),
        "refused": session.audio.heard.refused,
        "spoiled": int(board["spoiled"]),
        "openings": int(board["openings"]),
        "bpm": board["bpm"],
    }


def _recording(session: Session) -> str | None:
    recorder = session.recorder
    return str(recorder.path) if recorder and recorder.path.exists() else None


def write(report: dict[str, Any], path: Path) -> None:
    """Write the report as JSON."""
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _deviation(name: str, contract_ms: float, values: dict[str, Any]) -> str:
    cells = "".join(f"{_ms(values[key]):>10}" for key in ("p50", "p99", "p999", "max"))
    return f"  {name:<16}{contract_ms:>9.1f}{cells}{values['count']:>10}"


def table(report: dict[str, Any]) -> str:
    """Return the report as a table for people."""
    picture, sound, core = report["picture"], report["sound"], report["core"]
    events = report["events"]
    processes = " ".join(
        f"{name} {100 * share:.1f} % / {report['memory_mb'][name]:.0f} MB"
        for name, share in report["cpu_share"].items()
    )
    first = report["first_frame_s"]
    lines = [
        f"{report['title']}: {report['seconds']:.1f} s",
        "",
        f"  {'deviation, ms':<16}{'contract':>9}{'p50':>10}{'p99':>10}{'p99.9':>10}{'max':>10}{'of':>10}",
        _deviation("sound", sound["contract_ms"], sound["deviation_ms"]),
        _deviation("picture, inputs", picture["contract_ms"], picture["deviation_ms"]),
        _deviation("picture, swaps", picture["contract_ms"], picture["frame_deviation_ms"]),
        "",
        f"  picture   {picture['due']} due, {picture['shown']} shown, {picture['late']} late,"
        f" {picture['held']} held at {picture['fps']} fps; {report['provider']},"
        f" {picture['inference_ms']:.1f} ms a frame",
        f"  sound     {sound['device']}, {sound['rate']} Hz, blocks of {sound['block']},"
        f" {sound['device_latency_ms']:.1f} ms of it in the device; {sound['underruns']} underruns,"
        f" {sound['late']} late",
        f"  events    {events['in']} in, {events['dropped']} dropped,"
        f" {events['osc_rejected']} packets rejected",
        f"  core      {core['ticks']} ticks, {core['overruns']} overruns,"
        f" {100 * core['share']:.2f} % of a core",
        f"  processes {processes}",
        f"  first frame after {_ms(first)} s" if first else "  no frame was shown",
    ]
    if audio := report["audio"]:
        lines.append(
            f"  input     {audio['input']}, {audio['rate']} Hz, blocks of {audio['block']}; {audio['told']}"
            f" events, the slowest {audio['longest_ms']:.1f} ms after its sound, {audio['late']} later than"
            f" the {audio['latency_ms']:g} declared"
        )
    for swap in picture["swaps"]:
        what = f"refused: {swap['refused']}" if "refused" in swap else f"entered over {swap['fade_s']:.1f} s"
        lines.append(f"  swap      {swap['at_s']:.1f} s: {swap['generator']} {what}")
    if report["revisions"]:
        lines.append(f"  show      revised while it played: {report['revisions']}")
    restarted = [f"{name} {count}" for name, count in report["restarts"].items() if count]
    if restarted:
        lines.append(f"  restarts  {', '.join(restarted)}")
    lines += [f"  warning   {warning}" for warning in report["warnings"]]
    if report["recording"]:
        lines.append(f"  recording {report['recording']}")
    return "\n".join(lines)
