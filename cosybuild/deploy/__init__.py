"""The deployment of artifacts into service, for code about names of files, conditions, backups and rollback."""
