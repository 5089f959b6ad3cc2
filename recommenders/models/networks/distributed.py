"""The processes that train one network together (torch.distributed). Without them, all is as for one process."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, TypeVar

from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from recommenders.errors import FirstProcessError

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
    return in_first_process(lambda: value)


def in_first_process(compute: Callable[[], T]) -> T:
    """What the first process alone computes; the others wait for it. If it fails there, they raise FirstProcessError.

    Otherwise they would wait for a process that has left, until the time limit of torch.distributed.
    """
    if n_processes() == 1:
        return compute()
    outcome: list[Any] = [None, None]  # value, error as text
    try:
        if rank() == 0:
            outcome[0] = compute()
    except BaseException as error:
        outcome[1] = f"{type(error).__name__}: {error}"
        raise
    finally:
        distributed.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise FirstProcessError(outcome[1])
    value: T = outcome[0]
    return value
