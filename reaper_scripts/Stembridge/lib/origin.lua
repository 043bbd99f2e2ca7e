-- @noindex
-- Where a request came from: the project tab and the tracks that asked, found again after any wait. The user may have
-- switched tabs, saved the project under another name, or moved, reordered or deleted tracks; takes never go into
-- another project. Two versions of a song have the same tracks, so these alone do not tell which one asked.

local RENAMED = "The project was %s when this was asked, and is %s now."

return function(app)
  local reaper = app.reaper
  local M = {}

  -- Windows knows no case in file names, and both kinds of slashes.
  local function same_file(a, b)
    a, b = a:gsub("\\", "/"), b:gsub("\\", "/")
    if reaper.GetOS():find("^Win") then return a:lower() == b:lower() end
    return a == b
  end

  local function tabs()
    local found, i = {}, 0
    while true do
      local proj, file = reaper.EnumProjects(i)
      if not proj then return found end
      i = i + 1
      found[i] = { proj = proj, file = file or "" }
    end
  end

  local function has_any(proj, guids)
    for _, guid in ipairs(guids) do
      if app.tracks.find(proj, guid) then return true end
    end
    return false
  end

  -- A name for a tab, the same for as long as it is open.
  function M.tab(proj)
    return tostring(proj)
  end

  -- Where the user finds the files of an answer.
  function M.folder(answer)
    local first = answer.takes and answer.takes[1]
    return answer.folder or (first and app.files.dir(first.file)) or "the project's media folder"
  end

  -- The tab that asked, or nil and a sentence: the one with the file of the request, of two such tabs the one that was
  -- in front; if there is none, that tab under another name (a sentence tells which), as long as it holds the tracks.
  function M.project(answer)
    local origin = answer.origin or {}
    local file, by_file, renamed = origin.project_file or "", nil, nil
    for _, tab in ipairs(tabs()) do
      local asked = M.tab(tab.proj) == origin.tab
      if file ~= "" and same_file(tab.file, file) then
        if asked or not by_file then by_file = tab.proj end
      elseif asked and has_any(tab.proj, origin.tracks or {}) then
        renamed = tab
      end
    end
    if by_file then return by_file end
    local name = origin.project_name or app.files.base(file)
    if renamed then return renamed.proj, RENAMED:format(name, app.files.base(renamed.file)) end
    return nil, ("The project %s is not open any more; the takes are in\n%s\n"
      .. "Open it and drag them in, or run the action again."):format(name, M.folder(answer))
  end

  -- The tracks that asked and are still there, in the order of the request; nil and a sentence if none of them is. An
  -- empty list: the master mix was asked for.
  function M.tracks(proj, answer)
    local origin = answer.origin or {}
    local guids, found = origin.tracks or {}, {}
    for _, guid in ipairs(guids) do found[#found + 1] = app.tracks.find(proj, guid) end
    if #found > 0 or #guids == 0 then return found end
    local name = origin.track_names and origin.track_names[1]
    return nil, ("The track %swas deleted while Stembridge worked; the takes are in\n%s"):format(
      name and '"' .. name .. '" ' or "", M.folder(answer))
  end

  return M
end
