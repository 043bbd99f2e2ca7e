"""What makes audio. Imports `protocol` only; heavy libraries are imported where they are used."""
