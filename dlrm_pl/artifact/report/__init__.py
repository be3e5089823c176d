"""``report.html``: an artifact on one page, for people; matplotlib is imported by no one else."""
