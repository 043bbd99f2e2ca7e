"""The page that the daemon serves: plain files, no build step. bridge/web_vendor.py fetched what lies in ``vendor``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

FOLDER = Path(__file__).parent
INDEX = FOLDER / "index.html"

_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


def assets() -> Mapping[str, tuple[Path, str]]:
    """What a browser may ask for beside the page: by its name below this folder, the file and its media type."""
    files = sorted([*FOLDER.iterdir(), *(FOLDER / "vendor").iterdir()])
    known = [path for path in files if path.suffix in _TYPES]
    return MappingProxyType({path.relative_to(FOLDER).as_posix(): (path, _TYPES[path.suffix]) for path in known})
