-- @noindex
-- What is open in the mailbox, as rows for the window: told in words, followed to the end, placed when done. The files
-- are the truth; a row only remembers since when it has been as it is, so everything here may end and begin again at
-- any time. An error while takes are placed costs no take: the sentence says where they are.

local START_AFTER_S = 1.5
local GIVE_UP_S = 30
local SILENT_S = 20
local LOST_S = 600
local MISSING_S = 2
local MESSAGE_S = 4
local RECORDING = 4
local STARTING = "Stembridge is being started."
local STARTING_AGAIN = "Stembridge does not answer. It is being started again and goes on where it was."
local NOT_TAKEN = "Nobody took this request for 30 s, so it was taken back. "
local LOST = "No sign of Stembridge for 10 minutes. Nothing is lost: the request is kept, and its takes come when "
  .. "Stembridge runs again.\n"
local STOPPING = "Ending..."
local RECORDING_NOW = "Done. The takes are placed when the recording stops."

return function(app)
  local reaper, mailbox, daemon = app.reaper, app.mailbox, app.daemon
  local M = {}
  local rows = {}
  local closed = {}

  -- ------------------------------------------------------------------------------------------------------- words

  -- Live extension itself, not a change of it or one of its phrases.
  local function is_live_run(message)
    return message.kind == "live" and message.verb ~= nil
  end

  local function title_of(message)
    if is_live_run(message) then return "Live extension" end
    local origin = type(message.origin) == "table" and message.origin or {}
    local verb = tostring(message.verb or origin.verb or message.kind)
    verb = verb:sub(1, 1):upper() .. verb:sub(2)
    return origin.title and origin.title ~= "" and verb .. " " .. origin.title or verb
  end

  local function time_left(seconds)
    if not seconds or seconds < 0 then return nil end
    if seconds < 1.5 then return "almost done" end
    if seconds < 90 then return string.format("about %.0f s left", seconds) end
    return string.format("about %.0f min left", seconds / 60)
  end

  local function live_words(live, has_ended)
    local text = has_ended and "Ended" or string.format("%.0f bars ready", live.lead_bars)
    text = string.format("%s, %.0f %s made", text, live.phrases, live.phrases == 1 and "phrase" or "phrases")
    if live.loops > 0 then text = string.format("%s, %.0f repeated", text, live.loops) end
    return live.sentence ~= "" and text .. "\n" .. live.sentence or text
  end

  local function progress_words(answer)
    if not answer then return "Waiting for Stembridge" end
    if answer.live then return live_words(answer.live) end
    if answer.state == "queued" then
      local before = (answer.position or 0) - 1
      return before > 0 and string.format("Waiting, %.0f before it", before) or "Waiting, next in line"
    end
    local stage = answer.stage and answer.stage ~= "" and answer.stage or "working"
    local words = { stage:sub(1, 1):upper() .. stage:sub(2), time_left(answer.seconds_left) }
    return table.concat(words, ", ")
  end

  local function with_warnings(text, answer)
    for _, warning in ipairs(answer and answer.warnings or {}) do text = text .. "\n" .. warning end
    return text
  end

  -- The sentence for an answer of another version of the mailbox: which side to update, and how.
  function M.mismatch(answer)
    local versions = string.format("Stembridge %s speaks version %s of the mailbox, these scripts (%s) version %d. ",
      tostring(answer.version), tostring(answer.protocol), app.VERSION, app.PROTOCOL)
    if (math.tointeger(answer.protocol) or 0) > app.PROTOCOL then
      return versions .. "Update the scripts: run   stembridge reaper install   and then any Stembridge action."
    end
    return versions .. "Update the program: run   pip install --upgrade stembridge   and start it again."
  end

  local function folder_of(answer)
    local first = answer.takes and answer.takes[1]
    return answer.folder or first and first.file and app.files.dir(first.file) or "the project's folder"
  end

  -- -------------------------------------------------------------------------------------------------------- rows

  local function row_of(id, message, now)
    local row = rows[id]
    if not row then
      local origin = type(message.origin) == "table" and message.origin or {}
      local is_live = is_live_run(message)
      row = { id = id, is_live = is_live, title = title_of(message), phase = "waiting", since = now,
        changed_at = now, start_after = SILENT_S,
        is_quiet = message.kind == "cancel" or message.kind == "live" and not is_live or origin.live ~= nil }
      rows[id] = row
    end
    row.missing_since = nil
    return row
  end

  -- The row's last word: for seconds, or until it is clicked away.
  local function say(row, now, text, seconds)
    row.phase, row.text, row.fraction, row.ends_at = "said", text, nil, seconds and now + seconds
  end

  local function wait_for_daemon(row, now)
    local waited_s = now - row.since
    if waited_s >= GIVE_UP_S then
      if mailbox.withdraw(row.id) then say(row, now, NOT_TAKEN .. daemon.BY_HAND) end
    elseif waited_s >= START_AFTER_S and not row.started then
      local ok, sentence = daemon.start()
      row.started, row.note = true, ok and STARTING or sentence
    end
  end

  -- A job that makes no sign: its daemon died, or the machine sleeps.
  local function watch_silence(row, now)
    local silent_s = now - row.changed_at
    if silent_s >= row.start_after then
      local ok, sentence = daemon.start()
      row.note, row.start_after = ok and STARTING_AGAIN or sentence, row.start_after * 2
    end
    if silent_s >= LOST_S then
      row.lost, row.note = true, LOST .. daemon.BY_HAND
    end
  end

  local function follow_taken(row, now)
    if row.phase == "waiting" then
      row.phase, row.note, row.changed_at = "open", nil, now
    end
    if row.phase == "open" and not row.answer then watch_silence(row, now) end
  end

  local function conclude(row, answer, now)
    if not mailbox.claim(answer.id) then return end
    if answer.state == "done" and answer.kind == "request" then
      row.phase, row.answer, row.note = "placing", answer, nil
      return
    end
    mailbox.finish(answer.id)
    if row.is_quiet and answer.state == "done" then
      rows[answer.id] = nil
      return
    end
    if answer.live then
      return say(row, now, live_words(answer.live, true), answer.live.sentence == "" and MESSAGE_S or nil)
    end
    local sentence = answer.error and answer.error.sentence or "This job was " .. answer.state .. "."
    say(row, now, with_warnings(sentence, answer), row.cancelling and answer.state == "cancelled" and MESSAGE_S or nil)
  end

  local function follow_answer(row, answer, now)
    if row.phase == "said" or row.phase == "placing" then return end
    if answer.protocol ~= app.PROTOCOL then return say(row, now, M.mismatch(answer)) end
    local sign = string.format("%s %s %s", answer.state, answer.serial, answer.updated)
    if row.phase ~= "open" or sign ~= row.sign then
      row.phase, row.sign, row.changed_at, row.start_after = "open", sign, now, SILENT_S
      row.lost, row.note = nil, nil
    end
    row.answer = answer
    if mailbox.FINAL[answer.state] then return conclude(row, answer, now) end
    watch_silence(row, now)
  end

  -- Rows whose files have gone (another script finished them) and messages whose time is over.
  local function drop_old(seen, now)
    for id, row in pairs(rows) do
      if row.phase == "said" then
        if row.ends_at and now >= row.ends_at then rows[id] = nil end
      elseif not seen[id] and (row.phase == "waiting" or row.phase == "open") then
        row.missing_since = row.missing_since or now
        if now - row.missing_since > MISSING_S then rows[id] = nil end
      end
    end
  end

  -- Reads the mailbox once. now: seconds of reaper.time_precise.
  function M.poll(now)
    local seen = {}
    local function each(messages, follow)
      for _, message in ipairs(messages) do
        local told = message.request or message
        if told.kind ~= "hello" and not closed[message.id] then
          seen[message.id] = true
          follow(row_of(message.id, told, now), message)
        end
      end
    end
    each(mailbox.waiting(), function(row) if row.phase == "waiting" then wait_for_daemon(row, now) end end)
    each(mailbox.taken(), function(row) follow_taken(row, now) end)
    each(mailbox.answers(), function(row, answer) follow_answer(row, answer, now) end)
    drop_old(seen, now)
  end

  -- ----------------------------------------------------------------------------------------------------- placing

  local function next_to_place()
    local first
    for _, row in pairs(rows) do
      if row.phase == "placing" and (not first or row.id < first.id) then first = row end
    end
    return first
  end

  -- Places the takes of at most one job. A recording is not disturbed, except by what shall be heard in it.
  function M.place_one(now)
    local row = next_to_place()
    if not row then return end
    local is_live = row.answer.origin and row.answer.origin.live
    if reaper.GetPlayState() & RECORDING ~= 0 and not is_live then
      row.note = RECORDING_NOW
      return
    end
    local ok, message, sentence, stays = pcall(function() return app.place.place(row.answer) end)
    if ok and message then
      mailbox.finish(row.id, row.instance)
      stays = stays or #(row.answer.warnings or {}) > 0
      if is_live and not stays then
        rows[row.id] = nil
        return
      end
      return say(row, now, with_warnings(message, row.answer), not stays and MESSAGE_S or nil)
    end
    if not ok then
      sentence = ("The takes could not be placed: %s\nThe takes are in %s"):format(app.plain(message),
        folder_of(row.answer))
    end
    row.can_retry = true
    say(row, now, sentence)
  end

  -- ------------------------------------------------------------------------------------- results of earlier REAPERs

  local function open_projects()
    local files, index = {}, 0
    while true do
      local project, file = reaper.EnumProjects(index)
      if not project then return files end
      if file and file ~= "" then files[file] = true end
      index = index + 1
    end
  end

  -- Offers, once, the finished takes of earlier sessions whose project is open here.
  function M.offer_others(now)
    local here, found = open_projects(), {}
    local declined = reaper.GetExtState(mailbox.SECTION, "declined")
    for _, answer in ipairs(mailbox.others()) do
      local belongs = answer.origin and here[answer.origin.project_file]
      if belongs and answer.protocol == app.PROTOCOL and answer.id > declined then found[#found + 1] = answer end
    end
    if #found == 0 then return end
    rows.others = { id = "others", title = "Earlier session", phase = "said", since = now,
      others = found, text = #found == 1 and "1 result of an earlier session can be placed."
        or string.format("%d results of an earlier session can be placed.", #found) }
  end

  local function place_others(row, now)
    for _, other in ipairs(row.others) do
      local answer = mailbox.claim(other.id, other.instance)
      if answer then
        local placed = row_of(answer.id, answer, now)
        placed.phase, placed.answer, placed.instance = "placing", answer, other.instance
      end
    end
  end

  local function decline_others(row)
    local newest = ""
    for _, other in ipairs(row.others) do
      if other.id > newest then newest = other.id end
    end
    reaper.SetExtState(mailbox.SECTION, "declined", newest, false)
  end

  -- ----------------------------------------------------------------------------------------------------- buttons

  local function cancel(row, now)
    if mailbox.withdraw(row.id) then return say(row, now, "Taken back before it began.", MESSAGE_S) end
    local id, sentence = mailbox.post(row.is_live and { kind = "live", action = "stop", run = row.id }
      or { kind = "cancel", job = row.id })
    row.cancelling, row.note = id ~= nil, id and (row.is_live and STOPPING or "Cancelling...") or sentence
  end

  local function buttons_of(row)
    if row.others then return { "Place", "Close" } end
    if row.phase == "said" then return row.can_retry and { "Try again", "Close" } or { "Close" } end
    if row.lost then return { row.is_live and "Stop" or "Cancel", "Close" } end
    if row.phase == "placing" or row.cancelling then return {} end
    return { row.is_live and "Stop" or "Cancel" }
  end

  -- What a button of the row does; `id` is that of the row in M.rows().
  function M.press(id, label, now)
    local row = rows[id]
    if not row then return end
    if label == "Cancel" or label == "Stop" then return cancel(row, now) end
    if label == "Try again" then
      row.phase, row.can_retry, row.note = "placing", nil, nil
      return
    end
    rows[id] = nil
    closed[id] = true
    if label == "Place" then place_others(row, now) elseif row.others then decline_others(row) end
  end

  -- A sentence of its own, for so many seconds.
  function M.tell(text, now, seconds)
    rows.told = { id = "told", title = "Stembridge", since = now }
    say(rows.told, now, text, seconds)
  end

  local function shown(row)
    local view = { id = row.id, title = row.title, buttons = buttons_of(row), text = row.text }
    if row.phase == "said" then return view end
    view.text = row.phase == "placing" and "Placing the takes" or progress_words(row.answer)
    local works = row.phase == "open" and row.answer and row.answer.state == "running"
    if works and not row.is_live then view.fraction = row.answer.fraction end
    view.text = with_warnings(view.text, row.answer)
    if row.note then view.text = row.phase == "placing" and row.note or view.text .. "\n" .. row.note end
    return view
  end

  -- The rows to show, oldest job first. Quiet ones (a request to cancel, a change of live extension, a phrase of it)
  -- are seen only if there is something to say about them.
  function M.rows()
    local list = {}
    for _, row in pairs(rows) do
      if not row.is_quiet or row.phase == "said" or row.note then list[#list + 1] = shown(row) end
    end
    table.sort(list, function(a, b) return a.id < b.id end)
    return list
  end

  -- True when nothing is open and nothing is left to read.
  function M.is_empty()
    return next(rows) == nil
  end

  return M
end
