"""Two processes train one network: each network of the catalogue, over gloo on loopback."""

import multiprocessing
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recommenders.events.interactions import Interactions
from recommenders.models.networks.distributed import of_first_process, part_of_process, rank

SETTINGS: dict[str, dict[str, Any]] = {
    "neural_collaborative": {"embedding_dim": 6, "hidden_layers": (12, 5), "batch_size": 16},
    "sasrec": {"embedding_dim": 6, "history_length": 12, "batch_tokens": 32},
    "sasrec on samples": {"embedding_dim": 6, "batch_tokens": 32, "full_softmax_items": 0, "n_negatives": 4},
}


def fit(number: int, port: int, folder: Path) -> None:
    """Trains each network in one of two processes, and writes its weights and the epochs that it reported."""
    from torch import distributed

    from recommenders.models.catalog import model_class
    from recommenders.models.recommender import TrainingOptions

    address = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=address, rank=number, world_size=2)
    log = Interactions.load(folder / "log")
    for case, settings in SETTINGS.items():
        reported: list[int] = []
        options = TrainingOptions(
            checkpoints=folder / "checkpoints", on_epoch=lambda epoch, _, to=reported: to.append(epoch)
        )
        model = model_class(case.split()[0])
        fitted = model(model.Config(**settings, epochs=4, patience=4)).fit(log, options=options)
        np.savez(folder / f"{case} {number}.npz", reported=np.array(reported), **fitted.arrays())
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def trained(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes wrote what they trained together."""
    folder = tmp_path_factory.mktemp("trained")
    world[0].save(folder / "log")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=fit, args=(number, port, folder)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", SETTINGS)
def test_two_processes_end_with_the_same_network_and_one_reports(case: str, trained: Path) -> None:
    first, second = (dict(np.load(trained / f"{case} {number}.npz")) for number in range(2))
    assert first.pop("reported").tolist() == [1, 2, 3, 4]
    assert second.pop("reported").tolist() == []
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)
    assert not list((trained / "checkpoints").iterdir())


def test_one_process_has_all_batches_and_its_own_values() -> None:
    assert list(part_of_process(iter(range(5)))) == [0, 1, 2, 3, 4]
    assert of_first_process("value") == "value"
    assert rank() == 0
