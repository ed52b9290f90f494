"""Run the command line as ``python -m lenet_fast``."""

from lenet_fast.cli import main

if __name__ == "__main__":
    main()
