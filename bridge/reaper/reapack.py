"""ReaPack: checks the headers of `reaper_scripts/` and writes its ``index.xml``, by the rules of reapack-index.

One package, ``Stembridge/Stembridge.lua``, says which files belong to it; every other script is marked ``@noindex``.
``python -m bridge.reaper.reapack lint`` checks the headers, ``index [--base-url URL --commit SHA]`` writes the index,
``check`` compares the index with the files: version, files and fingerprints. None of them needs git.

The address of the public repository is not known yet. Until it is, the committed index names a host that cannot exist
(RFC 2606) and no commit; for a release run ``index`` with both.

Source: scanner.rb, provides.rb, source.rb and index.rb of cfillion/reapack-index, index_v1.cpp of cfillion/reapack.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import posixpath
import re
import sys
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bridge.reaper.payload import PACKAGE, scripts_folder, version_of

NAME = CATEGORY = "Stembridge"
"""The index's name is the folder below Scripts/ into which ReaPack installs, the category the one below that."""
BASE_URL = "https://repository-not-published-yet.invalid/stembridge/raw"
COMMIT = "COMMIT"

_SINGLE = ("description", "version", "author")
_TAGS = (*_SINGLE, "about", "changelog", "provides", "link", "screenshot", "donation", "metapackage")
_TAG = re.compile(r"-- @(\w+)(?: +(.*))?")
_PROVIDES = re.compile(r"\[(main|nomain|data)\] (\S.*?)(?: > (\S+))?")
_MAX_SEGMENT = 65535
_NOTE = " Written by `python -m bridge.reaper.reapack index`. "
_PLACEHOLDER_NOTE = " The repository's public address is not known yet: these addresses lead nowhere. "


@dataclass(frozen=True)
class Source:
    """One file of the package: where it lies in `reaper_scripts/`, what ReaPack calls it, as what it is installed."""

    path: str
    file: str
    kind: str


# --- headers ----------------------------------------------------------------------------------------------------------
def header(text: str) -> dict[str, str]:
    """The tags of a script's header, which ends at the first line that is no comment; indented lines go on a tag."""
    tags: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        if tag := _TAG.fullmatch(line):
            name = tag[1]
            tags[name] = tag[2] or ""
        elif name and (line == "--" or line.startswith("--   ")):
            tags[name] += f"\n{line[5:]}"
        else:
            name = ""
    return {name: text.strip("\n") for name, text in tags.items()}


def lint(folder: Path) -> list[str]:
    """All that is wrong with the headers below `folder`, one sentence each."""
    package = folder / CATEGORY / PACKAGE
    if not package.is_file():
        return [f"there is no package file {CATEGORY}/{PACKAGE}"]
    problems = list(_package_problems(header(package.read_text(encoding="utf-8"))))
    for script in sorted(folder.rglob("*.lua")):
        if script != package and "noindex" not in header(script.read_text(encoding="utf-8")):
            problems.append(f"{script.relative_to(folder).as_posix()}: its header lacks `-- @noindex`")
    if problems:
        return problems
    return list(_file_problems(folder, header(package.read_text(encoding="utf-8"))))


def _package_problems(tags: dict[str, str]) -> Iterator[str]:
    for tag in tags.keys() - set(_TAGS):
        yield f"{PACKAGE}: ReaPack knows no tag @{tag}"
    for tag in (*_SINGLE, "about", "changelog", "provides"):
        if not tags.get(tag):
            yield f"{PACKAGE}: @{tag} is missing or empty"
        elif tag in _SINGLE and "\n" in tags[tag]:
            yield f"{PACKAGE}: @{tag} must be one line"
    if tags.get("metapackage") != "":
        yield f"{PACKAGE}: @metapackage is missing, or has a value"
    version = tags.get("version", "")
    if not re.match(r"\d", version) or any(int(part) > _MAX_SEGMENT for part in re.findall(r"\d+", version)):
        yield f"{PACKAGE}: @version {version} must begin with a digit, and no number in it be above {_MAX_SEGMENT}"
    for line in tags.get("provides", "").splitlines():
        if not _PROVIDES.fullmatch(line):
            yield f"{PACKAGE}: @provides {line!r} is not `[main|nomain|data] files`, with `> name` or without"


def _file_problems(folder: Path, tags: dict[str, str]) -> Iterator[str]:
    listed = sources(folder, tags)
    for line in tags["provides"].splitlines():
        if not _matching(folder, _provided(line)[1]):
            yield f"{PACKAGE}: @provides {line!r} matches no file"
    for name in sorted({source.file for source in listed if sum(s.file == source.file for s in listed) > 1}):
        yield f"{PACKAGE}: {name} is provided twice"
    there = {script.relative_to(folder).as_posix() for script in folder.rglob("*.lua")} - {f"{CATEGORY}/{PACKAGE}"}
    for path in sorted(there - {source.path for source in listed}):
        yield f"{PACKAGE}: {path} is in no line of @provides, so that ReaPack would not install it"
    lib = folder / CATEGORY / "lib" / "stembridge.lua"
    told = version_of({"Scripts/Stembridge/lib/stembridge.lua": lib.read_bytes()}) if lib.is_file() else ""
    if told != tags["version"]:
        yield f"{PACKAGE}: @version is {tags['version']}, but lib/stembridge.lua says {told or 'nothing'}"


