"""`python -m eventsrc`."""

from eventsrc.cli.main import main

if __name__ == "__main__":
    main()
