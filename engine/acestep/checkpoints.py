"""Checkpoints and adapters on disk: where they are, whether they are whole, and who they are. Standard library only.

A checkpoint is a folder in diffusers layout: ``model_index.json`` names the components, each has a folder with its
``config.json`` and safetensors. It is meant by a name of the catalogue, by a Hugging Face repository (``owner/name``)
or by a folder. Named ones are looked for in `models_dir` (one folder each), or, without one, in the Hugging Face cache.

Promises: nothing is fetched and nothing is written here; a checkpoint that `find` returns has every file it needs, each
as long as its header says; what is wrong is told with the file's name and the command that repairs it.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.acestep.catalogue import CATALOGUE, Entry, Kind, Traits, by_repo, kind_of, traits
from engine.acestep.weight_files import Damaged, Header, checksum_matches, fingerprint, read_header
from protocol.errors import EngineCannot, EngineMissing

PIPELINE = "AceStepPipeline"

_REQUIRED = ("transformer", "condition_encoder", "text_encoder", "tokenizer", "vae")
_TOKENS = ("audio_tokenizer", "audio_token_detokenizer")
_REPO = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_HUB_CHECKSUM = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_LORA_TENSOR = re.compile(r"\.lora_[AB]\.(\w+\.)?weight$")


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint. `identity` follows from its content alone, wherever it lies (see `Inspection.identity`)."""

    name: str
    folder: Path
    traits: Traits
    identity: str


@dataclass(frozen=True)
class Lora:
    """An adapter for the transformer: the safetensors file, and who it is."""

    path: Path
    identity: str


@dataclass(frozen=True)
class Place:
    """Where something that was asked for is: `folder` is None if it is not there, `repo_id` None if only a folder."""

    name: str
    folder: Path | None
    repo_id: str | None = None
    entry: Entry | None = None

    @property
    def repair(self) -> str:
        """What the user does about a damaged or missing file."""
        if self.repo_id is not None:
            return f"`stembridge models pull {self.name}` fetches it again."
        return "Copy the folder again from where it came from."


# --- where ------------------------------------------------------------------------------------------------------------
def hub_cache() -> Path:
    """The Hugging Face cache, from the same environment variables as huggingface_hub (HF_HUB_CACHE, HF_HOME, ...)."""
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")  # noqa: PTH118
    cache = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or f"{home}/hub"
    return Path(os.path.expandvars(cache)).expanduser()


def locate(name_or_path: str, models_dir: Path | None) -> Place:
    """Where `name_or_path` is, or would be; whole or not. Raises `EngineMissing` for what is no name and no folder."""
    entry = CATALOGUE.get(name_or_path) or by_repo(name_or_path)
    if entry is not None:
        return Place(entry.name, _repo_folder(entry.name, entry.repo_id, models_dir), entry.repo_id, entry)
    is_bare = name_or_path not in (".", "..") and re.fullmatch(r"[^/\\:~]+", name_or_path)
    if models_dir is not None and is_bare and (models_dir / name_or_path).is_dir():
        return Place(name_or_path, models_dir / name_or_path)
    path = _expanded(name_or_path)
    if path.is_dir():
        return Place(path.resolve().name, path.resolve())
    if _REPO.fullmatch(name_or_path):
        return Place(name_or_path, _repo_folder(name_or_path, name_or_path, models_dir), name_or_path)
    near = difflib.get_close_matches(name_or_path, CATALOGUE, n=1)
    raise EngineMissing(
        f"There is no checkpoint {name_or_path[:120]!r}"
        + (f" (did you mean {near[0]}?)" if near else "")
        + f". Give {', '.join(CATALOGUE)}, a folder in diffusers layout, or a Hugging Face repository (owner/name)."
    )


def repo_target(name: str, repo_id: str, models_dir: Path) -> Path:
    """The folder in `models_dir` that belongs to a repository."""
    return models_dir / (name if name in CATALOGUE else repo_id.replace("/", "--"))


