"""Requests to test the task with: every field's edge values, and small tools to set fields by dotted names."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

from protocol.air import CHECKPOINT_OF
from protocol.task import Door, Problem, TaskProblems, validate_task

UUID = "588a3bc6-2470-4cf8-956b-595d366bc84f"
REQUIRED = {
    "taskType": "audioInference",
    "taskUUID": UUID,
    "model": "runware:ace-step@v1.5-xl-base",
    "positivePrompt": "brushed drums",
}
SOURCE = {"inputs.audio": "https://example.org/song.wav"}
PREPENDED: dict[str, object] = {**SOURCE, "settings.repaintingStart": -1}
MP3 = {"outputFormat": "MP3"}
NAN, INF = math.nan, math.inf
DEEP: list[object] = []
for _ in range(2000):
    DEEP = [DEEP]
NO_JSON_OBJECTS = [[], "x", 1, None, {"a": NAN}, {"a": [INF]}, {"a": b"x"}, {1: 2}, {"a": [0] * 1001}, {"a": DEEP}]

# field, what must stand beside it, allowed values, refused values
EDGES: list[tuple[str, dict[str, object], list[object], list[object]]] = [
    ("taskType", {}, ["audioInference"], ["imageInference", "audioinference", "", 1, None]),
    ("taskUUID", {}, [UUID, UUID.upper()], ["588a3bc6-2470-1cf8-956b-595d366bc84f", UUID[:-1], f"{{{UUID}}}", "", 4]),
    ("model", {}, list(CHECKPOINT_OF), ["runware:ace-step@v1.5-xl-huge", "xl-base", "", 1]),
    ("outputType", {}, ["URL", "base64Data", "dataURI"], ["url", "file", "", True]),
    ("outputFormat", {}, ["MP3", "WAV", "FLAC", "OGG"], ["mp3", "AIFF", "", 3]),
    ("audioSettings", MP3, [{}, {"bitrate": 128}], [[], "x", 5, None]),
    ("audioSettings.bitrate", MP3, [32, 320, 64.0], [31, 321, 7, 128.5, "128", True, NAN]),
    ("audioSettings.channels", MP3, [1, 2], [0, 3, "2", True, None]),
    ("audioSettings.sampleRate", MP3, [8000, 44100, 48000], [7999, 96000, "48000", 0]),
    ("webhookURL", {}, ["https://a.example/x?y=1", "http://localhost:8080/"], ["a.example", "ftp://a", "http://", 1]),
    ("deliveryMethod", {}, ["sync", "async"], ["SYNC", "push", False]),
    ("uploadEndpoint", {}, ["https://b.example/put"], ["/put", "h ttp://a", "http://[", "http://a/\n", []]),
    ("ttl", {}, [60, 86400], [59, 0, -60, 60.5, "60", INF]),
    ("includeCost", {}, [True, False], [0, 1, "true", None]),
    ("numberResults", {}, [1, 4, 2.0], [0, 5, 1.5, "1", True, -INF]),
    ("inputs", {}, [{}, {"audio": UUID}], [None, "x", [UUID], 1]),
    ("inputs.audio", {}, [UUID, "https://example.org/a.mp3"], ["song.wav", "../song.wav", "", 7]),
    ("positivePrompt", {}, ["ab", "x" * 3000, "é" * 3000], ["", "a", "x" * 3001, 12, None, "\ud800\ud800"]),
    ("negativePrompt", {}, ["ab", "x" * 3000], ["", "a", "x" * 3001, ["no"]]),
    ("duration", {}, [30, 300, 30.1, 299.9, 60.0], [29.9, 300.1, 30.05, "60", True, NAN, INF]),
    ("seed", {}, [0, 2147483647, 7.0], [-1, 2147483648, 0.5, "0", True, None, 10**400]),
    ("steps", {}, [1, 300, 50.0], [0, 301, 1.5, "50", False]),
    ("CFGScale", {}, [1, 30, 1.01, 29.99, 7.5], [0.99, 30.01, 7.005, "7", True, NAN]),
    ("strength", {}, [0, 1, 0.07, 0.29, 0.57, -0.0], [-0.01, 1.01, 0.075, 0.6999999880790710, "0.5", True]),
    ("settings", {}, [{}, {"bpm": 120}], [None, 3, "bpm", []]),
    ("settings.bpm", {}, [30, 300, 120.0], [29, 301, 134.6, "120", True]),
    ("settings.cfgIntervalStart", {}, [0, 1, 0.07], [-0.01, 1.01, 0.075, "0", NAN]),
    ("settings.cfgIntervalEnd", {}, [0, 1, 0.29], [-0.01, 1.01, 0.295, None]),
    ("settings.coverConditioningScale", SOURCE, [0, 1, 0.58], [-0.01, 1.01, 0.585, "1"]),
    ("settings.guidanceType", {}, ["apg", "cfg"], ["APG", "adg", 0]),
    ("settings.keyScale", {}, ["C major", "F# minor", "B♭ major", "Gb minor"], ["F#m", "c major", "H minor", "C", 1]),
    ("settings.lyrics", {}, ["x" * 10, "x" * 3000], ["x" * 9, "x" * 3001, "", 5]),
    ("settings.repaintingStart", SOURCE, [-300, 300, 0.123], [-300.01, 300.01, "0", NAN]),
    ("settings.repaintingEnd", PREPENDED, [0, 300, 17.25], [-0.01, 300.01, True]),
    ("settings.timeSignature", {}, [2, 3, 4, 6, 4.0], [0, 1, 5, 7, 8, "4", True, "4/4", 4.5]),
    ("settings.vocalLanguage", {}, ["en", "yue", "unknown", "zh"], ["EN", "english", "", "xx", 1]),
    ("advancedFeatures", {}, [{}, {"modularScheduler": {}}], [None, 1, "x"]),
    ("advancedFeatures.modularScheduler", {}, [{}, {"shift": 3, "solver": None}], [[], "x", 1, None]),
]  # fmt: skip


def put(data: dict[str, Any], field: str, value: object) -> dict[str, Any]:
    """A copy of `data` with a field, by its dotted name, set."""
    result = copy.deepcopy(data)
    group, _, inner = field.rpartition(".")
    (result.setdefault(group, {}) if group else result)[inner] = value
    return result


def take(data: dict[str, Any], field: str) -> object:
    group, _, inner = field.rpartition(".")
    return (data.get(group, {}) if group else data).get(inner)


def request(**fields: object) -> dict[str, Any]:
    """A whole HTTP request with these fields, dots written as double underscores."""
    data = dict(REQUIRED)
    for name, value in fields.items():
        data = put(data, name.replace("__", "."), value)
    return data


def problems(data: Any, door: Door = Door.HTTP) -> tuple[Problem, ...]:
    """What is wrong with a task that must be refused."""
    with pytest.raises(TaskProblems) as refused:
        validate_task(data, door)
    return refused.value.problems


def edges(which: int) -> list[Any]:
    """(field, what stands beside it, value) for each allowed (0) or refused (1) value."""
    return [
        pytest.param(field, beside, value, id=f"{field}-{number}")
        for field, beside, *values in EDGES
        for number, value in enumerate(values[which])
    ]
