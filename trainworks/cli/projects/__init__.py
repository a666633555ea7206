"""Projects made from the template: what new, add and update share."""
