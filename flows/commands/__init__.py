"""The command line, a file for each group of commands.

These files import next to nothing when they are imported, so that help is there at once: what a
command needs, its function imports when it is called.
"""
