"""The ways in: each door turns its dialect into session changes and requests, and events back into its dialect."""
