"""What `engine.report` measures, one quantity a module: pure functions on arrays, in seconds, frames, dB and cents."""
