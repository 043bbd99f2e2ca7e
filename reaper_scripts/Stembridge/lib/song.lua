-- @noindex
-- What the project says about the song: key, prompt and how takes are made, kept in the project file (ProjExtState) so
-- that they travel with it, and the dialogs that ask for them.

local SECTION = "Stembridge"
local TITLE = "Stembridge: song key and prompt"
local FIELDS = {
  { name = "key", caption = "Key (Am / F#m / Bb major; empty: by ear)" },
  { name = "prompt", caption = "Prompt" },
  { name = "negative_prompt", caption = "Not in the music" },
  { name = "variations", caption = "Takes per request (1-4)" },
  { name = "seed", caption = "Seed (empty: new every time)" },
  { name = "strength", caption = "Keep to the source (0 free - 1 close)" },
  { name = "source", caption = "Hear tracks (auto / fx / dry)" },
  { name = "context", caption = "Context on each side in seconds" },
  { name = "bars", caption = "Bars to extend or prepend" },
}
local MODES = { auto = true, fx = true, dry = true }
local CONTEXT_S, MOST_CONTEXT_S = 30, 120
local BARS, MOST_BARS = 4, 512
local LONGEST_PROMPT, LARGEST_SEED, MOST_VARIATIONS = 3000, 2147483647, 4

local CLASSES = { "woodwinds", "brass", "fx", "synth", "strings", "percussion", "keyboard", "guitar", "bass", "drums",
  "backing_vocals", "vocals" }
local ALSO = { backing = "backing_vocals", choir = "backing_vocals", keys = "keyboard", piano = "keyboard",
  voice = "vocals", woodwind = "woodwinds", effects = "fx" }

