"""`stembridge demo`: a song, a DAW played by a script, and a page that shows what came back."""
