"""What the inputs and the output of somebody's ONNX network are for, by their names, shapes and a run."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from models.importers import check
from models.importers.network import CheckpointError

Shape = tuple[int, ...]
Free = tuple[int | None, ...]  # None: left open
Layout = Literal["nchw", "nhwc"]
RANGES = ((-1.0, 1.0), (0.0, 1.0), (0.0, 255.0))
SIDE = 256  # px, of a picture whose size is left open
_LATENT = re.compile(r"z|latent|latents|z_?latent|input|noise|vector|seed|ws?", re.IGNORECASE)
_LABEL = re.compile(r"label|class|cond|one_?hot|^[yc]$", re.IGNORECASE)
_PSI = re.compile(r"trunc|psi", re.IGNORECASE)
_PROBES = 4


class Question(CheckpointError):
    """Something is left open; `option` of the import settles it, with one of `answers`."""

    def __init__(self, text: str, option: str, answers: tuple[str, ...]) -> None:
        super().__init__(f"{text}; say --{option} {' | '.join(answers)}")
        self.text, self.option, self.answers = text, option, answers


@dataclass(frozen=True)
class Hints:
    """What the user has said; None is to be worked out."""

    latent: str | None = None
    label: str | None = None
    output: str | None = None
    layout: Layout | None = None
    range: tuple[float, float] | None = None
    size: int | None = None  # of pictures that come in at any size, in pixels


@dataclass(frozen=True)
class Roles:
    """What each input and the output are for, with the shapes that they are run with.

    `latent` is empty for an image network, `picture` for a generator. A label of whole numbers has `classes`
    of 0 until the user says how many. `range` is what black and white are in the output (and the input).
    """

    output: str
    layout: Layout
    range: tuple[float, float]
    channels: int
    height: int  # px, of the picture that comes out
    width: int
    latent: str = ""
    picture: str = ""
    label: str = ""
    psi: str = ""
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    noises: tuple[str, ...] = ()


@dataclass(frozen=True)
class Input:
    """An input as the graph declares it."""

    name: str
    shape: Free
    dtype: np.dtype[Any]


def inputs_of(model: onnx.ModelProto) -> list[Input]:
    """Return the inputs that have no value of their own."""
    constants = {tensor.name for tensor in model.graph.initializer}
    found = []
    for value in model.graph.input:
        if value.name not in constants:
            dims = value.type.tensor_type.shape.dim
            shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
            found.append(Input(value.name, shape, check.dtype_of(value)))
    return found


def _batch_of_one(shape: Free) -> Free:
    """Return a shape with its first dimension, where it is open, set to one."""
    return (1, *shape[1:]) if shape and shape[0] is None else shape


def _is_picture(each: Input) -> bool:
    if len(each.shape) != 4:
        return False
    sides = each.shape[2:] if _channels_first(each.shape) else each.shape[1:3]
    return (_channels_first(each.shape) or _channels_last(each.shape)) and all(
        s is None or s >= 16 for s in sides
    )


def _channels_first(shape: Free) -> bool:
    return shape[-3] in (1, 3, 4)


def _channels_last(shape: Free) -> bool:
    return shape[-1] in (1, 3, 4)


def work_out(model: onnx.ModelProto, hints: Hints) -> Roles:
    """Return the roles. Raise Question where something is open, CheckpointError where it won't do."""
    inputs = {each.name: replace(each, shape=_batch_of_one(each.shape)) for each in inputs_of(model)}
    for option, name in (("latent", hints.latent), ("label", hints.label)):
        if name is not None and name not in inputs:
            raise CheckpointError(
                f"--{option} {name}: there is no such input; there are: {', '.join(inputs)}"
            )
    label = hints.label or next(
        (n for n, each in inputs.items() if _is_label(each) and n != hints.latent), ""
    )
    psi = next((n for n, each in inputs.items() if _PSI.search(n) and _is_number(each)), "")
    rest = {name: each for name, each in inputs.items() if name not in (label, psi)}
    pictures = [name for name, each in rest.items() if _is_picture(each) and name != hints.latent]
    if len(rest) == 1 and pictures:
        return _image_network(model, rest[pictures[0]], hints)
    latent = hints.latent or _latent_of(rest)
    shapes = {latent: _settled(rest[latent])}
    shapes |= {name: _settled(inputs[name]) for name in (label, psi) if name}
    noises = tuple(name for name in rest if name != latent)
    shapes |= {name: _settled(rest[name]) for name in noises}
    for name in noises:
        if rest[name].dtype.kind != "f":
            raise CheckpointError(f"input {name!r} is neither latent, label, truncation nor noise; remove it")
    roles = Roles(
        "", "nchw", (0.0, 1.0), 3, 0, 0, latent=latent, label=label, psi=psi, shapes=shapes, noises=noises
    )
    return _probed(model, roles, inputs, hints)


