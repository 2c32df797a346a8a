"""Other people's models: their files, read and written with suspicion."""
