"""What the pages that people look at are made of: a theme, charts, small pictures."""
