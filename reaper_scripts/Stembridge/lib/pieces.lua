-- @noindex
-- The items of a track over a span of time: cut at its edges exactly, with no fade or shift left behind at an inner
-- edge whatever the user's split preferences are, and with new takes, or new items where there is nothing.
--
-- A span is {start_s, end_s, length_s, slack_s}; seconds of project time; slack_s is half a sample, under which an edge
-- counts as met.

local FIXED_LANES = 2
local POSITION_ONLY = 2
local NO_AUTO_FADE = -1
local PEAK_STEPS = 100000

return function(app)
  local reaper = app.reaper
  local M = {}

  local function get(item, key) return reaper.GetMediaItemInfo_Value(item, key) end
  local function set(item, key, value) reaper.SetMediaItemInfo_Value(item, key, value) end

  -- The span of `frames` frames from `start_frame` on, at `rate` Hz.
  function M.span(start_frame, frames, rate)
    return { start_s = start_frame / rate, end_s = (start_frame + frames) / rate, length_s = frames / rate,
      slack_s = 0.5 / rate }
  end

  -- The items of the track that lie in the span, in order of time: {item, from, to}.
  function M.inside(track, span)
    local found = {}
    for i = 0, reaper.CountTrackMediaItems(track) - 1 do
      local item = reaper.GetTrackMediaItem(track, i)
      local from = get(item, "D_POSITION")
      local to = from + get(item, "D_LENGTH")
      if from < span.end_s - span.slack_s and to > span.start_s + span.slack_s then
        found[#found + 1] = { item = item, from = from, to = to }
      end
    end
    table.sort(found, function(a, b) return a.from < b.from end)
    return found
  end

  local function refusal(item)
    local take = reaper.GetActiveTake(item)
    if not take then return "an item there holds no audio" end
    if reaper.TakeIsMIDI(take) then return "there is MIDI" end
    if get(item, "B_MUTE") ~= 0 then return "an item there is muted" end
    if get(item, "B_ALLTAKESPLAY") ~= 0 then return "an item there plays all its takes" end
    if get(item, "D_VOL") <= 0 then return "an item there is turned down to silence" end
    return nil
  end

  -- Why takes cannot go onto the items of this track over the span: words, or nil if they can.
  function M.obstacle(track, span)
    if reaper.GetMediaTrackInfo_Value(track, "I_FREEMODE") == FIXED_LANES then return "the track has fixed lanes" end
    local last
    for _, piece in ipairs(M.inside(track, span)) do
      if last and piece.from < last - span.slack_s then return "items overlap there" end
      last = math.max(last or piece.to, piece.to)
      local reason = refusal(piece.item)
      if reason then return reason end
    end
    return nil
  end

  -- Whether an edge of the span lies inside a fade of an item: half a fade cannot be kept as it sounded.
  function M.cuts_fade(track, span)
    for _, piece in ipairs(M.inside(track, span)) do
      local faded_in = piece.from + math.max(get(piece.item, "D_FADEINLEN"), get(piece.item, "D_FADEINLEN_AUTO"))
      local fading_out = piece.to - math.max(get(piece.item, "D_FADEOUTLEN"), get(piece.item, "D_FADEOUTLEN_AUTO"))
      for _, edge in ipairs({ span.start_s, span.end_s }) do
        local within = edge > piece.from + span.slack_s and edge < piece.to - span.slack_s
        if within and (edge < faded_in - span.slack_s or edge > fading_out + span.slack_s) then return true end
      end
    end
    return false
  end

  local function shift_sources(item, seconds)
    for i = 0, reaper.CountTakes(item) - 1 do
      local take = reaper.GetTake(item, i)
      if take then
        local offset = reaper.GetMediaItemTakeInfo_Value(take, "D_STARTOFFS")
        local rate = reaper.GetMediaItemTakeInfo_Value(take, "D_PLAYRATE")
        reaper.SetMediaItemTakeInfo_Value(take, "D_STARTOFFS", offset + seconds * rate)
      end
    end
  end

  -- Splits an item at exactly `at` and returns the right part. Split preferences may have made the parts overlap and
  -- crossfade: both are put right. Outer fades stay, as far as their part is long enough.
  local function split(item, at)
    local from, length = get(item, "D_POSITION"), get(item, "D_LENGTH")
    local fade_in, fade_in_auto = get(item, "D_FADEINLEN"), get(item, "D_FADEINLEN_AUTO")
    local fade_out, fade_out_auto = get(item, "D_FADEOUTLEN"), get(item, "D_FADEOUTLEN_AUTO")
    local right = reaper.SplitMediaItem(item, at)
    if not right then app.transaction.fail("REAPER could not split the item at the edge of the region.") end
    local moved = at - get(right, "D_POSITION")
    if moved ~= 0 then
      set(right, "D_POSITION", at)
      shift_sources(right, moved)
    end
    set(item, "D_LENGTH", at - from)
    set(right, "D_LENGTH", from + length - at)
    set(item, "D_FADEINLEN", math.min(fade_in, at - from))
    set(item, "D_FADEINLEN_AUTO", fade_in_auto)
    set(item, "D_FADEOUTLEN", 0)
    set(item, "D_FADEOUTLEN_AUTO", NO_AUTO_FADE)
    set(right, "D_FADEINLEN", 0)
    set(right, "D_FADEINLEN_AUTO", NO_AUTO_FADE)
    set(right, "D_FADEOUTLEN", math.min(fade_out, from + length - at))
    set(right, "D_FADEOUTLEN_AUTO", fade_out_auto)
    set(right, "B_UISEL", get(item, "B_UISEL"))
    return right
  end

  -- Cuts the items of the track at both edges of the span, or of them those for which concerns(item) is true. Returns
  -- the pieces inside, in order: {item, from, to}.
  function M.cut(track, span, concerns)
    local pieces = {}
    for _, piece in ipairs(M.inside(track, span)) do
      if not concerns or concerns(piece.item) then pieces[#pieces + 1] = piece end
    end
    for _, piece in ipairs(pieces) do
      if piece.from < span.start_s - span.slack_s then
        piece.item, piece.from = split(piece.item, span.start_s), span.start_s
      end
      if piece.to > span.end_s + span.slack_s then
        split(piece.item, span.end_s)
        piece.to = span.end_s
        if piece.from == span.start_s then set(piece.item, "D_LENGTH", span.length_s) end
      end
    end
    return pieces
  end

  -- A new item without fades, loop or stretching.
  function M.new_item(track, from, length)
    local item = reaper.AddMediaItemToTrack(track)
    set(item, "C_BEATATTACHMODE", POSITION_ONLY) -- before the position: with the default a tempo edit would stretch it
    set(item, "C_AUTOSTRETCH", 0)
    set(item, "D_POSITION", from)
    set(item, "D_LENGTH", length)
    set(item, "B_LOOPSRC", 0)
    set(item, "B_UISEL", 0)
    set(item, "D_VOL", 1)
    for _, fade in ipairs({ "D_FADEINLEN", "D_FADEOUTLEN" }) do
      set(item, fade, 0)
      set(item, fade .. "_AUTO", NO_AUTO_FADE)
    end
    return item
  end

  -- Cuts at the edges of the span and fills its gaps with new items: everything that covers the span, in order.
  function M.cover(track, span)
    local covering, reached = {}, span.start_s
    local function fill(to)
      if to - reached <= span.slack_s then return end
      local whole = reached == span.start_s and to == span.end_s
      local item = M.new_item(track, reached, whole and span.length_s or to - reached)
      covering[#covering + 1] = { item = item, from = reached, to = to, new = true }
    end
    for _, piece in ipairs(M.cut(track, span)) do
      fill(piece.from)
      covering[#covering + 1] = piece
      reached = piece.to
    end
    fill(span.end_s)
    return covering
  end

  -- Cuts at the edges of the span and mutes what lies inside, or of it what concerns(item). Returns how many items that
  -- were.
  function M.mute(track, span, concerns)
    local pieces = M.cut(track, span, concerns)
    for _, piece in ipairs(pieces) do set(piece.item, "B_MUTE", 1) end
    return #pieces
  end

  local function build_peaks(source)
    if reaper.PCM_Source_BuildPeaks(source, 0) == 0 then return end
    for _ = 1, PEAK_STEPS do
      if reaper.PCM_Source_BuildPeaks(source, 1) == 0 then break end
    end
    reaper.PCM_Source_BuildPeaks(source, 2)
  end

  -- Adds a take that plays `file` from `offset_s` on. It sounds like the take `like`, if one is given; else at its own
  -- pitch and speed, at a volume that undoes the item's, which the engine heard already.
  function M.add_take(item, file, offset_s, name, like)
    local source = reaper.PCM_Source_CreateFromFile(file)
    if not source then app.transaction.fail("REAPER cannot read " .. file .. ".") end
    local take = reaper.AddTakeToMediaItem(item)
    reaper.SetMediaItemTake_Source(take, source)
    local values = { D_STARTOFFS = math.max(0, offset_s), D_PLAYRATE = 1, D_PITCH = 0, D_VOL = 1 / get(item, "D_VOL") }
    for key, value in pairs(values) do
      value = like and reaper.GetMediaItemTakeInfo_Value(like, key) or value
      reaper.SetMediaItemTakeInfo_Value(take, key, value)
    end
    reaper.GetSetMediaItemTakeInfo_String(take, "P_NAME", name, true)
    build_peaks(source)
    return take
  end

  return M
end
