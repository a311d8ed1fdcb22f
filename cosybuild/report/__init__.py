"""Reports: text, tables and pages, made only from the JSON of a run or a sweep."""
