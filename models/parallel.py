"""Training in several processes, one for each GPU, as `torchrun` starts them; alone it does nothing."""

import os
from collections.abc import Iterable

import torch
from torch import Tensor, distributed


def start() -> torch.device:
    """Join the other processes, if `torchrun` started any; return this one's device."""
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if "WORLD_SIZE" in os.environ and not distributed.is_initialized():
        distributed.init_process_group("nccl" if cuda else "gloo")
    return torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")


def finish() -> None:
    """Leave the other processes."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def rank() -> int:
    """Return the number of this process; 0 writes the files."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


# What DistributedDataParallel does after each backward pass. Its own hooks expect one forward pass that uses
# every weight, where the game has two networks, several passes to a step, and levels that play later.
def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace each gradient by the mean over the processes, so that all take the same step."""
    if world() == 1:
        return
    gradients = [each.grad for each in parameters if each.grad is not None]
    flat = torch.cat([each.reshape(-1) for each in gradients])
    distributed.all_reduce(flat)
    flat /= world()
    at = 0
    for each in gradients:
        each.copy_(flat[at : at + each.numel()].view_as(each))
        at += each.numel()


def most(*values: float) -> list[float]:
    """Return the largest of each value over the processes: what one has spent or wants, all act on."""
    if world() == 1:
        return list(values)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    agreed = torch.tensor(values, dtype=torch.float64, device=device)
    distributed.all_reduce(agreed, distributed.ReduceOp.MAX)
    found: list[float] = agreed.tolist()
    return found
