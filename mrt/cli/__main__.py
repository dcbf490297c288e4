import sys

from mrt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
