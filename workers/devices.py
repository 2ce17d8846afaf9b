"""What a worker computes on, and in which type."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import resource
from pathlib import Path

import torch

from autopeft.messages import Precision

# Where a container's memory limit stands: control groups of version 2, and of version 1.
CONTAINER_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def pick_device() -> torch.device:
    """Return the GPU that this process sees, else the CPU."""
    return torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")


def pick_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the type in which the frozen base is stored and computed; trained weights are float32 in any case.

    ``auto`` takes bfloat16 where the hardware multiplies it faster than float32: on a GPU that has it, and on a CPU
    with AMX. AVX512-BF16 alone does not do: an Emerald Rapids whose AMX is hidden from its guest takes twice as long.
    """
    if precision == "float32":
        return torch.float32
    if precision == "bfloat16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if torch.cpu.get_capabilities().get("amx_bf16") else torch.float32


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether this error says that memory was asked for and is not there; on a CPU torch has no type for it."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def least_gpu_bytes() -> int:
    """Return the memory of the smallest GPU that this process sees, in bytes; 0 where there is none."""
    sizes = [torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())]
    return min(sizes, default=0)


def device_name(device: torch.device, dtype: torch.dtype) -> str:
    """Return the device, its model and the type, for reports."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return f"{device.type} ({kind}, {str(dtype).removeprefix('torch.')})"


def reset_peak_memory(device: torch.device) -> None:
    """Begin a new peak: of the GPU, or of this process where its system can (Linux, by ``clear_refs``)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int:
    """Return the peak memory in bytes since the last reset: of the GPU, or of this process.

    A process keeps what it once had, so that on a CPU a run's peak is at least what the runs before it left.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with contextlib.suppress(OSError):
        found = re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def machine_memory() -> int:
    """Return the memory of this machine, or of the container that this process is in, in bytes."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in CONTAINER_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # not there, or "max"
            found.append(int(limit.read_text()))
    return min(found)


def share_of_machine() -> float:
    """Return this process's share of the machine: as many more run beside it as its threads leave cores for."""
    return min(1.0, torch.get_num_threads() / (os.cpu_count() or 1))
