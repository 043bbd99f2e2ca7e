"""`stembridge models pull`: a checkpoint from the Hugging Face hub, through huggingface_hub. No torch.

Promises: nothing is fetched when the disk is too small or the machine is offline. Weights get their name only after
their SHA-256 is the hub's, so a file that has its name is whole, and an older one stays until then. What is there
already is compared with the hub too, so a pull repairs. An interrupted pull, even a killed one, goes on where it
stopped: huggingface_hub itself forgets an unfinished file when its process ends, hence weights are fetched here into a
file that stays, and placed where huggingface_hub looks for them (its cache, or a folder of `models_dir`); it lays the
small files and links around them.
"""

from __future__ import annotations

import errno
import importlib
import importlib.util
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from engine.acestep.checkpoints import Checkpoint, Place, find, hub_cache, locate, repo_target
from engine.acestep.weight_files import checksum_matches
from protocol.errors import EngineError, EngineMissing

RESERVE_BYTES = 1_000_000_000
"""What a pull leaves free: a disk that is full to the brim breaks more than the download."""

_ANSWER_S = 20.0
_NEEDED = re.compile(
    r"model_index\.json|(README|LICENSE)[\w.]*|\w+/[\w.-]+\.(json|txt)"
    r"|\w+/(diffusion_pytorch_)?model(-\d{5}-of-\d{5})?\.safetensors",
    re.ASCII,
)
"""Other formats and precisions of the same weights stay on the hub."""

Tell = Callable[[str], None]
"""Is told each thing that happens, as a sentence."""


@dataclass(frozen=True)
class _File:
    path: str
    size: int
    checksum: str
    is_large: bool


@dataclass(frozen=True)
class _Repo:
    """A repository at one commit, and where its files go: `folder` is the checkpoint's, `storage` the cache's part."""

    id: str
    commit: str
    endpoint: str
    folder: Path
    storage: Path | None
    files: tuple[_File, ...]
    licence: str

    def places(self, file: _File) -> tuple[Path, ...]:
        """Where the whole file is: in the checkpoint's folder, there perhaps as a link to the cache's blob."""
        path = self.folder / file.path
        return (path,) if self.storage is None else (path, self.storage / "blobs" / file.checksum)

    def partial(self, file: _File) -> Path:
        """Where a file grows until it is whole."""
        if self.storage is not None:
            return self.storage / "blobs" / f"{file.checksum}.incomplete"
        return self.folder / ".cache" / "huggingface" / "download" / f"{file.checksum}.incomplete"


def pull(
    name: str, models_dir: Path | None, tell: Tell, *, offline: bool = False, endpoint: str | None = None
) -> Checkpoint:
    """Fetch what is missing or damaged of checkpoint `name` (catalogue or ``owner/name``) and return it, whole.

    Into ``models_dir/NAME`` or, without one, the Hugging Face cache. A progress bar per large file appears on stderr if
    that is a terminal. Raises `EngineError` with what to do: offline, no network, no access, no such repository, no
    space, wrong content; `EngineMissing` if huggingface_hub is not installed or `name` cannot be pulled.
    """
    place = locate(name, models_dir)
    if place.repo_id is None:
        raise EngineMissing(f"{name} is a folder of this machine; only a name or a repository can be pulled.")
    if offline or _is_offline():
        raise EngineError(
            f"Offline: nothing is fetched. Pull {place.name} on a machine with a network and copy its folder "
            "(`stembridge models path`) here, or unset HF_HUB_OFFLINE and leave --offline away."
        )
    if importlib.util.find_spec("huggingface_hub") is None:
        raise EngineMissing("A pull needs huggingface_hub. Install it with: pip install 'stembridge[acestep]'")
    with _in_words(place.repo_id, endpoint or _endpoint()):
        repo = _look_up(place, models_dir, endpoint or _endpoint())
        tell(f"{repo.id}, licence: {repo.licence}. Read it at {repo.endpoint}/{repo.id} before you use the weights.")
        with _alone(repo, place):
            _fetch(repo, tell)
    return find(place.name, models_dir)


