-- @noindex
-- The actions about jobs and about the connection itself: Watch jobs, Cancel, Connection check.

local HELLO_S = 3
local STARTED_HELLO_S = 30
local ALL = "all"
local ACTIONS = "^Stembridge_.*%.lua$"
local STARTING = { title = "Connection check", text = "Stembridge is being started.", buttons = {} }
local OLDEST_REAPER = 6.37 -- from here on GetProjectPathEx and its like need no text to write into
local TOO_OLD = ", too old: update to %.2f or newer (Help > Check for new version)"
local NO_DAEMON = "Stembridge: no answer. "
local OSC_WORDS = {
  heard = "OSC: heard (tempo, position and play state arrive)",
  off = "OSC: off in Stembridge's settings; everything works without it",
}
local OSC_CLICKS = "OSC: nothing heard from REAPER. All actions work without it. To have tempo and position followed:\n"
  .. "    1. Preferences > Control/OSC/web > Add\n"
  .. "    2. Control surface mode: OSC (Open Sound Control)\n"
  .. "    3. Mode: Local port;  Local listen port: %s\n"
  .. "    4. Pattern config: Stembridge  (missing? run   stembridge reaper install )\n"
  .. "    5. OK, then run this check again"

return function(app)
  local reaper, mailbox = app.reaper, app.mailbox
  local M = {}

  local function opened()
    local box, sentence = mailbox.open()
    if not box then app.tell(sentence) end
    return box
  end

  -- A change of live extension has no verb.
  local function is_job(message)
    local is_work = message.kind == "request" or message.kind == "live" and message.verb ~= nil
    return is_work and not mailbox.FINAL[message.state]
  end

  -- Whether the daemon has jobs that it has not finished.
  local function is_running()
    local answered = {}
    for _, answer in ipairs(mailbox.answers()) do
      if is_job(answer) then return true end
      answered[answer.id] = true
    end
    for _, taken in ipairs(mailbox.taken()) do
      if is_job(taken.request) and not answered[taken.id] then return true end
    end
    return false
  end

  function M.watch()
    app.watch.run()
  end

  -- Takes back what nobody took, and has the daemon cancel all the rest of this REAPER's jobs.
  function M.cancel()
    if not opened() then return end
    local withdrawn = 0
    for _, waiting in ipairs(mailbox.waiting()) do
      if is_job(waiting.request) and mailbox.withdraw(waiting.id) then withdrawn = withdrawn + 1 end
    end
    if is_running() then
      local id, sentence = mailbox.post({ kind = "cancel", job = ALL })
      if not id then return app.tell(sentence) end
      return app.watch.launch()
    end
    if withdrawn == 0 then return app.tell("No Stembridge job of this REAPER is running.") end
    app.tell(withdrawn == 1 and "The request was taken back before it began."
      or withdrawn .. " requests were taken back before they began.")
  end

  -- --------------------------------------------------------------------------------------------- connection check

  -- Puts every action of the folder into the action list. Returns how many are there, and how many were refused.
  local function register_actions()
    local names = {}
    for _, name in ipairs(app.files.list(app.root)) do
      if name:find(ACTIONS) then names[#names + 1] = name end
    end
    table.sort(names)
    local refused = 0
    for i, name in ipairs(names) do
      if reaper.AddRemoveReaScript(true, 0, app.root .. name, i == #names) == 0 then refused = refused + 1 end
    end
    return #names - refused, refused
  end

  local function project_words()
    local _, file = reaper.EnumProjects(-1)
    if not file or file == "" then
      return "Project: not saved yet. Save it (Ctrl+S) so that takes are stored beside it."
    end
    return "Project: saved, " .. app.files.base(file)
  end

  local function osc_words(hello)
    return OSC_WORDS[hello.osc] or OSC_CLICKS:format(hello.osc_port and string.format("%.0f", hello.osc_port) or "9241")
  end

  local function daemon_words(answer)
    if answer.protocol ~= app.PROTOCOL or answer.state ~= "done" then
      return { "Stembridge " .. tostring(answer.version) .. ": " .. (answer.error and answer.error.sentence
        or app.jobs.mismatch(answer)) }
    end
    local hello = answer.hello or {}
    return { "Stembridge: " .. tostring(hello.version or answer.version) .. ", connected",
      "Engine: " .. tostring(hello.engine or answer.engine), osc_words(hello) }
  end

  local function reaper_words()
    local version = reaper.GetAppVersion()
    local number = tonumber(version:match("^%d+%.%d+"))
    return "REAPER: " .. version .. (number and number < OLDEST_REAPER and TOO_OLD:format(OLDEST_REAPER) or "")
  end

  local function report(lines)
    local added, refused = register_actions()
    local text = { reaper_words(),
      "Scripts: " .. app.VERSION .. ", mailbox version " .. app.PROTOCOL }
    for _, line in ipairs(lines) do text[#text + 1] = line end
    text[#text + 1] = "Mailbox: " .. mailbox.folder
    text[#text + 1] = project_words()
    text[#text + 1] = "Action list: " .. added .. " Stembridge actions"
      .. (refused > 0 and ", " .. refused .. " could not be added (Actions > New action > Load ReaScript...)" or "")
    app.tell(table.concat(text, "\n"))
  end

  -- Calls done(answer) as soon as `id` is answered; done(nil, sentence) when nobody answers in time or the user closes
  -- the window. Meanwhile the daemon is started if need be.
  local function await_hello(id, done)
    reaper.atexit(function() mailbox.withdraw(id) end)
    local began, deadline_s = reaper.time_precise(), HELLO_S
    local function cycle()
      local now = reaper.time_precise()
      local answer = mailbox.claim(id)
      if answer then
        mailbox.finish(id)
        return done(answer)
      end
      if now - began > deadline_s then
        if deadline_s == STARTED_HELLO_S then return done(nil, app.daemon.BY_HAND) end
        local started, sentence = app.daemon.start()
        if not started then return done(nil, sentence) end
        deadline_s = STARTED_HELLO_S
      end
      if deadline_s == STARTED_HELLO_S then
        local _, event = app.window.show({ STARTING })
        if event == "closed" then return done(nil, app.daemon.BY_HAND) end
      end
      app.defer(cycle)
    end
    app.defer(cycle)
  end

  -- Answers that came after their check was closed or started again.
  local function forget_old_checks()
    for _, answer in ipairs(mailbox.answers()) do
      if answer.kind == "hello" and mailbox.claim(answer.id) then mailbox.finish(answer.id) end
    end
  end

  -- Says hello to the daemon and tells everything that must be right, once. Also puts the actions into the action list.
  function M.check()
    if not opened() then return end
    forget_old_checks()
    local _, file = reaper.EnumProjects(-1)
    local id, sentence = mailbox.post({ kind = "hello", project = file and file ~= "" and { file = file } or nil })
    if not id then return app.tell(sentence) end
    app.restart_when_started_again()
    await_hello(id, function(answer, problem)
      app.window.close()
      if answer then return report(daemon_words(answer)) end
      mailbox.withdraw(id)
      report({ NO_DAEMON .. problem })
    end)
  end

  return M
end
