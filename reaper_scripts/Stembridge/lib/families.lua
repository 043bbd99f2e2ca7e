-- @noindex
-- Takes that change together. A *family* is what one repaint (or another verb) covers on a track: pieces of items and
-- filled gaps whose takes have the same root and that still lie together. Where there was nothing before, its original
-- is silence.
--
-- A family is {root, first, spoken, {item, takes}, ...}: `first` is the member that was asked about, `spoken` its own
-- take of that root (the active one, if it is); `takes` are those of takes.of that have this root.

local TOGETHER_S = 0.001
local DELETE_ACTIVE_TAKE = 40129
local ORIGINAL = "original"

return function(app)
  local reaper = app.reaper
  local M = {}

  local function spoken_by(item)
    local ours, active = app.takes.of(item), reaper.GetActiveTake(item)
    for _, entry in ipairs(ours) do
      if entry.take == active then return entry end
    end
    return ours[#ours]
  end

  local function member_of(item, spoken)
    local takes, together = {}, false
    for _, entry in ipairs(app.takes.of(item)) do
      if entry.data.root == spoken.data.root then
        takes[#takes + 1] = entry
        together = together or math.abs(entry.at - spoken.at) < TOGETHER_S
      end
    end
    return together and { item = item, takes = takes } or nil
  end

  local function family(item)
    local spoken = spoken_by(item)
    if not spoken then return nil end
    local members = { root = spoken.data.root, spoken = spoken }
    local track = reaper.GetMediaItemTrack(item)
    for i = 0, reaper.CountTrackMediaItems(track) - 1 do
      local member = member_of(reaper.GetTrackMediaItem(track, i), spoken)
      members[#members + 1] = member
      if member and member.item == item then members.first = member end
    end
    return members
  end

  local function families_of(items)
    local found, seen = {}, {}
    for _, item in ipairs(items) do
      local members = not seen[item] and family(item)
      if members then
        found[#found + 1] = members
        for _, member in ipairs(members) do seen[member.item] = true end
      end
    end
    return found
  end

  -- The families of the selected items, else of what was placed last; an empty list if there are none.
  function M.chosen(proj)
    local found = families_of(app.selection.selected_items(proj))
    if #found > 0 then return found end
    return families_of(app.takes.remembered(proj))
  end

  local function original(members, member)
    return app.takes.original(member.item, members.root)
  end

  -- What can be heard in turn: the original, if any member has one, then the key of each take.
  local function choices(members)
    local list, known = {}, {}
    for _, member in ipairs(members) do
      if list[1] ~= ORIGINAL and original(members, member) then table.insert(list, 1, ORIGINAL) end
      for _, entry in ipairs(member.takes) do
        if not known[entry.key] then list[#list + 1] = entry.key end
        known[entry.key] = true
      end
    end
    return list
  end

  local function heard(members)
    local item = members.first.item
    local silenced = reaper.GetMediaItemInfo_Value(item, "B_MUTE") ~= 0 and not original(members, members.first)
    if silenced or reaper.GetActiveTake(item) ~= members.spoken.take then return ORIGINAL end
    return members.spoken.key
  end

  local function take_for(members, member, key)
    if key == ORIGINAL then return original(members, member) end
    for _, entry in ipairs(member.takes) do
      if entry.key == key then return entry.take end
    end
    return nil
  end

  -- Makes a family sound as `key` says.
  local function hear(members, key)
    local has_original = choices(members)[1] == ORIGINAL
    for _, member in ipairs(members) do
      local take = take_for(members, member, key)
      if take then reaper.SetActiveTake(take) end
      if has_original and not original(members, member) then
        reaper.SetMediaItemInfo_Value(member.item, "B_MUTE", key == ORIGINAL and 1 or 0)
      end
      reaper.UpdateItemInProject(member.item)
    end
  end

  -- Activates the next take of each family; after the last one comes the original again.
  function M.next(families)
    for _, members in ipairs(families) do
      local list, now, position = choices(members), heard(members), 0
      for i, key in ipairs(list) do
        if key == now then position = i end
      end
      hear(members, list[position % #list + 1])
    end
  end

  local function select_only(proj, chosen)
    local wanted = {}
    for _, item in ipairs(chosen) do wanted[item] = true end
    for i = 0, reaper.CountMediaItems(proj) - 1 do
      local item = reaper.GetMediaItem(proj, i)
      local select = wanted[item] or false
      if reaper.IsMediaItemSelected(item) ~= select then reaper.SetMediaItemSelected(item, select) end
    end
  end

  -- Removes takes: {item = {take, ...}}. No function does that, only an action on the active takes of selected items.
  local function remove(proj, doomed)
    local selected = app.selection.selected_items(proj)
    while true do
      local items = {}
      for item, takes in pairs(doomed) do
        local take = table.remove(takes)
        if take then
          reaper.SetActiveTake(take)
          items[#items + 1] = item
        end
      end
      if #items == 0 then break end
      select_only(proj, items)
      reaper.Main_OnCommandEx(DELETE_ACTIVE_TAKE, 0, proj)
    end
    select_only(proj, selected)
  end

  -- Leaves of each family what is heard now and the original. Where the original is silence, hearing it means no item.
  function M.keep(proj, families)
    for _, members in ipairs(families) do
      local key, kept, doomed = heard(members), {}, {}
      for _, member in ipairs(members) do
        local take = take_for(members, member, key)
        kept[member], doomed[member.item] = take, {}
        for _, entry in ipairs(take and member.takes or {}) do
          if entry.take ~= take then table.insert(doomed[member.item], entry.take) end
        end
      end
      remove(proj, doomed)
      for _, member in ipairs(members) do
        if kept[member] then
          reaper.SetActiveTake(kept[member])
        elseif key == ORIGINAL then
          reaper.DeleteTrackMediaItem(reaper.GetMediaItemTrack(member.item), member.item)
        end
      end
    end
  end

  -- What redo asks from: {data, items = GUIDs, track = GUID} for each family.
  function M.recipes(families)
    local found = {}
    for _, members in ipairs(families) do
      local items = {}
      for i, member in ipairs(members) do items[i] = member.item end
      found[#found + 1] = { data = members.spoken.data, items = app.takes.guids(items),
        track = reaper.GetTrackGUID(reaper.GetMediaItemTrack(members.first.item)) }
    end
    return found
  end

  return M
end