def sources(folder: Path, tags: dict[str, str]) -> list[Source]:
    """The files that @provides lists, in its order and by name; the header must be without problems."""
    found = []
    for line in tags["provides"].splitlines():
        kind, pattern, target = _provided(line)
        for path in _matching(folder, pattern):
            found.append(Source(path, target or posixpath.relpath(path, CATEGORY), kind))
    return found


def _provided(line: str) -> tuple[str, str, str | None]:
    parts = _PROVIDES.fullmatch(line)
    assert parts is not None
    return parts[1], posixpath.normpath(posixpath.join(CATEGORY, parts[2])), parts[3]


def _matching(folder: Path, pattern: str) -> list[str]:
    """Files that match, where ``*`` stays within a folder."""
    files = (file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    depth = pattern.count("/")
    return sorted(file for file in files if file.count("/") == depth and fnmatch.fnmatchcase(file, pattern))


# --- the index --------------------------------------------------------------------------------------------------------
def index(folder: Path, base_url: str = BASE_URL, commit: str = COMMIT) -> str:
    """The text of ``index.xml``: the same for the same files. `base_url` is what stands before ``/COMMIT/path``."""
    tags = header((folder / CATEGORY / PACKAGE).read_text(encoding="utf-8"))
    root = ET.Element("index", version="1", name=NAME, commit=commit)
    root.append(ET.Comment(_NOTE + (_PLACEHOLDER_NOTE.lstrip() if base_url == BASE_URL else "")))
    category = ET.SubElement(root, "category", name=CATEGORY)
    package = ET.SubElement(category, "reapack", name=PACKAGE, type="script", desc=tags["description"])
    version = ET.SubElement(package, "version", name=tags["version"], author=tags["author"])
    ET.SubElement(version, "changelog").text = tags["changelog"]
    for source in sources(folder, tags):
        attributes = {"file": source.file, "hash": _multihash(folder / source.path)}
        attributes |= {"main": {"main": "main"}, "data": {"type": "data"}}.get(source.kind, {})
        path = urllib.parse.quote(f"{folder.name}/{source.path}")
        ET.SubElement(version, "source", attributes).text = f"{base_url}/{commit}/{path}"
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def stale(folder: Path) -> list[str]:
    """How ``index.xml`` differs from the files, one sentence each; where its addresses lead does not matter."""
    try:
        written = ET.parse(folder / "index.xml").getroot()  # noqa: S314 - our own file
    except (OSError, ET.ParseError) as error:
        return [f"index.xml cannot be read: {error}"]
    commit, wanted = written.get("commit", ""), ET.fromstring(index(folder))  # noqa: S314
    problems = []
    if _shape(written) != _shape(wanted):
        problems.append("index.xml has another version or other texts than the package file")
    before, now = _listed(written), _listed(wanted)
    problems += [f"{name} is not in index.xml" for name in now.keys() - before.keys()]
    problems += [f"{name} is in index.xml, but no longer there" for name in before.keys() - now.keys()]
    problems += [f"{name} has changed since" for name in now.keys() & before.keys() if now[name][0] != before[name][0]]
    problems += [f"the address of {name} pins no commit" for name in before if f"/{commit}/" not in before[name][1]]
    return sorted(problems)


def _shape(root: ET.Element) -> list[object]:
    parts = [part for part in root.iter() if part.tag in ("category", "reapack", "version", "changelog")]
    return [(part.tag, sorted(part.items()), (part.text or "").strip()) for part in parts]


def _listed(root: ET.Element) -> dict[str, tuple[object, str]]:
    return {part.get("file", ""): (sorted(part.items()), part.text or "") for part in root.iter("source")}


def _multihash(file: Path) -> str:
    """SHA-256 as a multihash in hex: code 12, length 20 (hexadecimal), then the digest.

    Of the file as the repository serves it: git on Windows may have given the checkout other line ends.
    """
    return "1220" + hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


# --- the tool ---------------------------------------------------------------------------------------------------------
def main(argv: Sequence[str] | None = None) -> int:
    """0: all is well; 1: it is not, and what is wrong was printed."""
    parser = argparse.ArgumentParser(prog="python -m bridge.reaper.reapack", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("action", choices=("lint", "index", "check"))
    parser.add_argument("--folder", type=Path, default=scripts_folder(), help="default: this checkout's reaper_scripts")
    parser.add_argument(
        "--base-url", default=BASE_URL, help="address of the repository's raw files, without the commit"
    )
    parser.add_argument("--commit", default=COMMIT, help="the commit that the addresses pin")
    told = parser.parse_args(argv)
    problems = lint(told.folder)
    if not problems and told.action == "index":
        (told.folder / "index.xml").write_text(
            index(told.folder, told.base_url, told.commit), encoding="utf-8", newline="\n"
        )
    if not problems and told.action == "check":
        problems = stale(told.folder)
    for problem in problems:
        sys.stdout.write(f"{problem}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
