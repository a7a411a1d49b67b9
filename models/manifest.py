"""The manifest of a model folder: what is in it, what each input means, and that every file is the one meant.

`manifest.json` names files in its own folder only, each with its size and SHA-256. `load` checks all of it
before any file is opened, so that no model names a file outside itself and none is other than its maker's.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    PrivateAttr,
    TypeAdapter,
    ValidationError,
    model_validator,
)

FILE = "manifest.json"
PRECISIONS = ("fp32", "int8", "fp16")
MOST_BYTES = 1 << 20  # of manifest.json itself

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
FileName = Annotated[str, Field(pattern=rf"^{_NAME.pattern}$", max_length=100)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Dimensions = tuple[PositiveInt, ...]
Range = tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]  # half-open, may be empty


def is_name(text: str) -> bool:
    """Tell whether a text can name a model and its folder; folders that end in .part are unfinished."""
    return bool(_NAME.fullmatch(text)) and not text.endswith(".part")


class ManifestError(ValueError):
    """A model folder that must not be played; says what is wrong, where, and what would be right."""


class Part(BaseModel):
    """Anything in a manifest: frozen, and nothing in it that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class File(Part):
    """A file beside the manifest."""

    file: FileName
    sha256: Digest
    bytes: PositiveInt


class Network(File):
    """An ONNX graph; `inputs` gives the dimensions by name, float32 unless the meaning says otherwise."""

    opset: PositiveInt
    inputs: dict[str, Dimensions]


class Mapping(Network):
    """z (and a soft one-hot label) to w, float32 (batch, w_dim); any batch."""

    output: str


class Version(File):
    """A rung in one precision, with its error against fp32 where it is another: PSNR, and of one value."""

    precision: Literal["fp32", "int8", "fp16"]
    psnr_db: float | None = None
    max_error: float | None = None


class Rung(Part):
    """A step of the quality ladder: ws and noise to a picture, uint8 (height, width, 3) RGB.

    It comes in one precision or several, each a graph with the same inputs and output; fp16 is half
    precision inside only. Inputs beside ws: any whose name begins with `noise`, standard normals times their
    strength; `psi` (1,), where the network itself truncates; `transform` (3, 3), where the picture's plane
    can be moved, as in StyleGAN3: the inverse of the affine map of homogeneous coordinates in picture widths
    about the centre; `bend_<layer>` (9,) for each of `bends`: scale, shift, rotation in degrees
    anticlockwise, across and down in widths, and how much each quarter of the channels is silenced.
    """

    name: str
    opset: PositiveInt
    inputs: dict[str, Dimensions]
    output: str
    height: PositiveInt
    width: PositiveInt
    versions: Annotated[tuple[Version, ...], Field(min_length=1)]

    def version(self, preferred: Sequence[str] = PRECISIONS) -> Version:
        """Return the version in the first of the preferred precisions that there is, or any."""
        found = {version.precision: version for version in self.versions}
        return next((found[name] for name in preferred if name in found), self.versions[0])


class Encoder(Network):
    """A picture, uint8 (height, width, 3) RGB, to the z (1, z_dim) of the picture most like it."""

    output: str


class Step(Network):
    """One event and the state before it to the logits of the next event and the state after it.

    Inputs are `event`, int64 (1,), the class of what just happened; `condition`, float32 (1, width), where
    the model has conditions; and the state, float32. `output` names the logits (1, classes). `state` names,
    for each input that carries state, the output that is its value after the event; it begins as zeros.
    """

    precision: Literal["fp32", "int8"] = "fp32"
    output: str
    state: Annotated[dict[str, str], Field(min_length=1)]

    @model_validator(mode="after")
    def _agree(self) -> "Step":
        if set(self.inputs) - {"condition"} != {"event", *self.state} or self.inputs["event"] != (1,):
            raise ValueError(f"inputs is {self.inputs}; event (1,) and {[*self.state]} would be right")
        return self


