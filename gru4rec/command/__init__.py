"""How every command reads its flags, speaks and ends. Imports errors."""
