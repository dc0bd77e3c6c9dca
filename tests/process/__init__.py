"""gunicorn as a child process, as an operator would start it."""
