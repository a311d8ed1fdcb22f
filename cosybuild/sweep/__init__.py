"""Many runs that belong together: their cells, where each stands, and the record the report is made from."""
