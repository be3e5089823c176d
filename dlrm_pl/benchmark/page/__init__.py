"""``benchmark.html``: a comparison of speeds on one page, in the style of ``report.html``."""
