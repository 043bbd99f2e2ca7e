-- @noindex
-- The watcher: the one script that runs while jobs of this REAPER are open. It shows them in one small window, places
-- what is done, and ends by itself. Actions and the daemon's doorbell start it; ending it (Esc, or closing its window)
-- ends no job, and the next action or doorbell brings it back.

local POLL_S = 0.1
local ALIVE_S = 2
local NOTHING_S = 2.5
local HEARTBEAT, MESSAGE = "watching", "message"
local BREAK = "\1" -- extended state holds no line breaks

return function(app)
  local reaper, mailbox = app.reaper, app.mailbox
  local M = {}

  local function beat(text)
    reaper.SetExtState(mailbox.SECTION, HEARTBEAT, text, false)
  end

  local function is_running()
    local beaten = tonumber(reaper.GetExtState(mailbox.SECTION, HEARTBEAT))
    local age_s = beaten and reaper.time_precise() - beaten
    return age_s ~= nil and age_s < ALIVE_S
  end

  local function read_message(now)
    local text = reaper.GetExtState(mailbox.SECTION, MESSAGE)
    if text == "" then return end
    reaper.SetExtState(mailbox.SECTION, MESSAGE, "", false)
    app.jobs.tell(text:gsub(BREAK, "\n"), now)
  end

  local function read_mailbox(now)
    beat(tostring(now))
    read_message(now)
    app.jobs.poll(now)
    app.jobs.place_one(now)
  end

  -- Runs until nothing is left. As a script of its own it replaces an earlier start of itself.
  function M.run(inside_another_script)
    local box, sentence = mailbox.open()
    if not box then return app.tell(sentence) end
    if inside_another_script or not reaper.set_action_options then
      if is_running() then return end
    else
      app.restart_when_started_again()
    end
    reaper.atexit(function()
      beat("")
      app.window.close()
    end)
    local jobs, read_at = app.jobs, reaper.time_precise()
    jobs.offer_others(read_at)
    read_mailbox(read_at)
    if jobs.is_empty() then jobs.tell("No jobs are open.", read_at, NOTHING_S) end

    local function cycle()
      local now = reaper.time_precise()
      if now - read_at >= POLL_S then
        read_at = now
        read_mailbox(now)
      end
      if jobs.is_empty() then return end
      local row, event = app.window.show(jobs.rows())
      if event == "closed" then return end
      if row then jobs.press(row.id, event, now) end
      app.defer(cycle)
    end
    app.defer(cycle)
  end

  -- Makes sure that a watcher runs; called by actions after they have posted a request.
  function M.launch()
    if is_running() then return end
    local _, command = mailbox.doorbell()
    if command ~= 0 then reaper.Main_OnCommand(command, 0) else M.run(true) end
  end

  -- Shows a sentence in the watcher's window, until the user clicks it away: for news while music plays, which no box
  -- may interrupt.
  function M.tell(sentence)
    reaper.SetExtState(mailbox.SECTION, MESSAGE, sentence:gsub("\n", BREAK), false)
    M.launch()
  end

  return M
end
