-- @noindex
-- The audio that the engine hears: the selected tracks (or the master mix) from some way before the region to some way
-- after it, as files in the mailbox.

return function(app)
  local reaper = app.reaper
  local M = {}

  -- The frames to be heard: the region and context_s on each side, as far as there is a project.
  function M.window(capture, context_s)
    local context = app.selection.frame(context_s, capture.rate)
    local project_end = math.ceil(reaper.GetProjectLength(capture.proj) * capture.rate)
    return math.max(0, capture.start_frame - context),
      math.max(capture.end_frame, math.min(capture.end_frame + context, project_end))
  end

  -- Writes the frames from wide_start until wide_end and calls done(source) with the `source` of a request, or
  -- done(nil, sentence): at once or from a later defer cycle. Needs proj, rate and tracks of `capture`. mode "fx":
  -- rendered, which stops playback; "dry": in front of the tracks' effects, while playback may go on.
  function M.write(capture, mailbox, id, wide_start, wide_end, mode, done)
    local writer = mode == "dry" and app.dry or app.render
    writer.write(capture, mailbox, id, wide_start, wide_end, function(paths, sentence)
      if not paths then return done(nil, sentence) end
      local names = app.json.array({})
      for i, path in ipairs(paths) do names[i] = app.files.base(path) end
      done({ files = names, start_frame = wide_start, frames = wide_end - wide_start, through = mode })
    end)
  end

  return M
end
