"""The whole state of a running show, frozen, and its digest."""

from dataclasses import dataclass, field
from hashlib import blake2b

from engine.core.events import PhraseNote
from engine.core.jobs import Ask, Heard, SoundEvent, Write
from engine.core.parameters import PARAMETERS
from engine.core.show import HEARING, Modulator, Show, begins

PERFORMER = "performer"  # the source of a recorded performance
MUSICIAN = "musician"  # the source of the music model
PICTURE = "picture"  # the source of projected pictures
AUDIO = "audio"  # the source of what a sound input hears
STAGE = "stage"  # the source of what the session itself has to say: a generator is warm, the show was revised

HANDS, GO, FOLLOW = "hands", "go", "follow"  # the kinds of what moves a parameter


@dataclass(frozen=True, slots=True)
class Key:
    """A sounding key: who holds it, the lane and instrument that it sounds on."""

    source: str
    channel: int
    note: int
    lane: int
    instrument: int


@dataclass(frozen=True, slots=True)
class Lane:
    """One channel of one source, and the instrument that plays it."""

    source: str
    channel: int
    instrument: int


@dataclass(frozen=True, slots=True)
class Fade:
    """The base at `place` in the state's bases, on its way from `start` to `end` along a curve.

    It takes `length` from `since` on, in ticks, or in beats played (see ShowState) where `in_beats` says so.
    While it is `held`, `since` is how far it has come.
    """

    place: int
    start: float
    end: float
    curve: str
    since: float
    length: float
    in_beats: bool = False
    held: bool = False


@dataclass(frozen=True, slots=True)
class Glide:
    """A level that follows an input to `target`, as the smoothing of its route has it.

    `route` is the number of the route, DIRECT for a parameter's own address, which is there in one control
    step. `before` is the target of the control step before, and `speed` how fast the target has moved of
    late, in ranges a second (for One-Euro).
    """

    parameter: int
    target: float
    route: int
    before: float = 0.0
    speed: float = 0.0


@dataclass(frozen=True, slots=True)
class Touch:
    """What came through a route last: the source's address ("": nothing yet) and its value, 0 to 1.

    `position` is the value after deadzone, inversion, button and curve, 0 to 1; `down` tells that a button
    is.
    """

    address: str = ""
    value: float = 0.0
    position: float = 0.0
    down: bool = False


@dataclass(frozen=True, slots=True)
class Modulation:
    """A modulator at the last control step: its `value`, 0 to 1, or -1 before the first one.

    A walk goes from `start` to `target` in period `number`. A follower goes to `target`. An envelope left
    `start` at `tick` for `target`, on its way up where that is above 0.
    """

    value: float
    start: float = 0.0
    target: float = 0.0
    number: int = -1
    tick: int = 0


@dataclass(frozen=True, slots=True)
class Sensed:
    """What is known of the sensor at an address, the show's number `sensor`.

    `bounds` are the least and the greatest value that become 0 and 1, empty where there are none yet,
    `recent` the latest values as they came, `tick` when the last one did, `value` what is made of them.
    """

    address: str
    sensor: int
    bounds: tuple[float, ...]
    recent: tuple[float, ...] = ()
    tick: int = 0
    value: float = 0.0


@dataclass(frozen=True, slots=True, repr=False)
class Mover:
    """What moved a parameter last: of a kind (HANDS, GO or FOLLOW; "" nobody yet), and by name."""

    kind: str
    name: str

    def __repr__(self) -> str:  # one for each parameter stands in every digest
        return f"{self.kind!r}:{self.name!r}"


@dataclass(frozen=True, slots=True)
class Run:
    """How the present cue runs: since when, in ticks and in beats played, and how long its fades take.

    The next cue goes by itself after `follow` ticks, or beats where `in_beats` says so (None: it does not),
    counted from the end of the fades where `after_fades` says so. While the show is held, `tick` and `beats`
    are how far the cue has come.
    """

    tick: int = 0
    beats: float = 0.0
    fade_ticks: float = 0.0
    fade_beats: float = 0.0
    follow: float | None = None
    in_beats: bool = False
    after_fades: bool = False


@dataclass(frozen=True, slots=True)
class Standby:
    """A cue that waits for the next beat or bar: its place in the list, who asked, and during which."""

    cue: int
    kind: str
    number: float


@dataclass(frozen=True, slots=True)
class Preset:
    """Levels kept while playing, as (parameter, level) in the order of PARAMETERS.

    `mark` stands for them in every digest of the state: 64 presets spelled out would take milliseconds.
    """

    name: str
    levels: tuple[tuple[int, float], ...] = field(repr=False)
    mark: str


