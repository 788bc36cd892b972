"""`migrated`: Migrate for every TCP connection of one host."""
