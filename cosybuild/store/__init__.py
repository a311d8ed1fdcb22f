"""The content-addressed store of results, on this machine and on a remote. It knows no stage."""
