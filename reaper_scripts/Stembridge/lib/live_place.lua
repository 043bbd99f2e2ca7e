-- @noindex
-- Where a phrase of live extension goes: onto the track, right where the bars before it end.

local TAIL_S = 1 -- so long what was played before a phrase may ring on into it
local SOFT_S = 0.005

return function(app)
  local reaper = app.reaper
  local M = {}

  local function get(item, key) return reaper.GetMediaItemInfo_Value(item, key) end

  -- A loop begins elsewhere in the wave than what it follows ends: short fades at the joint, so that it does not click.
  local function soften(item, track, span, is_mine)
    for i = 0, reaper.CountTrackMediaItems(track) - 1 do
      local before = reaper.GetTrackMediaItem(track, i)
      local ends = get(before, "D_POSITION") + get(before, "D_LENGTH")
      if is_mine(before) and math.abs(ends - span.start_s) <= span.slack_s then
        reaper.SetMediaItemInfo_Value(before, "D_FADEOUTLEN", SOFT_S)
      end
    end
    reaper.SetMediaItemInfo_Value(item, "D_FADEINLEN", SOFT_S)
  end

  -- Puts a phrase on the track by add(), which returns the new item. live: of the answer's origin. What an earlier
  -- phrase left there, before playback went elsewhere or the tempo changed, gives way; what rings on from before stays.
  -- False, and nothing done, if anything else lies there.
  function M.place(live, track, span, add)
    local function is_mine(item)
      return app.takes.is_of_run(item, live.run)
    end
    for _, piece in ipairs(app.pieces.inside(track, span)) do
      local rings_on = piece.from < span.start_s and piece.to < span.start_s + TAIL_S
      if not rings_on and not is_mine(piece.item) then return false end
    end
    app.pieces.mute(track, span, is_mine)
    local item = add()
    if live.loop then soften(item, track, span, is_mine) end
    return true
  end

  return M
end
