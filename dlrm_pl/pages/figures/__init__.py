"""Page figures as SVG, drawn without a library: scales, marks, charts, and horizontal bars."""
