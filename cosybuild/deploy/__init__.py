"""The deployment of artifacts into service: names of files, conditions, backups and rollback."""
