-- @noindex
-- Live extension: the selected track goes on past its end, phrase after phrase. The daemon decides when a phrase is
-- made and what fills a bar whose phrase is late; the watcher places what comes. This script hands over the end of the
-- track once, and then only says where REAPER plays. A run that crashed blocks nothing: only a heartbeat that still
-- beats counts as running.

local SECTION, STATE = "Stembridge", "live"
local STOP = "stop"
local FOLDER = "live"
local ALIVE_S = 2
local BEAT_S = 0.25
local LOOK_S = 1
local JUMP_S = 0.1
local GONE_S = 5
local HEARD_BARS = 16
local MOST_BARS = 64
local FIXED_LANES = 2
local PLAN = { through = "dry", place = "items", mute_original = false }
local PLAYING = 1
local END_WHEN_STARTED_AGAIN = 1

local NO_TRACK = "Select the one track that shall go on (click its name), then run the action again."
local UNSAVED = "Save the project first (Ctrl+S): takes are stored beside it. Then run the action again."
local NO_AUDIO = "The selected track has no audio to go on from. Record or import some bars, then run the action again."
local NO_LANES = "Live extension puts items onto the track itself, and this track has fixed lanes. Choose another "
  .. "track, then run the action again."
local NO_MIDI = "The selected track is played by an instrument, and live extension hears audio only. Render it to "
  .. "audio, then run the action again."
