"""The tempo map's functions of ReaScript, over `tempo.TempoRules`.

`TimeMap2_timeToQN` and `TimeMap2_QNToTime` differ from their `TimeMap_..._abs` relatives once a measure was cut short
("regardless of any partial measures", say the docs of the latter); by how much is not known, so they raise NotModelled
there.
"""

from __future__ import annotations

from typing import Any

from tests.support.reascript.errors import NotModelled
from tests.support.reascript.model import Project
from tests.support.reascript.registry import reascript
from tests.support.reascript.tempo import TempoRules


@reascript("TimeMap_GetTimeSigAtTime")
def time_signature_at(host: Any, project: Project, time_s: float) -> tuple[int, int, float]:
    rules = TempoRules(project)
    meter = rules.meter_at(time_s)
    return meter.numerator, meter.denominator, rules.bpm_at(time_s)


@reascript("TimeMap2_GetDividedBpmAtTime")
def divided_bpm_at(host: Any, project: Project, time_s: float) -> float:
    """Counts per minute: twice the tempo in x/8."""
    rules = TempoRules(project)
    return rules.bpm_at(time_s) * rules.meter_at(time_s).denominator / 4


@reascript("TimeMap2_timeToQN")
def time_to_qn(host: Any, project: Project, time_s: float) -> float:
    return _without_cut(TempoRules(project), time_to_qn_abs(host, project, time_s))


@reascript("TimeMap_timeToQN_abs")
def time_to_qn_abs(host: Any, project: Project, time_s: float) -> float:
    return TempoRules(project).qn_at(time_s)


@reascript("TimeMap2_QNToTime")
def qn_to_time(host: Any, project: Project, qn: float) -> float:
    return qn_to_time_abs(host, project, _without_cut(TempoRules(project), qn))


@reascript("TimeMap_QNToTime_abs")
def qn_to_time_abs(host: Any, project: Project, qn: float) -> float:
    return TempoRules(project).time_at(qn)


def _without_cut(rules: TempoRules, qn: float) -> float:
    if rules.has_cut_measure_before(qn):
        raise NotModelled("QN after a measure that was cut short: use TimeMap_timeToQN_abs and TimeMap_QNToTime_abs.")
    return qn


@reascript("TimeMap2_timeToBeats")
def time_to_beats(host: Any, project: Project, time_s: float) -> tuple[float, int, int, float, int]:
    beats, measure, full_beats, meter = TempoRules(project).position_at(time_s)
    return beats, measure, meter.numerator, full_beats, meter.denominator


@reascript("TimeMap2_beatsToTime")
def beats_to_time(host: Any, project: Project, beats: float, measure: int | None = None) -> float:
    rules = TempoRules(project)
    return rules.time_of_beats(beats) if measure is None else rules.time_in_measure(measure, beats)


@reascript("TimeMap_GetMeasureInfo")
def measure_info(host: Any, project: Project, measure: int) -> tuple[float, float, float, int, int, float]:
    rules = TempoRules(project)
    start, end, meter = rules.measure(measure)
    time_s = rules.time_at(start)
    return time_s, start, end, meter.numerator, meter.denominator, rules.bpm_at(time_s)


@reascript("TimeMap2_GetNextChangeTime")
def next_change_time(host: Any, project: Project, time_s: float) -> float:
    return TempoRules(project).next_change(time_s)


@reascript("CountTempoTimeSigMarkers")
def count_markers(host: Any, project: Project) -> int:
    return len(project.tempo)


@reascript("FindTempoTimeSigMarker")
def find_marker(host: Any, project: Project, time_s: float) -> int:
    """The index of the marker in force at `time_s`, or -1."""
    return sum(marker.time <= time_s for marker in project.tempo) - 1


@reascript("GetTempoTimeSigMarker")
def marker(host: Any, project: Project, index: int) -> tuple[bool, float, int, float, float, int, int, bool]:
    """Numerator and denominator are 0 where the marker keeps the time signature."""
    rules = TempoRules(project)
    if not 0 <= index < len(rules.markers):
        return False, 0.0, 0, 0.0, 0.0, 0, 0, False
    found = rules.markers[index]
    beats, measure, _, _ = rules.position_at(found.time)
    return True, found.time, measure, beats, found.bpm, found.numerator, found.denominator, found.linear


@reascript("GetProjectTimeOffset")
def time_offset(host: Any, project: Project, to_frame: bool) -> float:
    """What the ruler adds to project time, in seconds; `to_frame` would round it to video frames."""
    if to_frame and project.time_offset:
        raise NotModelled("GetProjectTimeOffset rounded to frames.")
    return project.time_offset
