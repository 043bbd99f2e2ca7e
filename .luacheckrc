-- REAPER gives scripts these two tables; nothing of ours is global.
std = "lua53+lua54"
read_globals = { "reaper" }
globals = { "gfx" }
max_line_length = 120

-- What Ardour gives its scripts, and what it asks of them.
files["ardour_scripts"] = {
  std = "lua53",
  globals = { "ardour", "factory", "action_params", "Session" },
  read_globals = { "Editor", "ARDOUR", "Temporal", "C", "Editing", "LuaDialog", "AudioEngine", "load_session",
    "close_session", "create_session", "quit", "arg" },
}
