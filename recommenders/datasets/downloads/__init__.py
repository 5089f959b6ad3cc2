"""Files from their publisher: publications declares, transfer downloads, archive unpacks, fetch does it all."""
