"""Reports made from report.json alone, so that they can be made again later and elsewhere."""
