"""Reports made from report.json, never from live objects."""