def _is_label(each: Input) -> bool:
    if not _LABEL.search(each.name):
        return False
    return len(each.shape) == 2 or (each.dtype.kind in "iu" and len(each.shape) <= 1)


def _is_number(each: Input) -> bool:
    return each.dtype.kind == "f" and all(side in (1, None) for side in each.shape) and len(each.shape) <= 2


def _latent_of(inputs: Mapping[str, Input]) -> str:
    """Return the name of the latent: the one vector there is, or the one that is named like it."""
    vectors = {n: each for n, each in inputs.items() if each.dtype.kind == "f" and _is_vector(each.shape)}
    if len(vectors) == 1:
        return next(iter(vectors))
    named = [name for name in vectors if _LATENT.fullmatch(name)]
    if len(named) == 1:
        return named[0]
    if not vectors:
        raise CheckpointError(
            "no input is a vector of latents, nor is there one picture alone; found "
            + ", ".join(f"{each.name} {_words(each.shape)}" for each in inputs.values())
        )
    raise Question("which input takes the latents?", "latent", tuple(named or vectors))


def _is_vector(shape: Free) -> bool:
    """Tell whether a shape is that of latents: (1, n), (1, n, 1, 1), or (1, num_ws, n)."""
    return len(shape) in (2, 3) or (len(shape) == 4 and shape[2:] == (1, 1))


def _settled(each: Input) -> Shape:
    """Return the shape of an input. Raise CheckpointError where a side is open."""
    if None in each.shape:
        raise CheckpointError(
            f"input {each.name!r} {_words(each.shape)} has an open side; export it with a fixed one"
        )
    return tuple(side or 0 for side in each.shape)


def _words(shape: Free) -> str:
    return "(" + ", ".join("?" if side is None else str(side) for side in shape) + ")"


def open_session(model: onnx.ModelProto, threads: int = 0) -> onnxruntime.InferenceSession:
    """Return a session on the CPU. Raise CheckpointError, naming the node, where one can't run there."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what matters is raised
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise CheckpointError(f"ONNX Runtime can't load it: {check.first_line(error)}") from None


def _run(session: onnxruntime.InferenceSession, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    try:
        outputs = session.run(None, dict(feed))
    except Exception as error:
        raise CheckpointError(f"a trial run failed: {check.first_line(error)}") from None
    return {
        output.name: np.asarray(value) for output, value in zip(session.get_outputs(), outputs, strict=True)
    }


def _probed(model: onnx.ModelProto, roles: Roles, inputs: Mapping[str, Input], hints: Hints) -> Roles:
    """Return the roles with what a few runs show: which output is the picture, its layout, size and range."""
    check.cost(model, roles.shapes)
    session = open_session(model)
    rng = np.random.default_rng(0)
    runs = [_run(session, _feed(roles, inputs, rng, number)) for number in range(_PROBES)]
    output = _output_of(runs[0], hints)
    pictures = [run[output] for run in runs]
    if max(np.abs(pictures[0].astype(float) - other).max() for other in pictures[1:]) == 0.0:
        raise CheckpointError(
            f"output {output!r} is the same for different {roles.latent!r}: not their picture"
        )
    return replace(roles, output=output, **_picture(model, pictures, output, hints))


def _feed(
    roles: Roles, inputs: Mapping[str, Input], rng: np.random.Generator, number: int
) -> dict[str, NDArray[Any]]:
    """Return inputs for a trial run; vectors of classes take turns by number."""
    feed: dict[str, NDArray[Any]] = {}
    for name, shape in roles.shapes.items():
        dtype = inputs[name].dtype
        if name == roles.label:
            feed[name] = one_hot(shape, number, dtype)
        elif name == roles.psi:
            feed[name] = np.ones(shape, dtype)
        else:
            feed[name] = rng.standard_normal(shape).astype(dtype)
    return feed


def check_classes(model: onnx.ModelProto, roles: Roles, classes: int) -> None:
    """Raise CheckpointError where a label of whole numbers does not count so many classes."""
    inputs = {each.name: each for each in inputs_of(model)}
    feed = _feed(roles, inputs, np.random.default_rng(0), 0)
    feed[roles.label] = np.full_like(feed[roles.label], classes - 1)
    session = open_session(model)
    try:
        _run(session, feed)
    except CheckpointError as error:
        raise CheckpointError(f"--classes names {classes}, and {roles.label!r} has fewer: {error}") from None


def one_hot(shape: Shape, number: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a label: one-hot where it is a vector, else the number of a class."""
    if len(shape) == 2 and shape[1] > 1:
        return np.eye(shape[1], dtype=dtype)[[number % shape[1]]]
    return np.full(shape, 0, dtype)


