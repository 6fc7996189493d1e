"""What operators see: events here; metrics and alert rules come with theirs."""
