"""Training states: saved in two phases, uploaded beside the training, verified when they load."""
