"""`python -m homestretch`, which is what `accelerate launch -m` needs."""

from homestretch.cli.main import main

main()
