"""Reports, for code that makes text, tables and pages from the JSON of a run or a sweep alone."""
