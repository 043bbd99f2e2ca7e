"""The wire between the daemon and the engine's process: one JSON object a line, both ways, validated at both ends.

The daemon writes *commands* to the worker's standard input, the worker writes *signals* to the stream that was its
standard output. Neither side trusts the other: a line that is too long or is not one of these shapes is an error.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from protocol.errors import StembridgeError
from protocol.job import JobRequest, Progress, RenderedTake

MAX_LINE_BYTES = 16 * 2**20
PREPARATION = ""
"""The job id under which `Prepare` is answered; no job has it."""


class LongStep(Progress):
    """Progress into a step that may take long, such as loading a model.

    An engine reports this instead of `Progress` so that the watchdog waits up to `allowance_s` seconds for the next
    change, even if that is longer than it would wait otherwise.
    """

    allowance_s: float = Field(gt=0.0, le=7200.0)


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def line(self) -> bytes:
        """The message as it travels: compact UTF-8 JSON and a newline. Raises `ValueError` if it is too long."""
        line = self.model_dump_json().encode("utf-8") + b"\n"
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"a message of {len(line)} bytes is more than the wire takes ({MAX_LINE_BYTES})")
        return line


class WorkerSetup(_Message):
    """What a worker is told on its command line."""

    name: str
    target: str
    """``package.module:Class`` of the engine (engine/registry.py)."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What the configuration says to this engine."""
    cache_dir: str
    heartbeat_every_s: float = Field(default=1.0, gt=0.0)
    frozen_after_s: float = Field(default=60.0, gt=0.0)
    """A worker whose threads cannot run for so long (a library holds the interpreter) ends itself, daemon or not."""


# --- commands: daemon -> worker ---------------------------------------------------------------------------------------
class Prepare(_Message):
    """Load what the first job would wait for."""

    do: Literal["prepare"] = "prepare"


class Run(_Message):
    """Render this; the audio goes into files under `spool_dir`."""

    do: Literal["run"] = "run"
    job: str
    request: JobRequest
    spool_dir: str


class Cancel(_Message):
    """Stop this job at its next step, or do not begin it."""

    do: Literal["cancel"] = "cancel"
    job: str


class Dump(_Message):
    """Write to the log where every thread is: sent before a worker that hangs is killed."""

    do: Literal["dump"] = "dump"


class Exit(_Message):
    """Stop everything at the next step and end."""

    do: Literal["exit"] = "exit"


Command = Annotated[Prepare | Run | Cancel | Dump | Exit, Field(discriminator="do")]


# --- signals: worker -> daemon ----------------------------------------------------------------------------------------
class Hello(_Message):
    """The engine is loaded and waits for commands."""

    say: Literal["hello"] = "hello"
    pid: int
    engine: str
    version: str


class Started(_Message):
    """Work on this job (or on the preparation) began."""

    say: Literal["started"] = "started"
    job: str


class Stepped(_Message):
    """A step was made; the next may take `allowance_s` if that is given."""

    say: Literal["progress"] = "progress"
    job: str
    progress: Progress
    allowance_s: float | None = None


class Heartbeat(_Message):
    """The process is alive, whatever the engine is doing; sent only while it works."""

    say: Literal["heartbeat"] = "heartbeat"
    job: str


class Done(_Message):
    """The job's takes lie whole in the spool folder."""

    say: Literal["done"] = "done"
    job: str
    takes: tuple[RenderedTake, ...] = ()


class Failed(_Message):
    """The job failed. With `job` None the engine itself cannot be loaded, and the worker ends."""

    say: Literal["failed"] = "failed"
    job: str | None
    code: str
    sentence: str


class Stopped(_Message):
    """The job was cancelled, before it began or at a step."""

    say: Literal["cancelled"] = "cancelled"
    job: str


Signal = Annotated[Hello | Started | Stepped | Heartbeat | Done | Failed | Stopped, Field(discriminator="say")]

_COMMAND: TypeAdapter[Command] = TypeAdapter(Command)
_SIGNAL: TypeAdapter[Signal] = TypeAdapter(Signal)


def parse_command(line: bytes) -> Command:
    """The command on a line; raises `ValueError` (pydantic's) for anything else."""
    return _COMMAND.validate_json(line)


def parse_signal(line: bytes) -> Signal:
    """The signal on a line; raises `ValueError` (pydantic's) for anything else."""
    return _SIGNAL.validate_json(line)


def error_of(code: str, sentence: str) -> StembridgeError:
    """The error that a worker reported, as the class that carries its code here."""
    pending = [StembridgeError]
    while pending:
        kind = pending.pop()
        if kind.code == code:
            return kind(sentence)
        pending += kind.__subclasses__()
    error = StembridgeError(sentence)
    error.code = code
    return error
