-- @noindex
-- What the user means: the time selection, else razor edits, else the selected items, and the tracks that go with it.
-- Positions are read once, as doubles, and snapped to the sample; everything after this counts frames from project time
-- 0 at the project's rate. What cannot be worked on is told in a sentence that says what to do.

local SHORTEST_S, LONGEST_S = 0.05, 600
local MOST_TRACKS = 64
local YES_NO, YES = 4, 6
local SAMPLES = 4 -- mode of format_timestr_pos

local AGAIN = ", then run the action again."
local NOTHING = "Nothing is selected. Make a time selection (drag along the ruler) or a razor edit (Alt and right-drag "
  .. "over an item), or select an item" .. AGAIN
local NO_TRACK = "No track is selected. Select the track that this is about (click its name)" .. AGAIN
local UNSAVED = "The project must be saved first, because the takes are kept beside the project file. Save it"
  .. AGAIN
local ASK_SAVE = "This project was never saved, and Stembridge keeps its takes beside the project file.\n\nSave it now?"
local NO_RATE = "REAPER tells no sample rate. Open an audio device, or set the project's own rate" .. AGAIN
local TORN = "The razor edits do not cover one stretch of time. Leave one of them, or make a time selection" .. AGAIN
local TOO_MANY = "%d tracks are selected. Select at most %d, or for new instruments none to use the whole mix" .. AGAIN
local TOO_SHORT = "The selection is shorter than 0.05 s. Select at least a beat" .. AGAIN
local TOO_LONG = "The selection is %.1f s long. Select at most %d s" .. AGAIN
local NEEDS_TRACK = { repaint = true, extend = true, prepend = true }

