"""`stembridge`: serve, demo, send, jobs, redo, judge, models, reaper, midi, live, pair, doctor. A command calls a part.

Exit codes: 0 done, 1 refused or failed (the sentence says why), 2 cannot start or wrong usage, 3 no answer,
130 interrupted. Imports are inside the commands so that `--help` and `send` start at once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

from bridge.argument_types import count, not_negative, target_port
from protocol.errors import StembridgeError

OK, FAILED, CANNOT_START, NO_ANSWER, INTERRUPTED = 0, 1, 2, 3, 130

EXAMPLES = """examples:
  stembridge serve                               start the daemon on 127.0.0.1
  stembridge send /stembridge/project ~/Song     say which project is open
  stembridge send /stembridge/region 32.0 40.0   say which region is selected (seconds)
  stembridge send --wait 60 /stembridge/repaint variations 2
  stembridge jobs                                what was asked, and how it went
  stembridge redo ~/Song/stembridge/ID/repaint_bars-17-20_take-1.wav
  stembridge judge take.wav --against mix.wav    how good it is, beside what the song does itself
  stembridge models pull xl-base                 fetch the weights of a model
  stembridge reaper install                      the actions for REAPER
  stembridge live start --out audio              keep a track extended while it plays
  stembridge pair                                the PIN for a tablet beside the mixer
  stembridge demo                                see and hear it all without a DAW
  stembridge doctor                              what is wrong here, and what to do about it
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors meant for the user become one sentence on stderr."""
    _have_streams()
    parser = _parser()
    arguments = parser.parse_args(argv)
    command: Callable[[argparse.Namespace], int] | None = getattr(arguments, "command", None)
    if command is None:
        parser.print_help()
        return CANNOT_START
    try:
        return command(arguments)
    except StembridgeError as error:
        _print_heard_or_not(f"stembridge: {error.sentence}", sys.stderr)
        return CANNOT_START if error.code in ("cannot_start", "config_error", "engine_missing") else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away
        sys.stderr.close()
        return OK


def _have_streams() -> None:
    """Without a console (pythonw, started by a REAPER script) Python has no streams; what is printed goes nowhere.

    A folder's name that a redirected output on Windows has no letters for must not end the command.
    """
    if sys.stdout is None or sys.stderr is None:
        nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the process lives
        sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _print_heard_or_not(line: str, stream: TextIO) -> None:
    """Print to whoever may have started us and does not listen, such as a script in REAPER."""
    try:
        print(line, file=stream, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _parser() -> argparse.ArgumentParser:
    from bridge import __version__

    parser = argparse.ArgumentParser(
        prog="stembridge",
        description="The bridge between a DAW session and a music-generation model.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"stembridge {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_serve(commands)
    _add_demo(commands)
    _add_send(commands)
    _add_jobs(commands)
    _add_redo(commands)
    _add_judge(commands)
    _add_models(commands)
    _add_reaper(commands)
    _add_midi(commands)
    _add_live(commands)
    _add_pair(commands)
    _add_doctor(commands)
    return parser


def _command(commands: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str, examples: str) -> Any:
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    return parser


def _add_where(parser: Any) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file (TOML)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="journal, caches and logs")


def _config(arguments: argparse.Namespace, **flags: Any) -> Any:
    from bridge import config

    return config.load(arguments.config, {"folders.data_dir": arguments.data_dir, **flags})


# --- serve ------------------------------------------------------------------------------------------------------------
def _add_serve(commands: Any) -> None:
    from bridge.serve_arguments import EXAMPLES as SERVE_EXAMPLES
    from bridge.serve_arguments import add_arguments

    add_arguments(_command(commands, "serve", _serve, "start the daemon", SERVE_EXAMPLES), _add_where)


def _serve(arguments: argparse.Namespace) -> int:
    from bridge import daemon
    from bridge.serve_arguments import flags, ready_words

    config = _config(arguments, **flags(arguments))

    def ready(description: dict[str, object]) -> None:
        _print_heard_or_not(ready_words(description, config.osc.host, as_json=arguments.ready_json), sys.stdout)

    return int(daemon.serve(config, ready))


# --- demo and doctor --------------------------------------------------------------------------------------------------
def _add_demo(commands: Any) -> None:
    from bridge.demo.arguments import add_arguments

    parser = _command(
        commands,
        "demo",
        _demo,
        "play a DAW against a real daemon, and look at and listen to what comes back",
        "  stembridge demo\n  stembridge demo --audio song.ogg --bpm 128 --key 'A minor' --start 32 --end 40\n",
    )
    add_arguments(parser)


def _demo(arguments: argparse.Namespace) -> int:
    from bridge.demo.play import main as demo

    return demo(arguments)


def _add_doctor(commands: Any) -> None:
    parser = _command(
        commands,
        "doctor",
        _doctor,
        "check ports, folders, engine and devices, and say what to do about each problem",
        "  stembridge doctor\n  stembridge doctor --project ~/Music/Song\n",
    )
    _add_where(parser)
    parser.add_argument("--project", type=Path, metavar="FOLDER", help="check this project folder's rights too")


def _doctor(arguments: argparse.Namespace) -> int:
    from bridge.doctor import main as doctor

    return doctor(_config(arguments), arguments.project)


# --- send and jobs ----------------------------------------------------------------------------------------------------
def _add_send(commands: Any) -> None:
    parser = _command(
        commands,
        "send",
        _send,
        "send one OSC message and print every reply as a line",
        "  stembridge send /stembridge/ping\n"
        "  stembridge send /stembridge/tempo 97.53            a point makes it a double\n"
        "  stembridge send --wait 60 /stembridge/repaint variations 2\n"
        "exit codes: 0 acknowledged, 1 refused or failed, 3 no answer\n",
    )
    _add_where(parser)
    parser.add_argument(
        "--port", type=target_port, metavar="N", help="the daemon's OSC port (default: the running daemon's)"
    )
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDR", help=argparse.SUPPRESS)
    parser.add_argument(
        "--wait",
        type=not_negative,
        metavar="SECONDS",
        help="for a verb: follow the job to its end, at most so long",
    )
    parser.add_argument("address", metavar="ADDRESS", help="an address such as /stembridge/ping (see docs/osc.md)")
    parser.add_argument(
        "args", nargs=argparse.REMAINDER, metavar="ARGS", help="whole numbers, numbers with a point, words"
    )


def _send(arguments: argparse.Namespace) -> int:
    from bridge.send import send

    return send(
        arguments.host,
        arguments.port if arguments.port is not None else _running_port(arguments),
        arguments.address,
        arguments.args,
        wait_s=arguments.wait,
    )


def _running_port(arguments: argparse.Namespace) -> int:
    """The port of the daemon that runs on this data folder, else the configured one."""
    config = _config(arguments)
    try:
        told = json.loads((config.data_dir / "daemon.json").read_text(encoding="utf-8"))
        return int(told["osc_port"])
    except (OSError, ValueError, KeyError, TypeError):
        return int(config.osc.port)


def _add_jobs(commands: Any) -> None:
    parser = _command(
        commands,
        "jobs",
        _jobs,
        "list jobs, newest first, from the journal (whether the daemon runs or not)",
        "  stembridge jobs\n  stembridge jobs 5 --json\n",
    )
    _add_where(parser)
    parser.add_argument("count", nargs="?", type=count, default=20, help="how many (default 20)")
    parser.add_argument("--json", action="store_true", help="one JSON object per line, everything that is known")


def _jobs(arguments: argparse.Namespace) -> int:
    from bridge.listing import print_jobs

    return print_jobs(_config(arguments).data_dir / "journal.sqlite3", arguments.count, as_json=arguments.json)


# --- redo -------------------------------------------------------------------------------------------------------------
def _add_redo(commands: Any) -> None:
    parser = _command(
        commands,
        "redo",
        _redo,
        "make a stem again from the recipe inside it, and compare bit for bit",
        "  stembridge redo ~/Song/stembridge/ID/repaint_bars-17-20_take-1.wav\n"
        "  stembridge redo --commit ~/Song/stembridge/ID/repaint_bars-17-20_take-1.wav   a draft, for good\n",
    )
    _add_where(parser)
    parser.add_argument(
        "--commit", action="store_true", help="make the take again at final quality: same region, seed and source"
    )
    parser.add_argument("file", type=Path, help="a stem that Stembridge made")


def _redo(arguments: argparse.Namespace) -> int:
    from bridge.redo_command import commit, redo

    return (commit if arguments.commit else redo)(_config(arguments), arguments.file)


# --- judge ------------------------------------------------------------------------------------------------------------
def _add_judge(commands: Any) -> None:
    from bridge.judge_arguments import add_arguments

    parser = _command(
        commands,
        "judge",
        _judge,
        "measure takes against their song and rank them, or look at a job that was made",
        "  stembridge judge take-1.wav take-2.wav --against mix.wav        Stembridge's own: they know their place\n"
        "  stembridge judge idea.mp3 --against mix.wav --at 32 --bpm 97.5 --key 'A minor'\n"
        "  stembridge judge bass.wav --against mix.wav --at 32 --bpm 97.5 --track bass    a stem that is added\n"
        "  stembridge judge ~/Song/stembridge/ID      the ranking of a job, and its page report.html\n"
        "exit codes: 0 judged, 1 the best scores less than --threshold, 2 it cannot be judged\n",
    )
    _add_where(parser)
    add_arguments(parser)


def _judge(arguments: argparse.Namespace) -> int:
    from bridge.judge_command import main as judge

    return judge(arguments, _config(arguments))


# --- models -----------------------------------------------------------------------------------------------------------
def _add_models(commands: Any) -> None:
    from bridge.models_arguments import EXAMPLES as MODELS_EXAMPLES
    from bridge.models_arguments import add_arguments

    summary = "list, fetch and check the weights of the engine 'acestep'"
    add_arguments(_command(commands, "models", _models, summary, MODELS_EXAMPLES), _add_where)


def _models(arguments: argparse.Namespace) -> int:
    from bridge import models_command

    config = _config(arguments, **{"acestep.models_dir": arguments.models_dir})
    told = config.acestep.models_dir
    models_dir = told.absolute() if told is not None else None
    if arguments.action == "list":
        return models_command.list_models(models_dir, as_json=arguments.json)
    if arguments.action == "pull":
        return models_command.pull(arguments.name, models_dir, offline=arguments.offline)
    if arguments.action == "path":
        return models_command.path(arguments.name, models_dir)
    return models_command.verify(arguments.name, models_dir)


# --- reaper -----------------------------------------------------------------------------------------------------------
def _add_reaper(commands: Any) -> None:
    from bridge.reaper.arguments import EXAMPLES as REAPER_EXAMPLES
    from bridge.reaper.arguments import add_arguments

    parser = _command(
        commands, "reaper", _reaper, "install the actions for REAPER, and say what they lack", REAPER_EXAMPLES
    )
    add_arguments(parser, _add_where, target_port)


def _reaper(arguments: argparse.Namespace) -> int:
    from bridge.reaper.arguments import flags
    from bridge.reaper.command import main as reaper

    return reaper(arguments, _config(arguments, **flags(arguments)))


# --- midi and live ----------------------------------------------------------------------------------------------------
def _add_live(commands: Any) -> None:
    from bridge.live_arguments import EXAMPLES as LIVE_EXAMPLES
    from bridge.live_arguments import add_arguments

    summary = "keep a track extended while it plays"
    add_arguments(_command(commands, "live", _live, summary, LIVE_EXAMPLES), _add_where)


def _add_midi(commands: Any) -> None:
    from bridge.midi_arguments import EXAMPLES as MIDI_EXAMPLES
    from bridge.midi_arguments import add_arguments

    add_arguments(_command(commands, "midi", _midi, "MIDI ports, clocks and pedals", MIDI_EXAMPLES), _add_where)


def _midi(arguments: argparse.Namespace) -> int:
    from bridge.midi_command import main as midi

    return midi(arguments, _config(arguments))


def _live(arguments: argparse.Namespace) -> int:
    from bridge.live_command import main as live

    return live(arguments, _running_port(arguments))


def _add_pair(commands: Any) -> None:
    from bridge.pair_command import EXAMPLES as PAIR_EXAMPLES
    from bridge.pair_command import add_arguments

    summary = "let controllers on the network in, and see who was"
    add_arguments(_command(commands, "pair", _pair, summary, PAIR_EXAMPLES), _add_where)


def _pair(arguments: argparse.Namespace) -> int:
    from bridge.pair_command import main as pair

    return pair(arguments, _running_port(arguments))


if __name__ == "__main__":
    sys.exit(main())
