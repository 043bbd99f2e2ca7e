-- Repaints the loop range of one track with Stembridge and lays the best take over it, to the sample.
--
-- In Ardour 7 it is an action of the editor (README.md says how to install it). The same file also works on a saved
-- session that is not open:  ardour7-lua stembridge_repaint_loop.lua FOLDER NAME [name=value ...]
--
-- Everything lies in factory(): Ardour keeps that one function of an action, without anything around it.

if ardour then
  ardour {
    ["type"] = "EditorAction",
    name = "Stembridge: repaint the loop range",
    author = "Stembridge",
    description = [[Asks the Stembridge daemon to make the loop range of the selected audio track anew from what
surrounds it, and lays the best take over the track there. The original stays underneath; undo takes the take away.]]
  }
end

function action_params ()
  return {
    ["verb"] = { title = "What to make: repaint, cover, extend or prepend", default = "repaint" },
    ["prompt"] = { title = "Prompt (may be empty)", default = "" },
    ["takes"] = { title = "How many takes (the best is laid in the track)", default = "1" },
    ["port"] = { title = "Port of the daemon", default = "9240" },
    ["wait_s"] = { title = "Give up after so many seconds", default = "900" },
  }
end

function factory (params) return function ()
  local options = params or {}
  local verb = options["verb"] or "repaint"
  local rate = Session:nominal_sample_rate ()
  local block = 8192 -- samples of a channel that are read at once
  local build, is_there = ARDOUR.LuaAPI.build_filename, ARDOUR.LuaAPI.file_test

  -- Ends the action with a sentence for the user.
  local function give_up (sentence) error ({ sentence = sentence }, 0) end

  local function say (sentence)
    if Editor then
      LuaDialog.Message ("Stembridge", sentence, LuaDialog.MessageType.Info, LuaDialog.ButtonType.Close):run ()
    else
      print ("Stembridge: " .. sentence)
    end
  end

  -- ------------------------------------------------------------------------------------------ what the session says

  local function loop_range ()
    local loop = Session:locations ():auto_loop_location ()
    if not loop or loop:_end ():samples () <= loop:start ():samples () then
      give_up ("There is no loop range. Select the bars to repaint, choose Set Loop from Selection, and try again.")
    end
    return loop:start ():samples (), loop:_end ():samples ()
  end

  local function audio_track_of (route)
    local track = route:to_track ()
    return not track:isnil () and not track:to_audio_track ():isnil () and track or nil
  end

  local function sounds_between (track, first, last)
    for region in track:playlist ():region_list ():iter () do
      local start = region:position ():samples ()
      if start < last and start + region:length ():samples () > first then return true end
    end
    return false
  end

  -- The selected audio track, the one named `track`, or the first one with a region in the range.
  local function chosen_track (first, last)
    if Editor then
      for route in Editor:get_selection ().tracks:routelist ():iter () do
        if audio_track_of (route) then return audio_track_of (route), route end
      end
    end
    for route in Session:get_tracks ():iter () do
      local track = audio_track_of (route)
      local wanted = not options["track"] or options["track"] == route:name ()
      if track and wanted and sounds_between (track, first, last) then return track, route end
    end
    give_up ("No audio track has a region in the loop range. Select the track to repaint, and try again.")
  end

  -- Words that belong to a key after a blank; the modes that Stembridge has no keys for too, so that it refuses them.
  local of_key = {}
  for word in ("sharp flat natural minor major min maj moll mol dur aeolian ionian dorian phrygian lydian mixolydian "
    .. "locrian harmonic melodic"):gmatch ("%a+") do of_key[word] = true end

  -- The key that a name tells by a token such as `key=F#m` or `key="Bb major"`; nil if it tells none.
  local function key_in (name)
    local token = (" " .. name):match ("[^%w_][Kk][Ee][Yy]%s*=%s*(.+)$")
    if not token then return nil end
    local quoted = token:match ('^"([^"]*)"') or token:match ("^'([^']*)'")
    if quoted then return quoted end
    local key, rest = token:match ("^([^%s,;|)%]}>!/]+)(.*)$")
    while key do
      local word, after = rest:match ("^%s+(%a+)(.*)$")
      if not word or not of_key[word:lower ()] then return key end
      key, rest = key .. " " .. word, after
    end
  end

  -- The key at `at`: of the markers and ranges there or before it that name one, the latest. The daemon reads it.
  local function key_at (at)
    local key, found_at = nil, -1
    for location in Session:locations ():list ():iter () do
      local start, named = location:start ():samples (), key_in (location:name ())
      local is_over = location:is_range_marker () and location:_end ():samples () <= at
      if named and start <= at and start >= found_at and not is_over then key, found_at = named, start end
    end
    return key
  end

  -- Every tempo and meter up to `last`, as {time_s, bpm, counts, note value, 0}, in order of time. Ardour's ramps are
  -- straight over beats, Stembridge's over time: a ramp is told as one step per beat, and so every beat lies right.
  local function tempo_map (last)
    local map, clocks = Temporal.TempoMap.read (), Temporal.superclock_ticks_per_second ()
    local times, seen = {}, {}
    local function add (time_s)
      if not seen[time_s] then times[#times + 1], seen[time_s] = time_s, true end
    end
    local function position (time_s) -- never before a point that begins there
      return Temporal.timepos_t (math.ceil (time_s * rate - 1e-6))
    end
    local function walk (look)
      local at = Temporal.timepos_t (last)
      while true do -- from the last point back to the first: each tells where it begins
        local point = look (at):to_point ()
        add (point:sclock () / clocks)
        if point:sample (rate) <= 0 then return end
        at = Temporal.timepos_t (point:sample (rate) - 1)
      end
    end
    walk (function (at) return map:tempo_at (at) end)
    walk (function (at) return map:meter_at (at) end)
    table.sort (times)
    local points = {}
    local function point (time_s, bpm)
      local meter = map:meter_at (position (time_s))
      local told = { time_s, bpm, meter:divisions_per_bar (), meter:note_value (), 0 }
      for _, value in ipairs (told) do points[#points + 1] = value + 0.0 end
    end
    local beat = Temporal.ticks_per_beat
    for i, time_s in ipairs (times) do
      local told = map:tempo_at (position (time_s)):to_tempo ():quarter_notes_per_minute ()
      local from, to_s = position (time_s):ticks (), times[i + 1]
      local to = to_s and position (to_s):ticks ()
      if to and math.abs ((to - from) / beat * 60 / told - (to_s - time_s)) > 1 / rate then -- a ramp
        local at_s = time_s
        for tick = from, to - 1, beat do
          local after = math.min (tick + beat, to)
          local after_s = after == to and to_s or Temporal.timepos_t.from_ticks (after):samples () / rate
          point (at_s, (after - tick) / beat * 60 / (after_s - at_s))
          at_s = after_s
        end
      else
        point (time_s, told)
      end
    end
    return points
  end

  -- ---------------------------------------------------------------------------------------------------- sound files

  -- The track's playlist as it plays, before the channel strip, as a 32-bit float WAV. Returns where it begins.
  local function write_source (track, path)
    local playlist = track:playlist ():to_audioplaylist ()
    local first, last, channels = math.huge, 0, 1
    for region in track:playlist ():region_list ():iter () do
      first = math.min (first, region:position ():samples ())
      last = math.max (last, region:position ():samples () + region:length ():samples ())
      channels = math.max (channels, math.min (2, region:to_audioregion ():n_channels ()))
    end
    local file = io.open (path, "wb")
    if not file then give_up (path .. " cannot be written. Is the disk full, or the session read-only?") end
    local bytes = (last - first) * channels * 4
    file:write ("RIFF", string.pack ("<I4", bytes + 36), "WAVEfmt ", string.pack ("<I4I2I2I4I4I2I2", 16, 3, channels,
      rate, rate * channels * 4, channels * 4, 32), "data", string.pack ("<I4", bytes))
    local memory = ARDOUR.DSP.DspShm (3 * block)
    local sound, mixing, gain = memory:to_float (0), memory:to_float (block), memory:to_float (2 * block)
    for at = first, last - 1, block do
      local count, interleaved = math.min (block, last - at), {}
      for channel = 1, channels do
        playlist:read (sound, mixing, gain, Temporal.timepos_t (at), Temporal.timecnt_t (count), channel - 1)
        for i, value in ipairs (sound:get_table (count)) do interleaved[(i - 1) * channels + channel] = value end
      end
      file:write (string.pack ("<" .. ("f"):rep (#interleaved), table.unpack (interleaved)))
    end
    file:close ()
    return first
  end

  local function text_of (path)
    local file = io.open (path, "rb")
    if not file then return nil end
    local text = file:read ("a")
    file:close ()
    return text
  end

  -- The folder in which Ardour looks for the session's own sound files.
  local function sounds_folder ()
    for _, name in ipairs { ARDOUR.LuaAPI.path_get_basename (Session:path ()), Session:name () } do
      local folder = build (Session:path (), "interchange", name, "audiofiles")
      if is_there (folder, ARDOUR.LuaAPI.FileTest.IsDir) then return folder end
    end
    give_up ("The session has no folder interchange/" .. Session:name () .. "/audiofiles. Save it, and try again.")
  end

  -- ------------------------------------------------------------------------------------------------------ the daemon

  local daemon = ARDOUR.LuaOSC.Address ("osc.udp://127.0.0.1:" .. (options["port"] or "9240"))
  local function tell (address, types, ...) daemon:send ("/stembridge/" .. address, types, ...) end

  local function introduce (source, source_start, first, last)
    tell ("project", "sd", Session:path (), rate)
    tell ("source", "sd", source, source_start / rate)
    local map = tempo_map (last)
    if #map == 5 then
      tell ("tempo", "d", map[2])
      tell ("timesig", "ii", math.floor (map[3]), math.floor (map[4]))
    else
      tell ("tempo/map", ("d"):rep (#map), table.unpack (map))
    end
    local key = key_at (first)
    if key then tell ("key", "s", key) end
    tell ("region/samples", "dd", first, last)
  end

  -- The best take of a job, as its manifest says, once it is there: {file, start, frames}.
  local function wait_for_take (folder, id)
    local window = Editor and LuaDialog.ProgressWindow ("Stembridge: " .. verb, true)
    local manifest, left_s, text = build (folder, "manifest.json"), tonumber (options["wait_s"] or 900), nil
    while not text and left_s > 0 and not (window and window:canceled ()) do
      if window then window:progress (-1, "waiting for the daemon") end
      ARDOUR.LuaAPI.usleep (100000)
      left_s = left_s - 0.1
      text = text_of (manifest)
    end
    if window then window:done () end
    if not text then
      tell ("cancel", "s", id)
      if left_s > 0 then give_up ("Cancelled.") end
      give_up ("No take came. Is the daemon running (stembridge serve)? It says there why it refused a request.")
    end
    local best = text:match ('"takes"%s*:%s*(%[.*)')
    local file = best and best:match ('"file"%s*:%s*"([^"]*)"')
    if not file then give_up ("The manifest " .. manifest .. " names no take.") end
    return { file = build (folder, file), start = math.floor (tonumber (best:match ('"start_frame"%s*:%s*(-?%d+)'))),
      frames = math.floor (tonumber (best:match ('"frames"%s*:%s*(%d+)'))) }
  end

  -- ------------------------------------------------------------------------------------------------- into the session

  local function channels_of (wav)
    return (string.unpack ("<I2", wav, select (2, wav:find ("fmt ", 1, true)) + 7))
  end

  -- Lays the file over the track in the open session. The take has the joints in it: no fades.
  local function place_in_editor (track, path, take)
    local files, position = C.StringVector (), Temporal.timepos_t (take.start)
    files:push_back (path)
    Editor:do_embed (files, Editing.ImportSerializeFiles, Editing.ImportToTrack, position, ARDOUR.PluginInfo (), track)
    local placed = track:playlist ():top_region_at (Temporal.timepos_t (take.start)):to_audioregion ()
    if placed:isnil () then give_up ("Ardour did not take in " .. path .. ". Its log (Window > Log) says why.") end
    placed:set_fade_in_active (false)
    placed:set_fade_out_active (false)
  end

  -- The same in the file of a session that is closed: Ardour can import from its editor only.
  local function place_in_file (session_file, playlist_id, name, channels, take)
    local text = text_of (session_file)
    local counter = math.floor (tonumber (text:match ('id%-counter="(%d+)"')))
    local clocks = Temporal.superclock_ticks_per_second () // rate -- of a sample, in the file's units
    local sources, of_region = {}, {}
    for channel = 0, channels - 1 do
      sources[#sources + 1] = string.format ('<Source name="%s" take-id="" type="audio" flags="" id="%d" channel="%d"'
        .. ' origin="" gain="1"/>', name, counter + channel, channel)
      of_region[#of_region + 1] = string.format ('source-%d="%d" master-source-%d="%d"', channel, counter + channel,
        channel, counter + channel)
    end
    local from, to, opening = text:find ('(<Playlist [^>]*%f[%w-]id="' .. playlist_id .. '"[^>]*>)')
    local empty = opening:sub (-2) == "/>"
    local content = empty and "" or text:match ("^(.-)</Playlist>", to + 1)
    local layer = 0
    for above in content:gmatch ('layering%-index="(%d+)"') do layer = math.max (layer, above + 1) end
    local function region (number, whole)
      return string.format ('<Region name="%s%s" type="audio" id="%d" channels="%d" whole-file="%d" opaque="1" '
        .. 'start="a0" length="a%d@a%d" layering-index="%d" fade-in-active="0" fade-out-active="0" %s/>',
        name:match ("^(.*)%."), whole == 1 and "" or ".1", counter + channels + number, channels, whole,
        take.frames * clocks, take.start * clocks, layer, table.concat (of_region, " "))
    end
    if empty then opening, content = opening:sub (1, -3) .. ">", "" end
    text = text:sub (1, from - 1) .. opening .. content .. region (1, 0) .. (empty and "</Playlist>" or "")
      .. text:sub (to + 1 + #content)
    local function fill (tag, addition) -- at the end of the list `tag`, which may be empty
      local closing = text:find ("</" .. tag .. ">", 1, true)
      if closing then
        text = text:sub (1, closing - 1) .. addition .. text:sub (closing)
      else
        local first, last = text:find ("<" .. tag .. "/>", 1, true)
        text = text:sub (1, first - 1) .. "<" .. tag .. ">" .. addition .. "</" .. tag .. ">" .. text:sub (last + 1)
      end
    end
    fill ("Sources", table.concat (sources))
    fill ("Regions", region (0, 1))
    text = text:gsub ('id%-counter="%d+"', string.format ('id-counter="%d"', counter + channels + 2), 1)
    local temporary = session_file .. ".stembridge" -- the session's file is there whole at every moment
    local file = assert (io.open (temporary, "wb"))
    assert (file:write (text))
    file:close ()
    if not os.rename (temporary, session_file) then -- Windows renames over nothing
      os.remove (session_file)
      assert (os.rename (temporary, session_file))
    end
  end

  local source -- the file of the track's sound, while nothing has come of it

  -- In the editor: all of it. On a saved session: returns what is left to do with its file once it is closed.
  local function act ()
    local first, last = loop_range ()
    local track, route = chosen_track (first, last)
    local id = os.date ("!ardour-%Y%m%d-%H%M%S-") .. string.format ("%04x", ARDOUR.LuaAPI.monotonic_time () & 0xFFFF)
    source = build (Session:path (), "export", "stembridge-source-" .. id .. ".wav")
    introduce (source, write_source (track, source), first, last)
    tell (verb, "sssiss", "id", id, "variations", math.floor (tonumber (options["takes"] or 1)), "prompt",
      options["prompt"] or "")
    local take = wait_for_take (build (Session:path (), "stembridge", id), id)
    source = nil -- it stays: a take can be made again from it (stembridge redo)
    if take.start < 0 then give_up ("The take begins before the session does. It is in " .. take.file .. ".") end

    local sound = text_of (take.file)
    local channels, name = channels_of (sound), take.file:match ("([^/\\]+)%.[^.]*$") .. "_" .. id .. ".wav"
    local path = build (sounds_folder (), name)
    local copy = io.open (path, "wb")
    if not copy or not copy:write (sound) then give_up ("The take cannot be copied to " .. path .. ".") end
    copy:close ()
    if route:n_inputs ():n_audio () ~= channels then
      local added = Session:new_audio_track (channels, 2, nil, 1, "Stembridge", ARDOUR.PresentationInfo.max_order,
        ARDOUR.TrackMode.Normal, true)
      track = added:front ():to_track ()
    end
    if Editor then return place_in_editor (track, path, take) end
    local session_file = build (Session:path (), Session:snap_name () .. ".ardour")
    local playlist_id = track:playlist ():to_stateful ():id ():to_s ()
    return function () place_in_file (session_file, playlist_id, name, channels, take) end
  end

  local fine, result = pcall (act)
  if not fine then
    if source then os.remove (source) end
    say (type (result) == "table" and result.sentence or tostring (result))
    if not Editor then os.exit (1) end
  end
  return result
end end

-- On a saved session, by ardour7-lua: the take enters the session's file while no one has it open, and Ardour itself
-- reads and saves what came of it.
if not ardour and load_session then
  if #arg < 2 then error ("usage: ardour7-lua stembridge_repaint_loop.lua FOLDER NAME [name=value ...]", 0) end
  local options = {}
  for i = 3, #arg do
    local name, value = arg[i]:match ("^([%w_]+)=(.*)$")
    options[name or error ("not name=value: " .. arg[i])] = value
  end
  AudioEngine:set_backend ("None (Dummy)", "", "")
  local function open () Session = assert (load_session (arg[1], arg[2]), "the session cannot be opened") end
  local function save () Session:save_state ("", false, false, false, false, false) end
  open ()
  local finish = factory (options) ()
  save ()
  Session = nil
  collectgarbage ()
  close_session ()
  finish ()
  open ()
  save ()
  Session = nil
  collectgarbage ()
  close_session ()
  quit ()
end
