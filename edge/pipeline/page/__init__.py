"""``report.html``: the report of a bundle as one page for people, without network or script."""
