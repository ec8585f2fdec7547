"""`python -m germline`: the command line."""

from germline.cli import main

main()
