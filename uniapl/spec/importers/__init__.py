"""Importers: rows with the fields of other tools, converted to dataset rows."""
