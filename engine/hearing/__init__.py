"""Ears: algorithms on arrays that tell what music does; used by the embedded engine and by the measures."""
