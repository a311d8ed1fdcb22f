"""Reports: texts, tables and HTML pages, made only from the JSON of a run or a sweep."""
