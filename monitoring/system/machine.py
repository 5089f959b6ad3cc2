"""The processors, the memory and the GPUs of this machine."""

from collections.abc import Iterator
from typing import Any

import psutil
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily


def processors_and_memory() -> Iterator[Metric]:
    """Yields the metrics. In a container they are those of the whole machine."""
    times = psutil.cpu_times()._asdict()
    idle = times["idle"] + times.get("iowait", 0.0)
    total = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)  # user contains these two
    seconds = CounterMetricFamily("tradewind_machine_cpu_seconds", "Time of all processors.", labels=["mode"])
    seconds.add_metric(["busy"], total - idle)
    seconds.add_metric(["idle"], idle)
    memory = psutil.virtual_memory()
    yield seconds
    yield GaugeMetricFamily("tradewind_machine_memory_size_bytes", "Memory of the machine.", memory.total)
    yield GaugeMetricFamily(
        "tradewind_machine_memory_available_bytes", "Memory that programs can get at once.", memory.available
    )


def gpus() -> Iterator[Metric]:
    """Yields the metrics of NVIDIA's GPUs; they have no sample without a GPU or without the extra `gpu`.

    Raises pynvml.NVMLError if a GPU does not answer.
    """
    used = GaugeMetricFamily("tradewind_gpu_utilization_ratio", "Share of time in which it computes.", labels=["gpu"])
    memory = GaugeMetricFamily("tradewind_gpu_memory_used_bytes", "Memory of the GPU in use.", labels=["gpu"])
    size = GaugeMetricFamily("tradewind_gpu_memory_size_bytes", "Memory of the GPU.", labels=["gpu"])
    if (nvml := _nvml()) is not None:
        try:
            for number in range(nvml.nvmlDeviceGetCount()):
                device = nvml.nvmlDeviceGetHandleByIndex(number)
                found = nvml.nvmlDeviceGetMemoryInfo(device)
                used.add_metric([str(number)], nvml.nvmlDeviceGetUtilizationRates(device).gpu / 100)
                memory.add_metric([str(number)], found.used)
                size.add_metric([str(number)], found.total)
        finally:
            nvml.nvmlShutdown()
    yield from (used, memory, size)


def _nvml() -> Any:
    """NVIDIA's library, ready for use; None if it or its driver is not installed."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return None
    return pynvml
