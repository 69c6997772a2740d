import sys

from examples.orders.demo import main

sys.exit(main())
