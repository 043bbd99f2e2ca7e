-- @noindex
-- One small gfx window of rows: a title, sentences, a progress bar, buttons. It takes no focus: REAPER's shortcuts work
-- on while it is open, so playing and stopping are never in its way. It stands where the user left it, and is drawn
-- anew only when something changed.

local TITLE = "Stembridge"
local FONT = "Arial"
local WIDTH, HEIGHT = 440, 190
local PAD, TEXT, GAP, BAR, BUTTON_PAD = 12, 15, 6, 6, 8
local BOLD = string.byte("b")
local REDRAW_S = 0.5
local ESCAPE, CLOSED = 27, -1
local BACKGROUND = { 0.13, 0.13, 0.14 }
local LINE = { 0.24, 0.24, 0.26 }
local BRIGHT = { 0.95, 0.95, 0.95 }
local SOFT = { 0.74, 0.74, 0.76 }
local FILL = { 0.29, 0.62, 0.86 }
local BUTTON = { 0.27, 0.28, 0.31 }
local BUTTON_OVER = { 0.38, 0.40, 0.44 }

return function(app)
  local reaper, gfx = app.reaper, app.gfx
  local SECTION = app.mailbox.SECTION
  local M = {}
  local is_open, pressed, scale, drawn, drawn_at, stands, unscaled = false, false, 1, nil, 0, nil, nil
  local buttons = {}

  local function px(points)
    return math.floor(points * scale + 0.5)
  end

  local function colour(c)
    gfx.set(c[1], c[2], c[3], 1)
  end

  local function give_focus_back(context)
    local envelope = context == 2 and reaper.GetSelectedEnvelope(0) or nil
    if context == 2 and envelope then return reaper.SetCursorContext(2, envelope) end
    reaper.SetCursorContext(context == 0 and 0 or 1, nil)
  end

  -- Where it stood, moved onto a screen that is there.
  local function place()
    local x, y, w, h = reaper.GetExtState(SECTION, "window"):match("^(%-?%d+) (%-?%d+) (%d+) (%d+)$")
    if not x then return WIDTH, HEIGHT end
    x, y, w, h = tonumber(x), tonumber(y), tonumber(w), tonumber(h)
    local left, top, right, bottom = reaper.my_getViewport(0, 0, 0, 0, x, y, x + w, y + h, true)
    top, bottom = math.min(top, bottom), math.max(top, bottom)
    return w, h, math.max(left, math.min(x, right - w)), math.max(top, math.min(y, bottom - h))
  end

  local function open()
    local context = reaper.GetCursorContext2(true)
    local w, h, x, y = place()
    gfx.ext_retina = 1
    if x then gfx.init(TITLE, w, h, 0, x, y) else gfx.init(TITLE, w, h) end
    give_focus_back(context)
    is_open, drawn, unscaled = true, nil, { w, h }
  end

  -- Some systems take a window's size in points, others in pixels; which is known once the window is there.
  local function scale_size()
    local w, h = px(unscaled[1]), px(unscaled[2])
    unscaled = nil
    if gfx.w >= w then return end
    local context = reaper.GetCursorContext2(true)
    gfx.init("", w, h)
    give_focus_back(context)
  end

  local function remember_place()
    local _, x, y = gfx.dock(-1, 0, 0, 0, 0)
    stands = string.format("%.0f %.0f %.0f %.0f", x, y, gfx.w / scale, gfx.h / scale)
  end

  function M.close()
    if not is_open then return end
    is_open = false
    if stands then reaper.SetExtState(SECTION, "window", stands, true) end
    gfx.quit()
  end

  -- ------------------------------------------------------------------------------------------------------ drawing

  local function set_font(index, flags)
    gfx.setfont(index, FONT, px(TEXT), flags)
  end

  local function draw_text(text, x, y)
    gfx.x, gfx.y = x, y
    gfx.drawstr(text)
  end

  local function add_wrapped(lines, text, width)
    local line = ""
    for word in text:gmatch("%S+") do
      local longer = line == "" and word or line .. " " .. word
      if line ~= "" and gfx.measurestr(longer) > width then
        lines[#lines + 1] = line
        longer = word
      end
      line = longer
    end
    lines[#lines + 1] = line
  end

  local function wrapped(text, width)
    local lines = {}
    for paragraph in text:gmatch("[^\n]+") do add_wrapped(lines, paragraph, width) end
    return lines
  end

  local function is_over(box)
    return gfx.mouse_x >= box.x and gfx.mouse_x < box.x + box.w and gfx.mouse_y >= box.y and gfx.mouse_y < box.y + box.h
  end

  -- The text, or as much of its beginning as fits.
  local function fitted(text, width)
    if gfx.measurestr(text) <= width then return text end
    while text ~= "" and gfx.measurestr(text .. "...") > width do text = text:gsub("[^\x80-\xBF][\x80-\xBF]*$", "") end
    return text .. "..."
  end

  -- From right to left; returns the left edge of the leftmost.
  local function draw_buttons(row, right, y)
    for i = #row.buttons, 1, -1 do
      local label = row.buttons[i]
      local width, height = gfx.measurestr(label)
      local box = { x = right - width - 2 * px(BUTTON_PAD), y = y, w = width + 2 * px(BUTTON_PAD),
        h = height + px(GAP), row = row, label = label }
      colour(is_over(box) and BUTTON_OVER or BUTTON)
      gfx.rect(box.x, box.y, box.w, box.h, 1)
      colour(BRIGHT)
      draw_text(label, box.x + px(BUTTON_PAD), box.y + px(GAP) / 2)
      buttons[#buttons + 1] = box
      right = box.x - px(GAP)
    end
    return right
  end

  -- Returns where the next row begins.
  local function draw_row(row, y)
    local left, right = px(PAD), gfx.w - px(PAD)
    set_font(1, 0)
    local buttons_begin = draw_buttons(row, right, y)
    set_font(2, BOLD)
    colour(BRIGHT)
    draw_text(fitted(row.title, buttons_begin - left), left, y + px(GAP) / 2)
    y = y + px(TEXT) + 2 * px(GAP)
    if row.fraction then
      colour(LINE)
      gfx.rect(left, y, right - left, px(BAR), 1)
      colour(FILL)
      gfx.rect(left, y, math.floor((right - left) * math.max(0, math.min(1, row.fraction)) + 0.5), px(BAR), 1)
      y = y + px(BAR) + px(GAP)
    end
    set_font(1, 0)
    colour(SOFT)
    for _, line in ipairs(wrapped(row.text, right - left)) do
      draw_text(line, left, y)
      y = y + px(TEXT) + px(GAP) / 2
    end
    return y + px(GAP)
  end

  local function draw(rows)
    buttons = {}
    colour(BACKGROUND)
    gfx.rect(0, 0, gfx.w, gfx.h, 1)
    local y = px(PAD)
    for i, row in ipairs(rows) do
      if i > 1 and y + px(TEXT) * 2 > gfx.h then
        set_font(1, 0)
        colour(SOFT)
        draw_text(string.format("%d more", #rows - i + 1), px(PAD), gfx.h - px(TEXT) - px(GAP) / 2)
        break
      end
      if i > 1 then
        colour(LINE)
        gfx.rect(0, y - px(GAP), gfx.w, 1, 1)
      end
      y = draw_row(row, y)
    end
    gfx.update()
    remember_place()
  end

  local function button_under_mouse()
    for index, box in ipairs(buttons) do
      if is_over(box) then return box, index end
    end
  end

  -- All that decides what is seen: equal text, equal picture.
  local function picture_of(rows)
    local _, hovered = button_under_mouse()
    local parts = { gfx.w, gfx.h, scale, hovered or 0 }
    for _, row in ipairs(rows) do
      parts[#parts + 1] = row.title .. "\n" .. row.text .. "\n" .. table.concat(row.buttons, "\n")
      parts[#parts + 1] = row.fraction and math.floor(row.fraction * gfx.w) or ""
    end
    return table.concat(parts, "\n")
  end

  -- Shows the rows: list of {title, text, buttons = {labels}, fraction or nil}. Called every cycle. Returns the row and
  -- the label of a pressed button, or nil and "closed" when the user closed the window or pressed Esc, else nothing.
  function M.show(rows)
    if not is_open then
      if #rows == 0 then return end
      open()
    end
    local key = gfx.getchar()
    if key == CLOSED or key == ESCAPE then return nil, "closed" end
    scale = math.max(1, gfx.ext_retina)
    if unscaled and drawn then scale_size() end
    local now, picture = reaper.time_precise(), picture_of(rows)
    if picture ~= drawn or now - drawn_at > REDRAW_S then
      draw(rows)
      drawn, drawn_at = picture, now
    end
    local down = gfx.mouse_cap % 2 >= 1
    local box = down and not pressed and button_under_mouse() or nil
    pressed = down
    if not box then return end
    give_focus_back(reaper.GetCursorContext2(true))
    return box.row, box.label
  end

  return M
end
