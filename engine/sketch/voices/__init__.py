"""The voices: from a part to sound, on the exact sample."""
