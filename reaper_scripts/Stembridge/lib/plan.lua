-- @noindex
-- Which way the audio goes out and where the takes come back. The two belong together: a take that goes back into its
-- own track passes the track's effects, fader and pan law once more, so it must be made from audio that has not passed
-- them ("dry"); a take on a track of its own passes none of them, so it must be made from what was heard ("fx").

local RECEIVES = -1
local JOINS = { repaint = true, extend = true, prepend = true }
local BEFORE_S = 1e-3 -- a time so far before a bar line lies in the bar that ends there
local AGAIN = ", then run the action again."

return function(app)
  local reaper = app.reaper
  local M = {}

  local function value(track, name)
    return reaper.GetMediaTrackInfo_Value(track, name)
  end

  local function has_midi(items)
    for _, item in ipairs(items) do
      local take = reaper.GetActiveTake(item)
      if take and reaper.TakeIsMIDI(take) then return true end
    end
    return false
  end

  -- Where `extend` or `prepend` puts its bars, in frames: the first and how many.
  local function beside(verb, capture, bars)
    local proj, rate = capture.proj, capture.rate
    local edge_s = verb == "extend" and capture.end_s or capture.start_s
    local inside_s = verb == "extend" and edge_s or math.max(0, edge_s - BEFORE_S)
    local num, den = reaper.TimeMap_GetTimeSigAtTime(proj, inside_s)
    local length_qn = bars * num * 4 / den
    local edge_qn = reaper.TimeMap_timeToQN_abs(proj, edge_s)
    local other_qn = verb == "extend" and edge_qn + length_qn or edge_qn - length_qn
    local other = app.selection.frame(reaper.TimeMap_QNToTime_abs(proj, other_qn), rate)
    if verb == "extend" then return capture.end_frame, other - capture.end_frame end
    return other, capture.start_frame - other
  end

  -- True if takes can go back onto the one selected track, among plain audio that stays as it is.
  local function fits_its_track(verb, capture, heard, bars)
    local track = capture.tracks[1]
    if #capture.tracks ~= 1 or has_midi(heard) or value(track, "I_FOLDERDEPTH") == 1 then return false end
    if verb == "repaint" then
      local length = capture.end_frame - capture.start_frame
      return app.pieces.obstacle(track, app.pieces.span(capture.start_frame, length, capture.rate)) == nil
    end
    local first, frames = beside(verb, capture, bars)
    return #app.pieces.inside(track, app.pieces.span(first, frames, capture.rate)) == 0
  end

  local function no_room(capture, bars)
    local first = beside("prepend", capture, bars)
    if first >= 0 then return nil end
    return ("%g bars do not fit between the start of the project and the selection. Move the music to the right, or "
      .. "set fewer bars (action Set song key and prompt...)" .. AGAIN):format(bars)
  end

  -- Why this track cannot be heard or replaced, or nil.
  local function problem(verb, track, items, through)
    local name = '"' .. app.tracks.name(track) .. '"'
    if #items == 0 and JOINS[verb] and reaper.GetTrackNumSends(track, RECEIVES) > 0 then
      return "Track " .. name .. " plays other tracks and has no audio of its own to work on. Select the tracks that "
        .. "it plays" .. AGAIN
    elseif through == "dry" and has_midi(items) then
      return "Track " .. name .. " is played by an instrument, which cannot be heard dry. Set 'Hear tracks' to auto "
        .. "(action Set song key and prompt...)" .. AGAIN
    elseif through == "fx" and value(track, "B_MUTE") ~= 0 then
      return "Track " .. name .. " is muted, so nothing of it can be heard. Unmute it" .. AGAIN
    end
  end

  -- {through = "fx"|"dry", place, mute_original}, or nil and a sentence. wide_start, wide_end: the frames to be heard;
  -- setting: "auto", "fx" or "dry"; bars: how many bars `extend` and `prepend` make.
  function M.decide(verb, capture, wide_start, wide_end, setting, bars)
    local sentence = verb == "prepend" and no_room(capture, bars)
    if sentence then return nil, sentence end
    local heard = {}
    for i, track in ipairs(capture.tracks) do
      heard[i] = app.selection.items_between(track, wide_start / capture.rate, wide_end / capture.rate)
    end
    local fits = JOINS[verb] and fits_its_track(verb, capture, heard[1], bars)
    local through = fits and "dry" or "fx"
    if setting ~= "auto" and #capture.tracks > 0 then through = setting end
    for i, track in ipairs(capture.tracks) do
      sentence = problem(verb, track, heard[i], through)
      if sentence then return nil, sentence end
    end
    if not JOINS[verb] then return { through = through, place = "children", mute_original = false } end
    if not fits or through == "fx" then
      return { through = through, place = "new_track", mute_original = verb == "repaint" }
    end
    return { through = through, place = verb == "repaint" and "takes" or "items", mute_original = false }
  end

  return M
end
