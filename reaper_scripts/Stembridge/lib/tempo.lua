-- @noindex
-- REAPER's tempo map as the daemon takes it: quarter notes per minute as doubles, never rounded, and what REAPER itself
-- says of the region's edges, so that the daemon can notice if it reads the map differently.

local BEAT_TOLERANCE = 1e-3 -- beats; a position snapped to the sample lies up to a hundredth of this beside its beat

return function(app)
  local reaper = app.reaper
  local M = {}

  -- The marker in force at project time 0 and all later ones until until_s (seconds) and one beyond: a list of
  -- {time, bpm, num, den, linear}, and new_bar where a marker repeats the signature: REAPER begins a measure there.
  function M.map(proj, until_s)
    local num, den, bpm = reaper.TimeMap_GetTimeSigAtTime(proj, 0)
    local map = { { time = 0.0, bpm = bpm, num = num, den = den, linear = false } }
    for i = 0, reaper.CountTempoTimeSigMarkers(proj) - 1 do
      local ok, time, _, _, marker_bpm, marker_num, marker_den, linear = reaper.GetTempoTimeSigMarker(proj, i)
      if ok then
        local before = map[#map]
        local changes = marker_num > 0 and marker_den > 0
        local marker = { time = math.max(time, 0.0), bpm = marker_bpm, num = changes and marker_num or before.num,
          den = changes and marker_den or before.den, linear = linear }
        local repeats = changes and marker_num == before.num and marker_den == before.den
        if repeats and time > before.time then marker.new_bar = true end
        map[time <= before.time and #map or #map + 1] = marker
        if time > until_s then break end
      end
    end
    return map
  end

  -- The bar (from 1) and the beat in it (from 0, in counts of the time signature). A position just before a bar line,
  -- by rounding alone, is on it.
  local function place(proj, time_s)
    local beat, bar, counts = reaper.TimeMap2_timeToBeats(proj, time_s)
    if beat > counts - BEAT_TOLERANCE then return bar + 2, 0.0 end
    return bar + 1, beat < BEAT_TOLERANCE and 0.0 or beat
  end

  -- What REAPER says of a region's start and end.
  function M.checks(proj, start_s, end_s)
    local bar, beat = place(proj, start_s)
    return { start_qn = reaper.TimeMap_timeToQN_abs(proj, start_s), end_qn = reaper.TimeMap_timeToQN_abs(proj, end_s),
      start_bar = bar, start_beat = beat }
  end

  -- Whether a region that was asked for lies on other beats by now. asked: the request's regions, checks and project.
  function M.has_moved(proj, asked)
    local region, checks = asked.regions and asked.regions[1], asked.checks
    if not region or not checks then return false end
    local rate = asked.project.sample_rate
    local now = M.checks(proj, region.start_frame / rate, region.end_frame / rate)
    return math.abs(now.start_qn - checks.start_qn) > BEAT_TOLERANCE
      or math.abs(now.end_qn - checks.end_qn) > BEAT_TOLERANCE
  end

  -- "bars 9-12" for whole bars, "bar 9" for one; else as the ruler counts, "bars 9.3-12.1".
  function M.bars_label(proj, start_s, end_s)
    local from, from_beat = place(proj, start_s)
    local to, to_beat = place(proj, end_s)
    if from_beat > 0 or to_beat > 0 then
      return ("bars %d.%d-%d.%d"):format(from, 1 + math.floor(from_beat + BEAT_TOLERANCE), to,
        1 + math.floor(to_beat + BEAT_TOLERANCE))
    end
    if to - 1 <= from then return ("bar %d"):format(from) end
    return ("bars %d-%d"):format(from, to - 1)
  end

  return M
end
