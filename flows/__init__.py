"""What runs, in which order, when: the only package that imports Prefect."""
