-- @noindex
-- @description Stembridge: next take
local here = debug.getinfo(1, "S").source:match("^@(.*[/\\])")
local app = dofile(here .. "lib/stembridge.lua")(reaper, gfx, here)
app.run(function() app.actions.next_take() end)
