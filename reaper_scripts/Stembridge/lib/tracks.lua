-- @noindex
-- New tracks where they belong, with the folder depth of every other track unchanged. I_FOLDERDEPTH is the change of
-- depth AFTER a track: 1 opens a folder, -n closes n of them; so inserting means moving closings, never adding any.

-- One colour for each track class, always the same: R, G, B.
local COLOURS = {
  woodwinds = { 122, 171, 110 }, brass = { 201, 162, 39 }, fx = { 128, 128, 128 }, synth = { 150, 104, 196 },
  strings = { 176, 98, 66 }, percussion = { 214, 136, 54 }, keyboard = { 74, 120, 196 }, guitar = { 66, 150, 136 },
  bass = { 52, 84, 148 }, drums = { 196, 72, 72 }, backing_vocals = { 212, 132, 176 }, vocals = { 204, 84, 140 },
}
local CUSTOM_COLOUR = 0x1000000

return function(app)
  local reaper = app.reaper
  local M = {}

  local function depth_change(track)
    return math.floor(reaper.GetMediaTrackInfo_Value(track, "I_FOLDERDEPTH"))
  end

  local function set_depth_change(track, change)
    reaper.SetMediaTrackInfo_Value(track, "I_FOLDERDEPTH", change)
  end

  -- All tracks of the project in order, and where `track` is among them (from 1).
  local function list(proj, track)
    local tracks, at = {}, nil
    for i = 0, reaper.CountTracks(proj) - 1 do
      tracks[i + 1] = reaper.GetTrack(proj, i)
      if tracks[i + 1] == track then at = i + 1 end
    end
    return tracks, at
  end

  -- Position (from 1) of the last track inside the folder that tracks[at] opens (itself if it opens none), and the sum
  -- of their depth changes: 0 or less, except in a project that leaves the folder open.
  local function block(tracks, at)
    local sum, last = depth_change(tracks[at]), at
    while sum > 0 and last < #tracks do
      last = last + 1
      sum = sum + depth_change(tracks[last])
    end
    return last, sum
  end

  -- Inserts a bare track (no default effects: they would colour the take) before position `index` (from 0).
  local function insert(proj, index)
    if reaper.APIExists("InsertTrackInProject") then
      reaper.InsertTrackInProject(proj, index, 0)
    else
      app.transaction.in_tab(proj, function() reaper.InsertTrackAtIndex(index, false) end)
    end
    local track = reaper.GetTrack(proj, index)
    set_depth_change(track, 0)
    return track
  end

  local function insert_many(proj, index, count)
    local new = {}
    for i = 1, count do new[i] = insert(proj, index + i - 1) end
    return new
  end

  -- The track with this GUID, or nil.
  function M.find(proj, guid)
    for i = 0, reaper.CountTracks(proj) - 1 do
      local track = reaper.GetTrack(proj, i)
      if reaper.GetTrackGUID(track):upper() == guid:upper() then return track end
    end
    return nil
  end

  function M.name(track)
    local _, name = reaper.GetTrackName(track)
    return name
  end

  -- `track` and all tracks inside the folder that it opens.
  function M.family(proj, track)
    local tracks, at = list(proj, track)
    return { table.unpack(tracks, at, (block(tracks, at))) }
  end

  -- Of several tracks the one that is lowest in the project.
  function M.lowest(proj, several)
    local wanted, found = {}, nil
    for _, track in ipairs(several) do wanted[track] = true end
    for _, track in ipairs((list(proj))) do
      if wanted[track] then found = track end
    end
    return found
  end

  -- Whether audio of a child track would pass through `track` unchanged.
  function M.neutral(track)
    local neutral = { B_MUTE = 0, B_PHASE = 0, D_VOL = 1, D_PAN = 0, D_WIDTH = 1 }
    for key, value in pairs(neutral) do
      if reaper.GetMediaTrackInfo_Value(track, key) ~= value then return false end
    end
    if reaper.CountTrackEnvelopes(track) > 0 then return false end
    if reaper.GetMediaTrackInfo_Value(track, "I_FXEN") == 0 then return true end
    for i = 0, reaper.TrackFX_GetCount(track) - 1 do
      if reaper.TrackFX_GetEnabled(track, i) then return false end
    end
    return true
  end

  -- `count` new tracks right below `track` (below its folder, if it opens one) at its own depth.
  function M.below(proj, track, count)
    local tracks, at = list(proj, track)
    local last, sum = block(tracks, at)
    if sum ~= 0 then set_depth_change(tracks[last], depth_change(tracks[last]) - sum) end
    local new = insert_many(proj, last, count)
    set_depth_change(new[count], math.min(sum, 0))
    return new
  end

  -- `count` new tracks inside `track`, right below it; it becomes a folder if it is none.
  function M.children(proj, track, count)
    local _, at = list(proj, track)
    local change = depth_change(track)
    local new = insert_many(proj, at, count)
    if change <= 0 then
      set_depth_change(track, 1)
      set_depth_change(new[count], change - 1)
    end
    return new
  end

  -- `count` new tracks at the end, outside all folders.
  function M.at_end(proj, count)
    local tracks = list(proj)
    local open = 0
    for _, track in ipairs(tracks) do open = math.max(0, open + depth_change(track)) end
    if open > 0 then set_depth_change(tracks[#tracks], depth_change(tracks[#tracks]) - open) end
    return insert_many(proj, #tracks, count)
  end

  -- Names a new track and gives it the colour of `model`, and its play offset if the audio needs it.
  function M.dress(track, name, model, with_offset)
    reaper.GetSetMediaTrackInfo_String(track, "P_NAME", name, true)
    for _, key in ipairs({ "I_CUSTOMCOLOR", with_offset and "D_PLAY_OFFSET", with_offset and "I_PLAY_OFFSET_FLAG" }) do
      if key then reaper.SetMediaTrackInfo_Value(track, key, reaper.GetMediaTrackInfo_Value(model, key)) end
    end
  end

  -- "backing_vocals" -> "Backing vocals"
  function M.class_name(class)
    local words = class:gsub("_", " ")
    return words:sub(1, 1):upper() .. words:sub(2)
  end

  -- Names and colours a new track after its track class.
  function M.dress_class(track, class)
    reaper.GetSetMediaTrackInfo_String(track, "P_NAME", M.class_name(class), true)
    local colour = COLOURS[class]
    if not colour then return end
    local native = reaper.ColorToNative(colour[1], colour[2], colour[3])
    reaper.SetMediaTrackInfo_Value(track, "I_CUSTOMCOLOR", native | CUSTOM_COLOUR)
  end

  return M
end
