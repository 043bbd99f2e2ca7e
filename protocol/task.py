"""The generation task and its validator: one model for every front door.

Every door fills in the same `Task`; `validate_task` judges it and names everything that is wrong at once. The rules are
those of the integration specification of ACE-Step v1.5 XL Base. At `Door.HTTP` they hold to the letter. `Door.DAW`
(OSC, MIDI, the mailbox, the command line) differs in this, and in nothing else:

* `duration` may be anything above 0 s up to the model's 600 s, without steps: a part of a song is often shorter than
  the 30 s that HTTP asks for. It counts only where no region gives the length.
* `positivePrompt` may be empty or absent: a repaint needs none. Verbs that do need one ask for it themselves.
* `outputFormat` defaults to WAV; `steps` and `CFGScale` to the checkpoint's own, which the task writes as null.
* `taskType` and `model` have defaults, and a `taskUUID` is drawn if none is given.
* `settings.coverConditioningScale`, `repaintingStart` and `repaintingEnd` do not need `inputs.audio`: the session's
  source stands for it. A repaint's place is the session's region, not these two fields.
* `settings.keyScale` may be spelt in any way that `Key.parse` knows, and choices in upper or lower case. Either way the
  task holds the canonical form.
* A number sent as a 32-bit float is a fader's place and goes to the nearest step (0.7323 is 0.73); so does a double
  that is the nearest 32-bit float to a step (0.699999988 is 0.7).
* `advancedFeatures.modularScheduler` may come as JSON text: OSC has no objects. Its keys are judged by the engine that
  gets the task; at HTTP by `protocol.modular_scheduler` at once.
* `engine`, `contextBars`, `stemFormat`, `quality`, `checkpoint`, `minScore` and `rerolls` exist: Stembridge's own
  fields, unknown to the specification and to HTTP.
* `settings.bpm` stays the model's whole-number hint; the session's tempo map is the exact one, and never rounded.

`SETTINGS` lists the short names by which a DAW sets fields over OSC.
"""

from protocol.task_check import Problem, TaskProblems, validate_task
from protocol.task_fields import Door
from protocol.task_model import (
    SEEDS,
    AdvancedFeatures,
    AudioSettings,
    DeliveryMethod,
    GuidanceType,
    OutputType,
    Quality,
    StemFormat,
    Task,
    TaskInputs,
    TaskSettings,
    draw_seed,
    final,
    new_uuid,
    seeds,
    with_checkpoint,
    with_seed,
)
from protocol.task_settings import SETTINGS, SettingSpec, parse_setting, task_from_settings

__all__ = [
    "SEEDS",
    "SETTINGS",
    "AdvancedFeatures",
    "AudioSettings",
    "DeliveryMethod",
    "Door",
    "GuidanceType",
    "OutputType",
    "Problem",
    "Quality",
    "SettingSpec",
    "StemFormat",
    "Task",
    "TaskInputs",
    "TaskProblems",
    "TaskSettings",
    "draw_seed",
    "final",
    "new_uuid",
    "parse_setting",
    "seeds",
    "task_from_settings",
    "validate_task",
    "with_checkpoint",
    "with_seed",
]
