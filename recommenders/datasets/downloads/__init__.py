"""Downloads of data sets: publications declares files, transfer downloads, archive unpacks, fetch does all steps."""
