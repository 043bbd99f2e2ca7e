-- @noindex
-- The mailbox: a folder through which REAPER and the daemon talk, because Lua in REAPER has no sockets. Requests and
-- answers are files that appear whole; every state of a job is in files, so scripts, REAPER and the daemon may end and
-- start again at any time. Two REAPERs share one mailbox without reading each other's answers: each has its instance.

local SECTION = "Stembridge"
local FOLDER = "Stembridge"
local OVERRIDE = "mailbox.txt"
local WATCHER = "Stembridge_Watch jobs.lua"
local BYTE_ORDER_MARK = "\xEF\xBB\xBF"
local ABANDONED_S = 30
local REMEMBERED = 30
local FINAL = { done = true, failed = true, cancelled = true, refused = true }

return function(app)
  local reaper, files, json = app.reaper, app.files, app.json
  local M = { FINAL = FINAL, SECTION = SECTION }
  local known_requests = {}

  -- Random digits: a GUID's first block is random on every system, unlike math.random before it is seeded.
  local function hex(count)
    return (reaper.genGuid():gsub("[^%x]", ""):sub(1, count):lower())
  end

  local function own_instance()
    local instance = reaper.GetExtState(SECTION, "instance")
    if not instance:find("^%x%x%x%x%x%x%x%x$") then
      instance = hex(8)
      reaper.SetExtState(SECTION, "instance", instance, false)
    end
    return instance
  end

  local function chosen_folder()
    local home = files.join(reaper.GetResourcePath(), FOLDER)
    local text = files.read(files.join(home, OVERRIDE)) or ""
    local line = text:gsub("^" .. BYTE_ORDER_MARK, ""):match("^%s*([^\r\n]*)"):gsub("%s+$", "")
    if line ~= "" then return line end
    return files.join(home, "mailbox")
  end

  local function decoded_file(path)
    local text = files.read(path)
    local value = text and json.decode(text)
    if type(value) == "table" then return value end
  end

  -- What was finished here stays finished, even if a daemon that died just then says it again: no take comes twice.
  local function is_finished(id)
    return (" " .. reaper.GetExtState(SECTION, "finished") .. " "):find(" " .. id .. " ", 1, true) ~= nil
  end

  M.is_finished = is_finished

  local function remember_finished(id)
    local ids = { id }
    for known in reaper.GetExtState(SECTION, "finished"):gmatch("%S+") do
      if #ids < REMEMBERED then ids[#ids + 1] = known end
    end
    reaper.SetExtState(SECTION, "finished", table.concat(ids, " "), false)
  end

  local function request_path(id)
    return files.join(M.folder, "requests", M.instance .. "." .. id .. ".json")
  end

  local function answer_path(id, instance, ending)
    return files.join(M.folder, "answers", instance or M.instance, id .. (ending or ".json"))
  end

  -- Our requests in requests/ or taken/, oldest first. Requests never change, so each is read once.
  local function own_requests(folder)
    local found = {}
    for _, name in ipairs(files.list(files.join(M.folder, folder))) do
      local id = name:match("^" .. M.instance .. "%.(.+)%.json$")
      if id and not is_finished(id) then
        local path = files.join(M.folder, folder, name)
        known_requests[id] = known_requests[id] or decoded_file(path)
        local request = known_requests[id]
        if request then found[#found + 1] = { id = id, created = request.created, path = path, request = request } end
      end
    end
    table.sort(found, function(a, b) return a.id < b.id end)
    return found
  end

  local function answers_of(instance)
    local found = {}
    for _, name in ipairs(files.list(files.join(M.folder, "answers", instance))) do
      local id = name:match("^([%w_-]+)%.json$")
      local answer = id and decoded_file(answer_path(id, instance))
      if answer and is_finished(id) then
        files.remove(answer_path(id, instance))
      elseif answer and answer.id == id then
        found[#found + 1] = answer
      end
    end
    table.sort(found, function(a, b) return a.id < b.id end)
    return found
  end

  -- The named command ("_RS...") of the watcher, by which the daemon can start it; "" if REAPER does not register it.
  -- Also returns its number, 0 likewise. Registered once in a session: each registration rewrites reaper-kb.ini.
  function M.doorbell()
    local name = reaper.GetExtState(SECTION, "doorbell")
    local command = name ~= "" and reaper.NamedCommandLookup(name) or 0
    if command ~= 0 then return name, command end
    command = reaper.AddRemoveReaScript(true, 0, app.root .. WATCHER, true)
    local bare = command ~= 0 and reaper.ReverseNamedCommandLookup(command)
    if not bare then return "", command end
    reaper.SetExtState(SECTION, "doorbell", "_" .. bare, false)
    return "_" .. bare, command
  end

  -- M, ready for use, or nil and a sentence. Safe to call often.
  function M.open()
    M.folder = chosen_folder()
    M.instance = own_instance()
    for _, name in ipairs({ "requests", "audio", files.join("answers", M.instance) }) do
      files.make(files.join(M.folder, name))
    end
    return M
  end

  -- YYYYMMDD-HHMMSS-<6 hex> in UTC: becomes the job's id. Ids of this REAPER sort in the order in which they were
  -- drawn, also within a second: the daemon serves requests, and the window lists them, in that order.
  function M.new_id()
    local moment, tail = os.date("!%Y%m%d-%H%M%S-"), "0" .. hex(5)
    local last = reaper.GetExtState(SECTION, "last_id")
    if last:sub(1, #moment) == moment then
      tail = string.format("%06x", math.min(0xFFFFFF, tonumber(last:sub(#moment + 1), 16) + 1))
    end
    reaper.SetExtState(SECTION, "last_id", moment .. tail, false)
    return moment .. tail
  end

  -- Where the n-th source file of request `id` belongs.
  function M.audio(id, n)
    return files.join(M.folder, "audio", string.format("%s.%d.wav", id, n))
  end

  -- Posts a request whose `kind` and own fields are filled in; the common ones are filled in here. Returns its id, or
  -- nil and a sentence.
  function M.post(request)
    request.protocol = app.PROTOCOL
    request.id = request.id or M.new_id()
    request.kind = request.kind or "request"
    request.instance = M.instance
    request.created = os.time()
    request.scripts = app.VERSION
    request.reaper = reaper.GetAppVersion()
    request.doorbell = M.doorbell()
    local ok, problem = files.write_new(request_path(request.id), json.encode(request))
    if ok then return request.id end
    return nil, "REAPER cannot write into Stembridge's mailbox:\n" .. M.folder .. "\n(" .. tostring(problem) .. ")\n\n"
      .. "Choose a folder whose name has plain letters only and where you may write:\n"
      .. "    stembridge reaper install --mailbox FOLDER"
  end

  -- What was posted and not yet taken by the daemon: list of {id, created, path, request}.
  function M.waiting()
    return own_requests("requests")
  end

  -- The same of what the daemon has taken and not finished.
  function M.taken()
    return own_requests("taken")
  end

  -- This instance's answers that nobody claimed, oldest first. One that is just being replaced comes next time.
  function M.answers()
    return answers_of(M.instance)
  end

  -- Makes an answer ours, so that no other script handles it: returns it, or nil if another was faster or the file is
  -- being written just now.
  function M.claim(id, instance)
    local path = answer_path(id, instance)
    local answer = decoded_file(path)
    if answer and files.rename(path, answer_path(id, instance, ".claimed.json")) then return answer end
  end

  -- Forgets a claimed answer. If the file cannot go now, the daemon sweeps it later.
  function M.finish(id, instance)
    remember_finished(id)
    files.remove(answer_path(id, instance, ".claimed.json"))
  end

  -- Takes back a request that nobody took, with its audio. True if it was still there.
  function M.withdraw(id)
    local request = known_requests[id] or decoded_file(request_path(id))
    if not files.remove(request_path(id)) then return false end
    for _, name in ipairs(request and request.source and request.source.files or {}) do
      files.remove(files.join(M.folder, "audio", files.base(name)))
    end
    return true
  end

  -- Finished takes of other REAPERs that none of them claimed for half a minute: answers of sessions that are over.
  function M.others()
    local found = {}
    for _, instance in ipairs(files.folders(files.join(M.folder, "answers"))) do
      if instance ~= M.instance then
        for _, answer in ipairs(answers_of(instance)) do
          local age_s = os.time() - (tonumber(answer.updated) or math.huge)
          if answer.state == "done" and answer.kind == "request" and age_s > ABANDONED_S then
            answer.instance = instance
            found[#found + 1] = answer
          end
        end
      end
    end
    return found
  end

  return M
end
