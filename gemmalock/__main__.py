"""`python -m gemmalock`."""

from gemmalock.cli import main

if __name__ == "__main__":
    main()
