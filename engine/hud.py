"""The lines of the window's head-up display: what a performer wants to know at a glance."""

from typing import TYPE_CHECKING

from engine.core import cues
from engine.core.events import Refuse
from engine.core.parameters import INDEX, KEYS, MODES, PARAMETERS
from engine.core.show import Show
from engine.core.state import HANDS, ShowState
from engine.core.units import TICKS_PER_SECOND
from engine.distribution import Distribution
from engine.workers.links import DEVICE_KINDS
from engine.workers.shared import Board

if TYPE_CHECKING:
    from engine.session import Session

_SHOWN = 4  # parameters that hands have moved


def _p99(distribution: Distribution) -> str:
    value = distribution.quantile(0.99)
    return "-" if value is None else f"{value:.1f} ms"


def _cast(session: "Session") -> str:
    """Return the line of the generators: who plays, who comes, who could not."""
    cast = session.state.cast
    line = f"generator {cast.playing}"
    if cast.wanted:
        return f"{line}   {cast.wanted} is being loaded"
    if session.casting.history and isinstance(last := session.casting.history[-1][1], Refuse):
        return f"{line}   {last.generator} refused: {last.reason}"
    return line


def cue_line(show: Show, state: ShowState) -> str:
    """Return the line of the cue list: the present cue and the next, and what keeps them; what hands hold."""

    def named(index: int) -> str:
        cue = show.cue[index] if 0 <= index < len(show.cue) else None
        return f"{cue.number:g} {cue.name}".strip() if cue else "-"

    line = f"cue {named(state.cue)}   next {named(cues.upcoming(show, state))}"
    if state.standby:
        line += f" on the {show.cue[state.standby.cue].snap}"
    if (share := cues.fading(state)) < 1.0:
        line += f"   fading {100 * share:.0f} %"
    line += "   HELD" * state.held + "   DARK" * (state.dark.end > 0.0)
    movers = zip(PARAMETERS, state.moved_by, strict=True)
    by_hand = [f"{parameter.name} {mover.name}" for parameter, mover in movers if mover.kind == HANDS]
    more = f" and {len(by_hand) - _SHOWN} more" if len(by_hand) > _SHOWN else ""
    return line + (f"   by hand: {', '.join(by_hand[:_SHOWN])}{more}" if by_hand else "")


def _musician(state: ShowState) -> str:
    """Return the line of the musician: how it plays, in which key, and how far its plan reaches."""
    musician, tonality = state.musician, state.tonality
    mode = MODES[int(state.levels[INDEX["musician.mode"]] + 0.5)]
    key = f"{KEYS[1 + tonality.tonic]} {'minor' if tonality.minor else 'major'}"
    ahead = max(musician.planned - state.tick, 0) * state.transport.bpm / (60.0 * TICKS_PER_SECOND)
    plan = f"{ahead:.1f} beats planned" if musician.playing else "listens"
    return f"musician {mode}   {plan}   hears {key}   kept {musician.kept}   repeats {musician.repeats}"


def _page(board: Board) -> tuple[str, ...]:
    """Return the line of the web page; no token: the audience may see it."""
    port = board["port"]
    return (f"page on port {port:.0f}   {board['clients']:.0f} open" if port else "page can't be served",)


def lines(session: "Session") -> tuple[str, ...]:
    """Return the lines for the present state."""
    show, state, seen = session.show, session.state, session.presentation
    sound, generator = session.sound.board, session.generator.board
    trouble = session.reviser.trouble.splitlines() if session.reviser else []
    ports = ", ".join(session.midi.ports()) or "none"
    return (
        f"{show.title}   {state.transport.bpm:.0f} bpm   psi {state.levels[INDEX['psi']]:.2f}",
        *((cue_line(show, state),) if show.cue else ()),
        f"picture {show.picture_ms:.0f} ms   late {seen.late} of {seen.due}   held {seen.held}"
        f"   p99 {_p99(seen.frame_deviation)}   {generator['inference_us'] / 1000:.1f} ms a frame"
        f"   rung {generator['rung']:.0f}",
        f"sound {show.sound_ms:.0f} ms   {DEVICE_KINDS[int(sound['kind'])]} {sound['block']:.0f}"
        f"   underruns {sound['underruns']:.0f}   late {sound['late_events']:.0f}"
        f"   p99 {_p99(session.sound_deviation)}   voices {sound['voices']:.0f}",
        _cast(session),
        *((_musician(state),) if show.musician else ()),
        *trouble[:1],
        *(_page(session.desk.link.board) if session.desk else ()),
        f"inputs {session.source.taken}   dropped {session.source.dropped}   MIDI {ports}",
    )
