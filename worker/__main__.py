"""`python -m worker` is the `assetize` command."""

from worker.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
