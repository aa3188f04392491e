"""`python -m mnist_tune` is `mnist-tune`."""

from mnist_tune.cli.main import main

if __name__ == "__main__":
    main()
