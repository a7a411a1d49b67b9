"""The latent walk and the picture's other motions: from levels to what the generator is to draw."""

from functools import lru_cache
from typing import Final

from engine.core import cast, sight
from engine.core.blackout import darkness
from engine.core.jobs import FrameJob
from engine.core.parameters import DIRECTIONS, EFFECTS, GENERATOR, INDEX, NETWORK, TRANSFORM
from engine.core.records import replace
from engine.core.seeds import mix64
from engine.core.show import Show
from engine.core.state import ShowState, Strobe
from engine.core.units import TICKS_PER_SECOND

CLASSES: Final = 16  # a soft label has room for so many
FLASH_TICKS: Final = 12  # 50 ms of white
_STREAM_STYLE, _STREAM_NOISE = 1 << 40, 2 << 40  # keep the three kinds of seeds apart
_EFFECT_SLICE = slice(INDEX[EFFECTS[0].name], INDEX[EFFECTS[0].name] + len(EFFECTS))
_DIRECTION_SLICE = slice(INDEX["direction.1"], INDEX["direction.1"] + DIRECTIONS)
_TRANSFORM_SLICE = slice(INDEX[TRANSFORM[0].name], INDEX[TRANSFORM[0].name] + len(TRANSFORM))
_BEND_SLICE = slice(_TRANSFORM_SLICE.stop, _TRANSFORM_SLICE.start + len(GENERATOR))
_NETWORK_SLICE = slice(INDEX[NETWORK[0].name], INDEX[NETWORK[0].name] + len(NETWORK))
_FREE, _SPEED, _JUMP = INDEX["walk.free"], INDEX["walk.speed"], INDEX["walk.jump"]
_PSI, _NOISE, _CHANGE = INDEX["psi"], INDEX["noise"], INDEX["noise.change"]
_MIX_SEED, _MIX = INDEX["mix.seed"], slice(INDEX["mix.coarse"], INDEX["mix.fine"] + 1)
_CLASS, _PICTURE, _STROBE_RATE = INDEX["class"], INDEX["picture"], INDEX["strobe.rate"]
_BLACKOUT = [effect.name for effect in EFFECTS].index("blackout")
_STROBE = [effect.name for effect in EFFECTS].index("strobe")


def wander(show: Show, state: ShowState) -> ShowState:
    """Return the state with the walk, the noise and the strobe one control step on."""
    levels, walk = state.levels, state.walk
    seconds = 1.0 / show.fps
    free = levels[_FREE] > 0.5
    beats = seconds * state.transport.bpm / 60.0 if state.transport.running else 0.0
    phase = walk.phase + levels[_SPEED] * (seconds if free else beats)
    index, jump = walk.index, levels[_JUMP]
    if phase >= 1.0:
        index, phase = index + int(phase), phase - int(phase)
    if jump >= 0.5 > walk.jump:
        index, phase = index + (1 << 20), 0.0
    noise_phase = walk.noise_phase + levels[_CHANGE] * seconds
    walk = replace(
        walk,
        index=index,
        phase=phase,
        jump=jump,
        noise_index=walk.noise_index + int(noise_phase),
        noise_phase=noise_phase - int(noise_phase),
    )
    return replace(state, walk=walk, strobe=_flash(show, state))


# A strobe can harm: flashes above three a second provoke seizures (WCAG 2.3.1, ITU-R BT.1702). The rate
# is therefore held twice, as a rate and as a least distance between two flashes, whatever moves the level.
def _flash(show: Show, state: ShowState) -> Strobe:
    limit = show.safety.flashes_per_second
    rate = min(state.levels[_STROBE_RATE], limit)
    strobe = state.strobe
    since = min(strobe.since + show.frame_ticks, 1 << 30)
    phase = min(strobe.phase + rate / show.fps, 1.0)
    due = phase >= 1.0 and limit > 0.0 and since * limit >= TICKS_PER_SECOND
    if due and state.levels[INDEX["strobe"]] > 0.0:
        return Strobe(0.0, 0)
    return Strobe(phase, since)


def frame_job(show: Show, state: ShowState) -> FrameJob:
    """Return the picture of this state."""
    levels, walk = state.levels, state.walk
    coarse, middle, fine = levels[_MIX]
    effects = list(levels[_EFFECT_SLICE])
    if state.strobe.since >= FLASH_TICKS:
        effects[_STROBE] = 0.0
    effects[_BLACKOUT] = 1.0 - (1.0 - effects[_BLACKOUT]) * (1.0 - darkness(show, state))
    return FrameJob(
        tick=state.tick,
        seed_a=mix64(show.seed, walk.index),
        seed_b=mix64(show.seed, walk.index + 1),
        blend=walk.phase,
        style_seed=mix64(show.seed, _STREAM_STYLE + int(levels[_MIX_SEED])),
        mix=(coarse, middle, fine),
        psi=levels[_PSI],
        noise=levels[_NOISE],
        noise_seed=mix64(show.seed, _STREAM_NOISE + walk.noise_index),
        label=_label(levels[_CLASS]),
        directions=levels[_DIRECTION_SLICE],
        effects=tuple(effects),
        transform=levels[_TRANSFORM_SLICE],
        bends=levels[_BEND_SLICE],
        networks=levels[_NETWORK_SLICE],
        share=cast.share(state),
        picture=levels[_PICTURE],
        z=sight.z_seen(state),
    )


@lru_cache(maxsize=16)
def _label(position: float) -> tuple[float, ...]:
    """Return the soft one-hot of a place between two classes."""
    lower = int(position)
    label = [0.0] * CLASSES
    label[lower] = 1.0 - (position - lower)
    if position > lower:
        label[lower + 1] = position - lower
    return tuple(label)
