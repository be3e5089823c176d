"""The figures of a report, each a function that returns an ``<svg>`` element; None where there is nothing to draw."""
