"""What runs: the daemon, its doors, its journal and the user's folders. Imports `engine` and `protocol`."""

__version__ = "0.1.0"
