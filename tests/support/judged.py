"""One region of a rendered song, and takes measured for it: what tests of `engine.report` are made of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from engine.api import GenerationRequest
from engine.report import measure, subscores
from protocol.task import Task
from protocol.vocabulary import Verb
from tests.support.songs import Song

RATE = 22_050
A_MINOR = ("Am", "F", "C", "G", "Am", "Dm", "F", "G") * 2
E_MINOR = ("Em", "C", "G", "D", "Em", "Am", "C", "D") * 2
FIRST_BAR, BARS = 7, 3


class Case:
    """One region of one song, and the takes that are measured for it."""

    def __init__(self, song: Song, key: str | None, verb: Verb = Verb.REPAINT, **changes: Any) -> None:
        self.song, self.rate = song, song.rate
        self.source = song.source()
        self.region = changes.pop("region", song.frames_of_bars(FIRST_BAR, BARS))
        fields: dict[str, Any] = {
            "verb": verb,
            "task": Task.model_construct(),
            "seeds": (1,),
            "region": self.region,
            "rate": song.rate,
            "tempo_map": song.tempo_map,
            "tempo_known": True,
            "key": key,
            "source": self.source,
        }
        self.request = GenerationRequest(**(fields | changes))
        start, stop = (min(max(0, frame), self.source.frames) for frame in self.region)
        self.own = song.audio[:, start:stop]
        self.before, self.from_here_on = song.audio[:, :start], song.audio[:, start:]

    def measure(self, take: np.ndarray, **more: Any) -> dict[str, Any]:
        take = take.astype(np.float32)
        return measure(take, region=self.region, rate=self.rate, request=self.request, spliced_gain_db=0.0, **more)

    def part(self, name: str, takes: Sequence[np.ndarray]) -> list[float]:
        values = [subscores(self.measure(take))[name] for take in takes]
        assert all(value is not None for value in values)
        return [float(value) for value in values if value is not None]


def falling(values: Sequence[float]) -> bool:
    return all(after < before for before, after in pairwise(values))
