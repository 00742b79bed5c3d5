"""Results as files: JSON to keep, CSV for spreadsheets, Markdown for people."""
