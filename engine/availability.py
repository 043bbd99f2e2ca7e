"""Whether an engine can run here, asked without importing any of its libraries: what is missing, and what mends it.

`auto`, `stembridge doctor` and the daemon's start ask this; so the answer must come in milliseconds. A GPU is judged by
what its driver leaves on the system. Whether torch can use it is only known once torch is loaded, and said then.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from protocol.errors import StembridgeError

LIBRARIES = ("torch", "diffusers", "transformers")
"""What `acestep` needs beside this package."""

_DRIVER_FILES = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Left by the drivers of NVIDIA, AMD (ROCm), and of Windows for the Linux inside it."""


def why_not(name: str, options: Mapping[str, Any]) -> str | None:
    """Why the engine `name` cannot run here with these options, in sentences that say what mends it; None if it can.

    `options` are those of the configuration's section of that name. Only `acestep` needs anything beyond this package.
    """
    return " ".join(_lacks_of_acestep(options)) or None if name == "acestep" else None


def missing_libraries() -> list[str]:
    """Those of `LIBRARIES` that are not installed."""
    return [library for library in LIBRARIES if find_spec(library) is None]


def _lacks_of_acestep(options: Mapping[str, Any]) -> Iterator[str]:
    missing = missing_libraries()
    if missing:
        yield (
            f"The engine 'acestep' needs {', '.join(missing)}, not installed here: pip install 'stembridge[acestep]'."
        )
    if complaint := _checkpoint_lacks(options):
        yield complaint
    yield from _loras_lack(options)
    if options.get("device") != "cpu" and not missing and _torch_is_for_cpu():
        yield (
            "The PyTorch that is installed was built without GPU support. Install one for your GPU "
            "(https://pytorch.org/get-started/locally)."
        )
    if options.get("device") != "cpu" and not has_gpu():
        yield (
            "The engine 'acestep' found no GPU. Install the GPU's driver; or, to let it work on the CPU, which takes "
            'minutes where a GPU takes seconds, set device = "cpu" under [acestep] in the configuration.'
        )


def _checkpoint_lacks(options: Mapping[str, Any]) -> str:
    """What is wrong with the configured checkpoint, empty if nothing is."""
    try:
        from engine.acestep.checkpoints import find

        folder = options.get("models_dir")
        find(str(options.get("checkpoint", "xl-base")), Path(folder) if folder else None)
    except StembridgeError as error:
        return error.sentence
    except (ImportError, OSError) as error:
        return f"The checkpoint of the engine 'acestep' cannot be looked for: {error}."
    return ""


def _loras_lack(options: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the configured adapters."""
    from engine.acestep.checkpoints import find_lora

    for lora in options.get("lora", ()):
        try:
            find_lora(str(lora["path"]))
        except StembridgeError as error:
            yield error.sentence


def _torch_is_for_cpu() -> bool:
    """Whether the installed torch can use no GPU, from a line of its version file: importing it takes a second."""
    if sys.platform == "darwin":
        return False
    found = find_spec("torch")
    try:
        text = (Path(found.origin or "").parent / "version.py").read_text(encoding="utf-8") if found else ""
    except OSError:
        return False
    built_for = dict(re.findall(r"^(cuda|hip)(?::[^=\n]*)? = (.+)$", text, flags=re.MULTILINE))
    return bool(built_for) and set(built_for.values()) == {"None"}


def has_gpu() -> bool:
    """True if the system has the driver of a GPU that torch may be able to use."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        return (Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "nvcuda.dll").is_file()
    return shutil.which("nvidia-smi") is not None or any(Path(file).exists() for file in _DRIVER_FILES)
