"""The stages of a run, one file each: frozen values whose fields are their cache key."""
