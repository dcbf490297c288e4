import sys

from mrt.cli.main import main

sys.exit(main())
