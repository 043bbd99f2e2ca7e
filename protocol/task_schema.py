"""The generation task as JSON Schema (draft 2020-12), made from the very rules that the HTTP door judges it by.

Promise: whatever the validator accepts, the schema accepts; and what the validator refuses the schema refuses too, but
for the few things that JSON Schema has no words for: that one field's number lies below another's (the guidance
interval, the repainted span), that a list descends (sigmas), and what exactly makes a web address or base64.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache
from typing import Any

from protocol.formats import BITRATES_KBPS, MODEL_RATE, OutputFormat
from protocol.task_fields import Door
from protocol.task_model import DEFAULTS, FIELDS, HTTP_REQUIRED, TASK_TYPE, OutputType

Schema = dict[str, Any]

DRAFT = "https://json-schema.org/draft/2020-12/schema"

_MEANINGS: Mapping[str, str] = {
    "taskType": "The kind of task.",
    "taskUUID": "Yours to draw, a new one for each task: results and errors carry it, and getResponse asks by it.",
    "model": "The AIR id of a model; its checkpoint must be installed (`stembridge models pull`).",
    "outputType": "How a result is handed over: an address, base64, or a data URI.",
    "outputFormat": "The file format of results. OGG is Vorbis.",
    "audioSettings": "Encoding of MP3 and OGG; must not be given for WAV or FLAC.",
    "audioSettings.bitrate": "kbps; what is allowed depends on format, sample rate and channels.",
    "audioSettings.channels": "1: mono, 2: stereo.",
    "audioSettings.sampleRate": "Hz; 48000 unless given.",
    "webhookURL": "Each finished result is POSTed there as JSON.",
    "deliveryMethod": "sync: the response carries the results; async: it acknowledges, and getResponse is polled.",
    "uploadEndpoint": "Each encoded file is PUT there as the raw body.",
    "ttl": "Seconds after which a result's file and address are gone; only with outputType URL.",
    "includeCost": "Report what the result cost: compute seconds, and no money.",
    "numberResults": "How many results, each with a seed of its own.",
    "inputs": "What the task works on.",
    "inputs.audio": "The source audio: the UUID of an uploaded or produced file, an address, a data URI, or base64.",
    "positivePrompt": "What the music should be.",
    "negativePrompt": "What it should not be; ignored while CFGScale is 1.",
    "duration": "Seconds of music, where no source audio gives the length.",
    "seed": "The same seed gives the same audio; drawn, and reported, unless given.",
    "steps": "Denoising steps: more is slower and finer.",
    "CFGScale": "How strictly to follow the prompt; 1 is off.",
    "strength": "How closely to keep to the source: 0 free, 1 close.",
    "settings": "The model's own settings.",
    "settings.bpm": "Tempo in beats per minute; the model decides unless given.",
    "settings.cfgIntervalStart": "Where in the diffusion guidance begins; not after cfgIntervalEnd.",
    "settings.cfgIntervalEnd": "Where in the diffusion guidance ends.",
    "settings.coverConditioningScale": "The part of the steps that hear the source; needs inputs.audio.",
    "settings.guidanceType": "apg: adaptive projected guidance, cfg: classifier-free guidance.",
    "settings.keyScale": "Key, as in C major, F# minor or Bb major.",
    "settings.lyrics": "The words to sing.",
    "settings.repaintingStart": "Seconds of the source: where new audio begins. Negative prepends. Needs inputs.audio; "
    "must lie before repaintingEnd.",
    "settings.repaintingEnd": "Seconds of the source: where new audio ends. Beyond the source's end appends. Needs "
    "inputs.audio.",
    "settings.timeSignature": "Beats per bar; the model decides unless given.",
    "settings.vocalLanguage": "Language of the lyrics; unknown for instrumental music.",
    "advancedFeatures": "For those who know the model.",
    "advancedFeatures.modularScheduler": "Manual configuration of the diffusion; sigmas and shift exclude each other.",
}


@cache
def _whole_task() -> Schema:
    root: Schema = {"type": "object", "properties": {}, "required": list(HTTP_REQUIRED), "additionalProperties": False}
    for field, rule in FIELDS[Door.HTTP].items():
        group, _, name = field.rpartition(".")
        properties = root["properties"]
        if group:
            empty = {"type": "object", "description": _MEANINGS[group], "properties": {}, "additionalProperties": False}
            properties = properties.setdefault(group, empty)["properties"]
        properties[name] = {**rule.json_schema(), "description": _MEANINGS[field], **_default(field)}
    return {**root, "allOf": list(_joining_rules())}


def task_schema() -> Schema:
    """The schema of a whole `audioInference` task; not to be changed by the caller."""
    head = {"$schema": DRAFT, "title": TASK_TYPE, "description": "Text to music, and music from music."}
    return head | _whole_task()


def _default(field: str) -> Schema:
    default = DEFAULTS[Door.HTTP].get(field)
    if default is None or field in HTTP_REQUIRED:
        return {}
    return {"default": str(default) if isinstance(default, StrEnum) else default}


# --- rules that join fields -------------------------------------------------------------------------------------------
# Each is a choice between things that may stand side by side. if/then would say the same, but what generates requests
# from a schema has to turn every "then" around, and gives up on so many of them.
def _joining_rules() -> Iterator[Schema]:
    lossless = [str(each) for each in OutputFormat if not each.is_lossy]
    plain = {"properties": {"outputFormat": {"enum": lossless}, "audioSettings": False}, "required": ["outputFormat"]}
    yield {"anyOf": [*(_encodings(each) for each in OutputFormat if each.is_lossy), plain]}
    by_url = {"properties": {"outputType": {"const": str(OutputType.URL)}}}
    yield {"anyOf": [by_url, {"properties": {"ttl": False}}]}
    audio = {"required": ["inputs"], "properties": {"inputs": {"required": ["audio"]}}}
    of_audio = dict.fromkeys(("coverConditioningScale", "repaintingStart", "repaintingEnd"), False)
    yield {"anyOf": [audio, {"properties": {"settings": {"properties": of_audio}}}]}
    ends_later = {"properties": {"repaintingEnd": {"exclusiveMinimum": 0}}}
    prepends = {"required": ["repaintingStart"], "properties": {"repaintingStart": {"exclusiveMaximum": 0}}}
    yield {"properties": {"settings": {"anyOf": [ends_later, prepends]}}}


def _encodings(lossy: OutputFormat) -> Schema:
    """What a lossy format allows: bitrates by sample rate and channels, as in `protocol.formats.BITRATES_KBPS`."""
    alike: dict[tuple[tuple[int, int], int], list[int]] = {}
    for channels in (1, 2):
        for rate, span in BITRATES_KBPS[lossy, channels].items():
            alike.setdefault((span, channels), []).append(rate)
    allowed = []
    for ((low, high), channels), rates in alike.items():
        must = [] if channels == DEFAULTS[Door.HTTP]["audioSettings.channels"] else ["channels"]
        must += [] if MODEL_RATE in rates else ["sampleRate"]
        encoding = {
            "channels": {"const": channels},
            "sampleRate": {"enum": rates},
            "bitrate": {"minimum": low, "maximum": high},
        }
        allowed.append({"properties": encoding, "required": must})
    needed = [] if DEFAULTS[Door.HTTP]["outputFormat"] == lossy else ["outputFormat"]
    properties = {"outputFormat": {"const": str(lossy)}, "audioSettings": {"anyOf": allowed}}
    return {"properties": properties, "required": needed}
