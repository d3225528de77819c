"""What candidates are ranked by: regressions in closed form, and how rows are held out."""
