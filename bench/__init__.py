"""What it costs to use this library, beside others and beside a floor: `python -m bench`."""
