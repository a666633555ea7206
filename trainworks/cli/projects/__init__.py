"""Projects made out of the template: new, add, update."""
