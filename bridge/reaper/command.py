"""`stembridge reaper`: install, uninstall, status; what was done and the few clicks that remain, as sentences.

Returns the exit code: 0 done, 1 something is not as it should be and was told.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from bridge.config import Config, default_config_file
from bridge.reaper import install as installs
from bridge.reaper.install import Outcome, mailbox_of, read_manifest, waiting
from bridge.reaper.payload import CHECK, SCRIPTS, payload, version_of
from bridge.reaper.registered import register, registered
from bridge.reaper.resource_folders import Place, chosen
from bridge.reaper.start import start_file
from bridge.reaper.state import known_resources, osc_finding, problems_of, reapack_copy, wanted

OK, WRONG = 0, 1


def main(arguments: argparse.Namespace, config: Config, place: Place | None = None) -> int:
    """Run the action that `arguments` name. Raises `StembridgeError`s that say what to do."""
    place = place or Place.here()
    if arguments.action == "status":
        return _status(arguments.resource_path, config, place)
    resource = chosen(arguments.resource_path, place)
    if arguments.action == "install":
        return _install(resource, arguments, config)
    return _uninstall(resource, config)


# --- install ----------------------------------------------------------------------------------------------------------
def _install(resource: Path, arguments: argparse.Namespace, config: Config) -> int:
    version = version_of(payload())
    mailbox = arguments.mailbox.expanduser().absolute() if arguments.mailbox else None
    start = start_file(config.osc.port, _serve_arguments(arguments))
    outcome = installs.install(resource, wanted(resource), version, mailbox, start)
    _register(config, resource, mailbox_of(resource))
    for line in _told(outcome):
        _say(line)
    done = f"{len(outcome.written)} files written" if outcome.written else "it was all there already"
    _say(f"Stembridge {version} is installed in {resource} ({done}).")
    _say(f"Mailbox: {mailbox_of(resource)}")
    _say_what_remains(resource, arguments, config)
    return OK


def _serve_arguments(arguments: argparse.Namespace) -> list[str]:
    """What `stembridge serve` must be told to be the daemon that this command was told of."""
    told = (("--config", arguments.config), ("--data-dir", arguments.data_dir))
    return [word for flag, path in told if path is not None for word in (flag, str(path.expanduser().absolute()))]


def _say_what_remains(resource: Path, arguments: argparse.Namespace, config: Config) -> None:
    by_reapack, port = reapack_copy(resource), config.reaper.osc_port
    if by_reapack is not None:
        _say(f"The scripts themselves are ReaPack's: {by_reapack}")
    _say("\nWhat remains, in REAPER:")
    _say(
        f"  1. Actions > Show action list > New action > Load ReaScript..., choose\n"
        f"     {(by_reapack or resource / SCRIPTS) / CHECK}\n"
        "     and run it: it adds the other actions to the list and says what works."
    )
    if osc_finding(resource, config).works:
        _say("  2. Nothing else: the OSC surface is there.")
    elif port != "off":
        _say(
            "  2. For tempo and transport while you work: Preferences > Control/OSC/web > Add > OSC,\n"
            f'     mode "Local port", local listen port {port}, pattern config Stembridge.'
        )
    if arguments.osc_port is not None:
        file = config.source or default_config_file()
        _say(f"  3. Have the daemon use that port too. In {file}:\n     [reaper]\n     osc_port = {arguments.osc_port}")
    _say("REAPER's own settings were not touched.")


# --- uninstall --------------------------------------------------------------------------------------------------------
def _uninstall(resource: Path, config: Config) -> int:
    mailbox = mailbox_of(resource)
    known = registered(config.data_dir.absolute())
    shared = any(box == mailbox for other, box in known.items() if other != resource)
    outcome = installs.uninstall(resource, keep_mailbox=shared)
    _register(config, resource, None)
    for line in _told(outcome):
        _say(line)
    _say(f"{len(outcome.removed)} files were removed from {resource}.")
    _say(
        "What REAPER itself keeps is yours to remove: the entries 'Script: Stembridge_...' of the action list, and the "
        "OSC surface."
    )
    return OK


def _register(config: Config, resource: Path, mailbox: Path | None) -> None:
    try:
        register(config.data_dir.absolute(), resource, mailbox)
    except OSError as error:
        raise installs.in_words(error, config.data_dir) from error


def _told(outcome: Outcome) -> Iterator[str]:
    """What happened to what is the user's."""
    for path in outcome.aside:
        yield f"A file of yours, or one that you had changed, is kept as {path}"
    for path in outcome.left:
        if path.is_dir():
            yield f"The mailbox {path} stays: {waiting(path)} files wait in it. Nobody looks at it any more; remove it."
        else:
            yield f"{path} was changed since it was installed, and stays."


# --- status -----------------------------------------------------------------------------------------------------------
def _status(told: Path | None, config: Config, place: Place) -> int:
    resources = (chosen(told, place),) if told else known_resources(config, place) or (chosen(None, place),)
    states = [_status_of(resource, config) for resource in resources]
    return OK if all(states) else WRONG


def _status_of(resource: Path, config: Config) -> bool:
    """Print how it is in one resource folder; True if nothing is left to do."""
    _say(str(resource))
    manifest, mailbox, problems = read_manifest(resource), mailbox_of(resource), list(problems_of(resource, config))
    if manifest is not None:
        _say(f"  scripts {manifest.version}; mailbox {mailbox}, {waiting(mailbox)} files in it")
    for problem in problems:
        _say(f"  {problem}")
    osc = osc_finding(resource, config)
    _say(f"  {osc.words}" + ("" if osc.works else "; the actions work without it"))
    return not problems


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
