"""``python -m modyn`` is the command ``modyn``."""

from modyn.cli import main

if __name__ == "__main__":
    main()
