"""Knows the order of stages and turns the recipe into arguments.

The only room, beside the command line, that sees a whole recipe; it makes nothing itself.
"""
