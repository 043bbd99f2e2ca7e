"""What is on a touch surface, whatever the app: displays, buttons and faders with the address table's paths and ranges.

Nothing on it drives the DAW: it shows what the DAW told, asks for music and turns the settings that matter on stage.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from protocol.address_space import INCOMING, OUTGOING, PREFIX
from protocol.task import SETTINGS
from protocol.task_fields import Number, Whole
from protocol.vocabulary import TrackClass, Verb

SUBSCRIBE: Final = f"{PREFIX}/subscribe"
UNSET: Final = "by itself"
"""What stands for a value that is not set: the engine chooses."""
TTL_S, RENEWED_S = 60, 20
"""A surface subscribes for so long, and again so often."""
RECEIVE_PORT: Final = 9243
"""Where a surface listens whose app may send from another port; beside the daemon's own 9240 to 9242."""


@dataclass(frozen=True)
class Display:
    """A field of ``session/state``, shown as the daemon writes it."""

    name: str
    label: str


@dataclass(frozen=True)
class Button:
    """Sends `path` with `args` when it is pressed, and nothing when it is let go."""

    name: str
    label: str
    path: str
    args: tuple[str, ...] = ()
    warns: bool = False
    """It ends something."""


@dataclass(frozen=True)
class Fader:
    """Sends a number from `low` to `high` to `path`; `whole` or with so many `decimals`. `start` is where it stands.

    `may_be_unset`: there is a value of its own choice, which an empty text brings back.
    """

    name: str
    label: str
    path: str
    low: float
    high: float
    whole: bool
    decimals: int
    start: float
    may_be_unset: bool

    @property
    def unset(self) -> Button:
        return Button(f"{self.name}_unset", "unset", self.path, ("",))

    @property
    def shown(self) -> str:
        """What stands beside it before anything is told."""
        return UNSET if self.may_be_unset else f"{self.start:g}"


def _fader(name: str, label: str) -> Fader:
    spec = SETTINGS[name]
    rule = spec.rule
    assert isinstance(rule, Whole | Number), f"{name} is no setting for a fader"
    step = rule.step if isinstance(rule, Number) else "1"
    decimals = -int(Decimal(step or "0.01").as_tuple().exponent)
    default = spec.default
    start = float(default) if isinstance(default, int | float) else float(rule.low)
    span = float(rule.low), float(rule.high)
    path = f"{PREFIX}/set/{name}"
    return Fader(name, label, path, *span, isinstance(rule, Whole), decimals, start, default is None)


def _button(path: str, label: str, *args: str, warns: bool = False) -> Button:
    whole = f"{PREFIX}/{path}"
    assert whole in INCOMING, whole
    return Button(path.replace("/", "_"), label, whole, args, warns)


DISPLAYS: Final = (
    Display("tempo", "Tempo (bpm)"),
    Display("timesig", "Time signature"),
    Display("key", "Key"),
    Display("region", "Region (s)"),
    Display("position", "Position (s)"),
)
VERBS: Final = (
    *(_button(verb, verb.capitalize()) for verb in Verb if not verb.makes_stems),
    _button(Verb.COMPLETE, "Complete: drums, bass", "tracks", f"{TrackClass.DRUMS},{TrackClass.BASS}"),
)


def _for_each_track(verb: Verb) -> tuple[Button, ...]:
    row = _button(verb, "")
    return tuple(
        Button(f"{row.name}_{track}", track.replace("_", " "), row.path, ("track", track)) for track in TrackClass
    )


ADD, TAKE_OUT = _for_each_track(Verb.LEGO), _for_each_track(Verb.EXTRACT)
"""One button per track class: add that instrument, take it out of the mix."""

FADERS: Final = (
    _fader("strength", "Strength"),
    _fader("steps", "Steps"),
    _fader("guidance", "Guidance"),
    _fader("variations", "Variations"),
)
LIVE: Final = (
    _button("live/start", "Live start"),
    _button("live/stop", "Live stop"),
    _button("live/panic", "Panic", warns=True),
)
CANCEL: Final = _button("cancel", "Cancel all", "all", warns=True)


def _event(name: str) -> str:
    whole = f"{PREFIX}/{name}"
    assert whole in OUTGOING, whole
    return whole


STATE, JOB, PROGRESS, DONE, ERROR, LIVE_STATE = map(
    _event, ("session/state", "job/state", "job/progress", "job/done", "error", "live/state")
)

BUTTONS: Final = (*VERBS, *ADD, *TAKE_OUT, *LIVE, CANCEL, *(fader.unset for fader in FADERS if fader.may_be_unset))
"""All of them."""
