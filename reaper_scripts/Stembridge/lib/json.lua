-- @noindex
-- JSON (RFC 8259) for the mailbox and for what is stored in projects. Written text is plain ASCII, so that no code page
-- between REAPER and the daemon can spoil a path; numbers travel exactly: integers as integers (64 bits), doubles with
-- 17 digits whatever the system's decimal point is. Keys are written sorted, so equal tables give equal text.

local MAX_DEPTH = 100
local REPLACEMENT = 0xFFFD
-- Not %c: in some locales that takes bytes of UTF-8 for control characters.
local UNSAFE = '[\0-\31"\\]'
local SHORT = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r",
  ["\t"] = "\\t" }
local LONG = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }
-- Of a UTF-8 sequence, by its number of bytes: the smallest code that needs so many, and the lead byte's own bits.
local SMALLEST = { 0, 0x80, 0x800, 0x10000 }
local LEAD = { 0, 0xC0, 0xE0, 0xF0 }

local M = {}
-- Tables that are arrays even when empty: true, or their length if a null left holes.
local arrays = setmetatable({}, { __mode = "k" })

-- Marks a table as a JSON array, which an empty one needs. Returns it.
function M.array(t)
  arrays[t] = arrays[t] or true
  return t
end

-- ---------------------------------------------------------------------------------------------------------- encode

local function escaped_code(code)
  if code < 0x10000 then return string.format("\\u%04x", code) end
  code = code - 0x10000
  return string.format("\\u%04x\\u%04x", 0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF))
end

-- The code of the UTF-8 sequence at byte i, and where the next one starts; a byte that belongs to none is replaced.
local function code_at(text, i)
  local lead = text:byte(i)
  local size = lead >= 0xF0 and 4 or lead >= 0xE0 and 3 or 2
  local code = lead - LEAD[size]
  for k = i + 1, i + size - 1 do
    local byte = text:byte(k)
    if lead < 0xC2 or lead > 0xF4 or not byte or byte & 0xC0 ~= 0x80 then return REPLACEMENT, i + 1 end
    code = code << 6 | byte & 0x3F
  end
  if code < SMALLEST[size] or code > 0x10FFFF or code >> 11 == 0x1B then return REPLACEMENT, i + 1 end
  return code, i + size
end

