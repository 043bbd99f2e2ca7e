-- REAPER gives scripts these two tables; nothing of ours is global.
std = "lua53+lua54"
read_globals = { "reaper" }
globals = { "gfx" }
max_line_length = 120
