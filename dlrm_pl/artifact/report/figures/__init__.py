"""Figures of a report: functions that return an ``<svg>`` element, or None if there is nothing to draw."""
