"""overlayctl mesh: what all nodes say of themselves and of one another, as a table or a page."""
