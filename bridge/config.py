"""Configuration: one TOML file plus flags, typed, with the reason for each default.

The file is looked for at `--config`, else at the system's usual place (`stembridge doctor` prints it); it need not
exist. A flag on the command line wins over the file. An unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bridge.midi_config import MidiConfig
from bridge.web_config import HttpConfig, LanConfig
from protocol.errors import StembridgeError

DEFAULT_OSC_PORT = 9240
"""Not used by REAPER (8000/9000), TouchOSC (8000/9000), Ardour (3819), SuperCollider (57110/57120) or Live scripts."""

Port = Annotated[int, Field(ge=0, le=65535)]


class ConfigError(StembridgeError):
    """The configuration file or a flag cannot be used."""

    code = "config_error"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class OscConfig(_Section):
    """The OSC door."""

    host: str = "127.0.0.1"  # nobody on the network gets in unless the user says so
    port: Port = DEFAULT_OSC_PORT  # 0 picks a free one


class EngineConfig(_Section):
    """The engine and its process."""

    name: str = "auto"  # the best engine that can run here
    plugins: dict[str, str] = Field(default_factory=dict)  # own engines: name = "package.module:Class"
    idle_release_s: float = Field(default=300.0, ge=1.0)  # five minutes without a job give the memory back
    stall_s: float = Field(default=120.0, ge=1.0)  # no progress for so long means it hangs; slow is not hung
    heartbeat_s: float = Field(default=20.0, ge=1.0)  # no sign of life at all for so long means it is dead
    cancel_grace_s: float = Field(default=10.0, ge=0.1)  # a step may take this long before cancel becomes a kill
    start_s: float = Field(default=60.0, ge=1.0)  # a cold disk can take long to import numpy


class LoraConfig(_Section):
    """An adapter that is laid over the model's weights."""

    path: Path
    scale: float = Field(default=1.0, ge=-10.0, le=10.0)

    @field_validator("path")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return value.expanduser()


