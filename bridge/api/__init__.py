"""The task API without its transport: tasks, results and media by UUID, kept over restarts. The HTTP door serves it."""
