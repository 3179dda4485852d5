"""Where stages run: `local` in this process, `processes` in several on this machine. Executors know no models."""
