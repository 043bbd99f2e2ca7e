-- @noindex
-- The one way into the shared modules: loads each on first use and hands it everything it may touch, so that no module
-- reads or writes a global and every one of them runs in a test. Whatever goes wrong inside an action ends in ONE
-- message box that says what to do, never in a console.

local VERSION = "0.1.0"
local PROTOCOL = 1
local TITLE = "Stembridge"
local TERMINATE, RESTART = 1, 2
local ACTION_FILES = { "actions", "actions_jobs", "actions_takes" }
local ADVICE = "If the project was changed already, Undo takes it back.\n"
  .. "If this happens again: run   stembridge reaper install   so that all scripts are of one version,\n"
  .. "and report it with this text."

local function merged(load)
  local actions = {}
  for _, file in ipairs(ACTION_FILES) do
    for verb, run in pairs(load(file)) do
      if actions[verb] then error("the action " .. verb .. " exists twice") end
      actions[verb] = run
    end
  end
  return actions
end

-- "lib/x.lua:12 < lib/y.lua:3" of a traceback: what a report needs, without folders of the user's.
local function steps(trace)
  local found = {}
  for step in trace:gmatch("([^/\\%s<]+%.lua:%d+)") do found[#found + 1] = step end
  return table.concat(found, " < ", 1, math.min(#found, 8))
end

-- reaper, gfx: REAPER's tables; root: the folder of the actions, with its trailing slash.
return function(reaper, gfx, root)
  local app = { reaper = reaper, gfx = gfx, root = root, lib = root .. "lib/", VERSION = VERSION, PROTOCOL = PROTOCOL }
  local deferred = false

  local function load(name)
    return dofile(app.lib .. name .. ".lua")(app)
  end

  -- An error's text without folders: "place.lua:12: ...".
  function app.plain(problem)
    return (tostring(problem):gsub("^.*[/\\]([^/\\]+%.lua:%d+:)", "%1"))
  end

  -- Shows a sentence and waits for OK.
  function app.tell(sentence)
    reaper.MB(sentence, TITLE, 0)
  end

  -- reaper.defer whose errors are told like those of app.run.
  function app.defer(fn)
    deferred = true
    reaper.defer(function() app.run(fn) end)
  end

  -- Started again while it still runs, this script begins anew, without REAPER's question what to do.
  function app.restart_when_started_again()
    if reaper.set_action_options then reaper.set_action_options(TERMINATE | RESTART) end
  end

  -- A script that never defers gets an undo point from REAPER; ours makes its own, or none.
  local function leave_no_undo_point()
    app.restart_when_started_again()
    app.defer(function() end)
  end

  -- Calls fn(...) and returns true; an error becomes one message box, and false.
  function app.run(fn, ...)
    local trace
    local ok, problem = xpcall(fn, function(err)
      trace = debug.traceback("", 2)
      return tostring(err)
    end, ...)
    if not deferred then leave_no_undo_point() end
    if ok then return true end
    local stopped = "Stembridge " .. VERSION .. " stopped:\n\n" .. app.plain(problem)
    app.tell(stopped .. "\n\n" .. ADVICE .. "\n\n" .. steps(trace))
    return false
  end

  return setmetatable(app, { __index = function(self, name)
    local value
    if name == "actions" then value = merged(load) else value = load(name) end
    rawset(self, name, value)
    return value
  end })
end
