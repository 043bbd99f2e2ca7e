-- @noindex
-- Spellings of musical keys: enough to tell a slip of the pen while the dialog is still open. The daemon has the last
-- word (protocol/key.py); every spelling taken here is one that it knows.

local LONGEST = 40
local SIGNS = { "sharp", "natural", "flat", "is", "es", "#", "b", "\226\153\175", "\226\153\173", "\226\153\174", "" }
local MODES = {}
for word in ("m mi min minor mol moll aeolian ma maj major dur ionian"):gmatch("%a+") do MODES[word] = true end
local GAP = "[%s_:.%-]*"
local APART = { {}, {} } -- signs, then modes, that a bare token may have after a blank
for word in ("sharp flat natural"):gmatch("%a+") do APART[1][word] = true end
for word in ("minor major min maj moll mol dur aeolian ionian"):gmatch("%a+") do APART[2][word] = true end
-- Taken into the token, so that it names no key that we know: `key=C dorian` is not C major.
for word in ("dorian phrygian lydian mixolydian locrian harmonic melodic"):gmatch("%a+") do APART[2][word] = true end

return function()
  local M = {}

  -- True for "F#m", "Bb major", "fis-moll", "8A" and the like.
  function M.known(text)
    if #text > LONGEST then return false end
    if text:match("^0?[1-9]%s?[ABab]$") or text:match("^0?1[0-2]%s?[ABab]$") then return true end
    local letter, rest = text:lower():match("^([a-h])(.*)$")
    if not letter then return false end
    for _, sign in ipairs(SIGNS) do
      local from = sign == "" and 1 or rest:match("^" .. GAP .. "()")
      if rest:sub(from, from + #sign - 1) == sign then
        local mode = rest:sub(from + #sign):match("^" .. GAP .. "(%a*)$")
        if mode and MODES[mode] or rest:sub(from + #sign) == "" then return true end
      end
    end
    local after_s = letter:match("[ea]") and rest:match("^s" .. GAP .. "(%a*)$")
    return rest == "s" and after_s ~= nil or MODES[after_s or ""] == true
  end

  -- What a token says from `from` on, and where it ends; nil if that is nothing.
  local function said(name, from)
    for _, quoted in ipairs({ '^"([^"]*)"()', "^'([^']*)'()" }) do
      local text, after = name:match(quoted, from)
      if text then return text, after end
    end
    local text, after = name:match("^([^%s\"',;|)%]}>!/]+)()", from)
    if not text then return nil end
    for _, words in ipairs(APART) do
      local word, after_word = name:match("^%s+([%w_]+)()", after)
      if word and words[word:lower()] then text, after = text .. " " .. word, after_word end
    end
    return text, after
  end

  -- The key in a name such as `Chorus key=F#m` or `Bridge KEY = Bb major`: the first token that names one, or nil. The
  -- daemon reads the names of regions by the same rules (protocol/reaper_osc.py).
  function M.token(name)
    local from = 1
    while true do
      local first, last = name:lower():find("key%s*=%s*", from)
      if not first then return nil end
      from = last + 1
      if not name:sub(0, first - 1):find("[%w_]$") then
        local text, after = said(name, from)
        local key = text and text:match("^%s*(.-)%s*$")
        if key and M.known(key) then return key end
        from = after or from
      end
    end
  end

  return M
end
