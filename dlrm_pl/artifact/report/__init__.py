"""``report.html``: an artifact on one page, with its tables and figures."""
