"""Extract by Demucs, a model that has learnt what instruments sound like, where the user has installed it.

The `[separate]` extra brings the package (MIT); its weights are fetched by the user, never in the middle of a job:
`lacks` says what is missing and the command that fetches it. Weights are read as the package publishes them now, one
YAML file and safetensors beside it, from `models_dir` or the Hugging Face cache; its older pickled files, which may run
code when loaded, are not read.

Promises: each part is exactly as long as the audio and at its rate (the model works at 44.1 kHz, so nothing above
22 kHz comes through); the same audio gives the same parts on the same machine; progress and `Cancelled` with each
segment of the model, 8 s or so. Nothing heavy is imported before `separate`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.api import IsCancelled, ReportProgress
from protocol.errors import BadArgument, EngineCannot, EngineError, EngineMissing
from protocol.job import Progress
from protocol.vocabulary import TrackClass

if TYPE_CHECKING:
    import torch

    from engine.api import Audio

MODELS = {"htdemucs": "HTDemucs", "htdemucs_ft": "HTDemucs-ft", "htdemucs_6s": "HTDemucs-6s"}
"""Names and repositories (of `adefossez` on the Hugging Face hub). ``_ft``: four times as slow, a little better;
``_6s``: guitar and piano as well, the piano poorly, as its author says."""

_LEARNT = {
    "drums": TrackClass.DRUMS,
    "bass": TrackClass.BASS,
    "vocals": TrackClass.VOCALS,
    "guitar": TrackClass.GUITAR,
    "piano": TrackClass.KEYBOARD,
}
_KLASSES = ("demucs.htdemucs.HTDemucs", "demucs.hdemucs.HDemucs", "demucs.demucs.Demucs")
"""The file names the class to build: no other is."""
_OVERLAP = 0.25


@dataclass(frozen=True)
class Options:
    """`separator`: ``auto`` takes Demucs if package and weights are there, ``masks`` never, ``demucs`` always.

    `models_dir` is a folder with the model's files in it, or in a folder named as the model or its repository; None:
    the Hugging Face cache. `device` is ``auto``, ``cpu`` or torch's name of another.
    """

    separator: str = "auto"
    separator_model: str = "htdemucs"
    models_dir: Path | None = None
    device: str = "auto"

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Options:
        """From the engine's options, whose other entries are ignored. Raises `BadArgument` for an unknown value."""
        known = {item.name: values[item.name] for item in fields(cls) if values.get(item.name) is not None}
        if "models_dir" in known:
            known["models_dir"] = Path(known["models_dir"]).expanduser()
        options = cls(**known)
        if options.separator not in ("auto", "masks", "demucs"):
            raise BadArgument(f"The separator is auto, masks or demucs, not {options.separator!r}.")
        if options.separator_model not in MODELS:
            raise BadArgument(f"The separator's model is one of {', '.join(MODELS)}, not {options.separator_model!r}.")
        return options


@dataclass(frozen=True)
class Offer:
    """Weights that lie ready. `sources` are what the model tells apart, in its order."""

    model: str
    bag: Path
    weights: tuple[Path, ...]
    sources: tuple[str, ...]

    @property
    def tracks(self) -> frozenset[TrackClass]:
        return frozenset(_LEARNT[source] for source in self.sources if source in _LEARNT)


def offer(values: Mapping[str, Any]) -> Offer | None:
    """What Demucs offers with these options; None where masks are to serve. Imports no torch.

    Raises `EngineMissing` if the options insist on Demucs and it is not there, `BadArgument` for what they cannot say.
    """
    options = Options.of(values)
    if options.separator == "masks":
        return None
    try:
        return _ready(options)
    except EngineMissing:
        if options.separator == "demucs":
            raise
        return None


def lacks(values: Mapping[str, Any]) -> str:
    """What Demucs needs before it could serve, in a sentence that says what to do; empty if nothing."""
    try:
        _ready(Options.of(values))
    except EngineMissing as error:
        return error.sentence
    return ""


def separate(
    audio: Audio,
    rate: int,
    tracks: Sequence[TrackClass],
    options: Mapping[str, Any],
    progress: ReportProgress,
    cancelled: IsCancelled,
) -> dict[TrackClass, Audio]:
    """The parts of `audio` ``(channels, frames)``, mono or stereo, at `rate`, each of its shape.

    Raises `EngineMissing`, `EngineCannot` for tracks that the model has not learnt and more than two channels,
    `EngineError` for damaged weights, `Cancelled`.
    """
    from engine.sketch.analysis import check

    told = Options.of(options)
    ready = _ready(told)
    unknown = sorted(set(tracks) - ready.tracks)
    if unknown:
        more = " Its sibling htdemucs_6s knows guitar and piano." if ready.model != "htdemucs_6s" else ""
        raise EngineCannot(
            f"The model {ready.model} has not learnt {', '.join(unknown)}; it extracts "
            f"{', '.join(sorted(ready.tracks))}.{more}"
        )
    if audio.shape[0] > 2:
        raise EngineCannot(f"Demucs hears mono and stereo, not {audio.shape[0]} channels. Send a stereo mix.")
    check(cancelled)
    progress(Progress(fraction=0.0, stage="loading the separation model"))
    wanted = {track: ready.sources.index(source) for source, track in _LEARNT.items() if track in tracks}
    parts = _parts(_loaded(ready, wanted.values()), audio, rate, _device(told.device), progress, cancelled)
    return {track: parts[index] for track, index in wanted.items()}


