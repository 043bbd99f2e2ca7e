-- @noindex
-- Starts the daemon when nobody takes a request: the one use of ExecProcess, without a window and without waiting.
-- Starting it while it runs is harmless: the second one finds the first and ends.

local FILE = "start.json"
local WITHOUT_WAITING = -1
local PAUSE_S = 30
local BY_HAND = "Start Stembridge by hand in a terminal:\n    stembridge serve\n"
  .. "To have REAPER start it from now on, run once:\n    stembridge reaper install"

return function(app)
  local reaper = app.reaper
  local M = { BY_HAND = BY_HAND }

  -- The installer's start.json as a table, or nil and a sentence.
  function M.installed()
    local box, problem = app.mailbox.open()
    if not box then return nil, problem end
    local text = app.files.read(app.files.join(box.folder, FILE))
    if not text then return nil, "REAPER does not know how to start Stembridge. " .. BY_HAND end
    local start = app.json.decode(text)
    if type(start) ~= "table" or type(start.command) ~= "string" or start.command == "" then
      return nil, FILE .. " in " .. box.folder .. " is damaged. " .. BY_HAND
    end
    return start
  end

  -- Starts the daemon unless somebody in this REAPER did so less than 30 s ago. True, or false and a sentence.
  function M.start()
    local start, problem = M.installed()
    if not start then return false, problem end
    local now = reaper.time_precise()
    local last = tonumber(reaper.GetExtState(app.mailbox.SECTION, "daemon_started"))
    if last and now - last < PAUSE_S then return true end
    reaper.SetExtState(app.mailbox.SECTION, "daemon_started", tostring(now), false)
    reaper.ExecProcess(start.command, WITHOUT_WAITING)
    return true
  end

  return M
end
