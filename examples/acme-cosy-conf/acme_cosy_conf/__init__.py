"""Build configurations of acme. They are data: see conf/."""
