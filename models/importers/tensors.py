"""Tensors as they lie in a file: what they are, and where; nothing is copied before it is asked for."""

import mmap
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_DIMENSIONS = 8
# Bytes of an element, and numpy's name for it; bfloat16, which numpy lacks, is the upper half of a float32.
KINDS: dict[str, str] = {
    "float16": "<f2", "float32": "<f4", "float64": "<f8", "bfloat16": "<u2", "uint8": "|u1", "int8": "|i1",
    "int16": "<i2", "int32": "<i4", "int64": "<i8", "bool": "|b1",
}  # fmt: skip


class TensorError(ValueError):
    """A tensor that says of itself what can't be."""


@dataclass(eq=False)
class Storage:
    """A row of numbers in a file; in some containers its bytes are found after it was named."""

    kind: str
    count: int
    data: memoryview = field(default_factory=lambda: memoryview(b""))

    def fill(self, data: memoryview) -> None:
        """Set the bytes, which must be as many as the numbers need."""
        needed = self.count * np.dtype(KINDS[self.kind]).itemsize
        if len(data) != needed:
            raise TensorError(f"a storage of {self.count} {self.kind} has {len(data)} bytes, not {needed}")
        self.data = data


@dataclass(eq=False)
class Tensor:
    """A tensor over a storage, `strides` and `offset` in elements."""

    storage: Storage
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    # A stride of zero would let a file of a few bytes claim a tensor of any size, so a tensor must not have
    # more elements than its storage, and the last one must lie inside.
    def __post_init__(self) -> None:
        whole = all(isinstance(number, int) for number in (*self.shape, *self.strides, self.offset))
        if not whole or len(self.shape) != len(self.strides) or len(self.shape) > MOST_DIMENSIONS:
            raise TensorError("a tensor whose shape is not one")
        if min((*self.shape, *self.strides, self.offset), default=0) < 0:
            raise TensorError(f"a tensor of shape {self.shape} has a negative size, stride or offset")
        last = self.offset + sum(
            (size - 1) * step for size, step in zip(self.shape, self.strides, strict=True)
        )
        elements: int = prod(self.shape)
        if elements > self.storage.count or (elements and last >= self.storage.count):
            raise TensorError(
                f"a tensor of shape {self.shape} is larger than its {self.storage.count} numbers"
            )

    @property
    def kind(self) -> str:
        """What the elements are."""
        return self.storage.kind

    @property
    def bytes(self) -> int:
        """How many bytes its elements take in the file."""
        return prod(self.shape) * np.dtype(KINDS[self.kind]).itemsize

    def array(self) -> NDArray[Any]:
        """Return a copy of the tensor, float32 whatever it is in the file."""
        dtype = np.dtype(KINDS[self.kind])
        flat = np.frombuffer(self.storage.data, dtype, count=self.storage.count)
        steps = tuple(step * dtype.itemsize for step in self.strides)
        view = np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, steps, writeable=False)
        if self.kind == "bfloat16":
            found = (view.astype(np.uint32) << 16).view(np.float32)
        else:
            found = view.astype(np.float32)
        _let_go(self.storage.data)
        return found


# What was read of a mapped file stays in this process's memory as long as the map does, though it may be had
# from the file again.
def _let_go(data: memoryview) -> None:
    """Let go of what is in memory of the file that a storage is mapped from, where the system can."""
    if isinstance(data.obj, mmap.mmap) and hasattr(data.obj, "madvise"):  # not on Windows
        data.obj.madvise(mmap.MADV_DONTNEED)


def contiguous(storage: Storage, shape: Sequence[int], fortran: bool = False) -> Tensor:
    """Return a tensor that fills its storage, row by row or, for `fortran`, column by column."""
    if not all(isinstance(size, int) for size in shape) or prod(shape) != storage.count:
        raise TensorError(f"an array whose shape does not fit its {storage.count} numbers")
    sizes = tuple(shape) if fortran else tuple(reversed(shape))
    steps = tuple(prod(sizes[:number]) for number in range(len(sizes)))
    return Tensor(storage, tuple(shape), steps if fortran else steps[::-1])
