"""How application messages become frames and back: one file a wire protocol."""