def _look_up(place: Place, models_dir: Path | None, endpoint: str) -> _Repo:
    from huggingface_hub import HfApi

    assert place.repo_id is not None
    info = HfApi(endpoint=endpoint).model_info(place.repo_id, files_metadata=True, timeout=_ANSWER_S)
    files = tuple(
        _File(
            sibling.rfilename,
            sibling.lfs.size if sibling.lfs else sibling.size or 0,
            sibling.lfs.sha256 if sibling.lfs else sibling.blob_id or "",
            sibling.lfs is not None,
        )
        for sibling in info.siblings or ()
        if _NEEDED.fullmatch(sibling.rfilename)
    )
    if not any(file.path == "model_index.json" for file in files):
        raise EngineError(
            f"{place.repo_id} is not in diffusers layout (it has no model_index.json). Pull the repository whose name "
            "ends in -diffusers, if there is one."
        )
    card = info.card_data
    licence = (card.get("license") or card.get("license_name")) if card else None
    storage = None if models_dir is not None else hub_cache() / f"models--{place.repo_id.replace('/', '--')}"
    if models_dir is not None:
        folder = repo_target(place.name, place.repo_id, models_dir)
    else:
        assert storage is not None
        folder = storage / "snapshots" / str(info.sha)
    return _Repo(place.repo_id, str(info.sha), endpoint, folder, storage, files, str(licence or "not stated"))


# --- fetching ---------------------------------------------------------------------------------------------------------
def _fetch(repo: _Repo, tell: Tell) -> None:
    if any(place.exists() for file in repo.files if file.is_large for place in repo.places(file)):
        tell("Comparing what is there already with the hub.")
    wanted = [file for file in repo.files if not _is_there(repo, file)]
    _need_space(repo, wanted)
    large = [file for file in wanted if file.is_large]
    small = [file for file in wanted if not file.is_large]
    for number, file in enumerate(large, start=1):
        begun = _size(repo.partial(file))
        tell(
            f"{number} of {len(large)}: {file.path}, {file.size / 1e9:.2f} GB"
            + (f", going on after {begun / 1e9:.2f} GB" if begun else "")
        )
        _fetch_large(repo, file)
    for file in small:  # huggingface_hub would keep a damaged one
        for stale in repo.places(file):
            stale.unlink(missing_ok=True)
    _lay_out(repo)
    for file in small:
        if not _is_there(repo, file):
            raise EngineError(f"{file.path} came with other content than {repo.id} lists. Pull again.")
    tell(f"{len(large)} of {sum(file.is_large for file in repo.files)} weight files fetched; all checksums are right.")


def _is_there(repo: _Repo, file: _File) -> bool:
    """True if the file is in place, or in the cache for another commit, with the content that the hub lists."""
    held = next((place for place in repo.places(file) if place.exists()), None)
    return held is not None and _size(held) == file.size and checksum_matches(held, file.checksum)


def _need_space(repo: _Repo, wanted: list[_File]) -> None:
    needed = sum(file.size - min(file.size, _size(repo.partial(file))) for file in wanted)
    place = repo.storage or repo.folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if wanted and free < needed + RESERVE_BYTES:
        raise EngineError(
            f"{repo.id} needs {needed / 1e9:.1f} GB and 1 GB to spare, but {place} has {free / 1e9:.1f} GB free. Make "
            "room, or choose another disk: --models-dir here, or the environment variable HF_HOME."
        )


