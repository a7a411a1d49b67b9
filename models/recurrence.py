"""Runs an exported recurrent network on one CPU core, an event a step."""

import math
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from models import manifest

Array = NDArray[np.float32]


# A session's `run` looks up every input and wraps every output: 145 us for a step of 65. Here all of them are
# bound once, to two rows of memory that stay where they are, and a step copies the state into the one and out
# of the other: 4 kB, half a microsecond. What comes out is the caller's own.
class Recurrence:
    """The step graph of a musician or a text model. Raise OSError or ValueError where it cannot be run.

    `silence` (state,) is the state before the first event, all zeros, its parts laid end to end. `condition`
    (1, columns) is what is asked for, to be filled in place: zeros, nothing, to begin with.
    """

    def __init__(self, model: manifest.Musician | manifest.Text) -> None:
        import onnxruntime as ort  # here, since the main process imports what runs this, and never runs it

        step = model.step
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        graph = model.path(step.file).read_bytes()  # bytes cannot name a second file
        session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        (self._classes,) = (end.shape[-1] for end in session.get_outputs() if end.name == step.output)
        shapes = [step.inputs[name] for name in step.state]
        self.silence: Array = np.zeros(sum(map(math.prod, shapes)), np.float32)
        self.condition: Array = np.zeros(step.inputs.get("condition", (1, 0)), np.float32)
        self._event, self._before = np.zeros(1, np.int64), self.silence.copy()
        self._after = np.zeros(self._classes + len(self.silence), np.float32)  # the logits, then the state
        inputs = {"event": self._event} | dict(zip(step.state, _parts(self._before, shapes), strict=True))
        if "condition" in step.inputs:
            inputs["condition"] = self.condition
        ends, shapes = [step.output, *step.state.values()], [(1, self._classes), *shapes]
        binding, held = session.io_binding(), ort.OrtValue.ortvalue_from_numpy
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, held(array))
        for name, array in zip(ends, _parts(self._after, shapes), strict=True):
            binding.bind_ortvalue_output(name, held(array))
        self._run, self._binding = session.run_with_iobinding, binding

    def step(self, event: int, state: Array) -> tuple[Array, Array]:
        """Return the logits (classes,) of what follows an event after a state, and the state after it."""
        self._event[0] = event
        self._before[:] = state
        self._run(self._binding)
        after = self._after.copy()
        return after[: self._classes], after[self._classes :]


def _parts(row: Array, shapes: list[tuple[int, ...]]) -> list[Array]:
    """Return the parts of a row, laid end to end, each as an array of its shape in the same memory."""
    ends = list(accumulate(map(math.prod, shapes)))
    return [part.reshape(shape) for part, shape in zip(np.split(row, ends[:-1]), shapes, strict=True)]
