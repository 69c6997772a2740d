import sys

from examples.http.serve import main

sys.exit(main())
