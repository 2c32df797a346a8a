"""Host loops: the only place where tasks, models, search and learning meet."""