class AceStepConfig(_Section):
    """The engine `acestep`: which weights, where, and what they may cost."""

    checkpoint: str = Field(default="xl-base", min_length=1)  # a name (`stembridge models list`) or a local folder
    models_dir: Path | None = None  # None: where Hugging Face's own tools keep downloads, so that they are shared
    device: str = "auto"  # auto, cuda, cuda:N, mps or cpu; auto means a GPU, because the CPU takes minutes
    memory: Literal["auto", "resident", "offload", "sequential", "int8", "fp8"] = "auto"  # by what is free
    compile: Literal["auto", "on", "off"] = "auto"  # off: what it gains has not been measured yet
    items_per_pass: int = Field(default=1, ge=1, le=4)  # 1: a take depends on its seed alone, to the last bit
    lora: tuple[LoraConfig, ...] = ()

    @field_validator("checkpoint")
    @classmethod
    def _expand_name(cls, value: str) -> str:
        return str(Path(value).expanduser()) if value.startswith("~") else value

    @field_validator("models_dir")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return value and value.expanduser()

    @field_validator("device")
    @classmethod
    def _known(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cuda(:\d{1,2})?|mps|cpu", value):
            raise ValueError("auto, cuda, cuda:0 (or another number), mps or cpu")
        return value


class SketchConfig(_Section):
    """The embedded engine `sketch`."""

    soundfont: Path | None = None  # an SF2 or SF3 file to play parts with; None: the engine's own voices
    fill: bool = True  # where a song is too short to be rearranged, the arranger plays; off: the job is refused
    separator: Literal["auto", "masks", "demucs"] = "auto"  # demucs where it and its weights are installed
    separator_model: str = Field(default="htdemucs", pattern=r"[A-Za-z0-9_.-]{1,64}")
    separator_dir: Path | None = None  # a folder of demucs weights; None: where demucs itself keeps them

    @field_validator("soundfont", "separator_dir")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return value and value.expanduser()


class JudgeConfig(_Section):
    """What happens to takes once they are measured."""

    page: bool = False  # true: a page for every job that is done, beside its stems; `stembridge judge ID` makes one too


class FoldersConfig(_Section):
    """What messages may name."""

    data_dir: Path | None = None  # None: the system's place for application data
    roots: tuple[Path, ...] = ()  # when set, only projects below these can be opened
    media_roots: tuple[Path, ...] = ()  # folders outside projects whose audio may be a source (a sample library)

    @field_validator("roots", "media_roots", "data_dir")
    @classmethod
    def _expand(cls, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(path.expanduser() for path in value)
        return value.expanduser() if value is not None else None


class DiscoveryConfig(_Section):
    """Zeroconf."""

    interfaces: str = "lo"  # lo, all, off or addresses with commas: the network learns of us only when the user says

    @field_validator("interfaces")
    @classmethod
    def _known(cls, value: str) -> str:
        addresses = [part.strip() for part in value.split(",") if part.strip()]
        if addresses not in (["lo"], ["all"], ["off"]):
            if not addresses:
                raise ValueError("lo, all, off or IPv4 addresses with commas")
            for address in addresses:
                ipaddress.IPv4Address(address)
        return ",".join(addresses)


DEFAULT_REAPER_PORT = 9241
"""Beside `DEFAULT_OSC_PORT`; REAPER's own examples use 8000 and 9000."""


class ReaperConfig(_Section):
    """REAPER: the folders in which its scripts leave requests, and its OSC surface."""

    mailboxes: tuple[Path, ...] = ()  # besides those that `stembridge reaper install` noted; never guessed from a home
    osc_port: Port | Literal["off"] = DEFAULT_REAPER_PORT  # the one number that the user enters in REAPER

    @field_validator("mailboxes")
    @classmethod
    def _expand(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        folders = tuple(path.expanduser() for path in value)
        if not all(folder.is_absolute() for folder in folders):
            raise ValueError("full paths, because the daemon is started from anywhere")
        return folders


class Config(_Section):
    """All of it. `source` is the file it came from, for `doctor`."""

    osc: OscConfig = OscConfig()
    engine: EngineConfig = EngineConfig()
    acestep: AceStepConfig = AceStepConfig()
    sketch: SketchConfig = SketchConfig()
    judge: JudgeConfig = JudgeConfig()
    folders: FoldersConfig = FoldersConfig()
    discovery: DiscoveryConfig = DiscoveryConfig()
    reaper: ReaperConfig = ReaperConfig()
    midi: MidiConfig = MidiConfig()
    http: HttpConfig = HttpConfig()
    lan: LanConfig = LanConfig()
    source: Path | None = Field(default=None, exclude=True)

    @property
    def engine_options(self) -> dict[str, dict[str, Any]]:
        """What engines are told, by their names (see `engine.registry.resolve`)."""
        return {"acestep": self.acestep.model_dump(mode="json"), "sketch": self.sketch.model_dump(mode="json")}

    @property
    def data_dir(self) -> Path:
        """Journal, caches and logs; everything else that is written goes into opened projects."""
        return self.folders.data_dir or default_data_dir()


def default_data_dir() -> Path:
    """The system's place for application data (`~/.local/share/stembridge` on Linux)."""
    return Path(platformdirs.user_data_dir("stembridge", appauthor=False))


def default_config_file() -> Path:
    """The system's place for the configuration (`~/.config/stembridge/stembridge.toml` on Linux)."""
    return Path(platformdirs.user_config_dir("stembridge", appauthor=False)) / "stembridge.toml"


def load(file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Config:
    """The configuration from `file` (or the default place) with `flags` (``"osc.port": 0``) over it.

    Raises `ConfigError` for a file that is named but missing, is not TOML, or holds an unknown key or a wrong value.
    """
    path = file or default_config_file()
    values: dict[str, Any] = {}
    if path.is_file():
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not valid TOML: {error}.") from error
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    elif file is not None:
        raise ConfigError(f"The configuration file {file} does not exist.")
    if "source" in values:
        raise ConfigError(f"source is not a setting ({path}).")
    _with_older_names(values)
    for dotted, value in (flags or {}).items():
        section, name = dotted.split(".")
        if value is not None:
            table = values.setdefault(section, {})
            if isinstance(table, dict):  # else the validation below names the file's mistake
                table[name] = value
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_in_words(error, path)) from error
    return config.model_copy(update={"source": path if path.is_file() else None})


def _with_older_names(values: dict[str, Any]) -> None:
    """``[doors] midi_port`` and ``http_port`` are what ``port`` of ``[midi]`` and ``[http]`` were called."""
    doors = values.get("doors")
    if not isinstance(doors, dict):
        return
    for older, section in (("midi_port", "midi"), ("http_port", "http")):
        if older in doors:
            table = values.setdefault(section, {})
            value = doors.pop(older)
            if isinstance(table, dict):
                table.setdefault("port", value)
    if not doors:
        del values["doors"]


def _in_words(error: ValidationError, path: Path) -> str:
    problems = []
    for detail in error.errors():
        where = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "extra_forbidden":
            near = difflib.get_close_matches(where, _known_keys(), n=1)
            problems.append(f"{where} is not a setting" + (f" (did you mean {near[0]}?)" if near else ""))
        else:
            said = detail["msg"].removeprefix("Value error, ")
            said = said if said != detail["msg"] else said.lower()
            problems.append(f"{where} = {detail['input']!r}: {said.rstrip('.')}")
    text = f"The configuration cannot be used ({path}, or a flag): " + "; ".join(problems)
    return text if text.endswith("?") else f"{text}."


def _known_keys() -> list[str]:
    keys = []
    for name, field in Config.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            keys += [name, *(f"{name}.{key}" for key in section.model_fields)]
    return keys
