"""The student in the format of another runtime, in a folder that can be handed on, with proof."""
