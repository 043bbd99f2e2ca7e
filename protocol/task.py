"""Skeleton: being replaced by the full task model and validator."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Task(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True, alias_generator=to_camel)

    number_results: int = 1
    seed: int | None = None
    positive_prompt: str = ""
    negative_prompt: str | None = None
    strength: float = 0.5
