"""Served models: loaded, checked, and replaced while requests come in."""
