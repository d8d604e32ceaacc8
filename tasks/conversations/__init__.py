"""From labelled clips to words: prompts, tags, dialogues and evaluation suites."""