def _repo_folder(name: str, repo_id: str, models_dir: Path | None) -> Path | None:
    if models_dir is not None:
        folder = repo_target(name, repo_id, models_dir)
        return folder if folder.is_dir() else None
    storage = hub_cache() / f"models--{repo_id.replace('/', '--')}"
    try:
        folder = storage / "snapshots" / (storage / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return folder if folder.is_dir() else None


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~ of an unknown user
        return Path(text)


# --- what is there ----------------------------------------------------------------------------------------------------
@dataclass
class Inspection:
    """A folder as it is: the files it needs, the headers of its weights, and what is wrong, each as (file, what)."""

    folder: Path
    files: list[Path] = field(default_factory=list)
    headers: dict[Path, Header] = field(default_factory=dict)
    problems: list[tuple[Path, str]] = field(default_factory=list)
    kind: Kind = Kind.BASE
    has_audio_tokenizer: bool = False

    def identity(self) -> str:
        """Twelve hex digits over the names and content of all files, of weights: sizes, headers and samples."""
        digest = hashlib.sha256()
        for file in sorted(self.files):
            header = self.headers.get(file)
            content = fingerprint(file, header) if header else hashlib.sha256(file.read_bytes()).digest()
            digest.update(f"{file.relative_to(self.folder).as_posix()}\0{file.stat().st_size}\0".encode() + content)
        return digest.hexdigest()[:12]


def inspect(folder: Path) -> Inspection:
    """Look at everything but the tensors' bytes: a few milliseconds, however large the checkpoint."""
    found = Inspection(folder)
    index_file = folder / "model_index.json"
    index = _json(index_file, found)
    found.files.append(index_file)
    if index is None:
        return found
    if index.get("_class_name") != PIPELINE:
        found.problems.append((index_file, f"names a {index.get('_class_name')}, not a checkpoint for {PIPELINE}"))
        return found
    used = {name: value for name, value in index.items() if _names_component(name, value)}
    for name in _REQUIRED:
        if name not in used:
            found.problems.append((index_file, f"names no {name}"))
    for name, (library, _) in used.items():
        if name == "scheduler":
            _expect(folder / name / "scheduler_config.json", found)
        elif name == "tokenizer":
            _expect_tokenizer(folder / name, found)
        else:
            config = _expect(folder / name / "config.json", found) or {}
            if name == "transformer":
                found.kind = kind_of(config)
            _expect_weights(folder / name, "model" if library == "transformers" else "diffusion_pytorch_model", found)
    found.has_audio_tokenizer = all(name in used for name in _TOKENS)
    return found


def _names_component(name: str, value: object) -> bool:
    return name.isidentifier() and isinstance(value, list) and len(value) == 2 and bool(value[1])


def _json(file: Path, found: Inspection) -> dict[str, Any] | None:
    try:
        value = json.loads(file.read_bytes())
        if isinstance(value, dict):
            return value
        found.problems.append((file, "holds no JSON object"))
    except FileNotFoundError:
        found.problems.append((file, "is missing"))
    except OSError as error:
        found.problems.append((file, f"cannot be read: {error.strerror}"))
    except ValueError:
        found.problems.append((file, "is not valid JSON"))
    return None


def _expect(file: Path, found: Inspection) -> dict[str, Any] | None:
    found.files.append(file)
    return _json(file, found)


def _expect_tokenizer(folder: Path, found: Inspection) -> None:
    _expect(folder / "tokenizer_config.json", found)
    whole, parts = folder / "tokenizer.json", (folder / "vocab.json", folder / "merges.txt")
    if not whole.is_file() and not all(part.is_file() for part in parts):
        found.problems.append((whole, "is missing"))
    others = {*folder.glob("*.json"), *folder.glob("*.txt")} - {folder / "tokenizer_config.json"}
    found.files += sorted(others)


def _expect_weights(folder: Path, stem: str, found: Inspection) -> None:
    single, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if not index.is_file() or single.is_file():
        _expect_shard(single, found)
        return
    table = _expect(index, found)
    places = table.get("weight_map") if table is not None else None
    if table is None:
        return
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        found.problems.append((index, "does not say which file holds which tensor"))
        return
    for name in sorted(set(places.values())):
        shard = folder / Path(name).name
        header = _expect_shard(shard, found)
        lost = {tensor for tensor, at in places.items() if at == name} - (header.tensors if header else set())
        if header and lost:
            found.problems.append((shard, f"lacks the tensor {min(lost)} that its index promises"))


def _expect_shard(file: Path, found: Inspection) -> Header | None:
    found.files.append(file)
    try:
        header = found.headers[file] = read_header(file)
    except FileNotFoundError:
        found.problems.append((file, "is missing"))
        return None
    except OSError as error:
        found.problems.append((file, f"cannot be read: {error.strerror}"))
        return None
    except Damaged as damage:
        found.problems.append((file, str(damage)))
        return None
    return header


# --- finding ----------------------------------------------------------------------------------------------------------
def find(name_or_path: str, models_dir: Path | None) -> Checkpoint:
    """The whole checkpoint behind a name, a repository or a folder.

    Raises `EngineMissing` if it is not there or not whole, naming the first bad file and the command that repairs it.
    """
    place = locate(name_or_path, models_dir)
    if place.folder is None:
        size = f" ({place.entry.size_bytes / 1e9:.1f} GB)" if place.entry else ""
        raise EngineMissing(
            f"The checkpoint {place.name} is not installed. `stembridge models pull {place.name}` fetches it{size}."
        )
    found = inspect(place.folder)
    for file, problem in found.problems:
        raise EngineMissing(f"The checkpoint {place.name} cannot be used: {_sentence(place, file, problem)}")
    kind = found.kind
    if place.entry is not None and kind is Kind.BASE:  # configs before sft was named say "base"
        kind = place.entry.kind if place.entry.kind is Kind.SFT else kind
    described = traits(kind, has_audio_tokenizer=found.has_audio_tokenizer)
    return Checkpoint(place.name, place.folder, described, found.identity())


def installed(models_dir: Path | None) -> list[Checkpoint]:
    """Every whole checkpoint in `models_dir` (or the Hugging Face cache): the catalogue's first, in its order."""
    checkpoints = []
    for name in (*CATALOGUE, *_others(models_dir)):
        try:
            checkpoints.append(find(name, models_dir))
        except EngineMissing:
            continue
    return checkpoints


def _others(models_dir: Path | None) -> Iterator[str]:
    root = models_dir if models_dir is not None else hub_cache()
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        name = folder.name if models_dir is not None else folder.name.removeprefix("models--")
        if models_dir is None and name == folder.name:
            continue  # data sets and what else lies in the cache
        repo_id = name.replace("--", "/", 1)
        if name not in CATALOGUE and by_repo(repo_id) is None:
            yield repo_id if _REPO.fullmatch(repo_id) else name


def _sentence(place: Place, file: Path, problem: str) -> str:
    if problem == "is missing" and file.name == "model_index.json":
        return (
            f"{file} is missing, so the folder is not in diffusers layout (repositories that end in -diffusers are). "
            + place.repair
        )
    return f"{file} {problem}. {place.repair}"


# --- verifying --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Verification:
    """What `verify` found: the problems as sentences, how many files' content was compared, and which could not be."""

    name: str
    folder: Path
    problems: tuple[str, ...]
    compared: int
    unknown: tuple[Path, ...]


def verify(name_or_path: str, models_dir: Path | None, step: Callable[[str, int, int], None]) -> Verification:
    """Read every byte and compare it with the checksums that the download left behind.

    Works offline: in the Hugging Face cache a file's name is its checksum; a folder that was pulled keeps them below
    ``.cache/huggingface``. A folder copied by hand has none: then only its structure is checked and `unknown` names the
    files. `step` is told the file, the bytes read so far and of how many. Raises `EngineMissing` if nothing is there.
    """
    place = locate(name_or_path, models_dir)
    if place.folder is None:
        find(name_or_path, models_dir)  # says so
        raise EngineMissing(f"The checkpoint {place.name} went away while it was looked for.")
    found = inspect(place.folder)
    problems = [_sentence(place, file, problem) for file, problem in found.problems]
    bad = {file for file, _ in found.problems}
    sums = {file: known_checksum(place.folder, file) for file in found.files if file not in bad and file.is_file()}
    total, done = sum(file.stat().st_size for file, checksum in sums.items() if checksum), 0
    for file, checksum in sums.items():
        if checksum is None:
            continue

        def read(count: int, name: str = file.relative_to(place.folder).as_posix()) -> None:
            nonlocal done
            done += count
            step(name, done, total)

        if not checksum_matches(file, checksum, read):
            problems.append(_sentence(place, file, "does not have the content it was published with"))
    unknown = tuple(file for file, checksum in sums.items() if checksum is None)
    return Verification(place.name, place.folder, tuple(problems), len(sums) - len(unknown), unknown)


def known_checksum(folder: Path, file: Path) -> str | None:
    """The hub's checksum of a file (SHA-256, or git's SHA-1 for small ones), as the download recorded it; else None."""
    relative = file.relative_to(folder)
    if file.is_symlink() and _HUB_CHECKSUM.fullmatch(name := file.readlink().name):
        return name
    candidates = []
    try:
        record = folder / ".cache" / "huggingface" / "download" / relative.parent / f"{relative.name}.metadata"
        candidates = record.read_text(encoding="utf-8").split()[1:2]
    except OSError:
        try:  # the cache without symbolic links (Windows)
            trees = folder.parent.parent / "trees" / f"{folder.name}.json"
            entry = json.loads(trees.read_bytes())["files"][relative.as_posix()]
            candidates = [entry.get("lfs_sha256") or entry["blob_id"]]
        except (OSError, ValueError, KeyError, TypeError):
            pass
    return next((text for text in candidates if _HUB_CHECKSUM.fullmatch(text)), None)


# --- adapters ---------------------------------------------------------------------------------------------------------
def find_lora(path: str | Path) -> Lora:
    """The LoRA in a safetensors file, or in a folder with ``pytorch_lora_weights`` or ``adapter_model`` (PEFT).

    Raises `EngineMissing` if there is none, `EngineCannot` if the file is damaged or is no LoRA of the form that
    diffusers and PEFT write (tensors ``....lora_A.weight`` and ``....lora_B.weight``).
    """
    file = _expanded(str(path)).absolute()
    if file.is_dir():
        names = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")
        held = [file / name for name in names if (file / name).is_file()] or sorted(file.glob("*.safetensors"))
        if not held:
            raise EngineMissing(f"The folder {file} holds no LoRA. It needs {names[0]} or {names[1]}.")
        if len(held) > 1 and held[0].name not in names:
            raise EngineMissing(f"The folder {file} holds {len(held)} safetensors files. Name the one that is meant.")
        file = held[0]
    if not file.is_file():
        raise EngineMissing(f"There is no LoRA {file}. Give a folder or a .safetensors file.")
    try:
        header = read_header(file)
    except Damaged as damage:
        raise EngineCannot(f"The LoRA {file} {damage}. Copy it again from where it came from.") from damage
    except OSError as error:
        raise EngineCannot(f"The LoRA {file} cannot be read: {error.strerror}.") from error
    foreign = sorted(name for name in header.tensors if not _LORA_TENSOR.search(name))
    if foreign or not header.tensors:
        what = f"its tensor {foreign[0][:80]!r} belongs to no adapter" if foreign else "it holds none"
        raise EngineCannot(
            f"{file} is no LoRA that can be used: {what}. Wanted are tensors named ...lora_A.weight and "
            "...lora_B.weight, as diffusers and PEFT write them."
        )
    digest = hashlib.sha256(fingerprint(file, header))
    settings = file.with_name("adapter_config.json")  # PEFT keeps the adapter's strength there
    if settings.is_file():
        digest.update(settings.read_bytes())
    return Lora(file, digest.hexdigest()[:12])
