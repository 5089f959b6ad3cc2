"""Files from their publisher: downloads declares, transfer brings, archive unpacks, fetch does it all."""