return function(app)
  local reaper = app.reaper
  local M = {}

  -- Hz, a whole number: the project's own rate, else the device's, else what the ruler counts; nil if nobody knows.
  function M.rate(proj)
    if reaper.GetSetProjectInfo(proj, "PROJECT_SRATE_USE", 0, false) ~= 0 then
      return math.floor(reaper.GetSetProjectInfo(proj, "PROJECT_SRATE", 0, false) + 0.5)
    end
    local open, text = reaper.GetAudioDeviceInfo("SRATE")
    local rate = open and tonumber(text)
    if not rate then -- a difference, because the ruler may count from elsewhere
      local second = tonumber(reaper.format_timestr_pos(1, "", SAMPLES))
      local zero = tonumber(reaper.format_timestr_pos(0, "", SAMPLES))
      rate = second and zero and second - zero
    end
    return rate and rate > 0 and math.floor(rate + 0.5) or nil
  end

  -- The frame nearest to a time in seconds.
  function M.frame(time_s, rate)
    return math.floor(time_s * rate + 0.5)
  end

  -- The items of a track that sound anywhere between two times, in REAPER's order.
  function M.items_between(track, start_s, end_s)
    local found = {}
    for i = 0, reaper.CountTrackMediaItems(track) - 1 do
      local item = reaper.GetTrackMediaItem(track, i)
      local position = reaper.GetMediaItemInfo_Value(item, "D_POSITION")
      local item_end = position + reaper.GetMediaItemInfo_Value(item, "D_LENGTH")
      if position < end_s and item_end > start_s then found[#found + 1] = item end
    end
    return found
  end

  local function selected_tracks(proj)
    local tracks = {}
    for i = 0, reaper.CountSelectedTracks2(proj, false) - 1 do
      tracks[#tracks + 1] = reaper.GetSelectedTrack2(proj, i, false)
    end
    return tracks
  end

  -- In the order of the project.
  function M.selected_items(proj)
    local items = {}
    for i = 0, reaper.CountMediaItems(proj) - 1 do
      local item = reaper.GetMediaItem(proj, i)
      if reaper.IsMediaItemSelected(item) then items[#items + 1] = item end
    end
    return items
  end

  local function tracks_of(items, start_s, end_s)
    local tracks, seen = {}, {}
    for _, item in ipairs(items) do
      local position = reaper.GetMediaItemInfo_Value(item, "D_POSITION")
      local track = reaper.GetMediaItemTrack(item)
      local inside = position < end_s and position + reaper.GetMediaItemInfo_Value(item, "D_LENGTH") > start_s
      if inside and not seen[track] then
        seen[track] = true
        tracks[#tracks + 1] = track
      end
    end
    return tracks
  end

  -- Razor edits of items: a list of {start, end, track}. Those of envelopes (a GUID as third word) are none of ours.
  local function razor_edits(proj)
    local edits = {}
    for i = 0, reaper.CountTracks(proj) - 1 do
      local track = reaper.GetTrack(proj, i)
      local ok, text = reaper.GetSetMediaTrackInfo_String(track, "P_RAZOREDITS", "", false)
      for from, to, envelope in (ok and text or ""):gmatch('(%S+)%s+(%S+)%s+"([^"]*)"') do
        from, to = tonumber(from), tonumber(to)
        if envelope == "" and from and to and to > from then
          edits[#edits + 1] = { start_s = from, end_s = to, track = track }
        end
      end
    end
    table.sort(edits, function(a, b) return a.start_s < b.start_s end)
    return edits
  end

  -- The one stretch of time that spans cover, or nil if there is a gap between them.
  local function stretch(edits)
    local start_s, end_s = edits[1].start_s, edits[1].end_s
    for _, edit in ipairs(edits) do
      if edit.start_s > end_s then return nil end
      end_s = math.max(end_s, edit.end_s)
    end
    return start_s, end_s
  end

  local function tracks_of_razor(proj, edits)
    local marked, tracks = {}, {}
    for _, edit in ipairs(edits) do marked[edit.track] = true end
    for i = 0, reaper.CountTracks(proj) - 1 do
      local track = reaper.GetTrack(proj, i)
      if marked[track] then tracks[#tracks + 1] = track end
    end
    return tracks
  end

  local function span(items)
    local start_s, end_s = math.huge, -math.huge
    for _, item in ipairs(items) do
      local position = reaper.GetMediaItemInfo_Value(item, "D_POSITION")
      start_s = math.min(start_s, position)
      end_s = math.max(end_s, position + reaper.GetMediaItemInfo_Value(item, "D_LENGTH"))
    end
    return start_s, end_s
  end

  -- start_s, end_s, tracks, how; or nil and a sentence.
  local function selected(proj)
    local start_s, end_s = reaper.GetSet_LoopTimeRange2(proj, false, false, 0, 0, false)
    local edits, items = razor_edits(proj), M.selected_items(proj)
    if end_s > start_s then
      local tracks = selected_tracks(proj)
      if #tracks == 0 then tracks = tracks_of(items, start_s, end_s) end
      if #tracks == 0 then tracks = tracks_of_razor(proj, edits) end
      return start_s, end_s, tracks, "time"
    end
    if #edits > 0 then
      start_s, end_s = stretch(edits)
      if not start_s then return nil, TORN end
      return start_s, end_s, tracks_of_razor(proj, edits), "razor"
    end
    if #items == 0 then return nil, NOTHING end
    start_s, end_s = span(items)
    return start_s, end_s, tracks_of(items, start_s, end_s), "items"
  end

  -- The .rpp of the active project, after asking to save one that never was; or nil and a sentence.
  local function saved_file(proj, file)
    if file and file ~= "" then return file end
    if reaper.MB(ASK_SAVE, "Stembridge", YES_NO) == YES then
      reaper.Main_SaveProject(proj, false)
      local same
      same, file = reaper.EnumProjects(-1)
      if same == proj and file and file ~= "" then return file end
    end
    return nil, UNSAVED
  end

  local function length_problem(length_s)
    if length_s < SHORTEST_S then return TOO_SHORT end
    if length_s > LONGEST_S then return TOO_LONG:format(length_s, LONGEST_S) end
  end

  -- What is selected in the active project for a verb: {proj, file, media, rate, start_frame, end_frame, start_s,
  -- end_s, tracks, items, how}, or nil and a sentence. The times are those of the frames.
  function M.capture(verb)
    local proj, file = reaper.EnumProjects(-1)
    local start_s, end_s, tracks, how = selected(proj)
    if not start_s then return nil, end_s end
    if #tracks == 0 and NEEDS_TRACK[verb] then return nil, NO_TRACK end
    if #tracks > MOST_TRACKS then return nil, TOO_MANY:format(#tracks, MOST_TRACKS) end
    local rate = M.rate(proj)
    if not rate then return nil, NO_RATE end
    local start_frame = math.max(0, M.frame(start_s, rate)) -- nothing sounds before the start of the project
    local end_frame = math.max(0, M.frame(end_s, rate))
    local problem = length_problem((end_frame - start_frame) / rate)
    if problem then return nil, problem end
    local sentence
    file, sentence = saved_file(proj, file)
    if not file then return nil, sentence end
    local capture = { proj = proj, file = file, media = reaper.GetProjectPathEx(proj), rate = rate,
      start_frame = start_frame, end_frame = end_frame, start_s = start_frame / rate, end_s = end_frame / rate,
      tracks = tracks, items = {}, how = how }
    for _, track in ipairs(tracks) do
      for _, item in ipairs(M.items_between(track, capture.start_s, capture.end_s)) do
        capture.items[#capture.items + 1] = item
      end
    end
    return capture
  end

  return M
end
