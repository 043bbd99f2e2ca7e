"""ACE-Step v1.5 as an engine: the modules and weights are diffusers', the procedure around them is ours.

From a region to a take: `engine` takes requests, `plan` settles every parameter, `grid` says which latents a pass
works on, `source_latents` and `codec` turn audio into them, `prompt` and `conditioning` say what the model is told,
`workflow` lays out what each verb keeps and what it makes, `sampler` denoises with the velocities of `denoiser`, and
`codec` turns just the region back into audio. `catalogue`, `checkpoints`, `model`, `devices` and `placement` bring the
weights to the device. Nothing heavy is imported with this package.
"""

from engine.acestep.engine import AceStepEngine

__all__ = ["AceStepEngine"]
