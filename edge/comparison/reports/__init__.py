"""Reports of a comparison for machines and reviewers: JUnit XML, Markdown, SARIF."""
