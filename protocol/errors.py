"""Every error a user can meet has one base, a stable code and a sentence that says what to do next.

The code is the contract (`/stembridge/error CODE SENTENCE ADDRESS`): controllers may match on it. The sentence is for
people and may improve.
"""

from __future__ import annotations


class StembridgeError(Exception):
    """Base of all errors that are meant for the user; `str(error)` is a whole sentence."""

    code = "error"

    @property
    def sentence(self) -> str:
        """The message as shown to a musician."""
        return str(self)


# --- what was asked -------------------------------------------------------------------------------------------------
class BadArgument(StembridgeError):
    """An argument has the wrong type, range or number."""

    code = "bad_argument"


class TaskInvalid(StembridgeError):
    """A task breaks one or more rules of the specification; see `protocol.task.TaskProblems`."""

    code = "task_invalid"


class UnknownAddress(StembridgeError):
    """No such OSC address."""

    code = "unknown_address"


class BadPacket(StembridgeError):
    """A datagram is not OSC, or breaks the door's caps."""

    code = "bad_packet"


class TooLate(StembridgeError):
    """A time tag lies too far in the future, or too many messages are waiting for theirs."""

    code = "bad_timetag"


class Busy(StembridgeError):
    """More is waiting than the daemon agrees to hold."""

    code = "busy"


class MissingContext(StembridgeError):
    """A verb needs something the DAW has not told yet (project, source, region, tempo)."""

    code = "missing_context"


class UnknownJob(StembridgeError):
    """No job with that id."""

    code = "unknown_job"


class JobConflict(StembridgeError):
    """The job's state does not allow this, or its id is taken by a different request."""

    code = "job_conflict"


# --- the project folder and the source --------------------------------------------------------------------------------
class ProjectError(StembridgeError):
    """The project folder cannot be used as asked."""

    code = "project_error"


class OutsideProject(ProjectError):
    """A name leads outside the projects the user opened."""

    code = "outside_project"


class ProjectGone(ProjectError):
    """The project folder no longer exists."""

    code = "project_gone"


class ProjectReadOnly(ProjectError):
    """The project folder does not allow writing."""

    code = "project_read_only"


class DiskFull(ProjectError):
    """There is no room for the stems."""

    code = "disk_full"


class SourceError(StembridgeError):
    """The source audio cannot be used."""

    code = "source_error"


class SourceMissing(SourceError):
    """The source file does not exist."""

    code = "source_missing"


class SourceUnreadable(SourceError):
    """The source file is not audio we can read, or it ends before its header says."""

    code = "source_unreadable"


class SourceSilent(SourceError):
    """There is no signal to work from."""

    code = "source_silent"


class SourceDamaged(SourceError):
    """The source holds NaN or infinite samples."""

    code = "source_damaged"


class SourceChanged(SourceError):
    """The source is no longer the file the recipe was made from."""

    code = "source_changed"


class RegionOutside(SourceError):
    """The region does not lie where the verb needs it, relative to the source."""

    code = "region_outside"


class NoMaterial(SourceError):
    """The song around the region is too short to make the region from."""

    code = "no_material"


# --- the engine -------------------------------------------------------------------------------------------------------
class EngineError(StembridgeError):
    """The engine failed."""

    code = "engine_error"


class EngineCannot(EngineError):
    """This engine does not offer that verb, track or setting."""

    code = "engine_cannot"


class EngineMissing(EngineError):
    """The engine asked for is not installed or not known."""

    code = "engine_missing"


class EngineCrashed(EngineError):
    """The engine's process died."""

    code = "engine_crashed"


class EngineStalled(EngineError):
    """The engine stopped making progress and was ended."""

    code = "engine_stalled"


class OutOfMemory(EngineError):
    """The engine ran out of memory."""

    code = "out_of_memory"


class Cancelled(StembridgeError):
    """The job was cancelled; raised inside an engine when `cancelled()` turns true."""

    code = "cancelled"
