"""The engine, with fake stages and a fake clock and the real store."""
