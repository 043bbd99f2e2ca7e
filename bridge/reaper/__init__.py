"""Around REAPER: its resource folder, installing the scripts there, its OSC pattern file, the ReaPack index."""
