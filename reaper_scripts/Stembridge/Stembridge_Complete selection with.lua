-- @noindex
-- @description Stembridge: complete selection with...
local here = debug.getinfo(1, "S").source:match("^@(.*[/\\])")
local app = dofile(here .. "lib/stembridge.lua")(reaper, gfx, here)
app.run(function() app.actions.complete() end)
