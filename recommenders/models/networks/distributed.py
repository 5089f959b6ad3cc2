"""The processes that train one network together (torch.distributed). Without them, all is as for one process."""

from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


def n_processes() -> int:
    """The number of processes that train together, 1 without torch.distributed."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return distributed.get_rank() if n_processes() > 1 else 0


def averaging_gradients(module: nn.Module, uses_all: bool) -> nn.Module:
    """The module, whose gradients are averaged over the processes in each backward pass.

    uses_all: whether every forward pass uses all parameters.
    """
    return DistributedDataParallel(module, find_unused_parameters=not uses_all) if n_processes() > 1 else module


def part_of_process(batches: Iterator[T]) -> Iterator[T]:
    """Every n-th batch. All processes get as many, so that none waits for another: left-over batches are left out."""
    while len(group := list(islice(batches, n_processes()))) == n_processes():
        yield group[rank()]


def of_first_process(value: T) -> T:
    """The value that the first process has."""
    values = [value]
    if n_processes() > 1:
        distributed.broadcast_object_list(values, src=0)
    return values[0]
