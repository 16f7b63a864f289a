"""How every command reads its flags, prints and ends. On top of nothing."""
