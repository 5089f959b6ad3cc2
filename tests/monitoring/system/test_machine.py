"""Processors and memory against psutil; GPUs by a stand-in for NVIDIA's library, as tests have no GPU."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pytest

from monitoring.system.machine import gpus, processors_and_memory

GB = 2**30


def values(metrics: Any) -> dict[tuple[str, str], float]:
    """Name of a series and value of its label -> value."""
    return {(s.name, "".join(s.labels.values())): s.value for metric in metrics for s in metric.samples}


def test_busy_and_idle_are_all_the_time_of_all_processors() -> None:
    before = values(processors_and_memory())
    sum(range(2_000_000))
    after = values(processors_and_memory())
    name = "tradewind_machine_cpu_seconds_total"
    assert after[name, "busy"] > before[name, "busy"]
    assert after[name, "idle"] >= before[name, "idle"]
    assert after["tradewind_machine_memory_size_bytes", ""] == psutil.virtual_memory().total
    assert 0 < after["tradewind_machine_memory_available_bytes", ""] < psutil.virtual_memory().total


def test_time_of_guests_is_part_of_the_time_of_users_and_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"user": 50.0, "system": 20.0, "idle": 100.0, "iowait": 5.0, "guest": 30.0, "guest_nice": 2.0}
    monkeypatch.setattr(psutil, "cpu_times", lambda: SimpleNamespace(_asdict=lambda: fields))
    found = values(processors_and_memory())
    assert found["tradewind_machine_cpu_seconds_total", "busy"] == 70
    assert found["tradewind_machine_cpu_seconds_total", "idle"] == 105


class Nvml(ModuleType):
    """NVIDIA's library for two GPUs; `fault` is raised by nvmlInit."""

    def __init__(self, fault: type[Exception] | None = None) -> None:
        super().__init__("pynvml")
        self.NVMLError_LibraryNotFound = type("NVMLError_LibraryNotFound", (Exception,), {})
        self.NVMLError_DriverNotLoaded = type("NVMLError_DriverNotLoaded", (Exception,), {})
        self.fault, self.is_open, self.broken = fault, False, False

    def nvmlInit(self) -> None:
        if self.fault:
            raise self.fault
        self.is_open = True

    def nvmlShutdown(self) -> None:
        self.is_open = False

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:
        assert self.is_open
        return number

    def nvmlDeviceGetMemoryInfo(self, device: int) -> SimpleNamespace:
        if self.broken:
            raise RuntimeError("GPU is lost")
        return SimpleNamespace(used=(device + 1) * GB, total=80 * GB)

    def nvmlDeviceGetUtilizationRates(self, device: int) -> SimpleNamespace:
        return SimpleNamespace(gpu=25 * (device + 1), memory=99)


def test_each_gpu_has_its_series(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert values(gpus()) == {
        ("tradewind_gpu_utilization_ratio", "0"): 0.25,
        ("tradewind_gpu_utilization_ratio", "1"): 0.5,
        ("tradewind_gpu_memory_used_bytes", "0"): GB,
        ("tradewind_gpu_memory_used_bytes", "1"): 2 * GB,
        ("tradewind_gpu_memory_size_bytes", "0"): 80 * GB,
        ("tradewind_gpu_memory_size_bytes", "1"): 80 * GB,
    }
    assert not nvml.is_open


def test_a_gpu_that_does_not_answer_is_an_error_and_the_library_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml()
    nvml.broken = True
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    with pytest.raises(RuntimeError, match="GPU is lost"):
        list(gpus())
    assert not nvml.is_open


@pytest.mark.parametrize("missing", ["library", "NVMLError_LibraryNotFound", "NVMLError_DriverNotLoaded"])
def test_without_a_gpu_there_is_no_series(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml()
    nvml.fault = getattr(nvml, missing, None)
    monkeypatch.setitem(sys.modules, "pynvml", None if missing == "library" else nvml)
    assert values(gpus()) == {}
