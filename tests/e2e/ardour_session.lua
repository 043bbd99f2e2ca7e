-- Makes a session: ardour7-lua ardour_session.lua FOLDER NAME RATE CHANNELS [key=KEY] [bpm=BPM] [tempo=changes]
-- One audio track "Song" with so many channels, a range "Song key=KEY" over all of it, and the tempo: 97.5 unless told;
-- `changes`: 3/4 from bar 5, a ramp from 97.5 to 130 over the bars 9 to 12, 130 after it.

local folder, name, rate, channels = arg[1], arg[2], math.floor (tonumber (arg[3])), math.floor (tonumber (arg[4]))
local told = { bpm = "97.5" }
for i = 5, #arg do
  local key, value = arg[i]:match ("^(%w+)=(.*)$")
  told[key] = value
end

AudioEngine:set_backend ("None (Dummy)", "", "")
local session = assert (create_session (folder, name, rate))
local bpm = tonumber (told.bpm)
local map = Temporal.TempoMap.fetch_writable ()
local beat = Temporal.ticks_per_beat
map:set_tempo (Temporal.Tempo (bpm, bpm, 4), Temporal.timepos_t (0))
if told.tempo == "changes" then
  map:set_meter (Temporal.Meter (3, 4), Temporal.timepos_t.from_ticks (16 * beat))
  map:set_tempo (Temporal.Tempo (130, 130, 4), Temporal.timepos_t.from_ticks (40 * beat))
  map:set_tempo (Temporal.Tempo (bpm, 130, 4), Temporal.timepos_t.from_ticks (28 * beat))
end
Temporal.TempoMap.update (map)
session:new_audio_track (channels, 2, nil, 1, "Song", ARDOUR.PresentationInfo.max_order, ARDOUR.TrackMode.Normal, true)
if told.key then
  session:locations ():add_range (Temporal.timepos_t (0), Temporal.timepos_t (rate * 600))
  for location in session:locations ():list ():iter () do location:set_name ("Song key=" .. told.key) end
end
session:save_state ("", false, false, false, false, false)
map, session = nil, nil -- luacheck: ignore
collectgarbage ()
close_session ()
quit ()
