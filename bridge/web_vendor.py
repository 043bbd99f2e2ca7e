"""Fetches what the page uses of others from npm: ``python -m bridge.web_vendor`` (``--check``: only compare).

Promises: what is fetched has the SHA-512 that ``bridge/web/vendor.json`` names, or nothing is changed; the files lie
byte for byte as they were published, with their licence, so that anyone can compare them. Needs npm on the path.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bridge import atomic
from bridge.web import FOLDER
from protocol.errors import StembridgeError

MANIFEST = FOLDER / "vendor.json"
_DEADLINE_S = 120


class VendorError(StembridgeError):
    """A package cannot be fetched, or is not the one that was meant."""

    code = "vendor_error"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if everything lies there as it should (afterwards), 1 if ``--check`` found a difference."""
    parser = argparse.ArgumentParser(prog="python -m bridge.web_vendor", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; say whether files differ")
    check = parser.parse_args(arguments).check
    try:
        manifest = json.loads(MANIFEST.read_text(encoding="utf-8"))
        differing = [name for package in manifest["packages"] for name in _update(package, write=not check)]
    except StembridgeError as error:
        sys.stderr.write(f"{error.sentence}\n")
        return 2
    for name in differing:
        sys.stdout.write(f"{'differs' if check else 'written'}: {name}\n")
    return 1 if check and differing else 0


def _update(package: Mapping[str, Any], *, write: bool) -> list[str]:
    """The files of one package that differ from what was published; written if `write`."""
    differing = []
    for name, content in published(package).items():
        target = FOLDER / "vendor" / name
        if target.is_file() and target.read_bytes() == content:
            continue
        differing.append(name)
        if write:
            target.parent.mkdir(exist_ok=True)
            with atomic.temporary_file(target.parent) as part:
                part.write_bytes(content)
                part.replace(target)
    return differing


def published(package: Mapping[str, Any]) -> dict[str, bytes]:
    """The files that ``vendor.json`` lists, by the names they have here. Raises `VendorError`."""
    with tempfile.TemporaryDirectory() as folder:
        archive = _fetched(f"{package['name']}@{package['version']}", Path(folder))
        digest = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode("ascii")
        if digest != package["integrity"]:
            raise VendorError(f"{archive.name} has the digest {digest}: it is not what vendor.json names.")
        with tarfile.open(archive) as tar:
            return {here: _member(tar, there) for here, there in package["files"].items()}


def _fetched(what: str, folder: Path) -> Path:
    try:
        subprocess.run(
            ["npm", "pack", what, "--silent", "--pack-destination", str(folder)],
            check=True,
            capture_output=True,
            timeout=_DEADLINE_S,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise VendorError(f"npm did not fetch {what}: {error}. Is npm installed, and the network there?") from error
    return next(folder.glob("*.tgz"))


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    try:
        file = tar.extractfile(f"package/{name}")
    except KeyError:
        file = None
    if file is None:
        raise VendorError(f"The package holds no {name}: its layout has changed.")
    return file.read()


if __name__ == "__main__":
    sys.exit(main())