class Conditions(Part):
    """What a musician can be asked for: the columns of `condition`, in this order, group by group.

    A group of zeros asks for nothing: training left each out at times. `models/conditions.py` fills the
    columns for each event with what is wanted of the music after it; the beat is that at which the event has
    passed.
    """

    densities: tuple[Annotated[float, Field(gt=0)], ...] = ()  # notes a second; shared by two neighbours
    pitch_classes: bool = False  # 12 shares of the notes, C first, that sum to 1
    bar_beats: Annotated[int, Field(ge=0)] = 0  # cosine, sine of the beat's phase, and of a bar's of so many
    styles: tuple[str, ...] = ()  # weight of each, one-hot or any mixture that sums to 1

    @property
    def width(self) -> int:
        """The number of columns."""
        return len(self.densities) + 12 * self.pitch_classes + 4 * (self.bar_beats > 0) + len(self.styles)


class StyleGroups(Part):
    """Which of the ws are coarse, middle and fine."""

    coarse: Range
    middle: Range
    fine: Range


class Golden(File):
    """Inputs and the outputs expected of them; `tolerance` is the largest difference, by output name.

    Arrays are named `mapping/`, `encoder/`, `step/` or `synthesis-<rung>/`, then the input or output; the
    outputs of a rung are those of fp32.
    """

    tolerance: dict[str, float]


class Model(Part):
    """What every kind of model has."""

    format: Literal[1]
    name: FileName
    title: str
    licence: str
    provenance: str
    credits: tuple[str, ...]
    meaning: dict[str, str] = {}  # of each input and output, for people
    golden: Golden
    _folder: Path = PrivateAttr(default=Path())

    def files(self) -> tuple[File, ...]:
        """Return every file that the manifest names."""
        raise NotImplementedError

    def path(self, file: str) -> Path:
        """Return the path of one of the manifest's files."""
        return self._folder / file


class Generator(Model):
    """A picture generator: mapping, synthesis in rungs (best first), statistics of w.

    `statistics` holds float32 w_avg (w_dim,), w_avg_by_class (classes, w_dim) where there are classes,
    directions (10, w_dim), the unit principal components of w, and deviations (10,) along them.
    """

    kind: Literal["generator"]
    z_dim: PositiveInt
    w_dim: PositiveInt
    num_ws: PositiveInt
    classes: tuple[str, ...]
    style_groups: StyleGroups
    mapping: Mapping
    rungs: Annotated[tuple[Rung, ...], Field(min_length=1)]
    statistics: File
    encoder: Encoder | None = None
    checkpoint: File | None = None  # to train on from; playing needs none
    bends: tuple[str, ...] = ()  # names of the layers that the parameters bend.1, bend.2 ... bend

    def files(self) -> tuple[File, ...]:
        """Return every file that the manifest names."""
        versions = (version for rung in self.rungs for version in rung.versions)
        extras = (file for file in (self.encoder, self.checkpoint) if file is not None)
        return (self.mapping, *versions, *extras, self.statistics, self.golden)

    @model_validator(mode="after")
    def _agree(self) -> "Generator":
        expected: dict[str, Dimensions] = {"z": (1, self.z_dim)}
        if self.classes:
            expected["label"] = (1, len(self.classes))
        if self.mapping.inputs != expected:
            raise ValueError(f"mapping.inputs is {self.mapping.inputs}, {expected} would be right")
        for rung in self.rungs:
            if rung.inputs.get("ws") != (1, self.num_ws, self.w_dim):
                raise ValueError(f"rung {rung.name}: input ws must be {(1, self.num_ws, self.w_dim)}")
            fixed: dict[str, Dimensions] = {"psi": (1,), "transform": (3, 3)}
            fixed |= {f"bend_{layer}": (9,) for layer in self.bends}
            for name, shape in rung.inputs.items():
                if not name.startswith(("ws", "noise")) and fixed.get(name) != shape:
                    right = fixed.get(name, f"ws, noise... or one of {', '.join(fixed)}")
                    raise ValueError(f"rung {rung.name}: input {name} {shape}; {right} would be right")
        groups = (self.style_groups.coarse, self.style_groups.middle, self.style_groups.fine)
        ends = [0] + [end for _, end in groups]
        if [start for start, _ in groups] != ends[:-1] or ends[-1] != self.num_ws or sorted(ends) != ends:
            raise ValueError(f"style_groups must divide 0 to {self.num_ws} without gaps, found {groups}")
        return self


