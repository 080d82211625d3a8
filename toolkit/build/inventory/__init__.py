"""What an image holds: its packages, its operating system and the project's files; and that as a bill of materials."""