def _fetch_large(repo: _Repo, file: _File) -> None:
    download: Any = importlib.import_module("huggingface_hub.file_download")
    partial = repo.partial(file)
    partial.parent.mkdir(parents=True, exist_ok=True)
    if _size(partial) > file.size:
        partial.unlink()
    with partial.open("r+b" if partial.exists() else "w+b") as opened:
        download.http_get(
            download.hf_hub_url(repo.id, file.path, revision=repo.commit, endpoint=repo.endpoint),
            opened,
            resume_size=opened.seek(0, os.SEEK_END),
            headers=download.build_hf_headers(),
            expected_size=file.size,
            displayed_filename=file.path,
        )
    if not checksum_matches(partial, file.checksum):
        partial.unlink()
        raise EngineError(
            f"{file.path} came with other content than {repo.id} lists; it was thrown away. Pull again; if it happens "
            "again, a proxy or the disk changes what is fetched."
        )
    path, *blob = repo.places(file)
    has_links = repo.storage is not None and download.are_symlinks_supported(repo.storage.parent)
    target = blob[0] if has_links else path
    target.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(target)
    if target != path:
        path.unlink(missing_ok=True)  # a damaged copy; the link is laid anew


def _lay_out(repo: _Repo) -> None:
    """Fetch the small files and link the large ones, as huggingface_hub does it, so that other programs find them."""
    hub: Any = importlib.import_module("huggingface_hub")
    base: Any = importlib.import_module("huggingface_hub.utils").tqdm

    class Silent(base):  # type: ignore[misc]
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **{**settings, "disable": True})

    hub.snapshot_download(
        repo.id,
        endpoint=repo.endpoint,
        cache_dir=repo.storage.parent if repo.storage else None,
        local_dir=None if repo.storage else repo.folder,
        allow_patterns=[file.path for file in repo.files],
        tqdm_class=Silent,
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


# --- around it --------------------------------------------------------------------------------------------------------
def _is_offline() -> bool:
    return any(
        os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


@contextmanager
def _alone(repo: _Repo, place: Place) -> Iterator[None]:
    """One pull at a time per checkpoint: two would write into the same unfinished file."""
    if repo.storage is not None:
        file = repo.storage.parent / ".locks" / repo.storage.name / "stembridge.lock"
    else:
        file = repo.folder / ".cache" / "huggingface" / "stembridge.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(file, timeout=0):
            yield
    except filelock.Timeout as error:
        raise EngineError(f"{place.name} is being pulled already. Wait for that to end.") from error


@contextmanager
def _in_words(repo_id: str, endpoint: str) -> Iterator[None]:
    """Turn what huggingface_hub, the network and the disk raise into sentences."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise EngineError(
            f"{repo_id} is given only to those who accept its conditions. Accept them at {endpoint}/{repo_id}, log in "
            "with `hf auth login`, and pull again."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise EngineError(
            f"{repo_id} does not exist on {endpoint}, or is private. Check the name, or log in with `hf auth login`."
        ) from error
    except errors.HfHubHTTPError as error:
        raise EngineError(_of_status(repo_id, endpoint, error.response.status_code)) from error
    except (OSError, ValueError) as error:
        raise EngineError(_of_other(repo_id, endpoint, error)) from error
    except Exception as error:
        if not type(error).__module__.startswith("httpx"):  # the client's own errors have no other common base
            raise
        raise EngineError(_unreachable(endpoint, error)) from error


def _of_status(repo_id: str, endpoint: str, status: int) -> str:
    if status in (401, 403):
        return f"{endpoint} refuses {repo_id} to you ({status}). Log in with `hf auth login`, and pull again."
    if status == 404:
        return f"{endpoint} lists a file of {repo_id} that it does not have (404). Pull again later."
    return f"{endpoint} answers with an error ({status}). Pull again later: what was fetched is kept."


def _of_other(repo_id: str, endpoint: str, error: Exception) -> str:
    cause = error.__cause__ or error
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "The disk is full. Make room and pull again: what was fetched is kept."
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{error.filename} may not be written: {error.strerror}. Choose another place with --models-dir."
    if type(cause).__module__.startswith("httpx") or isinstance(error, ConnectionError):
        return _unreachable(endpoint, cause)
    said = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{repo_id} cannot be fetched: {said or type(error).__name__}. Pull again: what was fetched is kept."


def _unreachable(endpoint: str, error: BaseException) -> str:
    return (
        f"{endpoint} cannot be reached ({str(error) or type(error).__name__}). Check the network and any proxy, and "
        "pull again: what was fetched is kept."
    )
