-- @noindex
-- The selected tracks as they are heard, after their effects and faders (or the master mix), by REAPER's own render.
-- Every render setting that is touched, and the track selection, is put back: when the render has ended, when it fails,
-- and when the script is ended. No undo point is made.

local RENDER_NOW = 42230 -- render project, using the most recent render settings
local STEMS, MASTER_MIX, CUSTOM_BOUNDS = 3, 0, 0 -- 2 alone, though documented as "stems only", renders the master mix
local FLOAT_WAV = "ZXZhdyAAAA=="
local CHANNELS, BYTES, HEADER_BYTES = 2, 4, 44
local SLACK_FRAMES = 64 -- a render may round its end; the daemon fills what is missing with silence
local SETTLE_S, PATIENCE_S = 0.5, 10
local SECTION, RENDERING = "Stembridge", "rendering" -- a heartbeat, so that a script that crashed blocks nothing
local ALIVE_S = 1
local NOTHING_WRITTEN = "REAPER wrote no audio for the selection. If you cancelled the render, run the action again; "
  .. "else render the tracks once by hand (File: Render...) to see what REAPER says."
local CLOSED = "The project was closed before its tracks were rendered. Open it, then run the action again."
local ADVICE = ". Run the action again; if it fails again, set 'Hear tracks' to dry (Set song key and prompt...)."