return function(app)
  local reaper = app.reaper
  local M = {}

  local function get(proj, name)
    local _, value = reaper.GetProjExtState(proj, SECTION, name)
    return value or ""
  end

  local function number(text)
    return tonumber((text:gsub(",", "."))) -- 0,5 is how half the world writes it
  end

  local function whole(text)
    return math.tointeger(number(text))
  end

  local function within(value, least, most)
    return value ~= nil and value >= least and value <= most
  end

  -- Settings of the request by their short names; what the project leaves open is not in it.
  function M.settings(proj)
    local function text(name)
      local value = get(proj, name)
      return value ~= "" and value or nil
    end
    local strength = number(get(proj, "strength")) -- the daemon takes steps of 0.01
    return { prompt = text("prompt"), negative = text("negative_prompt"), variations = whole(get(proj, "variations")),
      seed = whole(get(proj, "seed")),
      strength = within(strength, 0, 1) and math.floor(strength * 100 + 0.5) / 100 or nil }
  end

  -- "auto", "fx" or "dry".
  function M.source_mode(proj)
    local mode = get(proj, "source")
    return MODES[mode] and mode or "auto"
  end

  -- Seconds of context on each side of the region.
  function M.context_s(proj)
    local seconds = number(get(proj, "context"))
    return within(seconds, 0, MOST_CONTEXT_S) and seconds or CONTEXT_S
  end

  -- How many bars extend and prepend make.
  function M.bars(proj)
    local bars = number(get(proj, "bars"))
    return bars and bars > 0 and bars <= MOST_BARS and (math.tointeger(bars) or bars) or BARS
  end

  -- The key at a time: the project's own, else the token in the name of the region there that begins last (REAPER lists
  -- them by their starts); else empty.
  function M.key(proj, at_s)
    local key = get(proj, "key")
    if key ~= "" then return key end
    local index = 0
    while true do
      local following, is_region, from, to, name = reaper.EnumProjectMarkers3(proj, index)
      if following == 0 then return key end
      local token = is_region and from <= at_s and at_s < to and app.keys.token(name)
      key, index = token or key, following
    end
  end

  local function prompt_problem(text, what)
    local length = utf8.len(text) or #text
    if length == 1 or length > LONGEST_PROMPT then
      return ("%s must be 2 to %d characters long, or empty."):format(what, LONGEST_PROMPT)
    end
  end

  local function problem(values)
    if values.key ~= "" and not app.keys.known(values.key) then
      return "The key '" .. values.key .. "' is not known: write it like F# minor, Bb, Am or 8A, or leave it empty."
    end
    local sentence = prompt_problem(values.prompt, "The prompt")
      or prompt_problem(values.negative_prompt, "What is not wanted")
    if sentence then return sentence end
    if values.variations ~= "" and not within(whole(values.variations), 1, MOST_VARIATIONS) then
      return "Takes per request: write a whole number from 1 to 4, or leave it empty."
    elseif values.seed ~= "" and not within(whole(values.seed), 0, LARGEST_SEED) then
      return "Seed: write a whole number from 0 to 2147483647, or leave it empty for a new one every time."
    elseif values.strength ~= "" and not within(number(values.strength), 0, 1) then
      return "Keep to the source: write a number from 0 to 1, such as 0.5 or 0.75, or leave it empty."
    elseif values.source ~= "" and not MODES[values.source:lower()] then
      return "Hear tracks: write auto, fx (through their effects) or dry (without)."
    elseif values.context ~= "" and not within(number(values.context), 0, MOST_CONTEXT_S) then
      return "Context: write the seconds to hear on each side, from 0 to 120, or leave it empty for 30."
    end
    local bars = number(values.bars)
    if values.bars ~= "" and not (bars and bars > 0 and bars <= MOST_BARS) then
      return "Bars: write how many bars to extend or prepend by, up to 512, or leave it empty for 4."
    end
  end

  -- The dialog "Set song key and prompt...". True if something was changed.
  function M.edit(proj)
    local fields = {}
    for i, field in ipairs(FIELDS) do
      fields[i] = { name = field.name, caption = field.caption, value = get(proj, field.name) }
    end
    local values = app.form.ask(TITLE, fields, problem)
    if not values then return false end
    values.source = values.source:lower()
    local changed = false
    for _, field in ipairs(fields) do
      if values[field.name] ~= field.value then
        changed = true
        reaper.SetProjExtState(proj, SECTION, field.name, values[field.name])
      end
    end
    if changed then reaper.MarkProjectDirty(proj) end
    return changed
  end

  -- Asks for a prompt and remembers it for the next time; nil if the user cancels.
  function M.ask_prompt(proj)
    local last = reaper.GetExtState(SECTION, "last_prompt")
    local field = { name = "prompt", caption = "Prompt", value = last ~= "" and last or get(proj, "prompt") }
    local values = app.form.ask("Stembridge: repaint with prompt", { field }, function(typed)
      return prompt_problem(typed.prompt, "The prompt")
    end)
    if values then reaper.SetExtState(SECTION, "last_prompt", values.prompt, true) end
    return values and values.prompt
  end

  local function class_named(text)
    local name = text:lower():gsub("[%s%-]+", "_")
    local bare = name:gsub("s$", "")
    for _, class in ipairs(CLASSES) do
      if name == class or bare == class or name .. "s" == class then return class end
    end
    return ALSO[name] or ALSO[bare]
  end

  -- The track classes in a text such as "drums, Backing Vocals": a list in the order typed; or nil and a sentence.
  function M.track_classes(text, most)
    local classes, seen = {}, {}
    for word in text:gmatch("[^,;]+") do
      word = word:match("^%s*(.-)%s*$")
      local class = class_named(word)
      if word ~= "" and not class then
        return nil, "There is no track class '" .. word .. "'. Choose from: " .. table.concat(CLASSES, ", ") .. "."
      end
      if class and not seen[class] then
        seen[class] = true
        classes[#classes + 1] = class
      end
    end
    if #classes == 0 then return nil, "Name a track class. Choose from: " .. table.concat(CLASSES, ", ") .. "." end
    if #classes > most then
      return nil, "Name one track class only; for several at once there is Complete selection with..."
    end
    return classes
  end

  -- Asks what `complete`, `lego` or `extract` shall make: the options of the request and the prompt (nil where none
  -- is asked for); nil if the user cancels.
  function M.ask_tracks(proj, verb)
    local many = verb == "complete"
    local remembered = "last_tracks_" .. verb
    local caption = many and "Track classes (such as drums; bass)" or "Track class (such as drums)"
    local fields = { { name = "tracks", caption = caption, value = reaper.GetExtState(SECTION, remembered) } }
    if many then fields[2] = { name = "prompt", caption = "Prompt", value = get(proj, "prompt") } end
    local classes
    local values = app.form.ask("Stembridge: " .. verb, fields, function(typed)
      local sentence
      classes, sentence = M.track_classes(typed.tracks, many and #CLASSES or 1)
      return sentence or prompt_problem(typed.prompt or "", "The prompt")
    end)
    if not values then return nil end
    local tracks = table.concat(classes, ",")
    reaper.SetExtState(SECTION, remembered, tracks, true)
    return many and { tracks = tracks } or { track = tracks }, values.prompt
  end

  return M
end
