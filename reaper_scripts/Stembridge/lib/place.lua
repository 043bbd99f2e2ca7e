-- @noindex
-- Puts the takes of an answer where they belong, in the project that asked, as one undo step: onto the items of the
-- region, as an item beside it, or on tracks of their own. Where a take cannot go onto an item it goes on a new track
-- right below, and the message says why.

local LONGEST_NAME = 60
local VERBS = { repaint = "Repaint", extend = "Extend", prepend = "Prepend", complete = "Complete", lego = "Lego",
  extract = "Extract", cover = "Cover", generate = "Generate" }
-- Places for audio that was read in front of the track's effects; other audio is a render of what was heard.
local DRY = { takes = true, items = true }
local OFFSET_IS_OFF, OFFSET_IN_SAMPLES = 1, 2 -- bits of I_PLAY_OFFSET_FLAG
local TEMPO_CHANGED = "The tempo changed meanwhile: this lies at the time that was asked, which is on other beats now."
local CUT_FADE = "An edge lies in a fade, which is shorter now."

return function(app)
  local reaper = app.reaper
  local M = {}

  -- Cut to whole UTF-8 characters.
  local function shortened(text)
    local ends = utf8.len(text) and utf8.offset(text, LONGEST_NAME + 1)
    if not ends or ends > #text then return text end
    return text:sub(1, ends - 1) .. "..."
  end

  local function take_name(answer, take)
    local origin = answer.origin or {}
    local made = origin.live and origin.live.loop and "loop" or answer.verb
    local asked = answer.asked and answer.asked.settings or {}
    local words = origin.prompt or asked.prompt
    if not words or words == "" then words = origin.title or "" end
    local name = made .. ": " .. shortened(words:gsub("%s+", " "))
    return take.seed and ("%s (seed %d)"):format(name, take.seed) or name
  end

  -- The takes by place and track class, in the order in which they are numbered; in each the best first.
  local function groups(takes)
    local found, by_key = {}, {}
    for _, take in ipairs(takes) do
      local key = take.start_frame .. ":" .. take.frames .. ":" .. (take.track or "")
      if not by_key[key] then
        by_key[key] = { span = app.pieces.span(take.start_frame, take.frames, take.sample_rate), class = take.track }
        found[#found + 1] = by_key[key]
      end
      table.insert(by_key[key], take)
    end
    for _, group in ipairs(found) do
      table.sort(group, function(a, b)
        local rank_a, rank_b = a.rank or math.huge, b.rank or math.huge
        if rank_a ~= rank_b then return rank_a < rank_b end
        return a.number < b.number
      end)
    end
    return found
  end

  -- Adds the group's takes to an item, the best one active. offset_s: what of the files the item begins with.
  local function add_takes(work, item, group, offset_s, like)
    local best
    app.takes.mark_item(item, work.answer)
    for _, take in ipairs(group) do
      local added = app.pieces.add_take(item, take.file, offset_s, take_name(work.answer, take), like)
      app.takes.mark_take(added, work.answer, take)
      best = best or added
    end
    reaper.SetActiveTake(best)
    reaper.UpdateItemInProject(item)
    work.items[#work.items + 1] = item
  end

  -- The group as one new item on a track, which it returns.
  local function add_item(work, track, group)
    local item = app.pieces.new_item(track, group.span.start_s, group.span.length_s)
    add_takes(work, item, group, 0)
    return item
  end

  local function note_cut_fade(work, track, span)
    if app.pieces.cuts_fade(track, span) then work.notes[#work.notes + 1] = CUT_FADE end
  end

  -- Onto what lies on the track over the span: pieces of items, and new items in the gaps.
  local function onto(work, track, group)
    note_cut_fade(work, track, group.span)
    for _, piece in ipairs(app.pieces.cover(track, group.span)) do
      add_takes(work, piece.item, group, piece.from - group.span.start_s)
    end
  end

  -- The one new track of this answer below the tracks that asked. What was read dry is shifted by their play offset
  -- only now; a render has it already.
  local function track_below(work)
    if not work.below then
      local model = app.tracks.lowest(work.proj, work.tracks)
      work.below = app.tracks.below(work.proj, model, 1)[1]
      app.tracks.dress(work.below, app.tracks.name(model) .. " " .. work.answer.verb, model, work.dry)
      work.where = ('a new track below "%s"'):format(app.tracks.name(model))
    end
    return work.below
  end

  -- Where the items of a track lie that sound in the group's span: a render has them where they sound.
  local function sounding(track, group)
    local flag = math.floor(reaper.GetMediaTrackInfo_Value(track, "I_PLAY_OFFSET_FLAG"))
    local later = flag & OFFSET_IS_OFF == 0 and reaper.GetMediaTrackInfo_Value(track, "D_PLAY_OFFSET") or 0
    if flag & OFFSET_IN_SAMPLES ~= 0 then later = later / group[1].sample_rate end
    local span = group.span
    return { start_s = span.start_s - later, end_s = span.end_s - later, length_s = span.length_s,
      slack_s = span.slack_s }
  end

  -- A render of a folder has the tracks in it too.
  local function mute(work, group)
    local done = {}
    for _, track in ipairs(work.tracks) do
      for _, member in ipairs(work.dry and { track } or app.tracks.family(work.proj, track)) do
        if not done[member] then
          local span = work.dry and group.span or sounding(member, group)
          note_cut_fade(work, member, span)
          app.pieces.mute(member, span)
        end
        done[member] = true
      end
    end
  end

  local function on_new_track(work, group, muted, why)
    if why then work.notes[#work.notes + 1] = "Not onto the item: " .. why .. "." end
    if muted then mute(work, group) end
    add_item(work, track_below(work), group)
  end

  local STRATEGIES = {}

  function STRATEGIES.takes(work, group)
    local track = work.tracks[1]
    local why = #work.tracks > 1 and "several tracks were repainted together" or app.pieces.obstacle(track, group.span)
    if why then return on_new_track(work, group, true, why) end
    onto(work, track, group)
  end

  function STRATEGIES.items(work, group)
    local track = work.tracks[1]
    if #work.tracks > 1 then return on_new_track(work, group, false) end
    local live = work.answer.origin.live
    local function add() return add_item(work, track, group) end
    if live and app.live_place.place(live, track, group.span, add) then return end
    if #app.pieces.inside(track, group.span) > 0 then
      return on_new_track(work, group, false, "something lies there already")
    end
    add_item(work, track, group)
  end

  function STRATEGIES.new_track(work, group)
    on_new_track(work, group, work.answer.origin.mute_original)
  end

  -- Tracks for the classes, in the order of the answer, made on the first call. A folder runs its children through its
  -- own effects and fader: if these would colour them, the new tracks go right below instead.
  local function class_tracks(work)
    if work.by_class then return work.by_class end
    local classes, known = {}, {}
    for _, group in ipairs(work.groups) do
      local class = group.class or work.answer.verb
      if not known[class] then classes[#classes + 1] = class end
      known[class] = true
    end
    local model = app.tracks.lowest(work.proj, work.tracks)
    local tracks
    if not model then
      tracks, work.where = app.tracks.at_end(work.proj, #classes), "new tracks at the end"
    elseif #work.tracks > 1 or not app.tracks.neutral(model) then
      tracks = app.tracks.below(work.proj, model, #classes)
      work.where = ('new tracks below "%s"'):format(app.tracks.name(model))
    else
      tracks = app.tracks.children(work.proj, model, #classes)
      work.where = ('new tracks in "%s"'):format(app.tracks.name(model))
    end
    work.by_class = {}
    for i, class in ipairs(classes) do
      app.tracks.dress_class(tracks[i], class)
      work.by_class[class] = tracks[i]
    end
    return work.by_class
  end

  function STRATEGIES.children(work, group)
    add_item(work, class_tracks(work)[group.class or work.answer.verb], group)
  end

  -- Further takes on the items of an earlier answer, wherever these are by now; the ordinary place if none is left.
  local function again(work, group)
    local root = work.answer.origin.again.root
    local siblings = app.takes.siblings(work.proj, work.answer.origin.again, group.class)
    for _, sibling in ipairs(siblings) do
      add_takes(work, sibling.item, group, sibling.offset_s, sibling.take)
      -- Next take mutes an item that had nothing before.
      if not app.takes.original(sibling.item, root) then reaper.SetMediaItemInfo_Value(sibling.item, "B_MUTE", 0) end
    end
    return #siblings > 0
  end

  local function place_group(work, group)
    local origin = work.answer.origin
    if origin.again and again(work, group) then return end
    if app.tempo.has_moved(work.proj, work.answer.asked or {}) then
      work.notes[#work.notes + 1], work.stays = TEMPO_CHANGED, true
    end
    local strategy = STRATEGIES[origin.place] or STRATEGIES.new_track
    if #work.tracks == 0 then strategy = STRATEGIES.children end
    strategy(work, group)
  end

  local function summary(work)
    local answer, count = work.answer, #work.answer.takes
    local where = work.where or ('"%s"'):format(app.tracks.name(reaper.GetMediaItemTrack(work.items[1])))
    local title = answer.origin.title and ", " .. answer.origin.title or ""
    local text = ("%s: %d %s on %s%s."):format(VERBS[answer.verb] or answer.verb, count,
      count == 1 and "take" or "takes", where, title)
    local said = {}
    for _, note in ipairs(work.notes) do
      if not said[note] then text = text .. " " .. note end
      said[note] = true
    end
    return text
  end

  local function missing_file(answer)
    for _, take in ipairs(answer.takes) do
      if not reaper.file_exists(take.file) then return take.file end
    end
    return nil
  end

  local function tracks_to_use(proj, answer)
    local tracks, sentence = app.origin.tracks(proj, answer)
    local again_there = answer.origin.again and #app.takes.siblings(proj, answer.origin.again) > 0
    if not tracks and again_there then return {} end
    return tracks, sentence
  end

  -- Of a Lua error where and what, without folders and traceback.
  local function told(problem)
    if type(problem) == "table" then return problem.sentence end
    return "The takes could not be placed (" .. app.plain(problem:match("^[^\n]*")) .. ")."
  end

  -- Places a finished answer. Returns a message, nil, and true if it tells what the user must not miss; or nil and a
  -- sentence; then the project is as before, and the files of the takes are kept.
  function M.place(answer)
    if not answer.takes or #answer.takes == 0 then return nil, "The job made no takes." end
    answer.origin = answer.origin or {}
    local proj, renamed = app.origin.project(answer)
    if not proj then return nil, renamed end
    local missing = missing_file(answer)
    if missing then return nil, "The take is not where it was written:\n" .. missing .. "\nRun the action again." end
    local tracks, why = tracks_to_use(proj, answer)
    if not tracks then return nil, why end
    local first, live = answer.takes[1], answer.origin.live
    if live then
      local from_s = first.start_frame / first.sample_rate
      answer.origin.title = app.tempo.bars_label(proj, from_s, from_s + first.frames / first.sample_rate)
    end
    local work = { proj = proj, answer = answer, tracks = tracks, items = {}, notes = { renamed },
      groups = groups(answer.takes), dry = DRY[answer.origin.place] or false, stays = renamed ~= nil }
    local message
    local name = answer.origin.undo or ("Stembridge: " .. answer.verb)
    local ok, problem = app.transaction.run(proj, name, function()
      for _, group in ipairs(work.groups) do place_group(work, group) end
      message = summary(work)
    end)
    if ok then
      app.takes.remember(work.items)
      return message, nil, work.stays
    end
    return nil, told(problem) .. "\nThe project is as before; the takes are in\n" .. app.origin.folder(answer)
  end

  return M
end
