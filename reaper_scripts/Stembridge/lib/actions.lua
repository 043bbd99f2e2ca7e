-- @noindex
-- The actions that ask for music: what is selected, what the user wants, the audio, the request; then the watcher takes
-- over. Nothing waits here: the action ends when the request lies in the mailbox.

local RENDERING = "REAPER is still rendering the selection before. Wait until it is done, then run the action again."

return function(app)
  local M = {}

  local function send(mailbox, request)
    local ok, sentence = mailbox.post(request)
    if not ok then return app.tell(sentence) end
    app.watch.launch()
  end

  -- ask(capture, settings) returns the options of the request, after putting what the user said into settings; nil if
  -- the user cancelled.
  local function start(verb, ask)
    app.restart_when_started_again() -- also while it still reads or renders
    if app.render.is_busy() then return app.tell(RENDERING) end
    local mailbox, capture, sentence
    mailbox, sentence = app.mailbox.open()
    if not mailbox then return app.tell(sentence) end
    capture, sentence = app.selection.capture(verb)
    if not capture then return app.tell(sentence) end
    local settings = app.song.settings(capture.proj)
    local options = ask(capture, settings)
    if not options then return end
    local wide_start, wide_end = app.source.window(capture, app.song.context_s(capture.proj))
    local mode = app.song.source_mode(capture.proj)
    local plan
    plan, sentence = app.plan.decide(verb, capture, wide_start, wide_end, mode, options.bars)
    if not plan then return app.tell(sentence) end
    local origin = app.request.origin(verb, capture, plan, settings)
    local id = mailbox.new_id()
    app.source.write(capture, mailbox, id, wide_start, wide_end, plan.through, function(source, problem)
      if not source then return app.tell(problem) end
      local request = app.request.build(verb, capture, source, options, settings, origin)
      request.id = id
      send(mailbox, request)
    end)
  end

  local function nothing_more() return {} end

  local function bars(capture) return { bars = app.song.bars(capture.proj) } end

  local function tracks_for(verb)
    return function(capture, settings)
      local options, prompt = app.song.ask_tracks(capture.proj, verb)
      if prompt then settings.prompt = prompt ~= "" and prompt or nil end
      return options
    end
  end

  function M.repaint() start("repaint", nothing_more) end

  function M.repaint_with_prompt()
    start("repaint", function(capture, settings)
      local prompt = app.song.ask_prompt(capture.proj)
      if not prompt then return nil end
      settings.prompt = prompt ~= "" and prompt or nil
      return {}
    end)
  end

  function M.extend() start("extend", bars) end

  function M.prepend() start("prepend", bars) end

  function M.complete() start("complete", tracks_for("complete")) end

  function M.lego() start("lego", tracks_for("lego")) end

  function M.extract() start("extract", tracks_for("extract")) end

  function M.set_song() app.song.edit((app.reaper.EnumProjects(-1))) end

  return M
end