class Effect(Model):
    """An image network: `image`, uint8 (height, width, 3) RGB, to a picture of the rung's size."""

    kind: Literal["effect"]
    rung: Rung

    def files(self) -> tuple[File, ...]:
        """Return every file that the manifest names."""
        return (*self.rung.versions, self.golden)

    @model_validator(mode="after")
    def _one_picture(self) -> "Effect":
        shapes = list(self.rung.inputs.values())
        if list(self.rung.inputs) != ["image"] or len(shapes[0]) != 3 or shapes[0][2] != 3:
            raise ValueError(f"rung.inputs is {self.rung.inputs}, image (height, width, 3) would be right")
        return self


class Musician(Model):
    """A music model that is called once for each event.

    `channel` is the MIDI channel that its notes are for (10: drums, by the numbers of General MIDI). `notes`
    are the pitches that it has learnt. Without `note_offs` it says when a note begins, and not when it ends.
    With a `bpm` its time is that of the beat: a time shift lasts `time_shift_ms` at that tempo.
    """

    kind: Literal["musician"]
    alphabet: Literal["performance-388"]
    time_shift_ms: PositiveInt
    velocity_bins: PositiveInt
    channel: Annotated[int, Field(ge=1, le=16)] = 1
    notes: tuple[Annotated[int, Field(ge=0, le=127)], ...] = tuple(range(128))
    note_offs: bool = True
    bpm: Annotated[float, Field(gt=0)] | None = None
    conditions: Conditions = Conditions()
    step: Step

    def files(self) -> tuple[File, ...]:
        """Return every file that the manifest names."""
        return (self.step, self.golden)

    @model_validator(mode="after")
    def _agree(self) -> "Musician":
        width = self.conditions.width
        if self.step.inputs.get("condition", (1, 0)) != (1, width):
            raise ValueError(f"step: input condition must be {(1, width)}, as conditions says")
        return self


class Text(Model):
    """A model of text, called once for each character; class n is the n-th of `characters`."""

    kind: Literal["text"]
    characters: Annotated[str, Field(min_length=2)]
    step: Step

    def files(self) -> tuple[File, ...]:
        """Return every file that the manifest names."""
        return (self.step, self.golden)


Manifest = Generator | Effect | Musician | Text
_ADAPTER: TypeAdapter[Any] = TypeAdapter(Annotated[Manifest, Field(discriminator="kind")])


def entry(path: Path) -> dict[str, Any]:
    """Return a manifest's description of a file."""
    return {"file": path.name, "sha256": _digest(path), "bytes": path.stat().st_size}


def _digest(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def load(folder: Path) -> Manifest:
    """Return the manifest of a model folder, every file in it checked; ManifestError where one won't do."""
    manifest = read(folder)
    for file in manifest.files():
        _check(folder, file)
    return manifest


def read(folder: Path) -> Manifest:
    """Return the manifest of a model folder, its files not looked at; ManifestError where it won't do."""
    path = folder / FILE
    try:
        text = path.read_bytes()[: MOST_BYTES + 1]
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror}); a model folder has one") from error
    if len(text) > MOST_BYTES:
        raise ManifestError(f"{path}: over {MOST_BYTES} bytes, which no manifest needs")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{path}: not JSON ({error}); export the model again") from error
    try:
        manifest: Manifest = _ADAPTER.validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise ManifestError(f"{path}: {where}: {first['msg']}") from error
    manifest._folder = folder
    return manifest


def _check(folder: Path, file: File) -> None:
    path = folder / file.file
    if path.resolve().parent != folder.resolve():
        raise ManifestError(f"{path}: leads outside its folder; copy the file itself there")
    if not path.is_file():
        raise ManifestError(f"{path}: named in {FILE} but missing; copy the whole folder again")
    size = path.stat().st_size
    if size != file.bytes:
        raise ManifestError(f"{path}: {size} bytes, {FILE} says {file.bytes}; copy the file again")
    digest = _digest(path)
    if digest != file.sha256:
        raise ManifestError(f"{path}: SHA-256 {digest}, {FILE} says {file.sha256}; copy the file again")