def _output_of(outputs: Mapping[str, NDArray[Any]], hints: Hints) -> str:
    if hints.output is not None:
        if hints.output not in outputs:
            raise CheckpointError(
                f"--output {hints.output}: there is no such output; there are: {', '.join(outputs)}"
            )
        return hints.output
    likely = [
        n
        for n, v in outputs.items()
        if v.ndim in (3, 4) and (_channels_first(v.shape) or _channels_last(v.shape))
    ]
    if not likely:
        found = ", ".join(f"{name} {value.shape}" for name, value in outputs.items())
        raise CheckpointError(f"no output is a picture of 1, 3 or 4 channels; found {found}")
    largest = max(outputs[name].size for name in likely)
    likely = [name for name in likely if outputs[name].size == largest]
    if len(likely) > 1:
        raise Question("which output is the picture?", "output", tuple(likely))
    return likely[0]


def _picture(
    model: onnx.ModelProto, pictures: list[NDArray[Any]], output: str, hints: Hints
) -> dict[str, Any]:
    """Return layout, channels, size and range of an output."""
    shape = pictures[0].shape
    layout: Layout | None = hints.layout
    first, last = _channels_first(shape), _channels_last(shape)
    if layout is None:
        if first and last:
            raise Question(f"the output {shape} has its channels first or last?", "layout", ("nchw", "nhwc"))
        layout = "nchw" if first else "nhwc"
    if not (first if layout == "nchw" else last):
        raise CheckpointError(f"--layout {layout}: the output is {shape}")
    height, width = shape[-2:] if layout == "nchw" else shape[-3:-1]
    channels = shape[-3] if layout == "nchw" else shape[-1]
    if prod(shape) != channels * height * width:
        raise CheckpointError(f"the output {shape} is more than one picture")
    if min(height, width) < 4 or max(height, width) > 4096:
        raise CheckpointError(f"the picture is {width} x {height}; 4 to 4096 would be right")
    if not all(np.isfinite(picture.astype(float)).all() for picture in pictures):
        raise CheckpointError("the picture has values that are no numbers")
    return {
        "layout": layout, "channels": channels, "height": height, "width": width,
        "range": hints.range or _range(model, np.stack(pictures), output),
    }  # fmt: skip