def preset(name: str, levels: tuple[tuple[int, float], ...]) -> Preset:
    """Return levels kept under a name."""
    return Preset(name, levels, blake2b(repr(levels).encode(), digest_size=16).hexdigest())


@dataclass(frozen=True, slots=True)
class Dark:
    """The blackout: from `start` to `end` since `tick`, 0 light and 1 black."""

    start: float = 0.0
    end: float = 0.0
    tick: int = 0


@dataclass(frozen=True)  # without slots: see records
class Transport:
    """Beats over samples: a line through (`sample`, `beat`), running at `bpm`.

    `pulses` are the samples of the latest MIDI clock pulses (at most a beat of them), `taps` those of the
    latest taps; while `pulses` is not empty the MIDI clock leads. `located` tells that the position was
    set, and that the next pulse is there. `linked` is the sample of the latest beat of an Ableton Link
    session, which leads for as long as such beats come. `audio_beat` is that of the latest beat at the sound
    input, whose music runs at `audio_bpm`.
    """

    running: bool
    bpm: float
    sample: int
    beat: float
    pulses: tuple[int, ...] = ()
    taps: tuple[int, ...] = ()
    located: bool = False
    linked: int = -(1 << 40)
    audio_beat: int = -(1 << 40)
    audio_bpm: float = 0.0


@dataclass(frozen=True)  # without slots: see records
class Walk:
    """The way through the seeds: between `index` and `index` + 1, `phase` of the way; the noise likewise."""

    index: int = 0
    phase: float = 0.0
    noise_index: int = 0
    noise_phase: float = 0.0
    jump: float = 0.0  # the level of walk.jump at the last control step


@dataclass(frozen=True, slots=True)
class Strobe:
    """`since` counts the ticks since the last flash began; `phase` runs to 1 between two flashes."""

    phase: float = 0.0
    since: int = 1 << 30


@dataclass(frozen=True, slots=True)
class Cast:
    """The generator that plays, and since which tick; names are of model folders, "" is nobody.

    `wanted` is being loaded, to fade in over `wanted_ticks` if the machine can play both meanwhile. `leaving`
    played before, and still does for `fade_ticks` from `tick` on.
    """

    playing: str
    wanted: str = ""
    wanted_ticks: int = 0
    leaving: str = ""
    tick: int = 0
    fade_ticks: int = 0


@dataclass(frozen=True, slots=True)
class Hand:
    """What one of the two, the performer or the musician, has played of late.

    `note` is the last note (-1: none yet), `density` in notes a second over the last two, `low` the lowest
    note, which creeps up to those above it.
    """

    note: int = -1
    density: float = 0.0
    low: float = 127.0


@dataclass(frozen=True, slots=True)
class Tonality:
    """How much of each pitch class the performer has played of late, C first, and the key that fits it.

    `fits` is how well each key does: the majors from C on, then the minors.
    """

    pitch_classes: tuple[float, ...] = (0.0,) * 12
    fits: tuple[float, ...] = (0.0,) * 24
    tonic: int = 0
    minor: bool = False


@dataclass(frozen=True, slots=True)
class Sung:
    """The notes that the musician sings under a key of the performer's, until that key goes up."""

    source: str
    channel: int
    note: int
    under: tuple[int, ...]


@dataclass(frozen=True)  # without slots: see records
class Musician:
    """The musician as the core sees it.

    `plan` holds the notes not yet begun, `sounding` those begun, as (end sample, channel, note), both in
    order. Notes that begin before tick `committed` can no longer be planned anew, `planned` is the tick up
    to which there is a plan. Its `turn` lasts from one beat to another.

    `request` is the number of the last phrase asked for, from tick `requested` to `ending`; `waiting` that
    its answer is still out, `deadline` the tick at which the music goes on without it. `last_phrase` are
    the notes of the latest answer with its first tick, to be repeated then, and `channel` the one they are
    for; `repeats` counts repetitions, `kept` the plans that stayed as they were for want of an answer.

    `heard_sample` is when the performer was last heard, `news` that a note of theirs is not in the plan
    yet, `replanned` the tick of the latest plan anew. `asked` is the number of the last answers asked for,
    `answers` what it would sing under each pitch class that may come next, `sung` what it sings.
    """

    playing: bool = False
    request: int = 0
    waiting: bool = False
    requested: int = 0
    ending: int = 0
    deadline: int = 0
    planned: int = 0
    committed: int = 0
    turn: tuple[float, float] = (0.0, 0.0)
    plan: tuple[PhraseNote, ...] = ()
    sounding: tuple[tuple[int, int, int], ...] = ()
    channel: int = 1
    last_phrase: tuple[PhraseNote, ...] = ()
    last_start: int = 0
    repeats: int = 0
    kept: int = 0
    heard_sample: int = -(1 << 40)
    news: bool = False
    replanned: int = 0
    asked: int = 0
    answers: tuple[tuple[int, ...], ...] = ()
    sung: tuple[Sung, ...] = ()


