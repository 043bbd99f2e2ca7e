"""Layouts for touch controllers, generated from the address table: ``python -m protocol.controllers``."""