return function(app)
  local reaper = app.reaper
  local M = {}

  -- In the order in which they are set; put back in the opposite order, the bounds' kind after the bounds.
  local function wanted(capture, folder, pattern, stems, wide_start, wide_end)
    return {
      { "RENDER_BOUNDSFLAG", CUSTOM_BOUNDS }, { "RENDER_STARTPOS", wide_start / capture.rate },
      { "RENDER_ENDPOS", wide_end / capture.rate }, { "RENDER_SETTINGS", stems and STEMS or MASTER_MIX },
      { "RENDER_CHANNELS", CHANNELS }, { "RENDER_SRATE", capture.rate }, { "RENDER_TAILFLAG", 0 },
      { "RENDER_ADDTOPROJ", 0 }, { "RENDER_DITHER", 0 }, { "RENDER_NORMALIZE", 0 }, { "RENDER_FILE", folder },
      { "RENDER_PATTERN", pattern }, { "RENDER_FORMAT", FLOAT_WAV }, { "RENDER_FORMAT2", "" },
    }
  end

  local function read(proj, name, like)
    if type(like) == "number" then return reaper.GetSetProjectInfo(proj, name, 0, false) end
    local _, text = reaper.GetSetProjectInfo_String(proj, name, "", false) -- an empty one may be told as false
    return text or ""
  end

  local function write(proj, name, value)
    if type(value) == "number" then return reaper.GetSetProjectInfo(proj, name, value, true) end
    reaper.GetSetProjectInfo_String(proj, name, value, true)
  end

  local function all_tracks(proj)
    local tracks = { reaper.GetMasterTrack(proj) } -- a selected master would become a stem of its own
    for i = 0, reaper.CountTracks(proj) - 1 do tracks[#tracks + 1] = reaper.GetTrack(proj, i) end
    return tracks
  end

  -- What is changed for the render, as it is now: a list of functions that put it back, the last one first.
  local function keep(proj, settings)
    local undo = {}
    for _, setting in ipairs(settings) do
      local name, value = setting[1], read(proj, setting[1], setting[2])
      undo[#undo + 1] = function() write(proj, name, value) end
    end
    for _, track in ipairs(all_tracks(proj)) do
      local selected = reaper.IsTrackSelected(track)
      undo[#undo + 1] = function()
        if reaper.ValidatePtr2(proj, track, "MediaTrack*") then reaper.SetTrackSelected(track, selected) end
      end
    end
    return undo
  end

  local function is_open(proj)
    return reaper.ValidatePtr2(0, proj, "ReaProject*")
  end

  local function put_back(proj, undo)
    if not is_open(proj) then return end
    for i = #undo, 1, -1 do
      pcall(undo[i]) -- one that cannot be put back must not keep the others
      undo[i] = nil
    end
  end

  -- Tracks to render: a folder's stem has its children in it already.
  local function stems_of(tracks)
    local selected, stems = {}, {}
    for _, track in ipairs(tracks) do selected[track] = true end
    for _, track in ipairs(tracks) do
      local heard, child, parent = false, track, reaper.GetParentTrack(track)
      while parent and not heard and reaper.GetMediaTrackInfo_Value(child, "B_MAINSEND") ~= 0 do
        heard, child, parent = selected[parent] == true, parent, reaper.GetParentTrack(parent)
      end
      if not heard then stems[track] = true end
    end
    return stems
  end

  -- Sets all up and lets REAPER render. Returns the paths it writes to; raises if there are none.
  local function render(capture, settings, stems)
    for _, setting in ipairs(settings) do write(capture.proj, setting[1], setting[2]) end
    if stems then
      for _, track in ipairs(all_tracks(capture.proj)) do reaper.SetTrackSelected(track, stems[track] == true) end
    end
    local targets = {}
    for path in read(capture.proj, "RENDER_TARGETS", ""):gmatch("[^;]+") do targets[#targets + 1] = path end
    if #targets == 0 then error("REAPER names no file to render to", 0) end
    reaper.Main_OnCommandEx(RENDER_NOW, 0, capture.proj)
    return targets
  end

  local function size(path)
    local file = io.open(path, "rb")
    if not file then return 0 end
    local bytes = file:seek("end")
    file:close()
    return bytes
  end

  local function beat(text)
    reaper.SetExtState(SECTION, RENDERING, text, false)
  end

  -- Whether a script of ours waits for its render: render settings and track selection are not the user's until then.
  function M.is_busy()
    local beaten = tonumber(reaper.GetExtState(SECTION, RENDERING))
    local age_s = beaten and reaper.time_precise() - beaten
    return age_s ~= nil and age_s < ALIVE_S
  end

  -- Calls ended() when all files are whole, ended(sentence) when they have stopped growing before that. It is not known
  -- whether the render command returns only then, so this is looked at now and, if need be, later.
  local function when_whole(proj, targets, least_bytes, ended)
    local before, still_since = -1, nil
    local function look()
      if not is_open(proj) then return ended(CLOSED) end
      local bytes, whole, now = 0, true, reaper.time_precise()
      for _, path in ipairs(targets) do
        local here = size(path)
        bytes, whole = bytes + here, whole and here >= least_bytes
      end
      if bytes ~= before then before, still_since = bytes, now end
      local still_s = now - still_since
      local playing = reaper.GetPlayStateEx(proj) & 1 == 1 -- so it may be rendering
      if whole and (not playing or still_s >= SETTLE_S) then return ended() end
      if still_s >= PATIENCE_S then return ended(NOTHING_WRITTEN) end
      beat(tostring(now))
      app.defer(look)
    end
    look()
  end

  -- Moves the rendered files to where the daemon looks for them: their paths, or nil and a sentence.
  local function collected(targets, mailbox, id)
    local paths = {}
    for n, target in ipairs(targets) do
      paths[n] = mailbox.audio(id, n)
      local ok, problem = app.files.rename(target, paths[n])
      if not ok then return nil, "The rendered audio could not be moved (" .. tostring(problem) .. ")" .. ADVICE end
    end
    return paths
  end

  -- Renders frames wide_start until wide_end; calls done(paths) or done(nil, sentence). Stops playback.
  function M.write(capture, mailbox, id, wide_start, wide_end, done)
    local stems = #capture.tracks > 0 and stems_of(capture.tracks) or nil
    local folder = app.files.dir(mailbox.audio(id, 1))
    local pattern = id .. (stems and "-$tracknumber" or "-mix")
    local settings = wanted(capture, folder, pattern, stems, wide_start, wide_end)
    local undo = keep(capture.proj, settings)
    local ok, targets = pcall(render, capture, settings, stems)
    if not ok then
      put_back(capture.proj, undo)
      return done(nil, "The selected tracks could not be rendered (" .. tostring(targets) .. ")" .. ADVICE)
    end
    local function finish()
      put_back(capture.proj, undo)
      beat("")
    end
    local function discard()
      for _, target in ipairs(targets) do app.files.remove(target) end
    end
    reaper.atexit(function()
      finish()
      discard()
    end)
    local least_bytes = HEADER_BYTES + math.max(wide_end - wide_start - SLACK_FRAMES, 1) * CHANNELS * BYTES
    when_whole(capture.proj, targets, least_bytes, function(sentence)
      finish()
      if not sentence then return done(collected(targets, mailbox, id)) end
      discard()
      done(nil, sentence)
    end)
  end

  return M
end
