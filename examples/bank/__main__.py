import sys

from examples.bank.demo import main

sys.exit(main())
