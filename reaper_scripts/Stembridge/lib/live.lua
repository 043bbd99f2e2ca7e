-- @noindex
-- Live extension: while REAPER plays, the end of the selected track stays ahead of the play cursor. One phrase is asked
-- for at a time, from the dry audio of the last bars, and the next one only when it lies on the track; the watcher
-- places them. A run that crashed blocks nothing: only a heartbeat that still beats counts as running.

local SECTION, STATE = "Stembridge", "live"
local STOP = "stop"
local ALIVE_S = 2
local POLL_S = 0.25
local GONE_S = 5
local HEARD_BARS = 16
local PHRASES_AHEAD = 2
local HIGHEST_PRIORITY = 10
local FIXED_LANES = 2
local PLAN = { through = "dry", place = "items", mute_original = false }
local PLAYING, RECORDING = 1, 4
local END_WHEN_STARTED_AGAIN = 1

local NO_TRACK = "Select the one track that shall go on (click its name), start playback, then run the action again."
local NOT_PLAYING = "Start playback first: live extension keeps the selected track ahead of the play cursor. Then run "
  .. "the action again."
local UNSAVED = "Save the project first (Ctrl+S): takes are stored beside it. Then run the action again."
local NO_AUDIO = "The selected track has no audio to go on from. Record or import some bars, then run the action again."
local NO_LANES = "Live extension puts items onto the track itself, and this track has fixed lanes. Choose another "
  .. "track, then run the action again."
local NO_MIDI = "The selected track is played by an instrument, and live extension hears audio only. Render it to "
  .. "audio, then run the action again."
local NO_RATE = "REAPER tells no sample rate. Open an audio device, then run the action again."
local NOT_MADE = "Live extension stopped: its last phrase was not placed on the track."

