"""`python -m pipeline.cli`, where the console command is not on the path."""

from pipeline.cli import main

main()
