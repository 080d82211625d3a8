"""Packages for a GPU in an image of a project that asks for none: gigabytes that are built, sent and kept for nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence

from toolkit.build.inventory.packages import Inventory, Package, normalized
from toolkit.config.settings import ExecutorConfig

_FOR_GPU = re.compile(
    # NVIDIA's own libraries; its bindings of the driver's management are 100 kB, and harmless.
    r"nvidia-(?!ml-py$).+"
    r"|cupy-cuda\d+x?|.+-cu\d\d+|jax-cuda\d*-(plugin|pjrt)|onnxruntime-gpu|tensorflow-gpu|paddlepaddle-gpu|faiss-gpu.*"
)
_LOCAL_VERSION = re.compile(r"\+(cu|cuda|rocm)\d*")
"""What PyTorch's and JAX's own indexes add to the version of a build for a GPU."""
_ONLY_FOR_GPU = ("torch", "triton", "pytorch-triton", "torchvision", "torchaudio")
"""They are built for CUDA where NVIDIA's libraries are installed for torch."""
_VARIABLES = ("CUDA_VERSION", "NVIDIA_VISIBLE_DEVICES", "NV_CUDA_LIB_VERSION", "NVIDIA_DRIVER_CAPABILITIES")
"""What a base image with CUDA sets."""
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def asks_for_gpu(config: ExecutorConfig) -> bool:
    """Whether any step of the project may have a GPU."""
    resources = [config.resources, *(one.resources for one in config.overrides.values())]
    return any(one is not None and (one.limits.gpu or one.requests.gpu) for one in resources)


def has_cuda(variables: Sequence[str]) -> bool:
    """Whether an image is made for GPUs, by its environment variables (``NAME=value``)."""
    return any(one.partition("=")[0] in _VARIABLES for one in variables)


def gpu_packages(inventory: Inventory) -> list[Package]:
    """The packages that are of use on a GPU alone, the largest first."""
    python = [one for one in inventory.of("python") if one.imported]
    found = [one for one in python if _FOR_GPU.fullmatch(normalized(one.name)) or _LOCAL_VERSION.search(one.version)]
    torch = next((one for one in python if normalized(one.name) == "torch"), None)
    if torch is not None and "+" not in torch.version and any(one.name.startswith("nvidia") for one in found):
        found += [one for one in python if normalized(one.name) in _ONLY_FOR_GPU and one not in found]
    found += [
        one for one in inventory.of("conda") if "cuda" in one.build or re.match("(lib)?cu(da|dnn|blas)", one.name)
    ]
    return sorted(found, key=lambda one: (-one.size, one.name))


def gpu_warning(inventory: Inventory, config: ExecutorConfig, variables: Sequence[str], lock: str = "") -> str:
    """The sentence about packages for a GPU that nothing asks for; "" where there are none.

    Args:
        variables: of the image's environment.
        lock: the file that declares the dependencies, where that is known.
    """
    if asks_for_gpu(config) or has_cuda(variables):
        return ""
    found = gpu_packages(inventory)
    if not found:
        return ""
    size = sum(one.size for one in found)
    amount = f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
    names = [one.name for one in found[:3]] + ([f"{len(found) - 3} more"] if len(found) > 3 else [])
    shown = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
    is_, takes = ("is", "takes") if len(found) == 1 else ("are", "take")
    return (
        f"{shown} {is_} built for GPUs and {takes} {amount}, and the configuration asks for no GPU "
        f"(executor.config.resources.limits.gpu). Unless a step asks for one itself: {_remedy(inventory, found, lock)}"
    )


def _remedy(inventory: Inventory, found: Sequence[Package], lock: str) -> str:
    there = {normalized(one.name) for one in inventory.of("python") if one.imported}
    if "torch" in there:
        if lock.endswith(("uv.lock", "pyproject.toml")):
            return f"`uv add torch --index pytorch-cpu={CPU_INDEX}` takes PyTorch's build without CUDA"
        if lock.endswith("poetry.lock"):
            return (
                f"`poetry source add --priority=explicit pytorch-cpu {CPU_INDEX}`, `poetry remove torch` and `poetry add --source "
                "pytorch-cpu torch` take PyTorch's build without CUDA"
            )
        torch = next(one for one in inventory.of("python") if one.imported and normalized(one.name) == "torch")
        build = f"PyTorch's build without CUDA is torch=={torch.version.partition('+')[0]}+cpu"
        if lock.endswith((".txt", ".in")):
            return f"{build}, with the line `--extra-index-url {CPU_INDEX}` in the requirements"
        return f"{build} on the index {CPU_INDEX}"
    if any(one.kind == "conda" and one.name == "pytorch" for one in found):
        return "pytorch-cpu is conda-forge's build without CUDA"
    for name, remedy in (
        ("tensorflow", "ask for tensorflow without its extra and-cuda"),
        ("jax", "ask for jax without its extra cuda12 or cuda13"),
        ("xgboost", "the distribution xgboost-cpu is the same without it"),
        ("onnxruntime-gpu", "the distribution onnxruntime is the same without it"),
        ("tensorflow-gpu", "the distribution tensorflow-cpu is the same without it"),
    ):
        if name in there:
            return remedy
    wanted = {normalized(one.name) for one in found}
    needs = sorted(one.name for one in inventory.of("python") if wanted & set(one.requires) and one not in found)
    return f"they are there because of {', '.join(needs[:3])}" if needs else "remove them from the dependencies"
