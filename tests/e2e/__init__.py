"""Programs that others wrote, run against the director as their users run them."""
