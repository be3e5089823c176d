"""``benchmark.html``: a speed comparison on one page, in the style of ``report.html``."""
