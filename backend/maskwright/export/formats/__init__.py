"""Formats of datasets, one module each; see ``maskwright.export.records.Format``."""
