"""How every command reads its flags, prints and ends. Imports errors, version."""
