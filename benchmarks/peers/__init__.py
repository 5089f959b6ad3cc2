"""Other libraries, each in its own environment: what they are asked, how they were tuned, and their runners."""
