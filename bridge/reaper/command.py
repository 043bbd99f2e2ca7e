"""`stembridge reaper`: install, uninstall, status; what was done and the few clicks that remain, as sentences.

Returns the exit code: 0 done, 1 something is not as it should be and was told.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from bridge.config import Config, default_config_file
from bridge.reaper import install as installs
from bridge.reaper.install import Outcome, mailbox_of, read_manifest, waiting
from bridge.reaper.payload import CHECK, SCRIPTS, payload, version_of
from bridge.reaper.registered import register, registered
from bridge.reaper.resource_folders import Place, actions_of, chosen
from bridge.reaper.start import start_file
from bridge.reaper.state import counted, known_resources, osc_finding, problems_of, reapack_copy, wanted

OK, WRONG = 0, 1


def main(arguments: argparse.Namespace, config: Config, place: Place | None = None) -> int:
    """Run the action that `arguments` name. Raises `StembridgeError`s that say what to do."""
    place = place or Place.here()
    if arguments.action == "status":
        return _status(arguments.resource_path, config, place)
    if arguments.action == "install":
        return _install(chosen(arguments.resource_path, place), arguments, config)
    vanished = _vanished(arguments.resource_path, config)
    installed = [resource for resource in known_resources(config, place) if read_manifest(resource) is not None]
    if arguments.resource_path is None and len(installed) == 1:
        return _uninstall(installed[0], config)
    if len(vanished) == 1 and (arguments.resource_path is not None or not installed):
        return _forget(vanished[0], config)
    return _uninstall(chosen(arguments.resource_path, place), config)


# --- install ----------------------------------------------------------------------------------------------------------
def _install(resource: Path, arguments: argparse.Namespace, config: Config) -> int:
    installs.require_utf8(resource, arguments.mailbox, arguments.config, arguments.data_dir)
    version = version_of(payload())
    mailbox = arguments.mailbox.expanduser().absolute() if arguments.mailbox else None
    start = start_file(config.osc.port, _serve_arguments(arguments))
    shared = _is_shared(mailbox_of(resource), resource, config)
    outcome = installs.install(resource, wanted(resource), version, mailbox, start, keep_mailbox=shared)
    _register(config, resource, mailbox_of(resource))
    for line in _told(outcome):
        _say(line)
    done = f"{counted(len(outcome.written), 'file')} written" if outcome.written else "all was there already"
    _say(f"Stembridge's actions, version {version}, are installed in {resource} ({done}).")
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
    listed = f"'Script: {CHECK}'"
    if by_reapack is not None or CHECK in actions_of(resource):
        _say(f"  1. Actions > Show action list: run {listed}; it says what works.")
    else:
        _say(
            "  1. Actions > Show action list > New action > Load ReaScript..., choose\n"
            f"     {resource / SCRIPTS / CHECK}\n"
            f"     Then run {listed} from the list: it adds the other actions and says what works."
        )
    if osc_finding(resource, config).works:
        _say("  2. Nothing else: the OSC surface is there.")
    elif port != "off":
        _say(
            "  2. For tempo and transport while you work: Preferences > Control/OSC/web > Add,\n"
            "     control surface mode: OSC (Open Sound Control), pattern config: Stembridge,\n"
            f"     mode: Local port, local listen port: {port}."
        )
    if arguments.osc_port is not None:
        file = config.source or default_config_file()
        _say(f"  3. Have the daemon use that port too. In {file}:\n     [reaper]\n     osc_port = {arguments.osc_port}")
    _say("REAPER's own settings were not touched.")


# --- uninstall --------------------------------------------------------------------------------------------------------
def _uninstall(resource: Path, config: Config) -> int:
    shared = _is_shared(mailbox_of(resource), resource, config)
    outcome = installs.uninstall(resource, keep_mailbox=shared)
    _register(config, resource, None)
    for line in _told(outcome):
        _say(line)
    _say(f"Removed from {resource}: {counted(len(outcome.removed), 'file')}.")
    _say(
        "What REAPER itself keeps is yours to remove: the entries 'Script: Stembridge_...' of the action list, and the "
        "OSC surface."
    )
    return OK


def _vanished(told: Path | None, config: Config) -> list[Path]:
    """The REAPERs that the daemon is to serve and in which nothing of ours is left: all, or only the one named."""
    wanted = told.expanduser().absolute() if told else None
    known = (resource for resource in registered(config.data_dir.absolute()) if wanted in (None, resource))
    return [resource for resource in known if not os.path.lexists(resource / installs.MANIFEST)]


def _forget(resource: Path, config: Config) -> int:
    """Have the daemon no longer watch for a REAPER whose resource folder, or what we put into it, is gone."""
    mailbox = registered(config.data_dir.absolute())[resource]
    try:
        stays = not _is_shared(mailbox, resource, config) and not installs.remove_mailbox(mailbox)
    except OSError as error:
        raise installs.in_words(error, mailbox) from error
    _register(config, resource, None)
    for line in _told(Outcome(left=[mailbox] if stays else [])):
        _say(line)
    _say(f"Nothing of Stembridge is left in {resource}; the daemon no longer looks at its mailbox {mailbox}.")
    return OK


def _is_shared(mailbox: Path, resource: Path, config: Config) -> bool:
    """True if another REAPER of this user has the same mailbox."""
    known = registered(config.data_dir.absolute())
    return any(box == mailbox for other, box in known.items() if other != resource)


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
            yield (
                f"The mailbox {path} stays: it holds {counted(waiting(path), 'file')} of requests, answers and audio. "
                "Nobody looks at it any more; delete it when you need nothing of it."
            )
        else:
            yield f"{path} was changed since it was installed, and stays."


# --- status -----------------------------------------------------------------------------------------------------------
def _status(told: Path | None, config: Config, place: Place) -> int:
    resources = (chosen(told, place),) if told else known_resources(config, place) or (chosen(None, place),)
    is_one_of_many = told is not None or len(resources) > 1
    states = [_status_of(resource, config, is_one_of_many) for resource in resources]
    return OK if all(states) else WRONG


def _status_of(resource: Path, config: Config, is_one_of_many: bool) -> bool:
    """Print how it is in one resource folder, and the command that mends it; True if nothing is left to do."""
    _say(str(resource))
    manifest, mailbox, problems = read_manifest(resource), mailbox_of(resource), list(problems_of(resource, config))
    if manifest is not None:
        _say(f"  scripts {manifest.version}; mailbox {mailbox}, {counted(waiting(mailbox), 'file')} in it")
    for problem in problems:
        _say(f"  {problem}")
    if problems:
        which = f' --resource-path "{resource}"' if is_one_of_many else ""
        _say(f"  -> stembridge reaper install{which}")
    osc = osc_finding(resource, config)
    _say(f"  {osc.words}" + ("" if osc.works else "; the actions work without it"))
    return not problems


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
