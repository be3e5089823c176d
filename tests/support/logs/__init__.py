"""Logs, their columns and their rows."""
