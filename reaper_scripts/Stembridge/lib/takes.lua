-- @noindex
-- What the project itself remembers of generated takes. Every such take holds P_EXT:stembridge (JSON: job, root,
-- asked, take, source; a redo has the root of what it redoes), every item that got some holds P_EXT:stembridge_job and
-- the GUID of the take that was heard before.

local FORMAT = 1
local SECTION, LAST_ITEMS = "Stembridge", "last_items"
local TAKE_KEY, JOB_KEY, ORIGINAL_KEY = "P_EXT:stembridge", "P_EXT:stembridge_job", "P_EXT:stembridge_original"

return function(app)
  local reaper = app.reaper
  local M = {}

  local function item_text(item, key)
    local _, text = reaper.GetSetMediaItemInfo_String(item, key, "", false)
    return text
  end

  local function take_text(take, key)
    local _, text = reaper.GetSetMediaItemTakeInfo_String(take, key, "", false)
    return text
  end

  local function read(take)
    local text = take_text(take, TAKE_KEY)
    local data = text ~= "" and app.json.decode(text)
    if type(data) ~= "table" or not data.job then return nil end
    data.root = data.root or data.job
    return data
  end

  local function root_of(answer)
    local again = answer.origin and answer.origin.again
    return again and again.root or answer.id
  end

  -- Before takes are added: remembers the job, and the take that was heard until now.
  function M.mark_item(item, answer)
    local active = reaper.GetActiveTake(item)
    local data = active and read(active)
    if active and not (data and data.root == root_of(answer)) then
      reaper.GetSetMediaItemInfo_String(item, ORIGINAL_KEY, take_text(active, "GUID"), true)
    end
    reaper.GetSetMediaItemInfo_String(item, JOB_KEY, answer.id, true)
  end

  -- made: the take as the answer describes it.
  function M.mark_take(take, answer, made)
    local data = { v = FORMAT, job = answer.id, root = root_of(answer), asked = answer.asked, take = made,
      source = answer.source }
    reaper.GetSetMediaItemTakeInfo_String(take, TAKE_KEY, app.json.encode(data), true)
  end

  -- The generated takes of an item in their order: {take, data, key, offset_s, at}; `at` is where in project time their
  -- file begins.
  function M.of(item)
    local found = {}
    if item_text(item, JOB_KEY) == "" then return found end
    local position = reaper.GetMediaItemInfo_Value(item, "D_POSITION")
    for i = 0, reaper.CountTakes(item) - 1 do
      local take = reaper.GetTake(item, i)
      local data = take and read(take)
      if data then
        local offset_s = reaper.GetMediaItemTakeInfo_Value(take, "D_STARTOFFS")
        local rate = reaper.GetMediaItemTakeInfo_Value(take, "D_PLAYRATE")
        found[#found + 1] = { take = take, data = data, offset_s = offset_s, at = position - offset_s / rate,
          key = data.job .. ":" .. tostring(data.take and data.take.number) }
      end
    end
    return found
  end

  -- The take that the item had before those of this root: the one that was heard then, if it is still there; nil if
  -- there was nothing.
  function M.original(item, root)
    local guid, first = item_text(item, ORIGINAL_KEY), nil
    for i = 0, reaper.CountTakes(item) - 1 do
      local take = reaper.GetTake(item, i)
      local data = take and read(take)
      if take and not (data and data.root == root) then
        if take_text(take, "GUID") == guid then return take end
        first = first or take
      end
    end
    return first
  end

  -- Whether live extension made this item, in the run with that id.
  function M.is_of_run(item, run)
    return item_text(item, JOB_KEY):sub(1, #run + 1) == run .. "-"
  end

  function M.guids(items)
    local guids = {}
    for i, item in ipairs(items) do guids[i] = item_text(item, "GUID") end
    return guids
  end

  local function by_guids(proj, guids)
    local wanted, found = {}, {}
    for _, guid in ipairs(guids) do wanted[guid] = true end
    for i = 0, reaper.CountMediaItems(proj) - 1 do
      local item = reaper.GetMediaItem(proj, i)
      if wanted[item_text(item, "GUID")] then found[#found + 1] = item end
    end
    return found
  end

  -- What the take actions work on while no item with generated takes is selected.
  function M.remember(items)
    reaper.SetExtState(SECTION, LAST_ITEMS, table.concat(M.guids(items), " "), false)
  end

  -- The remembered items, as far as they are in this project.
  function M.remembered(proj)
    local guids = {}
    for guid in reaper.GetExtState(SECTION, LAST_ITEMS):gmatch("%S+") do guids[#guids + 1] = guid end
    return by_guids(proj, guids)
  end

  -- Items of an earlier answer that are still there, for further takes of `class` (nil: of any): {item, take, offset_s}
  -- with a take of theirs. again: {root, items = GUIDs}.
  function M.siblings(proj, again, class)
    local found = {}
    for _, item in ipairs(by_guids(proj, again.items)) do
      for _, entry in ipairs(M.of(item)) do
        if entry.data.root == again.root and (not class or entry.data.take.track == class) then
          found[#found + 1] = { item = item, take = entry.take, offset_s = entry.offset_s }
          break
        end
      end
    end
    return found
  end

  return M
end
