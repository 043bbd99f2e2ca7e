"""Any request that the HTTP door accepts, for property tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from protocol.formats import LANGUAGES, OutputFormat, bitrate_range
from tests.support.tasks import REQUIRED, UUID, put


def _steps(low: int, high: int, per_unit: int) -> st.SearchStrategy[float]:
    return st.integers(low * per_unit, high * per_unit).map(lambda count: count / per_unit)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
SCHEDULERS = st.fixed_dictionaries(
    {}, optional={"solver": st.sampled_from(["euler", "heun", None]), "shift": st.floats(0.1, 10), "apgEta": st.just(1)}
)
PROMPTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=2, max_size=60)


@st.composite
def valid_requests(draw: Callable[..., Any]) -> dict[str, Any]:
    """Any request that HTTP accepts."""
    optional: dict[str, st.SearchStrategy[Any]] = {
        "outputFormat": st.sampled_from(["MP3", "WAV", "FLAC", "OGG"]),
        "deliveryMethod": st.sampled_from(["sync", "async"]),
        "includeCost": st.booleans(),
        "numberResults": st.integers(1, 4),
        "ttl": st.integers(60, 10**6),
        "negativePrompt": PROMPTS,
        "duration": _steps(30, 300, 10),
        "seed": st.integers(0, 2**31 - 1),
        "steps": st.integers(1, 300),
        "CFGScale": _steps(1, 30, 100),
        "strength": _steps(0, 1, 100),
        "settings.bpm": st.integers(30, 300),
        "settings.coverConditioningScale": _steps(0, 1, 100),
        "settings.cfgIntervalStart": _steps(0, 1, 100),
        "settings.guidanceType": st.sampled_from(["apg", "cfg"]),
        "settings.keyScale": st.sampled_from(["C major", "F# minor", "B♭ major", "Cb major"]),
        "settings.repaintingStart": st.floats(-300, 300),
        "settings.repaintingEnd": st.floats(0.001, 300),
        "settings.timeSignature": st.sampled_from([2, 3, 4, 6]),
        "settings.vocalLanguage": st.sampled_from(LANGUAGES),
        "advancedFeatures.modularScheduler": SCHEDULERS,
    }
    data = put({**REQUIRED, "positivePrompt": draw(PROMPTS)}, "inputs.audio", UUID)
    for field in draw(st.sets(st.sampled_from(sorted(optional)))):
        data = put(data, field, draw(optional[field]))
    places = data.get("settings", {})
    if places.get("repaintingStart", -1) >= places.get("repaintingEnd", 301):
        del places["repaintingStart"]
    if data.get("outputFormat", "MP3") in ("MP3", "OGG") and draw(st.booleans()):
        data.setdefault("outputFormat", "MP3")  # a DAW's default is another
        rate, channels = draw(st.sampled_from([8000, 12000, 16000, 24000, 48000])), draw(st.sampled_from([1, 2]))
        limits = bitrate_range(OutputFormat(data["outputFormat"]), rate, channels) or (0, 0)
        data["audioSettings"] = {"sampleRate": rate, "channels": channels, "bitrate": draw(st.integers(*limits))}
    return data
