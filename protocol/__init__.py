"""What travels between a DAW, the daemon and an engine.

Values and rules only: no sockets, no files, no processes, no numpy, no torch. Everything here is testable as
arithmetic. `engine` and `bridge` import this package; it imports neither.
"""

PROTOCOL_VERSION = 1
"""Version of the outer contract (addresses, manifest, mailbox). Raised when something existing changes meaning."""
