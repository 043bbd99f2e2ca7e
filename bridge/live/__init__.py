"""Live extension: the next bars of a track are ready before the playhead reaches them."""
