"""The full program behind the thin front, for when no agent answers."""

import sys

from cni.main import main

sys.exit(main())
