"""The arranger: from a lead sheet to parts, one module per kind of instrument."""
