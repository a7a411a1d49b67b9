"""The contract measured from outside: notes go in by JACK, sound and picture are taken where they end."""
