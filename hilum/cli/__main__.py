"""`python -m hilum.cli`, where the command `hilum` is not on the path."""

from hilum.cli import main

main()
