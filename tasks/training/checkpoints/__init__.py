"""The folder of training states: writing, retention and upload."""