@dataclass(frozen=True, slots=True)
class Sight:
    """The picture that was projected last: z of the generator named, now, and where it is gliding to."""

    generator: str = ""
    z: tuple[float, ...] = ()
    target: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Lines:
    """The line on the picture, and the number of the last one asked for."""

    request: int = 0
    line: str = ""


@dataclass(frozen=True)  # without slots: see records
class ShowState:
    """Everything that decides what is seen and heard from here on.

    `tick` counts the ticks that are complete. `bases` are the parameters' levels as cues and inputs set
    them, in the order of PARAMETERS, and after them the performer's own of those under HTP; `added` is what
    each route adds now (0 where its mode is "set"); `levels` are the results; `moved_by` tells what moved
    each last. `fades` and `glides` are the bases on their way, `adding` the additions, `touches` what came
    through each route last; `modulations` are in the order of the show's modulators, `sensed` in that of
    their latest values. `cue` is the place in the list of the cue that runs (-1: none yet), `run` how it
    does, `standby` the one that waits for its beat; while the show is `held`, fades and follows stand.
    `beats` counts the beats played, `beat` is where the transport stood at the last control step. `presets`
    are those stored while playing. `hands` are the performer's and the musician's, `tonality` is the
    performer's. `faults` counts events that could not be received. A sound event names a lane by its place
    in `lanes`. `revision` is the show, as JSON, that is to play from the next tick on, "" for the one that
    does. `sounds`, `heard` and `writes` are the jobs of the present tick.
    """

    tick: int
    bases: tuple[float, ...]
    levels: tuple[float, ...]
    added: tuple[float, ...]
    adding: tuple[Glide, ...]
    touches: tuple[Touch, ...]
    modulations: tuple[Modulation, ...]
    sensed: tuple[Sensed, ...]
    fades: tuple[Fade, ...]
    glides: tuple[Glide, ...]
    keys: tuple[Key, ...]
    lanes: tuple[Lane, ...]
    transport: Transport
    walk: Walk
    strobe: Strobe
    musician: Musician
    hands: tuple[Hand, Hand]
    tonality: Tonality
    lines: Lines
    cue: int
    live_tick: int
    cast: Cast
    run: Run = Run()
    standby: Standby | None = None
    moved_by: tuple[Mover, ...] = (Mover("", ""),) * len(PARAMETERS)
    beats: float = 0.0
    beat: float = 0.0
    held: bool = False
    dark: Dark = Dark()
    presets: tuple[Preset, ...] = ()
    sight: Sight = Sight()
    faults: int = 0
    revision: str = ""
    sounds: tuple[SoundEvent, ...] = ()
    heard: tuple[Heard | Ask, ...] = ()
    writes: tuple[Write, ...] = ()

    def digest(self) -> str:
        """Return a digest of every bit of the state (`repr` of a float is exact and portable)."""
        return blake2b(repr(self).encode(), digest_size=16).hexdigest()


NEVER = -(1 << 40)
DIRECT = -1  # in the place of a route's number: no route at all


def unmoved(modulator: Modulator) -> Modulation:
    """Return a modulator before its first control step."""
    if modulator.kind in HEARING:
        return Modulation(0.0)
    return Modulation(-1.0, start=0.5, target=0.5)


def initial(show: Show) -> ShowState:
    """Return the state before the first tick."""
    levels = tuple(begins(show, index) for index in range(len(PARAMETERS)))
    bases = (*levels, *(PARAMETERS[index].minimum for index in show.highest))
    routes = len(show.route)
    return ShowState(
        tick=0, bases=bases, levels=levels, added=(0.0,) * routes, adding=(), touches=(Touch(),) * routes,
        modulations=tuple(unmoved(modulator) for modulator in show.modulator), sensed=(),
        fades=(), glides=(), keys=(), lanes=(), transport=Transport(True, show.tempo.bpm, 0, 0.0),
        walk=Walk(), strobe=Strobe(), musician=Musician(), hands=(Hand(), Hand()), tonality=Tonality(),
        lines=Lines(), cue=-1, live_tick=NEVER, cast=Cast(show.generator),
    )  # fmt: skip
