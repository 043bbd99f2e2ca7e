-- @noindex
-- The actions on takes that are there: another one, this one, once more with another seed; and live extension. They
-- work on the selected items, or on what was placed last.

local NONE = "No take of Stembridge here. Select an item that has takes made by Stembridge, then run the action again."

return function(app)
  local reaper = app.reaper
  local M = {}

  local function change(name, fn)
    local proj = reaper.EnumProjects(-1)
    local families = app.families.chosen(proj)
    if #families == 0 then return app.tell(NONE) end
    local ok, problem = app.transaction.run(proj, name, function() fn(families, proj) end)
    if not ok then error(type(problem) == "table" and problem.sentence or problem, 0) end
  end

  function M.next_take()
    change("Stembridge: next take", function(families) app.families.next(families) end)
  end

  function M.keep_take()
    change("Stembridge: keep this take", function(families, proj) app.families.keep(proj, families) end)
  end

  -- Families of one job (the classes of one complete) are asked for together.
  local function by_job(recipes)
    local jobs, known = {}, {}
    for _, recipe in ipairs(recipes) do
      local job = known[recipe.data.job]
      if not job then
        job = { data = recipe.data, items = {}, tracks = {}, classes = {} }
        known[recipe.data.job] = job
        jobs[#jobs + 1] = job
      end
      for _, guid in ipairs(recipe.items) do job.items[#job.items + 1] = guid end
      job.tracks[#job.tracks + 1] = recipe.track
      job.classes[#job.classes + 1] = recipe.data.take.track
    end
    return jobs
  end

  local function asked_again(job, proj, file)
    local asked, array = job.data.asked, app.json.array
    local verb, rate, region = asked.verb, asked.project.sample_rate, asked.regions[1]
    local title = app.tempo.bars_label(proj, region.start_frame / rate, region.end_frame / rate)
    local place = verb == "repaint" and "takes" or #job.classes > 0 and "children" or "items"
    local origin = { project_file = file, project_name = reaper.GetProjectName(proj), tab = app.origin.tab(proj),
      verb = verb, place = place, tracks = array(job.tracks), items = array(job.items), mute_original = false,
      title = title, undo = "Stembridge: redo " .. verb .. " " .. title,
      prompt = asked.settings and asked.settings.prompt or "",
      again = { root = job.data.root, items = array(job.items) } }
    local options = #job.classes > 0 and { tracks = table.concat(job.classes, ","), track = false } or nil
    return app.request.again(job.data, { settings = { seed = false }, options = options, origin = origin })
  end

  -- The same request with another seed; its takes go onto the same items.
  function M.redo()
    local mailbox, sentence = app.mailbox.open()
    if not mailbox then return app.tell(sentence) end
    local proj, file = reaper.EnumProjects(-1)
    local families = app.families.chosen(proj)
    if #families == 0 then return app.tell(NONE) end
    for _, job in ipairs(by_job(app.families.recipes(families))) do
      local id
      id, sentence = mailbox.post(asked_again(job, proj, file or ""))
      if not id then return app.tell(sentence) end
    end
    app.watch.launch()
  end

  function M.live() app.live.toggle() end

  return M
end
