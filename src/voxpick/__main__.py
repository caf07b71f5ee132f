"""python -m voxpick"""

from voxpick.cli import main

if __name__ == "__main__":
    main()
