-- @noindex
-- Files and folders as the mailbox needs them: a file is there whole or not at all, and nothing is overwritten. Folders
-- are made and listed by REAPER, whose paths are UTF-8 everywhere; Lua's own file functions touch only ASCII names
-- below the mailbox. A function that can fail returns nil and what the system said.

return function(app)
  local reaper = app.reaper
  local M = {}

  -- Windows understands both separators; a path keeps the one it came with.
  local function separator(path)
    return path:find("\\", 1, true) and not path:find("/", 1, true) and "\\" or "/"
  end

  function M.join(path, ...)
    for _, part in ipairs({ ... }) do
      local sep = separator(path)
      path = path:find("[/\\]$") and path .. part or path .. sep .. part
    end
    return path
  end

  -- "C:\a\b.wav" -> "b.wav"
  function M.base(path)
    return path:match("([^/\\]*)$")
  end

  -- "C:\a\b.wav" -> "C:\a"; without a separator "".
  function M.dir(path)
    return path:match("^(.*)[/\\][^/\\]*$") or ""
  end

  function M.exists(path)
    return reaper.file_exists(path)
  end

  function M.read(path)
    local file, problem = io.open(path, "rb")
    if not file then return nil, problem end
    local text = file:read("a")
    file:close()
    if not text then return nil, path .. " cannot be read." end
    return text
  end

  local function filled(file, text)
    local written, problem = file:write(text)
    local closed, late_problem = file:close()
    if written and closed then return true end
    return nil, problem or late_problem
  end

  -- Writes beside the path and renames: nobody ever reads half of it.
  local function write_whole(path, text, rename)
    local part = path .. ".tmp"
    local file, problem = io.open(part, "wb")
    if not file then return nil, problem end
    local ok
    ok, problem = filled(file, text)
    if ok then ok, problem = rename(part, path) end
    if ok then return true end
    os.remove(part)
    return nil, problem
  end

  -- A file that exists stays as it is.
  function M.write_new(path, text)
    if M.exists(path) then return nil, path .. " exists already." end
    return write_whole(path, text, os.rename)
  end

  -- In the place of the file that may be there. Windows renames only to free names: there, it is missing for a moment.
  function M.replace(path, text)
    return write_whole(path, text, function(part)
      if os.rename(part, path) then return true end
      os.remove(path)
      return os.rename(part, path)
    end)
  end

  -- The names of a folder's entries; `entry` is REAPER's function that gives the i-th. -1 forgets what REAPER cached.
  local function names(folder, entry)
    local found = {}
    entry(folder, -1)
    while true do
      local name = entry(folder, #found)
      if not name or name == "" then return found end
      found[#found + 1] = name
    end
  end

  function M.list(folder)
    return names(folder, reaper.EnumerateFiles)
  end

  function M.folders(folder)
    return names(folder, reaper.EnumerateSubdirectories)
  end

  function M.make(folder)
    reaper.RecursiveCreateDirectory(folder, 0)
  end

  function M.remove(path)
    return os.remove(path)
  end

  -- The new name must be free: Windows refuses otherwise, other systems would overwrite.
  function M.rename(from, to)
    if M.exists(to) then return nil, to .. " exists already." end
    return os.rename(from, to)
  end

  return M
end
