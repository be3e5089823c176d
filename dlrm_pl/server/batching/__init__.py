"""Requests that arrive together are scored together, within bounds of time and number."""
