"""What a trace looks like: the time-sequence picture of slides 28 and 29, and the sequence diagram."""
