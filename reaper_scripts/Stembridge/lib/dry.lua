-- @noindex
-- Tracks as they sound in front of their effects, read by audio accessors and written as one 32-bit float WAV file.
-- Nothing in the project is touched and playback may go on. A long stretch is read over several defer cycles, each
-- short enough to keep REAPER's window alive; the accessors are destroyed whatever happens.

local CHUNK_S = 0.25
local CYCLE_S = 0.015 -- how long one defer cycle may take
local CHANNELS, BYTES = 2, 4
local IEEE_FLOAT = 3
local BATCH = 200
local PACK = "<" .. ("f"):rep(BATCH)

return function(app)
  local reaper = app.reaper
  local M = {}
  local reading = {} -- jobs whose accessors and files are open
  local is_watched = false

  -- The bytes in front of the samples of a stereo 32-bit float WAV file of known length.
  local function header(rate, frames)
    local block = CHANNELS * BYTES
    local format = string.pack("<I2I2I4I4I2I2I2", IEEE_FLOAT, CHANNELS, rate, rate * block, block, BYTES * 8, 0)
    local chunks = "WAVE" .. "fmt " .. string.pack("<s4", format) .. "fact" .. string.pack("<I4I4", 4, frames)
      .. "data" .. string.pack("<I4", frames * block)
    return "RIFF" .. string.pack("<I4", #chunks + frames * block) .. chunks
  end

  local function packed(values, count)
    local parts = {}
    local whole = count - count % BATCH
    for i = 1, whole, BATCH do parts[#parts + 1] = PACK:pack(table.unpack(values, i, i + BATCH - 1)) end
    for i = whole + 1, count do parts[#parts + 1] = string.pack("<f", values[i]) end
    return table.concat(parts)
  end

  -- The sum of all tracks over some frames, as the bytes of interleaved samples; raises if a track cannot be read.
  local function chunk(job, from, frames)
    local count, sum = frames * CHANNELS, nil
    for _, accessor in ipairs(job.accessors) do
      job.buffer.clear()
      local got = reaper.GetAudioAccessorSamples(accessor, job.rate, CHANNELS, from / job.rate, frames, job.buffer)
      if got < 0 then error("REAPER could not read a track", 0) end
      if got > 0 then
        local values = job.buffer.table(1, count)
        if sum then
          for i = 1, count do sum[i] = sum[i] + values[i] end
        else
          sum = values
        end
      end
    end
    return sum and packed(sum, count) or ("\0"):rep(count * BYTES)
  end

  local function close(job)
    for _, accessor in ipairs(job.accessors) do reaper.DestroyAudioAccessor(accessor) end
    if job.file then job.file:close() end
    job.accessors, job.file, job.buffer, reading[job] = {}, nil, nil, nil
  end

  local function close_at_exit(job)
    if not is_watched then
      is_watched = true
      reaper.atexit(function()
        for open_job in pairs(reading) do
          close(open_job)
          app.files.remove(open_job.path)
        end
      end)
    end
    reading[job] = true
  end

  local function open(job, tracks)
    local problem
    job.file, problem = io.open(job.path, "wb")
    if not job.file then error(problem, 0) end
    assert(job.file:write(header(job.rate, job.wide_end - job.at)))
    job.buffer = reaper.new_array(math.ceil(CHUNK_S * job.rate) * CHANNELS)
    for i, track in ipairs(tracks) do job.accessors[i] = reaper.CreateTrackAudioAccessor(track) end
  end

  local function read_for_a_while(job)
    if not reaper.ValidatePtr2(0, job.proj, "ReaProject*") then error("the project was closed", 0) end
    local until_s = reaper.time_precise() + CYCLE_S
    repeat
      local frames = math.min(math.ceil(CHUNK_S * job.rate), job.wide_end - job.at)
      assert(job.file:write(chunk(job, job.at, frames)))
      job.at = job.at + frames
    until job.at >= job.wide_end or reaper.time_precise() >= until_s
    assert(job.file:flush()) -- a full disk is noticed here at the latest
  end

  -- Writes frames wide_start until wide_end of the tracks' sum; calls done({path}) or done(nil, sentence).
  function M.write(capture, mailbox, id, wide_start, wide_end, done)
    local job = { proj = capture.proj, rate = capture.rate, path = mailbox.audio(id, 1), at = wide_start,
      wide_end = wide_end, accessors = {} }

    local function step(work)
      local ok, problem = pcall(work)
      if ok and job.at < job.wide_end then
        return app.defer(function() step(function() read_for_a_while(job) end) end)
      end
      close(job)
      if ok then return done({ job.path }) end
      app.files.remove(job.path)
      done(nil, "The audio of the selected tracks could not be read (" .. tostring(problem)
        .. "). Run the action again; if it fails again, set 'Hear tracks' to fx (Set song key and prompt...).")
    end

    close_at_exit(job)
    step(function()
      open(job, capture.tracks)
      read_for_a_while(job)
    end)
  end

  return M
end