return function(app)
  local reaper = app.reaper
  local M = {}

  local function say_state(text)
    reaper.SetExtState(SECTION, STATE, text, false)
  end

  local function is_running()
    local beaten = tonumber(reaper.GetExtState(SECTION, STATE))
    local age_s = beaten and reaper.time_precise() - beaten
    return age_s ~= nil and age_s >= 0 and age_s < ALIVE_S
  end

  local function show_button(on)
    local _, _, section, command = reaper.get_action_context()
    reaper.SetToggleCommandState(section, command, on and 1 or 0)
    reaper.RefreshToolbar2(section, command)
  end

  -- Where the last item of the track ends, in seconds; nil without items.
  local function end_of(track)
    local last
    for i = 0, reaper.CountTrackMediaItems(track) - 1 do
      local item = reaper.GetTrackMediaItem(track, i)
      local to = reaper.GetMediaItemInfo_Value(item, "D_POSITION") + reaper.GetMediaItemInfo_Value(item, "D_LENGTH")
      last = math.max(last or to, to)
    end
    return last
  end

  -- Seconds of project time `bars` bars after (or, if negative, before) a time, by the meter in force there.
  local function bars_from(proj, time_s, bars)
    local num, den = reaper.TimeMap_GetTimeSigAtTime(proj, time_s)
    return reaper.TimeMap_QNToTime_abs(proj, reaper.TimeMap_timeToQN_abs(proj, time_s) + bars * num * 4 / den)
  end

  -- What selection.capture would say if the last bars of the track were selected.
  local function heard(run, anchor_s)
    local frame, rate = app.selection.frame, run.rate
    local start_frame = math.max(0, frame(bars_from(run.proj, anchor_s, -HEARD_BARS), rate))
    local end_frame = frame(anchor_s, rate)
    local start_s, end_s = start_frame / rate, end_frame / rate
    return { proj = run.proj, file = run.file, media = reaper.GetProjectPathEx(run.proj), rate = rate,
      start_frame = start_frame, end_frame = end_frame, start_s = start_s, end_s = end_s, tracks = { run.track },
      items = app.selection.items_between(run.track, start_s, end_s), how = "time" }
  end

  -- Why this cannot be gone on from, or nil.
  local function obstacle(capture)
    if reaper.GetMediaTrackInfo_Value(capture.tracks[1], "I_FREEMODE") == FIXED_LANES then return NO_LANES end
    for _, item in ipairs(capture.items) do
      local take = reaper.GetActiveTake(item)
      if take and reaper.TakeIsMIDI(take) then return NO_MIDI end
    end
    return nil
  end

  local function ask(run, anchor_s)
    local capture = heard(run, anchor_s)
    local sentence = obstacle(capture)
    if sentence then return run.stop(sentence) end
    local options = { bars = run.bars, priority = HIGHEST_PRIORITY }
    local settings = app.song.settings(run.proj)
    settings.quality, settings.variations = "draft", 1
    local origin = app.request.origin("extend", capture, PLAN, settings)
    origin.live, origin.undo = true, "Stembridge: live extension"
    local id = run.mailbox.new_id()
    run.pending = id
    local from, to = capture.start_frame, capture.end_frame
    app.source.write(capture, run.mailbox, id, from, to, PLAN.through, function(source, problem)
      if run.ended then return end
      if not source then return run.stop(problem) end
      local request = app.request.build("extend", capture, source, options, settings, origin)
      request.id = id
      local posted, why = run.mailbox.post(request)
      if not posted then return run.stop(why) end
      run.posted = true
      app.watch.launch()
    end)
  end

  local function lists(messages, id)
    for _, message in ipairs(messages) do
      if message.id == id then return true end
    end
    return false
  end

  -- Looks after the phrase that was asked for: over when it lies on the track, or when nobody knows of it any more.
  local function follow(run, now)
    if not run.posted then return end
    local box, id = run.mailbox, run.pending
    if app.takes.has_job(run.track, id) then
      run.pending, run.posted, run.missing_since = nil, nil, nil
      return
    end
    if lists(box.answers(), id) or lists(box.waiting(), id) or lists(box.taken(), id)
      or reaper.GetPlayStateEx(run.proj) & RECORDING ~= 0 then
      run.missing_since = nil
      return
    end
    run.missing_since = run.missing_since or now
    if now - run.missing_since > GONE_S then run.stop(NOT_MADE) end
  end

  local function extend(run)
    local anchor_s = end_of(run.track)
    if not anchor_s then return run.stop(NO_AUDIO) end
    local wanted_s = bars_from(run.proj, reaper.GetPlayPositionEx(run.proj), run.bars * PHRASES_AHEAD)
    if anchor_s < wanted_s then ask(run, anchor_s) end
  end

  local function is_there(run)
    return reaper.ValidatePtr2(0, run.proj, "ReaProject*") and reaper.ValidatePtr2(run.proj, run.track, "MediaTrack*")
  end

  local function goes_on(run)
    return reaper.GetExtState(SECTION, STATE) ~= STOP and is_there(run)
      and reaper.GetPlayStateEx(run.proj) & PLAYING ~= 0
  end

  local function cycle(run)
    if run.ended then return end
    if not goes_on(run) then return run.stop() end
    local now = reaper.time_precise()
    say_state(tostring(now))
    if now - run.looked_at >= POLL_S then
      run.looked_at = now
      follow(run, now)
      if not run.pending and not run.ended then extend(run) end
    end
    if not run.ended then app.defer(function() cycle(run) end) end
  end

  -- A phrase that is still on its way is not wanted any more.
  local function take_back(run)
    if not run.posted or is_there(run) and app.takes.has_job(run.track, run.pending) then return end
    if run.mailbox.withdraw(run.pending) then return end
    run.mailbox.post({ kind = "cancel", job = run.pending })
  end

  -- What the run works on; or nil and a sentence.
  local function prepared()
    local proj, file = reaper.EnumProjects(-1)
    if reaper.CountSelectedTracks2(proj, false) ~= 1 then return nil, NO_TRACK end
    if reaper.GetPlayStateEx(proj) & PLAYING == 0 then return nil, NOT_PLAYING end
    if not file or file == "" then return nil, UNSAVED end
    local rate = app.selection.rate(proj)
    if not rate then return nil, NO_RATE end
    local mailbox, sentence = app.mailbox.open()
    if not mailbox then return nil, sentence end
    return { proj = proj, file = file, rate = rate, mailbox = mailbox, bars = app.song.bars(proj), looked_at = 0,
      track = reaper.GetSelectedTrack2(proj, 0, false) }
  end

  -- Starts live extension on the selected track, or stops the one that runs.
  function M.toggle()
    if is_running() then return say_state(STOP) end
    local run, sentence = prepared()
    if not run then return app.tell(sentence) end
    if reaper.set_action_options then reaper.set_action_options(END_WHEN_STARTED_AGAIN) end
    local function finish()
      if run.ended then return end
      run.ended = true
      take_back(run)
      say_state("")
      show_button(false)
    end
    function run.stop(why)
      finish()
      if why then app.watch.tell(why) end
    end
    reaper.atexit(finish)
    show_button(true)
    say_state(tostring(reaper.time_precise()))
    app.defer(function() cycle(run) end)
  end

  return M
end
