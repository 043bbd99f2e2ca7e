-- Runs first in every script's Lua: builds the tables `reaper` and `gfx` over the host's functions, guards the globals.
-- A fault is told to the host with Lua's traceback before it is raised, so that a script's pcall cannot hide it.
local host = ...
local call, find, key_of, fault = host.call, host.find, host.key_of, host.fault
local gfx_call, gfx_get, gfx_set, gfx_is_function = host.gfx_call, host.gfx_get, host.gfx_set, host.gfx_is_function

-- The host wraps a pointer anew for every call; scripts must see the same value, also as a table's key.
local seen = {}
local function same(value)
  if type(value) ~= "userdata" then return value end
  local key = key_of(value)
  if not key then return value end
  if seen[key] == nil then seen[key] = value end
  return seen[key]
end

-- `ok` is false after a fault, nil after an error that the test asked for.
local function finish(ok, ...)
  if not ok then
    local message = (...)
    if ok == false then fault(debug.traceback(message, 2)) end
    error(message, 2)
  end
  if select("#", ...) == 0 then return end
  local results = table.pack(...)
  for index = 1, results.n do results[index] = same(results[index]) end
  return table.unpack(results, 1, results.n)
end

reaper = setmetatable({}, {
  __index = function(functions, name)
    local ok, exists = find(name)
    if not ok then return finish(ok, exists) end
    if not exists then return nil end
    local function wrapped(...) return finish(call(name, ...)) end
    rawset(functions, name, wrapped)
    return wrapped
  end,
  __newindex = function(_, name) return finish(false, "a script must not write reaper." .. tostring(name)) end,
  __metatable = "closed",
})

gfx = setmetatable({}, {
  __index = function(functions, name)
    if not gfx_is_function(name) then return finish(gfx_get(name)) end
    local function wrapped(...) return finish(gfx_call(name, ...)) end
    rawset(functions, name, wrapped)
    return wrapped
  end,
  __newindex = function(_, name, value) return finish(gfx_set(name, value)) end,
  __metatable = "closed",
})

python = nil
setmetatable(_G, {
  __newindex = function(_, name) return finish(false, "the global '" .. tostring(name) .. "' is written: use local") end,
  __metatable = "closed",
})

local function readable(message)
  return debug.traceback(type(message) == "string" and message or tostring(message), 2)
end

return {
  run = function(path)
    local chunk, message = loadfile(path)
    if not chunk then return false, message end
    return xpcall(chunk, readable)
  end,
  protect = function(fn) return xpcall(fn, readable) end,
}