local function encoded_string(text)
  text = text:gsub(UNSAFE, function(c) return SHORT[c] or escaped_code(c:byte()) end)
  if not text:find("[\x80-\xFF]") then return '"' .. text .. '"' end
  local parts, i = { '"' }, 1
  while i <= #text do
    local plain = text:match("^[\x01-\x7F]+", i)
    if plain then
      parts[#parts + 1] = plain
      i = i + #plain
    else
      local code
      code, i = code_at(text, i)
      parts[#parts + 1] = escaped_code(code)
    end
  end
  parts[#parts + 1] = '"'
  return table.concat(parts)
end

local function encoded_number(value)
  if math.type(value) == "integer" then return string.format("%d", value) end
  if value ~= value or math.abs(value) == math.huge then error("JSON has no number " .. tostring(value)) end
  local text = string.format("%.17g", value):gsub(",", ".")
  return text:find("[.e]") and text or text .. ".0"
end

local encoded

local function encoded_array(t, length, depth)
  for key in pairs(t) do
    if math.type(key) ~= "integer" then error("a JSON array has no key " .. tostring(key)) end
  end
  local parts = {}
  for i = 1, length do parts[i] = encoded(t[i], depth + 1) end
  return "[" .. table.concat(parts, ",") .. "]"
end

local function encoded_object(t, depth)
  local keys, parts = {}, {}
  for key in pairs(t) do
    if type(key) ~= "string" then error("a JSON object has no key " .. tostring(key)) end
    keys[#keys + 1] = key
  end
  table.sort(keys)
  for i, key in ipairs(keys) do parts[i] = encoded_string(key) .. ":" .. encoded(t[key], depth + 1) end
  return "{" .. table.concat(parts, ",") .. "}"
end

encoded = function(value, depth)
  local kind = type(value)
  if kind == "nil" then return "null" end
  if kind == "boolean" then return tostring(value) end
  if kind == "number" then return encoded_number(value) end
  if kind == "string" then return encoded_string(value) end
  if kind ~= "table" then error("JSON has no " .. kind) end
  if depth > MAX_DEPTH then error("more than " .. MAX_DEPTH .. " tables inside one another") end
  local mark = arrays[value]
  if mark or value[1] ~= nil then
    return encoded_array(value, math.max(#value, math.type(mark) and mark or 0), depth)
  end
  return encoded_object(value, depth)
end

-- The JSON text of a value. Raises an error for what JSON cannot hold: that is a mistake of the script.
function M.encode(value)
  return encoded(value, 1)
end

-- ---------------------------------------------------------------------------------------------------------- decode

local function fail(at, problem)
  error({ problem = problem .. " at character " .. at }, 0)
end

local function past_space(text, at)
  return text:find("[^ \t\r\n]", at) or #text + 1
end

local function decoded_number(text, at)
  local whole = text:match("^-?0", at) or text:match("^-?[1-9]%d*", at)
  if not whole then fail(at, "a value is expected") end
  local next_at = at + #whole
  next_at = next_at + #(text:match("^%.%d+", next_at) or "")
  next_at = next_at + #(text:match("^[eE][+-]?%d+", next_at) or "")
  local value = tonumber(text:sub(at, next_at - 1))
  if value == math.huge or value == -math.huge then fail(at, "a number is too large") end
  return value, next_at
end

-- The characters of the escape whose backslash is at `at`, and where the text goes on.
local function decoded_escape(text, at)
  local letter = text:sub(at + 1, at + 1)
  if LONG[letter] then return LONG[letter], at + 2 end
  local hex = text:match("^u(%x%x%x%x)", at + 1)
  if not hex then fail(at, "an escape is not valid") end
  local code = tonumber(hex, 16)
  if code >> 11 ~= 0x1B then return utf8.char(code), at + 6 end
  local low = text:match("^\\u([dD][c-fC-F]%x%x)", at + 6)
  if code >= 0xDC00 or not low then return utf8.char(REPLACEMENT), at + 6 end
  return utf8.char(0x10000 + ((code & 0x3FF) << 10) + (tonumber(low, 16) & 0x3FF)), at + 12
end

local function decoded_string(text, at)
  local parts = {}
  local i = at + 1
  while true do
    local stop = text:find(UNSAFE, i)
    if not stop then fail(at, "a string has no end") end
    parts[#parts + 1] = text:sub(i, stop - 1)
    local c = text:sub(stop, stop)
    if c == '"' then return table.concat(parts), stop + 1 end
    if c == "\\" then
      parts[#parts + 1], i = decoded_escape(text, stop)
    else
      fail(stop, "a control character is inside a string")
    end
  end
end

local decoded

local function decoded_array(text, at, depth)
  local result, count, holes = {}, 0, false
  at = past_space(text, at + 1)
  if text:sub(at, at) == "]" then return M.array(result), at + 1 end
  while true do
    count = count + 1
    result[count], at = decoded(text, at, depth)
    holes = holes or result[count] == nil
    at = past_space(text, at)
    local c = text:sub(at, at)
    if c == "]" then break end
    if c ~= "," then fail(at, "',' or ']' is expected") end
    at = past_space(text, at + 1)
  end
  arrays[result] = holes and count or true
  return result, at + 1
end

local function decoded_object(text, at, depth)
  local result = {}
  at = past_space(text, at + 1)
  if text:sub(at, at) == "}" then return result, at + 1 end
  while true do
    if text:sub(at, at) ~= '"' then fail(at, "a name in quotes is expected") end
    local key
    key, at = decoded_string(text, at)
    at = past_space(text, at)
    if text:sub(at, at) ~= ":" then fail(at, "':' is expected") end
    result[key], at = decoded(text, past_space(text, at + 1), depth)
    at = past_space(text, at)
    local c = text:sub(at, at)
    if c == "}" then return result, at + 1 end
    if c ~= "," then fail(at, "',' or '}' is expected") end
    at = past_space(text, at + 1)
  end
end

decoded = function(text, at, depth)
  local c = text:sub(at, at)
  if c == '"' then return decoded_string(text, at) end
  if c == "{" or c == "[" then
    if depth >= MAX_DEPTH then fail(at, "more than " .. MAX_DEPTH .. " levels") end
    return (c == "{" and decoded_object or decoded_array)(text, at, depth + 1)
  end
  if text:find("^true", at) then return true, at + 4 end
  if text:find("^false", at) then return false, at + 5 end
  if text:find("^null", at) then return nil, at + 4 end
  return decoded_number(text, at)
end

-- The value of a JSON text (null is nil), or nil and what is wrong where. Text that is not JSON never raises an error.
function M.decode(text)
  local ok, value = pcall(function()
    local result, at = decoded(text, past_space(text, 1), 0)
    at = past_space(text, at)
    if at <= #text then fail(at, "something follows the value") end
    return result
  end)
  if ok then return value end
  return nil, type(value) == "table" and value.problem or tostring(value)
end

return function() return M end
