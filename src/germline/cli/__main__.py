"""`python -m germline.cli`."""

from germline.cli import main

main()
