"""Many runs as one: methods x seeds x tasks over one store, by one process or several, and what they say together."""
