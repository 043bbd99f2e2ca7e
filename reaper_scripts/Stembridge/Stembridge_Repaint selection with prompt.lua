-- @noindex
-- @description Stembridge: repaint selection with prompt...
local here = debug.getinfo(1, "S").source:match("^@(.*[/\\])")
local app = dofile(here .. "lib/stembridge.lua")(reaper, gfx, here)
app.run(function() app.actions.repaint_with_prompt() end)
