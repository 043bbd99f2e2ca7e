"""Which engine answers a model's AIR id here, and what a client is told when it is not the model itself.

A daemon that was started with an engine other than ACE-Step (``--engine sketch``) answers every known model with that
one, and every result says so. Otherwise a model is answered by its own weights or not at all: a client that asked for
ACE-Step must not get something else because weights are missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bridge.desk import Desk
from engine.api import Capabilities
from protocol.air import CHECKPOINT_OF
from protocol.api_errors import ApiError, ApiRefused
from protocol.errors import EngineMissing

MODEL_ENGINE = "acestep"
_OWN_ENGINES = ("auto", MODEL_ENGINE)


@dataclass(frozen=True)
class Served:
    """Who answers a model: the engine, the checkpoint it shall use, and what it offers.

    `warning` is a sentence for the client where an engine stands in for the model.
    """

    engine: str
    checkpoint: str | None
    warning: str | None
    capabilities: Capabilities


class Models:
    """The models of the task API. `configured` is the engine's name as the configuration has it (``auto`` included)."""

    def __init__(self, configured: str, desk: Desk, *, checkpoints: Mapping[str, str] = CHECKPOINT_OF) -> None:
        self._configured = configured
        self._desk = desk
        self._checkpoints = checkpoints

    async def serve(self, air: str) -> Served:
        """Who answers the model `air`; raises `ApiRefused` (``modelNotFound``) with what would install it."""
        checkpoint = self._checkpoints.get(air)
        if checkpoint is None:
            raise _refused(f"There is no model {air[:80]!r}; known are {', '.join(self._checkpoints)}.")
        if self._configured not in _OWN_ENGINES:
            capabilities = await self._desk.offer(self._configured)
            return Served(capabilities.name, None, stand_in(capabilities.name, air), capabilities)
        how = (
            f"`stembridge models pull {checkpoint}` installs it. Without it, a daemon started with `stembridge serve "
            "--engine sketch` answers with the embedded engine."
        )
        try:
            capabilities = await self._desk.offer(MODEL_ENGINE)
        except EngineMissing as error:
            raise _refused(f"The model {air} cannot be used here. {error.sentence} {how}") from error
        if checkpoint not in capabilities.checkpoints:
            there = ", ".join(sorted(capabilities.checkpoints)) or "none"
            raise _refused(f"The model {air} is not installed (checkpoints here: {there}). {how}")
        return Served(capabilities.name, checkpoint, None, capabilities)


def stand_in(engine: str, air: str) -> str | None:
    """What results of `engine` say of themselves to those who asked for the model `air`; None if it is the model's."""
    if engine == MODEL_ENGINE:
        return None
    return f"Made by the {engine} engine, which this daemon was started with, not by {air}."


def _refused(sentence: str) -> ApiRefused:
    return ApiRefused(ApiError("modelNotFound", sentence, parameter="model", type="string", status=404))
