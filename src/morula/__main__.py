"""``python -m morula`` is the command ``morula``."""

from morula.cli import main

main()
