-- Prints an action script as Ardour keeps it once a user has given it a slot:
--   ardour7-lua ardour_action.lua SCRIPT OUT [name=value ...]
-- Only what factory() holds survives that, as with Ardour.

ardour = function () end
local file = assert (io.open (arg[1], "rb"))
local source = file:read ("a")
file:close ()
assert (load (source)) ()

local options = {}
for i = 3, #arg do
  local name, value = arg[i]:match ("^([%w_]+)=(.*)$")
  options[#options + 1] = string.format ("scripts[1][%q][%q] = %q", "a", name, value)
end
local out = assert (io.open (arg[2], "wb"))
out:write ('scripts = {} scripts[1] = {} scripts[1]["n"] = "Stembridge" ')
out:write (string.format ('scripts[1]["s"] = %q scripts[1]["f"] = %q ', source, string.dump (factory, true)))
out:write ('scripts[1]["a"] = {} ', table.concat (options, " "))
out:close ()
quit ()
