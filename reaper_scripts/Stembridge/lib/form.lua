-- @noindex
-- A dialog of text fields that is shown again, with what was typed, until its values make sense or the user cancels.

local TOO_LONG = "The texts are too long for one dialog, and REAPER cut them off. Shorten the prompt."
local SEPARATOR = "\n" -- cannot be typed into a field, so a prompt keeps its commas
-- Inside a quote or bracket that is left open REAPER sees no separator, and the fields get each other's values: shown
-- are signs that look alike, and what comes back from such a field has the plain ones.
local ALIKE = { ["'"] = "\u{2019}", ['"'] = "\u{201D}", ["("] = "\u{FF08}", [")"] = "\u{FF09}" }

return function(app)
  local M = {}

  local function shown(text)
    local is_safe = not text:find("['\"]") and not text:gsub("%b()", ""):find("[()]")
    return is_safe and text or (text:gsub("['\"()]", ALIKE))
  end

  local function plain(typed, was)
    if shown(was) == was then return typed end
    for sign, alike in pairs(ALIKE) do typed = typed:gsub(alike, sign) end
    return typed
  end

  -- fields: a list of {name, caption, value}; check(values) returns a sentence if something is wrong. Returns the typed
  -- texts by name, without outer blanks, or nil if the user cancels.
  function M.ask(title, fields, check)
    local captions, texts = {}, {}
    for i, field in ipairs(fields) do captions[i], texts[i] = field.caption, field.value or "" end
    captions[#captions + 1] = "extrawidth=320"
    captions[#captions + 1] = "separator=" .. SEPARATOR
    while true do
      local defaults = {}
      for i, text in ipairs(texts) do defaults[i] = shown(text) end
      local ok, typed = app.reaper.GetUserInputs(title, #fields, table.concat(captions, ","),
        table.concat(defaults, SEPARATOR))
      if not ok then return nil end
      local values, i = {}, 0
      for text in (typed .. SEPARATOR):gmatch("([^" .. SEPARATOR .. "]*)" .. SEPARATOR) do
        i = i + 1
        if fields[i] then
          texts[i] = plain(text, texts[i]):match("^%s*(.-)%s*$")
          values[fields[i].name] = texts[i]
        end
      end
      local sentence = i < #fields and TOO_LONG or check(values)
      if not sentence then return values end
      app.tell(sentence)
    end
  end

  return M
end
