"""A test double of REAPER: the model, the ReaScript functions that our scripts call, and a host that runs Lua files."""