# --- what is there ----------------------------------------------------------------------------------------------------
def _ready(options: Options) -> Offer:
    name = options.separator_model
    repo = f"adefossez/{MODELS[name]}"
    if find_spec("demucs") is None:
        raise EngineMissing("Separation by Demucs is not installed: pip install 'stembridge[separate]'.")
    bag = _place(options, f"{name}.yaml")
    signatures = _signatures(bag) if bag else []
    weights = [_place(options, f"{signature}.safetensors") for signature in signatures]
    if bag is None or None in weights:
        into = f" --local-dir '{options.models_dir}'" if options.models_dir else ""
        raise EngineMissing(
            f"The weights of {name} are not there; they are fetched by: hf download {repo}{into} (fetch them, then ask "
            "again, or ask for the separator masks)."
        )
    found = tuple(path for path in weights if path is not None)
    return Offer(name, bag, found, _sources(found[0]))


def _place(options: Options, file: str) -> Path | None:
    name = options.separator_model
    if options.models_dir is not None:
        folders = (options.models_dir, options.models_dir / name, options.models_dir / MODELS[name])
        return next((folder / file for folder in folders if (folder / file).is_file()), None)
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(f"adefossez/{MODELS[name]}", file)
    return Path(found) if isinstance(found, str) else None


def _signatures(bag: Path) -> list[str]:
    signatures = _bag(bag).get("models")
    if not isinstance(signatures, list) or not signatures or not all(_is_plain(entry) for entry in signatures):
        raise EngineError(f"{bag} is no list of Demucs models. Delete it and fetch it again.")
    return signatures


def _is_plain(name: object) -> bool:
    return isinstance(name, str) and name.isalnum()


def _bag(path: Path) -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped]

    try:
        held = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise EngineError(f"{path} cannot be read ({error}). Delete it and fetch it again.") from error
    return held if isinstance(held, dict) else {}


def _sources(weights: Path) -> tuple[str, ...]:
    """What the model tells apart, from the head of its file; refuses what is not Demucs or needs more than we load."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, framework="numpy") as file:
            head = file.metadata() or {}
        args, kwargs = json.loads(head["args"]), json.loads(head["kwargs"])
        sources = kwargs["sources"] if "sources" in kwargs else args[0]
    except (OSError, SafetensorError, ValueError, KeyError, IndexError, TypeError) as error:
        raise _damaged(weights) from error
    if head.get("klass") not in _KLASSES or "structure" in head:
        raise EngineError(f"{weights} holds no Demucs model that can be loaded here. Fetch one of {', '.join(MODELS)}.")
    return tuple(str(source) for source in sources)


def _damaged(file: Path) -> EngineError:
    return EngineError(f"{file} is damaged. Delete it and fetch it again.")


# --- at work ----------------------------------------------------------------------------------------------------------
def _loaded(ready: Offer, wanted: Iterable[int]) -> Any:
    """The models that have a say in the `wanted` sources; of the others' parts nothing is promised."""
    from demucs.apply import BagOfModels
    from demucs.hf import load_safetensors_model

    bag = _bag(ready.bag)
    say = bag.get("weights") or [[1.0] * len(ready.sources)] * len(ready.weights)
    if [len(row) for row in say] != [len(ready.sources)] * len(ready.weights):
        raise _damaged(ready.bag)
    wanted = tuple(wanted)
    heard = [(path, row) for path, row in zip(ready.weights, say, strict=True) if any(row[index] for index in wanted)]
    models = []
    for path, _ in heard:
        if _sources(path) != ready.sources:
            raise _damaged(path)
        try:
            models.append(load_safetensors_model(path))
        except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
            raise _damaged(path) from error
    return BagOfModels(models, [row for _, row in heard], bag.get("segment")).eval()


def _device(wanted: str) -> torch.device:
    import torch

    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise EngineCannot(f"There is no device {wanted!r} for the separation here. Use auto or cpu.") from error
    return device


def _parts(
    model: Any, audio: Audio, rate: int, device: torch.device, progress: ReportProgress, cancelled: IsCancelled
) -> list[Audio]:
    """One array like `audio` for each of the model's sources."""
    import numpy as np
    import torch
    from demucs.apply import apply_model

    from engine.audio import resample
    from engine.sketch.analysis import check

    heard = resample(audio, rate, model.samplerate)
    if heard.shape[1] == 0:
        return [np.zeros_like(audio) for _ in model.sources]
    stereo = np.ascontiguousarray(np.broadcast_to(heard, (2, heard.shape[1])))
    mean, spread = float(stereo.mean()), float(stereo.mean(axis=0).std()) + 1e-8

    def step(told: Mapping[str, Any]) -> None:
        check(cancelled)
        done = (told["model_idx_in_bag"] + told["segment_offset"] / stereo.shape[1]) / told["models"]
        progress(Progress(fraction=min(1.0, done), stage="separating"))

    with torch.inference_mode(), _repeatable():
        mix = torch.from_numpy((stereo - mean) / spread)[None]
        out = apply_model(model, mix, shifts=0, overlap=_OVERLAP, device=device, callback=step)[0]
    parts = []
    for part in out.numpy():
        check(cancelled)
        part = part * np.float32(spread) + np.float32(mean)
        kept = part if audio.shape[0] == 2 else part.mean(axis=0, keepdims=True)
        parts.append(resample(kept, model.samplerate, rate, audio.shape[1]))
    return parts


@contextlib.contextmanager
def _repeatable() -> Iterator[None]:
    """cuDNN keeps to algorithms that give the same bits each time."""
    import torch

    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        yield
