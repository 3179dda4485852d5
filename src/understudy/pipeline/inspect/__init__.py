"""What is done with a finished run: open it, compare it with other systems, diagnose it."""
