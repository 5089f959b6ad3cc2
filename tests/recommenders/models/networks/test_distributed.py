"""Two processes train one network: each network, over gloo on loopback. Errors of one end both."""

import multiprocessing
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recommenders.events.interactions import Interactions
from recommenders.models.networks.distributed import in_first_process, of_first_process, part_of_process, rank

SETTINGS: dict[str, dict[str, Any]] = {
    "neural_collaborative": {"embedding_dim": 6, "hidden_layers": (12, 5), "batch_size": 16},
    "sasrec": {"embedding_dim": 6, "history_length": 12, "batch_tokens": 32},
    "sasrec on samples": {"embedding_dim": 6, "batch_tokens": 32, "full_softmax_items": 0, "n_negatives": 4},
}


def fit(number: int, port: int, folder: Path) -> None:
    """Trains each network in one of two processes, and writes its weights and the epochs that it reported.

    Then a callback fails; writes the error that ends the fit.
    """
    from torch import distributed

    from recommenders.models.all_models import model_class
    from recommenders.models.networks.sasrec import training
    from recommenders.models.recommender import TrainingOptions

    training.MIN_STEPS_PER_EPOCH = 3  # each step waits for the other process
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
    (folder / f"error {number}.txt").write_text(error_of_a_failing_callback(log))
    distributed.destroy_process_group()


def error_of_a_failing_callback(log: Interactions) -> str:
    """The error that ends a fit in this process after the callback failed in the first one."""
    from recommenders.models.networks.sasrec.model import SASRec
    from recommenders.models.recommender import TrainingOptions

    def fail(epoch: int, _: dict[str, float]) -> bool:
        raise InterruptedError(f"interrupted at epoch {epoch}")

    try:
        SASRec(SASRec.Config(**SETTINGS["sasrec"])).fit(log, options=TrainingOptions(on_epoch=fail))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "none"


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


@pytest.mark.slow
def test_an_error_of_the_callback_ends_both_processes(trained: Path) -> None:
    first, second = ((trained / f"error {number}.txt").read_text() for number in range(2))
    assert first == "InterruptedError: interrupted at epoch 1"
    assert second == (
        f"FirstProcessError: the first training process failed: got {first}; correct it there and start all again"
    )


def test_one_process_has_all_batches_and_its_own_values() -> None:
    assert list(part_of_process(iter(range(5)))) == [0, 1, 2, 3, 4]
    assert of_first_process("value") == "value"
    assert in_first_process(lambda: "value") == "value"
    assert rank() == 0
