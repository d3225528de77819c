"""`python -m promptmill`."""

from promptmill.cli.main import main

main()
