-- @noindex
-- Puts together what the daemon is asked. Positions are frames from project time 0 at the project's rate; everything
-- that the takes need to find their way back is in `origin`, which the daemon gives back as it is.

local LONGEST_S = 600 -- of what `extend` may make: the tempo map must reach that far

return function(app)
  local reaper = app.reaper
  local M = {}

  local function guid_of_item(item)
    local _, guid = reaper.GetSetMediaItemInfo_String(item, "GUID", "", false)
    return guid
  end

  local function each(list, of)
    local found = app.json.array({})
    for i, value in ipairs(list) do found[i] = of(value) end
    return found
  end

  -- Where the takes go (plan: what plan.decide returned) and what they are called.
  function M.origin(verb, capture, plan, settings)
    local title = app.tempo.bars_label(capture.proj, capture.start_s, capture.end_s)
    return { project_file = capture.file, project_name = reaper.GetProjectName(capture.proj),
      tab = app.origin.tab(capture.proj), verb = verb,
      tracks = each(capture.tracks, reaper.GetTrackGUID), track_names = each(capture.tracks, app.tracks.name),
      items = each(capture.items, guid_of_item),
      place = plan.place, mute_original = plan.mute_original, title = title,
      undo = "Stembridge: " .. verb .. " " .. title, prompt = settings.prompt or "" }
  end

  -- The request for what is selected (without id and the fields that mailbox.post fills in).
  function M.build(verb, capture, source, options, settings, origin)
    local proj, rate = capture.proj, capture.rate
    local playing = reaper.GetPlayStateEx(proj) & 1 == 1
    local until_s = source and (source.start_frame + source.frames) / rate or capture.end_s
    if verb == "extend" then until_s = math.max(until_s, capture.end_s + LONGEST_S) end
    return {
      kind = "request", verb = verb, source = source,
      project = { file = capture.file, media = capture.media, sample_rate = rate },
      regions = app.json.array({ { start_frame = capture.start_frame, end_frame = capture.end_frame } }),
      tempo = app.json.array(app.tempo.map(proj, until_s)),
      checks = app.tempo.checks(proj, capture.start_s, capture.end_s),
      key = app.song.key(proj, capture.start_s),
      position = playing and reaper.GetPlayPositionEx(proj) or reaper.GetCursorPositionEx(proj), playing = playing,
      options = options, settings = settings, origin = origin,
    }
  end

  local function merged(base, changes)
    local all = {}
    for name, value in pairs(base or {}) do all[name] = value end
    for name, value in pairs(changes or {}) do all[name] = value or nil end -- false takes a value back
    return all
  end

  -- The same request once more, from the record kept with a take ({asked, source, take}). changes: {settings, options}
  -- are merged into what was asked (false takes a value back), {origin, project, key} replace it.
  function M.again(provenance, changes)
    local asked, source = provenance.asked, provenance.source
    local project = changes.project or asked.project
    return {
      kind = "request", verb = asked.verb, project = project,
      source = source and { file = source.file, start_frame = source.start_frame } or nil,
      regions = app.json.array(asked.regions), tempo = app.json.array(asked.tempo), checks = asked.checks,
      key = changes.key or asked.key, position = asked.regions[1].start_frame / project.sample_rate, playing = false,
      options = merged(asked.options, changes.options), settings = merged(asked.settings, changes.settings),
      origin = changes.origin,
    }
  end

  return M
end
