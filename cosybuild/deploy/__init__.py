"""The deployment of artifacts into service: the choice of files and names, its conditions, backups and rollback."""