# A network that ends in tanh reaches from -1 to 1, in a sigmoid from 0 to 1. Without either the values
# decide: nothing negative is a picture from 0 on, and above a few units it must be one of 255 levels.
def _range(model: onnx.ModelProto, pictures: NDArray[Any], output: str) -> tuple[float, float]:
    if pictures.dtype == np.uint8:
        return 0.0, 255.0
    makers = {name: node for node in model.graph.node for name in node.output}
    node = makers.get(output)
    while node is not None and node.op_type in ("Identity", "Transpose", "Cast", "Reshape", "Squeeze"):
        node = makers.get(node.input[0])
    last = node.op_type if node is not None else ""
    low, high = float(pictures.min()), float(pictures.max())
    if last == "Sigmoid":
        return 0.0, 1.0
    if last == "Tanh":
        return -1.0, 1.0
    if low < -0.05 and high < 8.0:
        return -1.0, 1.0
    if high > 16.0:
        return 0.0, 255.0
    if high <= 1.05:
        return 0.0, 1.0
    answers = tuple(",".join(f"{end:g}" for end in ends) for ends in RANGES)
    raise Question(
        f"the values of the picture lie from {low:.2g} to {high:.2g}: what are black and white?",
        "range",
        answers,
    )


def _image_network(model: onnx.ModelProto, given: Input, hints: Hints) -> Roles:
    """Return the roles of a network from picture to picture."""
    first, last = _channels_first(given.shape), _channels_last(given.shape)
    if first and last and hints.layout is None:
        raise Question(f"{given.name} has its channels first or last?", "layout", ("nchw", "nhwc"))
    layout: Layout = hints.layout or ("nchw" if first else "nhwc")
    channels = given.shape[1 if layout == "nchw" else 3]
    if channels == 4:
        raise CheckpointError(f"input {given.name!r} has four channels, and pictures here have three")
    sides = given.shape[2:] if layout == "nchw" else given.shape[1:3]
    height, width = (side or hints.size or SIDE for side in sides)
    batch = 3 if channels == 1 else 1  # each colour by itself
    declared = next(value for value in model.graph.input if value.name == given.name)
    if batch == 3 and declared.type.tensor_type.shape.dim[0].dim_value == 1:
        raise CheckpointError(
            f"input {given.name!r} takes one channel of one picture; export it for any batch"
        )
    shape = (
        (batch, channels or 3, height, width) if layout == "nchw" else (batch, height, width, channels or 3)
    )
    check.cost(model, {given.name: shape})
    session = open_session(model)
    seen = _test_picture(height, width)  # (height, width, 3), 0 to 1
    found: dict[tuple[float, float], dict[str, NDArray[Any]]] = {}
    for low, high in (hints.range,) if hints.range else RANGES:
        fed = np.moveaxis(seen, 2, 0)[:, None] if channels == 1 else np.moveaxis(seen, 2, 0)[None]
        if layout == "nhwc":
            fed = np.moveaxis(fed, 1, 3)
        found[low, high] = _run(session, {given.name: (low + fed * (high - low)).astype(given.dtype)})
    output = _output_of(next(iter(found.values())), hints)
    ends = hints.range or _same_range({ends: run[output] for ends, run in found.items()})
    values = found[ends][output]
    if values.ndim == 4 and values.shape[0] == 3:  # each colour by itself: as if in one
        axis = 1 if layout == "nchw" else 3
        values = np.concatenate(np.split(values, 3, 0), axis)
    fixed = _picture(model, [values], output, replace(hints, range=ends))
    fixed["channels"] = channels or 3
    return Roles(output, picture=given.name, shapes={given.name: shape}, **{"range": ends, **fixed})


def _test_picture(height: int, width: int) -> NDArray[np.float64]:
    """Return a picture with edges, ramps and grain, (height, width, 3), 0 to 1."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    disc = ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.1).astype(float)
    grain = np.random.default_rng(0).random((height, width))
    return np.stack([x, y, 0.7 * disc + 0.3 * grain], axis=2).clip(0.0, 1.0)


def _same_range(outputs: Mapping[tuple[float, float], NDArray[Any]]) -> tuple[float, float]:
    """Return the range in which what goes in comes out: that of the output whose values fill it best."""
    fits = {}
    for (low, high), values in outputs.items():
        middle = np.percentile(values.astype(float), (2.0, 98.0))
        fits[low, high] = abs(middle[0] - low) + abs(middle[1] - high)
        fits[low, high] /= high - low
    best = min(fits, key=lambda ends: fits[ends])
    if fits[best] > 0.8:
        answers = tuple(",".join(f"{end:g}" for end in ends) for ends in RANGES)
        raise Question("what are black and white, in the network's pictures?", "range", answers)
    return best
