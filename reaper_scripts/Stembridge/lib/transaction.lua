-- @noindex
-- A change to a project that is whole or not at all, and ONE undo step. Selection, cursor, time selection and view are
-- as before, also when the change fails in the middle; then its step is undone, and only that one.

-- Redo would offer the half-made change under this name; no step of the user's has it.
local FAILED = " (failed)"

return function(app)
  local reaper = app.reaper
  local M = {}

  local function selected_tracks(proj)
    local selected = {}
    for i = 0, reaper.CountTracks(proj) - 1 do
      local track = reaper.GetTrack(proj, i)
      selected[track] = reaper.IsTrackSelected(track)
    end
    return selected
  end

  local function select_tracks(proj, selected)
    for i = 0, reaper.CountTracks(proj) - 1 do
      local track = reaper.GetTrack(proj, i)
      local wanted = selected[track] or false
      if reaper.IsTrackSelected(track) ~= wanted then reaper.SetTrackSelected(track, wanted) end
    end
  end

  local function seen(proj)
    local first, last = reaper.GetSet_LoopTimeRange2(proj, false, false, 0, 0, false)
    local left, right = reaper.GetSet_ArrangeView2(proj, false, 0, 0, 0, 0)
    return { tracks = selected_tracks(proj), cursor = reaper.GetCursorPositionEx(proj), first = first, last = last,
      left = left, right = right }
  end

  local function restore(proj, before)
    select_tracks(proj, before.tracks)
    local now = seen(proj)
    if now.first ~= before.first or now.last ~= before.last then
      reaper.GetSet_LoopTimeRange2(proj, true, false, before.first, before.last, false)
    end
    if now.cursor ~= before.cursor then reaper.SetEditCurPos2(proj, before.cursor, false, false) end
    if now.left ~= before.left or now.right ~= before.right then
      reaper.GetSet_ArrangeView2(proj, true, 0, 0, before.left, before.right)
    end
  end

  -- An error that is a table {sentence = ...} is meant for the user; any other gets its traceback.
  local function explained(problem)
    if type(problem) == "table" then return problem end
    return debug.traceback(tostring(problem), 2)
  end

  -- Runs fn() as one undo step `name` of proj. Returns true, or false and the problem: a table {sentence = ...} that fn
  -- raised, or the text of a Lua error. After a failure the project is as before.
  function M.run(proj, name, fn)
    local before = seen(proj)
    local context = reaper.GetCursorContext2(true)
    reaper.PreventUIRefresh(1)
    reaper.Undo_BeginBlock2(proj)
    local ok, problem = xpcall(fn, explained)
    local restored, why = xpcall(restore, explained, proj, before)
    reaper.Undo_EndBlock2(proj, ok and name or name .. FAILED, -1)
    if not ok and reaper.Undo_CanUndo2(proj) == name .. FAILED then reaper.Undo_DoUndo2(proj) end
    reaper.PreventUIRefresh(-1)
    -- Inserted tracks may take the focus; an envelope (2) cannot be given back without knowing it.
    if context < 2 and reaper.GetCursorContext2(true) ~= context then reaper.SetCursorContext(context, nil) end
    reaper.UpdateArrange()
    if not ok then return false, problem end
    return restored, why
  end

  -- Calls fn() while proj is the visible tab: for functions that know only that one.
  function M.in_tab(proj, fn)
    local visible = reaper.EnumProjects(-1)
    if visible == proj then return fn() end
    reaper.SelectProjectInstance(proj)
    local ok, result = xpcall(fn, explained)
    reaper.SelectProjectInstance(visible)
    if not ok then error(result, 0) end
    return result
  end

  -- Ends the transaction that is running with a sentence for the user.
  function M.fail(sentence)
    error({ sentence = sentence }, 0)
  end

  return M
end