local NO_RATE = "REAPER tells no sample rate. Open an audio device, then run the action again."

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

  -- ------------------------------------------------------------------------------------------ what it goes on from

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
  local function heard(proj, file, rate, track, end_s)
    local frame = app.selection.frame
    local start_frame = math.max(0, frame(bars_from(proj, end_s, -HEARD_BARS), rate))
    local end_frame = frame(end_s, rate)
    local from_s, to_s = start_frame / rate, end_frame / rate
    return { proj = proj, file = file, media = reaper.GetProjectPathEx(proj), rate = rate,
      start_frame = start_frame, end_frame = end_frame, start_s = from_s, end_s = to_s, tracks = { track },
      items = app.selection.items_between(track, from_s, to_s), how = "time" }
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

  -- What the run works on; or nil and a sentence.
  local function prepared()
    local proj, file = reaper.EnumProjects(-1)
    if reaper.CountSelectedTracks2(proj, false) ~= 1 then return nil, NO_TRACK end
    if not file or file == "" then return nil, UNSAVED end
    local rate = app.selection.rate(proj)
    if not rate then return nil, NO_RATE end
    local track = reaper.GetSelectedTrack2(proj, 0, false)
    local end_s = end_of(track)
    if not end_s then return nil, NO_AUDIO end
    local capture = heard(proj, file, rate, track, end_s)
    local sentence = obstacle(capture)
    if sentence then return nil, sentence end
    local mailbox
    mailbox, sentence = app.mailbox.open()
    if not mailbox then return nil, sentence end
    local bars = math.max(1, math.min(MOST_BARS, math.floor(app.song.bars(proj) + 0.5)))
    app.files.make(app.files.join(mailbox.folder, FOLDER))
    return { proj = proj, track = track, capture = capture, mailbox = mailbox, bars = bars, id = mailbox.new_id(),
      beats = app.files.join(mailbox.folder, FOLDER, mailbox.instance .. ".json"), serial = 0, beat_at = -math.huge,
      looked_at = reaper.time_precise() }
  end

  -- ------------------------------------------------------------------------------------------ what the daemon is told

  local function is_playing(proj)
    return reaper.GetPlayStateEx(proj) & PLAYING ~= 0
  end

  local function position(proj)
    return is_playing(proj) and reaper.GetPlayPositionEx(proj) or reaper.GetCursorPositionEx(proj)
  end

  local function tempo_of(run)
    return app.json.array(app.tempo.map(run.proj, math.huge))
  end

  -- The key where the next phrase will be, as far as the project tells.
  local function key_of(run)
    return app.song.key(run.proj, bars_from(run.proj, position(run.proj), run.bars))
  end

  local function post(run, source)
    local settings = app.song.settings(run.proj)
    settings.variations = nil
    local origin = app.request.origin("extend", run.capture, PLAN, settings)
    origin.undo = "Stembridge: live extension"
    local request = app.request.build("extend", run.capture, source, nil, settings, origin)
    request.id, request.kind, request.action = run.id, "live", "start"
    request.tempo, request.key, request.live = tempo_of(run), key_of(run), { phrase_bars = run.bars }
    run.tempo_told = app.json.encode(request.tempo)
    run.told = app.json.encode({ settings, request.key })
    local posted, why = run.mailbox.post(request)
    if not posted then return run.stop(why) end
    run.posted = true
    app.watch.launch()
  end

  -- Says where REAPER plays, at once if that is news.
  local function beat(run, now)
    local at, playing = position(run.proj), is_playing(run.proj)
    local rate = reaper.Master_GetPlayRate(run.proj)
    local expected = run.at and run.at + (run.playing and (now - run.beat_at) * run.rate or 0)
    local is_news = playing ~= run.playing or rate ~= run.rate or math.abs(at - expected) > JUMP_S
    if not is_news and now - run.beat_at < BEAT_S then return end
    run.serial, run.beat_at, run.at, run.playing, run.rate = run.serial + 1, now, at, playing, rate
    app.files.replace(run.beats, app.json.encode({ run = run.id, serial = run.serial, at = now, position = at,
      playing = playing, rate = rate, tempo = run.tempo }))
  end

  -- What was changed in the project since it was told.
  local function tell_changes(run)
    local tempo = tempo_of(run)
    run.tempo = app.json.encode(tempo) ~= run.tempo_told and tempo or nil
    local settings, key = app.song.settings(run.proj), key_of(run)
    settings.variations = nil
    local told = app.json.encode({ settings, key })
    if told == run.told then return end
    run.told = told
    run.mailbox.post({ kind = "live", action = "set", run = run.id, settings = settings, key = key })
  end

  -- ------------------------------------------------------------------------------------------------ how it stands

  local function lists(messages, id)
    for _, message in ipairs(messages) do
      if message.id == id then return true end
    end
    return false
  end

  -- Whether the daemon has the run. What waits to be placed brings the watcher back, if its window was closed.
  local function goes_on(run, now)
    local box, id, known = run.mailbox, run.id, false
    if box.is_finished(id) then return false end
    for _, answer in ipairs(box.answers()) do
      local is_final = box.FINAL[answer.state]
      if is_final then app.watch.launch() end
      if answer.id == id then
        if is_final then return false end
        known = true
      end
    end
    if known or lists(box.waiting(), id) or lists(box.taken(), id) then
      run.missing_since = nil
      return true
    end
    run.missing_since = run.missing_since or now
    return now - run.missing_since < GONE_S
  end

  local function is_there(run)
    return reaper.ValidatePtr2(0, run.proj, "ReaProject*") and reaper.ValidatePtr2(run.proj, run.track, "MediaTrack*")
  end

  local function cycle(run)
    if run.ended then return end
    if reaper.GetExtState(SECTION, STATE) == STOP or not is_there(run) then return run.stop() end
    local now = reaper.time_precise()
    say_state(tostring(now))
    if run.posted then
      beat(run, now)
      if now - run.looked_at >= LOOK_S then
        run.looked_at = now
        if not goes_on(run, now) then
          run.posted = false -- the watcher says why
          return run.stop()
        end
        tell_changes(run)
      end
    end
    app.defer(function() cycle(run) end)
  end

  local function end_run(run)
    if run.posted and not run.mailbox.withdraw(run.id) then
      run.mailbox.post({ kind = "live", action = "stop", run = run.id })
    end
    app.files.remove(run.beats)
  end

  local function begin(run)
    local capture = run.capture
    local from, to = capture.start_frame, capture.end_frame
    app.source.write(capture, run.mailbox, run.id, from, to, PLAN.through, function(source, problem)
      if run.ended then return app.files.remove(run.mailbox.audio(run.id, 1)) end
      if not source then return run.stop(problem) end
      post(run, source)
    end)
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
      end_run(run)
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
    begin(run)
    app.defer(function() cycle(run) end)
  end

  return M
end
