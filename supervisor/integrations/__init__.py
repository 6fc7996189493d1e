"""What applications plug in: faces of the supervisor for what they have today."""
