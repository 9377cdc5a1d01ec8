"""Tools that have formats of their own, each with what it reads and what it writes; run in its environment."""
